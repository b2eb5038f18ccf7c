"""Stable forms of moments, norms and subtracted maxima.

    mean(x**2) - mean(x)**2       ->  mean((x - mean(x))**2)           over features, batch or time
    mean(x*y) - mean(x)*mean(y)   ->  mean((x - mean(x))*(y - mean(y)))
    sum(x**2) - sum(x)**2/n       ->  sum((x - mean(x))**2)
    sqrt(sum(x**2))               ->  norm(x)                          derivative 0 at x = 0
    logsumexp(x - m)              ->  logsumexp(x) - m                 for an m that is constant along the sum
    m + (y - m)                   ->  y                                for a subtracted maximum m
"""

from __future__ import annotations

from ..algebra import Rule, number, structure
from ..graph import Broadcast, Contract, Expr, Extent, Map, Reduce, Stop, apply, count, size
from .scale import Factor, factor_of

NOTE = "stabilised"
Over = tuple[str | int, ...]


def mean_of(e: Expr) -> tuple[Expr, Over] | None:
    """(a, over) where e = sum(a, over) / count, in any writing of the division."""
    match e:
        case Map("div", (s, n)):
            f = factor_of(n)
            f = None if f is None else f.inverse()
        case Map("mul", (a, b)):
            f, s = factor_of(a), b
            if f is None:
                f, s = factor_of(b), a
        case Broadcast():                                        # a repeated mean is recognised by its reader
            return None
        case _:
            return None
    if f is None or not isinstance(s, Reduce) or s.kind != "sum":
        return None
    return (s.args[0], s.over) if f == Factor(1, size(1), count(s.args[0], s.over)) or _one(f, s) else None


def _one(f: Factor, s: Reduce) -> bool:
    """A declared number as the divisor."""
    n = count(s.args[0], s.over).value
    return n is not None and f.up == 1 and f.down == 1 and abs(float(f.number) * n - 1) < 1e-12


def _spread(m: Expr, like: Expr, over: Over) -> Expr:
    """What is left after a reduction of `like`, repeated along it again."""
    return Broadcast(m, like.axes, like.shape, tuple(i for i in range(len(like.shape)) if i not in over))


def _mean(a: Expr, over: Over) -> Expr:
    return apply("div", Reduce("sum", a, over), Extent(count(a, over)))


def _centred(a: Expr, over: Over) -> Expr:
    return a - _spread(_mean(a, over), a, over)


@structure("mean(x**2) - mean(x)**2 -> mean((x - mean(x))**2)", "sub", note=NOTE)
def variance(e: Expr) -> Expr | None:
    second = mean_of(e.args[0])
    if second is None:
        return None
    product, over = second
    match product, e.args[1]:
        case Map("square", (x,)), Map("square", (m,)):
            return _mean(apply("square", _centred(x, over)), over) if mean_of(m) == (x, over) else None
        case Map("mul", (x, y)), Map("mul", (m, n)):
            if {mean_of(m), mean_of(n)} == {(x, over), (y, over)}:
                return _mean(_centred(x, over) * _centred(y, over), over)
    return None


@structure("sum(x**2) - sum(x)**2/n -> sum((x - mean(x))**2)", "sub", note=NOTE)
def squared_deviations(e: Expr) -> Expr | None:
    match e.args:
        case (Reduce(kind="sum", args=(Map("square", (x,)),)) as s, Map("div", (Map("square", (t,)), n))):
            if t is Reduce("sum", x, s.over) and factor_of(n) == Factor(1, count(x, s.over)):
                return Reduce("sum", apply("square", _centred(x, s.over)), s.over)
    return None


@structure("sqrt(sum(x**2)) -> norm(x)", "sqrt", note=NOTE)
def norm(e: Expr) -> Expr | None:
    """sqrt(sum(x**2)), sqrt(x @ x), and sqrt(mean(x**2)) = norm(x)/sqrt(n)."""
    a = e.args[0]
    match a:
        case Map("div", (s, n)) if (root := _root(s)) is not None and _counts(n):
            return root / apply("sqrt", n)
        case Map("mul", (s, n)) if (root := _root(s)) is not None and _counts(n):
            return root * apply("sqrt", n)
        case Map("mul", (n, s)) if (root := _root(s)) is not None and _counts(n):
            return apply("sqrt", n) * root
    return _root(a)


