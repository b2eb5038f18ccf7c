"""Values of graph nodes in one precision: float32, float64, or mpmath's (object arrays), whole arrays at a time, no Refs.

The production forms of the primitives run in the given type from end to end, as generated code does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mpmath
import numpy as np
from chainrule.compiler.graph import (
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
    Index,
    Input,
    Map,
    OneHot,
    Pad,
    Param,
    Put,
    Reduce,
    Reshape,
    Shift,
    Slice,
    Stop,
    Thaw,
    Transpose,
    Window,
    length,
    postorder,
)
from chainrule.compiler.ops import PRIMITIVES

MP = "mp"
mp = mpmath.mp


def _each(f: Any) -> Any:
    return np.frompyfunc(f, f.__code__.co_argcount, 1)


EXACT = {
    "exp": _each(lambda x: mpmath.exp(x)), "log": _each(lambda x: mpmath.log(x)), "log1p": _each(lambda x: mpmath.log(1 + x)),
    "expm1": _each(lambda x: mpmath.exp(x) - 1), "tanh": _each(lambda x: mpmath.tanh(x)),
    "sqrt": _each(lambda x: mpmath.sqrt(x)), "pow": _each(lambda x, y: mpmath.power(x, y)),
    "sigmoid": _each(lambda x: 1 / (1 + mpmath.exp(-x))), "softplus": _each(lambda x: mpmath.log(1 + mpmath.exp(x))),
    "logaddexp": _each(lambda x, y: mpmath.log(mpmath.exp(x) + mpmath.exp(y))), "abs": _each(lambda x: abs(x)),
    "sign": _each(lambda x: mpmath.sign(x)), "square": _each(lambda x: x * x), "sin": _each(lambda x: mpmath.sin(x)),
    "cos": _each(lambda x: mpmath.cos(x)), "arctan": _each(lambda x: mpmath.atan(x)), "erf": _each(lambda x: mpmath.erf(x)),
    "log1mexp": _each(lambda x: mpmath.log(1 - mpmath.exp(x))), "div": _each(lambda x, y: x / y if y else mpmath.nan),
    "exprel": _each(lambda x: (mpmath.exp(x) - 1) / x if x else mpmath.mpf(1)), "real": _each(lambda x: mpmath.mpf(int(x))),
    "maximum": _each(lambda x, y: max(x, y)), "minimum": _each(lambda x, y: min(x, y)), "relu": _each(lambda x: max(x, 0)),
    "safe_div": _each(lambda x, y: x / y if y else mpmath.mpf(0)), "floor": _each(lambda x: mpmath.floor(x)),
    "expmoment": _each(lambda n, x: mpmath.quad(lambda s: s**n * mpmath.exp(s * x), [0, 1])),
}


def sizes_of(values: Mapping[str, Any], leaves: Sequence[Expr]) -> dict[str, int]:
    """Lengths as the leaves' arrays tell them."""
    found: dict[str, int] = {}
    for n in leaves:
        if isinstance(n, Input | Param):
            for s, k in zip(n.dims, np.shape(values[n.name]), strict=True):
                if str(s) == (s.symbols or ("",))[0]:
                    found[str(s)] = k
    return found


def evaluate(exprs: Sequence[Expr], values: Mapping[str, Any], kind: Any,
             more: Mapping[str, int] | None = None) -> list[np.ndarray]:
    """The arrays (axes, features) of the expressions; `kind` is a NumPy type or MP; `more` are lengths that no leaf tells."""
    nodes = list(postorder(*exprs))
    sizes = {**(more or {}), **sizes_of(values, nodes)}
    memo: dict[Expr, np.ndarray] = {}
    with np.errstate(all="ignore"):
        for n in nodes:
            array = np.asarray(_value(n, [memo[a] for a in n.args], values, sizes, kind))
            memo[n] = np.broadcast_to(array, tuple(s.evaluate(sizes) for s in n.dims))
    return [memo[e] for e in exprs]


def number(value: Any, kind: Any) -> np.ndarray:
    if kind == MP:
        out = np.empty((), object)
        out[()] = mpmath.mpf(value.numerator) / value.denominator if hasattr(value, "denominator") else mpmath.mpf(value)
        return out
    return np.asarray(float(value), kind)


def as_kind(array: Any, kind: Any) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype == bool or array.dtype.kind == "i":
        return array
    if kind == MP:
        return array if array.dtype == object else np.frompyfunc(lambda v: mpmath.mpf(float(v)), 1, 1)(array)
    return array.astype(kind)


def _value(n: Expr, args: list[np.ndarray], values: Mapping[str, Any], sizes: Mapping[str, int], kind: Any) -> Any:
    match n:
        case Const():
            return number(n.value, kind)
        case Extent():
            return number(n.size.evaluate(sizes), kind)
        case Input() | Param():
            return as_kind(values[n.name], kind)
        case Index():
            return as_kind(np.arange(sizes[str(length(n.axis))], dtype=float), kind)
        case Map():
            return _map(n, args, kind)
        case Reduce():
            return _reduce(n, args[0], kind)
        case Contract():
            return _contract(n, args)
        case OneHot():
            hot = args[0][..., None] == np.arange(n.n.evaluate(sizes))
            return as_kind(hot.astype(float), kind)
        case Stop():
            return args[0]
    return _move(n, args, sizes, kind)


