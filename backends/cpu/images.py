"""Statements on images as NumPy: calls of the helpers in `window_runtime`."""

from __future__ import annotations

from ...compiler.program import (
    BOOL,
    REAL,
    Convolve,
    Correlate,
    Images,
    Pool,
    Refold,
    Tap,
    Unfold,
    Unpool,
    View,
    Winner,
)
from ...compiler.sizes import Size
from .convolutions import convolved
from .views import assigned, kept, plain, repeated, shape_text, text


def on_image(s: Images, uses: set[str], sizes: dict[str, str] | None, scratch: list[str]) -> str:
    """The text of a statement on windows."""
    if isinstance(s, Convolve | Correlate):
        return convolved(s, uses, sizes, scratch)
    return unfolded(s, uses, sizes) if isinstance(s, Unfold | Refold) else pooled(s, uses, sizes, scratch)


def pooled(s: Pool | Winner | Unpool, uses: set[str], sizes: dict[str, str] | None, scratch: list[str]) -> str:
    """`max_pool(a, axes, sizes, out=...)`, what its adjoint needs, or that; the stride is given where it is not the window's."""
    read: tuple[View, ...]
    match s:
        case Pool(_, kind, a):
            name, read = f"{kind}_pool", (a,)
        case Winner(_, a, best):
            name, read = "winners", (a, best)
        case Unpool(_, g, won):
            name, read = ("sum_unpool", (g,)) if won is None else ("max_unpool", (g, won))
    uses.add(name)
    options = [*(repeated(v, sizes) for v in read), str(tuple(t.dim for t in s.taps)), _sizes(s.taps, sizes)]
    if any(t.stride != t.k.value for t in s.taps):
        options.append(f"stride={tuple(t.stride for t in s.taps)}")
    if any(t.dilation > 1 for t in s.taps):
        options.append(f"dilation={tuple(t.dilation for t in s.taps)}")
    if any(t.lo or t.hi for t in s.taps):
        options.append(f"padding={tuple((t.lo, t.hi) for t in s.taps)}")
    names = ("lost", "mask") if isinstance(s, Winner) else ("mask", "part")
    options += [f"{key}={x}" for key, x in zip(names, scratch, strict=False)]
    return f"{name}({', '.join(options)}, out={text(s.out, sizes)})"


def scratch(s: Winner | Unpool) -> list[tuple[str, tuple[Size, ...]]]:
    """The kinds and dims of what a statement needs beside its operands: masks, and a product where windows overlap."""
    if isinstance(s, Winner):
        return [(BOOL, s.out.dims)] * 2
    if s.won is None:
        return []
    apart = all(t.k.value is not None and (t.k.value - 1) * t.dilation < t.stride for t in s.taps)
    return [(BOOL, s.g.dims)] if apart else [(BOOL, s.g.dims), (REAL, s.g.dims)]


def unfolded(s: Unfold | Refold, uses: set[str], sizes: dict[str, str] | None) -> str:
    """`windows(x, axes, sizes)` has the elements of the windows in its last dims; so has what `fold` adds up."""
    out, a = s.out, s.a
    whole, wide = (a, out) if isinstance(s, Unfold) else (out, a)
    own, wide_own, source = kept(whole), kept(wide), plain(a, sizes)
    if len(kept(a)) < len(a.dims):                               # a repeats: it is read in the order of its dims
        source = repeated(a, sizes)
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
