"""Helpers of generated modules that read images window by window."""

from __future__ import annotations

import numpy as np


def windows(a, axes, sizes, stride=None, dilation=None):
    """A view of the windows along some axes of a, their elements in the last dims."""
    shape, strides = list(a.shape), list(a.strides)
    for axis, k, s, d in zip(axes, sizes, stride or (1,) * len(axes), dilation or (1,) * len(axes), strict=True):
        shape += [k]
        strides += [a.strides[axis] * d]
        shape[axis] = (a.shape[axis] - d * (k - 1) - 1) // s + 1
        strides[axis] *= s
    return np.lib.stride_tricks.as_strided(a, shape, strides, writeable=False)


def fold(a, axes, sizes, stride=None, dilation=None, *, out):
    """Windows added up where they came from: out[i*stride + j*dilation] += a[i, ..., j], from zero."""
    out[...] = 0
    ones = (1,) * len(axes)
    for at in np.ndindex(*sizes):
        part = [slice(None)] * out.ndim
        for axis, j, s, d in zip(axes, at, stride or ones, dilation or ones, strict=True):
            part[axis] = slice(j * d, j * d + (a.shape[axis] - 1) * s + 1, s)
        out[tuple(part)] += a[(..., *at)]
    return out


def taps(n, counts, axes, sizes, stride, dilation, padding):
    """For each element of the windows along some axes: the windows that have it inside the image of n, and where it stands."""
    steps = stride or sizes, dilation or (1,) * len(axes), padding or ((0, 0),) * len(axes)
    for at in np.ndindex(*sizes):
        inside, there = [slice(None)] * len(n), [slice(None)] * len(n)
        for axis, j, s, d, (lo, _) in zip(axes, at, *steps, strict=True):
            first = max(0, -((j * d - lo) // s))
            last = max(first, min(counts[axis], (n[axis] - 1 + lo - j * d) // s + 1))
            inside[axis] = slice(first, last)
            there[axis] = slice(first * s + j * d - lo, max((last - 1) * s + j * d - lo + 1, 0), s) if first < last else slice(0)
        yield tuple(inside), tuple(there)


def pool(ufunc, padded, a, out, *windows):
    """out = ufunc over the elements of each window; where elements are missing, `padded` stands in their place."""
    views = [(out[inside], a[there]) for inside, there in taps(a.shape, out.shape, *windows)]
    if len(views) > 1 and all(o.shape == out.shape for o, _ in views):
        (_, first), (_, second), *views = views
        ufunc(first, second, out=out)
    else:
        out[...] = padded
    for o, x in views:
        ufunc(o, x, out=o)
    return out


def max_pool(a, axes, sizes, stride=None, dilation=None, padding=None, *, out):
    """out = the largest element of each window along some axes of a; the stride is the window's size unless it is given."""
    return pool(np.maximum, -np.inf, a, out, axes, sizes, stride, dilation, padding)


def sum_pool(a, axes, sizes, stride=None, dilation=None, padding=None, *, out):
    """out = the sum of each window along some axes of a; the stride is the window's size unless it is given."""
    return pool(np.add, 0, a, out, axes, sizes, stride, dilation, padding)


def winners(a, best, axes, sizes, stride=None, dilation=None, padding=None, *, lost=None, mask=None, out):
    """Which element of each window, counted row by row, is its first that equals best = max_pool(a)."""
    lost = np.empty(best.shape, bool) if lost is None else lost
    mask = np.empty(best.shape, bool) if mask is None else mask
    lost[...] = True
    out[...] = 0
    *before, _ = taps(a.shape, best.shape, axes, sizes, stride, dilation, padding)
    for inside, there in before:                 # what has lost against all before the last is the last
        np.not_equal(a[there], best[inside], out=mask[inside])
        lost[inside] &= mask[inside]
        out += lost.view(np.uint8)
    return out


def unpool(d, won, out, mask, part, axes, sizes, stride, dilation, padding):
    """Each d is added to all elements of its window, or to element number `won`. Where windows are apart, nothing is added up."""
    step = stride or sizes
    apart = all((k - 1) * e < s for k, s, e in zip(sizes, step, dilation or (1,) * len(axes), strict=True))
    if not apart or any(d.shape[axis] * k != out.shape[axis] for axis, k in zip(axes, sizes, strict=True)):
        out[...] = 0
    for k, (inside, there) in enumerate(taps(out.shape, d.shape, axes, sizes, stride, dilation, padding)):
        x, here = d[inside], out[there]
        if won is not None:
            np.equal(won[inside], k, out=mask[inside])
            x = np.multiply(x, mask[inside], out=here if apart else part[inside])
        if not apart:
            here += x
        elif won is None:
            here[...] = x
    return out


def max_unpool(d, won, axes, sizes, stride=None, dilation=None, padding=None, *, mask=None, part=None, out):
    """The adjoint of max_pool: each d is added to the first largest element of its window, whose number is `won`."""
    mask = np.empty(d.shape, bool) if mask is None else mask
    part = np.empty_like(d) if part is None else part
    return unpool(d, won, out, mask, part, axes, sizes, stride, dilation, padding)


def sum_unpool(d, axes, sizes, stride=None, dilation=None, padding=None, *, out):
    """The adjoint of sum_pool: each d is added to all elements of its window."""
    return unpool(d, None, out, None, None, axes, sizes, stride, dilation, padding)
