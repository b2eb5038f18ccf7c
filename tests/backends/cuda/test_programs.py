"""Whole models on the stand-in for CuPy against their NumPy modules: losses, gradients, outputs, training steps."""

import sys

import numpy as np
import on_cpu
import pytest
import standin
from chainrule.backends.cpu.program import Program
from chainrule.backends.cuda.program import CudaProgram, NoDevice
from chainrule.compiler.graph import BATCH, GraphError
from zoo.build import LENGTHS, values
from zoo.catalogue import ZOO

QUICK = ("mlp", "lstm_packed")


@pytest.fixture
def device(monkeypatch, tmp_path_factory):
    """device(order, checked): the stand-in as `cupy` for what follows."""
    if on_cpu.compiler() is None:
        pytest.skip("needs g++")
    folder = tmp_path_factory.getbasetemp() / "cuda"
    folder.mkdir(exist_ok=True)

    def install(order=on_cpu.FORWARD, checked=False):
        monkeypatch.setitem(sys.modules, "cupy", standin.cupy(folder, order, checked))

    return install


def outside(system, at):
    """Arrays as a caller holds them: batch first."""
    return {k: np.swapaxes(at[k], 0, 1) if len(i.axes) > 1 and BATCH in i.axes else at[k] for k, i in system.inputs.items()}


def agrees(name):
    """A model's functions on the stand-in and in NumPy."""
    system = ZOO[name]()
    at = values(system, LENGTHS)
    params = {k: at[k].astype(np.float32) for k in (*system.params, *system.stats)}
    inputs, numpy, cuda = outside(system, at), Program(system, "float32"), CudaProgram(system)
    module = cuda.module
    module.cublas_library = standin.Cublas
    workspace, there = cuda.Workspace(), module.to_device(params)
    for seed in (0, 7):
        want, found = numpy.loss_and_grads(params, seed=seed, **inputs), \
            module.to_host(cuda.loss_and_grads(there, seed=seed, workspace=workspace, **inputs))
        np.testing.assert_allclose(found[0], want[0], rtol=1e-5, atol=1e-5)
        for k, v in want[1].items():
            np.testing.assert_allclose(found[1][k], v, rtol=1e-3, atol=1e-4, err_msg=k)
    for k, v in (numpy.predict(params, **inputs) if system.outputs else {}).items():
        np.testing.assert_allclose(module.to_host(cuda.predict(there, **inputs)[k]), v, rtol=1e-4, atol=1e-4, err_msg=k)
    for k, v in numpy.evaluate(params, **inputs).items():
        np.testing.assert_allclose(module.to_host(cuda.evaluate(there, **inputs)[k]), v, rtol=1e-4, atol=1e-4, err_msg=k)
    trains(numpy, cuda, params, inputs)


def trains(numpy, cuda, params, inputs):
    """Three steps, from the same parameters: the first launched plainly, the others captured and replayed."""
    before = standin.Graph.launched
    here, there = {k: v.copy() for k, v in params.items()}, cuda.module.to_device(params)
    one, other = numpy.init_state(here, seed=3), cuda.init_state(there, seed=3)
    for _ in range(3):
        want, found = numpy.train_step(here, one, **inputs), cuda.train_step(there, other, **inputs)
        np.testing.assert_allclose(float(found), want, rtol=1e-4, atol=1e-4)
    assert standin.Graph.launched == before + 2, other.workspace.views["step"].reason
    for k, v in here.items():
        np.testing.assert_allclose(cuda.module.to_host(there[k]), v, rtol=1e-3, atol=1e-4, err_msg=k)


@pytest.mark.parametrize("name", QUICK)
def test_the_same_as_numpy(device, name):
    device()
    agrees(name)


@pytest.mark.full
@pytest.mark.parametrize("order", (on_cpu.FORWARD, on_cpu.BACKWARD, on_cpu.SHUFFLED), ids=("forward", "backward", "shuffled"))
@pytest.mark.parametrize("name", ZOO)
def test_every_model_in_every_order(device, name, order):
    device(order, checked=order == on_cpu.SHUFFLED)
    agrees(name)


def test_an_index_out_of_range_is_refused_in_every_step(device):
    device()
    system = ZOO["mlp"]()
    cuda = CudaProgram(system)
    cuda.module.cublas_library = standin.Cublas
    at = values(system, LENGTHS)
    params = cuda.init(0)
    state, inputs = cuda.init_state(params), outside(system, at)
    wrong = {k: np.full_like(v, 1000) if v.dtype.kind == "i" else v for k, v in inputs.items()}
    for _ in range(3):
        with pytest.raises(ValueError, match="1000"):
            cuda.train_step(params, state, **wrong)
        cuda.train_step(params, state, **inputs)


def test_losses_are_the_callers_own_and_nothing_is_allocated_but_them(device):
    device()
    system = ZOO["mlp"]()
    cuda = CudaProgram(system)
    cuda.module.cublas_library = standin.Cublas
    at = values(system, LENGTHS)
    params = cuda.init(0)
    state, inputs = cuda.init_state(params), outside(system, at)
    losses = [cuda.train_step(params, state, **inputs) for _ in range(3)]
    before = standin.ndarray.made
    losses.append(cuda.train_step(params, state, **inputs))
    assert standin.ndarray.made == before + 1
    assert len({float(x) for x in losses}) == 4


def test_without_cupy_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(NoDevice, match=r"runs on CuPy, which cannot be imported .* install"):
        CudaProgram(ZOO["logistic"]()).init(0)


@pytest.mark.parametrize("said", ["insufficient driver", ""])
def test_without_a_device_there_is_one_sentence(device, said):
    def count():
        if said:
            raise RuntimeError(said)
        return 0
    device()
    sys.modules["cupy"].cuda.runtime.getDeviceCount = count
    with pytest.raises(NoDevice, match=rf'(finds no GPU|{said or "never"}).*"native" and "numpy" need none'):
        CudaProgram(ZOO["logistic"]()).init(0)


def test_arrays_in_the_wrong_place_are_refused(device):
    device()
    system = ZOO["mlp"]()
    cuda = CudaProgram(system)
    inputs = outside(system, values(system, LENGTHS))
    params = cuda.init(0)
    with pytest.raises(TypeError, match="not on the device; to_device"):
        cuda.loss_and_grads(cuda.module.to_host(params), **inputs)


def test_what_has_no_form_yet_is_refused():
    system = ZOO["mlp"]()
    with pytest.raises(GraphError, match="float32, not float64"):
        CudaProgram(system, "float64")
    with pytest.raises(GraphError, match="-O0"):
        CudaProgram(system, level=0)
