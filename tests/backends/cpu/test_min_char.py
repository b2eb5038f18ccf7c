"""The character RNN (100 hidden units, 25 steps) against a straightforward one written by hand, in float64."""

from pathlib import Path

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.frontends.language import load

MODEL = Path(__file__).resolve().parents[3] / "examples" / "min_char_rnn" / "model.nn"
V, H, T = 65, 100, 25


def by_hand(w, x, y, b):
    """Loss and gradients of the example b alone, step by step: backpropagation through time as one would write it down."""
    h, p, loss = {-1: np.zeros(H)}, {}, 0.0
    for t in range(T):
        h[t] = np.tanh(w["Wxh"][:, x[b, t]] + w["Whh"] @ h[t - 1] + w["bh"])
        s = w["Why"] @ h[t] + w["by"]
        p[t] = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
        loss -= np.log(p[t][y[b, t]])
    d = {k: np.zeros_like(v) for k, v in w.items()}
    d_h_next = np.zeros(H)
    for t in reversed(range(T)):
        d_s = p[t].copy()
        d_s[y[b, t]] -= 1
        d["Why"] += np.outer(d_s, h[t])
        d["by"] += d_s
        d_h = w["Why"].T @ d_s + d_h_next
        d_a = (1 - h[t]**2) * d_h
        d["bh"] += d_a
        d["Wxh"][:, x[b, t]] += d_a
        d["Whh"] += np.outer(d_a, h[t - 1])
        d_h_next = w["Whh"].T @ d_a
    return loss, d


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("batch", [1, 4])
def test_loss_and_gradients(batch, level):
    rng = np.random.default_rng(0)
    module = Program(load(MODEL, {"V": V, "H": H}), "float64", level).module
    params = {k: rng.normal(0, 0.1, np.shape(v)) for k, v in module.init().items()}
    x, y = rng.integers(0, V, (batch, T)), rng.integers(0, V, (batch, T))
    alone = [by_hand(params, x, y, b) for b in range(batch)]
    count = batch * T                                   # the example's loss is the mean over tokens
    loss, grads = module.loss_and_grads(params, x=x, y=y)
    assert float(loss) == pytest.approx(sum(a[0] for a in alone) / count, rel=1e-13)
    for k in params:
        expected = sum(a[1][k] for a in alone) / count
        assert np.abs(grads[k] - expected).max() <= 1e-12 * np.abs(expected).max(), k
