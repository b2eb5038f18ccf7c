"""Convolution and pooling as graph: padding, windows, a contraction or a reduction. Shared by text and builder; no places here.

Features stand as (channels, height, width), or (channels, length) in one dimension; kernels as (out, in/groups, height, width).
A GraphError says what cannot be, with the size formula and its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from ...compiler.graph import (
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Flip,
    Fold,
    GraphError,
    Pad,
    Reduce,
    Reshape,
    Size,
    Slice,
    Window,
    apply,
    describe,
    product,
    size,
)
from ...compiler.sizes import SizeLike


@dataclass(frozen=True)
class Steps:
    """How windows stand: for every dimension its stride, the padding before and after, and its dilation.

    `sizes` are the declared sizes, by which messages tell numbers.
    """

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    sizes: dict[str, int] = field(default_factory=dict)


def same(n: int, k: int, stride: int, dilation: int) -> tuple[int, int]:
    """Padding with which ceil(n/stride) windows stand; the odd element comes after."""
    total = max((-(-n // stride) - 1) * stride + dilation * (k - 1) + 1 - n, 0)
    return total // 2, total - total // 2


def windows(x: Expr, kernel: Sequence[Size], steps: Steps, value: float = 0) -> Expr:
    """(C, n1, n2) -> (C, m1, k1, m2, k2), with `value` as padding."""
    for i, (k, (lo, hi)) in enumerate(zip(kernel, steps.padding, strict=True)):
        n, at = x.shape[1 + 2 * i], 1 + 2 * i
        _fits(n, k, i, steps)
        x = Window(padded(x, at, lo, hi, value), at, k, steps.stride[i], steps.dilation[i])
    return x


def padded(x: Expr, at: int, lo: int, hi: int, value: float = 0) -> Expr:
    """`lo` elements before and `hi` after, along one position."""
    if value == 0:
        return Pad(x, at, lo, x.shape[at] + lo + hi)
    def block(n: int) -> list[Expr]:
        shape = (*x.shape[:at], size(n), *x.shape[at + 1:])
        return [Broadcast(Const(value), x.axes, shape, ())] if n else []
    return Concat(at, (*block(lo), x, *block(hi)))


def _fits(n: Size, k: Size, i: int, steps: Steps) -> None:
    """At least one window; else the formula with its numbers."""
    (lo, hi), d = steps.padding[i], steps.dilation[i]
    count, formula = counted(n, k, i, steps)
    if count is not None and count < 1:
        width = k.evaluate(steps.sizes)
        raise GraphError(f"a window of {width if d == 1 else f'{width}, {d} apart,'} does not fit into {n_text(n, steps.sizes)}"
                         f"{f' padded by {lo} and {hi}' if lo or hi else ''}: {formula}")


def counted(n: Size, k: Size, i: int, steps: Steps) -> tuple[int | None, str]:
    """How many windows there are along dimension i, and the formula: `(28 + 2*0 - 5)//1 + 1 = 24`; None where n is not known."""
    (lo, hi), s, d = steps.padding[i], steps.stride[i], steps.dilation[i]
    try:
        value, width = n.evaluate(steps.sizes), k.evaluate(steps.sizes)
    except KeyError:
        return None, f"of {n}"
    count = (value + lo + hi - d * (width - 1) - 1) // s + 1
    pads = f"2*{lo}" if lo == hi else f"{lo} + {hi}"
    reach = str(width) if d == 1 else f"({d}*({width} - 1) + 1)"
    return count, f"({value} + {pads} - {reach})//{s} + 1 = {count}"


def n_text(n: Size, sizes: dict[str, int]) -> str:
    """A size, and its number where it has one: `C = 6`."""
    try:
        return str(n) if n.value is not None else f"{n} = {n.evaluate(sizes)}"
    except KeyError:
        return str(n)


def convolution(x: Expr, kernel: Expr, steps: Steps, groups: SizeLike = 1, flip: bool = False) -> Expr:
    """out[o, i, j] = sum over c, a, b of K[o, c, a, b] * x[c, i*stride + a*dilation - padding, ...].

    Cross-correlation; `flip` turns the kernel around, which makes it the convolution of mathematics. With groups, output o reads
    the channels of its own group only.
    """
    dims, groups = _dimensions(x, kernel), size(groups)
    _reads(kernel.shape[1], x.shape[0], groups, steps.sizes)
    if flip:
        for at in range(2, 2 + dims):
            kernel = Flip(kernel, at)
    w = windows(x, kernel.shape[2:], steps)
    if groups != 1:
        share = _share(kernel.shape[0], groups, "output", steps.sizes)
        w = Reshape(w, (groups, kernel.shape[1], *w.shape[1:]))
        kernel = Reshape(kernel, (groups, share, *kernel.shape[1:]))
    return _contracted(w, kernel, dims, groups != 1)


def _contracted(w: Expr, kernel: Expr, dims: int, grouped: bool) -> Expr:
    """Windows (g, c, m1, k1, ...) and kernel (g, o, c, k1, ...) over c and k; without g for one group."""
    places, taps, pairs = _labels(dims)
    g = (0,) if grouped else ()
    out = Contract(w, kernel, (*g, 1, *pairs), (*g, 2, 1, *taps), (*g, 2, *places), w.axes)
    return Reshape(out, (out.shape[0] * out.shape[1], *out.shape[2:])) if grouped else out


def _labels(dims: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Labels of the windows' places, of the kernel's elements, and of both in turn."""
    places, taps = tuple(range(10, 10 + dims)), tuple(range(20, 20 + dims))
    return places, taps, tuple(x for p in zip(places, taps, strict=True) for x in p)


