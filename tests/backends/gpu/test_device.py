"""Programs on a GPU: `pytest -m gpu` runs every model of the catalogue there, and all that only a device can show.

The tests themselves run everywhere: some models on the stand-in for CuPy, where what they expect must hold, too; most of that in
the long tier.
"""

import sys
from functools import cache

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.backends.gpu.program import CudaProgram, NoDevice
from chainrule.compiler.options import Options
from chainrule.frontends.trainer.data import Dataset
from chainrule.frontends.trainer.loop import Options as Training
from chainrule.frontends.trainer.loop import Trainer
from gpu import host, programs, standin
from gpu.wide import WIDE
from zoo.catalogue import TIMED, ZOO
from zoo.points import CASES
from zoo.trained_energies import TRAINED

OUTDATED = pytest.mark.filterwarnings("default::DeprecationWarning")            # what CuPy calls of a newer NumPy
ON_DEVICE = (pytest.mark.gpu, OUTDATED)
ON_GPU = pytest.param("gpu", marks=ON_DEVICE)
QUICK = pytest.mark.parametrize("place", [ON_GPU, "standin"], indirect=True)
EVERY = [*ZOO, *WIDE, *(k for k in CASES if k.startswith("example")), *TRAINED]
WITHIN = 1e-4, 1e-5                                              # rtol, atol
SHAPES = ((1, 1), (1, 2), (2, 3))                                # groups of blocks of whole loops
WORDS = """
model words(V = 300, H = 64, C = 3)
input x[t] : class(V)
target y : class(C)
param E[H, V], W[C, H] ~ normal(0.5)
loss = cross_entropy(softmax(W @ sum[t] tanh(E @ onehot(x[t]))), y)
train sgd(lr = 0.1)
"""
DRAWS = """
model draws(D = 5000)
input x
param U[D], K[D], Z[D] = 1
loss = mean[batch] x * (U @ uniform(U) + K @ real(uniform(K) < 0.3) + Z @ normal(Z))
"""


@cache
def no_device():
    """Why there is none; empty where there is one."""
    try:
        CudaProgram(ZOO["mlp"]()).init()
    except NoDevice as e:
        return str(e)
    return ""


class Place:
    """Where programs run: a GPU, or the stand-in."""

    def __init__(self, name, monkeypatch):
        self.name, self.monkeypatch = name, monkeypatch
        if name == "standin":
            if host.compiler() is None:
                pytest.skip(host.MISSING)
            return
        if why := no_device():
            pytest.skip(why)

    def program(self, system, **options):
        """A fresh program, its module loaded."""
        out = CudaProgram(system, options=Options(**options))
        if self.name == "standin":
            out._module = programs.loaded(out.source)
        return out

    def module(self, system, **options):
        return self.program(system, **options).module

    def limit(self, module, more):
        """Let the device have so many bytes more than it holds."""
        if self.name == "standin":
            self.monkeypatch.setattr(standin.SETTINGS, "memory", standin.SETTINGS.memory - standin.free() + more)
            return
        pool = module.cp.get_default_memory_pool()
        pool.free_all_blocks()
        self.monkeypatch.setattr(self, "restore", lambda: pool.set_limit(size=0))
        pool.set_limit(size=pool.total_bytes() + more)

    def restore(self):
        """Let it have all again."""


@pytest.fixture(params=[ON_GPU, pytest.param("standin", marks=pytest.mark.full)])
def place(request, monkeypatch):
    out = Place(request.param, monkeypatch)
    yield out
    out.restore()


def on(*names, quick):
    """Models on a GPU, and the quick ones on the stand-in."""
    return pytest.mark.parametrize(("place", "name"), [
        *(pytest.param("gpu", k, marks=ON_DEVICE) for k in names),
        *(pytest.param("standin", k, marks=pytest.mark.full) for k in quick)], indirect=["place"])


def results(module, c):
    """Losses, gradients, outputs and steps of a fresh module, as arrays of NumPy; the module's workspace of steps."""
    found = programs.everything(module, module.to_device(c.params), programs.on_their_way(module, c.inputs))
    return programs.flat({k: module.to_host(v) for k, v in found.items()})


def wanted(c):
    return {k: v for k, v in programs.on_numpy(c).items() if k != "replayed"}


