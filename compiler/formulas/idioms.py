"""Idioms: nodes that stand for a function with a name of its own. Each answers (name, operand, what it runs over) or None."""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Broadcast, Const, Expr, Extent, Map, Reduce, count, size

Found = tuple[str, Expr, tuple[str | int, ...]] | None
Opaque = Callable[[Expr], bool]


def softmax_of(e: Expr, opaque: Opaque) -> Found:
    """exp(s - logsumexp(s)) -> softmax(s); s - logsumexp(s) -> log_softmax(s)."""
    if not isinstance(e, Map):
        return None
    if e.f == "exp" and not opaque(e.args[0]):
        inner = softmax_of(e.args[0], opaque)
        return ("softmax", *inner[1:]) if inner and inner[0] == "log_softmax" else None
    if e.f != "sub":
        return None
    s, below = e.args
    total = below.args[0] if isinstance(below, Broadcast) and not opaque(below) else below
    if not isinstance(total, Reduce) or opaque(total) or total.kind != "logsumexp" or total.args[0] is not s:
        return None
    kept = tuple(k for k in range(len(s.shape)) if k not in total.over)
    if below is not total and isinstance(below, Broadcast) and below.places != kept:
        return None
    return ("log_softmax", s, total.over) if len(total.over) == 1 else None


def mean_of(e: Expr, opaque: Opaque) -> Found:
    """sum(a) / count -> mean(a)."""
    if not isinstance(e, Map) or e.f != "div":
        return None
    total, number = e.args
    while isinstance(number, Broadcast):
        number = number.args[0]
    if not isinstance(total, Reduce) or total.kind != "sum" or opaque(total) or not isinstance(number, Const | Extent):
        return None
    divisor = number.size if isinstance(number, Extent) else number.value
    wanted = count(total.args[0], total.over)
    same = wanted == divisor if not isinstance(divisor, float) else False
    return ("mean", total.args[0], total.over) if same and wanted != size(1) else None
