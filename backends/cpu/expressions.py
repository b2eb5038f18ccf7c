"""A scalar body as one NumPy expression: for single numbers, for statements inside time loops, and for -O0."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction

from ...compiler.graph import Number, length
from ...compiler.program import (
    BOOL,
    Array,
    Call,
    Hot,
    Kernel,
    Literal,
    Load,
    Scalar,
    SizeOf,
    Step,
    Stmt,
    View,
    leaves,
)
from ...compiler.sizes import SizeLike
from .views import text

# precedence of what is printed: 0 comparison (and &, |, in parentheses in each other), 1 sum, 2 product, 3 unary, 4 power, 9 atom
BINARY = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2), "pow": ("**", 4),
          "lt": ("<", 0), "le": ("<=", 0), "gt": (">", 0), "ge": (">=", 0), "eq": ("==", 0), "ne": ("!=", 0),
          "and": ("&", 0), "or": ("|", 0)}
UFUNC = {"exp": "np.exp", "log": "np.log", "log1p": "np.log1p", "expm1": "np.expm1", "tanh": "np.tanh", "sqrt": "np.sqrt",
         "abs": "np.abs", "sign": "np.sign", "floor": "np.floor", "round": "np.rint", "sin": "np.sin", "cos": "np.cos",
         "arctan": "np.arctan", "maximum": "np.maximum", "minimum": "np.minimum", "not": "np.logical_not"}
HELPERS = {"sigmoid", "softplus", "log1mexp", "logaddexp", "exprel", "expmoment", "safe_div", "erf"}


def number(value: Number | bool) -> str:
    """A constant as Python text; a float prints the shortest text that reads back as itself."""
    if isinstance(value, Fraction):
        return f"{value.numerator} / {value.denominator}"
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"nan": "np.nan", "inf": "np.inf", "-inf": "-np.inf"}[str(value)]
    return repr(value)


class Numbers:
    """Python's numbers in a function: Python divides by no 0, and makes a complex root; NumPy's 1 / 0 is inf.

    `lengths`: the least that lengths may be, as `Size.positive` takes them; without them no size is 0.
    """

    def __init__(self, lengths: Mapping[str, SizeLike] | None = None, body: Iterable[Stmt] = ()) -> None:
        self.lengths, self.named = lengths, set[Array]()
        for s in body:
            if isinstance(s, Kernel) and not s.out.dims and not s.out.array.dims and not self.numpys(s.body):
                self.named.add(s.out.array)

    def numpys(self, s: Scalar) -> bool:
        """Whether Python computes with this as with a number of NumPy's."""
        if isinstance(s, Call) and (s.f in BINARY or s.f in ("neg", "square")):
            return any(map(self.numpys, s.args))
        return isinstance(s, (Load, Hot, Call)) and not (isinstance(s, Load) and s.view.array in self.named)

    def fits(self, s: Scalar) -> bool:
        """Whether Python can divide by it, and raise it to a power."""
        match s:
            case SizeOf(size):
                return self.lengths is None or size.positive(self.lengths)
            case Literal(value):
                return value > 0
            case Call("add" | "mul" | "div" | "pow" | "square", args) if not self.numpys(s):
                return all(map(self.fits, args))
        return self.numpys(s)


