"""The modules of energy models: persistent CD against scikit-learn, schedules, chains, checks of arguments."""

import chainrule as cr
import numpy as np
import pytest
from chainrule.compiler import random

RBM = """
energy rbm(D = 12, H = 7)
visible v[D] : binary
hidden  h[H] : binary
param W[H, D] ~ normal(0.3);  b[D] = 0.1;  c[H] = -0.2
E = - h @ W @ v - b @ v - c @ h
train {}, batch = 5
"""
CD = "contrastive_divergence(k = {}, lr = 0.1, statistics = {})"
PCD = "persistent_contrastive_divergence(k = {}, lr = {})"


def data(shape, seed=3):
    return (np.random.default_rng(seed).random(shape) < 0.4).astype(np.float64)


def compiled(train, dtype="float64", **options):
    return cr.compile(cr.parse(RBM.format(train)), dtype=dtype, **options)


class Uniforms:
    """What scikit-learn asks a RandomState for, from given arrays in turn."""

    def __init__(self, arrays):
        self.arrays = list(arrays)

    def uniform(self, size):
        found = self.arrays.pop(0)
        assert found.shape == tuple(size)
        return found


@pytest.mark.parametrize("steps", [1, 3])
def test_persistent_cd_is_scikit_learns(steps):
    """Three steps of persistent CD give the weights of BernoulliRBM, which is given the same uniforms."""
    network = pytest.importorskip("sklearn.neural_network")
    program = compiled(PCD.format(1, 0.1))
    params, batch = program.init(seed=1), data((steps, 5, 12))
    theirs = network.BernoulliRBM(n_components=7, learning_rate=0.1)
    theirs.components_, theirs.intercept_hidden_, theirs.intercept_visible_ = (params[k].copy() for k in ("W", "c", "b"))
    theirs.h_samples_ = np.zeros((5, 7))
    state = program.init_state(params, seed=4)
    for step in range(steps):
        u = [random.draw("uniform", k, (5, n), seed=4, step=step) for k, n in (("v_model", 12), ("h_model", 7))]
        theirs._fit(batch[step], Uniforms(u))
        program.train_step(params, state, v=batch[step])
    for mine, others in (("W", "components_"), ("c", "intercept_hidden_"), ("b", "intercept_visible_")):
        assert np.abs(params[mine] - getattr(theirs, others)).max() < 1e-12
    assert (state["chain_h"] == theirs.h_samples_).all()
