"""How programs for a GPU are used, on the stand-in for CuPy: trained by the trainer, saved, given what they cannot take."""

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.gpu.program import CudaProgram
from chainrule.frontends.trainer.data import Dataset
from chainrule.frontends.trainer.loop import Options, Trainer
from gpu import host, programs, standin

pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
TEXT = """
model blobs(D = 4, C = 3)
input x[D]
target y : class(C)
param W[C, D] ~ normal(0.3);  b[C] = 0
s = W @ x + b
p = softmax(s)
loss = cross_entropy(p, y)
train adam(lr = 0.05)
"""


@pytest.fixture
def program():
    out = CudaProgram(cr.parse(TEXT).system)
    out._module = programs.loaded(out.source)
    return out


def blobs(n):
    rng = np.random.default_rng(n)
    y = rng.integers(0, 3, n)
    return {"x": (rng.normal(size=(n, 4)) + np.eye(4)[y] * 2).astype(np.float32), "y": y}


def test_the_trainer(program, tmp_path):
    """Parameters stay on the device; what is kept is NumPy's, and a run goes on from it."""
    data = Dataset("blobs", {"train": blobs(40), "validation": blobs(20)})

    def trained(made, epochs, out=None, resume=False):
        trainer = Trainer(made, data, Options(epochs=epochs, batch=8, seed=5), out=out)
        trainer.resume() if resume else trainer.start(cr.compile(made.system).init(seed=5))
        return trainer.train()

    found, wanted = trained(program, 3), trained(cr.compile(program.system), 3)
    assert found.run.history[-1]["train"] == pytest.approx(wanted.run.history[-1]["train"], rel=1e-4)
    trained(program, 2, tmp_path)
    again = trained(program, 3, tmp_path, resume=True)
    for k, v in wanted.params.items():
        np.testing.assert_allclose(found.params[k], v, rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(again.params[k], found.params[k])
    assert standin.SETTINGS.count.replayed > 10


def test_arrays_of_numpy_give_arrays_of_numpy(program):
    params, inputs = program.to_host(program.init(seed=1)), blobs(5)
    assert isinstance(program.predict(params, x=inputs["x"])["p"], np.ndarray)
    assert isinstance(program.evaluate(params, **inputs)["loss"][0], np.ndarray)


def test_wrong_inputs_on_the_device_are_told_with_the_loss(program):
    """No step waits: the loss is NaN, and whoever brings it to the host is told."""
    params, inputs, m = program.init(), blobs(5), program.module
    state = program.init_state(params)
    for step in range(3):
        there = m.to_device(inputs)
        there["y"].set(np.array([0, 1, 3 if step == 1 else 2, 0, -1 if step == 2 else 1]))
        before = standin.SETTINGS.count.read
        loss = program.train_step(params, state, **there)
        assert standin.SETTINGS.count.read == before
        if step:
            assert np.isnan(loss.held)
            with pytest.raises(ValueError, match=rf"y\[{2 if step == 1 else 4}\] is wrong: it goes from 0 to 2"):
                m.to_host(loss)
    assert np.isfinite(m.to_host(program.loss_and_grads(params, **m.to_device(inputs))[0]))


def leave(size):
    """Let so many bytes of the device be free."""
    standin.SETTINGS.memory += size - standin.free()


def test_memory_that_ends(program):
    """At the buffers, at the gradients, at an array: what is wanted, beside what is free; then all goes on as if it had not."""
    params, inputs, m = program.init(), blobs(5), program.module
    state = program.init_state(params)
    wanted = [float(program.train_step(params, state, **inputs)) for _ in range(3)]
    buffers = r"no room for the buffers of gradients: \d.\d MB are wanted, and [01].\d MB of the device are free; take a smaller batch"
    for room, said in ((0, r"an array of shape \(60000, 4\) does not fit into the 0.0 MB of the device"), (1_600_000, buffers)):
        params = program.init()
        state = program.init_state(params)
        assert float(program.train_step(params, state, **inputs)) == wanted[0]
        leave(room)
        for _ in range(2):
            with pytest.raises(MemoryError, match=said):
                program.train_step(params, state, **blobs(60000))
        standin.SETTINGS.memory = 1 << 40
        assert [float(program.train_step(params, state, **inputs)) for _ in range(2)] == wanted[1:]
    leave(20)
    with pytest.raises(MemoryError, match="no room for gradients: "):
        m.Workspace().gradients(params, m.TRAINED)


def test_no_memory_to_record_a_step(program):
    """Then steps are launched plainly, and the workspace says why."""
    params, there = program.init(), program.module.to_device(blobs(5))
    state, workspace = program.init_state(params), program.Workspace()
    before = standin.SETTINGS.count.replayed
    losses = [program.train_step(params, state, workspace=workspace, **there)]
    leave(100)                                                   # bytes: for classes and for a loss, not for inputs that stay
    losses += [program.train_step(params, state, workspace=workspace, **there) for _ in range(2)]
    standin.SETTINGS.memory = 1 << 40
    assert np.isfinite([float(x) for x in losses]).all() and standin.SETTINGS.count.replayed == before
    assert "a step cannot be captured: no room for the place of y: 0.0 MB are" in workspace.views["step"].reason


def test_another_device(program):
    params, inputs = program.init(), blobs(5)
    standin.SETTINGS.device = 1
    with pytest.raises(ValueError, match=r"params\['W'\] is on device 0, and device 1 is in use"):
        program.predict(params, x=inputs["x"])
