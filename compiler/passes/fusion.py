"""Fuse statements that walk through the same rows into one loop nest.

Input    the blocks of a function, before its memory is planned
Output   the same, in which statements that may share their loops stand in a `Nest`

A nest runs over rows, the leading dims that its members have in common; each member does the rest of its dims in loops inside.
Members may pass values to each other row by row: what one writes at a row another may read at that row, never at a different one.
A member moves up to its nest past other statements only where it has nothing to do with them. `why` collects the reasons.

Rows end where a reduction begins: softmax, cross-entropy and layer normalisation are a row's loops one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..graph import Expr
from ..program import (
    Along,
    Array,
    Block,
    Fill,
    Fixed,
    Kernel,
    Loop,
    Nest,
    Pick,
    Reduction,
    Scatter,
    Stmt,
    Take,
    View,
    flat,
    missing,
    reads,
    writes,
)
from ..sizes import Size

ROWWISE = ("sum", "max", "min", "prod")


@dataclass
class _Group:
    """A nest under construction, or what stays alone (no depths)."""

    block: Block
    members: list[Stmt]
    values: list[Expr]
    depths: frozenset[int] = frozenset()                         # how many leading dims the members may share


def fuse(body: list[Stmt], why: list[str] | None = None) -> list[Stmt]:
    """The statements of a body, those that share rows in nests; loops over time are looked into."""
    groups: list[_Group] = []
    for b in body:
        if not isinstance(b, Block):
            b = Block((), [b])
        for s in b.body:
            if isinstance(s, Block):
                s = Block(s.values, fuse(s.body, why), s.section, s.heading)
            elif isinstance(s, Loop):
                s = Loop(s.axis, s.reverse, fuse(s.body, why), s.copies, s.rest, s.straight)
            elif _joined(s, b, groups, why):
                continue
            groups.append(_Group(b, [s], [*b.values], cuts(s)))
    return [_finished(g) for g in groups]


def _finished(g: _Group) -> Block:
    """The group as a block."""
    if len(g.members) == 1:
        return Block(tuple(g.values), g.members, g.block.section, g.block.heading)
    depth = max(g.depths)
    nest = Nest(walked(g.members[0])[:depth], g.members)
    return Block(tuple(dict.fromkeys(g.values)), [nest], g.block.section, g.block.heading)


def walked(s: Stmt) -> tuple[Size, ...]:
    """The dims that a statement walks through."""
    match s:
        case Kernel(dims):
            return dims
        case Take(out) | Pick(out) | Fill(out):
            return out.dims
        case Reduction(_, _, a) | Scatter(_, a):
            return a.dims
    return ()


def cuts(s: Stmt) -> frozenset[int]:
    """After how many of its leading dims a statement may be cut into rows; none where it stays as it is."""
    out = writes(s)
    if out is None or missing(out):                              # it may have nothing to do
        return frozenset()
    match s:
        case Kernel() | Take() | Pick() | Fill():
            return frozenset(range(1, len(walked(s)) + 1))
        case Scatter(_, a, index) if len(index.dims) < len(a.dims):
            return frozenset({len(index.dims)})                  # rows added to rows
        case Reduction(kind, _, a, over) if kind in ROWWISE and over:
            outer, n = len(a.dims) - len(over), len(over)
            if over == tuple(range(outer, len(a.dims))):
                return frozenset(range(1, outer + 1))            # along each row
            if kind == "sum" and over == tuple(range(n)):
                return frozenset({n})                            # rows added up
    return frozenset()


def added_up(s: Stmt) -> bool:
    """Whether a statement adds up whole rows: all of them, or those of each number."""
    if isinstance(s, Scatter):
        return True
    return isinstance(s, Reduction) and s.over == tuple(range(len(s.over))) and len(s.over) < len(s.a.dims)


def _joined(s: Stmt, b: Block, groups: list[_Group], why: list[str] | None) -> bool:
    """Let a statement join the last group that it may join."""
    own = cuts(s)
    for k, g in enumerate(reversed(groups)):
        if own and g.depths and (k == 0 or _shares(s, g)):
            told, depths = _depths(s, g)
            if depths:
                g.members.append(s)
                g.values += [v for v in b.values if v not in g.values]
                g.depths = depths
                return True
            if why is not None and told:
                why.append(f"{_name(s)} stays apart from {_name(g.members[0])}: {told}")
        if any(_clash(s, m) for m in g.members):
            return False
    return False


def _shares(s: Stmt, g: _Group) -> bool:
    """Whether a statement touches an array that the group touches."""
    mine = {v.array.home for v in _views(s)}
    return any(v.array.home in mine for m in g.members for v in _views(m))


def _depths(s: Stmt, g: _Group) -> tuple[str, frozenset[int]]:
    """At which depths a statement may join a group, and why not at the others."""
    first, mine = walked(g.members[0]), walked(s)
    told = f"one runs over {', '.join(map(str, mine))}, the other over {', '.join(map(str, first))}"
    depths = frozenset(d for d in cuts(s) & g.depths if first[:d] == mine[:d])
    pairs = [p for m in g.members for p in _touched(s, m)]
    for v, w in pairs:
        anywhere = any(_any_row(x, m) for x in (v, w) for m in (s, *g.members))
        left = frozenset(d for d in depths if not anywhere and _same_row(v, w, d))
        if depths and not left:
            return f"{v.array.name or 'a value'} is read at other rows than it is written at", left
        depths = left
    for m in (*g.members, s):
        if added_up(m):
            target = writes(m)
            assert target is not None
            if any(v.array.home is target.array.home for x in (*g.members, s) if x is not m for v in _views(x)):
                return f"{target.array.name or 'a sum'} is known only after the last row", frozenset()
    return told, depths


def _views(s: Stmt) -> tuple[View, ...]:
    """All that a statement reads and writes."""
    out = writes(s)
    return (*reads(s), *((out,) if out is not None else ()))


def _touched(s: Stmt, m: Stmt) -> Iterator[tuple[View, View]]:
    """Pairs of views of the same memory, one of each statement, of which at least one is written."""
    mine, other = writes(s), writes(m)
    assert mine is not None and other is not None
    for v in (mine, *reads(s)):
        for w in (other, *reads(m)):
            if (v is mine or w is other) and v.array.home is w.array.home and not apart(v, w):
                yield v, w


def _clash(s: Stmt, m: Stmt) -> bool:
    """Whether two statements must stay in their order."""
    if isinstance(m, (Loop, Block)):
        return any(_clash(s, x) for x in flat(m.body) if not isinstance(x, Loop))
    return next(_touched(s, m), None) is not None


def apart(v: View, w: View) -> bool:
    """Whether two views of one array certainly have no element in common: different steps, or parts beside each other."""
    for x, y in zip(v.along, w.along, strict=False):
        if isinstance(x, Fixed) and isinstance(y, Fixed):
            if (x.axis, x.end) == (y.axis, y.end) and x.offset != y.offset:
                return True
        elif isinstance(x, Along) and isinstance(y, Along) and v.array is w.array:
            low, high = (x.offset, v.dims[x.dim]), (y.offset, w.dims[y.dim])
            if _in_order(low[0] + low[1], high[0]) or _in_order(high[0] + high[1], low[0]):
                return True
    return False


def _in_order(end: Size, start: Size) -> bool:
    """Whether what ends there certainly ends before something starts: lengths are not negative, quotients of them may be."""
    gap = start - end
    return all(c >= 0 for _, c in gap.terms) and {*gap.factors} <= {*gap.symbols}


def _same_row(v: View, w: View, depth: int) -> bool:
    """Whether two views of one array touch the same elements at every row, and only those."""
    if v.array.dims != w.array.dims:
        return False
    seen = 0
    for x, y in zip(v.along, w.along, strict=True):
        row = [isinstance(e, Along) and e.dim < depth for e in (x, y)]
        if any(row):
            if x != y:
                return False
            seen += 1
        elif isinstance(x, Fixed) and isinstance(y, Fixed) and x != y:
            return False
    return seen == depth


def _any_row(v: View, s: Stmt) -> bool:
    """Whether a view is looked up by numbers: at a row of the statement, any row of it may be read."""
    return isinstance(s, Take) and v is s.table


def _name(s: Stmt) -> str:
    out = writes(s)
    return out.array.name or type(s).__name__.lower() if out is not None else "a loop"


def inner_loops(members: Sequence[Stmt], depth: int) -> list[list[Stmt]]:
    """The members of a nest in runs that share the loops inside a row: of the same dims, passing values element by element."""
    runs: list[list[Stmt]] = []
    for s in members:
        if runs and _joins(s, runs[-1], depth):
            runs[-1].append(s)
        else:
            runs.append([s])
    return runs


def partial(s: Stmt, depth: int) -> bool:
    """Whether a statement reduces some of a row's dims only, in loops of its own."""
    return isinstance(s, Reduction) and not added_up(s) and len(s.a.dims) - len(s.over) > depth


