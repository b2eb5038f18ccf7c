"""Words for images: what of convolution, pooling and their adjoints a person would call by its name.

    conv(x, K), conv(x, K, b)      windows of x against K; b[c] at every position
    conv_transpose(g, K), ... b    the adjoint of conv in x: every g adds K to its window
    correlate(g, x, k)             the adjoint of conv in K: the sum over batch and positions of g and the windows of x
    max_pool(x, k), avg_pool(x, k), global_max(x), global_avg(x)
    unpool(g, k)                   the adjoint of summing windows: g added to every element of its window
    max_unpool(g, x, k)            the adjoint of max_pool(x, k): g added to the largest element of its window in x
    local(x, K), windows(x, k)     and see `image_shapes`

Each reads the structure of nodes, whatever pass they come from, and answers what stands in the call. An expression that is
`opaque`, since it prints as its name, is not looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from math import inf

from ..graph import (
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Flip,
    Fold,
    Map,
    OneHot,
    Pad,
    Reduce,
    Reshape,
    Size,
    Slice,
    Transpose,
    Window,
    product,
    size,
)
from .calls import Line, Word
from .image_shapes import blocks_summed, flattened, largest, per_channel, upsampled

Opaque = Callable[[Expr], bool]
Labels = tuple[int, ...]


def word(e: Expr, opaque: Opaque) -> Word | None:
    """The call that e is, or None."""
    match e:
        case Contract():
            return _contraction(e, opaque)
        case Reduce():
            return _reduction(e, opaque) or blocks_summed(e, opaque)
        case Reshape():
            return _grouped(e, opaque) or upsampled(e, opaque) or flattened(e)
        case Map(f="add"):
            return _biased(e, opaque)
        case Map(f="div" | "mul"):
            return _averaged(e, opaque) or (largest(e) if e.f == "mul" else None)
        case Slice() | Fold():
            return _folded(e, opaque)
        case Window() if e.at in (1, 3) and len(e.shape) == e.at + 2:
            found = _windows(e, (e.at + 1) // 2, opaque)
            return Word("windows", found[:1], found[1], True) if found else None
    return None


# ---------------------------------------------------------------- windows

def _windows(e: Expr, dims: int, opaque: Opaque, value: float = 0) -> tuple[Expr, tuple[Line, ...]] | None:
    """(x, lines) where e is (C, m1, k1, m2, k2), the windows of x padded with `value`."""
    lines: list[Line] = []
    for i in reversed(range(dims)):
        at = 1 + 2 * i
        if not isinstance(e, Window) or e.at != at or (lines and opaque(e)):
            return None
        a = e.args[0]
        pads = None if opaque(a) else _padding(a, at, value)
        inner, lo, hi = pads or (a, 0, 0)
        lines.insert(0, Line(e.k, e.stride, lo, hi, e.dilation))
        e = inner
    return (e, tuple(lines)) if len(e.shape) == dims + 1 else None


def _padding(a: Expr, at: int, value: float) -> tuple[Expr, int, int] | None:
    """(inner, before, after) where a is padded along one position."""
    if isinstance(a, Pad) and value == 0 and a.at == at:
        lo, hi = a.lo.value, (a.total - a.lo - a.args[0].shape[at]).value
        return None if lo is None or hi is None else (a.args[0], lo, hi)
    if not isinstance(a, Concat) or value == 0 or a.at != at:
        return None
    pads = [isinstance(b, Broadcast) and isinstance(b.args[0], Const) and b.args[0].value == value for b in a.args]
    if pads.count(False) != 1:
        return None
    k = pads.index(False)
    lengths = [b.shape[at].value for b in a.args]
    before, after = lengths[:k], lengths[k + 1:]
    if len(before) > 1 or len(after) > 1 or None in (*before, *after):
        return None
    return a.args[k], sum(n or 0 for n in before), sum(n or 0 for n in after)


# ---------------------------------------------------------------- contractions

def labels(dims: int, grouped: bool = False) -> dict[str, tuple[Labels, Labels, Labels]]:
    """How each word labels its operands and its result: 0 groups, 1 channels read, 2 channels written, places, elements."""
    places, taps = tuple(range(10, 10 + dims)), tuple(range(20, 20 + dims))
    pairs = tuple(x for p in zip(places, taps, strict=True) for x in p)
    g = (0,) if grouped else ()
    return {"conv": ((*g, 1, *pairs), (*g, 2, 1, *taps), (*g, 2, *places)),
            "conv_transpose": ((*g, 1, *places), (*g, 1, 2, *taps), (*g, 2, *pairs)),
            "correlate": ((*g, 2, *places), (*g, 1, *pairs), (*g, 2, 1, *taps)),
            "local": ((1, *pairs), (2, *places, 1, *taps), (2, *places))}


def _alike(e: Contract, wanted: tuple[Labels, Labels, Labels]) -> tuple[Expr, Expr] | None:
    """The operands in the wanted order, where e labels them so."""
    a, b = e.args
    for pair, found in (((a, b), (e.la, e.lb, e.lo)), ((b, a), (e.lb, e.la, e.lo))):
        if tuple(map(len, found)) == tuple(map(len, wanted)) and _canonical(found) == _canonical(wanted):
            return pair
    return None


def _canonical(found: tuple[Labels, ...]) -> list[int]:
    seen: dict[int, int] = {}
    return [seen.setdefault(k, len(seen)) for part in found for k in part]


def _contraction(e: Contract, opaque: Opaque) -> Word | None:
    """conv, correlate or local, without groups."""
    for dims in (1, 2):
        known = labels(dims)
        for name in ("conv", "local"):
            pair = _alike(e, known[name])
            found = _windows(pair[0], dims, opaque) if pair and not opaque(pair[0]) else None
            if pair and found and not pair[1].axes:
                kernel, flip = _flipped(pair[1], dims, opaque) if name == "conv" else (pair[1], False)
                return Word(name, (found[0], kernel), found[1], flip=flip)
        pair = _alike(e, known["correlate"])
        found = _windows(pair[1], dims, opaque) if pair and not opaque(pair[1]) else None
        if pair and found and not e.axes:
            return Word("correlate", (pair[0], found[0]), found[1], True)
    return None


def _flipped(kernel: Expr, dims: int, opaque: Opaque) -> tuple[Expr, bool]:
    """The kernel that is turned around along all its positions, or itself."""
    inner = kernel
    for at in reversed(range(2, 2 + dims)):
        if not isinstance(inner, Flip) or inner.at != at or opaque(inner):
            return kernel, False
        inner = inner.args[0]
    return inner, True


def _grouped(e: Reshape, opaque: Opaque) -> Word | None:
    """conv or correlate with groups."""
    a = e.args[0]
    if not isinstance(a, Contract) or opaque(a) or len(a.shape) != len(e.shape) + 1 or (
            e.shape != (a.shape[0] * a.shape[1], *a.shape[2:])):
        return None
    for dims in (1, 2):
        known = labels(dims, True)
        pair = _alike(a, known["conv"])
        if pair and not pair[1].axes and not any(map(opaque, pair)):
            w, kernel = _ungrouped(pair[0]), _ungrouped(pair[1], 1)
            found = _windows(w, dims, opaque) if w and not opaque(w) else None
            if found and kernel:
                kernel, flip = _flipped(kernel, dims, opaque)
                return Word("conv", (found[0], kernel), found[1], groups=a.shape[0], flip=flip)
        pair = _alike(a, known["correlate"])
        if pair and not e.axes and not any(map(opaque, pair)):
            g, w = _ungrouped(pair[0]), _ungrouped(pair[1])
            found = _windows(w, dims, opaque) if w and not opaque(w) else None
            if found and g:
                return Word("correlate", (g, found[0]), found[1], True, groups=a.shape[0])
    return None


def _ungrouped(a: Expr, more: int = 0) -> Expr | None:
    """The (g*c, ...) that was cut into (g, c, ...)."""
    if not isinstance(a, Reshape):
        return None
    inner, rest = a.args[0], a.shape[2:]
    return inner if len(inner.shape) == len(rest) + 1 and inner.shape == (a.shape[0] * a.shape[1], *rest) else None


def _biased(e: Map, opaque: Opaque) -> Word | None:
    """A convolution, and b at every position."""
    conv, b = e.args
    if opaque(conv) or not isinstance(b, Broadcast) or not per_channel(b):
        return None
    found = word(conv, opaque) if isinstance(conv, Contract | Reshape | Slice | Fold) else None
    if found is None or found.name not in ("conv", "conv_transpose") or len(found.operands) > 2:
        return None
    return replace(found, operands=(*found.operands, b.args[0]))


# ---------------------------------------------------------------- pooling

def _reduction(e: Reduce, opaque: Opaque) -> Word | None:
    if e.kind != "max":
        return None
    found = windows_reduced(e, opaque)
    if found is None and _everywhere(e.args[0], e.over, opaque):
        found = Word("global_max", e.args)
    return found


def windows_reduced(e: Reduce, opaque: Opaque = lambda e: False) -> Word | None:
    """max_pool or sum_pool: e is the maximum or the sum of each window. Padding has -inf for a maximum, 0 for a sum."""
    found = _pooled(e.args[0], e.over, opaque, -inf if e.kind == "max" else 0) if e.kind in ("max", "sum") else None
    return Word(f"{e.kind}_pool", found[:1], found[1], True) if found else None


def _pooled(a: Expr, over: tuple[str | int, ...], opaque: Opaque, value: float = 0) -> tuple[Expr, tuple[Line, ...]] | None:
    """The windows that are reduced each to one value."""
    dims = len(over)
    if opaque(a) or over != tuple(2 + 2 * i for i in range(dims)) or dims not in (1, 2):
        return None
    return _windows(a, dims, opaque, value)


def _everywhere(a: Expr, over: tuple[str | int, ...], opaque: Opaque) -> bool:
    """Whether a looks like an image of which all positions are reduced."""
    if over != tuple(range(1, len(a.shape))):
        return False
    while len(a.shape) == 2 and isinstance(a, Map):                  # one dimension: a convolution or pooling below
        a = max(a.args, key=lambda x: len(x.shape))
    return len(a.shape) == 3 or (len(a.shape) == 2 and isinstance(a, Contract | Reduce) and word(a, lambda n: False) is not None)


def _averaged(e: Map, opaque: Opaque) -> Word | None:
    """A sum over windows, or over all positions, divided by how many they are."""
    total, number = e.args if isinstance(e.args[0], Reduce) else reversed(e.args)
    number = number.args[0] if isinstance(number, Broadcast) else number
    if not isinstance(total, Reduce) or opaque(total) or total.kind != "sum" or not all(isinstance(o, int) for o in total.over):
        return None
    a, over = total.args[0], total.over
    n = product(tuple(a.shape[o] for o in over if isinstance(o, int)))
    if isinstance(number, Extent):
        right = e.f == "div" and number.size == n
    else:
        right = isinstance(number, Const) and n.value is not None and _is(number, n.value, e.f == "mul")
    if not right:
        return None
    found = _pooled(a, over, opaque)
    if found:
        return Word("avg_pool", found[:1], found[1], True)
    return Word("global_avg", (a,)) if _everywhere(a, over, opaque) else None


def _is(number: Const, n: int, inverse: bool) -> bool:
    return number.value == ((1 / n if isinstance(number.value, float) else Fraction(1, n)) if inverse else n)


# ---------------------------------------------------------------- windows added back

def _folded(e: Expr, opaque: Opaque) -> Word | None:
    """conv_transpose, unpool or max_unpool."""
    dims = len(e.shape) - 1
    found = _unfolded(e, dims, opaque) if dims in (1, 2) else None
    if found is None or opaque(found[0]):
        return None
    return _transposed(*found, opaque) or _unpooled(*found, opaque)


def _unfolded(e: Expr, dims: int, opaque: Opaque) -> tuple[Expr, tuple[Line, ...]] | None:
    """(windows, lines) where e is windows added back, the last dimension first, and cut off at both ends, at once or at last."""
    lines, cut, whole = [], dict[int, tuple[Size, Size]](), e
    while isinstance(e, Slice) and e.at not in cut and (e is whole or not opaque(e)):
        cut[e.at], e = (e.lo, e.args[0].shape[e.at] - e.hi), e.args[0]
    for i in range(dims):
        top, at = whole if i == 0 else e, 1 + 2 * i
        lo, hi = cut.pop(1 + i, (size(0), size(0)))
        if isinstance(e, Slice) and e.at == at:
            lo, hi, e = e.lo, e.args[0].shape[at] - e.hi, e.args[0]
        n = e.shape[at]
        if isinstance(e, Pad) and e.at == at and e.lo == 0 and not (e is not top and opaque(e)):
            e = e.args[0]
        if not isinstance(e, Fold) or e.at != at or (i and opaque(top)) or (e is not top and opaque(e)):
            return None
        m, k = e.args[0].shape[at:at + 2]
        more = (n - (m - 1) * e.stride - (k - 1) * e.dilation - 1).value
        if lo.value is None or hi.value is None or more is None:
            return None
        lines.append(Line(k, e.stride, lo.value, hi.value, e.dilation, more))
        e = e.args[0]
    return None if cut else (e, tuple(lines))


def _transposed(w: Expr, lines: tuple[Line, ...], opaque: Opaque) -> Word | None:
    """Windows that are a contraction of g and a kernel."""
    dims, grouped = len(lines), isinstance(w, Reshape)
    a = w.args[0] if isinstance(w, Reshape) and not opaque(w.args[0]) else w
    if not isinstance(a, Contract) or (grouped and w.shape != (a.shape[0] * a.shape[1], *a.shape[2:])):
        return None
    pair = _alike(a, labels(dims, grouped)["conv_transpose"])
    if pair is None or pair[1].axes or (grouped and any(map(opaque, pair))):
        return None
    g, kernel = map(_ungrouped, pair) if grouped else pair
    return Word("conv_transpose", (g, kernel), lines, groups=a.shape[0] if grouped else None) if g and kernel else None


def _unpooled(w: Expr, lines: tuple[Line, ...], opaque: Opaque) -> Word | None:
    """Windows that repeat g, or that hold it where their largest element is."""
    dims = len(lines)
    places = (0, *(1 + 2 * i for i in range(dims)))
    factors = list(_factors(w, opaque))
    spread = [f for f in factors if isinstance(f, Broadcast) and f.places == places and not opaque(f)]
    masks = [f for f in factors if f not in spread]
    if len(spread) != 1:
        return None
    if not masks:
        return Word("unpool", (spread[0].args[0],), lines, True)
    x = _largest(masks, lines, opaque)
    return Word("max_unpool", (spread[0].args[0], x), lines, True) if x is not None else None


def _factors(e: Expr, opaque: Opaque) -> Iterator[Expr]:
    if isinstance(e, Map) and e.f == "mul" and not opaque(e):
        for a in e.args:
            yield from _factors(a, opaque)
    else:
        yield e


def _largest(masks: list[Expr], lines: tuple[Line, ...], opaque: Opaque) -> Expr | None:
    """The image whose windows' largest elements the masks mark, and which they read through nothing else."""
    images: dict[Expr, None] = {}
    stack = list(masks)
    chosen = 0
    while stack:
        e = stack.pop()
        found = _windows(e, len(lines), opaque, -inf) or _windows(e, len(lines), opaque)
        if found and [_place(x) for x in found[1]] == [_place(x) for x in lines]:
            images[found[0]] = None
        elif isinstance(e, Broadcast | Transpose | OneHot) or (isinstance(e, Reduce) and e.kind in ("argmax", "max")):
            chosen += isinstance(e, Reduce) and e.kind == "argmax"
            stack += e.args
        else:
            return None
    return next(iter(images)) if len(images) == 1 and chosen else None


def _place(line: Line) -> tuple[Size, int, int, int, int]:
    return line.k, line.stride, line.lo, line.hi, line.dilation


__all__ = ["labels", "windows_reduced", "word"]
