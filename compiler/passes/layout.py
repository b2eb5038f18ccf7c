"""Layout: where every value of a schedule lives, and how each of its readers reaches it.

Input    a `Schedule`
Output   a `Layout`: for each expression its kind, its array, and `access(e, loop)`, the view through which it is read

    leaf       a parameter or an input                     view     no storage: an affine access into another value
    inline     part of its reader's kernel                 whole    an array over all its dims, computed outside loops
    trace      a loop's value kept for every step, with slots before and after for boundary values: v[t] stands at t + lead
    carry      a loop's value that is read one step later only: one step's array, overwritten
    local      a loop's value that is read in its own step only
    part       a piece of a concatenation, written in its place
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..graph import (
    At,
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Freeze,
    GraphError,
    Index,
    Input,
    Map,
    Noise,
    OneHot,
    Pad,
    Param,
    Put,
    Shift,
    Slice,
    Stop,
    Thaw,
    Transpose,
    length,
)
from ..program import BOOL, BYTE, INT, REAL, Along, Array, Fixed, View, view
from ..sizes import Size, size
from .convolution import convolutions
from .lookups import lookup
from .orders import Order, chained, stored
from .pooling import pools
from .schedule import LoopPlan, Schedule
from .sink import sink

VIEWS = (Broadcast, Slice, Transpose, Stop, Freeze, Thaw)


@dataclass
class Layout:
    plan: Schedule
    kind: dict[Expr, str] = field(default_factory=dict)
    arrays: dict[Expr, Array] = field(default_factory=dict)
    lead: dict[Expr, int] = field(default_factory=dict)
    trail: dict[Expr, int] = field(default_factory=dict)
    part: dict[Expr, tuple[Expr, int, Size]] = field(default_factory=dict)
    copies: set[Expr] = field(default_factory=set)               # shifts that need an array of their own
    packed: dict[tuple[Array, Order], Array] = field(default_factory=dict)       # parameters in the order that products need
    order: dict[Expr, Order] = field(default_factory=dict)       # dims in the order of memory, where that is not their own

    # ------------------------------------------------------------ reading

    def access(self, e: Expr, loop: LoopPlan | None) -> View:
        """The view of e inside a loop (one step of it), or outside (all of it)."""
        full = self.full(e)
        return full if loop is None or loop.axis not in e.axes else step(full, e.axes.index(loop.axis), loop.axis)

    def full(self, e: Expr) -> View:
        """The view of all of e; a value that keeps one step only is repeated along its axis."""
        a = self.plan.operands[e][0] if self.plan.operands[e] else e
        n = len(e.axes)
        if e in self.plan.convolutions:
            return self._own(e)
        match e:
            case _ if e in self.plan.pools:
                return self._own(e)
            case Broadcast():
                places = [*(e.axes.index(x) for x in a.axes), *(n + p for p in e.places)]
                return remap(self.full(a), places, e.dims)
            case Transpose():
                places = [*range(n), *(n + e.perm.index(k) for k in range(len(e.perm)))]
                return remap(self.full(a), places, e.dims)
            case Slice():
                return move(self.full(a), n + e.at, e.lo, e.dims)
            case Stop():
                return self.full(a)
            case Freeze() | Thaw():
                return self._regrouped(e, a)
            case Shift() if self.kind[e] == "view":
                return move(self.full(a), e.axes.index(e.axis), size(e.s), e.dims)
            case At() if self.kind[e] == "view":
                return at(self.full(a), a.axes.index(e.axis), e.i)
        if e in self.part:
            parent, where, lo = self.part[e]
            return move(self.full(parent), len(e.axes) + where, lo, e.dims)
        return self._own(e)

    def _own(self, e: Expr) -> View:
        array, loop = self.arrays[e], self.plan.loop[e]
        if self.kind[e] in ("carry", "local"):
            assert loop is not None
            k = e.axes.index(loop.axis)
            return remap(view(array), [i for i in range(e.rank) if i != k], e.dims)
        if self.kind[e] == "trace":
            assert loop is not None
            k = e.axes.index(loop.axis)
            return replace(move(view(array), k, size(self.lead.get(e, 0)), e.dims), dims=e.dims)
        if e in self.order:
            return remap(view(array), list(self.order[e]), e.dims)
        if isinstance(e, Shift):
            return replace(move(view(array), e.axes.index(e.axis), size(max(e.s, 0)), e.dims), dims=e.dims)
        return view(array)

    def _regrouped(self, e: Expr, a: Expr) -> View:
        """A time axis as first feature (Freeze), or the first feature as a time axis (Thaw)."""
        axis = e.axis  # type: ignore[attr-defined]
        if isinstance(e, Freeze):
            k, n = a.axes.index(axis), len(e.axes)
            places = [n if i == k else i - (i > k) if i < len(a.axes) else i for i in range(a.rank)]
        else:
            k, n = e.axes.index(axis), len(a.axes)
            places = [i + (i >= k) if i < n else k if i == n else i for i in range(a.rank)]
        return remap(self.full(a), places, e.dims)


# ---------------------------------------------------------------- views

def remap(v: View, places: list[int], dims: tuple[Size, ...]) -> View:
    """v with its dim i standing at places[i] of dims."""
    along = tuple(replace(x, dim=places[x.dim]) if isinstance(x, Along) else x for x in v.along)
    return View(v.array, along, dims)


def move(v: View, dim: int, offset: Size, dims: tuple[Size, ...]) -> View:
    """v read `offset` further along one dim."""
    along = tuple(replace(x, offset=x.offset + offset) if isinstance(x, Along) and x.dim == dim else x for x in v.along)
    return View(v.array, along, dims)


def at(v: View, dim: int, i: int) -> View:
    """v at index i of one dim, which is gone; i < 0 counts from the dim's end."""
    along: list[Along | Fixed] = []
    for k, x in enumerate(v.along):
        if isinstance(x, Along) and x.dim == dim:
            if i < 0:                                            # the view may end before its array does
                trail = (v.array.dims[k] - x.offset - v.dims[dim]).value
                assert trail is not None
                along.append(Fixed(None, i - trail, end=True))
            else:
                along.append(Fixed(None, i + (x.offset.value or 0)))
        else:
            along.append(x if isinstance(x, Fixed) or x.dim < dim else replace(x, dim=x.dim - 1))
    return View(v.array, tuple(along), (*v.dims[:dim], *v.dims[dim + 1:]))


