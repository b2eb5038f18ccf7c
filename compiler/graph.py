"""The graph: mathematics as frozen, interned nodes.

    Expr    Const(value)                        a number; no axes, no features
            Extent(size)                        the number that a size is (batch and time lengths included)
            Index(axis)                         the index along an axis, as a number
            Param(name) | Input(name)           leaves; a stat is a Param that the system lists under `stats`
            Ref(name)                           a cycle's closing edge, and only that
            Shift(a, axis, s, inits)            out[t] = a[t+s]; beyond the ends stand the inits, first index first
            At(a, axis, i) | Put(g, axis, i)    one step of a sequence (i < 0 counts from its end), and its adjoint
            Map(f, args)                        one elementwise primitive of `ops`; all args have the same dims
            Contract(a, b, la, lb, lo, axes)    sum of products; features carry labels, axes their names
            Reduce(kind, a, over)               sum max min logsumexp prod norm argmax, over axes and feature positions
            Broadcast | Transpose | Reshape | Slice | Pad | Concat | Flip      moves
            Window(a, at, k, stride, dilation) | Fold(g, at, n, stride, dilation)      windows along a feature, and their sum
            OneHot(i, n)                        a new last feature of size n
            Freeze(a, axis) | Thaw(a, axis)     a time axis as the first feature, and back
            Noise(kind, key)                    a leaf; kind is uniform or normal; key is the path of its equation
            Stop(a) | Intercept(a, name)        a, through which no gradient passes, or a changed one (`on_backward`)

Every node has `axes` (time axes in alphabetical order, then batch), `shape` (the sizes of its features) and `type` (REAL, BOOL,
or a class of n). Equal nodes are identical: tests say `is`. Names, spans and hints live outside (see `system`).
Not here: ragged arrays, complex numbers, data-dependent shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import ClassVar

from .moves import Broadcast, Concat, Flip, Move, Pad, Reshape, Slice, Transpose, broadcast
from .node import (
    BATCH,
    BOOL,
    REAL,
    Expr,
    GraphError,
    Number,
    Type,
    class_of,
    describe,
    length,
    order_axes,
)
from .sequences import At, Freeze, Put, Shift, Thaw
from .sizes import Size, SizeLike, product, size, symbol
from .windows import Fold, Window, window_count

# ---------------------------------------------------------------- leaves

class Const(Expr):
    """A number."""

    __slots__ = ("value",)
    __match_args__ = ("value",)
    value: Number

    def __new__(cls, value: Number) -> Const:
        if isinstance(value, Fraction) and value.denominator == 1:
            value = int(value)
        return cls._make({"value": value})


class Extent(Expr):
    """The number that a size is; a batch size or sequence length is read off the arrays."""

    __slots__ = ("size",)
    __match_args__ = ("size",)
    size: Size

    def __new__(cls, size: Size) -> Expr:  # type: ignore[misc]
        return Const(size.value) if size.value is not None else cls._make({"size": size})


class Index(Expr):
    """The index along an axis: out[t] = t."""

    __slots__ = ("axis",)
    __match_args__ = ("axis",)
    axis: str

    def __new__(cls, axis: str) -> Index:
        return cls._make({"axis": axis}, axes=(axis,))


class Param(Expr):
    __slots__ = ("name",)
    __match_args__ = ("name", "shape")
    name: str

    def __new__(cls, name: str, shape: tuple[SizeLike, ...] = ()) -> Param:
        return cls._make({"name": name}, shape=tuple(map(size, shape)))


class Input(Expr):
    __slots__ = ("name",)
    __match_args__ = ("name", "axes", "shape", "type")
    name: str

    def __new__(cls, name: str, axes: tuple[str, ...] = (BATCH,), shape: tuple[SizeLike, ...] = (),
                type: Type = REAL) -> Input:
        return cls._make({"name": name}, axes=order_axes(axes), shape=tuple(map(size, shape)), type=type)


class Ref(Expr):
    """A named equation, read inside a cycle."""

    __slots__ = ("name",)
    __match_args__ = ("name", "axes", "shape", "type")
    name: str

    def __new__(cls, name: str, axes: tuple[str, ...], shape: tuple[SizeLike, ...] = (), type: Type = REAL) -> Ref:
        return cls._make({"name": name}, axes=order_axes(axes), shape=tuple(map(size, shape)), type=type)


class Noise(Expr):
    """Random numbers: uniform in [0, 1) or standard normal, keyed by the path of the equation that draws them."""

    __slots__ = ("key", "kind")
    __match_args__ = ("kind", "key", "axes", "shape")
    kind: str
    key: str

    def __new__(cls, kind: str, key: str, axes: tuple[str, ...], shape: tuple[SizeLike, ...] = ()) -> Noise:
        if kind not in ("uniform", "normal"):
            raise GraphError(f"noise is uniform or normal, not {kind}")
        return cls._make({"kind": kind, "key": key}, axes=order_axes(axes), shape=tuple(map(size, shape)))


# ---------------------------------------------------------------- arithmetic

class Map(Expr):
    """One elementwise primitive; every operand has the same axes and shape (use `apply` to broadcast)."""

    __slots__ = ("f",)
    __match_args__ = ("f", "args")
    f: str
    result_types: ClassVar[dict[str, Callable[[tuple[Type, ...]], Type]]] = {}      # filled by `ops`

    def __new__(cls, f: str, args: tuple[Expr, ...]) -> Map:
        first = args[0]
        for a in args[1:]:
            if (a.axes, a.shape) != (first.axes, first.shape):
                raise GraphError(f"{f} of {describe(first)} and {describe(a)}")
        return cls._make({"f": f}, args, first.axes, first.shape, cls.result_types[f](tuple(a.type for a in args)))

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Map(self.f, args)


class Contract(Expr):
    """out[lo] = sum over what `lo` and `axes` leave out of a[la] * b[lb].

    `la`, `lb`, `lo` label the features (equal labels are one index); axes meet by name. Every label and axis of an operand
    stands in the result or in the other operand, so that the adjoint of a contraction is a contraction.
    `W @ x`: la = (0, 1), lb = (1,), lo = (0,).
    """

    __slots__ = ("la", "lb", "lo")
    __match_args__ = ("args", "la", "lb", "lo", "axes")
    la: tuple[int, ...]
    lb: tuple[int, ...]
    lo: tuple[int, ...]

    def __new__(cls, a: Expr, b: Expr, la: tuple[int, ...], lb: tuple[int, ...], lo: tuple[int, ...],
                axes: tuple[str, ...] | None = None) -> Contract:
        order: dict[int, int] = {}
        for k in (*la, *lb, *lo):                                # labels are numbered by first use: equal contractions intern
            order.setdefault(k, len(order))
        la, lb, lo = (tuple(order[k] for k in ls) for ls in (la, lb, lo))
        union = order_axes({*a.axes, *b.axes})
        axes = union if axes is None else order_axes(axes)
        sizes: dict[int, Size] = {}
        for labels, x in ((la, a), (lb, b)):
            if len(labels) != len(x.shape) or len(set(labels)) != len(labels):
                raise GraphError(f"{len(labels)} labels for {describe(x)}")
            for k, s in zip(labels, x.shape, strict=True):
                if sizes.setdefault(k, s) != s:
                    raise GraphError(f"a product of {describe(a)} and {describe(b)}")
        for label in (*la, *lb, *union):
            kept = label in (axes if isinstance(label, str) else lo)
            if not kept and not all(label in (*x.axes, *labels) for x, labels in ((a, la), (b, lb))):
                raise GraphError(f"{label} is summed and stands in one operand only")
        return cls._make({"la": la, "lb": lb, "lo": lo}, (a, b), axes, tuple(sizes[k] for k in lo))

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        lost = {*self.args[0].axes, *self.args[1].axes} - {*self.axes}
        axes = order_axes({*args[0].axes, *args[1].axes} - lost)
        return Contract(args[0], args[1], self.la, self.lb, self.lo, axes)


REDUCTIONS = ("sum", "max", "min", "prod", "logsumexp", "norm", "argmax")


class Reduce(Expr):
    """A reduction over axes (by name) and features (by position); what is reduced is gone from the result.

    `norm` is sqrt(sum(a**2)); `argmax` is the first index of the maximum, over one feature.
    """

    __slots__ = ("kind", "over")
    __match_args__ = ("kind", "args", "over")
    kind: str
    over: tuple[str | int, ...]

    def __new__(cls, kind: str, a: Expr, over: tuple[str | int, ...]) -> Expr:  # type: ignore[misc]
        if kind not in REDUCTIONS:
            raise GraphError(f"no reduction is called {kind}")
        if not over:
            return a
        names = order_axes({o for o in over if isinstance(o, str)})
        places = tuple(sorted({o for o in over if isinstance(o, int)}))
        if not {*names} <= {*a.axes} or any(not 0 <= p < len(a.shape) for p in places):
            raise GraphError(f"{kind} over {over} of {describe(a)}")
        if kind == "argmax" and len(names + places) != 1:
            raise GraphError("argmax runs over one axis")
        type = REAL
        if kind == "argmax":
            type = class_of(a.shape[places[0]] if places else length(names[0]))
        return cls._make({"kind": kind, "over": (*names, *places)}, (a,), tuple(x for x in a.axes if x not in names),
                         tuple(s for i, s in enumerate(a.shape) if i not in places), type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Reduce(self.kind, args[0], self.over)


class OneHot(Expr):
    """out[..., k] = 1 if i == k else 0, for k < n."""

    __slots__ = ("n",)
    __match_args__ = ("args", "n")
    n: Size

    def __new__(cls, i: Expr, n: SizeLike) -> OneHot:
        if i.type.kind != "class":
            raise GraphError(f"onehot takes a class, not {describe(i)}")
        return cls._make({"n": size(n)}, (i,), i.axes, (*i.shape, size(n)))

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return OneHot(args[0], self.n)


class Stop(Expr):
    """a itself; no gradient passes."""

    __slots__ = ()
    __match_args__ = ("args",)

    def __new__(cls, a: Expr) -> Stop:
        return cls._make({}, (a,), a.axes, a.shape, a.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Stop(args[0])


class Intercept(Expr):
    """a itself; the adjoint that arrives here goes on as what the system's `surgery` of this name makes of it."""

    __slots__ = ("name",)
    __match_args__ = ("args", "name")
    name: str

    def __new__(cls, a: Expr, name: str) -> Intercept:
        return cls._make({"name": name}, (a,), a.axes, a.shape, a.type)

    def _rebuild(self, args: tuple[Expr, ...]) -> Expr:
        return Intercept(args[0], self.name)