def _joins(s: Stmt, run: list[Stmt], depth: int) -> bool:
    if walked(s)[depth:] != walked(run[0])[depth:] or partial(s, depth) or partial(run[0], depth):
        return False
    return not any(v.along != w.along for m in run for v, w in _touched(s, m)) \
        and not any(isinstance(m, Reduction) and v.array.home is m.out.array.home for m in run for v in reads(s))


def locals_(nest: Nest, touched: Mapping[Array, int], kept: frozenset[Array],
            small: Callable[[tuple[Size, ...]], bool] = lambda dims: False) -> dict[Array, tuple[int, ...]]:
    """Values that one row alone needs, each with those of its dims that a variable inside the nest has.

    No dims: one element, or one value of the row. Else a row's buffer, where `small` allows it. They are written in the nest
    before they are read, at the same row, and touched by nothing else: `touched` says how many views of an array all
    statements have, those that write included.
    """
    out: dict[Array, tuple[int, ...]] = {}
    depth = len(nest.rows)
    for run in inner_loops(nest.body, depth):
        for s in run:
            v = writes(s)
            assert v is not None
            a = v.array
            if a.role != "value" or a in kept or not a.dims or isinstance(s, Fill) or added_up(s):
                continue
            views = [w for m in nest.body for w in _views(m) if w.array is a]
            row = {k for k, x in enumerate(v.along) if isinstance(x, Fixed) or x.dim < depth}
            if len(views) != touched.get(a, 0) or any(w.along[k] != v.along[k] for w in views for k in row) \
                    or any(w.array is a for m in nest.body[:_at(s, nest.body)] for w in _views(m)):
                continue
            inner = tuple(k for k in range(len(a.dims)) if k not in row)
            one = not isinstance(s, Reduction) and all(w.along == v.along for w in views) \
                and len(views) == sum(w.array is a for m in run for w in _views(m))
            if one or not inner:
                out[a] = ()
            elif small(tuple(a.dims[k] for k in inner)):
                out[a] = inner
    return out


def _at(s: Stmt, body: Sequence[Stmt]) -> int:
    return next(k for k, m in enumerate(body) if m is s)


__all__ = ["added_up", "apart", "fuse", "inner_loops", "locals_", "partial", "walked"]
