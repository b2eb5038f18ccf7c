"""Differentiation: a system's adjoint and tangent are systems of the same kind.

Only a `Ref` closes a cycle, so the union of all right sides is a graph without cycles, visited once. Reverse: the root of
equation v is seeded with `Ref(d_v)`; the sum that arrives at the leaf `Ref(v)` is the equation d_v. Forward: the tangent of
`Ref(v)` is `Ref(t_v)`, and the tangent of v's root is the equation t_v. What does not depend on `wrt`, or does not reach the
outputs, is left out, cycles included. Both work on their own results.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .graph import Broadcast, Concat, Const, Expr, GraphError, Intercept, Pad, Ref, Shift, Size, describe, order_axes, size, zeros
from .reach import reached
from .rules import forward, passes, reverse
from .surgery import operated
from .system import System


@dataclass(frozen=True)
class Term:
    """One summand of an adjoint: what `reader` contributes; None is a seed."""

    reader: Expr | None
    value: Expr


@dataclass
class Adjoint:
    """The result of reverse mode.

    `system` is the given one with the adjoint equations; `grads` has the adjoint of each `wrt` (zeros where the outputs do not
    depend on it); `adjoints` that of every node between, `terms` the summands of each.
    """

    system: System
    grads: dict[Expr, Expr]
    adjoints: dict[Expr, Expr] = field(default_factory=dict)
    terms: dict[Expr, list[Term]] = field(default_factory=dict)


@dataclass
class Tangent:
    """The result of forward mode: the system with the tangent equations, the tangents of the outputs, and of every node."""

    system: System
    values: list[Expr]
    tangents: dict[Expr, Expr] = field(default_factory=dict)


def gradient(system: System, loss: Expr, wrt: Sequence[Expr], prefix: str = "d_") -> Adjoint:
    """The gradient of a scalar: d loss / d w for every w in `wrt`, any nodes. GraphError where loss is no scalar."""
    if loss.dims:
        raise GraphError(f"a gradient needs a scalar, not {describe(loss)}")
    return pullback(system, {loss: Const(1)}, wrt, prefix)


def pullback(system: System, outputs: Mapping[Expr, Expr], wrt: Sequence[Expr], prefix: str = "d_") -> Adjoint:
    """Reverse mode from given adjoints: `outputs` maps each output to the adjoint that it starts with.

    A seed has the axes and shape of its output, or more axes: these run through to the results (a batch of seeds at once).
    """
    seeds = {system.resolve(out): seed for out, seed in outputs.items()}
    goals = [system.resolve(w) for w in wrt]
    nodes, equations = reached(system, seeds)
    useful = between(system, nodes, goals, seeds)
    more = {x for out, seed in seeds.items() for x in seed.axes if x not in out.axes}
    result = Adjoint(system.copy(), {}, terms=_seeds(system, seeds, [n for n in nodes if n in useful], equations, more, prefix))
    terms = result.terms
    for n in reversed(nodes):
        if n not in useful:
            continue
        g = accumulate([t.value for t in terms.get(n, [])]) or _fit(zeros(n), n, more)
        if isinstance(n, Intercept):
            g = operated(system, n, g)
        result.adjoints[n] = g
        if isinstance(n, Ref):
            result.system.equations[prefix + n.name] = g
            continue
        for a, value in reverse(n, g):
            if a in useful and not is_zero(value):
                terms.setdefault(a, []).append(Term(n, _fit(value, a, more)))
    result.grads = {w: result.adjoints.get(goal, _fit(zeros(goal), goal, more)) for w, goal in zip(wrt, goals, strict=True)}
    name_derivatives(result.system, system, result.adjoints, prefix)
    _name_carries(result.system, system, result.adjoints, prefix)
    return result


def _seeds(system: System, seeds: Mapping[Expr, Expr], useful: Sequence[Expr], equations: Sequence[str], more: set[str],
           prefix: str) -> dict[Expr, list[Term]]:
    """What adjoints start with: the outputs' seeds, and at the root of every equation v that a reference reads, `Ref(d_v)`."""
    terms: dict[Expr, list[Term]] = {}
    for out, seed in seeds.items():
        if out in useful:
            terms[out] = [Term(None, _fit(seed, out, more))]
    refs = {n.name: n for n in useful if isinstance(n, Ref)}
    for name in equations:
        if name in refs:
            check_free(system, prefix + name)
            seed = _like(refs[name], prefix + name, more)
            terms.setdefault(system.equations[name], []).append(Term(refs[name], seed))
    return terms


