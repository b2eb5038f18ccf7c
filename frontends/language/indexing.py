"""What stands in brackets after a value: steps and delays of sequences, boundary values, slices, lookups."""

from __future__ import annotations

from dataclasses import dataclass

from ...compiler.graph import BATCH, REAL, At, Expr, GraphError, OneHot, Reshape, Shift, Slice, length, matmul
from ...compiler.node import base, shown
from ...compiler.sequences import renamed
from ...compiler.sizes import Size, symbol
from . import syntax as s
from .arithmetic import declared
from .equations import not_while_computed, read, read_shifted
from .ranges import harmless, needs_none
from .scope import (
    ARRIVING,
    AxisName,
    Binding,
    Context,
    Equation,
    Family,
    Lost,
    Poisoned,
    Scope,
    SizeName,
    Unknown,
    Value,
    axis_length,
    text_of,
)
from .static import integer, static


@dataclass(frozen=True)
class Step:
    """Where along an axis a sequence is read: `by` steps from here, or at step `at`; along `to`, another name of the axis."""

    axis: str
    by: int = 0
    at: int | None = None
    to: str = ""


def indexed(ctx: Context, node: s.Index, scope: Scope) -> Expr:
    """v[t-1, 0:H]: time first, then features."""
    items = list(node.items)
    if not isinstance(node.a, s.Name):
        from .expressions import evaluate
        return _features(ctx, node, evaluate(ctx, node.a, scope), items, scope)
    binding = _resolve(ctx, node, node.a.name, items, scope)
    if isinstance(binding, Value | Equation) and not binding.axes:
        _no_axis(ctx, node, binding, items, scope)
    if not isinstance(binding, Value | Equation):
        from .expressions import evaluate
        return _features(ctx, node, evaluate(ctx, node.a, scope), items, scope)
    names = binding.axes
    if len(items) < len(names):
        local = [_own(scope, x) for x in names]
        ctx.fail(scope, node, f"`{node.a.name}` runs along {' and '.join(local)}: write {node.a.name}[{', '.join(local)}]",
                 (binding, f"`{node.a.name}` is declared here"))
    steps = [_step(ctx, node, item, name, binding, scope) for item, name in zip(items, names)]
    if isinstance(binding, Equation) and any(x.at is not None or x.to for x in steps):
        what = "one certain step" if any(x.at is not None for x in steps) else "all steps"
        not_while_computed(ctx, binding, scope, node, f"{what} of a sequence")
    moved = [x for x in steps if x.by]
    if len(moved) > 1:
        first, second = (_own(scope, x.axis) for x in moved[:2])
        ctx.fail(scope, node, f"`{text_of(scope, node)}` shifts along {first} and {second}; an equation shifts "
                 "along one axis only", hint=f"take one of the two steps in an equation of its own, along {first}")
    e = _read(ctx, node, binding, moved[0] if moved else None, scope)
    for step in steps:
        if step.at is not None:
            e = At(e, step.axis, -1 - step.at if scope.reverse else step.at)
    kept = [x.to or x.axis for x in steps if x.at is None]
    if len({*kept}) < len(kept):
        ctx.fail(scope, node, f"`{text_of(scope, node)}` runs along one axis twice",
                 hint="a second name of an axis: time u over t")
    e = renamed(e, {x.axis: x.to for x in steps if x.to})
    return _features(ctx, node, e, items[len(names):], scope)


def _no_axis(ctx: Context, node: s.Index, binding: Binding, items: list[s.Expr], scope: Scope) -> None:
    """Refuses `x[t-1]` where no axis t is declared and x is no sequence."""
    unknown = [x for i in items for x in s.walk(i) if isinstance(x, s.Name) and scope.find(x.name) is None and len(x.name) == 1
               and x.name.islower()]
    if unknown:
        name, t = text_of(scope, node.a), unknown[0].name
        ctx.fail(scope, node, f"`{name}` is no sequence, and there is no time axis `{t}`",
                 (binding, f"`{name}` is declared here"), hint=f"an input declares both: input {name}[{t}, ...]")


def _resolve(ctx: Context, node: s.Index, name: str, items: list[s.Expr], scope: Scope) -> Binding | None:
    """What is indexed; h[l-1] of a family is its member, and the item is used up."""
    binding = scope.find(name)
    if isinstance(binding, Lost):
        raise Poisoned
    if isinstance(binding, Family):
        k = integer(ctx, items[0], scope)
        if k is None or k not in binding.members:
            known = ", ".join(f"{name}[{m}]" for m in binding.members)
            shown = name + f"[{text_of(scope, items[0])}]" + (f" (= {name}[{k}])" if k is not None else "")
            ctx.fail(scope, node, f"there is no `{shown}`: there are {known}", (binding, "the first is declared here"))
        items.pop(0)
        binding = scope.find(binding.members[k])
    return binding