def step(v: View, dim: int, axis: str) -> View:
    """v at the loop's own index of one dim."""
    along: list[Along | Fixed] = []
    for x in v.along:
        if isinstance(x, Along) and x.dim == dim:
            along.append(Fixed(axis, x.offset.value or 0))
        else:
            along.append(x if isinstance(x, Fixed) or x.dim < dim else replace(x, dim=x.dim - 1))
    return View(v.array, tuple(along), (*v.dims[:dim], *v.dims[dim + 1:]))


# ---------------------------------------------------------------- decisions

def layout(plan: Schedule, direct: bool = False) -> Layout:
    """Decide the kind of every value, then give it its array; `direct`: the backend's convolutions copy no windows."""
    plan = convolutions(pools(plan), direct=direct)
    sink(plan)
    out = Layout(plan, copies=_copies(plan))
    roots = set(plan.roots.values())
    for e in reversed(plan.order):                               # readers first: inlining asks for the reader's kind
        out.kind[e] = _kind(out, e, roots)
    for e in plan.order:
        if isinstance(e, Shift) and out.kind[e] == "view":
            _slots(out, e)
    for e in plan.order:
        if isinstance(e, Concat):
            _parts(out, e, roots)
    for e in sorted(plan.order, key=lambda e: not isinstance(e, Concat)):        # their pieces' readers may come before them
        if out.kind[e] not in ("view", "inline", "part"):
            order = stored(plan, e, out.full) if out.kind[e] == "whole" else None
            if order is not None:
                out.order[e] = order
            name = getattr(e, "name", "") if out.kind[e] == "leaf" else ""
            out.arrays[e] = Array(_storage(out, e), *_owner(plan, e), name=name)
    return out


def _owner(plan: Schedule, e: Expr) -> tuple[str, str]:
    kind = {"real": REAL, "bool": BOOL}.get(e.type.kind, INT)
    if e in plan.pools and kind == INT and e.type.n is not None and (e.type.n.value or 257) <= 256:
        kind = BYTE
    return kind, {Param: "param", Input: "input"}.get(type(e), "value")


