"""Exponentials, logarithms and what sums of them make, each with its derivative in a form that is stable everywhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..graph import apply
from .arithmetic import ANY, POSITIVE
from .base import primitive

primitive("exp", "exp(x)", (lambda g, out, x: g * out,), np.exp, (ANY,), cost=8)

primitive("log", "log(x)", (lambda g, out, x: g / x,), np.log, (POSITIVE,), cost=8)

primitive("log1p", "log(1 + x)", (lambda g, out, x: g / (1 + x),), np.log1p, (POSITIVE,), cost=10)

primitive("expm1", "exp(x) - 1", (lambda g, out, x: g * (out + 1),), np.expm1, (ANY,), cost=10)


def _expmoment(n: Any, x: Any) -> Any:
    """The integral of s**n * exp(s*x) over s in [0, 1], by its series near 0. Elsewhere upwards from I_0 = (exp(x) - 1)/x by
    I_k = (exp(x) - k*I_{k-1})/x, which loses nothing where |x| > k; for x > 0 with exp(x) factored out, in two halves that
    overflow only where the integral does."""
    order = int(np.max(n))
    near = np.abs(x) < order + 1
    small, large = np.where(near, x, np.zeros_like(x)), np.where(near, np.full_like(x, order + 1), x)
    series, power = np.zeros_like(x), np.ones_like(x)
    for k in range(20 + 6 * order):                       # sum of x**k / (k! * (k + n + 1))
        series = series + power / (k + order + 1)
        power = power * small / (k + 1)
    size, decay = np.abs(large), np.exp(-np.abs(large))
    top, bottom = np.where(large > 0, np.ones_like(x), decay), np.where(large > 0, decay, np.ones_like(x))
    upward = np.abs(top - bottom) / size                  # times exp(x) where x > 0
    for k in range(1, order + 1):
        upward = (top - k * upward) / large
    half = np.exp(np.maximum(large, np.zeros_like(x)) / 2)
    return np.where(near, series, half * upward * half)


# Moments of the exponential on [0, 1], n = 0, 1, 2, ...: what the derivatives of (exp(x) - 1)/x are.
primitive("expmoment", "Integral(s**x * exp(s*y), (s, 0, 1))",
          (None, lambda g, out, n, x: g * apply("expmoment", n + 1, x)), _expmoment, ((1.0, 1.0), ANY), cost=40)

# (exp(x) - 1)/x, 1 at 0
primitive("exprel", "(exp(x) - 1)/x", (lambda g, out, x: g * apply("expmoment", 1, x),),
          lambda x: _expmoment(0, x), (POSITIVE,), cost=14)

primitive("tanh", "tanh(x)", (lambda g, out, x: g * (1 - apply("square", out)),), np.tanh, (ANY,), cost=10)


def _sigmoid(x: Any) -> Any:
    """exp(-|x|) never overflows, and neither branch cancels."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


primitive("sigmoid", "1/(1 + exp(-x))", (lambda g, out, x: g * (out * (1 - out)),), _sigmoid, (ANY,), cost=10)

# log(1 + exp(x)); -softplus(-x) is log(sigmoid(x))
primitive("softplus", "log(1 + exp(x))", (lambda g, out, x: g * apply("sigmoid", x),),
          lambda x: np.logaddexp(0, x), (ANY,), cost=18)


def _log1mexp(x: Any) -> Any:
    """By expm1 above -log(2), by log1p below, so that neither cancels."""
    near = x > -0.6931471805599453
    return np.where(near, np.log(-np.expm1(np.where(near, x, -1 + 0 * x))), np.log1p(-np.exp(np.where(near, -1 + 0 * x, x))))


# log(1 - exp(x)) for x < 0
primitive("log1mexp", "log(1 - exp(x))", (lambda g, out, x: -(g / apply("expm1", -x)),),
          _log1mexp,
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


def _erf(x: Any) -> Any:
    return np.vectorize(math.erf, otypes=[np.asarray(x).dtype])(x)


primitive("erf", "erf(x)", (lambda g, out, x: g * (1.1283791670955126 * apply("exp", -apply("square", x))),), _erf, (ANY,),
          cost=15)
