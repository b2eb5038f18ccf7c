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
    if padding or not apart or any(d.shape[axis] * k != out.shape[axis] for axis, k in zip(axes, sizes, strict=True)):
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


def overlap(n, m, at, stride):
    """Of m windows those that read within n elements at i*stride + at, and what they read there."""
    first, last = max(0, -(at // stride)), min(m, -((at - n) // stride))
    return slice(first, last), slice(first * stride + at, (last - 1) * stride + at + 1, stride)


def unfold(x, block, padding, stride, dilation):
    """block[g, b, i, j, p, q, c] = x[b, i*stride + p*dilation - padding, ..., c of group g], left alone outside x."""
    groups, _, rows, columns, high, wide, channels = block.shape
    x = x.reshape(*x.shape[:3], groups, channels)
    for p in range(high):
        i, read_i = overlap(x.shape[1], rows, p * dilation[0] - padding[0], stride[0])
        for q in range(wide):
            j, read_j = overlap(x.shape[2], columns, q * dilation[1] - padding[1], stride[1])
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
    """The adjoint of convolve_each by K: out[p, q] = sum over b, i, j of x[b, i*stride + p*dilation - padding] * g[b, i, j]."""
    out[...] = 0
    for p, q, shifted, y, tmp in shifts(x, g, block, part, out.shape[:2], padding, stride, dilation):
        out[p, q] += np.multiply(shifted, y, out=tmp).sum((0, 1, 2))
    return out