def _read(ctx: Context, node: s.Index, binding: Value | Equation, step: Step | None, scope: Scope) -> Expr:
    name = text_of(scope, node.a)
    if step is None:
        if isinstance(binding, Value):
            if binding.expr is None:
                raise Unknown
            return binding.expr
        return read(ctx, binding, scope, node)
    by = -step.by if scope.reverse else step.by
    if isinstance(binding, Equation):
        return read_shifted(ctx, binding, step.axis, by, scope, node, boundaries)
    if binding.expr is None:
        raise Unknown
    return shifted(ctx, binding.expr, step.axis, by, boundaries(ctx, name, binding, step.axis, by, scope, node), scope, node)


def shifted(ctx: Context, e: Expr, axis: str, by: int, inits: tuple[Expr, ...], scope: Scope, node: s.Node) -> Expr:
    """Shift, where every boundary value fits."""
    for init in inits:
        if axis in init.axes:
            ctx.fail(scope, node, f"the boundary value of `{text_of(scope, node)}` runs along {axis} itself",
                     hint="take one step of it: a[0] or a[last]")
        if init.shape and init.shape != e.shape:
            ctx.fail(scope, node, f"`{text_of(scope, node)}` is {ctx.shape_text(e)}, its boundary value {ctx.shape_text(init)}",
                     *_written(ctx, init))
    return Shift(e, axis, by, inits)


def _written(ctx: Context, e: Expr) -> list[tuple[Binding, str]]:
    """A note that says where a value was written."""
    if e not in ctx.places:
        return []
    source, node = ctx.places[e]
    return [(Binding(source, node), "the boundary value")]


def _step(ctx: Context, node: s.Index, item: s.Expr, name: str, binding: Value | Equation, scope: Scope) -> Step:
    """What stands at the place of an axis: t, t-1, t+2, last, 0, T-1."""
    own = _own(scope, name)
    if isinstance(item, s.Name) and item.name == "last":
        return Step(name, at=-1)
    read = next((k for k, v in scope.axes().items() if base(v) == base(name) and _mentions(item, k)), own)
    found = _linear(ctx, item, read, scope)
    here = symbol("@" + read)
    if found is not None:
        by = ctx.number(found - here)
        if by is not None:
            return Step(name, by=by, to=_other(scope.axes().get(read, name), name))
        at = (found - length(name)).value if found.value is None else found.value
        if found.value is not None and found.value < 0:
            ctx.fail(scope, item, f"`{text_of(scope, node)}` is the value before the start, never the last one",
                     hint=f"the last is {text_of(scope, node.a)}[last]; a step back is {text_of(scope, node.a)}[{own}-1]")
        if at is not None and (found.value is not None or at < 0):
            return Step(name, at=at)
    if any(isinstance(x, s.Name) and x.name == BATCH for x in s.walk(item)):
        ctx.fail(scope, item, "`batch` is no time axis: an equation holds for one example, and sees no other",
                 hint="over all examples run reductions: mean[batch](a)")
    other = [x.name for x in s.walk(item) if isinstance(x, s.Name) and isinstance(scope.find(x.name), AxisName)]
    if other and other[0] not in (own, read):
        ctx.fail(scope, item, f"`{text_of(scope, node.a)}` runs along {own}, not {other[0]}",
                 (binding, f"`{text_of(scope, node.a)}` is declared here"))
    ctx.fail(scope, item, f"`{text_of(scope, item)}` is no step along {own}",
             (binding, f"`{text_of(scope, node.a)}` is declared here"), hint=f"write {own}, {own}-1, {own}+1, 0 or last")


def _own(scope: Scope, axis: str) -> str:
    """What an axis is called here."""
    return next((k for k, v in scope.axes().items() if v == axis), shown(axis))


def _other(axis: str, name: str) -> str:
    return axis if axis != name else ""


def _mentions(item: s.Expr, name: str) -> bool:
    return any(isinstance(x, s.Name) and x.name == name for x in s.walk(item))


def _linear(ctx: Context, item: s.Expr, axis: str, scope: Scope) -> Size | None:
    """An index as a polynomial in which the axis is the symbol @t."""
    names: dict[str, Binding] = {axis: SizeName(scope.source, item, "an axis", symbol("@" + axis))}
    if axis_length(scope, axis.upper()) is not None:
        names[axis.upper()] = SizeName(scope.source, item, "a length", axis_length(scope, axis.upper()))
    return static(ctx, item, Scope(scope.source, outer=scope, names=names, inner=True))


# ---------------------------------------------------------------- boundary values

