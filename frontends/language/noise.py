"""Noise: what is drawn anew for each element, example and step, each draw by the key of its equation.

    dropout(x, r)           x with a share r of its elements dropped, the others divided by 1 - r
    gaussian_noise(x, sd)   x + sd * n
    bernoulli(p)            1 with probability p, else 0, a draw for each element of p
    bernoulli(p, x)         the same with a draw for each element of x: p may be a number
    uniform(x), normal(x)   as many numbers as x has

A draw for a number is one draw for the whole batch and all its steps, which nobody means: it is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from ...compiler.graph import Const, Expr, Map, Noise, apply, postorder
from . import syntax as s
from .rarely import RARE
from .scope import Context, Scope, text_of


def draw(ctx: Context, kind: str, like: Expr) -> Expr:
    """Noise with the axes and shape of `like`, keyed by its equation and by how many were drawn in it before."""
    frame = ctx.frames[-1]
    frame.draws += 1
    key = frame.name if frame.draws == 1 else f"{frame.name}#{frame.draws}"
    return Noise(kind, key, like.axes, like.shape)


def _read(ctx: Context, node: s.Call, scope: Scope, usage: str, least: int = 2) -> tuple[list[s.Expr], list[Expr]]:
    """The arguments, up to two, and their values as numbers."""
    from .functions import arguments, real_values
    nodes = arguments(ctx, node, scope, least, 2, usage=usage)
    return nodes, real_values(ctx, nodes, scope)


def _drawn(ctx: Context, node: s.Call, scope: Scope, kind: str, like: Expr, hint: str) -> Expr:
    """A draw for each element of `like`, which is no mere number."""
    if not (like.axes or like.shape) and all(isinstance(n, Const | Map) for n in postorder(like)):
        ctx.fail(scope, node, f"`{text_of(scope, node)}` is one draw for the whole batch, since "
                 f"{text_of(scope, node.args[-1].value)} is one number", hint=hint)
    return draw(ctx, kind, like)


def _dropout(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    """x * (real(u < keep) / keep), keep = 1 - r."""
    nodes, (x, rate) = _read(ctx, node, scope, "dropout(x, rate)")
    text = text_of(scope, nodes[1])
    if not isinstance(rate, Const):
        ctx.fail(scope, nodes[1], f"the rate of dropout is a number, and `{text}` is computed")
    if not 0 <= rate.value < 1:
        ctx.fail(scope, nodes[1], f"the rate of dropout is the part that is dropped, from 0 to below 1, not {text}")
    keep = Const(1 - rate.value)
    return x * (Map("real", (apply("lt", draw(ctx, "uniform", x), keep),)) / keep)


def _gaussian_noise(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    """x + sd * n."""
    nodes, (x, sd) = _read(ctx, node, scope, "gaussian_noise(x, standard_deviation)")
    if sd.shape:
        ctx.fail(scope, nodes[1], f"the standard deviation is a number, and `{text_of(scope, nodes[1])}` is {ctx.shape_text(sd)}")
    return x + sd * draw(ctx, "normal", x)


def _bernoulli(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    """1 with probability p, else 0: real(u < p)."""
    nodes, (p, *like) = _read(ctx, node, scope, "bernoulli(p), or bernoulli(p, x) with a draw for each element of x", 1)
    x, text = (like or [p])[0], text_of(scope, nodes[0])
    if p.shape not in ((), x.shape):
        ctx.fail(scope, nodes[0], f"the probability is a number or one for each element, and `{text}` is {ctx.shape_text(p)}, "
                 f"`{text_of(scope, nodes[1])}` {ctx.shape_text(x)}")
    u = _drawn(ctx, node, scope, "uniform", x, f"write bernoulli({text}, x): a draw for each element of x")
    return Map("real", (apply("lt", u, p),))


def _noise(kind: str) -> Callable[[Context, s.Call, Scope], Expr]:
    """uniform(a), normal(a): like a. uniform("key", batch, H): with these axes and sizes, as a printed system says it."""
    def build(ctx: Context, node: s.Call, scope: Scope) -> Expr:
        from .functions import arguments, values
        if node.args and isinstance(node.args[0].value, s.Text):
            return RARE["noise"](ctx, node, scope)
        nodes = arguments(ctx, node, scope, 1, usage=f"{kind}(a), as many numbers as a has")
        (e,) = values(ctx, nodes, scope)
        text = text_of(scope, nodes[0])
        return _drawn(ctx, node, scope, kind, e, f"{kind}(x) is a draw for each element of x: write {text} * {kind}(x)"
                      + (f", or gaussian_noise(x, {text}) for x + {text} * normal(x)" if kind == "normal" else ""))
    return build


NOISE: dict[str, Callable[[Context, s.Call, Scope], Expr]] = {
    "dropout": _dropout, "gaussian_noise": _gaussian_noise, "bernoulli": _bernoulli, "uniform": _noise("uniform"),
    "normal": _noise("normal")}

__all__ = ["NOISE", "draw"]