@on(*EVERY, quick=["mlp", "cd1 samples"])
def test_a_model(place, name):
    """Losses, gradients, outputs, three steps, the last of which are a graph: NumPy's; and the same bits again. A device rounds
    otherwise than NumPy, so at a kink it may take the other side: then parameters beside it are compared.
    """
    c, found, off = programs.agreeing(programs.case(name), lambda c: results(place.module(c.system), c), wanted, *WITHIN)
    assert off == {}
    again = results(place.module(c.system), c)
    for k, v in found.items():
        np.testing.assert_array_equal(again[k], v, err_msg=k)


@on(*ZOO, quick=["dropout"])
def test_a_captured_step_is_the_launched_one(place, name):
    """To the bit; and that the steps are a graph is looked up."""
    c, found = programs.case(name), []
    for captured in (True, False):
        module = place.module(c.system)
        if not captured:
            module.Captured.capture = lambda self, *_: setattr(self, "reason", "a test launches plainly")
        params, inputs = module.to_device(c.params), programs.on_their_way(module, c.inputs)
        state = module.init_state(params, seed=3)
        losses = [module.train_step(params, state, **inputs) for _ in range(4)]
        losses = [x[0] if isinstance(x, tuple) else x for x in losses]
        step, = state.workspace.views["steps"]
        assert (step.graph is not None) == captured, step.reason
        found.append(programs.flat(module.to_host({"losses": tuple(losses), **params})))
    for k, v in found[0].items():
        np.testing.assert_array_equal(found[1][k], v, err_msg=k)


@on(*(k for k in TIMED if k != "neighbours"), "wide in time", quick=["lstm_packed"])
def test_whole_loops_in_one_launch(place, name):
    """Whatever the groups of blocks, and step by step: NumPy's results; the same bits again."""
    c = programs.case(name)
    expected = wanted(c)
    for shape in SHAPES if place.name == "gpu" else SHAPES[1:2]:
        found = []
        for _ in range(2):
            module = place.module(c.system)
            module.TOGETHER.shape = shape
            found.append(results(module, c))
            assert module.TOGETHER.functions, "no loop was launched as a whole"
        assert programs.differences(found[0], expected, *WITHIN) == {}
        for k, v in found[0].items():
            np.testing.assert_array_equal(found[1][k], v, err_msg=k)
    module = place.module(c.system, persistent=False)
    assert not hasattr(module, "TOGETHER")
    assert programs.differences(results(module, c), expected, *WITHIN) == {}


@pytest.mark.parametrize(("products", "off"), [("tf32", 4e-3), ("bf16", 4e-2)])
def test_rounded_products(place, products, off):
    """As near as their bits allow, and not what float32 gives: of so many rows that cuBLAS has no reason to do without."""
    c = programs.case("wide rows", B=256)
    plain, rounded = (place.module(c.system, products=k) for k in ("float32", products))
    grads = [m.to_host(m.loss_and_grads(m.to_device(c.params), **c.inputs)[1]) for m in (plain, rounded)]
    for k, v in grads[0].items():
        assert programs.off(grads[1][k], v) < off, k
    assert any((grads[1][k] != v).any() for k, v in grads[0].items())


def test_random_numbers_are_numpys(place):
    """Uniform ones, choices, and normal ones, to the bit. The gradients are the draws."""
    system = cr.parse(DRAWS).system
    params, numpy, module = Program(system, "float32").init(), Program(system, "float32"), place.module(system)
    for seed in (0, (7, 5), (2**62, 3)):
        known = numpy.loss_and_grads(params, x=np.ones(1, np.float32), seed=seed)[1]
        found = module.to_host(module.loss_and_grads(module.to_device(params), x=np.ones(1, np.float32), seed=seed)[1])
        for k, v in known.items():
            np.testing.assert_array_equal(found[k], v, err_msg=k)