def tangent(system: System, outputs: Sequence[Expr], directions: Mapping[Expr, Expr], prefix: str = "t_") -> Tangent:
    """Forward mode: how the outputs change where each node w in `directions` moves along `directions[w]`.

    A direction has the axes and shape of its node, or more axes: these run through to the results.
    """
    moved = {system.resolve(w): t for w, t in directions.items()}
    goals = [system.resolve(out) for out in outputs]
    nodes, _ = reached(system, goals)
    useful = between(system, nodes, list(moved), goals)
    more = {x for w, t in moved.items() for x in t.axes if x not in w.axes}
    result = Tangent(system.copy(), [])
    tangents = result.tangents
    for n in nodes:
        if n in moved:
            tangents[n] = _fit(moved[n], n, more)
        elif n in useful and isinstance(n, Ref):
            check_free(system, prefix + n.name)
            tangents[n] = _like(n, prefix + n.name, more)
        elif n in useful:
            passing = {*passes(n)}
            value = forward(n, [tangents.get(a) if a in passing else None for a in n.args])
            tangents[n] = _fit(value, n, more)
    for n in nodes:
        if isinstance(n, Ref) and n in tangents:
            result.system.equations[prefix + n.name] = tangents[system.resolve(n)]
    result.values = [tangents.get(out, _fit(zeros(out), out, more)) for out in goals]
    name_derivatives(result.system, system, tangents, prefix)
    return result


# ---------------------------------------------------------------- what lies between

def between(system: System, nodes: Sequence[Expr], wrt: Iterable[Expr], outputs: Iterable[Expr]) -> set[Expr]:
    """The nodes that depend on `wrt` and that the outputs depend on, as far as derivatives pass. For membership only."""
    reads = {n: (system.equations[n.name],) if isinstance(n, Ref) else passes(n) for n in nodes}
    readers: dict[Expr, list[Expr]] = {n: [] for n in nodes}
    for n, operands in reads.items():
        for a in operands:
            readers[a].append(n)
    return _closure([w for w in wrt if w in readers], readers) & _closure(outputs, reads)


def _closure(start: Iterable[Expr], step: Mapping[Expr, Sequence[Expr]]) -> set[Expr]:
    stack, seen = list(start), set[Expr]()
    while stack:
        n = stack.pop()
        if n not in seen:
            seen.add(n)
            stack.extend(step[n])
    return seen


# ---------------------------------------------------------------- sums

def accumulate(values: Sequence[Expr]) -> Expr | None:
    """The sum of contributions; paddings that tile an axis become one concatenation. None for no contribution."""
    groups: dict[tuple[int, Size, tuple[str, ...]], dict[tuple[Size, Size], list[Expr]]] = {}
    terms: list[Expr | None] = []
    keys: list[tuple[int, Size, tuple[str, ...]] | None] = []
    for v in values:
        if isinstance(v, Pad):
            key = (v.at, v.total, v.axes)
            if key not in groups:
                keys.append(key)
                terms.append(None)
            groups.setdefault(key, {}).setdefault((v.lo, v.args[0].shape[v.at]), []).append(v.args[0])
        else:
            keys.append(None)
            terms.append(v)
    summands = [t for key, term in zip(keys, terms, strict=True)
                for t in ([term] if key is None else _tile(key, groups[key])) if t is not None]
    if len(summands) < len(values) and sum(isinstance(t, Pad) for t in summands) > 1:
        return accumulate(summands)                              # blocks of a matrix: rows first, then columns
    out: Expr | None = None
    for t in summands:
        out = t if out is None else out + t
    return out


