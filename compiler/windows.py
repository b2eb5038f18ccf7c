"""Windows over features: what convolution and pooling read. Part of the graph; import them from `graph`."""

from __future__ import annotations

from .moves import Move
from .node import Expr, GraphError, describe
from .sizes import Size, SizeLike, size


def window_count(n: SizeLike, k: SizeLike, stride: int, dilation: int) -> Size:
    """How many windows fit: (n - dilation*(k - 1) - 1)//stride + 1."""
    return (size(n) - (size(k) - 1) * dilation - 1) // stride + 1


class Window(Move):
    """Windows along feature position `at`: out[..., i, j, ...] = a[..., i*stride + j*dilation, ...], j < k.

    The position of size n becomes two, (n - dilation*(k - 1) - 1)//stride + 1 windows of k elements. Nothing is padded.
    """

    __slots__ = ("at", "dilation", "k", "stride")
    __match_args__ = ("args", "at", "k", "stride", "dilation")
    at: int
    k: Size
    stride: int
    dilation: int

    def __new__(cls, a: Expr, at: int, k: SizeLike, stride: int = 1, dilation: int = 1) -> Expr:  # type: ignore[misc]
        k = size(k)
        if not 0 <= at < len(a.shape):
            raise GraphError(f"{describe(a)} has no feature {at}")
        count = _checked(a.shape[at], k, stride, dilation)
        shape = (*a.shape[:at], count, k, *a.shape[at + 1:])
        return cls._make({"at": at, "k": k, "stride": stride, "dilation": dilation}, (a,), a.axes, shape, a.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Window(args[0], self.at, self.k, self.stride, self.dilation)


class Fold(Expr):
    """Windows added back where they came from: out[..., p, ...] = sum of g[..., i, j, ...] over i*stride + j*dilation = p.

    The positions at and at+1 become one of size n: the adjoint of Window.
    """

    __slots__ = ("at", "dilation", "n", "stride")
    __match_args__ = ("args", "at", "n", "stride", "dilation")
    at: int
    n: Size
    stride: int
    dilation: int

    def __new__(cls, g: Expr, at: int, n: SizeLike, stride: int = 1, dilation: int = 1) -> Expr:  # type: ignore[misc]
        n = size(n)
        if not 0 <= at < len(g.shape) - 1:
            raise GraphError(f"{describe(g)} has no windows at feature {at}")
        count = _checked(n, g.shape[at + 1], stride, dilation)
        if count != g.shape[at]:
            raise GraphError(f"{describe(g)} has {g.shape[at]} windows at feature {at}; {n} elements have {count}")
        shape = (*g.shape[:at], n, *g.shape[at + 2:])
        return cls._make({"at": at, "n": n, "stride": stride, "dilation": dilation}, (g,), g.axes, shape, g.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Fold(args[0], self.at, self.n, self.stride, self.dilation)


def _checked(n: Size, k: Size, stride: int, dilation: int) -> Size:
    """The number of windows; GraphError where none fits."""
    if stride < 1 or dilation < 1 or (k.value is not None and k.value < 1):
        raise GraphError(f"a window has a size, a stride and a dilation from 1 on, not {k}, {stride}, {dilation}")
    count = window_count(n, k, stride, dilation)
    if count.value is not None and count.value < 1:
        reach = f"{dilation}*({k} - 1) + 1" if dilation > 1 else str(k)
        raise GraphError(f"a window of {reach} elements does not fit into {n}")
    return count
