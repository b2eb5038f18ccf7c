"""What every node of the graph is: a frozen, interned expression with axes, a shape and a type."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, TypeVar, cast
from weakref import WeakValueDictionary

from .sizes import Size, SizeLike, size, symbol

BATCH = "batch"
Number = int | float | Fraction


class GraphError(ValueError):
    """An expression that has no meaning: sizes that clash, axes that do not fit."""


@dataclass(frozen=True)
class Type:
    """What a value's elements are: real numbers, truth values, or classes 0..n-1."""

    kind: str
    n: Size | None = None

    def __str__(self) -> str:
        return self.kind if self.n is None else f"class({self.n})"


REAL = Type("real")
BOOL = Type("bool")


def class_of(n: SizeLike) -> Type:
    return Type("class", size(n))


def base(axis: str) -> str:
    """The axis that a second name stands for: `t` of `t.u`, which the language calls `u over t`; any other axis itself."""
    return axis.partition(".")[0]


def shown(axis: str) -> str:
    """What an axis is called in a model: `u` of `t.u`."""
    return axis.rpartition(".")[2]


def length(axis: str) -> Size:
    """The length of an axis as a size: `T` for a time axis `t` and its second names, `B` for the batch."""
    return symbol("B" if axis == BATCH else base(axis).upper())


def order_axes(axes: set[str] | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(axes, key=lambda a: (a == BATCH, a)))


Node = TypeVar("Node", bound="Expr")


class Expr:
    """A node. Subclasses name their fields in `__match_args__` and build through `_make`, which interns."""

    __slots__ = ("__weakref__", "_key", "args", "axes", "shape", "type")
    __match_args__: ClassVar[tuple[str, ...]] = ()
    _table: ClassVar[WeakValueDictionary[Any, Expr]] = WeakValueDictionary()
    args: tuple[Expr, ...]
    axes: tuple[str, ...]
    shape: tuple[Size, ...]
    type: Type

    @classmethod
    def _make(cls: builtins.type[Node], fields: dict[str, Any], args: tuple[Expr, ...] = (), axes: tuple[str, ...] = (),
              shape: tuple[Size, ...] = (), type: Type = REAL) -> Node:
        values = tuple(fields.values())
        # 1 == 1.0 == True in Python, and they are different constants
        key = (cls, values, tuple(v.__class__ for v in values), args, axes, shape, type)
        node = Expr._table.get(key)
        if node is None:
            node = object.__new__(cls)
            for name, value in (*fields.items(), ("args", args), ("axes", axes), ("shape", shape), ("type", type),
                                ("_key", key)):
                object.__setattr__(node, name, value)
            Expr._table[key] = node
        return cast(Node, node)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} nodes are frozen")

    def __copy__(self) -> Expr:
        return self

    def __deepcopy__(self, memo: Any) -> Expr:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(repr(getattr(self, n)) for n in self.__match_args__)})"

    @property
    def dims(self) -> tuple[Size, ...]:
        """All sizes: those of the axes, then those of the features."""
        return tuple(length(a) for a in self.axes) + self.shape

    @property
    def rank(self) -> int:
        return len(self.axes) + len(self.shape)

    def with_args(self, args: tuple[Expr, ...]) -> Expr:
        """The same operation on other operands."""
        if args == self.args:
            return self
        return self._rebuild(args)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        if args:
            raise GraphError(f"{type(self).__name__} takes no operands")
        return self

    # Arithmetic builds Map nodes; `==` stays identity (write apply("eq", a, b)).

    def __add__(self, other: Any) -> Expr:
        return _apply("add", self, other)

    def __radd__(self, other: Any) -> Expr:
        return _apply("add", other, self)

    def __sub__(self, other: Any) -> Expr:
        return _apply("sub", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return _apply("sub", other, self)

    def __mul__(self, other: Any) -> Expr:
        return _apply("mul", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return _apply("mul", other, self)

    def __truediv__(self, other: Any) -> Expr:
        return _apply("div", self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return _apply("div", other, self)

    def __pow__(self, other: Any) -> Expr:
        return _apply("pow", self, other)

    def __rpow__(self, other: Any) -> Expr:
        return _apply("pow", other, self)

    def __neg__(self) -> Expr:
        return _apply("neg", self)

    def __lt__(self, other: Any) -> Expr:
        return _apply("lt", self, other)

    def __le__(self, other: Any) -> Expr:
        return _apply("le", self, other)

    def __gt__(self, other: Any) -> Expr:
        return _apply("gt", self, other)

    def __ge__(self, other: Any) -> Expr:
        return _apply("ge", self, other)

    def __matmul__(self, other: Expr) -> Expr:
        from .graph import matmul
        return matmul(self, other)


def _apply(f: str, *operands: Any) -> Expr:
    from .graph import apply  # graph is built on this module
    return apply(f, *operands)


def describe(e: Expr) -> str:
    """Axes and shape for messages: `[t, batch](H)`."""
    axes = f"[{', '.join(e.axes)}]" if e.axes else ""
    return f"{axes}({', '.join(map(str, e.shape))})" + ("" if e.type == REAL else f" of {e.type}")
