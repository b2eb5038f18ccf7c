"""Images and series in random models: convolutions, pooling and what stands between them."""

from __future__ import annotations

from dataclasses import replace

from zoo.random_terms import activated, chosen, combined, divided, noisy, over_batch, positive, reduced, scaled, stopped


def image(d):
    """One of the images; there always is the input."""
    return d.pick(wanted=lambda v: v.rank in (2, 3) and all(isinstance(n, int) for n in v.shape))


def listed(numbers):
    """As options are written: one number for all dims, or each its own."""
    return str(numbers[0]) if len({*numbers}) == 1 else f"[{', '.join(map(str, numbers))}]"


def same(n, k, stride, dilation):
    """The zeros on both sides together that `padding = same` adds."""
    return max((-(-n // stride) - 1) * stride + dilation * (k - 1) + 1 - n, 0)


def steps(d, sizes, kernel, plain):
    """(options as text, sizes afterwards), or None where nothing is left."""
    r, dims = d.r, len(sizes)
    stride = [r.choice((1, 1, 1, 2, 3)) for _ in sizes] if d.chance(0.4) else [r.choice((1, 1, 2))] * dims
    dilation = [r.choice((1, 1, 2))] * dims if d.chance(0.4) else [1] * dims
    form = r.choice(("", "same", "number", "pairs"))
    if plain:
        stride = plain if d.chance(0.6) else stride
    pads = {"": [(0, 0)] * dims, "number": [(p := r.randrange(3), p)] * dims,
            "pairs": [(r.randrange(3), r.randrange(3)) for _ in sizes], "same": [(0, 0)] * dims}[form]
    if form == "same":
        totals = [same(*x) for x in zip(sizes, kernel, stride, dilation, strict=True)]
    else:
        totals = [a + b for a, b in pads]
    if plain and any(max(p) >= k for p, k in zip(pads, kernel, strict=True)):
        return None
    out = [(n + p - g * (k - 1) - 1) // s + 1 for n, p, g, k, s in zip(sizes, totals, dilation, kernel, stride, strict=True)]
    if min(out) < 1:
        return None
    text = f", stride = {listed(stride)}" if stride != (plain or [1] * dims) else ""
    text += f", dilation = {listed(dilation)}" if dilation != [1] * dims else ""
    if form:
        pairs = ", ".join(f"[{a}, {b}]" for a, b in pads)
        text += ", padding = " + {"same": "same", "number": str(pads[0][0]), "pairs": f"[{pairs}]"}[form]
    return text, out


def convolved(d):
    """A convolution with a kernel of its own, of any option."""
    x = image(d)
    c, *sizes = x.shape
    groups = d.r.choice([1, 1, 1, *(g for g in (2, 3, c) if c % g == 0)])
    o = groups * d.r.choice((1, 1, 2, 3))
    kernel = [d.r.choice((1, 2, 3, 3)) for _ in sizes]
    found = steps(d, sizes, kernel, None)
    if found is None:
        return None
    W = d.param((o, c // groups, *kernel))
    bias = f", {d.param((o,))}" if d.chance(0.5) else ""
    flip = ", flip = true" if d.chance(0.08) else ""
    more = f"{found[0]}{f', groups = {groups}' if groups > 1 else ''}{flip}"
    out = replace(x, text=f"conv({x.text}, {W}{bias}{more})", shape=(o, *found[1]))
    return d.activation(out) if d.chance(0.5) else out


def widened(d):
    """Transposed convolutions, and every element many times."""
    x = image(d)
    if max(x.shape[1:]) > 7:
        return None
    c, *sizes = x.shape
    if d.chance(0.3):
        return replace(x, text=f"upsample({x.text}, 2)", shape=(c, *(2 * n for n in sizes)))
    o, k, s = d.r.choice((1, 2, 3)), d.r.choice((1, 2, 3)), d.r.choice((1, 2))
    p = d.r.randrange(2) if k > 1 else 0
    out = [(n - 1) * s + k - 2 * p for n in sizes]
    if min(out) < 1:
        return None
    K = d.param((c, o, *[k] * len(sizes)))
    return replace(x, text=f"conv_transpose({x.text}, {K}, stride = {s}{f', padding = {p}' if p else ''})", shape=(o, *out))


def pooled(d):
    """Maxima or means of windows."""
    x = image(d)
    window = [d.r.choice((1, 2, 2, 3)) for _ in x.shape[1:]] if d.chance(0.3) else [d.r.choice((2, 2, 3))] * (x.rank - 1)
    found = steps(d, x.shape[1:], window, window)
    if found is None:
        return None
    f = d.r.choice(("max_pool", "avg_pool"))
    return replace(x, text=f"{f}({x.text}, {listed(window)}{found[0]})", shape=(x.shape[0], *found[1]))


def summed_blocks(d):
    """Sums of blocks of 2."""
    x = image(d)
    if any(n % 2 for n in x.shape[1:]):
        return None
    return replace(x, text=f"sum_blocks({x.text}, 2)", shape=(x.shape[0], *(n // 2 for n in x.shape[1:])))


def by_channel(d):
    """A number for each channel, times the image or added to it."""
    x = image(d)
    c = (x.shape[0],)
    v = d.pick(1, lambda v: v.shape == c and v.axes == x.axes)
    b = v.text if v and d.chance(0.5) else d.param(c)
    return replace(x, text=d.r.choice((f"(channels({b}, {x.text}) * {x.text})", f"({x.text} + channels({b}, {x.text}))")))


def blocks(d):
    """Layers of the library."""
    x = d.pick(wanted=lambda v: v.rank == 3 and not v.axes and all(isinstance(n, int) for n in v.shape)) if not d.inner else None
    if x is None:
        return None
    f = d.r.choice(("batch_norm_channels({})", "layer_norm_channels({})", "residual_conv({})", "depthwise_separable({}, 2)",
                    "conv_norm({}, 3)", "conv_block({}, 2, f = tanh)"))
    out = 2 if ", 2" in f else 3 if ", 3" in f else x.shape[0]
    return replace(x, text=f.format(x.text), shape=(out, *x.shape[1:]), power=1)


def flattened(d):
    """A vector: of all elements, or one of each channel."""
    x = image(d)
    c, *sizes = x.shape
    n = c * sizes[0] * (sizes[1] if len(sizes) > 1 else 1)
    if d.chance(0.5) or n > 200:
        return replace(x, text=f"{d.r.choice(('global_avg', 'global_max'))}({x.text})", shape=(c,))
    return replace(x, text=f"flatten({x.text})", shape=(n,))


def turned(d):
    """Flipped along a dim, or with its dims in another order."""
    x = image(d)
    if d.chance(0.5):
        return replace(x, text=f"flip({x.text}, {d.r.randrange(x.rank)})")
    if x.rank == 3:
        order = d.r.choice(((0, 2, 1), (1, 0, 2), (2, 0, 1), (2, 1, 0)))
        return replace(x, text=f"transpose({x.text}, {', '.join(map(str, order))})", shape=tuple(x.shape[k] for k in order))
    return replace(x, text=f"{x.text}.T", shape=x.shape[::-1])


def stacked(d):
    """Two images' channels together, the same twice, too."""
    x = image(d)
    y = d.pick(x.rank, lambda v: v.shape[1:] == x.shape[1:] and v.axes == x.axes) or x
    return replace(x, text=f"concat(0, {x.text}, {y.text})", shape=(x.shape[0] + y.shape[0], *x.shape[1:])) \
        if x.shape[0] + y.shape[0] < 12 else None


IMAGES = {convolved: 9, pooled: 6, widened: 2.5, summed_blocks: 1, by_channel: 2, blocks: 2, flattened: 2, turned: 1.5,
          stacked: 2, activated: 4, combined: 4, scaled: 2, divided: 1, positive: 1, chosen: 1.5, noisy: 0.7, over_batch: 1,
          reduced: 0.7, stopped: 0.3}