def transposed(x: Expr, kernel: Expr, steps: Steps, groups: SizeLike = 1, more: Sequence[int] = ()) -> Expr:
    """The adjoint of a convolution's input, as a layer: (C, m1, m2) -> (O, n1, n2), kernel (C, O/groups, k1, k2).

    n = (m - 1)*stride + dilation*(k - 1) + 1 + more - padding before and after.
    """
    dims, groups = _dimensions(x, kernel), size(groups)
    _reads(kernel.shape[0], x.shape[0], size(1), steps.sizes)
    o = kernel.shape[1] * groups
    if groups != 1:
        share = _share(kernel.shape[0], groups, "input", steps.sizes)
        x = Reshape(x, (groups, share, *x.shape[1:]))
        kernel = Reshape(kernel, (groups, share, *kernel.shape[1:]))
    places, taps, pairs = _labels(dims)
    g = (0,) if groups != 1 else ()
    w: Expr = Contract(x, kernel, (*g, 1, *places), (*g, 1, 2, *taps), (*g, 2, *pairs), x.axes)
    if g:
        w = Reshape(w, (o, *w.shape[2:]))
    for i in reversed(range(dims)):
        w = _folded(w, 1 + 2 * i, steps.stride[i], steps.dilation[i], steps.padding[i], more[i] if more else 0, steps.sizes)
    return w


def _folded(w: Expr, at: int, stride: int, dilation: int, padding: tuple[int, int], more: int, sizes: dict[str, int]) -> Expr:
    """Windows added back along one dimension: `more` elements that no window reached, and the padding cut off."""
    m, k = w.shape[at], w.shape[at + 1]
    n = (m - 1) * stride + (k - 1) * dilation + 1
    if more < stride:                                            # so many are left over where windows are taken
        n = n + more
        w = Fold(w, at, n, stride, dilation)
    else:
        w = Pad(Fold(w, at, n, stride, dilation), at, 0, n + more)
        n = n + more
    _remains(m, k, stride, dilation, padding, more, sizes)
    return Slice(w, at, padding[0], n - padding[1])