# ---------------------------------------------------------------- helpers

def wrap(value: Expr | Number | Size) -> Expr:
    if isinstance(value, Expr):
        return value
    return Extent(value) if isinstance(value, Size) else Const(value)


def apply(f: str, *operands: Expr | Number | Size) -> Expr:
    """Map with broadcasting: axes by name, scalars to any shape; any other difference of shapes is an error."""
    args = tuple(map(wrap, operands))
    axes = order_axes({x for a in args for x in a.axes})
    shapes = [a.shape for a in args if a.shape]
    if any(s != shapes[0] for s in shapes):
        raise GraphError(f"{f} of {' and '.join(map(describe, args))}")
    shape = shapes[0] if shapes else ()
    return Map(f, tuple(broadcast(a, axes, shape) for a in args))


def matmul(a: Expr, b: Expr) -> Expr:
    """`a @ b` on the features: matrix or inner product, the sum over a's last and b's first index."""
    if not a.shape or not b.shape or a.shape[-1] != b.shape[0]:
        raise GraphError(f"a product of {describe(a)} and {describe(b)}")
    n = len(a.shape)
    la, lb = tuple(range(n)), tuple(range(n - 1, n - 1 + len(b.shape)))
    return Contract(a, b, la, lb, (*la[:-1], *lb[1:]))


