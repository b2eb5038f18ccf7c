"""Programs for a GPU as users meet them, on the stand-in for CuPy: memory, indices out of range, what is missing."""

import sys

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.backends.gpu.program import CudaProgram, NoDevice
from chainrule.compiler.graph import GraphError
from chainrule.frontends.language import parse
from gpu import host, programs, standin
from zoo.catalogue import ZOO

pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)


@pytest.fixture
def cupy(monkeypatch):
    """The stand-in, as `cupy` for what follows."""
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy())
    return sys.modules["cupy"]


@pytest.fixture
def begun(cupy):
    """A model with parameters, state and inputs."""
    program = CudaProgram(ZOO["mlp"]())
    program.module.ctypes = standin.Ctypes()
    params = program.init(0)
    return program, params, program.init_state(params), programs.case("mlp").inputs


def test_an_index_out_of_range_is_refused_in_every_step(begun):
    """Also where the step is a captured graph; and the next one goes on from the same parameters."""
    program, params, state, inputs = begun
    wrong = {k: np.full_like(v, 1000) if v.dtype.kind == "i" else v for k, v in inputs.items()}
    for _ in range(3):
        before = program.module.to_host(params)
        with pytest.raises(ValueError, match="1000"):
            program.train_step(params, state, **wrong)
        after = program.module.to_host(params)
        assert all((after[k] == v).all() for k, v in before.items())
        program.train_step(params, state, **inputs)


def test_losses_are_the_callers_own_and_nothing_else_is_made(begun):
    program, params, state, inputs = begun
    losses = [program.train_step(params, state, **inputs) for _ in range(3)]
    before = standin.SETTINGS.count.made
    losses.append(program.train_step(params, state, **inputs))
    assert standin.SETTINGS.count.made == before + 1
    assert len({float(x) for x in losses}) == 4


@pytest.mark.parametrize("text", ["input x[D]; h = tanh(x); output h",
                                  "input x[t, D]; h[t] = tanh(x[t] + h[t-1]) where h[-1] = 0; output h"])
def test_a_model_without_parameters(cupy, text):
    """Numbers are float32, wherever the input lies and whatever it holds; without parameters the input says where results are."""
    program = CudaProgram(parse("\n".join(["model plain(D = 3)", *text.split("; ")])))
    program.module.ctypes = standin.Ctypes()
    x = np.random.default_rng(0).normal(size=(2, 4, 3) if "[t, D]" in text else (2, 3))
    wanted = Program(program.system, "float32").predict({}, x=x)["h"]
    for given in (x, x.astype(np.float32), program.to_device(x)):
        found = program.predict({}, x=given)["h"]
        assert isinstance(found, type(given)) and found.dtype == np.float32
        np.testing.assert_allclose(program.to_host(found), wanted, rtol=1e-6)
    if "[t, D]" in text:
        out, _ = program.step({}, program.start({}, batch=2), x=program.to_device(x[:, 0]))
        np.testing.assert_allclose(program.to_host(out["h"]), wanted[:, 0], rtol=1e-6)


def test_without_cupy_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    program = CudaProgram(ZOO["logistic"]())
    said = r'^this module runs on CuPy, which cannot be imported \(.*\); install "cupy-cuda13x\[ctk\]" for CUDA 13, "cupy-cuda12x'
    with pytest.raises(NoDevice, match=said):
        program.init(0)
    with pytest.raises(ImportError, match=said) as raised:       # the file alone
        exec(compile(program.source, "model_cupy.py", "exec"), {})
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("said", ["insufficient driver", ""])
def test_without_a_device_there_is_one_sentence(cupy, said):
    def count():
        if said:
            raise RuntimeError(said)
        return 0
    cupy.cuda.runtime.getDeviceCount = count
    with pytest.raises(NoDevice, match=rf'(finds no GPU|{said or "never"}).*"native" and "numpy" need none'):
        CudaProgram(ZOO["logistic"]()).init(0)


@pytest.mark.parametrize("said", ["insufficient driver", "CuPy finds none"])
def test_a_module_alone_says_that_there_is_no_device(begun, said, monkeypatch):
    def count():
        if "driver" in said:
            raise RuntimeError(said)
        return 0
    module = begun[0].module
    monkeypatch.setattr(module.cp.cuda.runtime, "getDeviceCount", count)
    with pytest.raises(RuntimeError, match=rf"runs on an NVIDIA GPU with its driver \({said}\); a module for NumPy or for C"):
        module.init(0)


def test_arrays_in_the_wrong_place_are_refused(begun):
    program, params, _, inputs = begun
    with pytest.raises(TypeError, match="not on the device; to_device"):
        program.module.loss_and_grads(program.module.to_host(params), **inputs)


def test_what_has_no_form_is_refused():
    system = ZOO["mlp"]()
    with pytest.raises(GraphError, match="float32, not float64"):
        CudaProgram(system, "float64")
    with pytest.raises(GraphError, match="-O0"):
        CudaProgram(system, level=0)