def _remains(m: Size, k: Size, s: int, d: int, padding: tuple[int, int], more: int, sizes: dict[str, int]) -> None:
    """GraphError, with the size formula and its numbers, where the padding cuts off everything."""
    try:
        places, width = m.evaluate(sizes), k.evaluate(sizes)
    except KeyError:
        return
    reach, (lo, hi) = d * (width - 1) + 1, padding
    left = (places - 1) * s + reach + more - lo - hi
    if left < 1:
        added, cut = f" + {more}" if more else "", f"2*{lo}" if lo == hi else f"{lo} - {hi}"
        raise GraphError(f"the padding cuts off all that {places} windows of {width} make: ({places} - 1)*{s} + {reach}{added} - "
                         f"{cut} = {left}")


def correlation(g: Expr, x: Expr, kernel: Sequence[Size], steps: Steps, groups: SizeLike = 1) -> Expr:
    """out[o, c, a, b] = sum over batch, time, i, j of g[o, i, j] * x[c, i*stride + a*dilation - padding, ...].

    The adjoint of a convolution in its kernel. With groups, c counts the channels of o's group.
    """
    dims, groups = len(kernel), size(groups)
    w = windows(x, kernel, steps)
    for i in range(dims):
        if len(g.shape) != dims + 1 or g.shape[1 + i] != w.shape[1 + 2 * i]:
            formulas = [counted(x.shape[1 + k], kernel[k], k, steps)[1] for k in range(dims)]
            raise GraphError(f"{describe(g)} has not one value for each window of {describe(x)}: there are "
                             f"{' times '.join(formulas)}")
    outputs, grouped = g.shape[0], groups != 1
    if grouped:
        g = Reshape(g, (groups, _share(outputs, groups, "output", steps.sizes), *g.shape[1:]))
        w = Reshape(w, (groups, _share(x.shape[0], groups, "input", steps.sizes), *w.shape[1:]))
    places, taps, pairs = _labels(dims)
    k = (0,) if grouped else ()
    out = Contract(g, w, (*k, 2, *places), (*k, 1, *pairs), (*k, 2, 1, *taps), ())
    return Reshape(out, (outputs, *out.shape[2:])) if grouped else out


def _dimensions(x: Expr, kernel: Expr) -> int:
    """One or two; GraphError where image and kernel have not as many."""
    dims = len(kernel.shape) - 2
    if dims not in (1, 2) or len(x.shape) != dims + 1:
        raise GraphError(f"a convolution takes an image (C, H, W) and a kernel (O, C, h, w), or (C, N) and (O, C, k), "
                         f"not {describe(x)} and {describe(kernel)}")
    if kernel.axes:
        raise GraphError(f"the kernel of a convolution is one for all examples and steps, not {describe(kernel)}")
    return dims


def _reads(wanted: Size, channels: Size, groups: Size, sizes: dict[str, int]) -> None:
    """GraphError where the kernel is made for another number of channels."""
    if wanted * groups != channels:
        _divides(channels, groups, "input", sizes)
        told = n_text(wanted, sizes) if groups == 1 else f"{wanted} * {groups} = {n_text(wanted * groups, sizes)}"
        reads = f"the kernel reads {told} {'channel' if wanted * groups == 1 else 'channels'}"
        if (wanted * groups - channels).evaluate(sizes) == 0:
            raise GraphError(f"{reads}, the image has {n_text(channels, sizes)}, which are equal by default only: write one size "
                             "in both places")
        raise GraphError(f"{reads}, and the image has {n_text(channels, sizes)}")


def _divides(n: Size, groups: Size, what: str, sizes: dict[str, int]) -> tuple[int, int]:
    """Both numbers; GraphError where the one does not divide the other."""
    count, parts = n.evaluate(sizes), groups.evaluate(sizes)
    if count % parts:
        are = "channel is" if count == 1 else "channels are"
        raise GraphError(f"{n_text(n, sizes)} {what} {are} not divisible by {parts} groups: {count}/{parts} = "
                         f"{count / parts:.4g}")
    return count, parts


def _share(n: Size, groups: Size, what: str, sizes: dict[str, int]) -> Size:
    """n / groups, exactly."""
    if n == groups:
        return size(1)
    count, parts = _divides(n, groups, what, sizes)
    share = n // groups.value if groups.value else None
    if share is None or share * groups != n:
        raise GraphError(f"{n} {what} channels in {groups} groups: write the number as a multiple, {groups} * {count // parts}")
    return share


