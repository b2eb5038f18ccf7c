"""Sequences: delays, single steps, and time as a feature. Part of the graph; import them from `graph`."""

from __future__ import annotations

from .moves import broadcast
from .node import Expr, GraphError, describe, length, order_axes


class Shift(Expr):
    """out[t] = a[t + s]; where t + s leaves the sequence stand the inits, in the order of their index.

    For s < 0 the inits are the values at s, ..., -1; for s > 0 those at T, ..., T+s-1.
    """

    __slots__ = ("axis", "s")
    __match_args__ = ("args", "axis", "s")
    axis: str
    s: int

    def __new__(cls, a: Expr, axis: str, s: int, inits: tuple[Expr, ...]) -> Expr:  # type: ignore[misc]
        if s == 0:
            return a
        if axis not in a.axes:
            raise GraphError(f"a delay along {axis} of a value that has no axis {axis}")
        if len(inits) != abs(s):
            raise GraphError(f"a delay of {abs(s)} needs {abs(s)} boundary values, not {len(inits)}")
        rest = tuple(x for x in a.axes if x != axis)
        inits = tuple(broadcast(i, rest, a.shape) for i in inits)
        return cls._make({"axis": axis, "s": s}, (a, *inits), a.axes, a.shape, a.type)

    @property
    def inits(self) -> tuple[Expr, ...]:
        return self.args[1:]

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Shift(args[0], self.axis, self.s, args[1:])


class At(Expr):
    """One step of a sequence: a[i], counted from the end where i < 0."""

    __slots__ = ("axis", "i")
    __match_args__ = ("args", "axis", "i")
    axis: str
    i: int

    def __new__(cls, a: Expr, axis: str, i: int) -> Expr:  # type: ignore[misc]
        if axis not in a.axes:
            raise GraphError(f"a step along {axis} of a value that has no axis {axis}")
        return cls._make({"axis": axis, "i": i}, (a,), tuple(x for x in a.axes if x != axis), a.shape, a.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return At(args[0], self.axis, self.i)


class Put(Expr):
    """The sequence that is g at step i and zero elsewhere: the adjoint of At."""

    __slots__ = ("axis", "i")
    __match_args__ = ("args", "axis", "i")
    axis: str
    i: int

    def __new__(cls, g: Expr, axis: str, i: int) -> Expr:  # type: ignore[misc]
        if axis in g.axes:
            raise GraphError(f"{describe(g)} has the axis {axis} already")
        return cls._make({"axis": axis, "i": i}, (g,), order_axes((*g.axes, axis)), g.shape, g.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Put(args[0], self.axis, self.i)


class Freeze(Expr):
    """A time axis as the first feature, so that another sequence can attend to it."""

    __slots__ = ("axis",)
    __match_args__ = ("args", "axis")
    axis: str

    def __new__(cls, a: Expr, axis: str) -> Expr:  # type: ignore[misc]
        if axis not in a.axes:
            raise GraphError(f"no axis {axis} to freeze")
        return cls._make({"axis": axis}, (a,), tuple(x for x in a.axes if x != axis), (length(axis), *a.shape), a.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Freeze(args[0], self.axis)


def renamed(a: Expr, names: dict[str, str]) -> Expr:
    """The same value along axes of other names; each new one is as long as the old one."""
    old = [x for x in a.axes if names.get(x, x) != x]
    for x in old:
        a = Freeze(a, x)
    for x in reversed(old):                                      # the axis that was frozen last is the first feature
        a = Thaw(a, names[x])
    return a


class Thaw(Expr):
    """The first feature as a time axis: the adjoint of Freeze."""

    __slots__ = ("axis",)
    __match_args__ = ("args", "axis")
    axis: str

    def __new__(cls, a: Expr, axis: str) -> Expr:  # type: ignore[misc]
        if not a.shape or a.shape[0] != length(axis):
            raise GraphError(f"the first feature is not as long as axis {axis}")
        if axis in a.axes:
            raise GraphError(f"{describe(a)} has the axis {axis} already")
        return cls._make({"axis": axis}, (a,), order_axes((*a.axes, axis)), a.shape[1:], a.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Thaw(args[0], self.axis)
