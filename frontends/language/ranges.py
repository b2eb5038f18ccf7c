"""Ranges in the brackets of a reduction: `sum[t < T-1]`, `mean[batch, t >= 1]`, `softmax[u <= t]`.

A comparison names the axis on its left (or else on its right) and keeps the steps for which it holds: what is reduced is
`select(condition, a, fill)`, where the fill changes nothing. A step that no kept one reads needs no boundary value.

    sum[t < T-1] f(a[t+1])       sum[t] select(t < T - 1, f(a[t+1]), 0)
    mean[batch, t >= 1] a[t]     sum[batch, t] select(t >= 1, a[t], 0) / (B*(T - 1))
    softmax[u < t](a[t, u])      0 where the condition does not hold, everywhere if it holds nowhere
"""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.graph import REAL, At, Const, Expr, Extent, Index, Reduce, Stop, apply, broadcast, length, product
from ...compiler.node import base
from ...compiler.passes.lengths import FILL
from ...compiler.sizes import Size
from . import semantics
from . import syntax as s
from .scope import AxisName, Context, Scope
from .static import static

ORDER = ("<", "<=", ">", ">=")
COMPARING = (*ORDER, "==", "!=")
TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
Items = Sequence[s.Expr]


def axis_of(item: s.Expr, scope: Scope) -> AxisName | None:
    """The axis that a range bounds."""
    if isinstance(item, s.Binary) and item.op in COMPARING:
        for side in (item.a, item.b):
            found = scope.find(side.name) if isinstance(side, s.Name) else None
            if isinstance(found, AxisName):
                return found
    return None


def condition(ctx: Context, items: Items, scope: Scope) -> Expr | None:
    """Where all ranges among the items hold; None where there is none."""
    from .expressions import evaluate
    out: Expr | None = None
    for item in items:
        if axis_of(item, scope) is not None:
            e = evaluate(ctx, item, scope)
            out = e if out is None else apply("and", out, e)
    return out


def inside(ctx: Context, items: Items, scope: Scope) -> Scope:
    """The scope of what is reduced, which knows how far from both ends its steps stay."""
    limits = [(x.axis, *_limits(ctx, item, scope)) for item in items for x in [axis_of(item, scope)] if x is not None]
    if not limits:
        return scope
    inner = Scope(scope.source, scope.path, scope.owned, scope, reverse=scope.reverse, hidden=scope.hidden, calls=scope.calls,
                  inner=True)
    for axis, lo, hi in limits:
        old = inner.within.get(axis, (0, 0))
        inner.within[axis] = (max(old[0], lo or 0), max(old[1], hi or 0))
    return inner


def _limits(ctx: Context, item: s.Expr, scope: Scope) -> tuple[int | None, int | None]:
    """(k, None) for t >= k, (None, k) for t < T - k, where a range says one of these; turned round in a reversed fragment."""
    assert isinstance(item, s.Binary)
    left = isinstance(item.a, s.Name) and isinstance(scope.find(item.a.name), AxisName)
    op, other = (item.op, item.b) if left else (TURNED.get(item.op, item.op), item.a)
    axis, at = axis_of(item, scope), static(ctx, other, scope)
    if axis is None or at is None or op not in ORDER:
        return None, None
    found: tuple[int | None, int | None] = (None, None)
    if op in (">", ">=") and at.value is not None:
        found = (at.value + (op == ">"), None)
    from_end = (length(axis.axis) - at).value
    if op in ("<", "<=") and from_end is not None:
        found = (None, from_end - (op == "<="))
    return found[::-1] if scope.reverse else found


def needs_none(scope: Scope, axis: str, by: int) -> bool:
    """Whether a read `by` steps away stays inside the sequence, by the ranges around it."""
    where: Scope | None = scope
    while where is not None:
        lo, hi = where.within.get(axis, (0, 0))
        if (lo + by >= 0) if by < 0 else (by <= hi):
            return True
        where = where.outer
    return False


