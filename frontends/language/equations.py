"""Equations: which reads which, cycles, the shapes inside them, and each equation's expression.

An equation is elaborated when it is first read. Inside a component of equations that read each other a delayed read of one
that is not elaborated yet is a `Ref`; what a Ref looks like is found by elaborating the component with unknown values
until nothing changes. Everything else reads the expression itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...compiler.graph import BATCH, Const, Expr, GraphError, Input, Param, Ref, broadcast, order_axes
from ...compiler.moves import Broadcast
from ...compiler.node import shown
from . import syntax as s
from .scope import Binding, Context, Equation, Family, Frame, Poisoned, Scope, Unknown, text_of
from .static import integer
from .surgery import intercepted

Boundaries = Callable[..., tuple[Expr, ...]]


# ---------------------------------------------------------------- which equation reads which

def link(ctx: Context, equations: list[Equation]) -> None:
    """Finds the components of equations that read each other, and marks those that are cycles."""
    reads = {q: list(dict.fromkeys(_reads(ctx, q, equations))) for q in equations}
    for component in _components(equations, reads):
        cyclic = len(component) > 1 or component[0] in reads[component[0]]
        for q in component:
            q.component, q.cyclic = component, cyclic


def _reads(ctx: Context, q: Equation, among: list[Equation]) -> Iterator[Equation]:
    assert q.item is not None and q.scope is not None
    known = set(among)
    sources = [(q.item.value, q.scope)] if q.item.value is not None else []
    for bound, where in q.scope.owner.bounds.get(q.name, []):
        sources.append((bound.value, where))
    for root, scope in sources:
        for node in s.walk(root):
            found = _named(ctx, node, scope)
            if isinstance(found, Equation) and found in known:
                yield from found.group


def _named(ctx: Context, node: s.Node, scope: Scope) -> Any:
    if isinstance(node, s.Index) and isinstance(node.a, s.Name):
        family = scope.find(node.a.name)
        if isinstance(family, Family):
            k = integer(ctx, node.items[0], scope)
            return scope.find(family.members[k]) if k in family.members else None
    return scope.find(node.name) if isinstance(node, s.Name) else None


def _components(nodes: list[Equation], reads: dict[Equation, list[Equation]]) -> list[list[Equation]]:
    """Strongly connected components (Tarjan), members in the order of the text."""
    index: dict[Equation, int] = {}
    low: dict[Equation, int] = {}
    stack: list[Equation] = []
    on: dict[Equation, bool] = {}
    found: list[list[Equation]] = []
    place = {q: i for i, q in enumerate(nodes)}
    for root in nodes:
        work = [(root, iter(reads[root]))] if root not in index else []
        while work:
            q, rest = work[-1]
            if q not in index:
                index[q] = low[q] = len(index)
                stack.append(q)
                on[q] = True
            for r in rest:
                if r not in index:
                    work.append((r, iter(reads[r])))
                    break
                if on.get(r):
                    low[q] = min(low[q], index[r])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[q])
                if low[q] == index[q]:
                    cut = stack.index(q)
                    component, stack[cut:] = stack[cut:], []
                    for r in component:
                        on[r] = False
                    found.append(sorted(component, key=place.__getitem__))
    return found


# ---------------------------------------------------------------- reading

def read(ctx: Context, q: Equation, scope: Scope, node: s.Node) -> Expr:
    """The value of an equation at the same step."""
    if ctx.guessing and q.state != "done" and q.guessed is False and q.cyclic and _inside(ctx, q):
        return _phantom(q)
    if q.state == "doing":
        _cycle(ctx, q, scope, node)
    if q.state == "todo":
        elaborate(ctx, q)
    if q.state == "lost" or q.expr is None:
        raise Poisoned
    return q.expr


def read_shifted(ctx: Context, q: Equation, axis: str, by: int, scope: Scope, node: s.Index, bounds: Boundaries) -> Expr:
    """The value of an equation some steps away."""
    from .indexing import shifted
    name = text_of(scope, node.a)
    if q.state == "lost":
        raise Poisoned
    inside = _inside(ctx, q)
    if inside and not ctx.guessing:
        _one_direction(ctx, q, axis, by, scope, node)
    if ctx.guessing and inside and not q.guessed:
        return _phantom(q)
    if q.state != "done" and not inside:
        read(ctx, q, scope, node)
    inits = bounds(ctx, _family_name(q, name), q, axis, by, scope, node)
    if q.expr is not None and q.state == "done":
        return shifted(ctx, q.expr, axis, by, inits, scope, node)
    if q.dims is None:
        raise Poisoned
    q.referred = True
    return shifted(ctx, Ref(q.full, *q.dims), axis, by, inits, scope, node)


def _one_direction(ctx: Context, q: Equation, axis: str, by: int, scope: Scope, node: s.Index) -> None:
    """A cycle's delays run along one axis, and all into the past or all into the future."""
    first = q.component[0].along
    if first is None:
        q.component[0].along = (axis, by, scope, node)
        return
    other, way, where, read = first
    note = (Binding(where.source, read), f"`{text_of(where, read)}` is read here")
    if other != axis:
        ctx.fail(scope, node, f"a recurrence runs along one axis: `{text_of(scope, node)}` is a delay along {shown(axis)}, "
                 f"`{text_of(where, read)}` along {shown(other)}", note,
                 hint="two equations, one along each axis, may read each other's results, but not in a cycle")
    if (by < 0) != (way < 0):
        ctx.fail(scope, node, f"a recurrence reads the past or the future: `{text_of(scope, node)}` and `{text_of(where, read)}` "
                 "stand in one cycle", note, hint="two states, one for each direction, as in a bidirectional model")


