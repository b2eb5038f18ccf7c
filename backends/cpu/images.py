"""Statements on images as NumPy: calls of the helpers in `window_runtime`."""

from __future__ import annotations

from ...compiler.passes.convolution import shared
from ...compiler.program import Array, Convolve, Correlate, Pool, Refold, Tap, Unfold, Unpool
from ...compiler.sizes import product, size
from .views import assigned, kept, plain, shape_text, text

Image = Unfold | Refold | Pool | Unpool | Convolve | Correlate


def on_image(s: Image, uses: set[str], sizes: dict[str, str] | None, scratch: list[Array] | None = None) -> str:
    """The text of a statement on windows."""
    if isinstance(s, Convolve | Correlate):
        return convolved(s, uses, sizes, scratch)
    return pooled(s, uses, sizes) if isinstance(s, Pool | Unpool) else unfolded(s, uses, sizes)


def pooled(s: Pool | Unpool, uses: set[str], sizes: dict[str, str] | None) -> str:
    """`max_pool(a, axes, sizes, out=...)`, or its adjoint; the stride is given where it is not the window's size."""
    name, read = ("max_pool", (s.a,)) if isinstance(s, Pool) else ("max_unpool", (s.g, s.a, s.best))
    uses.add(name)
    stride = tuple(t.stride for t in s.taps)
    options = [*(text(v, sizes) for v in read), str(tuple(t.dim for t in s.taps)), _sizes(s.taps, sizes)]
    options += [] if stride == tuple(t.k.value for t in s.taps) else [f"stride={stride}"]
    return f"{name}({', '.join(options)}, out={text(s.out, sizes)})"


def unfolded(s: Unfold | Refold, uses: set[str], sizes: dict[str, str] | None) -> str:
    """`windows(x, axes, sizes)` has the elements of the windows in its last dims; so has what `fold` adds up."""
    out, a = s.out, s.a
    whole, wide = (a, out) if isinstance(s, Unfold) else (out, a)
    own, wide_own, source = kept(whole), kept(wide), plain(a, sizes)
    if len(kept(a)) < len(a.dims):                               # a repeats: it is read in the order of its dims
        source = f"np.broadcast_to({text(a, sizes)}, {shape_text(a.dims, sizes)})"
        every = list(range(len(a.dims)))
        own, wide_own = (every, wide_own) if isinstance(s, Unfold) else (own, every)
    options = [str(tuple(own.index(t.dim) for t in s.taps)), _sizes(s.taps, sizes)]
    for name, steps in (("stride", tuple(t.stride for t in s.taps)), ("dilation", tuple(t.dilation for t in s.taps))):
        options += [f"{name}={steps}"] if max(steps) > 1 else []
    order = _last_elements(wide_own, own, [t.dim for t in s.taps], len(whole.dims))
    if isinstance(s, Unfold):
        uses.add("windows")
        back = [order.index(d) for d in range(len(order))]
        return f"{assigned(plain(out, sizes))} = windows({', '.join([source, *options])}){_turn(back)}"
    uses.add("fold")
    return f"fold({', '.join([source + _turn(order), *options])}, out={plain(out, sizes)})"


def _turn(order: list[int]) -> str:
    return "" if order == sorted(order) else f".transpose({', '.join(map(str, order))})"


def _sizes(taps: tuple[Tap, ...], sizes: dict[str, str] | None) -> str:
    return shape_text(tuple(t.k for t in taps), sizes)


def _last_elements(wide: list[int], whole: list[int], tapped: list[int], rank: int) -> list[int]:
    """Where dims of an array of windows stand, for the order of the array without elements followed by the elements.

    `wide` and `whole` are the dims of both in the order of memory; each tapped dim of `whole` is two of `wide`'s.
    """
    places, elements = [], []
    for d in range(rank):
        at = d + sum(t < d for t in tapped)
        places.append(at)
        if d in tapped:
            elements.append(at + 1)
    return [wide.index(d) for d in (*(places[d] for d in whole), *elements)]


# ---------------------------------------------------------------- convolution by blocks of examples

def scratch(s: Convolve | Correlate) -> list[Array]:
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


def convolved(s: Convolve | Correlate, uses: set[str], sizes: dict[str, str] | None, given: list[Array] | None) -> str:
    """`convolve(x, K, block, out=...)`; arrays for the work are made on the way where no workspace holds them."""
    name = ("convolve" if isinstance(s, Convolve) else "correlate") + ("_each" if s.how.name == "each" else "")
    uses.add(name)
    taps, flat = s.how.taps, len(s.how.taps) == 1
    work = [a.name for a in given] if given else [f"np.empty({shape_text(a.dims, sizes)}, dtype)" for a in scratch(s)]
    other = text(s.kernel if isinstance(s, Convolve) else s.g, sizes)
    image, kernel = ("[:, None]", "[None]" if s.how.name == "each" else "") if flat else ("", "")
    first, last = (kernel, image) if isinstance(s, Convolve) else (image, kernel)
    options = [text(s.x, sizes) + image, other + first, *work]
    for word, values, usual in (("padding", [t.lo for t in taps], 0), ("stride", [t.stride for t in taps], 1),
                                ("dilation", [t.dilation for t in taps], 1)):
        if any(v != usual for v in values) or (word == "padding" and any(t.hi for t in taps)):
            options.append(f"{word}={tuple([usual] * (2 - len(taps)) + values)}")
    return f"{name}({', '.join(options)}, out={text(s.out, sizes)}{last})"
