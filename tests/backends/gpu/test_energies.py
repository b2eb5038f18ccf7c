"""Energy models on the stand-in for CuPy: training, conditionals, chains, free energies and statistics are NumPy's."""

import inspect

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.gpu.program import CudaProgram
from gpu import host, programs, standin
from zoo.tiers import tier
from zoo.trained_energies import TRAINED, data

QUICK = ("cd1", "pcd")
pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)


def results(module, params, system, inputs, functions):
    """Everything that an energy model computes, by name; three steps last."""
    layers = {"hidden": system.energy.visible, "visible": system.energy.hidden}
    others = {k: v for k, v in inputs.items() if k not in {u.name for u in system.energy.layers}}
    out = {}
    if "hidden" in functions:
        found = module.hidden_given_visible(params, **inputs)
        out["hidden"] = found
        if "visible" in functions:
            means = found if isinstance(found, dict) else {layers["visible"][0].name: found}
            taken = inspect.signature(module.visible_given_hidden).parameters
            out["visible"] = module.visible_given_hidden(params, **means, **{k: v for k, v in others.items() if k in taken})
    if "free_energy" in functions:
        out["free energy"] = module.free_energy(params, **inputs)
    out["statistics"] = module.statistics(params, **inputs)
    if "gibbs" in functions:
        out["gibbs"] = module.gibbs(params, **inputs, k=3, seed=(5, 2))
    state = module.init_state(params, seed=4)
    out |= {f"loss of step {k}": module.train_step(params, state, **inputs) for k in range(3)}
    out["params"], out["state"] = params, dict(state)
    return {(f"{k}[{j}]" if j else k): x for k, v in out.items() for j, x in (v.items() if isinstance(v, dict) else [("", v)])}


@pytest.mark.parametrize("name", tier(TRAINED, QUICK))
@pytest.mark.parametrize("given", ["host", pytest.param("device", marks=pytest.mark.full)])
def test_an_energy_model(name, given):
    system = cr.parse(TRAINED[name]).system
    numpy = cr.compile(system, dtype="float32")
    inputs = {k: v.astype(np.float32) for k, v in data(system).items()}
    start = {k: np.asarray(v) for k, v in numpy.init(seed=1).items()}
    module = programs.loaded(CudaProgram(system).source, host.SHUFFLED)
    there = inputs if given == "host" else module.to_device(inputs)
    found = results(module, module.to_device(start), system, there, numpy.compiled.parts)
    wanted = results(numpy.module, {k: v.copy() for k, v in start.items()}, system, inputs, numpy.compiled.parts)
    found = {k: module.to_host(v) for k, v in found.items()}
    assert programs.differences(programs.flat(found), programs.flat(wanted), 2e-5, 1e-6) == {}
    assert standin.SETTINGS.count.replayed == 2
