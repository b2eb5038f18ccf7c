"""Comparisons, truth values and the elementwise choice. Comparisons have no gradient."""

from __future__ import annotations

import numpy as np

from ..graph import apply
from .arithmetic import ANY
from .base import primitive, real, second, truth

for _name, _sign, _reference in (("lt", "<", np.less), ("le", "<=", np.less_equal), ("gt", ">", np.greater),
                                 ("ge", ">=", np.greater_equal)):
    primitive(_name, f"x {_sign} y", (None, None), _reference, (ANY, ANY), truth)

primitive("eq", "Eq(x, y)", (None, None), np.equal, (ANY, ANY), truth, commutes=True)
primitive("ne", "Ne(x, y)", (None, None), np.not_equal, (ANY, ANY), truth, commutes=True)
primitive("and", "And(x, y)", (None, None), np.logical_and, (ANY, ANY), truth, commutes=True)
primitive("or", "Or(x, y)", (None, None), np.logical_or, (ANY, ANY), truth, commutes=True)
primitive("not", "Not(x)", (None,), np.logical_not, (ANY,), truth)

# A truth value or a class as a number.
primitive("real", "x", (None,), lambda x: np.asarray(x, float), (ANY,), real)

# select, never a product with a mask: what is not chosen may be infinite or NaN.
primitive("select", "Piecewise((y, x), (z, True))",
          (None, lambda g, out, c, a, b: apply("select", c, g, 0), lambda g, out, c, a, b: apply("select", c, 0, g)),
          lambda c, a, b: np.where(c, a, b), (ANY, ANY, ANY), second)
