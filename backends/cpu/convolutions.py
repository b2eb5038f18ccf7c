"""Convolution by blocks of examples, as NumPy: calls of the helpers in `window_runtime`, and the arrays that they work in."""

from __future__ import annotations

from ...compiler.passes.convolution import shared
from ...compiler.program import Array, Convolve, Correlate
from ...compiler.sizes import product, size
from .views import repeated, shape_text, text


def work_arrays(s: Convolve | Correlate) -> list[Array]:
    """What a convolution works in: the windows of a block of examples, and products that are added up."""
    how, result = s.how, s.out if isinstance(s, Convolve) else s.g
    block, groups = size(how.block), how.groups
    k, last = [t.k for t in how.taps], how.taps[-1]
    lines = [n + t.lo + t.hi for n, t in zip(s.x.dims[1:-1], how.taps, strict=True)]
    places, summed = result.dims[1:-1], shared(s.x.dims[-1], groups)
    outputs = shared(result.dims[-1], groups)
    one = [size(1)] * (2 - len(k))                               # a line is an image of one row
    if how.name == "each":
        arrays = [(block, *one, *lines, s.x.dims[-1]), (block, *one, *places, s.x.dims[-1])]
    elif how.name == "rows":
        arrays = [(groups, block, lines[0], places[1], size(1), last.k, summed)]
        wide = product(places) if isinstance(s, Convolve) else last.k * summed
        arrays.append((groups, block, wide, outputs))
    else:
        arrays = [(groups, block, *one, *places, *one, *k, summed)]
        arrays += [(groups, size(1), product((*k, summed)), outputs)] if isinstance(s, Correlate) else []
    return [Array(dims, s.out.array.kind, name=name, comment="scratch")
            for name, dims in zip(("block", "part"), arrays, strict=False)]


def convolved(s: Convolve | Correlate, uses: set[str], sizes: dict[str, str] | None, given: list[str]) -> str:
    """`convolve(x, K, block, out=...)`; arrays for the work are made on the way where no workspace holds them."""
    name = ("convolve" if isinstance(s, Convolve) else "correlate") + ("_each" if s.how.name == "each" else "")
    uses.add(name)
    taps, flat = s.how.taps, len(s.how.taps) == 1
    work = given or [f"np.empty({shape_text(a.dims, sizes)}, dtype)" for a in work_arrays(s)]
    other = repeated(s.kernel if isinstance(s, Convolve) else s.g, sizes)
    image, kernel = ("[:, None]", "[None]" if s.how.name == "each" else "") if flat else ("", "")
    first, last = (kernel, image) if isinstance(s, Convolve) else (image, kernel)
    options = [repeated(s.x, sizes) + image, other + first, *work]
    for word, values, usual in (("padding", [t.lo for t in taps], 0), ("stride", [t.stride for t in taps], 1),
                                ("dilation", [t.dilation for t in taps], 1)):
        if any(v != usual for v in values) or (word == "padding" and any(t.hi for t in taps)):
            options.append(f"{word}={tuple([usual] * (2 - len(taps)) + values)}")
    return f"{name}({', '.join(options)}, out={text(s.out, sizes)}{last})"
