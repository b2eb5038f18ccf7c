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


def inside(n, m, at, stride):
    """Of m windows those that read within n elements at i*stride + at, and what they read there."""
    first, last = max(0, -(at // stride)), min(m, -((at - n) // stride))
    return slice(first, last), slice(first * stride + at, (last - 1) * stride + at + 1, stride)


def unfold(x, block, padding, stride, dilation):
    """block[g, b, i, j, p, q, c] = x[b, i*stride + p*dilation - padding, ..., c of group g], left alone outside x."""
    groups, _, rows, columns, high, wide, channels = block.shape
    x = x.reshape(*x.shape[:3], groups, channels)
    for p in range(high):
        i, read_i = inside(x.shape[1], rows, p * dilation[0] - padding[0], stride[0])
        for q in range(wide):
            j, read_j = inside(x.shape[2], columns, q * dilation[1] - padding[1], stride[1])
            block[:, :, i, j, p, q] = x[:, read_i, read_j].transpose(3, 0, 1, 2, 4)
    return block


def by_blocks(x, y, block, rows, padding, stride, dilation):
    """The windows in x of a block of examples after the other, and the places of y that they belong to: (groups, ..., places,
    channels). With `rows`, windows of whole lines: those of row p of a kernel begin at line p*dilation.
    """
    if padding is not None:
        block[...] = 0
    groups, size = block.shape[:2]
    step = (1, stride[1]) if rows else stride
    for b in range(0, len(x), size):
        part = y[b:b + size]
        n = len(part) if rows else 1
        places = part.reshape(n, -1, groups, y.shape[-1] // groups).transpose(2, 0, 1, 3)
        yield unfold(x[b:b + size], block[:, :len(part)], padding or (0, 0), step, dilation), places


def convolve(x, K, block, part=None, padding=None, stride=(1, 1), dilation=(1, 1), *, out):
    """out[b, i, j] = sum over p, q of x[b, i*stride + p*dilation - padding, j...] @ K[p, q], 0 outside x; as many examples at a
    time as `block` has. It holds their windows, all elements or those along the last axis; then rows of K add up, in `part`.
    """
    K = K.reshape(-1, len(block), block[0, 0, 0, 0].size, out.shape[-1] // len(block))
    for seen, y in by_blocks(x, out, block, len(K) > 1, padding, stride, dilation):
        for p, k in enumerate(K):
            lines = seen[:, :, p * dilation[0]:p * dilation[0] + out.shape[1]].reshape(*y.shape[:3], -1)
            if p == 0:
                np.matmul(lines, k[:, None], out=y)
            else:
                y += np.matmul(lines, k[:, None], out=part[:, :y.shape[1]])
    return out


def correlate(x, g, block, part, padding=None, stride=(1, 1), dilation=(1, 1), *, out):
    """The adjoint of convolve in K: out[p, q] = sum over b, i, j of x[b, i*stride + p*dilation - padding, j...].T @ g[b, i, j];
    the products of a block are in `part` before they are added.
    """
    sums = out.reshape(-1, len(block), *part.shape[2:])
    sums[...] = 0
    for seen, y in by_blocks(x, g, block, len(sums) > 1, padding, stride, dilation):
        for p, total in enumerate(sums):
            lines = seen[:, :, p * dilation[0]:p * dilation[0] + g.shape[1]].reshape(*y.shape[:3], -1)
            for each in np.matmul(lines.swapaxes(2, 3), y, out=part[:, :y.shape[1]]).swapaxes(0, 1):
                total += each
    return out


def shifts(x, y, block, part, elements, padding, stride, dilation):
    """For a block of examples after the other, and every element of a kernel: its index, x shifted by it, the places of y, and
    as many of `part`. The block holds x with zeros around it.
    """
    above, before = padding or (0, 0)
    block[...] = 0
    rows, columns = y.shape[1:3]
    for b in range(0, len(x), len(block)):
        a, target = x[b:b + len(block)], y[b:b + len(block)]
        padded = block[:len(a)]
        padded[:, above:above + x.shape[1], before:before + x.shape[2]] = a
        for p, q in np.ndindex(*elements):
            i, j = p * dilation[0], q * dilation[1]
            yield p, q, padded[:, i:i + (rows - 1) * stride[0] + 1:stride[0],
                               j:j + (columns - 1) * stride[1] + 1:stride[1]], target, part[:len(a)]


def convolve_each(x, K, block, part, padding=None, stride=(1, 1), dilation=(1, 1), *, out):
    """out[b, i, j] = sum over p, q of x[b, i*stride + p*dilation - padding, j...] * K[p, q]: every channel by itself."""
    for p, q, shifted, y, tmp in shifts(x, out, block, part, K.shape[:2], padding, stride, dilation):
        if p == q == 0:
            np.multiply(shifted, K[p, q], out=y)
        else:
            y += np.multiply(shifted, K[p, q], out=tmp)
    return out


def correlate_each(x, g, block, part, padding=None, stride=(1, 1), dilation=(1, 1), *, out):
    """The adjoint of convolve_each in K: out[p, q] = sum over b, i, j of x[b, i*stride + p*dilation - padding, j] * g[b, i, j]."""
    out[...] = 0
    for p, q, shifted, y, tmp in shifts(x, g, block, part, out.shape[:2], padding, stride, dilation):
        out[p, q] += np.multiply(shifted, y, out=tmp).sum((0, 1, 2))
    return out