class Expressions:
    """Prints scalar bodies; `load` prints a view, `uses` collects the helpers that a module must carry."""

    def __init__(self, uses: set[str], sizes: dict[str, str] | None = None,
                 load: Callable[[View], tuple[str, int]] | None = None, numbers: Numbers | None = None) -> None:
        self.uses, self.sizes, self.numbers = uses, sizes, numbers or Numbers()
        self.load = load or (lambda v: (text(v, sizes), 9))

    rank = 1                                                     # how many dims the kernel has that is printed

    def text(self, s: Scalar) -> str:
        return self._with(s)[0]

    def at(self, s: Scalar, level: int) -> str:
        """The text, in parentheses where it binds less than `level`."""
        out, own = self._with(s)
        return out if own >= level else f"({out})"

    def _with(self, s: Scalar) -> tuple[str, int]:
        match s:
            case Literal(value):
                out = number(value)
                return out, 2 if "/" in out else 3 if out.startswith("-") else 9
            case SizeOf(size):
                out = size.format(self.sizes)
                return out, 1 if " " in out else 2 if "*" in out else 9
            case Load(v):
                return self.load(v)
            case Hot(v):
                self.uses.add("onehot")
                index = View(v.array, v.along, v.dims[:-1])
                return f"onehot({text(index, self.sizes)}, {v.dims[-1].format(self.sizes)}, dtype)", 9
            case Step(dim, axis):
                return (axis, 9) if dim is None else (column(f"np.arange({length(axis)})", dim, self.rank), 9)
            case Call(f, args):
                return self._call(f, args)
        raise TypeError(s)

    def _call(self, f: str, args: tuple[Scalar, ...]) -> tuple[str, int]:
        if f in BINARY:
            sign, level = BINARY[f]
            if f == "pow":
                fits = self.numbers.numpys(args[1]) or self.numbers.fits(args[0])
                return f"{self._float(args[0], 5, fits)}**{self.at(args[1], 4)}", 4
            left, right = level + (level == 0), level + (f not in ("add", "mul"))
            if f == "div":
                args = tuple(_mask(a, args[1 - k]) for k, a in enumerate(args))
                fits = self.numbers.numpys(args[0]) or isinstance(args[1], Literal) or self.numbers.fits(args[1])
                return f"{self.at(args[0], left)} {sign} {self._float(args[1], right, fits)}", level
            if f == "mul":
                args = tuple(_mask(a, args[1 - k]) for k, a in enumerate(args))
                if isinstance(b := args[1], Call) and b.f == "div" and self.numbers.numpys(args[0]) > self.numbers.numpys(b):
                    return f"{self.at(args[0], left)} * {self.at(b.args[0], left)} / {self._float(b.args[1], 3)}", level
                return f"{self.at(args[0], left)} * {self._factor(args[1])}", level
            return f"{self.at(args[0], left)} {sign} {self.at(args[1], right)}", level
        if f == "neg":
            return f"-{self.at(args[0], 3)}", 3
        if f == "square":
            return f"{self.at(args[0], 5)}**2", 4
        if f == "select":
            return f"np.where({', '.join(map(self.text, args))})", 9
        if f == "real":
            return f"np.asarray({self.text(args[0])}, dtype)", 9
        if f == "relu":
            return f"np.maximum({self.text(args[0])}, 0)", 9
        if f in HELPERS:
            self.uses.add(f)
            return f"{f}({', '.join(map(self._float, args))})", 9
        return f"{UFUNC[f]}({', '.join(map(self._float, args))})", 9

    def _factor(self, s: Scalar) -> str:
        """A right factor: `@` binds as `*` does, from the left, so that a matrix product stands in parentheses here."""
        out = self.at(s, 2)
        bare = out
        while (inner := re.sub(r"[(\[][^()\[\]]*[)\]]", "", bare)) != bare:
            bare = inner
        return f"({out})" if " @ " in bare else out

    def _float(self, s: Scalar, level: int = 0, fits: bool = True) -> str:
        """A number made of a loop's index, a Python int, in the parameters' type: 1 / 0 is inf, and keeps the type."""
        found = [*leaves(s)]
        index = any(isinstance(x, Step) and x.dim is None for x in found)
        if not fits or (index and not any(isinstance(x, (Load, Hot)) for x in found)):
            return f"dtype.type({self.text(s)})"
        return self.at(s, level)


def truth(s: Scalar, hot: bool = True) -> bool:
    """Whether a scalar is printed as truth values: a mask, also where it stands for a number, or a one-hot vector (if `hot`)."""
    match s:
        case Call(f, args, kind):
            return kind == BOOL or (f == "real" and truth(args[0], hot))
        case Load(v):
            return v.array.kind == BOOL
    return hot and isinstance(s, Hot)


def _mask(s: Scalar, other: Scalar) -> Scalar:
    """A mask beside a number as it stands: NumPy computes with it as 0 and 1."""
    beside = isinstance(s, Call) and s.f == "real" and truth(s, False) and not truth(other, False)
    return s.args[0] if beside and isinstance(s, Call) and not isinstance(other, (Literal, SizeOf, Step)) else s


def column(base: str, dim: int, rank: int) -> str:
    """A vector along one dim of several."""
    after = rank - dim - 1
    return base if not after else f"{base}[:{', None' * after}]"
