"""Sums of products: an expression as textbooks order one.

    v/s^2*s^2 - (b - v) ...      is a sum of monomials: a number times powers of factors

`collected` multiplies nothing out that would grow, cancels powers, and puts what depends on the units before what does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from ..algebra import number
from ..graph import (
    Broadcast,
    Const,
    Contract,
    Expr,
    Map,
    Number,
    Pad,
    Param,
    Reshape,
    Transpose,
    apply,
    broadcast,
    postorder,
)

Opaque = Callable[[Expr], bool]


@dataclass(frozen=True)
class Monomial:
    """A number times powers of factors; all factors have one shape, or none."""

    value: Number = 1
    powers: dict[Expr, Number] = field(default_factory=dict)

    def __mul__(self, other: Monomial) -> Monomial:
        powers = dict(self.powers)
        for e, p in other.powers.items():
            powers[e] = powers.get(e, 0) + p
        return Monomial(_exact(_exact(self.value) * _exact(other.value)), {e: p for e, p in powers.items() if p})

    def to(self, power: int | Fraction) -> Monomial | None:
        """This monomial to a power; None where its number has none that is exact."""
        if self.value != 1 and (self.value == 0 or Fraction(power).denominator != 1):
            return None
        value = 1 if self.value == 1 else _exact(self.value) ** int(power)
        return Monomial(value, {e: p * power for e, p in self.powers.items()})

    @property
    def factors(self) -> Sequence[Expr]:
        return tuple(self.powers)


def _exact(v: Number) -> Number:
    """Halves and quarters as fractions, so that they cancel."""
    if isinstance(v, float) and v.is_integer():
        return int(v)
    if isinstance(v, Fraction) and v.denominator == 1:
        return v.numerator
    return Fraction(v) if isinstance(v, float) and Fraction(v).denominator <= 1024 else v


def monomials(e: Expr, opaque: Opaque = lambda e: False) -> list[Monomial]:
    """The summands of e. A node that is opaque is a factor of its own."""
    if (value := number(e)) is not None:
        return [Monomial(value)] if value else []
    if not opaque(e):
        found = _opened(e, opaque)
        if found is not None:
            return found
    return [Monomial(1, {e: 1})]


def _opened(e: Expr, opaque: Opaque) -> list[Monomial] | None:
    match e:
        case Map("add", (a, b)):
            return monomials(a, opaque) + monomials(b, opaque)
        case Map("sub", (a, b)):
            return monomials(a, opaque) + _scaled(monomials(b, opaque), -1)
        case Map("neg", (a,)):
            return _scaled(monomials(a, opaque), -1)
        case Map("mul", (a, b)):
            return _product(monomials(a, opaque), monomials(b, opaque))
        case Map("div", (a, b)):
            return _quotient(monomials(a, opaque), monomials(b, opaque))
        case Map("square", (a,)):
            return _power(monomials(a, opaque), 2)
        case Map("sqrt", (a,)):
            return _power(monomials(a, opaque), Fraction(1, 2))
        case Broadcast(args=(a,)) if isinstance(a, Map) and not opaque(a):
            inner = monomials(a, opaque)
            return None if inner == [Monomial(1, {a: 1})] else [
                Monomial(m.value, {Broadcast(x, e.axes, e.shape, e.places if x.shape else ()): p for x, p in m.powers.items()})
                for m in inner]
        case Reshape(args=(a,)) | Transpose(args=(a,)) | Pad(args=(a,)):
            inner = [] if opaque(a) else monomials(a, opaque)
            return None if len(inner) != 1 or inner == [Monomial(1, {a: 1})] else [
                Monomial(inner[0].value, {e.with_args((built([Monomial(1, inner[0].powers)], a),)): 1})]
        case Contract(args=(a, b)):
            return _numbers_out(e, monomials(a, opaque), monomials(b, opaque), opaque)
    return None


def _numbers_out(e: Contract, a: list[Monomial], b: list[Monomial], opaque: Opaque) -> list[Monomial] | None:
    """The numbers before the operands of a product stand before the product."""
    if len(a) != 1 or len(b) != 1 or (a[0].value == 1 and b[0].value == 1):
        return None
    value = _exact(a[0].value) * _exact(b[0].value)
    bare = tuple(built([Monomial(1, m.powers)], x) for m, x in zip((a[0], b[0]), e.args, strict=True))
    return [Monomial(value, {e.with_args(bare): 1})]


def _scaled(terms: list[Monomial], by: Number) -> list[Monomial]:
    return [Monomial(m.value * by, m.powers) for m in terms]


def _product(a: list[Monomial], b: list[Monomial]) -> list[Monomial] | None:
    """Multiplied out where one of them is a single term."""
    if min(len(a), len(b)) > 1:
        return None
    return [p * q for p in a for q in b]


def _quotient(a: list[Monomial], b: list[Monomial]) -> list[Monomial] | None:
    inverse = b[0].to(-1) if len(b) == 1 else None
    return None if inverse is None else _product(a, [inverse])


def _power(a: list[Monomial], power: int | Fraction) -> list[Monomial] | None:
    one = a[0].to(power) if len(a) == 1 else None
    return None if one is None else [one]


def collected(terms: Sequence[Monomial]) -> list[Monomial]:
    """Equal powers added up, in the order of their first."""
    found: dict[frozenset[tuple[Expr, Number]], Monomial] = {}
    for m in terms:
        key = frozenset(m.powers.items())
        value = m.value + found[key].value if key in found else m.value
        found[key] = Monomial(value, m.powers)
    return [m for m in found.values() if m.value]


def arranged(terms: Sequence[Monomial], units: Sequence[Expr], source: Expr | None = None) -> list[Monomial]:
    """What depends on units first; in each part what is added before what is subtracted, in the order of `source`."""
    places = {} if source is None else {n: k for k, n in enumerate(n for n in postorder(source) if isinstance(n, Param))}

    def rank(m: Monomial) -> tuple[bool, bool, int]:
        found = [places[n] for n in postorder(*m.factors) if n in places]
        return not reads(m.factors, units), m.value < 0, min(found, default=len(places))

    return sorted(terms, key=rank)


def reads(exprs: Sequence[Expr], leaves: Sequence[Expr]) -> bool:
    """Whether a leaf stands in one of the expressions."""
    wanted = {*leaves}
    return any(n in wanted for n in postorder(*exprs))


def built(terms: Sequence[Monomial], like: Expr) -> Expr:
    """The sum as an expression with the features of `like`, along the axes of its factors."""
    out: Expr | None = None
    for m in terms:
        sign = out is not None and m.value < 0
        part = _built(Monomial(-m.value, m.powers) if sign else m)
        out = part if out is None else apply("sub" if sign else "add", out, part)
    out = Const(0) if out is None else out
    return out if out.shape == like.shape else broadcast(out, out.axes, like.shape)


def _built(m: Monomial) -> Expr:
    above = [_raised(e, p) for e, p in m.powers.items() if p > 0]
    below = [_raised(e, -p) for e, p in m.powers.items() if p < 0]
    value = _exact(m.value)
    if isinstance(value, Fraction) and value.numerator in (1, -1):           # x/2, not 0.5*x
        below.insert(0, Const(value.denominator))
        value = value.numerator
    out = _times(above)
    if out is None:
        out = Const(value)
    elif value == -1:
        out = -out
    elif value != 1:
        out = Const(value) * out
    divisor = _times(below)
    return out if divisor is None else out / divisor


def _times(factors: Sequence[Expr]) -> Expr | None:
    out: Expr | None = None
    for f in factors:
        out = f if out is None else out * f
    return out


def _raised(e: Expr, power: Number) -> Expr:
    if power == 1:
        return e
    if power == 2:
        return apply("square", e)
    return apply("sqrt", e) if power == Fraction(1, 2) else apply("pow", e, float(power))


def ordered(e: Expr, units: Sequence[Expr], opaque: Opaque = lambda e: False, source: Expr | None = None) -> Expr:
    """e as a sum of products in the order of a textbook: see `arranged`."""
    return built(arranged(collected(monomials(e, opaque)), units, source), e)