def boundaries(ctx: Context, name: str, binding: Binding, axis: str, by: int, scope: Scope, node: s.Node) -> tuple[Expr, ...]:
    """The values beyond the end that a read `by` steps away needs, first index first."""
    home: Scope | None = scope
    while home is not None and home.names.get(name) is not binding:
        home = home.outer
    declared_ = home.bounds.get(name, []) if home is not None else []
    needed = range(by, 0) if by < 0 else range(by)
    value = binding.expr if isinstance(binding, Value | Equation) else None
    unread = harmless(value, axis, by) if needs_none(scope, axis, by) else None
    return tuple(_boundary(ctx, name, binding, axis, k, by < 0, declared_, scope, node, unread) for k in needed)


def _boundary(ctx: Context, name: str, binding: Binding, axis: str, k: int, before: bool,
              declared_: list[tuple[s.Bound, Scope]], scope: Scope, node: s.Node, unread: Expr | None = None) -> Expr:
    """The declared value at one place; `unread` is what stands there where nothing reads it."""
    from .expressions import evaluate
    found: list[tuple[s.Bound, Scope, Expr]] = []
    for bound, where in declared_:
        spot = _spot(ctx, bound, axis, where, binding)
        if spot is not None and spot[0] == before and spot[1] in (None, k):
            found.append((bound, where, evaluate(ctx, bound.value, where)))
            _fits_class(ctx, name, binding, bound, where, found[-1][2])
    if not found and unread is not None:
        return unread
    if not found:
        own = next((n for n, a in scope.axes().items() if a == axis), axis)
        shown_before = before != scope.reverse
        index = (k if before else -1 - k) if shown_before else (-1 - k if before else k)
        value = f"{name}[{index}]" if shown_before else f"{name}[{own.upper()}{f'+{index}' if index else ''}]"
        ctx.fail(scope, node, f"`{text_of(scope, node)}` needs a value {'before the start' if shown_before else 'after the end'}",
                 (binding, f"`{name}` is declared here"), hint=f"add: where {value} = 0")
    first = found[0]
    for bound, where, e in found[1:]:
        if e is not first[2]:
            ctx.fail(where, bound, f"`{name}` has two boundary values here",
                     (Binding(first[1].source, first[0]), "the other one is here"))
    return first[2]


def _fits_class(ctx: Context, name: str, binding: Binding, bound: s.Bound, where: Scope, e: Expr) -> None:
    """Refuses a boundary value that is none of the classes of the variable."""
    own = binding.expr.type if isinstance(binding, Value) and binding.expr is not None else REAL
    if own.n is None or e.type == own:
        return
    n, k = ctx.number(own.n), integer(ctx, bound.value, where)
    if e.type != REAL or k is None or k < 0 or (n is not None and k >= n):
        ctx.fail(where, bound.value, f"`{name}` is one of {ctx.size_text(own.n)} classes, 0 to {own.n} - 1, and "
                 f"`{text_of(where, bound.value)}` is none of them", (binding, f"`{name}` is declared here"))


def _spot(ctx: Context, bound: s.Bound, axis: str, where: Scope, binding: Binding) -> tuple[bool, int | None] | None:
    """(before the start?, which index or None for all) of a where-clause; indices after the end count from T.

    None where the clause speaks of another axis: of h[s, t], h[s, -1] stands before the start of t and h[-1, t] before that of s.
    """
    item, own = bound.items[-1], _own(where, axis)
    axes = binding.axes if isinstance(binding, Value | Equation) else ()
    if 1 < len(axes) <= len(bound.items):
        item = bound.items[axes.index(axis) - len(axes)]          # a family's member stands in front
        if isinstance(item, s.Name) and where.axes().get(item.name) == axis:
            return None
    at = _linear(ctx, item, own, where)
    if at is None:
        ctx.fail(where, item, f"`{text_of(where, item)}` is no place beyond the ends of {own}",
                 hint=f"write {bound.name}[-1] or {bound.name}[<0] for before the start, "
                      f"{bound.name}[{own.upper()}] for after the end")
    if bound.relation == "<":
        spot: tuple[bool, int | None] = (True, None)
    elif bound.relation == ">=":
        spot = (False, None)
    else:
        after = (at - length(axis)).value
        if at.value is not None and at.value < 0:
            spot = (True, at.value)
        elif at.value is None and after is not None and after >= 0:
            spot = (False, after)
        else:
            ctx.fail(where, item,
                     f"`{bound.name}[{text_of(where, item)}]` lies inside the sequence; a boundary value stands beyond "
                     "its ends", hint=f"write {bound.name}[-1] = ... or {bound.name}[{own.upper()}] = ...")
    if where.reverse:
        spot = (not spot[0], None if spot[1] is None else -1 - spot[1])
    return spot


# ---------------------------------------------------------------- features