def zeros(like: Expr) -> Expr:
    """Zero with the axes and shape of `like`."""
    return Broadcast(Const(0), like.axes, like.shape, ())


def total(a: Expr) -> Expr:
    """The sum over the features."""
    return Reduce("sum", a, tuple(range(len(a.shape))))


def count(a: Expr, over: tuple[str | int, ...]) -> Size:
    """How many elements a reduction over `over` runs through."""
    return product(tuple(length(o) if isinstance(o, str) else a.shape[o] for o in over))


def mean(a: Expr, over: tuple[str | int, ...]) -> Expr:
    """The mean over axes and features: the sum divided by the count."""
    return apply("div", Reduce("sum", a, over), count(a, over)) if over else a


def below(roots: Iterable[Expr], operands: Callable[[Expr], tuple[Expr, ...]]) -> Iterator[Expr]:
    """Every node below the roots once, by what `operands` says of each, operands first; what closes a cycle is passed by."""
    seen: set[Expr] = set()
    for root in roots:
        stack = [(root, False)]
        while stack:
            node, done = stack.pop()
            if done:
                yield node
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack.extend((a, False) for a in reversed(operands(node)) if a not in seen)


def postorder(*roots: Expr) -> Iterator[Expr]:
    """Every node below the roots once, operands first; references are leaves."""
    return below(roots, lambda n: n.args)


__all__ = [
    "BATCH", "BOOL", "REAL", "REDUCTIONS", "At", "Broadcast", "Concat", "Const", "Contract", "Expr", "Extent", "Flip",
    "Fold", "Freeze", "GraphError", "Index", "Input", "Intercept", "Map", "Move", "Noise", "Number", "OneHot", "Pad", "Param",
    "Put", "Reduce", "Ref", "Reshape", "Shift", "Size", "Slice", "Stop", "Thaw", "Transpose", "Type", "Window", "apply",
    "broadcast", "class_of", "count", "describe", "length", "matmul", "mean", "order_axes", "postorder", "product", "size",
    "symbol", "total", "window_count", "wrap", "zeros",
]
