"""Statements of images: windows along dims of an array, copied, pooled, multiplied by a kernel or by what stands at their
places. Part of the program; import them from `program`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .program import View
    from .sizes import Size


@dataclass(frozen=True)
class Tap:
    """Windows along one dim of an array: k elements, `dilation` apart, `stride` from window to window.

    `lo` and `hi`: elements of padding before and after the array, where a statement reads it as padded.
    """

    dim: int
    k: Size
    stride: int
    dilation: int
    lo: int = 0
    hi: int = 0


@dataclass(frozen=True)
class Unfold:
    """out[..., i, j, ...] = a[..., i*stride + j*dilation, ...]: each tapped dim of a becomes two of out, windows and elements."""

    out: View
    a: View
    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class Refold:
    """out[..., i*stride + j*dilation, ...] += a[..., i, j, ...], from zero; the taps name dims of out."""

    out: View
    a: View
    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class Pool:
    """out = the maximum or the sum of each window of a; the taps name dims of a. Padding is no maximum, and adds nothing."""

    out: View
    kind: str
    a: View
    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class Winner:
    """out = which element of each window of a, counted row by row, is its first maximum; `best` holds the maxima."""

    out: View
    a: View
    best: View
    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class Unpool:
    """out is the sum of g over the windows whose element number `won` stands there; without `won` over all that reach there.

    The taps name dims of out.
    """

    out: View
    g: View
    won: View | None
    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class Way:
    """How windows are read: `block` examples at a time, and all of their elements copied ("blocks"), those along the last dim
    ("rows"), or none ("direct"; "each", where every channel has a kernel of its own). `groups`: channels that see each other.
    """

    name: str
    taps: tuple[Tap, ...]
    groups: Size
    block: int


@dataclass(frozen=True)
class Convolve:
    """out[b, i, o] = the sum over elements p and channels c of x[b, i*stride + p*dilation - lo, c] * kernel[p, c, o]; x is 0
    outside. The dims of out are (b, places, o), of x (b, positions, c); of groups each has channels c and o of its own, and the
    dims of kernel are those in which its way reads it.
    """

    out: View
    x: View
    kernel: View
    how: Way


@dataclass(frozen=True)
class Correlate:
    """out[p, c, o] = the sum over examples b and places i of x[b, i*stride + p*dilation - lo, c] * g[b, i, o]."""

    out: View
    x: View
    g: View
    how: Way
