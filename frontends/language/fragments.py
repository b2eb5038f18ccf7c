"""Calls of `def`s and `fragment`s: arguments are bound, the body is elaborated in a scope of its own."""

from __future__ import annotations

from dataclasses import dataclass

from ...compiler.graph import Const, Expr
from ...compiler.moves import Broadcast
from ...compiler.sizes import Size
from . import libraries
from . import syntax as s
from .arithmetic import declared, time_axes
from .scope import (
    Alias,
    AxisName,
    Binding,
    Context,
    Equation,
    FragmentName,
    Instance,
    Lost,
    Macro,
    Poisoned,
    Scope,
    SizeName,
    Unknown,
    Value,
    suggest,
    text_of,
)
from .static import size_of, static


@dataclass(frozen=True)
class Given:
    """An argument and the scope in which it is written."""

    node: s.Expr
    scope: Scope


def is_size(formal: s.Formal) -> bool:
    """H is a size, h and W[H, D] are values."""
    return formal.items is None and formal.name[:1].isupper()


def match(ctx: Context, scope: Scope, node: s.Call, formals: tuple[s.Formal, ...], given: dict[str, Given],
          only_sizes: bool = False) -> dict[str, Given]:
    """Arguments by the name of their formal; positions are filled in order, past those that are given already."""
    free = [f for f in formals if f.name not in given and (not only_sizes or is_size(f))]
    names = [f.name for f in formals]
    out, bad = dict(given), False
    named = [a.name for a in node.args]
    free = [f for f in free if f.name not in named]
    for a in node.args:
        if a.name is not None and a.name not in names and a.name != "reverse":
            ctx.report(scope, a, f"`{node.f}` has no argument `{a.name}`",
                       hint=suggest(a.name, Scope(scope.source), [*names, "reverse"])
                       or f"its arguments: {', '.join(names) or 'none'}")
            bad = True
        elif a.name is None and not free:
            ctx.report(scope, a, f"`{node.f}` takes {len(formals)} argument{'s' if len(formals) != 1 else ''}"
                       f"{': ' + ', '.join(names) if names else ''}; this is one too many")
            bad = True
        else:
            name = a.name or free.pop(0).name
            if name in out and name not in given:
                ctx.report(scope, a, f"`{name}` is given twice")
                bad = True
            out[name] = Given(a.value, scope)
    missing = [f.name for f in formals if f.name not in out and f.default is None]
    if missing and not bad and not only_sizes:
        ctx.report(scope, node, f"`{node.f}` lacks its argument{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
                   hint=f"it is {node.f}({', '.join(names)})")
        bad = True
    if bad:
        raise Poisoned
    return out


# ---------------------------------------------------------------- def

def call_macro(ctx: Context, node: s.Call, scope: Scope, macro: Macro) -> Expr:
    """The body, with the arguments in place of the formals."""
    from .expressions import evaluate
    assert macro.define is not None and macro.scope is not None
    define = macro.define
    _not_recursive(ctx, node, scope, define.name)
    given = match(ctx, scope, node, define.formals, {})
    inner = Scope(macro.source, outer=macro.scope, hidden=True, calls=(*scope.calls, define.name))
    for formal in define.formals:
        _bind_plain(ctx, inner, formal, given.get(formal.name))
    try:
        return evaluate(ctx, define.value, inner)
    except Poisoned:
        _blame(ctx, scope, node, inner)
        raise


def _blame(ctx: Context, scope: Scope, node: s.Call, inner: Scope) -> None:
    """A mistake inside a def or fragment also says from where it was called."""
    if ctx.quiet or not ctx.diagnostics:
        return
    from dataclasses import replace

    from .diagnostics import Note
    last = ctx.diagnostics[-1]
    span = scope.source.span(node.start, node.end)
    if last.span.file == inner.source.file and not any(n.span == span for n in last.notes) and last.span != span:
        note = Note(span, f"in this call of `{node.f}`", scope.source.line(span.line))
        ctx.diagnostics[-1] = replace(last, notes=(*last.notes, note))


def _not_recursive(ctx: Context, node: s.Call, scope: Scope, name: str) -> None:
    if name in scope.calls:
        chain = [*scope.calls[scope.calls.index(name):], name]
        ctx.fail(scope, node, f"`{name}` calls itself: {' -> '.join(chain)}",
                 hint="repetition over time is a delay, over layers a `repeat`")


def _bind_plain(ctx: Context, inner: Scope, formal: s.Formal, given: Given | None) -> None:
    given = given or (Given(formal.default, inner) if formal.default is not None else None)
    if given is not None:
        inner.names[formal.name] = _bound(ctx, inner, formal, given)


def _bound(ctx: Context, inner: Scope, formal: s.Formal, given: Given) -> Binding:
    """The formal as a function, a size, or a value."""
    from .expressions import evaluate
    from .functions import is_function
    if isinstance(given.node, s.Name) and is_function(given.node.name, given.scope):
        return Alias(inner.source, formal, "a function", given.node.name, given.scope)
    if is_size(formal):
        found = static(ctx, given.node, given.scope)
        if found is not None:
            size_of(ctx, given.node, given.scope)
            return SizeName(inner.source, formal, "a size", found)
    try:
        return Value(inner.source, formal, "an argument", evaluate(ctx, given.node, given.scope))
    except Unknown:
        return Value(inner.source, formal, "an argument", None)


