"""Pack: parameters that meet the same operand become one parameter with slices, before anything is differentiated.

Input    a system; `roots` beyond it that must follow
Output   the packed system and its `Pack`s: a parameter P stands for members side by side, each member is Slice(P, ...)

    f = sigmoid(W_f @ z + b_f), i = sigmoid(W_i @ z + b_i)   ->   a = W @ z + b,  f_i = sigmoid(a),  f = f_i[:H],  i = f_i[H:]

One product forward, and by itself one backward and one weight gradient. The interface keeps the user's own arrays: after
differentiation P is replaced by the concatenation of its members, and a member's gradient is a slice of P's.

Steps: products with a concatenation in a loop are split (the input's share leaves the loop), weights are packed by operand, equal
operations on adjacent slices of the same values are merged, then biases are packed and merged in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..algebra import Rewriter, Table, structure
from ..gradient import Adjoint
from ..graph import Broadcast, Concat, Contract, Expr, Map, Param, Size, Slice, apply, size
from ..system import System
from .hoist import hoisted
from .merge import merge
from .schedule import LoopPlan, Schedule, schedule
from .structure_rules import product_of_repeats

Packs = dict[Param, tuple[Param, ...]]


@dataclass(frozen=True)
class Use:
    """A parameter in a place where it can be packed: with what group, and the node that reads it."""

    param: Param
    group: tuple[object, ...]
    reader: Expr


def pack(system: System) -> tuple[System, Packs]:
    """Pack weights, then biases; `packs` maps each new parameter to its members."""
    declared = {p.node: i for i, p in enumerate(system.params.values())}
    system = merge(hoisted(split(system)))
    packs: Packs = {}
    done: set[Param] = set()
    for find in (_weights, _biases):
        while True:
            plan = schedule(system, _roots(system))
            group = _largest(plan, find, done)
            if group is None:
                break
            members = _ordered(plan, group, declared)
            system = _substitute(system, members, packs)
            done |= {*members, *packs}
            system = merge(hoisted(merge(system)))
    return _once(system), packs


def _once(system: System) -> System:
    """Products of what is the same at every step, computed once: so is their adjoint, which is summed before it is multiplied."""
    rewriter = Rewriter(Table((product_of_repeats,)))
    rewriter.all(list(system.roots()))
    return system.mapped(rewriter.memo)


def _roots(system: System) -> dict[str, Expr]:
    return {str(i): r for i, r in enumerate(system.roots())}


# ---------------------------------------------------------------- splitting

def split(system: System) -> System:
    """W @ [h, x] in a loop as a product each, where the loop does not compute all of the parts.

    A split changes what later layers read, so it goes on until nothing is left to split.
    """
    while True:
        before, system = system.roots(), _split_once(system)
        if all(a is b for a, b in zip(before, system.roots(), strict=True)):
            return system


def _split_once(system: System) -> System:
    plan = schedule(system, _roots(system))
    mixed: set[Expr] = set()
    for e in plan.order:
        if isinstance(e, Contract) and plan.loop[e] is not None:
            for a in e.args:
                if isinstance(a, Concat) and any(plan.loop[system.resolve(p)] is not plan.loop[e] for p in a.args):
                    mixed.add(a)

    @structure("W @ [a, b] -> W[:, :n] @ a + W[:, n:] @ b", "Contract")
    def split(e: Expr) -> Expr | None:
        assert isinstance(e, Contract)
        for k, other in ((0, 1), (1, 0)):
            parts, w = e.args[k], e.args[other]
            lp, lw = (e.la, e.lb) if k == 0 else (e.lb, e.la)
            if parts in mixed and isinstance(parts, Concat) and lp[parts.at] in lw and lp[parts.at] not in e.lo:
                at = lw.index(lp[parts.at])
                terms: list[Expr] = []
                for p, lo in zip(parts.args, parts.offsets, strict=True):
                    piece = Slice(w, at, lo, lo + p.shape[parts.at])
                    a, b = (p, piece) if k == 0 else (piece, p)
                    terms.append(Contract(a, b, e.la, e.lb, e.lo, e.axes))
                total = terms[0]
                for t in terms[1:]:
                    total = apply("add", total, t)
                return total
        return None

    rewriter = Rewriter(Table((split,)))
    rewriter.all(list(system.roots()))
    return system.mapped(rewriter.memo)


# ---------------------------------------------------------------- grouping

def _weights(plan: Schedule) -> Iterator[Use]:
    """W @ x with W a matrix, or columns of one: the group is the operand and the columns."""
    for e in plan.order:
        if isinstance(e, Contract) and len(e.lo) == 1 and e.axes == e.args[1].axes:
            w: Expr = e.args[0]
            columns: tuple[Size, Size] | None = None
            if isinstance(w, Slice) and w.at == 1:
                columns, w = (w.lo, w.hi), w.args[0]
            if isinstance(w, Param) and len(w.shape) == 2 and e.la == (0, 1) and e.lb == (1,) and e.lo == (0,):
                yield Use(w, (e.args[1], columns, w.shape[1]), e)


def _biases(plan: Schedule) -> Iterator[Use]:
    """A vector added to a slice: the group is what the slice is cut from."""
    for e in plan.order:
        if isinstance(e, Map) and e.f == "add":
            for cut, b in (e.args, e.args[::-1]):
                if isinstance(b, Broadcast) and isinstance(b.args[0], Param) and len(b.args[0].shape) == 1 \
                        and isinstance(cut, Slice) and cut.at == len(cut.shape) - 1:
                    yield Use(b.args[0], (cut.args[0],), e)


def _largest(plan: Schedule, find, done: set[Param]) -> list[Use] | None:  # type: ignore[no-untyped-def]
    """The largest group of parameters that are not packed yet and serve one loop."""
    groups: dict[tuple[object, ...], dict[Param, Use]] = {}
    for use in find(plan):
        loop = _served(plan, use.reader) if use.param not in done else None
        if loop is not None:
            groups.setdefault((loop, *use.group), {}).setdefault(use.param, use)
    best = max(groups.values(), key=len, default={})
    return list(best.values()) if len(best) > 1 else None


def _served(plan: Schedule, e: Expr) -> LoopPlan | None:
    """The loop that a product or sum stands in, or that reads its sum: elsewhere copying weights costs what it saves."""
    while plan.loop[e] is None:
        users = plan.users[e]
        loop = next((plan.loop[u] for u in users if plan.loop[u] is not None), None)
        if loop is not None:
            return loop
        e = users[0] if len(users) == 1 else e
        if len(users) != 1 or not (isinstance(e, Slice) or (isinstance(e, Map) and e.f in ("add", "sub"))):
            return None
    return plan.loop[e]


def _ordered(plan: Schedule, group: list[Use], declared: dict[Param, int]) -> list[Param]:
    """Members by where they stand already (biases), or by the function that their sum ends in, then as declared."""
    def key(use: Use) -> tuple[str, int, int]:
        cuts = [a for a in use.reader.args if isinstance(a, Slice)] if isinstance(use.reader, Map) else []
        if cuts:
            return "", _nominal(cuts[0].lo), 0
        e = use.reader
        while len(plan.users[e]) == 1 and (e is use.reader or (isinstance(e, Map) and e.f in ("add", "sub"))):
            e = plan.users[e][0]
        return (e.f if isinstance(e, Map) else "~"), 0, declared[use.param]
    return [u.param for u in sorted(group, key=key)]


def _nominal(s: Size) -> int:
    return s.evaluate({k: 1009 + 13 * i for i, k in enumerate(s.symbols)})


# ---------------------------------------------------------------- substitution

def _substitute(system: System, members: list[Param], packs: Packs) -> System:
    """Every member as a slice of one new parameter."""
    heads = {m.name.rpartition("_")[0] or m.name for m in members}
    base = heads.pop() if len(heads) == 1 else "_".join(m.name for m in members)
    taken = {*system.params, *system.equations, *system.inputs, *(p.name for p in packs)}
    name = base if base not in taken else "_".join([base, "".join(m.name.rpartition("_")[2] for m in members)])
    total = sum((m.shape[0] for m in members), size(0))
    whole = Param(name, (total, *members[0].shape[1:]))
    packs[whole] = tuple(members)
    mapping: dict[Expr, Expr] = {}
    lo = size(0)
    for m in members:
        mapping[m] = Slice(whole, 0, lo, lo + m.shape[0])
        lo = lo + m.shape[0]
    rewriter = {**mapping}
    for node in system.nodes():
        if node not in rewriter:
            rewriter[node] = node.with_args(tuple(rewriter[a] for a in node.args))
    out = system.mapped(rewriter)
    for m in members:
        out.names.pop(mapping[m], None)
    return out


def joined(packs: Packs) -> dict[Expr, Expr]:
    """Every packed parameter -> the concatenation of its members, for code that is to be printed."""
    return {p: Concat(0, tuple(members)) for p, members in packs.items()}


def unpacked(system: System, packs: Packs) -> System:
    """The system over the user's own parameters: a packed one is their concatenation."""
    if not packs:
        return system
    whole = joined(packs)
    out = system.rewrite(whole)
    for p in packs:
        out.names[whole[p]] = p.name
    return out


def by_members(adjoint: Adjoint, wrt: Mapping[str, Expr], packs: Packs) -> dict[str, Expr]:
    """d_name -> the gradient by every parameter; of a packed one a slice of its pack's, which is named in the adjoint system."""
    grads = {f"d_{k}": adjoint.grads[w] for k, w in wrt.items()}
    for p, members in packs.items():
        adjoint.system.names.setdefault(adjoint.grads[p], f"d_{p.name}")
        lo = size(0)
        for m in members:
            if f"d_{m.name}" in grads:
                grads[f"d_{m.name}"] = Slice(adjoint.grads[p], 0, lo, lo + m.shape[0])
            lo = lo + m.shape[0]
    return grads
