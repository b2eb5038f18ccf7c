"""The modules of energy models: persistent CD against scikit-learn, schedules, chains, checks of arguments, memory."""

import tracemalloc

import chainrule as cr
import numpy as np
import pytest
from chainrule.compiler import random
from zoo.trained_energies import CD, PCD, RBM, SPIN, TRAINED, data, program, trained

# ---------------------------------------------------------------- scikit-learn

class Uniforms:
    """What scikit-learn asks a RandomState for, from given arrays in turn."""

    def __init__(self, arrays):
        self.arrays = list(arrays)

    def uniform(self, size):
        found = self.arrays.pop(0)
        assert found.shape == tuple(size)
        return found


def test_persistent_cd_is_scikit_learns():
    """Steps of persistent CD give the weights and chains of BernoulliRBM, which is given the same uniform numbers."""
    network = pytest.importorskip("sklearn.neural_network")
    p = program(RBM.format(PCD.format(1, 0.1)))
    params = p.init(seed=1)
    theirs = network.BernoulliRBM(n_components=7, learning_rate=0.1)
    theirs.components_, theirs.intercept_hidden_, theirs.intercept_visible_ = (params[k].copy() for k in ("W", "c", "b"))
    theirs.h_samples_ = np.zeros((5, 7))
    state = p.init_state(params, seed=4)
    for step in range(3):
        u = [random.draw("uniform", k, (5, n), seed=4, step=step) for k, n in (("v_model", 12), ("h_model", 7))]
        v = data(p.system, seed=step)["v"]
        theirs._fit(v, Uniforms(u))
        p.train_step(params, state, v=v)
        for mine, others in (("W", "components_"), ("c", "intercept_hidden_"), ("b", "intercept_visible_")):
            assert np.abs(params[mine] - getattr(theirs, others)).max() < 1e-12
        assert (state["chain_h"] == theirs.h_samples_).all()


# ---------------------------------------------------------------- schedules

@pytest.mark.parametrize("name", TRAINED)
def test_the_same_samples_in_any_schedule(name):
    """One expression an equation, buffers, unrolled chains: the same draws, so the same parameters and chains."""
    expected = trained(TRAINED[name])
    options = [{"level": 0}, {"unroll": 2}] if "k = 1" not in TRAINED[name] else [{"level": 0}]
    for other in options:
        found = trained(TRAINED[name], **other)
        for k, a in expected.items():
            np.testing.assert_allclose(found[k], a, rtol=0, atol=1e-13, err_msg=f"{k}, {other}")


@pytest.mark.parametrize("name", TRAINED)
def test_the_module_checks_itself(name, capsys):
    """Statistics are the slope of the free energy; every function that has a closed form is there."""
    p = program(TRAINED[name])
    assert p.module.check() < 1e-6
    assert "gradients agree" in capsys.readouterr().out
    missing = {"visible"} if name == "units that interact" else set()
    assert {*p.compiled.missing} == missing


def test_a_chain_goes_on_where_it_is_cut():
    """k steps at once are k steps, each the end of the one before: the draws of step t are keyed by t alone."""
    p = program(TRAINED["cd1"])
    params, v = p.init(seed=1), data(p.system)["v"]
    assert (p.gibbs(params, 6, seed=2, v=v) == p.gibbs(params, 6, seed=2, v=v)).all()
    with pytest.raises(ValueError, match="k must be a whole number from 1 on, not 0"):
        p.gibbs(params, 0, v=v)
    u = [random.draw("uniform", k, (6, 5, n), seed=2) for k, n in (("h_model", 7), ("v_model", 12))]
    for t in range(6):
        h = (u[0][t] < p.hidden_given_visible(params, v=v)).astype(float)
        v = (u[1][t] < p.visible_given_hidden(params, h=h)).astype(float)
        assert (p.gibbs(params, t + 1, seed=2, v=data(p.system)["v"]) == v).all()


def test_single_precision_draws_the_same():
    """float32 follows float64 as far as its rounding lets it: the same chains from the same numbers."""
    one, two = (trained(TRAINED["pcd"], steps=1, dtype=d) for d in ("float64", "float32"))
    np.testing.assert_array_equal(one["chain_h"], two["chain_h"])
    np.testing.assert_allclose(one["W"], two["W"], atol=1e-6)


# ---------------------------------------------------------------- arguments, memory

