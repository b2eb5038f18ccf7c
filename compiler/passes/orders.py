"""Orders: how the dims of arrays around windows stand in memory.

A product of windows with a kernel is one matrix product where what is summed stands together, and what is not: its windows are
then stored (batch, places..., elements..., channels) and its result (batch, places..., outputs). What is computed element by
element from such an array keeps its order, so images stand channel last from one convolution to the next, and nothing is
transposed between layers. Arrays of callers keep theirs: (batch, channels, height, width).

    stored(e)     dims of e in the order of memory, where that is not their own
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from ..graph import Contract, Expr, Fold, Map, OneHot, Pad, Reduce, Slice, Transpose, Window
from ..program import (
    Along,
    Array,
    Call,
    Copy,
    Hot,
    Kernel,
    Load,
    Pool,
    Product,
    Reduction,
    Scalar,
    Step,
    Stmt,
    Tap,
    Unpool,
    View,
    Winner,
    leaves,
    view,
)
from ..sizes import Size
from .lookups import lookup
from .schedule import Schedule

Order = tuple[int, ...]
VIEWED = (Slice, Transpose)


def chained(plan: Schedule, e: Expr) -> bool:
    """Whether a window, fold or padding is only a step to the next one: both are done in one statement."""
    users = plan.users[e]
    if not isinstance(e, (Window, Fold, Pad)) or e in plan.pools or len(users) != 1 or type(users[0]) is not type(e) \
            or e in plan.roots.values():
        return False
    if isinstance(e, Pad):
        return plan.loop[users[0]] is plan.loop[e]
    there = users[0].at
    apart = there not in (e.at, e.at + 1) if isinstance(e, Window) else e.at not in (there, there + 1)
    return apart and plan.loop[users[0]] is plan.loop[e]


def chain(plan: Schedule, e: Expr) -> tuple[Expr, list[Expr]]:
    """What a chain of windows or folds begins from, and its links, the first one first."""
    links = [e]
    while chained(plan, a := plan.operands[links[0]][0]) and type(a) is type(e):
        links.insert(0, a)
    return plan.operands[links[0]][0], links


def taps(links: list[Expr]) -> list[tuple[Window | Fold, int, Size]]:
    """Each link with the feature that it taps, counted on the side without elements, and with its number of elements."""
    out: list[tuple[Window | Fold, int, Size]] = []
    places: list[int | None] = list(range(100))
    for link in links if isinstance(links[0], Window) else reversed(links):
        assert isinstance(link, (Window, Fold))
        at = places[link.at]
        assert at is not None
        out.append((link, at, link.k if isinstance(link, Window) else link.args[0].shape[link.at + 1]))
        places.insert(link.at + 1, None)
    return out


def own(v: View) -> Order:
    """The dims of a view in the order of its array's memory; repeats are left out."""
    return tuple(x.dim for x in v.along if isinstance(x, Along))


def stored(plan: Schedule, e: Expr, full: Callable[[Expr], View]) -> Order | None:
    """The order in memory of a whole value that windows have to do with; None for its own."""
    order: Order | None = None
    if e in plan.roots.values():                                 # the caller's array
        return None
    if e in plan.convolutions:                                   # channels last
        return None if plan.convolutions[e].kind == "correlate" else _proper((0, *range(2, e.rank), 1), e)
    if e in plan.pools:
        return _proper(_of(full, plan.like[e]), e)
    match e:
        case Window():
            base, links = chain(plan, e)
            order = _windows(e, links, own(full(base)))
        case Fold():
            base, links = chain(plan, e)
            order = _folded(e, links, own(full(base)))
        case Contract() if touches(plan, e):
            order = _product(plan, e, full)
        case Contract() if (found := lookup(plan, e)) is not None and found.kind == "take":
            order = (*range(len(e.axes)), *(len(e.axes) + e.lo.index(k) for k in found.order))
        case Map():
            order = _elementwise(plan, e, full) or _wanted(plan, e, full)
        case OneHot():
            order = (*_of(full, plan.operands[e][0]), e.rank - 1)
        case Reduce():
            a = plan.operands[e][0]
            gone = {a.axes.index(o) if isinstance(o, str) else len(a.axes) + o for o in e.over}
            order = _without(own(full(a)), gone)
        case Pad():
            order = own(full(chain(plan, e)[0]))
    return _proper(order, e)