@pytest.mark.parametrize("options", [{}, {"atomics": True}], ids=["sorted", "atomics"])
def test_rows_of_many_classes(place, options):
    """Many rows of one class: sorted, the same bits each time; by atomics, the same numbers."""
    system, rng = cr.parse(WORDS).system, np.random.default_rng(0)
    batch, steps = (512, 64) if place.name == "gpu" else (16, 8)
    numpy, module = Program(system, "float32"), place.module(system, **options)
    params = {k: np.asarray(v, np.float32) for k, v in numpy.init(seed=1).items()}
    inputs = {"x": rng.integers(0, 300, (batch, steps)) // rng.integers(1, 99, (batch, steps)), "y": rng.integers(0, 3, batch)}
    known, there = numpy.loss_and_grads(params, **inputs)[1], module.to_device(params)
    first, *others = (module.to_host(module.loss_and_grads(there, **inputs)[1]) for _ in range(5 if place.name == "gpu" else 2))
    assert programs.differences(first, known, 1e-4, 1e-6) == {}
    for other in others:
        assert options or all(np.array_equal(other[k], v) for k, v in first.items())


def test_the_trainer(place):
    """A run is NumPy's run."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    rows = {"x": (rng.normal(size=(60, 4)) + 2 * np.eye(4)[y]).astype(np.float32), "y": y}
    data = Dataset("blobs", {"train": rows, "validation": {k: v[:20] for k, v in rows.items()}})
    system = cr.parse("""
model blobs(D = 4, C = 3)
input x[D]
target y : class(C)
param W[C, D] ~ normal(0.3);  b[C] = 0
loss = cross_entropy(softmax(W @ x + b), y)
train adam(lr = 0.05)
""").system
    found, known = (Trainer(p, data, Training(epochs=3, batch=10, seed=5)) for p in (
        place.program(system), Program(system, "float32")))
    for trainer in (found, known):
        trainer.start(Program(system, "float32").init(seed=5))
    found, known = found.train(), known.train()
    assert found.run.history[-1]["train"] == pytest.approx(known.run.history[-1]["train"], rel=1e-4)
    for k, v in known.params.items():
        np.testing.assert_allclose(found.params[k], v, rtol=1e-3, atol=1e-4)


@QUICK
def test_inputs_that_are_wrong_on_the_device(place):
    """No step waits for what is wrong: its loss is NaN, and whoever brings it to the host is told; parameters stay finite."""
    c = programs.case("mlp")
    module = place.module(c.system)
    params = module.to_device(c.params)
    state, name = module.init_state(params), next(k for k, v in c.inputs.items() if v.dtype.kind == "i")
    wrong = {**c.inputs, name: np.full_like(c.inputs[name], 1000)}
    for inputs in (c.inputs, wrong, c.inputs, wrong, c.inputs):
        loss = module.train_step(params, state, **module.to_device(inputs))
        if inputs is wrong:
            with pytest.raises(ValueError, match=rf"{name}\[0\] is wrong: it goes from 0 to"):
                module.to_host(loss)
        else:
            assert np.isfinite(module.to_host(loss))
    assert all(np.isfinite(v).all() for v in module.to_host(params).values())


@QUICK
def test_out_of_memory(place):
    """One sentence with what is wanted and what is free; afterwards a smaller batch is taken."""
    c = programs.case("logistic")
    module = place.module(c.system)
    params = module.to_device(c.params)
    inputs = module.to_device({k: np.repeat(v, 200_000 if place.name == "gpu" else 500, axis=0) for k, v in c.inputs.items()})
    place.limit(module, 1 << 20 if place.name == "gpu" else 8000)
    with pytest.raises(MemoryError, match=r"no room for .*: [\d.]+ MB are wanted, and [\d.]+ MB of the device are free"):
        module.loss_and_grads(params, **inputs)
    place.limit(module, 1 << 30)
    assert np.isfinite(module.to_host(module.loss_and_grads(params, **module.to_device(c.inputs))[0]))


def test_arrays_in_the_wrong_place(place):
    """Parameters of NumPy, and, where there are two devices, those of another one."""
    c = programs.case("logistic")
    module = place.module(c.system)
    with pytest.raises(TypeError, match="not on the device; to_device"):
        module.loss_and_grads(c.params, **c.inputs)
    params = module.to_device(c.params)
    if place.name == "standin":
        place.monkeypatch.setattr(standin.SETTINGS, "device", 1)
    elif module.cp.cuda.runtime.getDeviceCount() < 2:
        return
    else:
        module.cp.cuda.Device(1).use()
    try:
        with pytest.raises(ValueError, match="is on device 0, and device 1 is in use"):
            module.loss_and_grads(params, **c.inputs)
    finally:
        if place.name == "gpu":
            module.cp.cuda.Device(0).use()


@pytest.mark.gpu
def test_cupy_is_not_the_stand_in():
    """What ran above ran on a device."""
    if why := no_device():
        pytest.skip(why)
    assert "standin" not in sys.modules["cupy"].ndarray.__module__
