"""How programs for a GPU are used, on the stand-in for CuPy: trained by the trainer, saved, given what they cannot take."""

import copy
import os
import subprocess
import sys
import threading
import types
from itertools import islice
from pathlib import Path

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.gpu.program import CudaProgram
from chainrule.frontends.commands.check import check
from chainrule.frontends.trainer.data import Dataset
from chainrule.frontends.trainer.errors import RunError
from chainrule.frontends.trainer.loop import Options, Trainer
from gpu import host, mutated_calls, programs, standin
from native.mutated_calls import MUTATIONS

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


RBM = """
energy rbm(D = 4, H = 3)
visible v[D] : binary(mean)
hidden h[H] : binary
param W[H, D] ~ glorot;  b[D] = 0;  c[H] = 0
E = - h @ W @ v - b @ v - c @ h
train persistent_contrastive_divergence(k = 2, lr = 0.1)
"""


def test_the_trainer_of_an_energy():
    """Its measures are of arrays of NumPy; chains go on."""
    program = CudaProgram(cr.parse(RBM).system)
    program._module = programs.loaded(program.source)
    data = Dataset("patterns", {"train": {"v": np.random.default_rng(0).random((24, 4)).astype(np.float32)}})
    runs = []
    for made in (program, cr.compile(program.system)):
        trainer = Trainer(made, data, Options(epochs=2, batch=8, seed=5))
        trainer.start()
        runs.append(trainer.train())
    for found, wanted in zip(*(r.run.history for r in runs), strict=True):
        assert {**found, "seconds": 0} == pytest.approx({**wanted, "seconds": 0}, rel=1e-4)
    for k, v in runs[1].params.items():
        np.testing.assert_allclose(runs[0].params[k], v, rtol=1e-4, atol=1e-6)


def test_the_command_check(tmp_path, monkeypatch, capsys):
    """By the module's own differences, in float32."""
    made = {}
    monkeypatch.setattr(CudaProgram, "module", property(lambda p: made.setdefault(p, programs.loaded(p.source))))
    (tmp_path / "blobs.nn").write_text(TEXT)
    check(str(tmp_path / "blobs.nn"), "cupy", (), seed=1)
    assert "gradients agree" in capsys.readouterr().out
    wrong, = made.values()
    monkeypatch.setattr(wrong, "check", lambda **given: 0.5)
    monkeypatch.setattr(CudaProgram, "module", wrong)
    with pytest.raises(RunError, match=r"a gradient of blobs differs from differences in float32 by more than 0\.02"):
        check(str(tmp_path / "blobs.nn"), "cupy", (), seed=1)


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
    buffers = r"no room for the buffers of gradients: \d.\d MB are wanted, and [01].\d MB of the device are free; take a smaller"
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
    with pytest.warns(UserWarning, match="a step cannot be captured: no room for the place of y"):
        losses += [program.train_step(params, state, workspace=workspace, **there) for _ in range(2)]
    standin.SETTINGS.memory = 1 << 40
    assert np.isfinite([float(x) for x in losses]).all() and standin.SETTINGS.count.replayed == before
    assert "a step cannot be captured: no room for the place of y: 0.0 MB are" in workspace.views["steps"][0].reason


def test_no_examples(program):
    """Nothing to learn from is refused, nothing to predict is predicted."""
    params, none = program.init(), {"x": np.zeros((0, 4), np.float32), "y": np.zeros(0, int)}
    for given in (none, program.module.to_device(none)):
        with pytest.raises(ValueError, match=r"x must have the shape \(some, 4\), not \(0, 4\)"):
            program.train_step(params, program.init_state(params), **given)
        assert program.predict(params, x=given["x"])["p"].shape == (0, 3)


def test_another_device(program):
    params, inputs = program.init(), blobs(5)
    standin.SETTINGS.device = 1
    with pytest.raises(ValueError, match=r"params\['W'\] is on device 0, and device 1 is in use"):
        program.predict(params, x=inputs["x"])


# ---------------------------------------------------------------- calls with wrong arguments

def test_mutated_calls(capsys):
    """Refused in a sentence, or right; also in a step that is replayed."""
    calls = mutated_calls.Calls(mutated_calls.Model(TEXT))
    for mutation in islice(calls.model.mutated(), 0, None, 11):
        calls.mutation(*mutation)
    assert capsys.readouterr().out == ""
    assert calls.count > 100 and calls.refused > 30


