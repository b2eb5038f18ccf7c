"""Naive formulas as people write them, at points where they overflow, underflow or cancel.

x and y are sequences of vectors [t](N), k a class for each step. The points serve float32 and float64 at once: what is beyond one
is inside the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from chainrule.compiler.graph import (
    Broadcast,
    Expr,
    Input,
    Map,
    OneHot,
    Reduce,
    apply,
    class_of,
    matmul,
    mean,
    symbol,
)

N = symbol("N")
X, Y, Z = (Input(name, ("t",), (N,)) for name in "xyz")
K = Input("k", ("t",), (), class_of(N))

WIDE = ((-750.0, -104.0, -88.5, -20.0), (-1.0, -1e-3, 0.0, 1e-6), (0.7, 16.5, 89.0, 710.0))
BELOW = ((-700.0, -104.0, -88.5, -20.0), (-1.0, -1e-3, -1e-6, -0.69), (-3.0, -16.5, -1e-7, -0.7))
ABOVE = tuple(tuple(-v for v in row) for row in BELOW)
SMALL = ((1e-30, -1e-20, 1e-9, -1e-7), (1e-5, -1e-3, 0.25, -0.5), (0.9, 1e-12, -0.125, 0.75))
SCORES = ((100.0, 0.0, -80.0, -120.0), (3.0, 2.0, 1.0, 0.5), (-90.0, -90.5, -91.0, -100.0))
OTHERS = ((-90.0, 100.0, 2.0, -1.0), (0.5, 1.5, 2.5, 3.5), (-60.0, 30.0, 0.0, 100.0))
THOUSANDS = ((1000.0, 999.0, 998.5, 990.0), (-5000.0, -5001.0, -5000.25, -5020.0), (4096.0, 4095.5, -4096.0, 0.0))
TARGETS = ((0.0, 1.0, 0.5, 0.25), (1.0, 0.0, 0.75, 0.5), (0.0, 1.0, 0.5, 0.125))
MASKED = ((0.0, 0.5, -0.5, 3.0), (0.25, 0.0, 1.5, -2.0), (100.0, -50.0, 0.0, 0.75))
ZEROS = ((0.0, 0.0, 0.0, 0.0), (3.0, 4.0, 0.0, 0.0), (1e-3, 1e-4, 0.0, -1e-3))
CONSTANT = ((7.0,) * 4, (-3.0,) * 4, (0.0,) * 4)
LARGE = ((10001.0, 10002.0, 10003.0, 10006.0), (-4096.5, -4096.25, -4095.0, -4097.0), (300.0, 301.0, 302.0, 303.5))
SIGNED = ((-2.0, -0.5, 0.25, 3.0), (1e-3, -1e-3, 4.0, -4.0), (0.5, -89.0, 2.0, -700.0))
HOT = (1, 0, 3)


def exp(a: Expr) -> Expr:
    return apply("exp", a)


def log(a: Expr) -> Expr:
    return apply("log", a)


def sqrt(a: Expr) -> Expr:
    return apply("sqrt", a)


def last(a: Expr) -> Expr:
    """The sum over the last feature."""
    return Reduce("sum", a, (len(a.shape) - 1,))


def top(a: Expr) -> Expr:
    return Reduce("max", a, (len(a.shape) - 1,))


def along(a: Expr, like: Expr) -> Expr:
    """A reduction over the last feature, repeated along it."""
    return Broadcast(a, like.axes, like.shape, tuple(range(len(like.shape) - 1)))


def softmax(s: Expr) -> Expr:
    return exp(s) / along(last(exp(s)), s)


def sigmoid(a: Expr) -> Expr:
    return 1 / (1 + exp(-a))


def centred(s: Expr) -> Expr:
    return s - along(top(s), s)


def variance(a: Expr, over: tuple[str | int, ...]) -> Expr:
    return mean(a * a, over) - apply("square", mean(a, over))


def tanh(a: Expr) -> Expr:
    return (exp(a) - exp(-a)) / (exp(a) + exp(-a))


@dataclass(frozen=True)
class Case:
    """A naive formula. `build(x, y, z)`; `each` says that out[i] depends on x[i] only.

    `floor` and `slope_floor` are absolute tolerances in units of the type's eps, for value and derivative: nonzero only where
    the comment says why. `noise` is that of the reference's own differences at limits.
    """

    name: str
    build: Callable[[Expr, Expr, Expr], Expr]
    x: tuple[tuple[float, ...], ...] = WIDE
    y: tuple[tuple[float, ...], ...] = OTHERS
    z: tuple[tuple[float, ...], ...] = TARGETS
    each: bool = True
    floor: float = 0
    slope_floor: float = 0
    noise: float = 0

    def values(self) -> dict[str, np.ndarray]:
        return {"x": np.array(self.x), "y": np.array(self.y), "z": np.array(self.z), "k": np.array(HOT)}


@dataclass
class _Table:
    cases: list[Case] = field(default_factory=list)

    def __call__(self, name: str, build: Callable[[Expr, Expr, Expr], Expr], x: tuple[tuple[float, ...], ...] = WIDE,
                 **options: object) -> None:
        self.cases.append(Case(name, build, x, **options))  # type: ignore[arg-type]


add = _Table()

# ---- one variable; sigmoid' = y*(1 - y) and tanh' = 1 - y**2 are output forms: their absolute floor is a few eps
add("softplus", lambda x, y, z: log(1 + exp(x)))
add("softplus of -x", lambda x, y, z: log(exp(-x) + 1))
add("softplus minus x", lambda x, y, z: log(1 + exp(x)) - x)
add("log sigmoid", lambda x, y, z: log(sigmoid(x)))
add("log sigmoid, quotient", lambda x, y, z: log(exp(x) / (1 + exp(x))))
add("log of 1 - sigmoid", lambda x, y, z: log(1 - sigmoid(x)))
add("minus log of a sum", lambda x, y, z: -log(1 + exp(-x)))
add("sigmoid", lambda x, y, z: sigmoid(x), slope_floor=2)
add("sigmoid, quotient", lambda x, y, z: exp(x) / (exp(x) + 1), slope_floor=2)
add("1 - sigmoid", lambda x, y, z: 1 - sigmoid(x), slope_floor=2)
add("sigmoid to a power", lambda x, y, z: apply("pow", sigmoid(x), 0.5), slope_floor=2)
add("logit of a sigmoid", lambda x, y, z: log(sigmoid(x) / (1 - sigmoid(x))))
add("odds", lambda x, y, z: sigmoid(x) / (1 - sigmoid(x)))
add("tanh from exponentials", lambda x, y, z: tanh(x), slope_floor=2)
add("tanh from exp(-2x)", lambda x, y, z: (1 - exp(-2 * x)) / (1 + exp(-2 * x)), slope_floor=2)
add("tanh from exp(2x)", lambda x, y, z: (exp(2 * x) - 1) / (exp(2 * x) + 1), slope_floor=2)
add("tanh from a sigmoid", lambda x, y, z: 2 * sigmoid(2 * x) - 1, slope_floor=2)
add("sigmoid from tanh", lambda x, y, z: 0.5 * (1 + apply("tanh", x / 2)), slope_floor=2)
add("1 - tanh squared", lambda x, y, z: 1 - apply("square", apply("tanh", x)), slope_floor=2)
add("sech", lambda x, y, z: 2 / (exp(x) + exp(-x)), slope_floor=2)
add("log cosh", lambda x, y, z: log((exp(x) + exp(-x)) / 2), floor=2, slope_floor=2)   # log(2) is subtracted again near 0
add("swish", lambda x, y, z: x / (1 + exp(-x)), slope_floor=2)      # x * y*(1 - y)
add("swish, product", lambda x, y, z: x * sigmoid(x), slope_floor=2)
add("mish", lambda x, y, z: x * apply("tanh", log(1 + exp(x))), slope_floor=2)
add("exp(x) - 1", lambda x, y, z: exp(x) - 1, slope_floor=2)          # expm1' = y + 1
add("1 - exp(-x)", lambda x, y, z: 1 - exp(-x), slope_floor=2)
add("expm1 over x", lambda x, y, z: (exp(x) - 1) / x)
add("x over expm1", lambda x, y, z: x / (exp(x) - 1), BELOW)
add("(1 - exp(-x))/x", lambda x, y, z: (1 - exp(-x)) / x)
add("log(1 - exp(x))", lambda x, y, z: log(1 - exp(x)), BELOW)
add("inverse of softplus", lambda x, y, z: log(exp(x) - 1), ABOVE)
add("log(1 + x)", lambda x, y, z: log(1 + x), SMALL)
add("log(1 - x)", lambda x, y, z: log(1 - x), SMALL)
add("log of a square", lambda x, y, z: log(x * x), SMALL)
add("root of a square", lambda x, y, z: sqrt(x * x), SMALL)
add("root of a square at 0", lambda x, y, z: sqrt(x * x), WIDE, noise=1e-70)
add("exp times exp", lambda x, y, z: exp(x) * exp(-x + z))
add("exp over exp", lambda x, y, z: exp(x) / exp(x - z))

# ---- choices
add("select guards log", lambda x, y, z: apply("select", x > 0, log(apply("maximum", x, 0)), 0), SIGNED)
add("select guards sqrt", lambda x, y, z: apply("select", x > 0, sqrt(x), 0), SIGNED)
add("select guards 1/x", lambda x, y, z: apply("select", apply("ne", x, 0), apply("sin", x) / x, 1), MASKED, slope_floor=2)
add("elu", lambda x, y, z: apply("select", x > 0, x, exp(x) - 1), SIGNED, slope_floor=2)
add("select guards exp", lambda x, y, z: apply("select", x < 80, exp(x), 0), SIGNED)
add("select guards pow", lambda x, y, z: apply("select", x > 0, apply("pow", x, 1.5), 0), SIGNED)

# ---- two variables
add("log of a sum of two", lambda x, y, z: log(exp(x) + exp(y)), SCORES)
add("log of a sum of two, shifted", lambda x, y, z: apply("maximum", x, y) + log(
    exp(x - apply("maximum", x, y)) + exp(y - apply("maximum", x, y))), SCORES)
add("bce from probabilities", lambda x, y, z: -(z * log(sigmoid(x)) + (1 - z) * log(1 - sigmoid(x))), slope_floor=2)
add("bce from scores", lambda x, y, z: apply("maximum", x, 0) - x * z + log(1 + exp(-apply("abs", x))), slope_floor=2)
add("share of two", lambda x, y, z: exp(x) / (exp(x) + exp(y)), SCORES, slope_floor=2)
add("focal loss", lambda x, y, z: -(apply("pow", 1 - sigmoid(x), 2) * log(sigmoid(x))), slope_floor=2)

# ---- over the features; p - onehot, and log(p) near p = 1, have an absolute floor, too
SUMS = {"each": False, "floor": 2, "slope_floor": 2}
add("log softmax of thousands", lambda x, y, z: log(softmax(x)), THOUSANDS, **SUMS)
add("softmax of thousands", lambda x, y, z: softmax(x), THOUSANDS, **SUMS)
add("cross-entropy of thousands", lambda x, y, z: -last(OneHot(K, N) * log(softmax(x))), THOUSANDS, **SUMS)
add("entropy of thousands", lambda x, y, z: -last(softmax(x) * log(softmax(x))), THOUSANDS, **SUMS)
add("log-sum-exp", lambda x, y, z: log(last(exp(x))), SCORES, each=False, slope_floor=2)
add("log-sum-exp, shifted", lambda x, y, z: top(x) + log(last(exp(centred(x)))), SCORES, each=False, slope_floor=2)
add("softmax", lambda x, y, z: softmax(x), SCORES, **SUMS)
add("softmax, shifted", lambda x, y, z: softmax(centred(x)), SCORES, **SUMS)
add("log softmax", lambda x, y, z: log(softmax(x)), SCORES, **SUMS)
add("log softmax, shifted", lambda x, y, z: centred(x) - along(log(last(exp(centred(x)))), x), SCORES, **SUMS)
add("cross-entropy by a sum", lambda x, y, z: -last(OneHot(K, N) * log(softmax(x))), SCORES, **SUMS)
add("cross-entropy by an index", lambda x, y, z: -log(last(OneHot(K, N) * softmax(x))), SCORES, **SUMS)
add("entropy", lambda x, y, z: -last(softmax(x) * log(softmax(x))), SCORES, **SUMS)
add("divergence", lambda x, y, z: last(softmax(x) * (log(softmax(x)) - log(softmax(y)))), SCORES, **SUMS)
add("divergence, quotient", lambda x, y, z: last(softmax(x) * log(softmax(x) / softmax(y))), SCORES, **SUMS)
add("log of a product", lambda x, y, z: log(Reduce("prod", sigmoid(x), (0,))), each=False, slope_floor=2)
add("gaussian mixture", lambda x, y, z: log(last((0.25 + z) * exp(-apply("square", x - y) / 2))), SCORES, each=False,
    slope_floor=2)
add("softmax mixture", lambda x, y, z: log(last(softmax(y) * exp(-apply("abs", x)))), SCORES, **SUMS)
add("average by exp", lambda x, y, z: last(z * exp(x)) / last(exp(x)), SCORES, **SUMS)
add("norm", lambda x, y, z: sqrt(last(x * x)), ZEROS, each=False,
    noise=1e-70)
add("norm by a product", lambda x, y, z: sqrt(last(apply("pow", x, 2))) + 0 * last(y), SMALL, each=False)
add("root mean square", lambda x, y, z: sqrt(mean(x * x, (0,))), ZEROS,
    each=False, noise=1e-70)
add("variance", lambda x, y, z: variance(x, (0,)), LARGE, each=False, slope_floor=2)    # eps * |x| of the mean
add("variance over time", lambda x, y, z: variance(x, ("t",)), LARGE, each=False, slope_floor=2)
add("deviation of a constant", lambda x, y, z: sqrt(variance(x, (0,))), CONSTANT, each=False, noise=1e-70)
add("sum of squared deviations", lambda x, y, z: last(x * x) - apply("square", last(x)) / N, LARGE, each=False, slope_floor=2)

CASES: tuple[Case, ...] = tuple(add.cases)
BY_NAME = {c.name: c for c in CASES}

__all__ = ["BY_NAME", "CASES", "HOT", "Case", "K", "Map", "N", "X", "Y", "Z", "matmul"]