def _storage(out: Layout, e: Expr) -> tuple[Size, ...]:
    loop = out.plan.loop[e]
    dims = list(e.dims)
    if out.kind[e] in ("carry", "local"):
        assert loop is not None
        del dims[e.axes.index(loop.axis)]
    elif out.kind[e] == "trace":
        assert loop is not None
        dims[e.axes.index(loop.axis)] = length(loop.axis) + out.lead.get(e, 0) + out.trail.get(e, 0)
    elif isinstance(e, Shift):
        dims[e.axes.index(e.axis)] = length(e.axis) + abs(e.s)
    elif e in out.order:
        dims = [dims[d] for d in out.order[e]]
    return tuple(dims)


def _kind(out: Layout, e: Expr, roots: set[Expr]) -> str:
    plan = out.plan
    if e in plan.convolutions:
        return "whole"
    match e:
        case Const() | Extent() | Index() if e in roots or _in_kernels(plan, e):
            return "inline"
        case Param() | Input():
            return "leaf"
        case OneHot() if e not in roots and all(_reads_hot(out, u, e) for u in plan.users[e]):
            return "inline"
        case At() if plan.loop[plan.operands[e][0]] is None or not isinstance(plan.operands[e][0], (Const, Extent)):
            return "view"
        case Shift():
            return "whole" if e in out.copies else "view"
    if isinstance(e, VIEWS) and e not in plan.pools:
        return "view"
    if chained(plan, e):
        return "inline"
    if isinstance(e, Map) and e not in roots and _inlines(out, e):
        return "inline"
    loop = plan.loop[e]
    return "whole" if loop is None else _loop_kind(out, e, loop, roots)


def _in_kernels(plan: Schedule, e: Expr) -> bool:
    """Whether a number is read by kernels and fills only, through repeats; a product or a reduction needs it as a value."""
    return all(_in_kernels(plan, u) if isinstance(u, Broadcast) else isinstance(u, (Map, Concat, Pad, Put, Shift))
               for u in plan.users[e])


def _base(plan: Schedule, e: Expr) -> Expr:
    """The value below a chain of views."""
    while isinstance(e, (*VIEWS, Shift)) and e not in plan.convolutions:
        e = plan.operands[e][0]
    return e


def _copies(plan: Schedule) -> set[Expr]:
    """Shifts that no slots around a loop's value serve: of what no loop computes, and, outside loops, those whose boundary
    values need the loop itself or differ from those that stand there.
    """
    out: set[Expr] = set()
    held: dict[tuple[Expr, int], tuple[Expr, Expr]] = {}         # (loop value, index of a slot) -> the shift's operand, its init
    shifts = [n for n in plan.order if isinstance(n, Shift)]
    for n in sorted(shifts, key=lambda n: plan.loop[n] is None):           # a loop's own shifts first
        a, *inits = plan.operands[n]
        loop = plan.loop[base := _base(plan, a)]
        slots = {(base, i + min(n.s, 0)): (a, init) for i, init in enumerate(inits)}
        own = plan.loop[n] is None and any(held.get(k, v) != v for k, v in slots.items())
        if loop is None or own or (plan.loop[n] is None and any(_needs(plan, i, loop) for i in inits)):
            out.add(n)
        else:
            held.update(slots)
    return out


def _needs(plan: Schedule, e: Expr, loop: LoopPlan) -> bool:
    """Whether a value depends on what a loop computes."""
    seen, stack = {e}, [e]
    while stack:
        n = stack.pop()
        if plan.loop[n] is loop:
            return True
        for a in plan.operands[n]:
            if a not in seen:
                seen.add(a)
                stack.append(a)
    return False


def _reads_hot(out: Layout, user: Expr, e: Expr) -> bool:
    """Whether a reader of a one-hot vector never needs it as an array: a lookup, or a kernel over its own dims."""
    return (isinstance(user, Contract) and lookup(out.plan, user) is not None) or isinstance(user, Map)


def _inlines(out: Layout, e: Expr) -> bool:
    """An elementwise value with one elementwise reader of the same dims, in the same region; scalars of sizes always."""
    plan = out.plan
    if not e.dims and all(out.plan.operands[e][i] is a and isinstance(a, (Const, Extent)) for i, a in enumerate(e.args)):
        return True
    users = plan.users[e]
    if len(users) != 1:
        return False
    user = users[0]
    if isinstance(user, Broadcast) and not e.dims and len(plan.users[user]) == 1:
        user = plan.users[user][0]
        return isinstance(user, Map)
    return isinstance(user, Map) and plan.loop[user] is plan.loop[e] and user.dims == e.dims


