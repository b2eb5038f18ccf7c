"""Positive expressions as exponentials: e = exp(u) with u computed stably, and sums of exponentials as lists of terms.

    exponent(exp(u)) = u                      exponent(sigmoid(x)) = -softplus(-x)
    exponent(a*b) = exponent(a) + exponent(b)          likewise quotients, powers, roots
    exponent(a + b) = logaddexp(...), softplus         exponent(sum(a)) = logsumexp(exponent(a))
    exponent(move(a)) = move(exponent(a)): slices, transposes, delays (boundary values too), steps, selections, picks

`None` says that e is not such an expression: its positivity is not evident, or there is no exponential in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from ..algebra import constant, number
from ..graph import (
    At,
    Broadcast,
    Concat,
    Contract,
    Expr,
    Extent,
    Freeze,
    Map,
    Move,
    Number,
    OneHot,
    Pad,
    Reduce,
    Ref,
    Shift,
    Stop,
    Thaw,
    apply,
)
from .scale import factor_of

DEEPEST = 60                                             # nested operations looked through; deeper ones are left alone
Term = tuple[float, Expr | None]                         # c * exp(u); u is None for the number c


def positive(e: Expr) -> bool:
    """Whether e > 0 is evident."""
    value = number(e)
    if value is not None:
        return value > 0
    match e:
        case Broadcast() | Stop():
            return positive(e.args[0])
        case Extent():
            return True
        case Map("exp" | "sigmoid" | "softplus", _):
            return True
        case Map("add", (a, b)):
            return (positive(a) and not_negative(b)) or (positive(b) and not_negative(a))
        case Map("mul" | "div" | "maximum", (a, b)):
            return positive(a) and positive(b)
        case Map("sqrt", (a,)):
            return positive(a)
    return False


def not_negative(e: Expr) -> bool:
    """Whether e >= 0 is evident."""
    value = number(e)
    if value is not None:
        return value >= 0
    match e:
        case Broadcast() | Stop():
            return not_negative(e.args[0])
        case Map("square" | "abs" | "relu" | "sqrt", _) | OneHot() | Reduce(kind="norm"):
            return True
        case Reduce(kind="sum" | "max" | "min"):
            return not_negative(e.args[0])
        case Map("add" | "mul" | "div", (a, b)):
            return not_negative(a) and not_negative(b)
    return positive(e)


@dataclass
class Exponents:
    """Exponents of nodes, remembered. `reference` gives the logarithm of an equation that is only read through a Ref."""

    reference: Callable[[Ref], Expr | None] = lambda ref: None
    memo: dict[Expr, Expr | None] = field(default_factory=dict)

    def of(self, e: Expr, depth: int = 0) -> Expr | None:
        """u with e = exp(u), or None."""
        if e not in self.memo:
            if depth > DEEPEST:
                return None
            self.memo[e] = self._find(e, depth + 1)
        return self.memo[e]

    def or_log(self, e: Expr, depth: int = 0) -> Expr | None:
        """The same, and the logarithm of what is a positive number or size."""
        value = number(e)
        if value is not None:
            return constant(math.log(value), e) if value > 0 else None
        inner = e.args[0] if isinstance(e, Broadcast) else e
        if (f := factor_of(inner)) is not None and f.number > 0:     # made of numbers and sizes
            return Broadcast(apply("log", inner), e.axes, e.shape, ())
        return self.of(e, depth)

    def _find(self, e: Expr, depth: int) -> Expr | None:
        match e:
            case Map():
                return self._map(e, depth)
            case Reduce(kind="sum", args=(Map("mul", (a, b)),)) if _selects_one(e, a) or _selects_one(e, b):
                hot, p = (a, b) if _selects_one(e, a) else (b, a)
                picked = self.of(p, depth)
                return None if picked is None else e.with_args((Map("mul", (hot, picked)),))
            case Reduce(kind="sum" | "prod" | "max" | "min"):
                inner = self.of(e.args[0], depth)
                kind = {"sum": "logsumexp", "prod": "sum"}.get(e.kind, e.kind)
                return None if inner is None else Reduce(kind, inner, e.over)
            case Shift() | Concat():
                parts = [self.or_log(a, depth) for a in e.args]
                return None if self.of(e.args[0], depth) is None else rebuilt(e, parts)
            case Contract() if (pick := _picked(e)) is not None:
                chosen = self.of(e.args[pick], depth)
                return None if chosen is None else e.with_args((chosen, e.args[1]) if pick == 0 else (e.args[0], chosen))
            case Pad():
                return None
            case Move() | At() | Freeze() | Thaw() | Stop():
                return rebuilt(e, [self.of(a, depth) for a in e.args])
            case Ref():
                return self.reference(e)
        return None

    def _map(self, e: Map, depth: int) -> Expr | None:
        match e.f, e.args:
            case "exp", (inner,):
                return inner
            case "sigmoid", (inner,):
                return -apply("softplus", -inner)
            case "square" | "sqrt", (a,):
                return _times(2 if e.f == "square" else 0.5, self.of(a, depth))
            case "add", _:
                return self._sum(e, depth)
            case "mul" | "div" | "pow" | "maximum" | "minimum", (a, b):
                return self._pair(e.f, a, b, depth)
            case "select", (c, a, b):
                u, v = self.or_log(a, depth), self.or_log(b, depth)
                known = self.of(a, depth) is not None or self.of(b, depth) is not None
                return None if u is None or v is None or not known else Map("select", (c, u, v))
        return None

    def _pair(self, f: str, a: Expr, b: Expr, depth: int) -> Expr | None:
        """Products and quotients (positive numbers included), powers, the larger and the smaller of two."""
        u, v = self.of(a, depth), self.of(b, depth)
        if f == "pow":
            return None if u is None else b * u
        if f in ("maximum", "minimum"):
            return None if u is None or v is None else Map(f, (u, v))
        left, right = self.or_log(a, depth), self.or_log(b, depth)
        if left is None or right is None or (u is None and v is None):
            return None
        return left + right if f == "mul" else left - right

    def _sum(self, e: Map, depth: int) -> Expr | None:
        """log(exp(u) + exp(v)) = logaddexp(u, v);  log(c + exp(u)) = log(c) + softplus(u - log(c))."""
        a, b = e.args
        u, v = self.or_log(a, depth), self.or_log(b, depth)
        if u is None or v is None or (self.of(a, depth) is None and self.of(b, depth) is None):
            return None
        if number(a) is not None:
            u, v, a, b = v, u, b, a
        if number(b) is None:
            return apply("logaddexp", u, v)
        if bounded(a):                                           # c + p is exact as it stands
            return None
        return apply("softplus", u) if number(b) == 1 else v + apply("softplus", u - v)

    def terms(self, e: Expr, depth: int = 0) -> list[Term] | None:
        """e as a sum of c * exp(u), or None; numbers alone count, too."""
        value = number(e)
        if value is not None:
            return [(float(value), None)]
        match e:
            case Map("add" | "sub" as f, (a, b)) if depth < DEEPEST:
                left, right = self.terms(a, depth + 1), self.terms(b, depth + 1)
                if left is None or right is None:
                    return None
                return merged(left + ([(-c, u) for c, u in right] if f == "sub" else right))
            case Map("neg", (a,)) if depth < DEEPEST:
                inner = self.terms(a, depth + 1)
                return inner and [(-c, u) for c, u in inner]
            case Map("expm1", (u,)):
                return [(1.0, u), (-1.0, None)]
            case Map("mul", (c, a)) if number(c) is not None and depth < DEEPEST:
                inner = self.terms(a, depth + 1)
                return inner and [(float(number(c) or 0) * k, u) for k, u in inner]
            case Map("div", (a, c)) if number(c) and depth < DEEPEST:
                inner = self.terms(a, depth + 1)
                return inner and [(k / float(number(c) or 1), u) for k, u in inner]
        whole = self.of(e)
        return None if whole is None else [(1.0, whole)]


def normalised(e: Expr) -> bool:
    """exp(s - logsumexp(s)): at most 1, so that powers and products of it lose nothing."""
    match e:
        case Map("exp", (Map("sub", (_, Broadcast(args=(Reduce(kind="logsumexp"),)))),)):
            return True
    return False


def bounded(e: Expr) -> bool:
    """Whether e is a probability by its form."""
    while isinstance(e, Move):
        e = e.args[0]
    return (isinstance(e, Map) and e.f == "sigmoid") or normalised(e)


def merged(terms: list[Term]) -> list[Term]:
    """Terms of one exponent as one."""
    total: dict[Expr | None, float] = {}
    for c, u in terms:
        total[u] = total.get(u, 0.0) + c
    return [(c, u) for u, c in total.items() if c]


def rebuilt(e: Expr, parts: list[Expr | None]) -> Expr | None:
    """The same node on other operands, if all of them exist."""
    known = [p for p in parts if p is not None]
    return e.with_args(tuple(known)) if len(known) == len(parts) else None


def _times(c: Number, u: Expr | None) -> Expr | None:
    return None if u is None else c * u


def _selects_one(e: Reduce, hot: Expr) -> bool:
    """Whether a sum of products with `hot` picks exactly one element for each result."""
    return isinstance(hot, OneHot) and e.over == (len(hot.shape) - 1,)


def _picked(e: Contract) -> int | None:
    """Which operand a contraction with a one-hot vector picks from: exactly one element of it for each result."""
    for hot, other in ((0, 1), (1, 0)):
        a = e.args[hot]
        labels = e.la if hot == 0 else e.lb
        if isinstance(a, OneHot):
            summed = [k for k in labels if k not in e.lo]
            if summed == [labels[-1]] and {*e.args[other].axes, *a.axes} == {*e.axes}:
                return other
    return None


__all__ = ["DEEPEST", "Exponents", "Term", "bounded", "merged", "normalised", "not_negative", "positive", "rebuilt"]
