"""Sequences in chunks, step by step, and generated, on the stand-in for CuPy: NumPy's numbers."""

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.backends.gpu.program import CudaProgram
from chainrule.compiler.options import Options
from gpu import host, programs, standin
from zoo import examples, truncated
from zoo.build import LENGTHS, values
from zoo.catalogue import ZOO
from zoo.points import drawn
from zoo.tiers import tier

pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
MEANS = {f.__name__: f for f in truncated.MEANS}


def modules(system):
    """The module for NumPy, and that for a GPU on the stand-in."""
    return Program(system, "float32").module, programs.loaded(CudaProgram(system).source, host.SHUFFLED)


def compared(found, wanted, rtol=2e-5):
    """Results of both by name, the same."""
    assert programs.differences(programs.flat(found), programs.flat(wanted), rtol, 1e-6) == {}


def in_chunks(module, params, parts, there):
    """Losses, carries and parameters of a sequence chunk by chunk, twice over; the gradient of each chunk first."""
    state, out, workspace = module.init_state(params, seed=3), {}, module.Workspace()
    for turn in range(2):
        carry = None
        for k, part in enumerate(parts):
            loss, grads, _ = module.loss_and_grads(params, **part, carry=carry, workspace=workspace, seed=5)
            out |= {f"{turn} {k} {n}": there(v) for n, v in grads.items()} | {f"{turn} {k} value": there(loss)}
            loss, carry = module.train_step(params, state, **part, carry=carry)
            out |= {f"{turn} {k} carry {n}": there(v) for n, v in carry.items()} | {f"{turn} {k} loss": there(loss)}
    return out | {n: there(v) for n, v in params.items()}


@pytest.mark.parametrize("name", tier(MEANS, ["lstm_packed"]))
def test_a_sequence_in_chunks(name):
    """The first chunk of a sequence and its later ones have a graph each: they run plainly once, then replay."""
    system = truncated.truncating(MEANS[name](), 2)
    numpy, device = modules(system)
    at = values(system, {**LENGTHS, "T": 8})
    parts = [truncated.part(system, at, lo, lo + 2) for lo in range(0, 8, 2)]
    parts = [{k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in p.items()} for p in parts]
    params = {k: np.asarray(at[k]).astype(np.float32) for k in (*system.params, *system.stats)}
    found = in_chunks(device, device.to_device(params), parts, device.to_host)
    compared(found, in_chunks(numpy, {k: v.copy() for k, v in params.items()}, parts, lambda x: x), 1e-4)
    assert standin.SETTINGS.count.replayed == 6


@pytest.mark.parametrize("name", tier(["char_lstm", "char_gru", "shakespeare_lstm"], ["char_lstm"]))
def test_generated_sequences(name):
    system = examples.small(name)
    numpy, device = modules(system)
    params = {k: v.astype(np.float32) for k, v in examples.at(system)[0].items()}
    there, x = device.to_device(params), np.array([[1, 2, 0], [0, 1, 1]])
    for given in ({"batch": 3}, {"x": x}, {"x": x, "temperature": 0}):
        drawn = device.generate(there, 6, seed=4, **given)
        np.testing.assert_array_equal(drawn, numpy.generate(params, 6, seed=4, **given))
    carry, known = device.start(there, 2), numpy.start(params, 2)
    for t in range(3):
        outputs, carry = device.step(there, device.to_host(carry), x[:, t])
        wanted, known = numpy.step(params, known, x[:, t])
        compared(device.to_host(outputs) | device.to_host(carry), wanted | known)


@pytest.mark.parametrize("name", tier(["lstm_packed", "noisy", "gru"], ["lstm_packed"]))
def test_gradients_in_chunks_of_time(name):
    """Checkpoints: the same numbers; such a step is not recorded, and says why."""
    point, options = drawn(ZOO[name](), {**LENGTHS, "T": 7}), Options(checkpoint="every 3")
    numpy = Program(point.system, "float32", options=options)
    device = programs.loaded(CudaProgram(point.system, options=options).source, host.SHUFFLED)
    inputs = {k: v for k, v in point.inputs(numpy).items() if k in point.system.inputs}
    params = {k: np.asarray(v).astype(np.float32) for k, v in point.params.items()}
    there = device.to_device(params)
    (loss, grads), (known, wanted) = (m.loss_and_grads(p, seed=3, **inputs) for m, p in ((device, there), (numpy, params)))
    compared({"loss": device.to_host(loss), **device.to_host(grads)}, {"loss": known, **wanted})
    state = device.init_state(there)
    with pytest.warns(UserWarning, match="a step cannot be captured: .*; it is launched kernel by kernel"):
        for _ in range(3):
            device.train_step(there, state, **inputs)
    assert state.workspace.views["steps"][0].reason == "a step cannot be captured: allocation while the stream captures"