def _readers(plan: Schedule, e: Expr, shift: int | None = 0) -> list[tuple[Expr, int | None]]:
    """(reader, shift) of a value through views; None where shifts add up."""
    found: list[tuple[Expr, int | None]] = []
    for u in plan.users[e]:
        if isinstance(u, Shift) and plan.operands[u][0] is e:
            found += _readers(plan, u, u.s if shift == 0 else None)
        elif isinstance(u, VIEWS):
            found += _readers(plan, u, shift)
        else:
            found.append((u, shift))
    return found


def _loop_kind(out: Layout, e: Expr, loop: LoopPlan, roots: set[Expr]) -> str:
    plan = out.plan
    last = -1 if loop.direction > 0 else 0
    readers = _readers(plan, e)
    seen_outside = any(plan.loop[r] is not loop and not (isinstance(r, At) and s == 0 and r.i == last and r.axis == loop.axis)
                       for r, s in readers)
    viewed = any(isinstance(v, (*VIEWS, Shift)) and v in roots for v in plan.users[e])
    shifts = {s for _, s in readers if s != 0}
    if e in roots or viewed or seen_outside or shifts - {-loop.direction}:
        return "trace"
    if not shifts:
        return "trace" if _completes(plan, e) else "local"
    return "trace" if _reads_old_after_new(out, e, loop) or isinstance(e, Concat) else "carry"


def _completes(plan: Schedule, e: Expr) -> bool:
    """Whether a loop adds to what was computed for all steps, which nobody else reads: then the sum takes its place."""
    def share(a: Expr) -> bool:
        known = isinstance(a, (Contract, Map)) and plan.users[a] == [e]
        return known and plan.loop[a] is None and a.dims == e.dims and a not in plan.roots.values()
    return isinstance(e, Map) and e.f == "add" and sum(map(share, plan.operands[e])) == 1


def _statements(out: Layout, e: Expr) -> list[Expr]:
    """The values whose statements may compute e: e itself, and what it may become a part of."""
    stack, found = [e], [e]
    while stack:
        n = stack.pop()
        if out.kind.get(n, "inline") == "inline" and isinstance(n, Map):
            parts = [u for u in out.plan.users[n] if not isinstance(u, Shift) and u not in found]
            stack += parts
            found += parts
    return found


def _reads_old_after_new(out: Layout, e: Expr, loop: LoopPlan) -> bool:
    """Whether a reader of the previous step's value itself needs this step's: then one array cannot hold both."""
    plan = out.plan
    old = {u for r, s in _readers(plan, e) if s == -loop.direction for u in _statements(out, r)}
    seen, stack = {e}, [e]
    while stack:                                                 # what depends on this step's value, within the step
        for u in plan.users[stack.pop()]:
            if plan.loop[u] is loop and u not in seen and not isinstance(u, Shift):
                if u in old:
                    return True
                seen.add(u)
                stack.append(u)
    return False


def _slots(out: Layout, e: Shift) -> None:
    """Room for boundary values before or after a loop's value."""
    base = _base(out.plan, out.plan.operands[e][0])
    if out.kind[base] == "trace":
        room = out.lead if e.s < 0 else out.trail
        room[base] = max(room.get(base, 0), abs(e.s))
    elif out.kind[base] != "carry":
        raise GraphError(f"a delay of {base!r}, which keeps no step")


def _parts(out: Layout, e: Concat, roots: set[Expr]) -> None:
    """A piece is written where it belongs: computed where the concatenation is, or all pieces the steps of one loop before it."""
    plan = out.plan
    loops = {plan.loop[a] for a in plan.operands[e]}
    after = plan.loop[e] is None and None not in loops and len(loops) == 1
    for a, lo in zip(plan.operands[e], e.offsets, strict=True):
        own = out.kind[a] in ("whole", "local", "trace") and not out.lead.get(a) and not out.trail.get(a) \
            and not isinstance(a, Shift | Noise)                 # draws fill an array of their own, front to back
        own = own and a not in plan.pools and a not in plan.convolutions             # and so do windows of images
        if own and a not in roots and a not in out.part and (plan.loop[a] is plan.loop[e] or after):
            if out.kind[a] == out.kind[e] or out.kind[a] == "local" or (after and out.kind[a] == "trace"):
                out.part[a] = (e, e.at, lo)
                out.kind[a] = "part"
