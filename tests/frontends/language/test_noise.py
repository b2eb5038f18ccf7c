"""Noise in the language: a draw for each element of what it is applied to."""

import chainrule as cr
import numpy as np
import pytest
from chainrule.frontends.language import parse

MODEL = """model masked(D = 50)
input x[D]
target y[D]
param b[D] = 0
m = {}
h = x * m + b
loss = squares(h, y)
"""


@pytest.mark.parametrize("formula, most", [("bernoulli(0.25, x)", 1), ("bernoulli(sigmoid(x) * 0.34, x)", 1),
                                           ("uniform(x) / 2", 0.5)])
def test_a_draw_for_each_element(formula, most):
    """b's gradient is the mean of x * m + b - y, which says what m was: with x = 1, y = 0 and one example, m itself."""
    m = cr.compile(parse(MODEL.format(formula)), dtype="float64")
    x = np.ones((1, 50))
    drawn = np.array([m.loss_and_grads(m.init(0), x=x, y=0 * x, seed=k)[1]["b"] for k in range(40)])
    if "bernoulli" in formula:
        assert {*np.unique(drawn)} == {0, 1}
    assert np.ptp(drawn, axis=1).min() > 0.3 * most              # elements differ within a draw
    assert np.ptp(drawn, axis=0).min() > 0.3 * most              # draws differ by their seeds
    assert abs(drawn.mean() - 0.25) < 0.03


def test_along_time_and_batch():
    text = MODEL.replace("x[D]", "x[t, D]").replace("y[D]", "y[t, D]").replace("m =", "m[t] =").replace("h =", "h[t] =")
    text = text.replace("x * m", "x[t] * m[t]").replace("loss = squares(h, y)", "loss = mean[batch, t] squares(h[t], y[t])")
    system = parse(text.format("bernoulli(0.5, x[t])"))
    drawn = system.equations["m"]
    assert set(drawn.axes) == {"t", "batch"} and [str(n) for n in drawn.shape] == ["D"]


def test_evaluation_takes_the_mean():
    m = cr.compile(parse(MODEL.format("bernoulli(0.25, x)")), dtype="float64")
    np.testing.assert_allclose(m.predict(m.init(0), x=np.ones((2, 50)))["h"], 0.25)
