"""Helpers of generated modules. A module carries the source of those that it uses, and imports nothing but NumPy."""

from __future__ import annotations

import numpy as np

from .random_runtime import draw as draw
from .random_runtime import normal as normal
from .random_runtime import orthogonal as orthogonal
from .random_runtime import philox as philox
from .random_runtime import uniform as uniform


def precision(*x):
    """The type in which a function of these numbers or arrays is computed."""
    dtype = np.result_type(*x)
    return dtype if dtype.kind == "f" else np.dtype(float)


def blank(*x):
    """An array for a function of these numbers or arrays."""
    return np.empty(np.broadcast_shapes(*map(np.shape, x)), precision(*x))


def sigmoid(x, out=None):
    """1/(1 + exp(-x)), to full relative precision at both ends; exp(-x) = inf gives 0, which is right."""
    out = np.negative(x, out=blank(x) if out is None else out)
    np.exp(out, out=out)
    out += 1
    return np.reciprocal(out, out=out)


def softplus(x, scratch=None, out=None):
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)); x itself must not be `out`."""
    out = np.abs(x, out=blank(x) if out is None else out)
    np.negative(out, out=out)
    np.exp(out, out=out)
    np.log1p(out, out=out)
    out += np.maximum(x, 0, out=scratch)
    return out


def log1mexp(x, scratch=None, out=None):
    """log(1 - exp(x)) for x < 0: log(-expm1(x)) near 0, log1p(-exp(x)) elsewhere."""
    near = np.greater(x, -0.6931471805599453)
    scratch = np.expm1(np.where(near, x, -1.0), out=blank(x) if scratch is None else scratch)
    np.negative(scratch, out=scratch)
    out = np.exp(x, out=blank(x) if out is None else out)
    np.negative(out, out=out)
    np.log1p(np.where(near, 0.0, out), out=out)
    np.copyto(out, np.log(scratch, out=scratch), where=near)
    return out


def logaddexp(x, y, scratch=None, out=None):
    """log(exp(x) + exp(y)) = max(x, y) + log1p(exp(-|x - y|))."""
    with np.errstate(invalid="ignore"):                          # inf - inf: fmin makes it finite, which is right
        out = np.subtract(x, y, out=blank(x, y) if out is None else out)
    np.abs(out, out=out)
    np.fmin(out, 1000, out=out)
    np.negative(out, out=out)
    np.exp(out, out=out)
    np.log1p(out, out=out)
    out += np.maximum(x, y, out=scratch)
    return out


def safe_div(x, y, out=None):
    """x/y, and 0 where y is 0."""
    zero = np.equal(y, 0)
    out = np.divide(x, np.where(zero, np.asarray(1, np.result_type(y)), y), out=blank(x, y) if out is None else out)
    np.copyto(out, 0, where=zero)
    return out


def expmoment(n, x, out=None):
    """The integral over s in [0, 1] of s**n * exp(s*x), by its series near 0; n = 0: (exp(x) - 1)/x.

    Elsewhere upwards from n = 0, with exp(x) factored out where x > 0, in two halves that overflow only where the integral does.
    """
    x = np.asarray(x, precision(x))
    n, one = int(np.max(n)), x.dtype.type(1)
    far = np.abs(x) >= n + 1
    large, small = np.where(far, x, (n + 1) * one), np.where(far, 0 * one, x)
    term, series = np.ones_like(small), np.zeros_like(small)
    for k in range(20 + 6 * n):
        series += term / (n + k + 1)
        term = term * small / (k + 1)
    with np.errstate(over="ignore", under="ignore"):
        decay = np.exp(-np.abs(large))
        top, bottom = np.where(large > 0, one, decay), np.where(large > 0, decay, one)
        upward = np.abs(top - bottom) / np.abs(large)
        for k in range(1, n + 1):
            upward = (top - k * upward) / large
        half = np.exp(np.maximum(large, 0 * one) / 2)
        value = np.where(far, half * upward * half, series)
    if out is None:
        return value
    out[...] = value
    return out


def exprel(x, out=None):
    """(exp(x) - 1)/x, 1 at 0."""
    return expmoment(0, x, out=out)


def erf(x, out=None):
    """The error function, element by element."""
    from math import erf as one
    value = np.asarray(np.frompyfunc(one, 1, 1)(x), precision(x))
    if out is None:
        return value
    out[...] = value
    return out


def logsumexp(a, axis, scratch=None, out=None):
    """log(sum(exp(a))) over `axis`, shifted by the maximum."""
    top = a.max(axis=axis, keepdims=True)
    finite = np.isfinite(top).all()
    if not finite:
        top = np.where(np.isfinite(top), top, 0)
    scratch = np.subtract(a, top, out=scratch)
    np.exp(scratch, out=scratch)
    out = scratch.sum(axis=axis, out=out)
    with np.errstate(divide="warn" if finite else "ignore"):     # log(0) = -inf is right where every a is -inf
        out = np.log(out, out=out if isinstance(out, np.ndarray) else None)
    out += top.reshape(out.shape)
    return out


def norm(a, axis, scratch=None, out=None):
    """sqrt(sum(a**2)) over `axis`, scaled by the largest element, so that squares neither overflow nor vanish."""
    scratch = np.abs(a, out=scratch)
    top = np.max(scratch, axis=axis, keepdims=True)
    scratch /= np.where(top > 0, top, 1)
    np.square(scratch, out=scratch)
    out = np.sum(scratch, axis=axis, out=out)
    out = np.sqrt(out, out=out if isinstance(out, np.ndarray) else None)
    out *= top.reshape(out.shape)
    return out


def onehot(i, n, dtype):
    """out[..., k] = 1 if i == k else 0."""
    return np.equal(np.asarray(i)[..., None], np.arange(n)).astype(dtype)


def hot(i, n, out=None):
    """out[..., k] = (i == k)."""
    return np.equal(np.asarray(i)[..., None], np.arange(n), out=out)


def add_onehot(a, i, value):
    """a += value * onehot(i), in place: one element a row."""
    rows = a.reshape(-1, a.shape[-1])
    rows[np.arange(len(rows)), np.reshape(i, -1)] += value


def pick(a, i, out=None):
    """out[...] = a[..., i[...]]: one element of each row."""
    rows = np.ascontiguousarray(a).reshape(-1, a.shape[-1])
    value = rows[np.arange(len(rows)), np.reshape(i, -1)].reshape(a.shape[:-1])
    if out is None:
        return value
    out[...] = value
    return out


def scatter(a, i, out):
    """out[k] = sum of the rows of a whose class is k: one product for few classes, else sorted; it repeats to the bit."""
    i = np.reshape(i, -1)
    rows = a.reshape(len(i), -1)
    if len(out) <= 256 and out.ndim == 2:
        chosen = np.zeros((len(i), len(out)), a.dtype)
        chosen[np.arange(len(i)), i] = 1
        return np.matmul(chosen.T, rows, out=out)
    order = np.argsort(i, kind="stable")
    classes, starts = np.unique(i[order], return_index=True)
    out[...] = 0
    out[classes] = np.add.reduceat(rows[order], starts, axis=0).reshape(len(classes), *out.shape[1:])
    return out


def start_from(carry, start):
    """The state that a chunk starts from: `start`, where there is no carry; else what `start` has of it, checked."""
    if carry is None:
        return start
    if not isinstance(carry, dict):
        raise TypeError(f"carry must be the dict that the chunk before returned, or None, not {type(carry).__name__}")
    out = {}
    for key, declared in start.items():
        if key not in carry:
            raise KeyError(f"carry has no {key!r}; it needs {', '.join(start)}")
        out[key] = np.asarray(carry[key], np.asarray(declared).dtype)
        have, want = out[key].shape, np.shape(declared)
        if have[1:] == want[1:] and have[:1] != want[:1]:
            raise ValueError(f"carry[{key!r}] is of {have[0]} examples, the inputs are of {want[0]}")
        if have != want:
            raise ValueError(f"carry[{key!r}] must have the shape {want}, not {have}")
    return out


def carry_entry(carry, key, dims):
    """An entry of the carry that a step starts from; None stands for any size."""
    if key not in carry:
        raise KeyError(f"carry has no {key!r}: it comes from start, or from the step before")
    value = np.asarray(carry[key])
    check_shape(f"carry[{key!r}]", value, dims)
    return value


def softmax(a):
    """exp(a) over its sum along the last feature, from which the greatest is taken off first."""
    a = np.exp(a - a.max(axis=-1, keepdims=True))
    return a / a.sum(axis=-1, keepdims=True)


def categorical(p, u):
    """Draws with the probabilities p, one a row: the first class at which their sum exceeds u, uniform in [0, 1)."""
    sums = np.cumsum(p, axis=-1, dtype=np.float64)
    if not np.isfinite(sums).all():
        raise ValueError("the probabilities of the next step are not finite")
    return np.sum(sums[..., :-1] <= u[..., None] * sums[..., -1:], axis=-1)


def real_input(name, value, dims, dtype):
    """An input as an array of these dims; None stands for any size, "some" for any but 0, of which no mean can be taken."""
    value = as_array(name, value)
    if value.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, not {value.dtype}")
    check_shape(name, value, dims)
    return value if value.dtype == dtype else value.astype(dtype)


def whole_length(name, value):
    """The length of an axis that no array carries."""
    if isinstance(value, bool) or np.ndim(value) or np.asarray(value).dtype.kind not in "iu" or value < 1:
        raise ValueError(f"{name} must be a whole number from 1 on, not {value!r}")
    return int(value)


def free_number(name, value, least=-np.inf):
    """An argument that is a number, not below `least`."""
    if np.ndim(value) or np.asarray(value).dtype.kind not in "iuf" or not value >= least:
        raise ValueError(f"{name} must be a number{f' from {least} on' * (least > -np.inf)}, not {value!r}")
    return float(value)


def unstack(a, *parts):
    """Copy the rows of a, one block after the other, into `parts`."""
    start = 0
    for part in parts:
        part[...] = a[start:start + len(part)]
        start += len(part)


def as_array(name, value):
    """An input as an array; sequences of unequal length are none, nor is an object that is no sequence."""
    try:
        found = np.asarray(value)
    except ValueError:                                           # rows of unequal length
        found = np.array([[]], object)
    if found.dtype == object and (found.ndim == 0 or not all(hasattr(row, "__len__") for row in found.flat)):
        raise TypeError(f"{name} must be an array of numbers, not {' '.join(repr(value).split()):.60}")
    if found.dtype == object:
        raise ValueError(f"{name} holds sequences of unequal length: pad them to one, and declare `lengths t` in the model, "
                         "t being their axis")
    return found


def class_input(name, value, dims, classes):
    """An input of classes 0, ..., classes-1."""
    value = as_array(name, value)
    if value.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, the classes 0 to {classes - 1}, not {value.dtype}")
    check_shape(name, value, dims)
    check_range(name, value, classes - 1, f"classes are 0 to {classes - 1}")
    return value


def lengths_input(name, value, dims, steps):
    """How many steps of each example are its own; what the arrays hold beyond them is padding."""
    if value is None:
        raise TypeError(f"{name} is missing: the model declares `lengths {name.removeprefix('lengths_')}`")
    value = as_array(name, value)
    if value.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, the lengths 0 to {steps}, not {value.dtype}")
    check_shape(name, value, dims)
    check_range(name, value, steps, f"the arrays hold {steps} step{'s' * (steps != 1)}")
    return value


def check_range(name, value, largest, allowed):
    """Refuse integers outside 0, ..., largest: the first one, and where it stands."""
    if value.size and not 0 <= value.min() <= value.max() <= largest:
        where = np.argwhere((value < 0) | (value > largest))[0]
        raise ValueError(f"{name}[{', '.join(map(str, where))}] is {value[tuple(where)]}; {allowed}")


def check_shape(name, value, dims):
    """Refuse an array whose shape is not `dims`."""
    if value.ndim != len(dims) or any(n == 0 if d == "some" else d not in (None, n) for d, n in zip(dims, value.shape)):
        want = ", ".join("any" if d is None else str(d) for d in dims) + "," * (len(dims) == 1)
        raise ValueError(f"{name} must have the shape ({want}), not {value.shape}")


def check_params(params, shapes):
    """Refuse parameters that are missing or of another shape."""
    for name, shape in shapes.items():
        if name not in params:
            raise KeyError(f"params has no {name!r}; it needs {', '.join(shapes)}")
        if params[name].shape != shape:
            raise ValueError(f"params[{name!r}] must have the shape {shape}, not {params[name].shape}")


class Workspace:
    """The buffers of one caller: made at the first call, grown when larger inputs come by; one thread at a time."""

    def __init__(self):
        self.memory, self.keys, self.views = {}, {}, {}

    def reserve(self, name, counts):
        """Flat arrays of at least these (size, dtype), the same ones as long as they suffice."""
        have = self.memory.setdefault(name, [])
        del have[len(counts):]
        for k, (count, dtype) in enumerate(counts):
            if k == len(have):
                have.append(np.empty(count, dtype))
            elif have[k].size < count or have[k].dtype != dtype:
                have[k] = np.empty(count, dtype)
        return have

    def gradients(self, params, names):
        """Arrays for the gradients of these parameters."""
        key = [(params[k].shape, params[k].dtype) for k in names]
        if self.keys.get("d") != key:
            self.views["d"], self.keys["d"] = {k: np.empty_like(params[k]) for k in names}, key
        return self.views["d"]


def added(total, more, last=()):
    """Sums that grow by those of another chunk; of `last`, the latest counts."""
    return {**total, **{k: v if k in last or k not in total else total[k] + v for k, v in more.items()}}


class State(dict):
    """What a training step keeps between calls: a flat dict of arrays, which is saved, and a workspace, which is not."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.workspace = Workspace()


