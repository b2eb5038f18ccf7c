"""Kernels as C11: every scalar body is an expression, every kernel a function with one loop a dim.

`real` is the element type (float or double), chosen by a typedef above the functions; arrays are row-major blocks of memory.
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
    Along,
    Array,
    Call,
    Fixed,
    Hot,
    Kernel,
    Literal,
    Load,
    Scalar,
    SizeOf,
    Step,
    View,
    leaves,
)
from ...compiler.sizes import Size
from .prelude import PRELUDE
from .words import size_name

BINARY = {"or": ("||", 1), "and": ("&&", 2), "eq": ("==", 3), "ne": ("!=", 3), "lt": ("<", 4), "le": ("<=", 4), "gt": (">", 4),
          "ge": (">=", 4), "add": ("+", 5), "sub": ("-", 5), "mul": ("*", 6), "div": ("/", 6)}
SELECT, ADDED, UNARY, PRIMARY = 0, 5, 7, 8                       # how tightly a form binds
CALLED = frozenset("""exp log log1p expm1 tanh sqrt abs floor round sin cos arctan erf pow relu sign safe_div sigmoid softplus
logaddexp log1mexp square maximum minimum""".split())
CTYPES = {BOOL: "bool", INT: "int64_t"}


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


def kernel(k: Kernel, name: str) -> str:
    """A kernel as a function of its output, its arrays in the order of their first use, and the lengths that it needs."""
    arrays, lengths = operands(k)
    names = {a: f"a{i}" for i, a in enumerate(arrays)}
    apart = all(a.home is not k.out.array.home for a in arrays)              # else the output stands in an operand's place
    args = [f"{CTYPES.get(k.out.array.kind, 'real')} *{'restrict ' if apart else ''}out",
            *(f"const {CTYPES.get(a.kind, 'real')} *a{i}" for i, a in enumerate(arrays)),
            *(f"int64_t {s}" for s in lengths)]
    loads = {x.view: f"{names[x.view.array]}[{offset(x.view)}]" for x in leaves(k.body) if isinstance(x, (Load, Hot))}
    lines = [f"void {name}({', '.join(args)})", "{"]
    for d, n in enumerate(k.dims):
        lines.append("    " * (d + 1) + f"for (int64_t i{d} = 0; i{d} < {length(n)}; i{d}++)")
    lines.append("    " * (len(k.dims) + 1) + f"out[{offset(k.out)}] = {scalar(k.body, loads)};")
    return "\n".join([*lines, "}"]) + "\n"


def operands(k: Kernel) -> tuple[list[Array], list[str]]:
    """The arrays that a kernel reads, and the symbols of its sizes, loop variables of time included."""
    views = [x.view for x in leaves(k.body) if isinstance(x, (Load, Hot))]
    arrays = list(dict.fromkeys(v.array for v in views))
    entries = [(i, x, n) for v in (*views, k.out) for i, (x, n) in enumerate(zip(v.along, v.array.dims, strict=True))]
    sizes = [*k.dims, *(n for i, x, n in entries if i or (isinstance(x, Fixed) and x.end)),
             *(x.offset for _, x, _ in entries if isinstance(x, Along)),
             *(x.size for x in leaves(k.body) if isinstance(x, SizeOf))]
    steps = {x.axis for _, x, _ in entries if isinstance(x, Fixed) and x.axis}
    steps |= {x.axis for x in leaves(k.body) if isinstance(x, Step) and x.dim is None}
    return arrays, sorted({s for size in sizes for s in size.symbols} | steps)


def length(size: Size) -> str:
    """A size as a C expression; lengths are positive, so `/` rounds down."""
    return size.format({s: size_name(s) for s in size.symbols}).replace("//", "/")


def offset(v: View) -> str:
    """The element's place in its array, row by row."""
    text = ""
    for x, n in zip(v.along, v.array.dims, strict=True):
        place = _place(x, n)
        text = f"({text}) * ({length(n)}) + {place}" if text else place
    return text or "0"


def _place(x: Along | Fixed, n: Size) -> str:
    if isinstance(x, Along):
        return f"i{x.dim}" if x.offset == 0 else f"(i{x.dim} + {length(x.offset)})"
    base = x.axis or (f"({length(n)})" if x.end else "")
    return f"({base or 0} + {x.offset})"


__all__ = ["CTYPES", "PRELUDE", "Text", "call", "expression", "kernel", "length", "number", "operands", "scalar"]
