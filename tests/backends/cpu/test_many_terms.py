"""Models with many sizes and long sums: what compiling them takes grows with their length, not as a power of two."""

import chainrule as cr
import numpy as np

TERMS = 48


def test_a_sum_of_many_products():
    sizes = ", ".join(f"S{i} = {i + 1}" for i in range(TERMS))
    inputs = "".join(f"input x{i}[S{i}]\nparam W{i}[H, S{i}] ~ xavier\n" for i in range(TERMS))
    products = " + ".join(f"W{i} @ x{i}" for i in range(TERMS))
    text = f"model star({sizes}, H = 3)\n{inputs}target y[H]\nh = tanh({products})\nloss = squares(h, y)\n"
    model = cr.compile(cr.parse(text), dtype="float64")
    rng = np.random.default_rng(0)
    params = model.init(0)
    data = {f"x{i}": rng.normal(size=(2, i + 1)) for i in range(TERMS)}
    want = np.tanh(sum(data[f"x{i}"] @ params[f"W{i}"].T for i in range(TERMS)))
    np.testing.assert_allclose(model.predict(params, **data)["h"], want, rtol=1e-12)
