"""Words for images whose nodes the compiler derives: the adjoints of pooling and upsampling; and any word's node from its call.

    unpool(g, k)             g added to every element of its window
    max_unpool(g, x, k)      g added to the largest element of its window in x
    global_max_unpool(g, x)  g where the largest element of every channel of x stands
    sum_blocks(g, f)         the sum over every block of f elements
"""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.formulas.calls import Word
from ...compiler.gradient import pullback
from ...compiler.graph import Expr, GraphError, Input, Reduce, Reshape, Size, product, size
from ...compiler.system import System
from . import images


def _adjoint(out: Expr, g: Expr, x: Expr) -> Expr:
    """What out passes on to x when g arrives at it: no rule is written here."""
    if g.shape != out.shape:
        raise GraphError(f"one value for each window of the image is needed here, {_shape(out)}, not {_shape(g)}")
    return pullback(System("adjoint"), {out: g}, [x]).grads[x]


def _shape(e: Expr) -> str:
    return " x ".join(map(str, e.shape)) or "one number"


def unpooled(g: Expr, kernel: Sequence[Size], steps: images.Steps, more: Sequence[int] = ()) -> Expr:
    """The adjoint of summing windows: g added to every element of its window; `more` elements stand after the last window."""
    spans = [(m - 1) * s + (k - 1) * d + 1 + extra - lo - hi for m, k, s, d, (lo, hi), extra in zip(
        g.shape[1:], kernel, steps.stride, steps.dilation, steps.padding, more or (0,) * len(kernel), strict=True)]
    x = Input("image", g.axes, (g.shape[0], *spans))
    return _adjoint(Reduce("sum", images.windows(x, kernel, steps), tuple(2 + 2 * i for i in range(len(kernel)))), g, x)


def max_unpooled(g: Expr, x: Expr, window: Sequence[int] = (), steps: images.Steps | None = None) -> Expr:
    """The adjoint of max_pool, or without a window of global_max: g where the largest element of its window in x stands."""
    return _adjoint(images.pooled("max", x) if steps is None else images.pooling("max", x, window, steps), g, x)


def blocks_summed(g: Expr, factors: Sequence[int]) -> Expr:
    """The adjoint of upsample: the sum over every block."""
    for i, f in enumerate(factors):
        n = g.shape[1 + i]
        if (n // f) * f != n:
            raise GraphError(f"{n} elements are not cut into blocks of {f}")
    x = Input("image", g.axes, (g.shape[0], *(n // f for n, f in zip(g.shape[1:], factors, strict=True))))
    return _adjoint(images.upsampled(x, factors), g, x)


def made_by(found: Word, sizes: dict[str, int]) -> Expr | None:
    """The node that a call makes; None where the language has no such call."""
    steps = images.Steps(tuple(x.stride for x in found.lines), tuple((x.lo, x.hi) for x in found.lines),
                  tuple(x.dilation for x in found.lines), sizes)
    k, groups = tuple(x.k for x in found.lines), size(1) if found.groups is None else found.groups
    numbers = [n.value for n in k if n.value is not None]
    if found.sized and len(numbers) < len(k):
        return None
    try:
        match found.name, found.operands:
            case "conv", (x, kernel, *bias):
                out = images.convolution(x, kernel, steps, groups, found.flip)
                return out + images.over_positions(bias[0], out) if bias else out
            case "conv_transpose", (x, kernel, *bias):
                out = images.transposed(x, kernel, steps, groups, [n.more for n in found.lines])
                return out + images.over_positions(bias[0], out) if bias else out
            case "correlate", (g, x):
                return images.correlation(g, x, k, steps, groups)
            case "max_pool" | "avg_pool", (x,):
                return images.pooling("max" if found.name == "max_pool" else "mean", x, numbers, steps)
            case "max_unpool", (g, x):
                return max_unpooled(g, x, numbers, steps)
            case "global_max_unpool", (g, x):
                return max_unpooled(g, x)
            case "unpool", (g,):
                return unpooled(g, k, steps, [n.more for n in found.lines])
            case _, (x, *more):
                return _plainly(found.name, x, more, numbers, steps)
    except (GraphError, KeyError):
        return None
    return None


def _plainly(name: str, x: Expr, more: list[Expr], numbers: list[int], steps: images.Steps) -> Expr | None:
    match name:
        case "windows":
            return images.windows(x, tuple(map(size, numbers)), steps)
        case "global_max" | "global_avg":
            return images.pooled("max" if name == "global_max" else "mean", x)
        case "upsample":
            return images.upsampled(x, numbers)
        case "sum_blocks":
            return blocks_summed(x, numbers)
        case "flatten":
            return Reshape(x, (product(x.shape),))
        case "local":
            return images.local(x, more[0], steps)
    return None


__all__ = ["blocks_summed", "made_by", "max_unpooled", "unpooled"]