def not_while_computed(ctx: Context, q: Equation, scope: Scope, node: s.Node, steps: str) -> None:
    """Refuses a read of other steps of a sequence inside its own recurrence; `steps` says which these are."""
    if q.state == "doing" and not ctx.guessing:
        here = next((f.equation for f in reversed(ctx.frames) if f.equation is not None), q)
        why = f"`{q.name}` needs it to compute its own steps"
        if here is not q:
            why = f"`{here.name}` reads it, which `{q.name}` reads"
        ctx.fail(scope, node, f"`{text_of(scope, node)}` is {steps}, and {why}",
                 hint=f"inside a recurrence only a delay reads another step: {q.name}[{shown(q.axes[0])}-1]" if q.axes else None)


def _family_name(q: Equation, name: str) -> str:
    return q.name or name


def _inside(ctx: Context, q: Equation) -> bool:
    """Is an equation of q's component being elaborated, or are their shapes being found?"""
    return q.cyclic and (any(f.equation is not None and f.equation.component is q.component for f in ctx.frames)
                         or any(c is q.component for c in ctx.components))


def _phantom(q: Equation) -> Expr:
    """Something that looks as q is known to look so far."""
    if q.dims is None:
        raise Unknown
    return Broadcast(Const(0), q.dims[0], q.dims[1], ())


def _cycle(ctx: Context, q: Equation, scope: Scope, node: s.Node) -> None:
    chain = [f.equation for f in ctx.frames if f.equation is not None]
    path = chain[chain.index(q):] if q in chain else [q]
    axis = next((a for p in path for a in p.axes), None)
    names = [p.name + (f"[{axis}]" if axis else "") for p in [*path, q]]
    notes = [(p, f"`{p.name}` reads `{n.name}`") for p, n in zip(path, [*path[1:], q])]
    hint = f"a delay must close it: {q.name}[{axis}-1]" if axis else "only a delay along a time axis may close a cycle"
    if len(path) == 1:
        ctx.fail(scope, node, f"`{q.name}` reads itself at the same step: {' -> '.join(names)}", hint=hint)
    ctx.fail(scope, node, f"a cycle without a delay: {' -> '.join(names)}", *notes, hint=hint)


# ---------------------------------------------------------------- shapes inside a cycle

def _guess(ctx: Context, component: list[Equation]) -> None:
    """Gives every equation of a cycle the axes and the shape that a Ref to it has."""
    ctx.quiet += 1
    ctx.components.append(component)
    try:
        for q in component:
            if q.shape is not None:
                q.dims = (_with_boundaries(ctx, q), q.shape)
        for _ in range(3 * len(component) + 6):
            moved = [_guess_one(ctx, q) for q in component]
            if "moved" in moved:
                continue
            blank = next((q for q in component if q.dims is None), None)
            if blank is None or "poisoned" in moved:             # after a mistake nothing is guessed: it is reported
                break
            blank.dims = (_with_boundaries(ctx, blank), _shape_of_boundaries(ctx, blank))
    finally:
        ctx.quiet -= 1
        ctx.components.pop()
        for q in component:
            q.guessed = True


def _guess_one(ctx: Context, q: Equation) -> str:
    ctx.frames.append(Frame(q.full, q))
    try:
        e = _value(ctx, q)
    except Poisoned:
        return "poisoned"
    except Unknown:
        return "unknown"
    finally:
        ctx.frames.pop()
    old = q.dims
    axes = order_axes({*e.axes, *(old[0] if old else _with_boundaries(ctx, q))})
    found = old[1] if old and old[1] else e.shape                 # the first shape that is found stays: `_finish` compares
    q.dims = (axes, q.shape if q.shape is not None else found)
    return "moved" if q.dims != old else "same"


def boundary_values(ctx: Context, q: Equation) -> list[Expr]:
    """The boundary values that are declared of q and can be evaluated."""
    from .expressions import evaluate
    out = []
    ctx.quiet += 1
    for bound, where in q.scope.owner.bounds.get(q.name, []) if q.scope is not None else []:
        try:
            out.append(evaluate(ctx, bound.value, where))
        except (Poisoned, Unknown):
            pass
    ctx.quiet -= 1
    return out


