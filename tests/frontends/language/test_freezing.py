"""`freeze`: what is frozen stays, running statistics included, and training computes the function that evaluation does."""

import chainrule as cr
import numpy as np
import pytest
from chainrule.frontends.commands.train import TrainOptions, with_training
from chainrule.frontends.language import parse

MODEL = """model frozen(D = 4, H = 3)
input x[D]
target y[H]
a = dense(x, H)
n = batch_norm(a)
h = dense(n, H)
loss = squares(h, y)
train adam(lr = 0.1)"""
BACKENDS = ["numpy", pytest.param("native", marks=pytest.mark.native)]


def step(system, backend):
    """A compiled system, its parameters before and after a step, and the step's loss."""
    m = cr.compile(system, backend=backend, dtype="float64")
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(7, 4)), "y": rng.normal(size=(7, 3))}
    params = m.init(0)
    before = {k: v.copy() for k, v in params.items()}
    loss = m.train_step(params, m.init_state(params), **data)
    total, count = m.evaluate(before, **data)["loss"]
    return {k for k in params if not np.array_equal(params[k], before[k])}, loss, total / count


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("pattern", ["n*", "n.mu n.v", "a* n*", "*"])
def test_a_frozen_normalisation(pattern, backend):
    system = parse(f"{MODEL}, freeze {pattern}\n")
    moved, loss, evaluated = step(system, backend)
    assert moved == {*system.params, *system.stats} - {*system.training.freeze}
    assert {"n.mu", "n.v"} <= {*system.training.freeze}
    np.testing.assert_allclose(loss, evaluated, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_statistics_move_where_only_parameters_are_frozen(backend):
    moved, loss, evaluated = step(parse(f"{MODEL}, freeze n.gamma\n"), backend)
    assert "n.gamma" not in moved and {"n.mu", "n.v", "n.beta"} <= moved
    assert abs(loss - evaluated) > 0.01


def test_one_statistic_alone():
    moved, *_ = step(parse(f"{MODEL}, freeze n.mu\n"), "numpy")
    assert "n.mu" not in moved and "n.v" in moved


def test_from_the_command_line():
    system = with_training(parse(MODEL + "\n"), TrainOptions(freeze=("n*",)))
    assert system.training.freeze == ("n.gamma", "n.beta", "n.mu", "n.v")
    assert step(system, "numpy")[0].isdisjoint(system.training.freeze)