def _map(n: Map, args: list[np.ndarray], kind: Any) -> Any:
    f = PRIMITIVES[n.f].reference
    if kind == MP and n.f in EXACT:
        f = EXACT[n.f]
    out = np.asarray(f(*args))
    if n.type != REAL:
        return out if n.type.kind == "class" else out.astype(bool)
    return out if kind == MP else out.astype(kind)


def _axes(n: Expr, over: Sequence[str | int]) -> tuple[int, ...]:
    return tuple(n.axes.index(o) if isinstance(o, str) else len(n.axes) + o for o in over)


def _reduce(n: Reduce, a: np.ndarray, kind: Any) -> Any:
    axes = _axes(n.args[0], n.over)
    match n.kind:
        case "argmax":
            return np.argmax(a, axes[0])
        case "norm":
            total = (a * a).sum(axis=axes)
            return EXACT["sqrt"](total) if kind == MP else np.sqrt(total)
        case "logsumexp":
            top = a.max(axis=axes, keepdims=True)
            if kind == MP:
                return np.squeeze(top, axes) + EXACT["log"](EXACT["exp"](a - top).sum(axis=axes))
            top = np.where(np.isfinite(top), top, 0).astype(kind)
            return np.squeeze(top, axes) + np.log(np.exp(a - top).sum(axis=axes))
    return getattr(a, n.kind)(axis=axes)


def _contract(n: Contract, args: list[np.ndarray]) -> Any:
    """Both operands spread over all labels, multiplied, summed."""
    names: list[str | int] = [*n.axes, *n.lo]
    labels = [[*x.axes, *ls] for x, ls in zip(n.args, (n.la, n.lb), strict=True)]
    every = names + [m for m in dict.fromkeys(labels[0] + labels[1]) if m not in names]
    spread = []
    for a, ls in zip(args, labels, strict=True):
        order = sorted(range(len(ls)), key=lambda k, ls=ls: every.index(ls[k]))
        shape = [a.shape[ls.index(m)] if m in ls else 1 for m in every]
        spread.append(a.transpose(order).reshape(shape))
    product = spread[0] * spread[1]
    return product.sum(axis=tuple(range(len(names), len(every))))


def _move(n: Expr, args: list[np.ndarray], sizes: Mapping[str, int], kind: Any) -> Any:
    a, inner = args[0], n.args[0]
    dims = tuple(s.evaluate(sizes) for s in n.dims)
    lead = len(n.axes)
    match n:
        case Broadcast():
            shape = [length(x).evaluate(sizes) if x in inner.axes else 1 for x in n.axes]
            shape += [dims[lead + k] if k in n.places else 1 for k in range(len(n.shape))]
            return np.broadcast_to(a.reshape(shape), dims)
        case Transpose():
            return a.transpose((*range(lead), *(lead + k for k in n.perm)))
        case Reshape():
            return a.reshape(dims)
        case Slice():
            return a[(slice(None),) * (lead + n.at) + (slice(n.lo.evaluate(sizes), n.hi.evaluate(sizes)),)]
        case Pad():
            out = np.broadcast_to(number(0, kind), dims).copy()
            start = n.lo.evaluate(sizes)
            out[(slice(None),) * (lead + n.at) + (slice(start, start + a.shape[lead + n.at]),)] = a
            return out
        case Concat():
            return np.concatenate(args, axis=lead + n.at)
        case Flip():
            return np.flip(a, axis=lead + n.at)
        case Window():
            k = lead + n.at
            return np.take(a, np.arange(dims[k])[:, None] * n.stride + np.arange(dims[k + 1]) * n.dilation, axis=k)
        case Fold():
            out = np.broadcast_to(number(0, kind), dims).copy()
            back = np.moveaxis(out, lead + n.at, 0)
            for i, windows in enumerate(np.moveaxis(a, (lead + n.at, lead + n.at + 1), (0, 1))):
                for j, value in enumerate(windows):
                    back[i * n.stride + j * n.dilation] = back[i * n.stride + j * n.dilation] + value
            return out
        case Shift():
            return _shift(n, args, sizes)
        case At():
            return np.take(a, n.i, axis=inner.axes.index(n.axis))
        case Put():
            out = np.broadcast_to(number(0, kind), dims).copy()
            out[(slice(None),) * n.axes.index(n.axis) + (n.i,)] = a
            return out
        case Freeze():
            return np.moveaxis(a, inner.axes.index(n.axis), lead)
        case Thaw():
            return np.moveaxis(a, len(inner.axes), n.axes.index(n.axis))
    raise AssertionError(f"no value for {n!r}")


def _shift(n: Shift, args: list[np.ndarray], sizes: Mapping[str, int]) -> np.ndarray:
    at = n.axes.index(n.axis)
    steps = sizes[str(length(n.axis))]
    pieces = [np.expand_dims(i, at) for i in args[1:]]
    whole = np.concatenate([*pieces, args[0]] if n.s < 0 else [args[0], *pieces], axis=at)
    start = 0 if n.s < 0 else n.s
    return np.take(whole, np.arange(start, start + steps), axis=at)