def _root(a: Expr) -> Expr | None:
    match a:
        case Reduce(kind="sum", args=(Map("square", (x,)),)):
            return Reduce("norm", x, a.over)
        case Contract(args=(x, y)) if x is y and a.la == a.lb and not a.lo:
            return Reduce("norm", x, (*(n for n in x.axes if n not in a.axes), *range(len(x.shape))))
    return None


def _counts(n: Expr) -> bool:
    """Whether n is a positive number or made of sizes."""
    f = factor_of(n)
    return f is not None and f.number > 0


@structure("logsumexp(x - m) -> logsumexp(x) - m", "Reduce", note=NOTE)
def shifted_logsumexp(e: Expr) -> Expr | None:
    """What is constant along the sum leaves it."""
    match e:
        case Reduce(kind="logsumexp", args=(Map("sub" | "add" as f, (x, Broadcast() as m)),)):
            if number(m) is not None:
                return None
            inner = m.args[0]
            kept = [i for i in range(len(x.shape)) if i not in e.over]
            if any(o in inner.axes or o in m.places for o in e.over):
                return None
            outer = Broadcast(inner, e.axes, e.shape, tuple(kept.index(p) for p in m.places))
            return Map(f, (Reduce("logsumexp", x, e.over), outer))
    return None


@structure("logaddexp(x - m, y - m) -> logaddexp(x, y) - m", "logaddexp", note=NOTE)
def shifted_logaddexp(e: Expr) -> Expr | None:
    match e.args:
        case Map("sub", (x, m)), Map("sub", (y, n)) if m is n and _is_shift(m):
            return apply("logaddexp", x, y) - m
    return None


@structure("m + (y - m) -> y", "add", "sub", note=NOTE)
def restored_shift(e: Expr) -> Expr | None:
    """A maximum that was subtracted and is added again: gone, with its derivative."""
    terms = linear_terms(e, 1, 4)
    for k, (sign, m) in enumerate(terms):
        if not _is_shift(m):
            continue
        for j in range(k + 1, len(terms)):
            if terms[j][1] is m and terms[j][0] == -sign:
                rest = [t for i, t in enumerate(terms) if i not in (k, j)]
                return joined(rest)
    return None


def _is_shift(m: Expr) -> bool:
    while isinstance(m, Broadcast | Stop):
        m = m.args[0]
    return (isinstance(m, Reduce) and m.kind == "max") or (isinstance(m, Map) and m.f == "maximum")


def linear_terms(e: Expr, sign: int, depth: int) -> list[tuple[int, Expr]]:
    """e as a list of signed terms, through repeats of sums."""
    match e:
        case Map("add" | "sub" as f, (a, b)) if depth:
            return linear_terms(a, sign, depth - 1) + linear_terms(b, sign if f == "add" else -sign, depth - 1)
        case Map("neg", (a,)) if depth:
            return linear_terms(a, -sign, depth - 1)
        case Broadcast(args=(Map("add" | "sub" | "neg", _) as inner,)) if depth:
            return [(s, Broadcast(t, e.axes, e.shape, e.places)) for s, t in linear_terms(inner, sign, depth - 1)]
    return [(sign, e)]


def joined(terms: list[tuple[int, Expr]]) -> Expr | None:
    """Signed terms as sums and differences, in their order."""
    if not terms:
        return None
    out: Expr | None = None
    for sign, t in sorted(terms, key=lambda s: -s[0]):
        out = (t if sign > 0 else -t) if out is None else (out + t if sign > 0 else out - t)
    return out


MOMENT_RULES: tuple[Rule, ...] = (variance, squared_deviations, norm, shifted_logsumexp, shifted_logaddexp, restored_shift)
