"""The real CuPy, where it is installed: it imports without a driver, and compiles a module's kernels by its own code path."""

import inspect

import pytest
from chainrule.backends.gpu.program import CudaProgram, NoDevice
from gpu import nvrtc, standin
from zoo.catalogue import ZOO
from zoo.tiers import tier


@pytest.fixture(scope="module")
def cupy():
    found = pytest.importorskip("cupy", reason="needs CuPy", exc_type=ImportError)
    if nvrtc.compiler() is None:
        pytest.skip(nvrtc.MISSING)
    return found


def test_without_a_driver_there_is_one_sentence(cupy):
    """The module is loaded, for kernels are compiled at the first launch; then there is no device."""
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError:
        devices = 0
    if devices:
        pytest.skip("there is a GPU")
    with pytest.raises(NoDevice, match=r'(needs an NVIDIA GPU with its driver|finds no GPU).*"native" and "numpy" need none'):
        CudaProgram(ZOO["mlp"]()).module  # noqa: B018


def public(a):
    return {k for k in vars(a) if not k.startswith("_")}


def test_the_stand_in_has_nothing_that_cupy_lacks(cupy):
    """Names, the numbers that are constants, and arguments."""
    ours = standin.cupy()
    pairs = [(ours, cupy, set()), (ours.cuda, cupy.cuda, set()), (ours.cuda.driver, cupy.cuda.driver, set()),
             (ours.cuda.runtime, cupy.cuda.runtime, set()), (standin.ndarray, cupy.ndarray, set()),
             (standin.Pointer, cupy.cuda.MemoryPointer, set()), (standin.RawModule, cupy.RawModule, {"kernel"}),
             (standin.RawKernel, cupy.RawKernel, {"resident"}), (standin.Stream, cupy.cuda.Stream, {"run"}),
             (standin.Graph, cupy.cuda.Graph, set())]
    assert [public(mine) - own - {*dir(theirs)} for mine, theirs, own in pairs] == [set()] * len(pairs)
    mine, theirs = ours.cuda.runtime, cupy.cuda.runtime
    numbers = {k: v for k, v in vars(mine).items() if isinstance(v, int)}
    assert numbers == {k: getattr(theirs, k) for k in numbers}
    for name in ("asarray", "empty", "zeros", "empty_like", "zeros_like", "broadcast_to", "ascontiguousarray"):
        given, taken = (list(inspect.signature(getattr(x, name)).parameters) for x in (ours, cupy))
        assert [k for k in given if k not in taken] in ([], ["a"]), name


@pytest.mark.parametrize("name", tier(["mlp", "lstm_packed"], ["mlp"]))
def test_cupy_compiles_the_kernels(cupy, name, monkeypatch):
    """By CuPy's own compiler module, with the options that the program gives; only the device is not asked what it is."""
    from cupy.cuda import compiler
    monkeypatch.setattr(compiler, "_get_arch_for_options_for_nvrtc", lambda arch: (f"-arch=sm_{arch}", "cubin"))
    binary, _ = compiler.compile_using_nvrtc(CudaProgram(ZOO[name]()).cuda, ("-std=c++17",), arch="90", filename="kernels.cu")
    assert binary
