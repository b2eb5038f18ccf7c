"""Statements of convolution: windows multiplied by a kernel, or by what stands at their places. Part of the program; import them
from `program`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .program import Tap, View
    from .sizes import Size


@dataclass(frozen=True)
class Way:
    """How windows are read: `block` examples at a time, and all of their elements copied ("blocks"), those along the last dim
    ("rows"), or none ("each", where every channel has a kernel of its own). `groups`: channels that see each other.
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