def clip_by_norm(d, bound):
    """Scale gradients so that their global norm is at most `bound`."""
    total = float(np.sqrt(sum(float(np.vdot(g, g)) for g in d.values())))
    if total > bound:
        for g in d.values():
            g *= bound / total


def clip_by_value(d, bound):
    """Clip every gradient to [-bound, bound]."""
    for g in d.values():
        np.clip(g, -bound, bound, out=g)


def limit_norms(w, bound):
    """Max-norm: scale each row of w whose norm exceeds `bound` down to it."""
    rows = w.reshape(len(w), -1)
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    rows *= np.minimum(1, bound / np.maximum(norms, np.finfo(w.dtype).tiny))[:, None].astype(w.dtype)


def project_l1(w, bound):
    """The nearest w with sum(|w|) <= bound (Duchi et al. 2008)."""
    size = np.abs(w).reshape(-1)
    if size.sum() <= bound:
        return
    ordered = np.sort(size)[::-1]
    excess = np.cumsum(ordered, dtype=np.float64) - bound
    last = np.nonzero(ordered * np.arange(1, len(ordered) + 1) > excess)[0][-1]
    w[...] = np.sign(w) * np.maximum(np.abs(w) - excess[last] / (last + 1), 0)


def blocks(*arrays, size=32768):
    """The arrays flattened, piece by piece, so that a step's passes over them stay in the cache."""
    if not all(isinstance(a, np.ndarray) and a.flags.c_contiguous for a in arrays):
        raise ValueError("a training step works in place and needs contiguous arrays")
    flat = [a.reshape(-1) for a in arrays]
    for i in range(0, flat[0].size, size):
        yield [a[i:i + size] for a in flat]


def decay_l1(w, amount):
    """w -= amount * sign(w), in place."""
    for (piece,) in blocks(w):
        piece -= amount * np.sign(piece)