@pytest.mark.full
def test_more_mutated_calls():
    """Of recurrent models and an energy, too: every kind of mutation of parameters, state and inputs, each of some arrays."""
    here = Path(__file__).resolve().parent
    path = os.pathsep.join([str(here.parents[1]), str(here.parent), *sys.path])
    done = subprocess.run([sys.executable, str(here / "mutated_calls.py"), "6"], capture_output=True, text=True, timeout=600,
                          env={**os.environ, "PYTHONPATH": path}, check=True)
    *wrong, counts = done.stdout.splitlines()
    assert wrong == []
    calls, _, kinds = map(int, counts.split()[::2])
    assert calls > 2000 and kinds == 3 * len(MUTATIONS)


# ---------------------------------------------------------------- a graph and what it works on

def steps(program, params, state, workspace, inputs, times=2):
    return [float(program.train_step(params, state, workspace=workspace, **inputs)) for _ in range(times)]


def test_buffers_that_move_are_captured_again(program):
    """A larger batch in the same workspace takes the buffers that a graph works in."""
    params, other = program.init(), program.init()
    state, workspace, wanted = program.init_state(params), program.Workspace(), program.Workspace()
    steps(program, params, state, workspace, blobs(5))
    program.loss_and_grads(params, workspace=workspace, **blobs(50))
    before = standin.SETTINGS.count.replayed
    found = steps(program, params, state, workspace, blobs(5), 3)
    assert standin.SETTINGS.count.replayed == before + 2         # a plain one, then a new graph
    assert found == steps(program, other, program.init_state(other), wanted, blobs(5), 5)[2:]


def test_other_arrays_are_captured_again(program):
    """Parameters that are replaced, a learning rate that is, batches of other sizes."""
    params, workspace = program.init(), program.Workspace()
    state = program.init_state(params)
    steps(program, params, state, workspace, blobs(5), 3)
    params["W"] = params["W"].copy()
    state["lr"] = program.to_device(0.0)
    before = program.to_host(params)
    steps(program, params, state, workspace, blobs(5), 3)
    steps(program, params, state, workspace, blobs(7), 3)
    after = program.to_host(params)
    assert all((after[k] == v).all() for k, v in before.items())
    state["lr"] = 0.01
    with pytest.raises(TypeError, match=r"state\['lr'\] is float, not on the device; to_device\(state\) brings it there"):
        program.train_step(params, state, **blobs(5))


def test_an_interrupted_capture_is_none(program, monkeypatch):
    """Ctrl-C while a step is recorded leaves no half a graph."""
    params, workspace = program.init(), program.Workspace()
    state, launch = program.init_state(params), program.module.launch
    first = steps(program, params, state, workspace, blobs(5), 1)

    def stopped(name, *given):
        if name == "update":
            raise KeyboardInterrupt
        launch(name, *given)
    monkeypatch.setattr(program.module, "launch", stopped)
    with pytest.raises(KeyboardInterrupt):
        program.train_step(params, state, workspace=workspace, **blobs(5))
    monkeypatch.setattr(program.module, "launch", launch)
    found = first + steps(program, params, state, workspace, blobs(5), 3)
    params = program.init()
    assert found == steps(program, params, program.init_state(params), program.Workspace(), blobs(5), 4)


# ---------------------------------------------------------------- streams, threads, devices

def test_a_stream_of_the_callers_own(program):
    """Steps run on it, products in its own workspace; on another stream they are recorded anew."""
    m, params, workspace = program.module, program.init(), program.Workspace()
    state, mine = program.init_state(params), m.cp.cuda.Stream(non_blocking=True)
    found = steps(program, params, state, workspace, blobs(5), 3)
    with mine:
        found += steps(program, params, state, workspace, blobs(5), 3)
    assert standin.SETTINGS.count.replayed == 4
    params = program.init()
    assert found == steps(program, params, program.init_state(params), program.Workspace(), blobs(5), 6)
    assert len(m.BLAS.workspaces) == 2 and len(m.BLAS.handles) == 4


def test_a_capture_of_the_callers_own_is_refused(program):
    params, workspace = program.init(), program.Workspace()
    state, inputs = program.init_state(params), program.to_device(blobs(5))
    for _ in range(3):
        with program.module.cp.cuda.Stream(non_blocking=True) as stream:
            stream.begin_capture()
            with pytest.raises(RuntimeError, match="train_step captures itself"):
                program.train_step(params, state, workspace=workspace, **inputs)
            with pytest.raises(RuntimeError, match="outside of the capture"):
                program.predict(params, x=inputs["x"])
            stream.end_capture()
        steps(program, params, state, workspace, inputs, 1)


