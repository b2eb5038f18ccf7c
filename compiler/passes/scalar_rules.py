"""Elementwise algebra that is exact, or as exact as what it replaces: the table that `simplify` applies.

Never here: `0*x -> 0` and `x - x -> 0`, which hide a NaN; `x/x -> 1`; anything that could overflow where the original did not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import numpy as np

from ..algebra import Bindings, Rule, any_of, number, numbers, rule, structure, term
from ..graph import REAL, Broadcast, Const, Expr, Extent, Map, Number, order_axes, size
from ..ops import PRIMITIVES

x, y, z, p, q = any_of("x y z p q")
c, d = numbers("c d")


def moderate(value: Number | None) -> bool:
    """A factor that cannot by itself drive a product out of a float32's range."""
    return value is not None and (value == 0 or 1e-12 < abs(float(value)) < 1e12)


def _moderate_product(b: Bindings) -> bool:
    return moderate(number(b["c"])) and moderate(number(b["d"]))


def _negative(b: Bindings) -> bool:
    return (number(b["c"]) or 0) < 0


ARITHMETIC = (
    rule(x + 0, x),                                              # x + 0 -> x
    rule(x - 0, x),                                              # x - 0 -> x
    rule(0 - x, -x),                                             # 0 - x -> -x
    rule(x * 1, x),                                              # x*1 -> x
    rule(x / 1, x),                                              # x/1 -> x
    rule(x * -1, -x),                                            # x*-1 -> -x
    rule(x / -1, -x),                                            # x/-1 -> -x
    rule(term("neg", -x), x),                                     # -(-x) -> x
    rule(-(x - y), y - x),                                       # -(x - y) -> y - x
    rule((-x) * (-y), x * y),                                    # -x*-y -> x*y
    rule((-x) * y, -(x * y)),                                    # -x*y -> -(x*y)
    rule((-x) / y, -(x / y)),                                    # -x/y -> -(x/y)
    rule(x / (-y), -(x / y)),                                    # x/-y -> -(x/y)
    rule((-x) - y, -(x + y)),                                    # -x - y -> -(x + y)
    rule((-x) + (-y), -(x + y)),                                 # -x + -y -> -(x + y)
    rule(x + (-y), x - y),                                       # x + -y -> x - y
    rule(x - (-y), x + y),                                       # x - -y -> x + y
    rule(x + c, x - (-c), when=_negative),                       # x + c -> x - -c for c < 0
    rule(x - c, x + (-c), when=_negative),                       # x - c -> x + -c for c < 0
    rule(-(c * x), (-c) * x),                                    # -(c*x) -> -c*x
    rule(c * (d * x), (c * d) * x, when=_moderate_product),      # c*(d*x) -> c*d*x
    rule(c * (x / d), (c / d) * x, when=_moderate_product),      # c*(x/d) -> c/d*x
    rule((c * x) / d, (c / d) * x, when=_moderate_product),      # c*x/d -> c/d*x
    rule((x / c) / d, x / (c * d), when=_moderate_product),      # x/c/d -> x/(c*d)
    rule(x + x, 2 * x),                                          # x + x -> 2*x
    rule(x * x, x ** 2),                                         # x*x -> x**2
    rule((-x) ** 2, x ** 2),                                     # -x**2 -> x**2
    rule(term("abs", -x), term("abs", x)),                       # abs(-x) -> abs(x)
    rule(term("tanh", -x), -term("tanh", x)),                    # tanh(-x) -> -tanh(x)
    rule(term("abs", term("abs", x)), term("abs", x)),           # abs(abs(x)) -> abs(x)
    rule(term("abs", x) ** 2, x ** 2),                           # abs(x)**2 -> x**2
    rule(term("pow", x, 1), x),                                  # x**1 -> x
    rule(term("pow", x, 0), 1),                                  # x**0 -> 1
    rule(term("pow", x, 2), x ** 2),                             # x**2 -> x**2
    rule(term("pow", x, 3), x * x ** 2),                         # x**3 -> x*x**2
    rule(term("pow", x, 4), (x ** 2) ** 2),                      # x**4 -> (x**2)**2
    rule(term("pow", x, -1), 1 / x),                             # x**-1 -> 1/x
    rule(term("pow", x, -2), 1 / x ** 2),                        # x**-2 -> 1/x**2
    rule(term("pow", x, 0.5), term("sqrt", x)),                  # x**0.5 -> sqrt(x)
    rule(x * (1 / y), x / y),                                    # x*(1/y) -> x/y
)

sigmoid = partial(term, "sigmoid")
DERIVED = (                                                      # what derivatives of stable forms come to
    rule((1 - z) * sigmoid(x) - z * sigmoid(-x), sigmoid(x) - z),    # (1 - z)*sigmoid(x) - z*sigmoid(-x) -> sigmoid(x) - z
    rule(z * sigmoid(-x) - (1 - z) * sigmoid(x), z - sigmoid(x)),    # z*sigmoid(-x) - (1 - z)*sigmoid(x) -> z - sigmoid(x)
)

