"""Random numbers on the stand-in for CuPy are the CPU's, to the bit: whatever is drawn, of any seed, wherever it stands."""

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.backends.gpu.program import CudaProgram
from gpu import host, programs

pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
SEEDS = (0, 5, -1, 2**63 - 1, -2**63, (3, 9), (-7, 2**40))
ALONE = """
model alone(N = {n}, M = 3)
input x
param U[N], Z[N], P[M, N], K[N] = 0
loss = mean[batch] x * (U @ uniform(U) + Z @ normal(Z) + sum(P * normal(P)) + K @ real(uniform(K) < 0.3))
train sgd(lr = 1)
"""
SEQUENCES = """
model sequences(D = 7)
input x[t, D]
param U[D], Z[D], K[D], G[D] = 0
loss = mean[batch] sum[t] (U @ (x[t] * uniform(x[t])) + Z @ (x[t] * normal(x[t])) + K @ dropout(x[t], 0.5)
       + G @ gaussian_noise(x[t], 0.5))
train sgd(lr = 1)
"""
CHUNKS = """
model chunks(D = 5)
input x[t, D]
param U[D], Z[D] = 0
s[t] = tanh(s[t-1] + U * uniform(x[t]) + Z * normal(x[t]) + x[t]) where s[-1] = 0
loss = mean[batch] sum[t] sum(s[t])
train sgd(lr = 1), truncate = 3
"""


def modules(text):
    """The module for NumPy, that for a GPU, and parameters that are 0."""
    system = cr.parse(text).system
    numpy = Program(system, "float32")
    return numpy.module, programs.loaded(CudaProgram(system).source, host.SHUFFLED), {
        k: np.zeros_like(v) for k, v in numpy.init(seed=0).items()}


def gradients(module, params, there=lambda x: x, **given):
    """The gradients of a linear loss: what it multiplies the parameters by."""
    return {k: there(v) for k, v in module.loss_and_grads(params, **given)[1].items()}


@pytest.mark.parametrize("n", [5, *(pytest.param(n, marks=pytest.mark.full) for n in (1, 2, 4099))])
def test_arrays_of_any_length(n):
    numpy, device, params = modules(ALONE.format(n=n))
    x = np.ones(1, np.float32)
    there, seen = device.to_device(params), set()
    for seed in SEEDS:
        wanted, found = gradients(numpy, params, x=x, seed=seed), gradients(device, there, device.to_host, x=x, seed=seed)
        for k, v in wanted.items():
            np.testing.assert_array_equal(found[k], v, err_msg=f"{k}, seed {seed}")
        seen.add(wanted["U"].tobytes())
    assert len(seen) == len(SEEDS)


def test_each_step_of_each_example():
    """What is 0 but at one place lets the draw of this place through."""
    numpy, device, params = modules(SEQUENCES)
    there, seen = device.to_device(params), set()
    for b, t in np.ndindex(4, 3):
        x = np.zeros((4, 3, 7), np.float32)
        x[b, t] = 1
        wanted, found = gradients(numpy, params, x=x, seed=(8, 2)), gradients(device, there, device.to_host, x=x, seed=(8, 2))
        for k, v in wanted.items():
            np.testing.assert_array_equal(found[k], v, err_msg=f"{k} of step {t} of example {b}")
        seen.add(wanted["U"].tobytes())
    assert len(seen) == 12


def test_chunks_draw_as_the_whole_does():
    """A chunk's numbers go on where those of the chunk before end."""
    numpy, device, params = modules(CHUNKS)
    x = np.random.default_rng(0).normal(size=(2, 9, 5)).astype(np.float32)
    carries = {numpy: None, device: None}
    for k in range(3):
        found = {}
        for m, p in ((numpy, params), (device, device.to_device(params))):
            loss, grads, carries[m] = m.loss_and_grads(p, x[:, 3 * k:3 * k + 3], carry=carries[m], seed=4)
            found[m] = {n: m.to_host(v) if m is device else v for n, v in {"loss": loss, **grads}.items()}
        assert programs.differences(programs.flat(found[device]), programs.flat(found[numpy]), 1e-6, 1e-6) == {}


def test_steps_draw_by_their_number():
    """A captured step draws anew each time, and what a state of that step would draw."""
    numpy, device, params = modules(ALONE.format(n=5))
    x, there = np.ones(1, np.float32), device.to_device(params)
    known, state = numpy.init_state(params, seed=6), device.init_state(there, seed=6)
    for _ in range(4):
        numpy.train_step(params, known, x)
        device.train_step(there, state, x)
        for k, v in params.items():
            np.testing.assert_array_equal(device.to_host(there)[k], v, err_msg=k)
    assert state.workspace.views["steps"][0].graph