def harmless(e: Expr | None, axis: str, by: int) -> Expr:
    """What stands at steps that are never read: a value from inside, so that no function of it leaves its domain."""
    if e is None:
        return Const(0)
    edge = At(e, axis, 0 if by < 0 else -1)
    return Stop(edge) if e.type == REAL else edge


# ---------------------------------------------------------------- reductions over ranges

def reduced(ctx: Context, kind: str, e: Expr, over: semantics.Over, items: Items, scope: Scope) -> Expr:
    """A reduction by its name in the language, over the steps that the ranges keep."""
    kept = condition(ctx, items, scope)
    if kept is None:
        return semantics.reduce(kind, e, over)
    e = semantics.numeric(e)
    if kind in ("mean", "var"):
        mean = apply("div", Reduce("sum", apply("select", kept, e, 0), over), counted(ctx, kept, e, over, items, scope))
        if kind == "mean":
            return mean
        far = apply("square", e - semantics.back(mean, e, over))
        return apply("div", Reduce("sum", apply("select", kept, far, 0), over), counted(ctx, kept, e, over, items, scope))
    return Reduce(kind, apply("select", kept, e, FILL[kind]), over)


def counted(ctx: Context, kept: Expr, e: Expr, over: semantics.Over, items: Items, scope: Scope) -> Expr:
    """How many elements the ranges keep: a size where they cut the ends off, else a sum of conditions."""
    sizes: dict[str, Size] = {x: length(x) for x in over if isinstance(x, str)}
    cut: dict[str, list[int]] = {}
    for item in items:
        axis = axis_of(item, scope)
        if axis is not None:
            lo, hi = _limits(ctx, item, scope)
            if lo is None and hi is None:
                axes = tuple(x for x in over if isinstance(x, str))
                ones = broadcast(apply("real", kept), tuple({*axes, *kept.axes}), ())
                rest = product(tuple(e.shape[x] for x in over if isinstance(x, int)))
                count = Reduce("sum", ones, axes)
                return count if rest.value == 1 else count * Extent(rest)
            ends = cut.setdefault(axis.axis, [0, 0])
            ends[:] = [max(ends[0], lo or 0), max(ends[1], hi or 0)]
    for name, (lo_, hi_) in cut.items():
        sizes[name] = sizes[name] - lo_ - hi_
    return Extent(product((*sizes.values(), *(e.shape[x] for x in over if isinstance(x, int)))))


def soft(ctx: Context, log: bool, e: Expr, over: semantics.Over, items: Items, scope: Scope) -> Expr:
    """softmax or log_softmax over the steps that the ranges keep; a softmax is 0 elsewhere."""
    make = semantics.log_softmax if log else semantics.softmax
    kept = condition(ctx, items, scope)
    if kept is None:
        return make(e, over)
    out = make(apply("select", kept, e, FILL["logsumexp"]), over)
    return out if log or _never_empty(items, scope) else apply("select", kept, out, 0)


def _never_empty(items: Items, scope: Scope) -> bool:
    """Whether a range holds somewhere whatever the lengths are: `u <= t`, the step itself included."""
    found = [i for i in items if isinstance(i, s.Binary) and axis_of(i, scope) is not None]
    if len(found) != 1 or found[0].op not in ("<=", ">=", "=="):
        return False
    sides = [scope.find(x.name) for x in (found[0].a, found[0].b) if isinstance(x, s.Name)]
    axes = [x.axis for x in sides if isinstance(x, AxisName)]
    return len(axes) == 2 and base(axes[0]) == base(axes[1])


def index(axis: str, scope: Scope) -> Expr:
    """An index as a number; a reversed fragment counts from the end."""
    return Extent(length(axis) - 1) - Index(axis) if scope.reverse else Index(axis)


__all__ = ["axis_of", "condition", "counted", "harmless", "index", "inside", "needs_none", "reduced", "soft"]
