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


def taps(a, axes, sizes, stride):
    """For each element of the windows along some axes of a the view of it in all windows."""
    for at in np.ndindex(*sizes):
        part = [slice(None)] * a.ndim
        for axis, j, k, s in zip(axes, at, sizes, stride, strict=True):
            part[axis] = slice(j, j + (a.shape[axis] - k) // s * s + 1, s)
        yield a[tuple(part)]


def max_pool(a, axes, sizes, stride=None, *, out):
    """out = the largest element of each window along some axes of a; the stride is the window's size unless it is given."""
    first, *others = taps(a, axes, sizes, stride or sizes)
    out[...] = first
    for x in others:
        np.maximum(out, x, out=out)
    return out


def max_unpool(d, a, best, axes, sizes, stride=None, *, out):
    """The adjoint of best = max_pool(a): each d is added to the first largest element of its window."""
    out[...] = 0
    free = np.ones(best.shape, bool)
    for x, d_x in zip(taps(a, axes, sizes, stride or sizes), taps(out, axes, sizes, stride or sizes), strict=True):
        won = x == best
        won &= free
        free ^= won
        d_x += d * won
    return out