def test_threads(program):
    """Two models of one module in two threads, each on a stream of its own, give what one alone gives."""
    wanted = steps(program, *begun(program), blobs(9), 12)
    given, found = [begun(program) for _ in range(2)], [None, None]

    def work(k):
        with program.module.cp.cuda.Stream(non_blocking=True):
            found[k] = steps(program, *given[k], blobs(9), 12)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == [wanted, wanted]


def begun(program):
    params = program.init()
    return params, program.init_state(params), program.Workspace()


def test_two_devices(program):
    """A module works on the device in use, whose arrays those of another are not."""
    on_first = begun(program)
    found = [steps(program, *on_first, blobs(5), 3)]
    standin.SETTINGS.device = 1
    on_second = begun(program)
    found.append(steps(program, *on_second, blobs(5), 3))
    assert found[0] == found[1]
    there = program.to_device(blobs(5))
    standin.SETTINGS.device = 0
    assert steps(program, *on_first, blobs(5)) != found[0][:2]
    for workspace in (on_first[2], program.Workspace()):         # a step that is replayed, and a plain one
        with pytest.raises(ValueError, match=r"x is on device 1, and device 0 is in use: with cupy.cuda.Device\(...\) chooses"):
            program.train_step(on_first[0], on_first[1], workspace=workspace, **there)
    with pytest.raises(ValueError, match=r"state\['step'\] is on device 1, and device 0 is in use"):
        program.train_step(*on_second[:2], **blobs(5))


# ---------------------------------------------------------------- what is another library's, or a copy

class Foreign:
    """An array of another library on the device."""

    def __init__(self, a):
        self.there = standin.given(a)
        self.__cuda_array_interface__ = self.there.__cuda_array_interface__

    def __array__(self, *given, **more):
        raise TypeError("this array lies on a device")


def test_arrays_of_other_libraries(program):
    """They are read where they lie, also where a step is replayed; to_device makes parameters of them."""
    wanted = steps(program, *begun(program), blobs(6), 3)
    params = {k: Foreign(program.to_host(v)) for k, v in program.init().items()}
    with pytest.raises(TypeError, match=r"params\['W'\] is Foreign, not on the device; to_device\(params\) brings it there"):
        program.predict(params, x=blobs(6)["x"])
    params = program.to_device(params)
    inputs = {"x": Foreign(np.asfortranarray(blobs(6)["x"], np.float64)), "y": Foreign(blobs(6)["y"].astype(np.int32))}
    assert steps(program, params, program.init_state(params), program.Workspace(), inputs, 3) == wanted


def test_a_state_is_copied_without_its_workspace(program):
    """A copy goes on as the state does, and has buffers and a graph of its own."""
    params = program.init()
    state = program.init_state(params)
    for _ in range(3):
        program.train_step(params, state, **blobs(5))
    others, copied = copy.deepcopy(dict(params)), copy.deepcopy(state)
    assert copied.workspace is not state.workspace and not copied.workspace.views
    found = [[float(program.train_step(p, s, **blobs(5))) for _ in range(3)] for p, s in ((params, state), (others, copied))]
    assert found[0] == found[1]


def test_a_device_that_is_too_old(program, monkeypatch):
    def refused(*given):
        raise RuntimeError("nvrtc: error: invalid value for --gpu-architecture (-arch)")
    cp = program.module.cp
    monkeypatch.setattr(cp.RawModule, "get_function", refused)
    for capability, said in (("61", "this one has 6.1, and CuPy is that for CUDA 13"), ("70", "this one has 7.0, and"),
                             ("75", "nvrtc: error"), ("100", "nvrtc: error")):
        monkeypatch.setattr(cp.cuda, "Device", lambda: types.SimpleNamespace(compute_capability=capability))  # noqa: B023
        with pytest.raises(RuntimeError, match=said):
            program.predict(program.init(), x=blobs(3)["x"])


# ---------------------------------------------------------------- what belongs to another model

def test_what_is_another_models(program):
    params, other = program.init(), CudaProgram(cr.parse(TEXT.replace("D = 4", "D = 6")).system)
    other._module = programs.loaded(other.source)
    with pytest.raises(TypeError, match=r"workspace must be one that this module's Workspace\(\) makes"):
        program.train_step(params, program.init_state(params), workspace=other.Workspace(), **blobs(5))
    with pytest.raises(ValueError, match=r"state\['m.W'\] must have the shape \(3, 4\), not \(3, 6\): init_state makes it"):
        program.train_step(params, other.init_state(other.init()), workspace=program.Workspace(), **blobs(5))
    with pytest.raises(ValueError, match=r"params\['W'\] must have the shape \(3, 4\), not \(3, 6\)"):
        program.loss_and_grads(other.init(), **blobs(5))