def _with_boundaries(ctx: Context, q: Equation) -> tuple[str, ...]:
    return order_axes({*q.axes, *(a for e in boundary_values(ctx, q) for a in e.axes)})


def _shape_of_boundaries(ctx: Context, q: Equation) -> Any:
    return next((e.shape for e in boundary_values(ctx, q) if e.shape), ())


# ---------------------------------------------------------------- the expression of an equation

def elaborate(ctx: Context, q: Equation) -> None:
    """Gives q (and the other targets of its equation) their expressions; a mistake is reported once."""
    if q.cyclic and not q.guessed and not _inside(ctx, q):
        for other in _outside(ctx, q.component):
            if other.state == "todo":
                _quietly_done(ctx, other)
        _guess(ctx, q.component)
    ctx.frames.append(Frame(q.full, q))
    for p in q.group:
        p.state = "doing"
    try:
        for p, e in zip(q.group, _values(ctx, q), strict=True):
            p.expr, p.state = _finish(ctx, p, e), "done"
    except Unknown:
        for p in q.group:
            p.state = "todo" if ctx.guessing else "lost"
        raise Unknown from None
    except (Poisoned, GraphError) as error:
        if isinstance(error, GraphError) and q.scope is not None:
            ctx.report(q.scope, q.node, f"this has no meaning: {error}")
        for p in q.group:
            p.state = "lost"
    finally:
        ctx.frames.pop()


def _quietly_done(ctx: Context, q: Equation) -> None:
    try:
        elaborate(ctx, q)
    except (Poisoned, Unknown):
        pass


def _outside(ctx: Context, component: list[Equation]) -> list[Equation]:
    """What a cycle reads that is not part of it."""
    scope = component[0].scope
    everything = [b for b in scope.owner.names.values() if isinstance(b, Equation)] if scope is not None else []
    return [r for q in component for r in dict.fromkeys(_reads(ctx, q, everything)) if r not in component]


def _value(ctx: Context, q: Equation) -> Expr:
    return _values(ctx, q)[q.group.index(q)]


def _values(ctx: Context, q: Equation) -> list[Expr]:
    """The right side: one value for each target."""
    from .expressions import evaluate
    from .fragments import results_of
    assert q.item is not None and q.item.value is not None and q.scope is not None
    if isinstance(q.item.value, s.Call):
        found = results_of(ctx, q.item.value, q.scope, q.group)
        if found is not None:
            return found
    if len(q.group) > 1:
        ctx.fail(q.scope, q.item.value, f"{len(q.group)} values are expected here, and this is one",
                 hint="only the call of a fragment has several results")
    return [evaluate(ctx, q.item.value, q.scope)]


def _finish(ctx: Context, q: Equation, e: Expr) -> Expr:
    """Checks the value against what stands on the left, repeats it along axes that only stand there, enters it."""
    assert q.scope is not None and q.item is not None and q.item.value is not None
    scope = q.scope
    shown = q.name + (f"[{', '.join(q.axes)}]" if q.axes else "")
    extra = [a for a in e.axes if a != BATCH and a not in q.axes]
    if extra and not scope.hidden:
        reader = {v: k for k, v in scope.axes().items()}
        names = [*q.axes, *(reader.get(a, a) for a in extra)]
        ctx.fail(scope, q.node, f"the right side runs along {' and '.join(extra)}, and `{shown}` does not",
                 hint=f"write {q.name}[{', '.join(names)}], or take its sum[{extra[0]}], mean[{extra[0]}] or last step, a[last]")
    if q.shape is not None and e.shape != q.shape:
        if e.shape:
            left = ", ".join(map(ctx.size_text, q.shape))
            right = ", ".join(map(ctx.size_text, e.shape))
            ctx.fail(scope, q.node, f"`{q.name}` is declared as [{left}], and the right side is [{right}]")
        e = broadcast(e, e.axes, q.shape)
    missing = {*q.axes} - {*e.axes}
    if missing:
        e = broadcast(e, order_axes({*e.axes, *missing}), e.shape)
    if q.referred and q.dims is not None and (e.axes, e.shape) != q.dims:
        if {*e.axes} <= {*q.dims[0]} and e.shape == q.dims[1]:
            e = broadcast(e, q.dims[0], e.shape)
        else:
            was = Ref(q.full, *q.dims)
            ctx.fail(scope, q.node, f"`{q.name}` is {ctx.shape_text(was)} where its delay is read, and "
                     f"{ctx.shape_text(e)} as it is computed", hint="a state keeps its shape from step to step")
    inner, e = e, intercepted(ctx, q, e)
    _enter(ctx, q, e)
    if inner is not e and not ctx.quiet:
        ctx.system.names.setdefault(inner, q.full)
    return e


def _enter(ctx: Context, q: Equation, e: Expr) -> None:
    if ctx.quiet:
        return
    system = ctx.system
    system.equations[q.full] = e
    system.spans.setdefault(q.full, q.span)
    if not isinstance(e, Param | Input | Const):
        system.names.setdefault(e, q.full)