BAD = {
    "binary": (RBM.format(CD.format(1, "samples")), 0.5, "v must hold 0 or 1, the values of binary units; v[0, 3] is 0.5"),
    "means": (RBM.replace(": binary\nh", ": binary(mean)\nh").format(CD.format(1, "samples")), 1.5,
              "v must hold numbers from 0 to 1, means of binary units; v[0, 3] is 1.5"),
    "spin": (SPIN.format(CD.format(1, "samples")), 0.0, "v must hold -1 or 1, the values of spin units; v[0, 3] is 0"),
    "nan": (RBM.format(CD.format(1, "samples")), float("nan"), "v must hold 0 or 1, the values of binary units; v[0, 3] is nan"),
}


@pytest.mark.parametrize("kind", BAD)
def test_values_that_no_unit_has(kind):
    """The first one is named, by every function."""
    text, value, sentence = BAD[kind]
    p = program(text)
    params, v = p.init(), data(p.system)["v"]
    v[0, 3] = value
    for call in (lambda: p.train_step(params, p.init_state(params), v=v), lambda: p.free_energy(params, v=v),
                 lambda: p.gibbs(params, 1, v=v), lambda: p.statistics(params, v=v)):
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == sentence


def test_categorical_values_are_one_hot():
    """Two ones in a group."""
    p = program(TRAINED["categorical"])
    v = data(p.system)["v"]
    v[1, 2] = [1, 1, 0]
    with pytest.raises(ValueError, match=r"v must hold a single 1 among 0s along its last axis; v\[1, 2, 0\] is 1"):
        p.free_energy(p.init(), v=v)


def test_a_step_wants_examples():
    """A mean over none would be no number, and parameters with it; a free energy of none is none."""
    p = program(TRAINED["cd1"])
    params, none = p.init(), data(p.system)["v"][:0]
    for call in (lambda: p.train_step(params, p.init_state(params), v=none), lambda: p.statistics(params, v=none)):
        with pytest.raises(ValueError, match=r"v must have the shape \(some, 12\), not \(0, 12\)"):
            call()
    assert p.free_energy(params, v=none).shape == (0,)


def test_what_is_missing_says_why():
    """A function without a closed form, and one that a model with a loss has not."""
    p = program(TRAINED["units that interact"])
    with pytest.raises(ValueError, match="offers no visible_given_hidden: the mean of v given h has no closed form"):
        p.visible_given_hidden(p.init(), h=np.zeros((1, 5)))
    for name in ("predict", "evaluate", "loss_and_grads"):
        with pytest.raises(ValueError, match=f"chain offers no {name}: it has an energy; there are train_step, "):
            getattr(p, name)(p.init(), v=np.zeros((1, 6)))
    with pytest.raises(ValueError, match="chain offers no generate: it has an energy"):
        p.generate(p.init(), 3)
    with pytest.raises(ValueError, match="chain has an energy, and no loss to differentiate"):
        cr.grad(p.compiled.model)
    other = cr.compile(cr.parse("model m(D = 2)\ninput x[D]\nparam w[D] = 0\ny = w @ x\nloss = y^2"))
    with pytest.raises(ValueError, match="m offers no free_energy: it has a loss, and no energy"):
        other.free_energy(other.init(), x=np.zeros((1, 2)))


@pytest.mark.parametrize("name", ["cd1", "cd1 samples"])
def test_a_step_allocates_nothing_large(name):
    """Of a step on 128 examples, under 64 KiB: samples and uniform numbers are buffers of the workspace."""
    p = program(TRAINED[name].replace("D = 12, H = 7", "D = 784, H = 500"), dtype="float32")
    params, v = p.init(), np.zeros((128, 784), np.float32)
    state = p.init_state(params)
    for _ in range(2):
        p.module.train_step(params, state, v)
    tracemalloc.start()
    p.module.train_step(params, state, v)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 1024


@pytest.mark.parametrize("chains", [0, -1])
def test_there_is_at_least_one_persistent_chain(chains):
    program = cr.compile(cr.parse("""energy pairs(D = 6, H = 4)
visible v[D] : binary
hidden  h[H] : binary
param W[H, D] ~ normal(0.01)
E = - h @ W @ v
train persistent_contrastive_divergence(k = 1, lr = 0.1)
"""))
    with pytest.raises(ValueError, match=f"at least 1 persistent chain, not {chains}"):
        program.init_state(program.init(0), chains=chains)
