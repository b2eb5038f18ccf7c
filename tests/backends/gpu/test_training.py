"""Training steps on the stand-in for CuPy are NumPy's: every optimiser, what a train line adds to it, very many parameters."""

import re

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.backends.gpu import updates
from chainrule.backends.gpu.program import CudaProgram
from chainrule.compiler.optimisers import OPTIMISERS
from chainrule.frontends.language import parse
from gpu import host, programs, standin
from zoo.tiers import tier

pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
MODEL = """model m(D = 9, H = 37)
input x[D]
target y[H]
param W[H, D] ~ normal(0.5);  V[H, H] ~ normal(0.1);  b[H] = 0.1;  s = 0.7
{}loss = squares(s * (tanh(W @ x) + V @ tanh(W @ x)) + b, y)
{}train {}
"""
NORM = "stat m[H] = 0 <- 0.9 * m + 0.1 * mean[batch](W @ x)\n"
ADDED = {
    "clip_value": "sgd(lr = 0.1), clip_value = 0.05", "clip_norm": "adam(lr = 0.01), clip_norm = 0.2",
    "clip_norm that is not met": "adam(lr = 0.01), clip_norm = 1e6", "clip_norm, nesterov": "nesterov(lr = 0.05), clip_norm = 1",
    "decay": "adam(lr = 0.01), l2(0.1) on W V, l1(0.02) on b", "max_norm": "momentum(lr = 0.05), max_norm(0.6) on W V",
    "l1_ball": "sgd(lr = 0.1), l1_ball(1) on W V", "freeze": "adam(lr = 0.01), freeze W s, clip_norm = 1",
    "rates": "adam(lr = 0.01), rate W = 0.25, rate b = 2", "all of one": "adagrad(lr = 0.1, eps = 0.1), freeze V, rate W = 0.5, "
    "clip_norm = 1, l2(0.1) on W, max_norm(0.6) on W, l1_ball(3) on b"}
QUICK = ("adamw", "freeze")
STEPS = 5


def lines(name):
    """The optimiser as it is, and with other options than its own."""
    yield f"{name}(lr = 0.05)"
    defaults = {k: v for k, v in OPTIMISERS[name][0].items() if k != "lr"}
    other = {k: str(not v).lower() if isinstance(v, bool) else {"eps": 1e-3, "weight_decay": 0.1}.get(k, 0.7)
             for k, v in defaults.items()}
    if other:
        yield f"{name}(lr = 0.05, {', '.join(f'{k} = {v}' for k, v in other.items())})"


def steps(module, params, batches, there=lambda x: x):
    """Losses, parameters and state of some steps, the rate halved on the way."""
    state, out = module.init_state(params, seed=3), {}
    for k, batch in enumerate(batches):
        if k == 3:
            state["lr"][...] = np.float32(0.5) * np.float32(there(state["lr"]))
        out[f"loss of step {k}"] = there(module.train_step(params, state, **batch))
    after = {f"{k} after the steps": v for k, v in params.items()} | {f"state {k}": v for k, v in state.items()}
    return out | {k: there(v) for k, v in after.items()}


def same(text, order=host.SHUFFLED):
    """The steps of a model in NumPy and on a GPU, the same but for rounding.

    Where a gradient is nearly 0, optimisers that divide by its size make rounding large: as NumPy's own, beside float64.
    """
    system, rng = parse(text), np.random.default_rng(0)
    numpy, device = Program(system, "float32"), programs.loaded(CudaProgram(system).source, order, True)
    shapes = {k: [n.evaluate(system.sizes) for n in i.shape] for k, i in system.inputs.items()}
    batches = [{k: rng.normal(size=(6, *n)).astype(np.float32) for k, n in shapes.items()} for _ in range(STEPS)]
    params = {k: np.array(v) for k, v in numpy.init(seed=1).items()}
    found = steps(device, device.to_device(params), batches, device.to_host)
    replayed = standin.SETTINGS.count.replayed
    exact = {k: v.astype(np.float64) for k, v in params.items()}
    found, wanted = programs.flat(found), programs.flat(steps(numpy.module, params, batches))
    if wrong := programs.differences(found, wanted, 2e-6, 1e-7):
        exact = programs.flat(steps(Program(system, "float64").module, exact, batches))
        wrong = {k: v for k, v in wrong.items() if 4 * abs(wanted[k] - exact[k]).max() < abs(found[k] - wanted[k]).max()}
    assert wrong == {}
    assert replayed == STEPS - 1
    return device


@pytest.mark.parametrize("name", tier(OPTIMISERS, QUICK))
def test_an_optimiser(name):
    for line in lines(name):
        same(MODEL.format("", "", line))


@pytest.mark.parametrize("name", tier(ADDED, QUICK))
def test_what_a_train_line_adds(name):
    same(MODEL.format("", "", ADDED[name]))


@pytest.mark.full
def test_statistics_and_penalties():
    """What is written by steps and not trained; what is added to the objective."""
    same(MODEL.format(NORM, "penalty l2(0.3) on W, s\npenalty l1(0.2) on b\n", "rmsprop(lr = 0.01), clip_norm = 5"))


@pytest.mark.full
def test_more_parameters_than_a_kernel_takes(monkeypatch):
    monkeypatch.setattr(updates, "MOST", 7)                      # pointers: two parameters with their gradients and slots
    kernels = same(MODEL.format("", "", "nesterov(lr = 0.05, momentum = 0.8), clip_norm = 0.5")).KERNELS.text
    assert all(re.search(rf"\b{k}_2\(", kernels) for k in ("look", "squares", "clip", "update"))


def test_batches_of_a_few_sizes_take_turns():
    """Each has a graph of its own, as long as no larger one moves the buffers; the fifth size takes the place of the oldest."""
    numpy, rng = Program(parse(MODEL.format("", "", "adam(lr = 0.01)"))), np.random.default_rng(0)
    here, device = numpy.init(seed=1), programs.loaded(CudaProgram(numpy.system).source)
    params, count = device.to_device(here), standin.SETTINGS.count
    state, known = device.init_state(params), numpy.init_state(here)

    def replays(*sizes):
        before = count.replayed
        for n in sizes:
            batch = {"x": rng.normal(size=(n, 9)).astype(np.float32), "y": rng.normal(size=(n, 37)).astype(np.float32)}
            loss = device.to_host(device.train_step(params, state, **batch))
            np.testing.assert_allclose(loss, numpy.train_step(here, known, **batch), rtol=1e-4)
        return count.replayed - before
    assert replays(9, 5, 9, 5, 5, 9) == 4
    assert replays(20) == 0                                      # buffers move
    assert replays(9, 5, 20, 9, 5) == 3                          # the first of a size runs plainly: 20 has had it
    assert replays(6, 7, 20, 5) == 1 and len(state.workspace.views["steps"]) == 4        # 20 gave way to 7
