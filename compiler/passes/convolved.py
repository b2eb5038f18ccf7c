"""Convolved: the statements of a convolution, its adjoint in x and in the kernel, that read image and kernel alone.

Images are read channels last, wherever their channels stand, and so the result is stored. A kernel K[o, c, p, q] is copied
into the order in which the products read it: K[p, q, c, o], for the adjoint in x turned around, K[-p, -q, o, c].
"""

from __future__ import annotations

from collections.abc import Iterator

from ..graph import Expr
from ..program import Array, Convolve, Copy, Correlate, Product, Stmt, Tap, View, Way, view
from ..sizes import Size
from .convolution import Convolution, shared
from .layout import Layout, at
from .orders import Order, matrices, own, turned


def convolved(lay: Layout, e: Expr) -> Iterator[Stmt]:
    """The statements of one convolution."""
    c = lay.plan.convolutions[e]
    image, other = (lay.full(a) for a in lay.plan.operands[e])
    out = lay.full(e)
    if c.way == "plain":
        yield from matrices(_plain(c, out, image, other), lay.packed)
        return
    x = _last(image)
    taps = tuple(Tap(1 + i, line.k, line.stride, line.dilation, line.lo, line.hi) for i, line in enumerate(c.lines))
    how = Way(c.way, taps, c.groups, c.block)
    if c.kind == "correlate":
        kernel, whole = _arranged(c, _cut(out.dims, c.groups), False, out.array.kind)
        yield Correlate(view(kernel), x, _last(other), how)
        yield Copy(out, whole)
        return
    swapped = c.kind == "transposed"
    kernel, whole = _arranged(c, _cut(other.dims, c.groups), swapped, other.array.kind)
    places = tuple(range(2, len(other.dims)))
    if c.groups != 1:
        yield Copy(whole, other, places if c.turned else ())
    else:
        order = _order(len(places), swapped)
        yield Copy(view(kernel), turned(other, order), tuple(range(len(places))) if c.turned else ())
    result = _last(out)
    if own(result) == tuple(range(len(result.dims))) and out.array.role != "result":
        yield Convolve(result, x, view(kernel), how)
        return
    between = view(Array(result.dims, out.array.kind))
    yield Convolve(between, x, view(kernel), how)
    yield Copy(result, between)


def _last(v: View) -> View:
    """An image with its channels last."""
    return turned(v, (0, *range(2, len(v.dims)), 1))


def _cut(kernel: tuple[Size, ...], groups: Size) -> tuple[Size, ...]:
    """The dims of a kernel, its outputs cut into groups: (groups, o, c, positions)."""
    return (groups, shared(kernel[0], groups), *kernel[1:])


def _order(dims: int, swapped: bool) -> Order:
    """The dims of K[o, c, positions] in the order in which products read them."""
    return (*range(2, 2 + dims), *((0, 1) if swapped else (1, 0)))


def _arranged(c: Convolution, cut: tuple[Size, ...], swapped: bool, kind: str) -> tuple[Array, View]:
    """An array in the order that products of this way read, and its view as (groups, o, c, positions); one group is left out.

    Every row has its groups; where all elements are copied side by side, every group has its rows.
    """
    inner = tuple(k + 1 for k in _order(len(cut) - 3, swapped))
    if c.groups == 1 and c.way != "each":
        order = tuple(k - 1 for k in inner)
        dims = cut[1:]
    else:
        order = (inner[0], 0, *inner[1:]) if c.way == "rows" else (0, *inner) if c.way in ("blocks", "direct") else (*inner, 0)
        dims = cut
    array = Array(tuple(dims[k] for k in order), kind)
    return array, turned(view(array), tuple(order.index(k) for k in range(len(dims))))


def _plain(c: Convolution, out: View, image: View, other: View) -> Product:
    """The product of an image and a kernel of one element, or of two images."""
    places = tuple(range(10, 10 + len(image.dims) - 2))
    if c.kind == "correlate":
        return Product(_alone(out), other, image, ("b", 2, *places), ("b", 1, *places), (2, 1))
    labels = (1, 2) if c.kind == "transposed" else (2, 1)
    return Product(out, image, _alone(other), ("b", 1, *places), labels, ("b", 2, *places))


def _alone(kernel: View) -> View:
    """A kernel without its positions."""
    while len(kernel.dims) > 2:
        kernel = at(kernel, len(kernel.dims) - 1, 0)
    return kernel


__all__ = ["convolved"]
