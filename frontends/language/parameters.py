"""Parameters and their initial values."""

from __future__ import annotations

import math
from collections.abc import Callable

from ...compiler.graph import Const, Expr, Extent, Param
from ...compiler.sizes import Size
from ...compiler.system import Initialiser, Parameter
from . import syntax as s
from .diagnostics import listing
from .scope import Context, Lost, Poisoned, Scope, Value, suggest, text_of
from .static import size_of
from .targets import Collected, declare_target, member_index, shared_items

INITIALISERS: dict[str, tuple[int, int, tuple[float, ...]]] = {      # least and most arguments, default values
    "xavier": (0, 0, ()), "glorot": (0, 0, ()), "he": (0, 0, ()), "orthogonal": (0, 0, ()), "identity": (0, 1, (1.0,)),
    "normal": (1, 1, ()), "uniform": (1, 2, ()), "constant": (1, 1, ())}
NEEDS_MATRIX = ("orthogonal", "identity")


def declare_param(ctx: Context, scope: Scope, x: s.Item, found: Collected) -> None:
    init = Initialiser()
    try:
        init = initialiser(ctx, scope, x)
    except Poisoned:
        pass
    for target, items in shared_items(x.targets):
        try:
            _one_param(ctx, scope, x, target, items, init)
        except Poisoned:
            scope.owner.names.setdefault(target.name, Lost(scope.source, target))


def _one_param(ctx: Context, scope: Scope, x: s.Item, target: s.Target, items: tuple[s.Expr, ...], init: Initialiser) -> None:
    binding = Value(scope.source, target, "a parameter")
    shared = s.Target(target.start, target.end, target.name, items)
    name = declare_target(ctx, scope, shared, binding, numbers=False)
    k = member_index(ctx, scope, shared, numbers=False)
    shape = tuple(size_of(ctx, i, scope) for i in items[k is not None:])
    _check_init(ctx, scope, x, target, init, shape)
    full = f"{scope.owner.owned}.{name}" if scope.owner.owned else name
    node = Param(full, shape)
    old = ctx.system.params.get(full)
    if old is not None and old.node is not node:
        ctx.fail(scope, target,
                 f"`{full}` is [{_sizes(ctx, shape)}] in this call and [{_sizes(ctx, old.node.shape)}] in another: "
                 "an instance shares its parameters")
    binding.expr = node
    if not ctx.quiet:
        ctx.system.params[full] = Parameter(node, init)
        ctx.system.spans.setdefault(full, binding.span)


def _sizes(ctx: Context, shape: tuple[Size, ...]) -> str:
    return ", ".join(map(ctx.size_text, shape))


def _check_init(ctx: Context, scope: Scope, x: s.Item, target: s.Target, init: Initialiser, shape: tuple[Size, ...]) -> None:
    if init.kind in NEEDS_MATRIX and len(shape) != 2:
        ctx.report(scope, x.init or target, f"{init.kind} initialises a matrix, and `{target.name}` has {len(shape)} sizes")
    if init.kind in ("xavier", "glorot", "he") and not shape:
        ctx.report(scope, x.init or target, f"{init.kind} depends on the number of inputs, and `{target.name}` is one number",
                   hint=f"param {target.name} = 0, or ~ normal(0.01)")


def initialiser(ctx: Context, scope: Scope, x: s.Item) -> Initialiser:
    """`~ kind(numbers)` or `= number`."""
    names = listing(t.name for t in x.targets)
    if x.init is not None and x.value is not None:
        ctx.fail(scope, x.init, f"`{names}` has two initial values, one after `~` and one after `=`")
    if x.value is not None:
        return Initialiser("constant", (number(ctx, scope, x.value, "the initial value of a parameter"),))
    if x.init is None:
        ctx.fail(scope, x, f"`{names}` has no initial value", hint="add one: ~ xavier, ~ normal(0.01), or = 0")
    kind = x.init
    if kind.name not in INITIALISERS:
        ctx.fail(scope, kind, f"there is no initialiser `{kind.name}`", hint=suggest(kind.name, Scope(scope.source), INITIALISERS)
                 or "initialisers: xavier, glorot, he, normal(sd), uniform(lo, hi), orthogonal, identity, or = number")
    least, most, default = INITIALISERS[kind.name]
    if not least <= len(kind.args) <= most or any(a.name for a in kind.args):
        shown = {"normal": "normal(0.01): the standard deviation", "uniform": "uniform(-0.1, 0.1)", "constant": "constant(0)",
                 "identity": "identity or identity(0.5)"}
        ctx.fail(scope, kind, f"`{kind.name}` takes {least if least == most else f'{least} to {most}'} "
                 f"number{'s' if most != 1 else ''}, not {len(kind.args)}", hint=f"it is {shown.get(kind.name, kind.name)}")
    values = tuple(number(ctx, scope, a.value, f"an argument of {kind.name}") for a in kind.args) or default
    return _checked(ctx, scope, kind, values)


def _checked(ctx: Context, scope: Scope, kind: s.Kind, values: tuple[float, ...]) -> Initialiser:
    if kind.name == "normal" and values[0] < 0:
        ctx.fail(scope, kind, "a standard deviation is not negative")
    if kind.name == "uniform":
        values = (-values[0], values[0]) if len(values) == 1 else values
        if values[0] > values[1]:
            ctx.fail(scope, kind, "uniform(lo, hi) runs from the smaller to the larger number")
    return Initialiser(kind.name, values)


def number(ctx: Context, scope: Scope, node: s.Expr, what: str) -> float:
    """A number that is known now: constants, and sizes at their declared values."""
    from .expressions import evaluate
    e: Expr = evaluate(ctx, node, scope)
    if isinstance(e, Const):
        return float(e.value)
    value = ctx.number(e.size) if isinstance(e, Extent) else _through(ctx, e)
    if value is None:
        ctx.fail(scope, node, f"{what} is a number, and `{text_of(scope, node)}` is computed")
    return float(value)


FOLDED: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "pow": lambda a, b: a**b, "sqrt": math.sqrt, "exp": math.exp, "log": math.log}


def _through(ctx: Context, e: Expr) -> float | None:
    """The value of sqrt(6 / (H + D)) and the like."""
    from ...compiler.graph import Map
    if isinstance(e, Const):
        return float(e.value)
    if isinstance(e, Extent):
        return ctx.number(e.size)
    if isinstance(e, Map) and e.f in FOLDED:
        parts = [_through(ctx, a) for a in e.args]
        try:
            out = FOLDED[e.f](*parts) if None not in parts else None
        except (ArithmeticError, ValueError):
            return None
        return float(out) if isinstance(out, int | float) else None
    return None
