"""The reference interpreter: slow, obvious, float64. What a system means is what this computes.

Every value is asked for at single points of time, one after the other, on demand: a recurrence needs no schedule. Between points
of time a value is an array (batch, features), without the batch where it has none. A step that a sequence does not have
(`At` beyond its ends) is 0, so that delays longer than a sequence have a right adjoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import random
from .demand import demand
from .graph import (
    BATCH,
    BOOL,
    REAL,
    At,
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Flip,
    Fold,
    Freeze,
    GraphError,
    Index,
    Input,
    Intercept,
    Map,
    Noise,
    OneHot,
    Pad,
    Param,
    Put,
    Reduce,
    Ref,
    Reshape,
    Shift,
    Slice,
    Stop,
    Thaw,
    Transpose,
    Type,
    Window,
    length,
)
from .ops import PRIMITIVES
from .reach import reached
from .system import System

Array = NDArray[Any]
Key = tuple[Expr, tuple[int, ...]]                       # a node, and the point of time along each of its time axes
NoiseSource = Callable[[Noise, tuple[int, ...]], Array]


def evaluate(system: System, exprs: Sequence[Expr], values: Mapping[str, Any], lengths: Mapping[str, int] | None = None,
             seed: int = 0, step: int = 0, noise: NoiseSource | None = None) -> list[Array]:
    """The expressions' values, each as an array (time axes, batch, features).

    `values` holds params and inputs by name in the same order of axes. Sizes come from `lengths`, the system, and
    the arrays. `noise(node, shape)` replaces the documented generator. GraphError names what is missing or does not fit.
    """
    point = Interpreter(system, exprs, values, lengths, noise or (lambda n, shape: random.draw(n.kind, n.key, shape, seed, step)))
    with np.errstate(all="ignore"):
        return [point.whole(e) for e in exprs]


def time_axes(e: Expr) -> tuple[str, ...]:
    return tuple(a for a in e.axes if a != BATCH)


class Interpreter:
    """One evaluation: sizes, leaves and the memo of (node, time)."""

    def __init__(self, system: System, exprs: Sequence[Expr], values: Mapping[str, Any], lengths: Mapping[str, int] | None,
                 noise: NoiseSource) -> None:
        self.system, self.noise = system, noise
        self.sizes: dict[str, int] = {**system.sizes, **(lengths or {})}
        self.memo: dict[Key, Array] = {}
        self.leaves: dict[Expr, Array] = {}
        self._bind([n for n in reached(system, exprs)[0] if isinstance(n, (Param, Input))], values)

    def _bind(self, nodes: list[Expr], values: Mapping[str, Any]) -> None:
        """Leaf arrays, and the sizes that their shapes tell."""
        for n in nodes:
            assert isinstance(n, (Param, Input))
            if n.name not in values:
                raise GraphError(f"no value for {n.name}")
            array = self.leaves[n] = np.asarray(values[n.name], dtype_of(n.type))
            if array.ndim == n.rank:
                for s, found in zip(n.dims, array.shape, strict=True):
                    if len(s.symbols) == 1 and str(s) == s.symbols[0]:
                        self.sizes.setdefault(s.symbols[0], found)
        for n, array in self.leaves.items():
            expected = tuple(self.number(s) for s in n.dims)
            if array.shape != expected:
                raise GraphError(f"{n.name} has shape {array.shape}, not {expected}")  # type: ignore[attr-defined]

    def number(self, s: Any) -> int:
        try:
            return int(s.evaluate(self.sizes))
        except KeyError as missing:
            raise GraphError(f"no value for the size {missing.args[0]}") from None

    def length(self, axis: str) -> int:
        return self.number(length(axis))

    def steps(self, axes: Sequence[str]) -> list[tuple[int, ...]]:
        """All points of time along these axes, in row-major order."""
        return list(product(*(range(self.length(a)) for a in axes)))

    def whole(self, e: Expr) -> Array:
        """The value at every point of time, as one array."""
        axes = time_axes(e)
        keys = [(e, index) for index in self.steps(axes)]
        memo = demand(keys, self.needs, self.make, self.memo)
        dims = tuple(self.number(s) for s in e.dims)
        if not keys:
            return np.zeros(dims, dtype_of(e.type))
        return np.stack([memo[k] for k in keys]).reshape(dims)

    # ------------------------------------------------ what a point of time reads

    def needs(self, key: Key) -> list[Key]:
        """The points of other values that this one is made from."""
        e, index = key
        where = dict(zip(time_axes(e), index, strict=True))

        def at(a: Expr, **moved: int) -> Key:
            there = {**where, **moved}
            return a, tuple(there[x] for x in time_axes(a))

        match e:
            case Ref():
                return [at(self.system.equations[e.name])]
            case Shift(axis=axis, s=s):
                k, n = where[axis] + s, self.length(axis)
                if 0 <= k < n:
                    return [at(e.args[0], **{axis: k})]
                return [at(e.inits[k - s if s < 0 else k - n])]
            case At(axis=axis, i=i):
                k = self.place(axis, i)
                return [at(e.args[0], **{axis: k})] if 0 <= k < self.length(axis) else []
            case Put(axis=axis, i=i):
                return [at(e.args[0])] if where[axis] == self.place(axis, i) else []
            case Freeze(axis=axis):
                return [at(e.args[0], **{axis: k}) for k in range(self.length(axis))]
            case Reduce() | Contract():
                axes = summed_times(e)
                return [at(a, **dict(zip(axes, k, strict=True))) for k in self.steps(axes) for a in e.args]
        return [at(a) for a in e.args]

    def place(self, axis: str, i: int) -> int:
        return i if i >= 0 else self.length(axis) + i

    # ------------------------------------------------ what it makes of them

    def make(self, key: Key, args: list[Array]) -> Array:
        """The value at one point of time, an array (batch, features)."""
        e, index = key
        lead = int(BATCH in e.axes)                              # where the features begin
        dims = tuple(self.number(s) for s in e.dims[len(e.axes) - lead:])
        match e:
            case Const():
                return np.asarray(float(e.value))
            case Extent():
                return np.asarray(float(self.number(e.size)))
            case Index():
                return np.asarray(float(index[0])) if index else np.arange(self.length(BATCH), dtype=float)
            case Param() | Input():
                return np.asarray(self.leaves[e][index])
            case Noise():
                if e not in self.leaves:
                    self.leaves[e] = np.asarray(self.noise(e, tuple(self.number(s) for s in e.dims)), float)
                return np.asarray(self.leaves[e][index])
            case Ref() | Shift() | Stop() | Intercept():
                return args[0]
            case At() | Put():
                return args[0] if args else np.zeros(dims, dtype_of(e.type))
            case Freeze():
                return np.stack(args, axis=lead) if args else np.zeros(dims, dtype_of(e.type))
            case Thaw(axis=axis):
                return np.asarray(np.take(args[0], index[time_axes(e).index(axis)], axis=lead))
            case Map():
                return np.asarray(PRIMITIVES[e.f].reference(*args))
            case Contract():
                return self.contract(e, args, dims)
            case Reduce():
                return self.reduce(e, args, dims)
            case OneHot():
                return np.asarray(args[0][..., None] == np.arange(self.number(e.n)), float)
        return self.move(e, args, dims, lead)

    def contract(self, e: Contract, args: list[Array], dims: tuple[int, ...]) -> Array:
        """The sum over points of time of the products, each by einsum; the batch has the label 51."""
        a, b = e.args
        la, lb, lo = ([51] * (BATCH in x.axes) + list(labels) for x, labels in ((a, e.la), (b, e.lb), (e, e.lo)))
        total = np.zeros(dims)
        for x, y in zip(args[::2], args[1::2], strict=True):
            total = total + np.einsum(x, la, y, lb, lo)
        return total

    def reduce(self, e: Reduce, args: list[Array], dims: tuple[int, ...]) -> Array:
        """Points of time stand as a first axis and are reduced with the rest."""
        a = e.args[0]
        lead = 1 + int(BATCH in a.axes)
        stack = np.stack(args) if args else np.zeros((0, *dims))
        over = tuple(0 if o in time_axes(a) else 1 if o == BATCH else lead + int(o) for o in e.over)
        if e.kind == "argmax":
            return np.asarray(stack.argmax(0) if over[0] == 0 else stack[0].argmax(over[0] - 1))
        return np.asarray(REFERENCE[e.kind](stack, tuple(sorted({0, *over}))))

    def move(self, e: Expr, args: list[Array], dims: tuple[int, ...], lead: int) -> Array:
        """Rearrangements of the features, which begin at `lead`."""
        a = args[0]
        match e:
            case Broadcast(places=places):
                kept = [dims[lead + p] if p in places else 1 for p in range(len(e.shape))]
                batch = [dims[0] if BATCH in e.args[0].axes else 1] * lead
                return np.broadcast_to(a.reshape((*batch, *kept)), dims)
            case Transpose(perm=perm):
                return np.transpose(a, (*range(lead), *(lead + p for p in perm)))
            case Reshape():
                return a.reshape(dims)
            case Slice(at=at, lo=lo, hi=hi):
                return np.take(a, np.arange(self.number(lo), self.number(hi)), axis=lead + at)
            case Pad(at=at, lo=lo):
                out = np.zeros(dims, a.dtype)
                start = self.number(lo)
                out[(slice(None),) * (lead + at) + (slice(start, start + a.shape[lead + at]),)] = a
                return out
            case Concat(at=at):
                return np.concatenate(args, axis=lead + at)
            case Flip(at=at):
                return np.flip(a, axis=lead + at)
            case Window(at=at, stride=stride, dilation=dilation):
                return np.take(a, window_places(dims[lead + at], dims[lead + at + 1], stride, dilation), axis=lead + at)
            case Fold(at=at, stride=stride, dilation=dilation):
                out = np.zeros(dims, a.dtype)
                k = lead + at
                index: Any = (slice(None),) * k + (window_places(a.shape[k], a.shape[k + 1], stride, dilation),)
                np.add.at(out, index, a)
                return out
        raise GraphError(f"no meaning for {type(e).__name__}")


def window_places(count: int, k: int, stride: int, dilation: int) -> Array:
    """Where element j of window i stands, (count, k)."""
    return np.asarray(np.arange(count)[:, None] * stride + np.arange(k) * dilation)


def summed_times(e: Reduce | Contract) -> tuple[str, ...]:
    """The time axes that a reduction or contraction runs over."""
    axes = dict.fromkeys(x for a in e.args for x in time_axes(a))
    return tuple(sorted(x for x in axes if x not in e.axes))


def dtype_of(t: Type) -> type:
    return float if t == REAL else bool if t == BOOL else int


def _logsumexp(a: Array, axis: tuple[int, ...]) -> Array:
    top = a.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    return np.asarray(np.log(np.exp(a - top).sum(axis=axis)) + np.squeeze(top, axis))


REFERENCE: dict[str, Callable[[Array, tuple[int, ...]], Any]] = {
    "sum": lambda a, axis: a.sum(axis=axis),
    "prod": lambda a, axis: a.prod(axis=axis),
    "max": lambda a, axis: a.max(axis=axis),
    "min": lambda a, axis: a.min(axis=axis),
    "norm": lambda a, axis: np.sqrt((a * a).sum(axis=axis)),
    "logsumexp": _logsumexp,
}