CHOICE = (
    rule(term("select", p, x, x), x),                                                                # select(p, x, x) -> x
    rule(term("select", term("not", p), x, y), term("select", p, y, x)),                             # not p: swapped
    rule(term("select", p, term("select", p, x, y), z), term("select", p, x, z)),                    # the same choice twice
    rule(term("select", p, x, term("select", p, y, z)), term("select", p, x, z)),                    # the same choice twice
    rule(term("select", p, x, 0) + term("select", p, y, 0), term("select", p, x + y, 0)),            # one choice of a sum
    rule(term("select", p, 0, x) + term("select", p, 0, y), term("select", p, 0, x + y)),            # one choice of a sum
    rule(term("select", p, x, 0) + term("select", p, 0, y), term("select", p, x, y)),                # complementary masks
    rule(term("not", term("not", p)), p),                                                            # not not p -> p
    rule(term("and", p, p), p),                                                                      # p and p -> p
    rule(term("or", p, p), p),                                                                       # p or p -> p
)


@structure("a number in its shortest form", "Const")
def shortest(e: Expr) -> Expr | None:
    """2.0 -> 2, Fraction(1, 2) -> 0.5: equal numbers are one node."""
    assert isinstance(e, Const)
    v = e.value
    if isinstance(v, Fraction) and Fraction(float(v)) == v:
        return Const(float(v))
    if isinstance(v, float) and v.is_integer() and abs(v) < 2**53 and (v or math.copysign(1, v) > 0):
        return Const(int(v))
    return None


EXACT: dict[str, Callable[..., Number]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "neg": lambda a: -a,
    "div": lambda a, b: Fraction(a, b) if isinstance(a, int | Fraction) and isinstance(b, int | Fraction) else a / b,
    "square": lambda a: a * a, "abs": abs, "maximum": max, "minimum": min,
}


def _folded(e: Expr, f: Callable[..., Number]) -> Expr | None:
    values = [number(a) for a in e.args]
    if e.type != REAL or any(v is None for v in values):
        return None
    try:
        with np.errstate(all="ignore"):
            result = f(*values)
    except (ArithmeticError, ValueError):
        return None
    return Broadcast(Const(result), e.axes, e.shape, ()) if math.isfinite(result) else None


@structure("rational operations on numbers -> a number", *EXACT)
def fold_exact(e: Expr) -> Expr | None:
    """Sums, products and quotients of numbers, exactly where they are rational; what overflows is left to run time."""
    assert isinstance(e, Map)
    return _folded(e, EXACT[e.f])


@structure("f(numbers) -> a number", "Map")
def fold(e: Expr) -> Expr | None:
    """Any function of numbers, in float64: after `stabilise` only, which must see 1 - exp(-1e-9) as it was written."""
    assert isinstance(e, Map)
    if e.f in EXACT:
        return None
    return _folded(e, lambda *values: float(PRIMITIVES[e.f].reference(*(np.float64(v) for v in values))))


@structure("sizes combine", "add", "sub", "mul", "div")
def fold_sizes(e: Expr) -> Expr | None:
    """B*T, 2*H, H + V, (B*T)/T as one size."""
    assert isinstance(e, Map)
    a, b = (s.size if isinstance(s, Extent) else size(s.value) if isinstance(s, Const) and isinstance(s.value, int) else None
            for s in e.args)
    if a is None or b is None:
        return None
    match e.f:
        case "add":
            return Extent(a + b)
        case "sub":
            return Extent(a - b)
        case "mul":
            return Extent(a * b)
    return Const(1) if a == b else None


@structure("f(broadcasts) -> broadcast(f)", "Map")
def compute_small(e: Expr) -> Expr | None:
    """f(bc(a), bc(b)) -> bc(f(a, b)) on the smallest dims that hold all operands."""
    if e.rank == 0 or not all(isinstance(a, Broadcast) for a in e.args):
        return None
    wide = [a for a in e.args if isinstance(a, Broadcast)]
    axes = order_axes({x for a in wide for x in a.args[0].axes})
    places = sorted({k for a in wide for k in a.places})
    if axes == e.axes and len(places) == len(e.shape):
        return None
    shape = tuple(e.shape[k] for k in places)
    small = tuple(Broadcast(a.args[0], axes, shape, tuple(places.index(k) for k in a.places)) for a in wide)
    return Broadcast(e.with_args(small), e.axes, e.shape, tuple(places))


SCALAR_RULES: tuple[Rule, ...] = (shortest, compute_small, fold_exact, fold_sizes, *ARITHMETIC, *DERIVED, *CHOICE)
