"""Statements on images as NumPy: calls of the helpers in `window_runtime`."""

from __future__ import annotations

from ...compiler.program import Pool, Refold, Tap, Unfold, Unpool
from .views import assigned, kept, plain, shape_text, text


def on_image(s: Unfold | Refold | Pool | Unpool, uses: set[str], sizes: dict[str, str] | None) -> str:
    """The text of a statement on windows."""
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
