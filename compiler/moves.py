"""Moves: nodes that rearrange elements and compute nothing. Part of the graph; import them from `graph`."""

from __future__ import annotations

from .node import Expr, GraphError, describe, order_axes
from .sizes import Size, SizeLike, product, size


class Move(Expr):
    """A rearrangement of elements."""

    __slots__ = ()


class Broadcast(Move):
    """a repeated along new axes and features: the features of `a` stand at `places` of `shape`."""

    __slots__ = ("places",)
    __match_args__ = ("args", "axes", "shape", "places")
    places: tuple[int, ...]

    def __new__(cls, a: Expr, axes: tuple[str, ...], shape: tuple[Size, ...], places: tuple[int, ...]) -> Expr:  # type: ignore[misc]
        axes = order_axes(axes)
        if not {*a.axes} <= {*axes} or tuple(shape[p] for p in places) != a.shape or list(places) != sorted({*places}):
            raise GraphError(f"{describe(a)} cannot be repeated to {axes}{shape} at {places}")
        if isinstance(a, Broadcast):
            return Broadcast(a.args[0], axes, shape, tuple(places[p] for p in a.places))
        if (a.axes, a.shape) == (axes, shape):
            return a
        return cls._make({"places": places}, (a,), axes, shape, a.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        extra = {*self.axes} - {*self.args[0].axes}
        shape = list(self.shape)
        for p, s in zip(self.places, args[0].shape, strict=True):
            shape[p] = s
        return Broadcast(args[0], order_axes({*args[0].axes, *extra}), tuple(shape), self.places)


def broadcast(a: Expr, axes: tuple[str, ...], shape: tuple[Size, ...]) -> Expr:
    """a with these axes and this shape; its own features must be all of the shape's, or none."""
    if a.shape and a.shape != shape:
        raise GraphError(f"{describe(a)} does not fit the shape ({', '.join(map(str, shape))})")
    return Broadcast(a, axes, shape, tuple(range(len(a.shape))))


class Transpose(Move):
    """out's feature k is a's feature perm[k]."""

    __slots__ = ("perm",)
    __match_args__ = ("args", "perm")
    perm: tuple[int, ...]

    def __new__(cls, a: Expr, perm: tuple[int, ...] | None = None) -> Expr:  # type: ignore[misc]
        perm = tuple(reversed(range(len(a.shape)))) if perm is None else perm
        if sorted(perm) != list(range(len(a.shape))):
            raise GraphError(f"{perm} does not permute the features of {describe(a)}")
        if isinstance(a, Transpose):
            return Transpose(a.args[0], tuple(a.perm[p] for p in perm))
        if perm == tuple(range(len(perm))):
            return a
        return cls._make({"perm": perm}, (a,), a.axes, tuple(a.shape[p] for p in perm), a.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Transpose(args[0], self.perm)


class Reshape(Move):
    """The features in another shape of as many elements, row by row."""

    __slots__ = ()
    __match_args__ = ("args", "shape")

    def __new__(cls, a: Expr, shape: tuple[SizeLike, ...]) -> Expr:  # type: ignore[misc]
        sizes = tuple(map(size, shape))
        if product(sizes) != product(a.shape):
            raise GraphError(f"{describe(a)} has not as many elements as the shape ({', '.join(map(str, sizes))})")
        if isinstance(a, Reshape):
            a = a.args[0]
        if sizes == a.shape:
            return a
        return cls._make({}, (a,), a.axes, sizes, a.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Reshape(args[0], self.shape)


class Slice(Move):
    """Features lo, ..., hi-1 along one feature position."""

    __slots__ = ("at", "hi", "lo")
    __match_args__ = ("args", "at", "lo", "hi")
    at: int
    lo: Size
    hi: Size

    def __new__(cls, a: Expr, at: int, lo: SizeLike, hi: SizeLike) -> Expr:  # type: ignore[misc]
        lo, hi = size(lo), size(hi)
        if not 0 <= at < len(a.shape):
            raise GraphError(f"{describe(a)} has no feature {at}")
        for low, high in ((size(0), lo), (lo, hi), (hi, a.shape[at])):
            if (high - low).value is not None and (high - low).value < 0:
                raise GraphError(f"{lo}:{hi} leaves the size {a.shape[at]}")
        if lo == 0 and hi == a.shape[at]:
            return a
        if isinstance(a, Slice) and a.at == at:
            return Slice(a.args[0], at, a.lo + lo, a.lo + hi)
        if isinstance(a, Slice) and a.at > at:                   # slices along several features stand in one order
            return Slice(Slice(a.args[0], at, lo, hi), a.at, a.lo, a.hi)
        shape = (*a.shape[:at], hi - lo, *a.shape[at + 1:])
        return cls._make({"at": at, "lo": lo, "hi": hi}, (a,), a.axes, shape, a.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Slice(args[0], self.at, self.lo, self.hi)


class Pad(Move):
    """Zeros around a along one feature position, so that a starts at lo of total: the adjoint of Slice."""

    __slots__ = ("at", "lo", "total")
    __match_args__ = ("args", "at", "lo", "total")
    at: int
    lo: Size
    total: Size

    def __new__(cls, a: Expr, at: int, lo: SizeLike, total: SizeLike) -> Expr:  # type: ignore[misc]
        lo, total = size(lo), size(total)
        if not 0 <= at < len(a.shape):
            raise GraphError(f"{describe(a)} has no feature {at}")
        if a.shape[at] == total:
            return a
        shape = (*a.shape[:at], total, *a.shape[at + 1:])
        return cls._make({"at": at, "lo": lo, "total": total}, (a,), a.axes, shape, a.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Pad(args[0], self.at, self.lo, self.total)


class Concat(Move):
    """The operands side by side along one feature position."""

    __slots__ = ("at",)
    __match_args__ = ("at", "args")
    at: int

    def __new__(cls, at: int, args: tuple[Expr, ...]) -> Expr:  # type: ignore[misc]
        if len(args) == 1:
            return args[0]
        axes = order_axes({x for a in args for x in a.axes})
        ranks = {len(a.shape) for a in args}
        rest = {(*a.shape[:at], *a.shape[at + 1:]) for a in args}
        if len(ranks) != 1 or len(rest) != 1 or not 0 <= at < len(args[0].shape):
            raise GraphError(f"a concatenation of {' and '.join(map(describe, args))}")
        args = tuple(Broadcast(a, axes, a.shape, tuple(range(len(a.shape)))) for a in args)
        total = sum((a.shape[at] for a in args), size(0))
        shape = (*args[0].shape[:at], total, *args[0].shape[at + 1:])
        return cls._make({"at": at}, args, axes, shape, args[0].type)

    @property
    def offsets(self) -> tuple[Size, ...]:
        """Where each operand starts."""
        starts = [size(0)]
        for a in self.args[:-1]:
            starts.append(starts[-1] + a.shape[self.at])
        return tuple(starts)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Concat(self.at, args)


class Flip(Move):
    """The features along one position in reverse order."""

    __slots__ = ("at",)
    __match_args__ = ("args", "at")
    at: int

    def __new__(cls, a: Expr, at: int) -> Expr:  # type: ignore[misc]
        if not 0 <= at < len(a.shape):
            raise GraphError(f"{describe(a)} has no feature {at}")
        if isinstance(a, Flip) and a.at == at:
            return a.args[0]
        return cls._make({"at": at}, (a,), a.axes, a.shape, a.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Flip(args[0], self.at)