def _features(ctx: Context, node: s.Index, e: Expr, items: list[s.Expr], scope: Scope) -> Expr:
    """v[0:H], W[0:H, 1], E[x[t]] on the features."""
    if len(items) > len(e.shape):
        extra = items[len(e.shape)]
        hint = None
        if isinstance(extra, s.Name) and isinstance(scope.find(extra.name), AxisName):
            hint = f"only a sequence is read at {extra.name}: `{text_of(scope, node.a)}` has no time axis"
        ctx.fail(scope, node, f"`{text_of(scope, node.a)}` is {ctx.shape_text(e)}: {len(items)} indices are too many"
                 if e.shape or e.axes else f"`{text_of(scope, node.a)}` is one value and has no features to index",
                 *declared(ctx, scope, [(node.a, e)]), hint=hint)
    dropped, at = [], 0
    for item in items:
        if isinstance(item, s.Part):
            e = _slice(ctx, node, e, at, item, scope)
        else:
            k = static(ctx, item, scope)
            if k is None:
                return _lookup(ctx, node, e, item, items, scope)
            e = _one(ctx, node, e, at, k, item, scope)
            dropped.append(at)
        at += 1
    if dropped:
        e = Reshape(e, tuple(x for i, x in enumerate(e.shape) if i not in dropped))
    return e


def _slice(ctx: Context, node: s.Index, e: Expr, at: int, item: s.Part, scope: Scope) -> Expr:
    from .static import size_of
    lo = Size({}) if item.lo is None else static(ctx, item.lo, scope)
    hi = e.shape[at] if item.hi is None else size_of(ctx, item.hi, scope, "the end of a range")
    if lo is None:
        lo = size_of(ctx, item.lo, scope, "the start of a range")  # type: ignore[arg-type]
    numbers = [ctx.number(x) for x in (lo, hi, e.shape[at])]
    if all(n is not None for n in numbers):
        low, high, whole = numbers
        if not 0 <= low < high <= whole:  # type: ignore[operator]
            shown, found = text_of(scope, item), f"{low}:{high}"
            ctx.fail(scope, item, f"the range {shown}{'' if shown == found else f' = {found}'} leaves "
                     f"`{text_of(scope, node.a)}`, which has {ctx.size_text(e.shape[at])} there",
                     *declared(ctx, scope, [(node.a, e)]))
    try:
        return Slice(e, at, lo, hi)
    except GraphError as error:
        ctx.fail(scope, item, f"this range does not fit: {error}")


def _one(ctx: Context, node: s.Index, e: Expr, at: int, k: Size, item: s.Expr, scope: Scope) -> Expr:
    number, whole = ctx.number(k), ctx.number(e.shape[at])
    if number is not None and (number < 0 or (whole is not None and number >= whole)):
        ctx.fail(scope, item, f"`{text_of(scope, node.a)}` has {ctx.size_text(e.shape[at])} features there, counted from 0, and "
                 f"{number} is none of them", *declared(ctx, scope, [(node.a, e)]))
    return Slice(e, at, k, k + 1)


def _lookup(ctx: Context, node: s.Index, e: Expr, item: s.Expr, items: list[s.Expr], scope: Scope) -> Expr:
    """E[x[t]]: row x[t] of E, as the product of its one-hot vector and E."""
    from .expressions import evaluate
    i = evaluate(ctx, item, scope)
    if i.type.kind != "class":
        own, parts = scope.find(text_of(scope, node.a)), [*s.walk(item)]
        hint = "an index is a number, a size, a range, or a value declared as class(n)"
        if isinstance(own, Value) and own.what == ARRIVING:
            hint = f"it is the gradient at each step: write {text_of(scope, node.a)}"
        elif isinstance(item, s.Name | s.Binary) and not any(isinstance(x, s.Index) for x in parts) and \
                any(isinstance(x, s.Name) and isinstance(scope.find(x.name), AxisName) for x in parts):
            hint = f"`{text_of(scope, node.a)}` has no time axis, so that no step of it comes before another"
        ctx.fail(scope, item, f"`{text_of(scope, item)}` is no index of `{text_of(scope, node.a)}`, which is {ctx.shape_text(e)}",
                 *declared(ctx, scope, [(node.a, e)]), hint=hint)
    if len(items) > 1 or item is not items[0]:
        ctx.fail(scope, node, "a row lookup stands alone in its brackets", hint="E[x[t]] is a vector; name it, then slice it")
    assert i.type.n is not None
    if i.type.n != e.shape[0]:
        ctx.fail(scope, node,
                 f"`{text_of(scope, item)}` is one of {ctx.size_text(i.type.n)} classes, `{text_of(scope, node.a)}` has "
                 f"{ctx.size_text(e.shape[0])} rows", *declared(ctx, scope, [(item, i), (node.a, e)]))
    return matmul(OneHot(i, e.shape[0]), e)
