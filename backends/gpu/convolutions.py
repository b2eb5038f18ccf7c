"""Convolutions as kernels: the windows copied and one product of cuBLAS; of groups of channels, an element a thread or a warp.

    windows[b, i, p, c] = x[b, i*stride + p*dilation - lo, c]       0 outside
    out[b, i, o] = sum[p, c] windows[b, i, p, c] * kernel[p, c, o]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ...compiler.passes.convolution import shared
from ...compiler.program import Along, Array, Convolve, Correlate, Product, Stmt, Unfold, View, view
from ...compiler.sizes import Size
from ..native.kernels import length
from ..native.loops import loops
from .geometry import bracketed, lanes, row_of

if TYPE_CHECKING:
    from .statements import Statements


def by_windows(s: Convolve | Correlate, claim: Callable[[str], str]) -> list[Stmt]:
    """A convolution in one group as windows and a product; else as it is."""
    taps, result = s.how.taps, s.out if isinstance(s, Convolve) else s.g
    if s.how.name == "each" or s.how.groups != 1:
        return [s]
    batch, places, channels = s.x.dims[0], result.dims[1:-1], s.x.dims[-1]
    a = Array((batch, *places, *(t.k for t in taps), channels), s.x.array.kind, name=claim("windows"))
    n = len(taps)
    pairs = tuple(d for place, t in zip(places, taps, strict=True) for d in (place, t.k))
    along = (0, *(1 + 2 * i for i in range(n)), *(2 + 2 * i for i in range(n)), 1 + 2 * n)
    windows = View(a, tuple(Along(d) for d in along), (batch, *pairs, channels))
    i, p = tuple(f"i{k}" for k in range(n)), tuple(f"p{k}" for k in range(n))
    image, kernel = ("b", *i, *p, "c"), (*p, "c", "o")
    if isinstance(s, Convolve):
        return [Unfold(windows, s.x, taps), Product(s.out, view(a), s.kernel, image, kernel, ("b", *i, "o"))]
    return [Unfold(windows, s.x, taps), Product(s.out, view(a), s.g, image, ("b", *i, "o"), kernel)]


def print_convolution(s: Convolve | Correlate, print_: Statements) -> Iterator[str]:
    """The body of the kernel of a convolution in groups."""
    result = s.out if isinstance(s, Convolve) else s.g
    each = s.how.name == "each"
    here = print_.indices(result.dims)
    channels, outputs = shared(s.x.dims[-1], s.how.groups), shared(result.dims[-1], s.how.groups)
    places, within = [here[0]], list[str]()
    for k, t in enumerate(s.how.taps):
        at = here[1 + k] + (f"*{t.stride}" if t.stride != 1 else "") + f" + j{k}" + (f"*{t.dilation}" if t.dilation != 1 else "")
        places.append(at + (f" - {t.lo}" if t.lo else ""))
        within += [f"{places[-1]} >= 0", f"{places[-1]} < {length(s.x.dims[1 + k])}"] if t.lo or t.hi else []
    elements = [(f"j{k}", t.k) for k, t in enumerate(s.how.taps)]
    condition = f"if ({' && '.join(within)}) " if within else ""
    where = (elements, here, places, condition)
    if isinstance(s, Convolve):
        yield from _convolve(s, each, channels, outputs, where, print_)
    else:
        yield from _correlate(s, each, channels, outputs, where, print_)


Places = tuple[list[tuple[str, Size]], list[str], list[str], str]


def _convolve(s: Convolve, each: bool, channels: Size, outputs: Size, at: Places, print_: Statements) -> Iterator[str]:
    """One thread an element of the result."""
    elements, here, places, condition = at
    many = bracketed(length(outputs))
    group, o = f"{here[-1]} / {many}", f"{here[-1]} % {many}"
    c = f"({group})*{bracketed(length(channels))} + c_"
    index = [*(j for j, _ in elements), "c_", o, group] if each else [group, *(j for j, _ in elements), "c_", o]
    step = f"{condition}total += {print_(s.x, [*places, c])} * {print_(s.kernel, index)};"
    body = ["real total = 0;", *loops([*elements, ("c_", channels)], [step]), f"{print_(s.out)} = total;"]
    yield from print_.each(s.out, body)


def _correlate(s: Correlate, each: bool, channels: Size, outputs: Size, at: Places, print_: Statements) -> Iterator[str]:
    """Several threads an element of the kernel's gradient, over examples and places."""
    elements, here, places, condition = at
    ends = [("c_", channels), ("o_", outputs), ("g_", s.how.groups)]
    rest = [*elements, *ends] if each else [ends[2], *elements, *ends[:2]]
    over = list(zip(here[:-1], s.g.dims[:-1], strict=True))
    width = lanes([tuple(n for _, n in over)], print_.known)
    x = print_(s.x, [*places, f"g_*{bracketed(length(channels))} + c_"])
    g = print_(s.g, [*here[:-1], f"g_*{bracketed(length(outputs))} + o_"])
    head, print_.geometry = row_of(rest, width, 0)
    yield from [*head, *(["__shared__ real parts[32];"] if width > 32 else [])]
    yield from print_.joined("sum", "total", f"{x} * {g}", over, width, condition=condition)
    yield f"if (lane == 0) {print_(s.out, [i for i, _ in rest])} = total;"


__all__ = ["by_windows", "print_convolution"]
