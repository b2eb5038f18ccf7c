"""Exponentials, logarithms and what sums of them make, each with its derivative in a form that is stable everywhere."""

from __future__ import annotations

import numpy as np

from ..graph import apply
from .arithmetic import ANY, POSITIVE
from .base import primitive

primitive("exp", "exp(x)", (lambda g, out, x: g * out,), np.exp, (ANY,), cost=8)

primitive("log", "log(x)", (lambda g, out, x: g / x,), np.log, (POSITIVE,), cost=8)

primitive("log1p", "log(1 + x)", (lambda g, out, x: g / (1 + x),), np.log1p, (POSITIVE,), cost=10)

primitive("expm1", "exp(x) - 1", (lambda g, out, x: g * (out + 1),), np.expm1, (ANY,), cost=10)

# (exp(x) - 1)/x, 1 at 0
primitive("exprel", "(exp(x) - 1)/x",
          (lambda g, out, x: g * apply("exprel_slope", x),),
          lambda x: np.where(x == 0, 1.0, np.expm1(x) / np.where(x == 0, 1.0, x)), (POSITIVE,), cost=14)

# d/dx (exp(x) - 1)/x = (exp(x)*(x - 1) + 1)/x**2, 1/2 at 0; by its series for |x| < 1 where the formula cancels
def _exprel_slope(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, float)
    near = np.where(np.abs(x) < 1, x, 0.0)
    series, term = np.zeros_like(near), np.ones_like(near)
    for k in range(20):                                   # sum of x**k / (k! * (k + 2))
        series += term / (k + 2)
        term = term * near / (k + 1)
    far = np.where(np.abs(x) < 1, 1.0, x)
    return np.where(np.abs(x) < 1, series, (np.exp(far) * (far - 1) + 1) / far**2)


primitive("exprel_slope", "(exp(x)*(x - 1) + 1)/x**2",
          (lambda g, out, x: g * apply("select", apply("abs", x) < 0.5,
                                       _slope_of_slope(x), (apply("exp", x) - 2 * out) / apply("select", apply("abs", x) < 0.5, 1, x)),),
          _exprel_slope, (POSITIVE,), cost=40)


def _slope_of_slope(x):  # type: ignore[no-untyped-def]
    """sum of x**k / (k! * (k + 3)): the second derivative of (exp(x) - 1)/x near 0, by Horner."""
    from math import factorial
    out = apply("mul", x, 0) + 1 / (factorial(12) * 15)
    for k in reversed(range(12)):
        out = out * x + 1 / (factorial(k) * (k + 3))
    return out


primitive("tanh", "tanh(x)", (lambda g, out, x: g * (1 - apply("square", out)),), np.tanh, (ANY,), cost=10)

primitive("sigmoid", "1/(1 + exp(-x))", (lambda g, out, x: g * (out * (1 - out)),),
          lambda x: np.exp(-np.logaddexp(0, -x)), (ANY,), cost=10)

# log(1 + exp(x)); -softplus(-x) is log(sigmoid(x))
primitive("softplus", "log(1 + exp(x))", (lambda g, out, x: g * apply("sigmoid", x),),
          lambda x: np.logaddexp(0, x), (ANY,), cost=18)

# log(1 - exp(x)) for x < 0
primitive("log1mexp", "log(1 - exp(x))", (lambda g, out, x: -(g / apply("expm1", -x)),),
          lambda x: np.where(x > -0.6931471805599453, np.log(-np.expm1(x)), np.log1p(-np.exp(x))),
          ((-3.0, -0.2),), cost=20)

primitive("logaddexp", "log(exp(x) + exp(y))",
          (lambda g, out, x, y: g * apply("sigmoid", x - y), lambda g, out, x, y: g * apply("sigmoid", y - x)),
          np.logaddexp, (ANY, ANY), cost=18, commutes=True)

# g * (out > 0): a factor of 0 or 1, which vectorises where a masked copy does not
primitive("relu", "Max(x, 0)", (lambda g, out, x: g * apply("real", out > 0),), lambda x: np.maximum(x, 0),
          (POSITIVE,), kink="relu'(0) = 0")

primitive("sin", "sin(x)", (lambda g, out, x: g * apply("cos", x),), np.sin, (ANY,), cost=10)

primitive("cos", "cos(x)", (lambda g, out, x: -(g * apply("sin", x)),), np.cos, (ANY,), cost=10)

primitive("arctan", "atan(x)", (lambda g, out, x: g / (1 + apply("square", x)),), np.arctan, (ANY,), cost=10)


def _erf(x: np.ndarray) -> np.ndarray:
    from math import erf
    return np.vectorize(erf, otypes=[float])(x)


primitive("erf", "erf(x)", (lambda g, out, x: g * (1.1283791670955126 * apply("exp", -apply("square", x))),), _erf, (ANY,),
          cost=15)