def pooling(kind: str, x: Expr, window: Sequence[int], steps: Steps) -> Expr:
    """max or mean over windows of (C, n1, n2). A maximum's padding never wins; a mean counts its zeros."""
    kernel = tuple(map(size, window))
    w = windows(x, kernel, steps, -inf if kind == "max" else 0)
    if kind == "max":
        for i, k in enumerate(window):
            _reaches(x.shape[1 + i], k, i, steps)
    over = tuple(2 + 2 * i for i in range(len(kernel)))
    if kind == "max":
        return Reduce("max", w, over)
    return apply("div", Reduce("sum", w, over), Const(product(kernel).value or 1))


def _reaches(n: Size, k: int, i: int, steps: Steps) -> None:
    """GraphError where a window holds nothing but padding: it has no maximum."""
    (lo, hi), s, d = steps.padding[i], steps.stride[i], steps.dilation[i]
    try:
        value = n.evaluate(steps.sizes)
    except KeyError:
        return
    for j in range((value + lo + hi - d * (k - 1) - 1) // s + 1 if lo or hi else 0):
        if not any(lo <= j * s + d * tap < lo + value for tap in range(k)):
            raise GraphError(f"a window of {k} would hold nothing but padding, which has no maximum: {n_text(n, steps.sizes)} "
                             f"padded by {lo} and {hi}")


def pooled(kind: str, x: Expr) -> Expr:
    """Over all positions of every channel: (C, H, W) -> (C)."""
    over = tuple(range(1, len(x.shape)))
    top = Reduce("max" if kind == "max" else "sum", x, over)
    return top if kind == "max" else apply("div", top, Extent(product(x.shape[1:])))


def upsampled(x: Expr, factors: Sequence[int]) -> Expr:
    """Every element `factor` times along each dimension: nearest neighbour."""
    for i, f in enumerate(factors):
        at = 1 + i
        shape = (*x.shape[:at + 1], size(f), *x.shape[at + 1:])
        wide = Broadcast(x, x.axes, shape, tuple(p for p in range(len(shape)) if p != at + 1))
        x = Reshape(wide, (*x.shape[:at], x.shape[at] * f, *x.shape[at + 1:]))
    return x


def over_positions(b: Expr, x: Expr) -> Expr:
    """One number for each channel, at every position of x."""
    if len(b.shape) != 1 or not x.shape or b.shape[0] != x.shape[0]:
        channels = f"each of the {x.shape[0]} channels" if len(x.shape) > 1 else "each channel of an image"
        shape = " x ".join(map(str, b.shape)) or "one number"
        raise GraphError(f"one number for {channels} is needed here, not {shape}")
    return Broadcast(b, b.axes, x.shape, (0,))


def local(x: Expr, kernel: Expr, steps: Steps) -> Expr:
    """Local receptive fields: a kernel of its own at every position, (O, m1, m2, C, k1, k2)."""
    dims = (len(kernel.shape) - 2) // 2
    if dims not in (1, 2) or len(kernel.shape) != 2 * dims + 2 or len(x.shape) != dims + 1:
        raise GraphError(f"local fields take an image (C, H, W) and a kernel (O, H', W', C, h, w), "
                         f"not {describe(x)} and {describe(kernel)}")
    w = windows(x, kernel.shape[dims + 2:], steps)
    for i in range(dims):
        if w.shape[1 + 2 * i] != kernel.shape[1 + i]:
            _, formula = counted(x.shape[1 + i], kernel.shape[dims + 2 + i], i, steps)
            raise GraphError(f"the kernel has weights for {n_text(kernel.shape[1 + i], steps.sizes)} positions, the image has "
                             f"{formula}")
    places, taps, pairs = _labels(dims)
    return Contract(w, kernel, (1, *pairs), (2, *places, 1, *taps), (2, *places), w.axes)


__all__ = ["Steps", "convolution", "correlation", "local", "over_positions", "pooled", "pooling", "same", "transposed",
           "upsampled", "windows"]
