"""Programs on a GPU: `pytest -m gpu` compares every model of the catalogue with NumPy there; elsewhere the tests say why not."""

import numpy as np
import pytest
from chainrule.backends.gpu.program import CudaProgram, NoDevice
from gpu import programs
from zoo.catalogue import ZOO

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def device():
    """The reason why there is no device skips."""
    try:
        CudaProgram(ZOO["mlp"]()).init()
    except NoDevice as e:
        pytest.skip(str(e))


@pytest.mark.parametrize("name", ZOO)
def test_a_model_on_the_device(device, name):
    """Losses, gradients, outputs, and three training steps, the last of which are a graph; the same bits again."""
    c = programs.case(name)
    found, again = (results(c, name) for _ in range(2))
    wanted = {k: v for k, v in programs.on_numpy(c).items() if k != "replayed"}
    assert programs.differences(found, wanted, 1e-4, 1e-5) == {}
    for k, v in found.items():
        np.testing.assert_array_equal(again[k], v, err_msg=k)


def results(c, name):
    """What a model's program gives on the device."""
    module = CudaProgram(ZOO[name]()).module
    params, inputs, out = module.to_device(c.params), programs.on_their_way(module, c.inputs), {}
    for seed in (0, 7):
        loss, grads = module.loss_and_grads(params, seed=seed, **inputs)
        out |= {f"loss, seed {seed}": loss, **{f"d {k}, seed {seed}": v for k, v in grads.items()}}
    out |= {f"output {k}": v for k, v in programs.predicted(module, params, inputs).items()}
    out |= {f"evaluate {k}": v for k, v in module.evaluate(params, **inputs).items()} | programs.trained(module, params, inputs)
    return programs.flat({k: module.to_host(v) for k, v in out.items()})