def _proper(order: Order | None, e: Expr) -> Order | None:
    """An order of all dims that is not the usual one."""
    return order if order is not None and len(order) == e.rank and order != tuple(range(e.rank)) else None


def _elementwise(plan: Schedule, e: Expr, full: Callable[[Expr], View]) -> Order | None:
    """The order of the first operand that has one of its own, looked for through what is computed in the same kernel."""
    for a in plan.operands[e]:
        if a.dims != e.dims:
            continue
        order = _of(full, a)
        if not order and isinstance(a, Map):
            order = _elementwise(plan, a, full) or ()
        if not _plain(order, e.rank):
            return order
    return None


def _wanted(plan: Schedule, e: Expr, full: Callable[[Expr], View]) -> Order | None:
    """The order in which a product with windows that exist already reads e as a matrix: what is summed, then what is kept, or
    the other way round where examples are kept: an image stands in one piece.
    """
    for u in plan.users[e]:
        if isinstance(u, Contract) and touches(plan, u) and plan.operands[u][0] is not plan.operands[u][1]:
            k = plan.operands[u].index(e)
            other = plan.operands[u][1 - k]
            mine, theirs = ((*x.axes, *ls) for x, ls in ((e, (u.la, u.lb)[k]), (other, (u.la, u.lb)[1 - k])))
            kept = (*u.axes, *u.lo)
            summed = [theirs[d] for d in _of(full, other) if theirs[d] not in kept and theirs[d] in mine]
            if summed:
                rest = [x for x in mine if x not in summed]
                return tuple(map(mine.index, (*rest, *summed) if {*e.axes} & {*rest} else (*summed, *rest)))
    return None


def _of(full: Callable[[Expr], View], a: Expr) -> Order:
    try:
        return own(full(a))
    except KeyError:                                             # a value inside its reader's kernel has no array
        return ()


def _without(order: Order, gone: set[int]) -> Order:
    """The order of what is left when dims go."""
    return tuple(d - sum(g < d for g in gone) for d in order if d not in gone)


def _windows(e: Expr, links: list[Expr], base: Order) -> Order:
    """Batch and other axes, places, then elements and channels, whichever stands last in the base."""
    lead = len(e.axes)
    now = [list(x) for x in ([d] for d in range(e.rank - len(links)))]       # dims of the base -> dims of e
    for link in links:
        at = lead + link.at  # type: ignore[attr-defined]
        now = [[d + (d > at) for d in dims] for dims in now]
        k = next(i for i, dims in enumerate(now) if at in dims)
        now[k].append(at + 1)
    places = [now[d][0] for d in base if len(now[d]) > 1]
    elements = [now[d][1] for d in base if len(now[d]) > 1]
    rest = [now[d][0] for d in base if len(now[d]) == 1 and d >= lead]
    tapped = [i for i, d in enumerate(base) if len(now[d]) > 1]
    first = [i for i, d in enumerate(base) if len(now[d]) == 1 and d >= lead]
    inner = [*rest, *elements] if first and tapped and first[0] < tapped[0] else [*elements, *rest]
    return (*(d for d in base if d < lead), *places, *inner)


def _folded(e: Expr, links: list[Expr], base: Order) -> Order:
    """The places stay where they are, the elements go."""
    order = list(base)
    for link in links:
        k = len(e.axes) + link.at + 1  # type: ignore[attr-defined]
        order = [d - (d > k) for d in order if d != k]
    return tuple(order)


