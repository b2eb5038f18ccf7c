"""Kernels as C11: every scalar body is an expression, every kernel a function with one loop a dim.

`real` is the element type (float or double), chosen by a typedef above the functions; arrays are row-major blocks of memory.
"""

from __future__ import annotations

from fractions import Fraction

from ...compiler.program import (
    BOOL,
    INT,
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

PRELUDE = """#include <math.h>
#include <stdbool.h>
#include <stdint.h>

static inline real relu_(real x) { return x <= 0 ? 0 : x; }
static inline real sign_(real x) { return x != x ? x : (real)((x > 0) - (x < 0)); }
static inline real square_(real x) { return x * x; }
static inline real maximum_(real x, real y) { return x >= y || x != x ? x : y; }
static inline real minimum_(real x, real y) { return x <= y || x != x ? x : y; }
static inline real safe_div_(real x, real y) { return y == 0 ? 0 : x / y; }
static inline real sigmoid_(real x) { real e = (real)exp(-fabs((double)x)); return x >= 0 ? 1 / (1 + e) : e / (1 + e); }
static inline real softplus_(real x) { return (real)(fmax((double)x, 0) + log1p(exp(-fabs((double)x)))); }
static inline real logaddexp_(real x, real y) {
    double gap = x == y ? 0 : fabs((double)x - (double)y);       /* equal infinities have no difference */
    return (real)(maximum_(x, y) + log1p(exp(-gap)));
}
static inline real log1mexp_(real x) { return (real)(x > -0.6931471805599453 ? log(-expm1((double)x)) : log1p(-exp((double)x))); }
static inline real expmoment_(int n, real x) {
    double size = fabs((double)x), series = 0, term = 1;
    if (size < n + 1) {
        for (int k = 0; k < 20 + 6 * n; k++) { series += term / (n + k + 1); term *= (double)x / (k + 1); }
        return (real)series;
    }
    double decay = exp(-size), top = x > 0 ? 1 : decay, value = (1 - decay) / size, half = x > 0 ? exp((double)x / 2) : 1;
    for (int k = 1; k <= n; k++) value = (top - k * value) / (double)x;
    return (real)(half * value * half);
}
"""
BINARY = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
          "and": "&&", "or": "||"}
LIBRARY = {"exp": "exp", "log": "log", "log1p": "log1p", "expm1": "expm1", "tanh": "tanh", "sqrt": "sqrt", "abs": "fabs",
           "floor": "floor", "round": "rint", "sin": "sin", "cos": "cos", "arctan": "atan", "erf": "erf", "pow": "pow"}
HELPERS = {"relu": "relu_", "sign": "sign_", "safe_div": "safe_div_", "sigmoid": "sigmoid_", "softplus": "softplus_",
           "logaddexp": "logaddexp_", "log1mexp": "log1mexp_", "square": "square_", "maximum": "maximum_",
           "minimum": "minimum_"}
CTYPES = {BOOL: "bool", INT: "int64_t"}


def scalar(s: Scalar, load: dict[View, str] | None = None) -> str:
    """A scalar body as a C expression; `load` says how a view's element is written."""
    match s:
        case Literal(value):
            return _number(value)
        case SizeOf(size):
            return f"((real)({length(size)}))"
        case Load(v):
            return (load or {})[v]
        case Hot(v):
            return f"({(load or {})[v]} == i{len(v.dims) - 1})"
        case Step(dim, axis):
            return f"((real){axis if dim is None else f'i{dim}'})"
        case Call(f, args):
            return call(f, [scalar(a, load) for a in args])
    raise TypeError(s)


def call(f: str, args: list[str]) -> str:
    """One primitive applied to C expressions."""
    if f in BINARY:
        return f"({args[0]} {BINARY[f]} {args[1]})"
    if f in LIBRARY:
        return f"((real){LIBRARY[f]}({', '.join(f'(double)({a})' for a in args)}))"
    if f in HELPERS:
        return f"{HELPERS[f]}({', '.join(args)})"
    match f:
        case "neg":
            return f"(-{args[0]})"
        case "not":
            return f"(!{args[0]})"
        case "real":
            return f"((real){args[0]})"
        case "select":
            return f"({args[0]} ? {args[1]} : {args[2]})"
        case "exprel":
            return f"expmoment_(0, {args[0]})"
        case "expmoment":
            return f"expmoment_((int){args[0]}, {args[1]})"
    raise KeyError(f"{f} has no form in C")


def _number(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Fraction):
        return f"((real){value.numerator} / {value.denominator})"
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return "((real)NAN)" if value != value else f"((real){'-' if value < 0 else ''}INFINITY)"
    return f"((real){value!r})"


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
    return size.format().replace("//", "/")


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
