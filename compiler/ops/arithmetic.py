"""Sums, products, quotients, powers, and their kin."""

from __future__ import annotations

import numpy as np

from ..graph import apply
from .base import primitive

ANY = (-3.0, 3.0)
POSITIVE = (0.2, 3.0)

primitive("add", "x + y", (lambda g, out, x, y: g, lambda g, out, x, y: g), np.add, (ANY, ANY), commutes=True)

primitive("sub", "x - y", (lambda g, out, x, y: g, lambda g, out, x, y: -g), np.subtract, (ANY, ANY))

primitive("neg", "-x", (lambda g, out, x: -g,), np.negative, (ANY,))

primitive("mul", "x * y", (lambda g, out, x, y: g * y, lambda g, out, x, y: g * x), np.multiply, (ANY, ANY), commutes=True)

primitive("div", "x / y", (lambda g, out, x, y: g / y, lambda g, out, x, y: -(g * out / y)), np.divide, (ANY, POSITIVE),
          cost=2)

# The quotient that is 0 where the divisor is 0: the derivative of a norm at zero.
primitive("safe_div", "Piecewise((x / y, Ne(y, 0)), (0, True))",
          (lambda g, out, x, y: apply("safe_div", g, y), lambda g, out, x, y: -apply("safe_div", g * out, y)),
          lambda x, y: np.where(y == 0, 0 * y, x / np.where(y == 0, 1 + 0 * y, y)),
          (ANY, POSITIVE), kink="x/0 is 0", cost=2)

primitive("square", "x**2", (lambda g, out, x: 2 * (g * x),), np.square, (ANY,))

primitive("sqrt", "sqrt(x)", (lambda g, out, x: 0.5 * (g / out),), np.sqrt, (POSITIVE,), cost=4)

# The derivative in y is x**y * log(x), defined for x > 0; at x = 0 the product is taken as 0.
primitive("pow", "x**y",
          (lambda g, out, x, y: g * (y * apply("pow", x, y - 1)),
           lambda g, out, x, y: g * (out * apply("log", apply("select", x > 0, x, 1)))),
          np.power, (POSITIVE, ANY), kink="the derivative by the exponent is 0 at base 0", cost=20)

primitive("abs", "Abs(x)", (lambda g, out, x: g * apply("sign", x),), np.abs, (POSITIVE,), kink="|x|' = 0 at 0")

primitive("sign", "sign(x)", (None,), np.sign, (POSITIVE,))

primitive("maximum", "Max(x, y)",
          (lambda g, out, x, y: apply("select", x >= y, g, 0), lambda g, out, x, y: apply("select", x >= y, 0, g)),
          np.maximum, ((-3.0, 0.0), (0.5, 3.0)), kink="a tie gives the gradient to the first operand", commutes=False)

primitive("minimum", "Min(x, y)",
          (lambda g, out, x, y: apply("select", x <= y, g, 0), lambda g, out, x, y: apply("select", x <= y, 0, g)),
          np.minimum, ((-3.0, 0.0), (0.5, 3.0)), kink="a tie gives the gradient to the first operand")

primitive("floor", "floor(x)", (None,), np.floor, ((0.1, 0.9),), kink="not differentiable")

primitive("round", "floor(x + Rational(1, 2))", (None,), np.round, ((0.1, 0.4),), kink="not differentiable")