# ---------------------------------------------------------------- fragments

def fragment_of(scope: Scope, name: str) -> FragmentName | Instance | None:
    from .functions import lookup
    found = lookup(name, scope)
    if isinstance(found, Alias) and found.scope is not None:         # `cell` of stacked(x[t], H, 2, gru)
        return fragment_of(found.scope, found.f)
    return found if isinstance(found, FragmentName | Instance) else None


def results_of(ctx: Context, node: s.Call, scope: Scope, group: list[Equation]) -> list[Expr] | None:
    """The results of an equation whose right side is the call of a fragment: they bear the equation's names."""
    found = fragment_of(scope, node.f)
    if found is None:
        return None
    fragment = _fragment(found)
    if len(fragment.results) != len(group):
        names = ", ".join(r.name for r in fragment.results)
        ctx.fail(scope, node, f"`{node.f}` has {_results(len(fragment.results))}: {names}; {len(group)} stand on the left",
                 (found, f"`{node.f}` is declared here"), hint=f"write ({names}) = {node.f}(...)" if "," in names else None)
    return instantiate(ctx, node, scope, found, group[0].full, [q.full for q in group])


def call_fragment(ctx: Context, node: s.Call, scope: Scope, found: FragmentName | Instance) -> Expr:
    """A call inside an expression: named after its equation and the fragment."""
    fragment, frame = _fragment(found), ctx.frames[-1]
    if len(fragment.results) != 1:
        names = ", ".join(r.name for r in fragment.results)
        ctx.fail(scope, node, f"`{node.f}` has {_results(len(fragment.results))}: {names}; here one value is needed",
                 (found, f"`{node.f}` is declared here"), hint=f"write ({names}) = {node.f}(...) as an equation of its own")
    n = frame.calls[node.f] = frame.calls.get(node.f, 0) + 1
    path = f"{frame.name}.{node.f}{n if n > 1 else ''}"
    return instantiate(ctx, node, scope, found, path, [path])[0]


def _results(n: int) -> str:
    return "one result" if n == 1 else f"{n} results"


def _fragment(found: FragmentName | Instance) -> s.Fragment:
    name = found.of if isinstance(found, Instance) else found
    assert name is not None and name.fragment is not None
    return name.fragment


def instantiate(ctx: Context, node: s.Call, scope: Scope, found: FragmentName | Instance, path: str,
                names: list[str]) -> list[Expr]:
    """Elaborates the body in a scope of its own and returns the results."""
    from .declarations import collect
    fragment = _fragment(found)
    _not_recursive(ctx, node, scope, fragment.name)
    home = found.of if isinstance(found, Instance) else found
    assert home is not None
    before = {k: Given(a.value, found.scope) for k, a in found.given.items()} if isinstance(found,
                                                                                            Instance) and found.scope else {}
    given = match(ctx, scope, node, fragment.formals, before)
    inner = Scope(home.source, path, found.full if isinstance(found, Instance) else path, home.scope, hidden=True,
                  results=dict(zip([r.name for r in fragment.results], names)), calls=(*scope.calls, fragment.name))
    inner.reverse = scope.reverse != _reversed(ctx, scope, node)
    known = len(ctx.diagnostics)
    try:
        bind(ctx, inner, fragment, given, node, scope)
        equations = collect(ctx, inner, fragment.body).equations
        results = [_result(ctx, inner, r, home) for r in fragment.results]
        for q in equations:
            if q.state == "todo":
                _as_far_as_known(ctx, q)
        return [_value_of(ctx, q) for q in results]
    finally:
        if len(ctx.diagnostics) > known:
            _blame(ctx, scope, node, inner)


def _as_far_as_known(ctx: Context, q: Equation) -> None:
    """Elaborates an equation of a fragment; inside a cycle another may be known although this is not yet."""
    from .equations import elaborate
    try:
        elaborate(ctx, q)
    except Unknown:
        if not ctx.guessing:
            raise


def _result(ctx: Context, inner: Scope, target: s.Target, home: Binding) -> Binding:
    found = inner.names.get(target.name)
    if isinstance(found, Lost):
        raise Poisoned
    if not isinstance(found, Equation | Value):
        ctx.fail(inner, target, f"the fragment promises `{target.name}`, and no equation defines it",
                 hint=suggest(target.name, Scope(inner.source), inner.names))
    return found


def _value_of(ctx: Context, found: Binding) -> Expr:
    if isinstance(found, Equation):
        if found.expr is None:
            raise Poisoned if found.state == "lost" else Unknown
        return found.expr
    assert isinstance(found, Value)
    if found.expr is None:
        raise Unknown
    return found.expr


def _reversed(ctx: Context, scope: Scope, node: s.Call) -> bool:
    for a in node.args:
        if a.name == "reverse":
            if not isinstance(a.value, s.Name) or a.value.name not in ("true", "false"):
                ctx.fail(scope, a.value, f"reverse is true or false, not `{text_of(scope, a.value)}`")
            return a.value.name == "true"
    return False


