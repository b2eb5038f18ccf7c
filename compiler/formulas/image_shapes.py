"""Words for whole images and for their shapes.

    upsample(x, f), flatten(x)
    sum_blocks(g, f)            the adjoint of upsample: the sum over every block of f elements
    global_max_unpool(g, x)     the adjoint of global_max(x): g where the largest element of every channel stands
"""

from __future__ import annotations

from collections.abc import Callable

from ..gradient import pullback
from ..graph import Broadcast, Expr, Map, Reduce, Reshape, product
from ..system import System
from .calls import Line, Word

Opaque = Callable[[Expr], bool]


def upsampled(e: Reshape, opaque: Opaque) -> Word | None:
    """Every element repeated along each dimension."""
    dims = len(e.shape) - 1
    inner: Expr = e
    a: Expr | None = None
    factors: list[Line] = []
    for i in reversed(range(max(dims, 0))):
        at = 1 + i
        if not isinstance(inner, Reshape) or (a is not None and opaque(inner)):
            return None
        a = inner.args[0]
        if not isinstance(a, Broadcast) or opaque(a) or a.places != tuple(p for p in range(dims + 2) if p != at + 1):
            return None
        if inner.shape != (*a.shape[:at], a.shape[at] * a.shape[at + 1], *a.shape[at + 2:]) or a.axes != a.args[0].axes:
            return None
        factors.insert(0, Line(a.shape[at + 1]))
        inner = a.args[0]
    return Word("upsample", (inner,), tuple(factors), True) if dims in (1, 2) else None


def flattened(e: Reshape) -> Word | None:
    a = e.args[0]
    return Word("flatten", (a,)) if len(a.shape) > 1 and e.shape == (product(a.shape),) else None


def per_channel(e: Broadcast) -> bool:
    """Whether e is one number a channel at every position of an image."""
    return e.places == (0,) and len(e.shape) in (2, 3)


def image_beside(e: Map, b: Broadcast, opaque: Opaque) -> Expr | None:
    """A value with a name, of the shape of b, that the other operands of e are computed from elementwise."""
    stack = [a for a in reversed(e.args) if a is not b]
    while stack:
        a = stack.pop()
        if a.shape != b.shape:
            continue
        if not a.args or opaque(a):
            return a
        if isinstance(a, Map):
            stack.extend(reversed(a.args))
    return None


def blocks_summed(e: Reduce, opaque: Opaque) -> Word | None:
    """Blocks along each dimension summed, the last one first."""
    dims = len(e.shape) - 1
    inner: Expr = e
    factors: list[Line] = []
    for i in range(dims):
        blocks = inner.args[0] if isinstance(inner, Reduce) and inner.kind == "sum" and inner.over == (i + 2,) else None
        if not isinstance(blocks, Reshape) or opaque(blocks) or (inner is not e and opaque(inner)):
            return None
        inner, n = blocks.args[0], blocks.shape
        if len(n) != dims + 2 or inner.shape != (*n[:i + 1], n[i + 1] * n[i + 2], *n[i + 3:]):
            return None
        factors.append(Line(n[i + 2]))
    return Word("sum_blocks", (inner,), tuple(factors), True) if dims in (1, 2) else None


def largest(e: Map) -> Word | None:
    """The adjoint of the maximum over all positions of an image, whose channels' adjoints are g."""
    dims = len(e.shape) - 1
    spread, best = e.args if isinstance(e.args[0], Broadcast) else (e.args[0], e.args[-1])
    while isinstance(spread, Map) and spread.f == "mul":
        spread = spread.args[0]
    x = next((n for n in marked(best) if n.shape == e.shape), None)
    if dims not in (1, 2) or x is None or not isinstance(spread, Broadcast) or spread.places != (0,):
        return None
    g, top = spread.args[0], Reduce("max", x, tuple(range(1, dims + 1)))
    if g.shape != top.shape or g.axes != top.axes:
        return None
    return Word("global_max_unpool", (g, x)) if pullback(System("adjoint"), {top: g}, [x]).grads[x] is e else None


def marked(mask: Expr) -> list[Expr]:
    """What a product of masks marks the largest element of."""
    stack, found = [mask], []
    while stack:
        e = stack.pop()
        if isinstance(e, Map) and e.f == "mul":
            stack += e.args
        elif isinstance(e, Reduce) and e.kind == "argmax":
            found.append(e.args[0])
        elif not isinstance(e, Map | Reduce) and len(e.args) == 1:
            stack += e.args
    return found


__all__ = ["blocks_summed", "flattened", "image_beside", "largest", "marked", "per_channel", "upsampled"]
