"""Samples: draws from conditionals, and the Gibbs chain that alternates them.

    binary        real(uniform < p)                               spin     2*real(uniform < sigmoid(2 theta)) - 1
    categorical   the class whose summed probabilities u falls in  gaussian  mean + normal/sqrt(a)

A draw is `Stop(...)`: a constant to the gradient. Its noise is keyed by the name of the equation that draws.
"""

from __future__ import annotations

from ..algebra import number
from ..graph import Broadcast, Concat, Const, Expr, Noise, Pad, Reduce, Size, Slice, Stop, Window, apply, broadcast, size
from .conditionals import Conditional


def sample(c: Conditional, key: str, noise: Expr | None = None) -> Expr:
    """One value of every unit of a layer, given what the conditional reads.

    `noise` replaces the draw of random numbers, by default `Noise(kind, key)`: uniform numbers of the layer's features (normal
    ones for a Gaussian layer; categorical: one number a unit, without the last feature).
    """
    theta = c.natural
    shape = theta.shape[:-1] if c.layer.kind == "categorical" else theta.shape
    kind = "normal" if c.layer.kind == "gaussian" else "uniform"
    u = Noise(kind, key, theta.axes, shape) if noise is None else broadcast(noise, theta.axes, shape)
    match c.layer.kind:
        case "binary":
            drawn = apply("real", u < c.mean)
        case "spin":
            drawn = 2 * apply("real", u < apply("sigmoid", 2 * theta)) - 1
        case "categorical":
            drawn = _one_of(c.mean, u)
        case _:
            assert c.precision is not None
            wide = broadcast(c.precision, u.axes, u.shape)
            drawn = c.mean + (u if number(c.precision) == 1 else apply("div", u, apply("sqrt", wide)))
    return Stop(drawn)


def _one_of(p: Expr, u: Expr) -> Expr:
    """One-hot: the first class at which the summed probabilities exceed u, the last one where rounding leaves none."""
    at = len(p.shape) - 1
    n: Size = p.shape[at]
    low = p.axes, (*p.shape[:at], size(1))
    summed = Reduce("sum", Window(Pad(p, at, n - 1, 2 * n - 1), at, n), (at + 1,))
    reached = apply("real", Broadcast(u, p.axes, p.shape, tuple(range(at))) < summed)
    inner = Slice(reached, at, size(0), n - 1)
    upper = Concat(at, (inner, Broadcast(Const(1), *low, ())))
    return upper - Concat(at, (Broadcast(Const(0), *low, ()), inner))

