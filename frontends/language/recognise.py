"""What a person would call a node: softmax, a mean, dropout, a loss. Each proposal is checked by building it anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ...compiler.graph import Broadcast, Const, Contract, Expr, Map, Noise, OneHot, Reduce, apply, mean
from . import semantics

Over = tuple[str | int, ...]


def softmax_operand(e: Map, f: str) -> tuple[Expr, tuple[str | int, ...]] | None:
    """The operand and the axes of a softmax, if e looks like one."""
    low = e.args[0] if f == "softmax" and e.f == "exp" else e
    if not isinstance(low, Map) or low.f != "sub":
        return None
    s, below = low.args
    total = below.args[0] if isinstance(below, Broadcast) else below
    if not isinstance(total, Reduce) or total.kind != "logsumexp" or total.args[0] is not s:
        return None
    return s, total.over


def average_of(e: Map, opaque: Callable[[Expr], bool]) -> tuple[str, Expr, Over] | None:
    """sum(a) / count is a mean; the mean of (a - mean(a))^2 is a variance."""
    total = e.args[0]
    if e.f != "div" or not isinstance(total, Reduce) or total.kind != "sum" or opaque(total):
        return None
    a = total.args[0]
    if mean(a, total.over) is not e:
        return None
    match a:
        case Map(f="square", args=(Map(f="sub", args=(low, _)),)):
            if semantics.variance(low, total.over) is e and not any(opaque(n) for n in between(e, (low,))):
                return "var", low, total.over
    return "mean", a, total.over


def dropout_of(e: Map) -> tuple[Noise, float] | None:
    """x * (real(u < keep) / keep): the draw and the rate that gives exactly this."""
    x, mask = e.args
    if not (isinstance(mask, Map) and mask.f == "div" and isinstance(real := mask.args[0], Map) and real.f == "real"):
        return None
    u = real.args[0].args[0] if isinstance(real.args[0], Map) and real.args[0].f == "lt" else None
    bound = mask.args[1].args[0] if isinstance(mask.args[1], Broadcast) else mask.args[1]
    if not isinstance(u, Noise) or not isinstance(bound, Const) or (u.axes, u.shape) != (x.axes, x.shape):
        return None
    rate = float(f"{1 - float(bound.value):.12g}")
    keep = Const(1 - rate)
    return (u, rate) if x * (Map("real", (apply("lt", u, keep),)) / keep) is e else None


def between(e: Expr, operands: Sequence[Expr]) -> Iterator[Expr]:
    """The nodes below e down to the operands, both excluded."""
    stack, seen = list(e.args), {e, *operands}
    while stack:
        n = stack.pop()
        if n not in seen:
            seen.add(n)
            yield n
            stack.extend(n.args)


def losses(e: Map) -> Iterator[tuple[str, Callable[[Expr, Expr], Expr], tuple[Expr, Expr]]]:
    """What e may be as a loss: the function's name, what it means, and its operands."""
    match e:
        case Map(f="neg", args=(Contract(args=(Map(f="log", args=(p,)), y)),)):
            if isinstance(y, Map) and y.f == "real":
                yield "cross_entropy", semantics.cross_entropy, (p, y.args[0])
            yield "cross_entropy", semantics.cross_entropy, (p, y.args[0] if isinstance(y, OneHot) else y)
        case Map(f="neg", args=(Reduce(args=(Map(f="add", args=(Map(f="mul", args=(y, Map(f="log", args=(p,)))), _)),)),)):
            if isinstance(y, Map) and y.f == "real":
                yield "binary_cross_entropy", semantics.binary_cross_entropy, (p, y.args[0])
            yield "binary_cross_entropy", semantics.binary_cross_entropy, (p, y)
        case Map(f="neg", args=(Map(f="add", args=(Map(f="mul", args=(y, Map(f="log", args=(p,)))), _)),)):
            if isinstance(y, Map) and y.f == "real":
                yield "binary_cross_entropy", semantics.binary_cross_entropy, (p, y.args[0])
            yield "binary_cross_entropy", semantics.binary_cross_entropy, (p, y)
        case Map(f="div", args=(Reduce(args=(Map(f="square", args=(Map(f="sub", args=(a, b)),)),)), _)):
            yield "squares", semantics.squares, (_small(a), _small(b))


def _small(a: Expr) -> Expr:
    return a.args[0] if isinstance(a, Broadcast) and a.args[0].shape in ((), a.shape) else a


def written(e: Map) -> tuple[Expr, ...]:
    """The operands without the repetition that an elementwise operation adds by itself."""
    bare = [_plain(a, e) if isinstance(a, Broadcast) else a for a in e.args]
    for kept in (None, *range(len(bare))):
        chosen = tuple(e.args[k] if k == kept else a for k, a in enumerate(bare))
        if apply(e.f, *chosen) is e:
            return chosen
    return e.args


def _plain(a: Broadcast, e: Map) -> Expr:
    """An operand without the repetition along axes, and without that to e's shape where it needs no mention."""
    inner = a.args[0]
    return inner if inner.shape in ((), e.shape) else Broadcast(inner, inner.axes, a.shape, a.places)