def bind(ctx: Context, inner: Scope, fragment: s.Fragment, given: dict[str, Given], node: s.Call, scope: Scope) -> None:
    """Sizes first, then values in the order of the formals, whose brackets name axes and sizes; then defaults."""
    poisoned = False
    for wanted in (True, False):
        for formal in fragment.formals:
            if is_size(formal) is not wanted:
                continue
            argument = given.get(formal.name) or (Given(formal.default, inner) if formal.default is not None else None)
            assert argument is not None
            try:
                binding = _bound(ctx, inner, formal, argument)
                if isinstance(binding, Value) and formal.items is not None:
                    binding = _shaped(ctx, inner, formal, binding, argument)
                inner.names[formal.name] = binding
            except Poisoned:
                poisoned = True
    if poisoned:
        raise Poisoned


def _shaped(ctx: Context, inner: Scope, formal: s.Formal, value: Value, given: Given) -> Value:
    """x[t, D]: t is the argument's time axis, D its size, where they are not known yet; else they must agree."""
    assert formal.items is not None
    axes = [i for i in formal.items if isinstance(i, s.Name) and i.name[:1].islower()]
    sizes = [i for i in formal.items if i not in axes]
    e = value.expr
    for item in axes:
        _bind_axis(ctx, inner, item, e, given)
    value.axes = tuple(inner.axes()[a.name] for a in axes)
    if e is None:
        return _unknown(ctx, inner, formal, value, sizes)
    if sizes and len(sizes) != len(e.shape):
        what = {0: "one value for each step or example", 1: "a vector", 2: "a matrix"}.get(len(sizes), f"{len(sizes)} sizes")
        text = text_of(given.scope, given.node)
        ctx.fail(given.scope, given.node, f"`{text}` is {ctx.shape_text(e)}, and `{inner.calls[-1]}` takes {what}",
                 (Binding(inner.source, formal), "the argument is declared here"),
                 hint=f"onehot({text}) makes it a vector" if e.type.kind == "class" else _variant(inner.calls[-1], len(e.shape)))
    for declared_size, size in zip(sizes, e.shape):
        _bind_size(ctx, inner, declared_size, size, given, e, formal)
    return value


def _variant(name: str, sizes: int) -> str | None:
    """The fragment of the library that does the same to what has so many sizes: batch_norm -> batch_norm_channels."""
    for other in libraries.names():
        found = libraries.find(other) if other.startswith(f"{name}_") else None
        if isinstance(found, FragmentName) and found.fragment is not None:
            items = found.fragment.formals[0].items or ()
            shape = [i.name for i in items if isinstance(i, s.Name) and i.name[:1].isupper()]
            if len(shape) == sizes:
                return f"`{other}` takes [{', '.join(shape)}]"
    return None


def _bind_axis(ctx: Context, inner: Scope, item: s.Name, e: Expr | None, given: Given) -> None:
    if isinstance(inner.names.get(item.name), AxisName):
        return
    outside = list(given.scope.axes().values())
    candidates = list(time_axes(e)) if e is not None else outside
    axis = item.name if item.name in candidates else candidates[0] if len(candidates) == 1 else None
    if axis is None and e is None:
        raise Unknown
    if axis is None:
        text = text_of(given.scope, given.node)
        ctx.fail(given.scope, given.node, f"`{text}` is no sequence, and a sequence is needed here" if not candidates else
                 f"`{text}` runs along {' and '.join(candidates)}: along which of them?",
                 (Binding(inner.source, item), f"the fragment runs along {item.name}"))
    inner.names[item.name] = AxisName(inner.source, item, "an axis", axis)


def _bind_size(ctx: Context, inner: Scope, item: s.Expr, size: Size, given: Given, e: Expr, formal: s.Formal) -> None:
    if isinstance(item, s.Name) and inner.find(item.name) is None:
        inner.names[item.name] = SizeName(inner.source, item, "a size", size)
        return
    wanted = size_of(ctx, item, inner)
    if wanted != size:
        ctx.fail(given.scope, given.node, f"`{text_of(given.scope, given.node)}` has the size {ctx.size_text(size)}, and "
                 f"`{formal.name}` is declared with {text_of(inner, item)} = {ctx.size_text(wanted)}",
                 (Binding(inner.source, formal), "the argument is declared here"),
                 *declared(ctx, given.scope, [(given.node, e)]))


def _unknown(ctx: Context, inner: Scope, formal: s.Formal, value: Value, sizes: list[s.Expr]) -> Value:
    """Inside a cycle: an argument that is not known yet looks as its formal says, if that says all."""
    shape = []
    for item in sizes:
        if isinstance(item, s.Name) and inner.find(item.name) is None:
            inner.names[item.name] = SizeName(inner.source, item, "a size", None)
            return value
        shape.append(size_of(ctx, item, inner))
    if sizes:
        value.expr = Broadcast(Const(0), value.axes, tuple(shape), ())
    return value
