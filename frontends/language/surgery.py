"""`on_backward h[t]: clip(d_h, -1, 1)`: the names that are watched, and what becomes of their adjoints."""

from __future__ import annotations

from ...compiler.graph import BATCH, Expr, Input, Intercept, Shift, broadcast, postorder
from ...compiler.node import shown
from . import syntax as s
from .diagnostics import did_you_mean
from .scope import ARRIVING, AxisName, Context, Equation, Lost, Poisoned, Scope, Value, text_of


def watch(ctx: Context, statements: tuple[s.Statement, ...]) -> None:
    """Notes which equations are watched, before any is computed."""
    for x in statements:
        if isinstance(x, s.Surgery):
            ctx.watched[_name(ctx, x)] = x


def _name(ctx: Context, x: s.Surgery) -> str:
    """h of h[t], h.0 of h[0, t] where h is a family."""
    first = x.target.items[0] if x.target.items else None
    return f"{x.target.name}.{first.value}" if isinstance(first, s.Number) else x.target.name


def intercepted(ctx: Context, q: Equation, e: Expr) -> Expr:
    """The value of an equation as the others read it."""
    done = isinstance(e, Intercept) and e.name == q.full         # the result of a fragment, which has the name of its call
    return Intercept(e, q.full) if q.full in ctx.watched and e.type.kind == "real" and not done else e


def surgery(ctx: Context, scope: Scope, x: s.Surgery) -> None:
    """Enters what goes on in place of the sum that arrives."""
    from .expressions import evaluate
    name = _name(ctx, x)
    n = _watched(ctx, scope, x, name)
    placeholder = Input(f"d_{name}", n.axes, n.shape)
    if placeholder.name in (*ctx.system.inputs, *ctx.system.equations, *ctx.system.params):
        ctx.fail(scope, x, f"`{placeholder.name}` is the gradient that arrives at `{name}`, and a name of the model",
                 (scope.find(placeholder.name), "it is declared here"))
    inner = Scope(scope.source, scope.path, scope.owned, scope, inner=True)
    inner.names[placeholder.name] = Value(scope.source, x.target, ARRIVING, placeholder)
    e = evaluate(ctx, x.value, inner)
    if placeholder not in postorder(e):
        ctx.report(scope, x.value, f"`{text_of(scope, x.value)}` does not read `{placeholder.name}`, the gradient that arrives",
                   hint=f"on_backward {text_of(scope, x.target)}: clip({placeholder.name}, -1, 1)")
    if e.shape not in ((), n.shape) or not {*e.axes} <= {*n.axes}:
        ctx.fail(scope, x.value, f"the gradient of `{name}` is {ctx.shape_text(n)}, and `{text_of(scope, x.value)}` is "
                 f"{ctx.shape_text(e)}")
    _each_step(ctx, scope, x, placeholder, e)
    if not ctx.quiet:
        ctx.system.surgery[name] = (placeholder, broadcast(e, n.axes, n.shape))


def _watched(ctx: Context, scope: Scope, x: s.Surgery, name: str) -> Intercept:
    n = ctx.system.equations.get(name)
    binding = scope.find(name)
    if name in ctx.system.surgery:
        ctx.fail(scope, x, f"`{name}` has two on_backward")
    if isinstance(binding, Lost) or (isinstance(binding, Equation) and binding.state == "lost"):
        raise Poisoned
    if n is None:
        ctx.fail(scope, x.target, f"on_backward changes the gradient of an equation, and there is no equation `{name}`",
                 hint=did_you_mean(name, ctx.system.equations))
    if not isinstance(n, Intercept) or n.name != name:
        ctx.fail(scope, x.target, f"no gradient arrives at `{name}`: it is {ctx.shape_text(n)}")
    axes = [i.name for i in x.target.items or () if isinstance(i, s.Name) and isinstance(scope.find(i.name), AxisName)]
    wanted = [shown(a) for a in n.axes if a != BATCH]
    if sorted(axes) != sorted(wanted) or len(x.target.items or ()) > len(axes) + 1:
        left = name + (f"[{', '.join(wanted)}]" if wanted else "")
        ctx.fail(scope, x.target, f"`{name}` is {ctx.shape_text(n)}, and its steps are named here otherwise",
                 hint=f"write on_backward {left}: ...")
    return n


def _each_step(ctx: Context, scope: Scope, x: s.Surgery, placeholder: Input, e: Expr) -> None:
    """What arrives at one step becomes what goes on from this step: no delay, no sum over time."""
    depends: dict[Expr, bool] = {}
    for n in postorder(e):
        depends[n] = n is placeholder or any(depends[a] for a in n.args)
        if depends[n] and (isinstance(n, Shift) or not {*placeholder.axes} - {BATCH} <= {*n.axes}):
            ctx.fail(scope, x.value, f"`{text_of(scope, x.value)}` needs the gradients of other steps",
                     hint="on_backward changes the gradient of each step by itself")


__all__ = ["intercepted", "surgery", "watch"]
