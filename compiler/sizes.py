"""Symbolic sizes: integer polynomials over named lengths, compared exactly.

A size is a sum of integer multiples of products of symbols: `H`, `4*H`, `H + V`, `C*H*W`. Two sizes are equal exactly
when they are the same polynomial, which a dictionary comparison decides. A rounded-down quotient is a fresh symbol that
remembers its formula (`floor_div`) in lowest terms, so that comparison stays exact there, too: `(N - 5)//2 + 1` is `(N - 3)//2`.
So is a length with a limit, `min(B, 64)` (`at_most`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from math import gcd
from typing import Union

SizeLike = Union["Size", int]
Monomial = tuple[str, ...]
_FORMULAS: dict[str, tuple[Size, int]] = {}          # name of a rounded-down quotient -> (numerator, divisor)
_LIMITED: dict[str, tuple[Size, int]] = {}           # name of a length with a limit -> (length, limit)


class Size:
    """An integer polynomial in named lengths; immutable, hashable, exact."""

    __slots__ = ("_hash", "terms")
    terms: tuple[tuple[Monomial, int], ...]          # sorted; no zero coefficients

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        self.terms = tuple(sorted((m, c) for m, c in terms.items() if c))
        self._hash = hash(self.terms)

    @property
    def value(self) -> int | None:
        """The number that this size is, or None where it depends on a symbol."""
        match self.terms:
            case ():
                return 0
            case (((), c),):
                return c
        return None

    @property
    def symbols(self) -> tuple[str, ...]:
        """The lengths that it depends on, those below rounded-down quotients included."""
        found: set[str] = set()
        for s in self.factors:
            known = _FORMULAS.get(s) or _LIMITED.get(s)
            found |= {*known[0].symbols} if known else {s}
        return tuple(sorted(found))

    @property
    def factors(self) -> tuple[str, ...]:
        """The symbols that stand in its terms: lengths and quotients."""
        return tuple(sorted({s for m, _ in self.terms for s in m}))

    def __add__(self, other: SizeLike) -> Size:
        return _sum(self, size(other))

    def __mul__(self, other: SizeLike) -> Size:
        return _product(self, size(other))

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Size:
        return _product(self, _constant(-1))

    def __sub__(self, other: SizeLike) -> Size:
        return _difference(self, size(other))

    def __rsub__(self, other: SizeLike) -> Size:
        return size(other) - self

    def __floordiv__(self, divisor: int) -> Size:
        return floor_div(self, divisor)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int):
            return self.value == other
        return isinstance(other, Size) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"size({str(self)!r})"

    def __str__(self) -> str:
        return self.format()

    def format(self, names: Mapping[str, str] | None = None) -> str:
        """The polynomial as Python text: `4*H + V - 1`; `names` renames lengths."""
        if not self.terms:
            return "0"
        shown, moved = _gathered(self)
        ordered = sorted(shown.terms, key=lambda term: (not term[0], term[1] < 0, term[0]))
        text = ""
        for m, c in ordered:
            factors = [_symbol_text(s, moved.get(s, 0), names) for s in m]
            if abs(c) != 1 or not m:
                factors.insert(0, str(abs(c)))
            sign = (" - " if c < 0 else " + ") if text else ("-" if c < 0 else "")
            text += sign + "*".join(factors)
        return text

    def evaluate(self, env: Mapping[str, int]) -> int:
        """The number under the lengths `env`; KeyError names a missing symbol."""
        total = 0
        for m, c in self.terms:
            for s in m:
                c *= _lookup(s, env)
            total += c
        return total

    def positive(self, lengths: Mapping[str, SizeLike]) -> bool:
        """Whether it is more than 0 at all such lengths, each a number, or its name beyond the least that it may be: T + 1."""
        beyond = dict(self.substitute(lengths).terms)
        return () in beyond and all(c > 0 and {*names} <= {*lengths} for names, c in beyond.items())

    def substitute(self, env: Mapping[str, SizeLike]) -> Size:
        """The size with symbols replaced; symbols missing in `env` stay."""
        total = size(0)
        for m, c in self.terms:
            product = size(c)
            for s in m:
                product = product * (env[s] if s in env else _substitute_formula(s, env))
            total = total + product
        return total


@lru_cache(maxsize=2**14)                            # few sizes meet, but in every statement that is printed
def _sum(a: Size, b: Size) -> Size:
    terms = dict(a.terms)
    for m, c in b.terms:
        terms[m] = terms.get(m, 0) + c
    return Size(terms)


@lru_cache(maxsize=2**14)
def _difference(a: Size, b: Size) -> Size:
    return a + -b


@lru_cache(maxsize=2**14)
def _product(a: Size, b: Size) -> Size:
    terms: dict[Monomial, int] = {}
    for m, c in a.terms:
        for n, d in b.terms:
            key = tuple(sorted(m + n))
            terms[key] = terms.get(key, 0) + c * d
    return Size(terms)


def _lookup(name: str, env: Mapping[str, int]) -> int:
    if name in env:
        return env[name]
    if name in _FORMULAS:
        top, divisor = _FORMULAS[name]
        return top.evaluate(env) // divisor
    if name in _LIMITED:
        top, limit = _LIMITED[name]
        return min(top.evaluate(env), limit)
    raise KeyError(name)


def _substitute_formula(name: str, env: Mapping[str, SizeLike]) -> Size:
    if name in _LIMITED:
        top, limit = _LIMITED[name]
        return at_most(top.substitute(env), limit)
    if name not in _FORMULAS:
        return symbol(name)
    top, divisor = _FORMULAS[name]
    return floor_div(top.substitute(env), divisor)


def _symbol_text(name: str, more: int, names: Mapping[str, str] | None) -> str:
    """A length, or a quotient and `more`."""
    if names and name in names:
        return names[name]
    if name in _LIMITED:
        top, limit = _LIMITED[name]
        return f"min({top.format(names)}, {limit})"
    if name in _FORMULAS:
        top, divisor = _FORMULAS[name]
        top += more * divisor
        text = top.format(names)
        return f"({text}//{divisor})" if text.isalnum() else f"(({text})//{divisor})"
    return name


def _moved(s: Size, q: str, k: int) -> Size:
    """The polynomial with q - k for q; not below other quotients."""
    total = size(0)
    for m, c in s.terms:
        term = size(c)
        for x in m:
            term = term * (symbol(q) - k if x == q else symbol(x))
        total = total + term
    return total


@lru_cache(maxsize=2**14)
def _gathered(s: Size) -> tuple[Size, dict[str, int]]:
    """The polynomial in moved quotients q + k, where it has fewer terms: M*q^2 - 2*M*q + M is M*(q - 1)^2; and every k."""
    moved: dict[str, int] = {}
    for q in s.factors:
        if q not in _FORMULAS or q not in s.factors:
            continue
        degree = max(m.count(q) for m, _ in s.terms)
        terms = dict(s.terms)
        for m, c in s.terms:
            lower = list(m)
            if m.count(q) == degree:
                lower.remove(q)
                k, rest = divmod(terms.get(tuple(lower), 0), degree * c)
                out = _moved(s, q, k) if k and not rest else s
                if len(out.terms) < len(s.terms):
                    s, moved[q] = out, k
                    break
    return s, moved


@cache
def _constant(value: int) -> Size:
    return Size({(): value})


@cache
def symbol(name: str) -> Size:
    """The size named `name`."""
    return Size({(name,): 1})


def size(value: SizeLike) -> Size:
    """An int or a size as a size."""
    return value if isinstance(value, Size) else _constant(int(value))


def floor_div(top: SizeLike, divisor: int) -> Size:
    """`top // divisor`: exact where every coefficient divides, otherwise with a symbol that knows its formula in lowest terms."""
    whole, rest = {}, {}
    for m, c in size(top).terms:
        whole[m], rest[m] = divmod(c, divisor)
    return Size(whole) + _remainder(Size(rest), divisor)


def at_most(n: SizeLike, limit: int) -> Size:
    """`min(n, limit)`, with a symbol that knows its formula where n has no value."""
    n = size(n)
    if n.value is not None:
        return size(min(n.value, limit))
    name = f"min({n}, {limit})"
    _LIMITED[name] = (n, limit)
    return symbol(name)


def _remainder(top: Size, divisor: int) -> Size:
    """A quotient of which no whole part can be taken out; every coefficient is at least 0 and below the divisor."""
    if all(not m for m, _ in top.terms):
        return size(0)
    shared = gcd(divisor, *(c for m, c in top.terms if m))
    if shared > 1:                                               # (2*N + 1)//4 = (N + 1//2)//2
        return floor_div(Size({m: c // shared for m, c in top.terms}), divisor // shared)
    for m, c in top.terms:
        if c == 1 and len(m) == 1 and m[0] in _FORMULAS:         # (a//b + k)//c = (a + b*k)//(b*c)
            inner, below = _FORMULAS[m[0]]
            return floor_div(inner + (top - symbol(m[0])) * below, divisor * below)
    name = f"({top})//{divisor}"
    _FORMULAS[name] = (top, divisor)
    return symbol(name)


def product(sizes: tuple[Size, ...]) -> Size:
    """The product of sizes; 1 for none."""
    total = size(1)
    for s in sizes:
        total = total * s
    return total