def _tile(key: tuple[int, Size, tuple[str, ...]], parts: dict[tuple[Size, Size], list[Expr]]) -> list[Expr]:
    """Paddings of one axis: one concatenation where they cover it without overlap, else as they were."""
    at, total, _ = key
    sums = {lo: (accumulate(vs), n) for (lo, n), vs in parts.items()}
    place, tiles = size(0), list[Expr]()
    while place in sums and len(tiles) < len(parts):
        value, n = sums[place]
        assert value is not None
        tiles.append(value)
        place = place + n
    if place == total and len(tiles) == len(parts):
        return [_together(at, tiles)]
    return [Pad(v, at, lo, total) for (lo, _), vs in parts.items() for v in [accumulate(vs)] if v is not None]


def _together(at: int, tiles: Sequence[Expr]) -> Expr:
    """Tiles side by side; the padding that all of them share along another position is put around them once."""
    pads = [t for t in tiles if isinstance(t, Pad) and t.at != at]
    if len(pads) == len(tiles) and len({(p.at, p.lo, p.total, p.args[0].shape[p.at]) for p in pads}) == 1:
        first = pads[0]
        return Pad(_together(at, [p.args[0] for p in pads]), first.at, first.lo, first.total)
    return Concat(at, tuple(tiles))


def is_zero(e: Expr) -> bool:
    """Whether e is zero by its form."""
    while isinstance(e, Broadcast):
        e = e.args[0]
    return isinstance(e, Const) and e.value == 0


def _like(n: Ref, name: str, more: Iterable[str]) -> Expr:
    return Ref(name, order_axes({*n.axes, *more}), n.shape)


def _fit(value: Expr, n: Expr, more: set[str]) -> Expr:
    """A derivative with the axes of its node and those of the batch of seeds; GraphError where a rule gave another shape."""
    axes = order_axes({*n.axes} | more)
    if value.shape != n.shape or not {*value.axes} <= {*axes}:
        raise GraphError(f"a derivative {describe(value)} of {type(n).__name__} {describe(n)}")
    return Broadcast(value, axes, value.shape, tuple(range(len(value.shape))))


# ---------------------------------------------------------------- names

def check_free(system: System, name: str) -> None:
    if name in system.equations:
        raise GraphError(f"the name {name} is taken: another prefix is needed")


def fresh_prefix(system: System, letter: str) -> str:
    """`d_`, or `d2_`, `d3_`, ... where names with it exist already: one prefix per order of differentiation."""
    names = [*system.equations, *system.names.values()]
    order = 1
    while True:
        prefix = f"{letter}{order if order > 1 else ''}_"
        if not any(name.startswith(prefix) for name in names):
            return prefix
        order += 1


def name_derivatives(out: System, system: System, derivatives: Mapping[Expr, Expr], prefix: str) -> None:
    """Name the derivative of every named node; leaves and repeated numbers keep the names that they have.

    The adjoint of the root of v is d_v; the sum that arrives at `Ref(v)` is a part of it, and is so named only where it is all.
    """
    for n, value in derivatives.items():
        part = isinstance(n, Ref) and not isinstance(derivatives.get(system.resolve(n)), Ref)
        name = None if part else system.names.get(n) or getattr(n, "name", None)
        if name is not None and value.args and not is_constant(value):
            out.names.setdefault(value, prefix + name)


def is_constant(e: Expr) -> bool:
    while isinstance(e, Broadcast):
        e = e.args[0]
    return isinstance(e, Const)


def _name_carries(out: System, system: System, adjoints: Mapping[Expr, Expr], prefix: str) -> None:
    """What a delay of v passes back is d_v_next (d_v_prev where it reads ahead), before it moves to v's own time."""
    for n, g in adjoints.items():
        if isinstance(n, Shift) and g.args and not is_constant(g):
            v = n.args[0]
            name = v.name if isinstance(v, Ref) else system.names.get(v)
            if name is not None:
                steps = str(abs(n.s)) if abs(n.s) > 1 else ""
                out.names.setdefault(g, f"{prefix}{name}_{'next' if n.s < 0 else 'prev'}{steps}")
