"""Symbolic sizes: integer polynomials over named lengths, compared exactly.

A size is a sum of integer multiples of products of symbols: `H`, `4*H`, `H + V`, `C*H*W`. Two sizes are equal exactly
when they are the same polynomial, which a dictionary comparison decides. A rounded-down quotient is a fresh symbol that
remembers its formula (`floor_div`), so that comparison stays exact there, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Union

SizeLike = Union["Size", int]
Monomial = tuple[str, ...]
_FORMULAS: dict[str, tuple[Size, int]] = {}          # name of a rounded-down quotient -> (numerator, divisor)


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
        """The polynomial as Python text: `4*H + V - 1`; `names` renames symbols."""
        if not self.terms:
            return "0"
        ordered = sorted(self.terms, key=lambda term: (not term[0], term[1] < 0, term[0]))
        text = ""
        for m, c in ordered:
            factors = [_symbol_text(s, names) for s in m]
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
    raise KeyError(name)


def _substitute_formula(name: str, env: Mapping[str, SizeLike]) -> Size:
    if name not in _FORMULAS:
        return symbol(name)
    top, divisor = _FORMULAS[name]
    return floor_div(top.substitute(env), divisor)


def _symbol_text(name: str, names: Mapping[str, str] | None) -> str:
    if names and name in names:
        return names[name]
    if name in _FORMULAS:
        top, divisor = _FORMULAS[name]
        return f"(({top.format(names)})//{divisor})"
    return name


def quotient(name: str) -> tuple[Size, int] | None:
    """(numerator, divisor) where a symbol is a rounded-down quotient."""
    return _FORMULAS.get(name)


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
    """`top // divisor`: exact where every coefficient divides, otherwise a fresh symbol that knows its formula."""
    top = size(top)
    if top.value is not None:
        return size(top.value // divisor)
    if all(c % divisor == 0 for _, c in top.terms):
        return Size({m: c // divisor for m, c in top.terms})
    name = f"({top})//{divisor}"
    _FORMULAS[name] = (top, divisor)
    return symbol(name)


def product(sizes: tuple[Size, ...]) -> Size:
    """The product of sizes; 1 for none."""
    total = size(1)
    for s in sizes:
        total = total * s
    return total
