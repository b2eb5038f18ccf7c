"""Scalar bodies as expressions in C11.

`real` is the element type (float or double), chosen by a typedef above the functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, isnan

from ...compiler.graph import Number
from ...compiler.program import (
    BOOL,
    INT,
    REAL,
    Call,
    Hot,
    Literal,
    Load,
    Scalar,
    SizeOf,
    Step,
    View,
)
from ...compiler.sizes import Size
from .prelude import PRELUDE
from .words import size_name

BINARY = {"or": ("||", 1), "and": ("&&", 2), "eq": ("==", 3), "ne": ("!=", 3), "lt": ("<", 4), "le": ("<=", 4), "gt": (">", 4),
          "ge": (">=", 4), "add": ("+", 5), "sub": ("-", 5), "mul": ("*", 6), "div": ("/", 6)}
SELECT, ADDED, UNARY, PRIMARY = 0, 5, 7, 8                       # how tightly a form binds
CALLED = frozenset("""exp log log1p expm1 tanh sqrt abs floor round sin cos arctan erf pow relu sign safe_div sigmoid softplus
logaddexp log1mexp square maximum minimum""".split())


@dataclass(frozen=True)
class Text:
    """An expression in C: how tightly it binds, and whether its type is `real` (or wider) rather than an integer's."""

    text: str
    level: int = PRIMARY
    real: bool = True

    def within(self, level: int) -> str:
        """As an operand of what binds at `level`."""
        return self.text if self.level >= level else f"({self.text})"


def scalar(s: Scalar, load: dict[View, str] | None = None, at: Sequence[str] | None = None) -> str:
    """A scalar body as a C expression; `load` says how a view's element is written, `at` what the indices are called."""
    return expression(s, load or {}, at).text


def expression(s: Scalar, load: dict[View, str], at: Sequence[str] | None = None) -> Text:
    """A scalar body with its precedence and type. An integer is written as one: beside a `real` it becomes real in C, too."""
    match s:
        case Literal(value):
            return number(value)
        case SizeOf(size):
            return Text(f"(real){_bracketed(length(size))}", UNARY)
        case Load(v):
            return Text(load[v], real=v.array.kind not in (BOOL, INT))
        case Hot(v):
            last = len(v.dims) - 1
            return Text(f"{load[v]} == {at[last] if at else f'i{last}'}", BINARY["eq"][1], False)
        case Step(dim, axis):
            return Text(f"(real){axis if dim is None else at[dim] if at else f'i{dim}'}", UNARY)
        case Call("div", (a, SizeOf(size))) if at:               # in a loop: divided once, before it
            left = expression(a, load, at)
            return Text(f"{left.within(BINARY['mul'][1])} * (1 / (real){_bracketed(length(size))})", BINARY["mul"][1])
        case Call(f, args):
            return call(f, [expression(a, load, at) for a in args], s.kind)
    raise TypeError(s)


def call(f: str, args: list[Text], kind: str = REAL) -> Text:
    """One primitive applied to C expressions."""
    if f in BINARY:
        return _binary(f, args, kind)
    if f in CALLED:
        return Text(f"{f}_({', '.join(a.text for a in args)})")
    match f:
        case "neg":
            return Text(f"-{args[0].within(PRIMARY)}", UNARY, args[0].real)
        case "not":
            return Text(f"!{args[0].within(UNARY)}", UNARY, False)
        case "real":
            return args[0] if args[0].real else Text(f"(real){args[0].within(PRIMARY)}", UNARY)
        case "select":
            return Text(f"{args[0].within(1)} ? {args[1].within(1)} : {args[2].within(1)}", SELECT, args[1].real or args[2].real)
        case "exprel":
            return Text(f"expmoment_(0, {args[0].text})")
        case "expmoment":
            return Text(f"expmoment_((int){args[0].within(PRIMARY)}, {args[1].text})")
    raise KeyError(f"{f} has no form in C")


def _binary(f: str, args: list[Text], kind: str) -> Text:
    """Operators group from the left; what compilers like to see bracketed is: comparisons and conditions in each other."""
    sign, level = BINARY[f]
    left, right = args
    if level < ADDED:
        return Text(f"{left.within(ADDED)} {sign} {right.within(ADDED)}", level, False)
    if kind == REAL and not (left.real or right.real):
        left = Text(f"(real){left.within(PRIMARY)}", UNARY)
    return Text(f"{left.within(level)} {sign} {right.within(level + 1)}", level, kind == REAL)


def _bracketed(text: str) -> str:
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def number(value: Number | bool) -> Text:
    """A constant: integers as such, other numbers in the type of the elements."""
    if isinstance(value, bool):
        return Text("true" if value else "false", real=False)
    if isinstance(value, Fraction) and value.denominator != 1:
        return Text(f"(real){value.numerator} / {value.denominator}", BINARY["div"][1])
    if isinstance(value, float) and not isfinite(value):
        return Text("NAN") if isnan(value) else Text("-INFINITY", UNARY) if value < 0 else Text("INFINITY")
    if value == int(value) and -(2**31) < value < 2**31:
        return Text(str(int(value)), UNARY if value < 0 else PRIMARY, False)
    return Text(f"(real){float(value)!r}", UNARY)


def length(size: Size) -> str:
    """A size as a C expression; lengths are positive, so `/` rounds down."""
    return size.format({s: size_name(s) for s in size.symbols}).replace("//", "/")


__all__ = ["PRELUDE", "Text", "call", "expression", "length", "number", "scalar"]
