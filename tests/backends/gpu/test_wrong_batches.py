"""A wrong batch on the device: the loss and results are NaN, nothing else changes, and `to_host` says what is wrong."""

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.gpu.program import CudaProgram
from gpu import host, programs
from zoo import trained_energies as energies
from zoo.tiers import tier

pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
TEXT = """
model blobs(D = 4, C = 3)
input x[D]
target y : class(C)
param W[C, D] ~ normal(0.3)
param V[C, D] ~ normal(0.3)
s = W @ batch_norm(x) + V @ x
p = softmax(s)
loss = cross_entropy(p, y)
output p
train {}
"""
RULES = ("momentum(lr = 0.1)", "nesterov(lr = 0.1)", "adam(lr = 0.1), clip_norm = 0.1", "sgd(lr = 0.1), clip_value = 0.1",
         "sgd(lr = 0.1), max_norm(0.5) on W", "sgd(lr = 0.1), l1_ball(0.5) on W", "sgd(lr = 0.1), l2(0.1) on W")


def held(*dicts):
    """All numbers of the device, as they are."""
    return [v.held.copy() for d in dicts for v in d.values()]


def steps(module, params, state, good, bad):
    """Right and wrong batches in turns, plainly and replayed: what a wrong one changes; what is said."""
    changed, said = [], []
    for k in range(4):
        module.train_step(params, state, **good)
        before = held(params, state)
        loss = module.train_step(params, state, **bad)
        assert np.isnan(loss.held).all()
        module.train_step(params, state, **good)                 # nor a right one, until somebody has been told
        changed += [f"{k}: {n}" for n, a, b in zip([*params, *state], before, held(params, state), strict=True) if (a != b).any()]
        with pytest.raises(ValueError, match="is wrong: ") as told:
            module.to_host(loss)
        said.append(str(told.value))
    assert len({*said}) == 1
    return changed


@pytest.mark.parametrize("rule", tier(RULES, RULES[1:2]))
def test_a_wrong_batch_changes_nothing(rule):
    module = programs.loaded(CudaProgram(cr.parse(TEXT.format(rule)).system).source)
    params, good, bad = begun(module)
    assert steps(module, params, module.init_state(params), good, bad) == []


def begun(module):
    """Parameters, a batch, and one with a class that there is not."""
    x, y = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32), np.array([0, 1, 2, 0, 1])
    good = module.to_device({"x": x, "y": y})
    return module.init(1), good, good | {"y": module.to_device(np.array([0, 1, 2, 3, 1]))}


def test_a_wrong_batch_of_an_energy():
    """Nor does the state of its chain."""
    numpy = energies.program(energies.TRAINED["pcd"], "float32")
    module, inputs = programs.loaded(CudaProgram(numpy.system).source), energies.data(numpy.system)
    params, good = module.to_device(numpy.init(seed=1)), module.to_device(inputs)
    bad = {k: v.copy() for k, v in good.items()}
    bad["v"][0, 0] = 2
    assert steps(module, params, module.init_state(params), good, bad) == []
    assert np.isnan(module.free_energy(params, bad["v"]).held).all()
    with pytest.raises(ValueError, match=r"v\[0, 0\] is wrong: v must hold 0 or 1"):
        module.to_host(params)


def test_results_of_wrong_inputs():
    """`evaluate` gives NaN, `predict` what does not depend on them; right inputs are right after somebody has been told."""
    module = programs.loaded(CudaProgram(cr.parse(TEXT.format(RULES[0])).system).source)
    params, good, bad = begun(module)
    wanted = module.evaluate(params, **good)["loss"][0].held.copy()
    assert np.isnan(module.evaluate(params, **bad)["loss"][0].held)
    assert np.isfinite(module.predict(params, good["x"])["p"].held).all()
    with pytest.raises(ValueError, match=r"y\[3\] is wrong"):
        module.to_host(params)
    np.testing.assert_array_equal(module.evaluate(params, **good)["loss"][0].held, wanted)


def test_an_update_that_does_not_look_is_found():
    """Planted: updates of a wrong batch."""
    source, look = CudaProgram(cr.parse(TEXT.format(RULES[0])).system).source, "    if (noted[0] >= 0) return;\n"
    assert look in source
    module = programs.loaded(source.replace(look, ""))
    params, good, bad = begun(module)
    assert "0: W" in steps(module, params, module.init_state(params), good, bad)
