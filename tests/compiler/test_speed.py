"""What makes a step of training fast: where loops compute what, and what is computed once."""

import chainrule as cr
import numpy as np
import pytest

HEAD = "model m(V = 5, H = 4)\ninput x[t] : class(V)\ntarget y[t] : class(V)\n"
CELL = """param W[H, V], U[H, H], Y[V, H] ~ xavier; b[H] = 0
h[t] = {cell}   where h[-1] = 0
loss = mean[batch, t] cross_entropy(softmax(Y @ h[t]), y[t])
train sgd(lr = 0.1)
"""
GATED = "z[t] = sigmoid(U @ h[t-1])\n"


def source(cell: str, before: str = "") -> str:
    text = HEAD + CELL.format(cell=cell).replace("\nh[t]", f"\n{before}h[t]")
    return cr.compile(cr.parse(text)).source.partition("def _gradients(")[2].partition("def _gradients_buffers")[0]


def test_a_weight_is_transposed_once_before_the_loop():
    text = source("tanh(W @ onehot(x[t]) + U @ h[t-1] + b)")
    before, loop, _ = text.partition("for t in range(T):")
    assert "U_T[...] = U.T" in before and "h_prev[t] @ U_T" in text and loop


def test_a_slope_is_computed_where_it_is_read():
    text = source("tanh(W @ onehot(x[t]) + U @ h[t-1] + b)")
    assert "* (1 - h[t]**2)" in text and "slope" not in text


def test_a_bias_is_added_to_the_rows_of_a_small_table():
    text = source("tanh(W @ onehot(x[t]) + U @ h[t-1] + b)")
    assert "np.add(W, b[:, None], out=W_biased)" in text and "np.take(W_biased.T, x" in text


def test_a_large_table_is_left_alone():
    text = HEAD.replace("V = 5", "V = 300") + CELL.format(cell="tanh(W @ onehot(x[t]) + U @ h[t-1] + b)")
    assert "W_biased" not in cr.compile(cr.parse(text)).source


def test_a_common_factor_is_multiplied_once():
    text = source("(1 - z[t]) * n[t] + z[t] * h[t-1]", GATED + "n[t] = tanh(W @ onehot(x[t]) + U @ h[t-1] + b)\n")
    assert "* (h_prev[t] - n[t])" in text


def test_the_guard_of_sigmoids_stands_at_the_function():
    text = cr.compile(cr.parse(HEAD + CELL.format(cell="sigmoid(W @ onehot(x[t]) + U @ h[t-1] + b)"))).source
    assert '@np.errstate(over="ignore")' in text.partition("def _gradients(")[0].splitlines()[-1]
    assert "errstate" not in text.partition("def sigmoid(")[2].partition("\ndef ")[0]


@pytest.mark.parametrize("cell, before", [
    ("tanh(W @ onehot(x[t]) + U @ h[t-1] + b)", ""),
    ("(1 - z[t]) * n[t] + z[t] * h[t-1]", GATED + "n[t] = tanh(W @ onehot(x[t]) + b)\n"),
    ("tanh(layer_norm(W @ onehot(x[t]) + U @ h[t-1]) + b)", ""),
])
def test_gradients_stay_those_of_differences(cell, before):
    p = cr.compile(cr.parse(HEAD + CELL.format(cell=cell).replace("\nh[t]", f"\n{before}h[t]")), dtype="float64")
    rng = np.random.default_rng(1)
    params = {k: rng.normal(0, 0.5, v.shape) for k, v in p.init(0).items()}
    data = {k: rng.integers(0, 5, (3, 4)) for k in "xy"}
    _, grads = p.loss_and_grads(params, **data)
    for k, g in grads.items():
        d = rng.standard_normal(g.shape)
        up, down = (p.loss_and_grads({**params, k: params[k] + s * 1e-5 * d}, **data)[0] for s in (1, -1))
        assert abs((up - down) / 2e-5 - (g * d).sum()) < 1e-7 * max(1, abs(g).max()), k


def test_a_saturated_sigmoid_warns_of_nothing():
    p = cr.compile(cr.parse(HEAD + CELL.format(cell="sigmoid(W @ onehot(x[t]) + U @ h[t-1] + b)")))
    params = {**p.init(0), "b": np.full(4, -1000, np.float32)}
    loss, _ = p.loss_and_grads(params, x=np.zeros((1, 3), int), y=np.zeros((1, 3), int))
    assert np.isfinite(loss)