def touches(plan: Schedule, e: Contract) -> bool:
    """Whether a product reads windows, or is added up from them."""
    def below(a: Expr) -> Expr:
        while isinstance(a, VIEWED) and a not in plan.pools and a not in plan.convolutions:
            a = plan.operands[a][0]
        return a
    return any(isinstance(below(a), Window) for a in plan.operands[e]) or bool(_folds(plan, e))


def _folds(plan: Schedule, e: Expr) -> list[Fold]:
    """Who adds e up as windows."""
    return [u for u in plan.users[e] if isinstance(u, Fold) and u not in plan.pools]


def _elements(plan: Schedule, e: Contract) -> list[str | int]:
    """The labels of a product along which folds add it up: elements of windows, stored before the channels."""
    users = _folds(plan, e)
    if len(users) != 1:
        return []
    end: Expr = users[0]
    while chained(plan, end):
        end = plan.users[end][0]
    places: list[int | None] = list(range(len(end.shape)))
    for link in reversed(chain(plan, end)[1]):
        places.insert(link.at + 1, None)  # type: ignore[attr-defined]
    return [k for k, p in zip(e.lo, places, strict=True) if p is None]


def _product(plan: Schedule, e: Contract, full: Callable[[Expr], View]) -> Order | None:
    """Rows as they stand in one operand, columns as in the other."""
    a, b = plan.operands[e]
    la, lb, lo = (*a.axes, *e.la), (*b.axes, *e.lb), (*e.axes, *e.lo)
    first = [la[d] for d in own(full(a))]
    second = [lb[d] for d in own(full(b))]
    if any(k in first and k in second for k in lo):
        return None
    rows, columns = [k for k in first if k in lo], [k for k in second if k in lo]
    if not {*e.axes} <= {*rows}:
        rows, columns = columns, rows
    inner = _elements(plan, e)
    order = [*rows, *(k for k in columns if k in inner), *(k for k in columns if k not in inner)]
    return tuple(lo.index(k) for k in order) if len(order) == len(lo) else None


# ---------------------------------------------------------------- statements in the order of memory

def natural(s: Stmt) -> Stmt:
    """A statement with its dims in the order in which what it writes, or reduces, stands in memory: nothing is transposed."""
    match s:
        case Kernel(dims, out, body):
            order = own(out)
            if _plain(order, len(dims)) or (order[-1] != len(dims) - 1 and any(isinstance(x, Hot) for x in leaves(body))):
                return s
            return Kernel(tuple(dims[d] for d in order), turned(out, order), _scalar(body, order))
        case Product(out, a, b, la, lb, lo) if not _plain(own(out), len(lo)):
            return Product(turned(out, own(out)), a, b, la, lb, tuple(lo[d] for d in own(out)))
        case Pool(out, kind, a, taps) if not _plain(order := own(out), len(out.dims)):
            return Pool(turned(out, order), kind, turned(a, order), _tapped(taps, order))
        case Winner(out, a, best, taps) if not _plain(order := own(out), len(out.dims)):
            return Winner(turned(out, order), turned(a, order), turned(best, order), _tapped(taps, order))
        case Unpool(out, g, won, taps) if not _plain(order := own(out), len(out.dims)):
            return Unpool(turned(out, order), turned(g, order), won and turned(won, order), _tapped(taps, order))
        case Copy(out, a, ()) if out.dims == a.dims and not _plain(own(out), len(out.dims)):
            return Copy(turned(out, own(out)), turned(a, own(out)))
        case Reduction(kind, out, a, over) if (order := own(a)) and not _plain(order, len(a.dims)):
            if kind == "argmax" and len(over) > 1:
                return s
            rest = [d for d in range(len(a.dims)) if d not in over]
            kept = tuple(rest.index(d) for d in order if d in rest)
            return Reduction(kind, turned(out, kept), turned(a, order), tuple(sorted(order.index(d) for d in over)))
    return s


