"""Convolutions: by blocks of examples, the windows copied and a product of cuBLAS; in groups of channels, kernels.

    windows[b, i, p, c] = x[b, i*stride + p*dilation - lo, c]                   0 outside
    out[b, i, o] = sum[p, c] windows[b, i, p, c] * kernel[p, c, o]
    d_kernel[p, c, o] = sum[b, i] windows[b, i, p, c] * d_out[b, i, o]          block after block

The gradient by x is a convolution of d_out itself. A kernel of one element, with a stride of 1, has no windows: it is a product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...compiler.passes.convolution import shared
from ...compiler.passes.memory import nominal
from ...compiler.program import Along, Array, Convolve, Correlate, Kernel, Load, Product, Stmt, Unfold, View
from ...compiler.sizes import Size, at_most, product, symbol
from ..native.kernels import length
from ..native.loops import loops
from .geometry import bracketed, lanes, row_of
from .matrices import gemm, place_of

if TYPE_CHECKING:
    from .function import CudaFunction
    from .statements import Statements

WINDOWS = 32 << 20                                               # bytes of windows at a time: they stay in the cache of a device


@dataclass
class Blocks:
    """A convolution by blocks of at most `most` of its `examples`: its steps for those from `first` on, as `many`."""

    steps: list[Stmt]
    scratch: list[Array]
    examples: Size
    most: int
    first: str
    many: str


def in_blocks(s: Convolve | Correlate, claim: Callable[[str], str], known: Mapping[str, int],
              names: tuple[str, str]) -> Blocks | None:
    """A convolution in one group: the windows of some examples, and a product with them; None of several groups.

    Windows of all examples would take memory in proportion to the batch, and would be read back from there; those of a block
    stay in the cache between the copy and the product. They are made again where the gradient by the kernel reads them.
    """
    result = s.out if isinstance(s, Convolve) else s.g
    taps, places, channels = s.how.taps, result.dims[1:-1], s.x.dims[-1]
    if s.how.name == "each" or s.how.groups != 1:
        return None
    first, many = map(symbol, names)
    each = (*places, *(t.k for t in taps), channels)
    most = 1 << max((WINDOWS // (4 * max(nominal(product(each), known), 1))).bit_length() - 1, 0)
    a = Array((at_most(s.x.dims[0], most), *each), s.x.array.kind, name=claim("windows"), comment="scratch")
    n = len(taps)
    pairs = tuple(d for place, t in zip(places, taps, strict=True) for d in (place, t.k))
    along = (0, *(1 + 2 * i for i in range(n)), *(2 + 2 * i for i in range(n)), 1 + 2 * n)
    unfold = Unfold(View(a, tuple(Along(d) for d in along), (many, *pairs, channels)), _part(s.x, first, many), taps)
    windows, result = View(a, tuple(Along(d) for d in range(2 * n + 2)), (many, *each)), _part(result, first, many)
    i, p = tuple(f"i{k}" for k in range(n)), tuple(f"p{k}" for k in range(n))
    image, kernel, out = ("b", *i, *p, "c"), (*p, "c", "o"), ("b", *i, "o")
    if isinstance(s, Convolve):
        return Blocks([unfold, Product(result, windows, s.kernel, image, kernel, out)], [a], s.x.dims[0], most, *names)
    blocks = Blocks([unfold], [a], s.x.dims[0], most, *names)
    if gemm(Product(s.out, windows, result, image, out, kernel), lambda a: "", lambda v, k: "") is None:
        b = Array((a.dims[0], *result.dims[1:]), result.array.kind, name=claim("part"), comment="scratch")
        part = View(b, tuple(Along(d) for d in range(len(b.dims))), result.dims)
        blocks.steps, blocks.scratch, result = [unfold, Kernel(result.dims, part, Load(result))], [a, b], part
    blocks.steps.append(Product(s.out, windows, result, image, out, kernel))
    return blocks


def _part(v: View, first: Size, many: Size) -> View:
    """Some examples of a view, whose first dim they are."""
    along = tuple(Along(0, x.offset + first) if isinstance(x, Along) and x.dim == 0 else x for x in v.along)
    return View(v.array, along, (many, *v.dims[1:]))


def print_blocks(s: Convolve | Correlate, blocks: Blocks, f: CudaFunction) -> Iterator[str]:
    """The loop over blocks of examples: the launch that copies their windows, and the product, which a gradient adds up."""
    f.uses |= {"examples", "gemm"}
    yield f"for {blocks.first}, {blocks.many} in examples({blocks.examples.format()}, {blocks.most}):"
    numbers, axes = f.lengths_, f.indices.axes
    f.lengths_ = {*numbers, blocks.first, blocks.many}
    f.indices.axes = axes | ({blocks.many: axes[n]} if (n := blocks.examples.format()) in axes else {})
    for step in blocks.steps:
        if isinstance(step, Product):
            more = "" if isinstance(s, Convolve) else f", {blocks.first} > 0"
            yield f"    {gemm(step, f._called, place_of, more)}"
        else:
            yield f"    {f._call(step, *f._statements().kernel(step))}"
    f.lengths_, f.indices.axes = numbers, axes


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


__all__ = ["Blocks", "in_blocks", "print_blocks", "print_convolution"]
