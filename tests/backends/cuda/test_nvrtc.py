"""Every kernel through NVIDIA's compiler, with CuPy's options: no warnings, nothing spilled."""

import nvrtc
import pytest
from chainrule.backends.cuda.program import CudaProgram
from zoo.catalogue import ZOO

ARCHITECTURES = ("sm_75", "sm_80", "sm_90")
QUICK = ("mlp", "lstm")


@pytest.fixture(scope="module")
def compiler():
    path = nvrtc.library()
    if path is None:
        pytest.skip("needs NVRTC: there is no wheel nvidia-cuda-nvrtc")
    return nvrtc.Nvrtc(path)


def compiled(compiler, name, architecture):
    made, log = compiler.compile(CudaProgram(ZOO[name]()).cuda, architecture)
    assert made, log
    assert nvrtc.complaints(log) == []
    used = nvrtc.resources(log)
    assert used and {k: v for k, v in used.items() if v[1]} == {}
    return used


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_compiles(compiler, architecture):
    compiled(compiler, "mlp", architecture)


@pytest.mark.full
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", ZOO)
def test_every_model_compiles(compiler, name, architecture):
    compiled(compiler, name, architecture)