def operand_orders(s: Product, k: int) -> tuple[Order, ...]:
    """The orders in which operand k (0 or 1) may be stored for s to be one matrix product with the other as it stands.

    None where it is so already, or where no order of this operand helps.
    """
    mine, other = (s.a, s.b) if k == 0 else (s.b, s.a)
    lm, ln = (s.la, s.lb) if k == 0 else (s.lb, s.la)
    mine_own, other_own = [lm[d] for d in own(mine)], [ln[d] for d in own(other)]
    if any(x in lm and x in ln for x in s.lo) or len(mine_own) != len(lm):
        return ()
    out = [s.lo[d] for d in own(s.out)] if len(own(s.out)) == len(s.lo) else list(s.lo)
    kept, summed = [x for x in out if x in lm], [x for x in other_own if x not in s.lo]
    wanted = [*kept, *summed], [*summed, *kept]
    if mine_own in wanted or {*wanted[0]} != {*lm}:
        return ()
    return tuple(tuple(lm.index(x) for x in w) for w in wanted)


def result_order(s: Product) -> Order | None:
    """The order in which the result of a product comes out where the array that it goes to has another one."""
    if any(x in s.la and x in s.lb for x in s.lo) or len(own(s.a)) != len(s.la) or len(own(s.b)) != len(s.lb):
        return None
    first, second = [s.la[d] for d in own(s.a) if s.la[d] in s.lo], [s.lb[d] for d in own(s.b) if s.lb[d] in s.lo]
    out = [s.lo[d] for d in own(s.out)]
    if out in ([*first, *second], [*second, *first]) or len(out) != len(s.lo):
        return None
    ahead = first if out[0] in first else second
    behind = second if out[0] in first else first
    return tuple(s.lo.index(x) for x in (*ahead, *behind))


def matrices(s: Stmt, packed: dict[tuple[Array, Order], Array]) -> Iterator[Stmt]:
    """A product of windows as one matrix product: a parameter is copied once into the order that it needs, so is the result."""
    s = natural(s)
    if not isinstance(s, Product):
        yield s
        return
    for k in (0, 1):
        v = s.b if k else s.a
        orders = operand_orders(s, k) if v.array.role == "param" else ()
        if orders:
            order = next((o for o in orders if (v.array, o) in packed), orders[0])
            if (v.array, order) not in packed:
                packed[v.array, order] = Array(tuple(v.dims[d] for d in order), v.array.kind)
                yield Copy(view(packed[v.array, order]), turned(v, order))
            v, labels = view(packed[v.array, order]), tuple((s.lb if k else s.la)[d] for d in order)
            s = replace(s, b=v, lb=labels) if k else replace(s, a=v, la=labels)
    after = result_order(s)
    if after is None:
        yield s
        return
    between = view(Array(tuple(s.out.dims[d] for d in after), s.out.array.kind))
    yield replace(s, out=between, lo=tuple(s.lo[d] for d in after))
    yield Copy(turned(s.out, after), between)


def _plain(order: Order, rank: int) -> bool:
    return len(order) != rank or order == tuple(range(rank))


def turned(v: View, order: Order) -> View:
    """v with its dims in another order: dim k of the result is dim order[k]."""
    if not v.dims:
        return v
    along = tuple(replace(x, dim=order.index(x.dim)) if isinstance(x, Along) else x for x in v.along)
    return View(v.array, along, tuple(v.dims[d] for d in order))


def _tapped(taps: tuple[Tap, ...], order: Order) -> tuple[Tap, ...]:
    return tuple(sorted((replace(t, dim=order.index(t.dim)) for t in taps), key=lambda t: t.dim))


def _scalar(s: Scalar, order: Order) -> Scalar:
    match s:
        case Load(v) | Hot(v):
            return type(s)(turned(v, order))
        case Step(dim, axis) if dim is not None:
            return Step(order.index(dim), axis)
        case Call(f, args, kind):
            return Call(f, tuple(_scalar(a, order) for a in args), kind)
    return s
