"""Threads: the same bits whatever their number, nobody waits for ever, forks and other threads of Python."""

import ctypes
import os
import sys
import threading

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.native import shares
from chainrule.backends.native.program import NativeProgram
from chainrule.backends.native.threads import shared_threads, threads
from chainrule.compiler.graph import BATCH
from chainrule.frontends.language import parse
from zoo.build import LENGTHS, values
from zoo.catalogue import ZOO

NET = """model net(D = 20, H = 40, C = 3)
input x[D]
target y : class(C)
param W[H, D], U[C, H] ~ he;  b[H] = 0
h = relu(W @ x + b)
loss = cross_entropy(softmax(U @ h), y)
train adam(lr = 0.01), clip_norm = 0.1
"""
pytestmark = pytest.mark.native


@pytest.fixture(autouse=True)
def everything_is_shared(monkeypatch):
    """Statements of any size, functions of any cost."""
    monkeypatch.setenv("CHAINRULE_CFLAGS", "-O1 -DWORTH=0")
    monkeypatch.setattr(shares, "SMALL", 1)
    monkeypatch.setattr(shares, "FEW", 1)


def with_threads(program, n):
    program.build()
    program.module.LIBRARY.use_threads(n)


def net(batch=9):
    program = NativeProgram(parse(NET), "float32")
    rng = np.random.default_rng(0)
    return program, {"x": rng.normal(size=(batch, 20)).astype(np.float32), "y": rng.integers(0, 3, batch)}


@pytest.mark.parametrize("name", [k for k in ("elman", "lstm", "attention", "lenet", "dropout", "norm", "scan") if k in ZOO])
def test_gradients_have_the_same_bits(name):
    system = ZOO[name]()
    at = values(system, LENGTHS)
    params = {k: at[k] for k in (*system.params, *system.stats)}
    inputs = {k: np.swapaxes(at[k], 0, 1) if len(i.axes) > 1 and BATCH in i.axes else at[k] for k, i in system.inputs.items()}
    program, found = NativeProgram(system, "float64"), []
    assert "meet();" in program.c
    workspace = program.Workspace()
    for n in (1, 2, 3, 5, 3, 2):
        with_threads(program, n)
        loss, grads = program.loss_and_grads(params, workspace=workspace, **inputs)
        found.append((loss, {k: v.copy() for k, v in grads.items()}))
    for loss, grads in found[1:]:
        assert loss == found[0][0]
        for k, v in grads.items():
            np.testing.assert_array_equal(v, found[0][1][k], err_msg=k)


@pytest.mark.parametrize("batch", [1, 2, 9, 200])
def test_steps_have_the_same_bits(batch):
    """The optimiser too, and the norm by which the gradient is clipped."""
    program, data = net(batch)
    ends = []
    for n in (1, 2, 3):
        with_threads(program, n)
        params = program.init(seed=1)
        state = program.init_state(params)
        losses = [program.train_step(params, state, **data) for _ in range(5)]
        ends.append((losses, b"".join(v.tobytes() for v in params.values())))
    assert ends[0] == ends[1] == ends[2]


def test_threads_of_python_and_a_fork():
    """A second caller works alone; a child of a fork has helpers of its own."""
    program, data = net(64)
    with_threads(program, 2)
    params = program.init(seed=1)
    want, found = program.loss_and_grads(params, **data)[0], []
    several = [threading.Thread(target=lambda: found.extend(program.loss_and_grads(params, **data)[0] for _ in range(50)))
               for _ in range(3)]
    for t in several:
        t.start()
    for t in several:
        t.join()
    assert len(found) == 150 and {*found} == {want}
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            os._exit(0 if program.loss_and_grads(params, **data)[0] == want else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert program.loss_and_grads(params, **data)[0] == want


def test_the_number_of_threads(monkeypatch):
    for k in ("CHAINRULE_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(k, raising=False)
    assert threads() >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads() == 5
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    assert threads() == 4
    monkeypatch.setenv("CHAINRULE_THREADS", "3")
    assert threads() == 3
    monkeypatch.setenv("CHAINRULE_THREADS", "none")
    with pytest.raises(ValueError, match="whole number from 1 on, not 'none'"):
        threads()


def test_the_number_of_threads_of_a_process(monkeypatch):
    """`cr.set_threads` reaches libraries that are loaded and those to come, and goes before the environment."""
    monkeypatch.setenv("CHAINRULE_THREADS", "1")
    shared = shared_threads()
    monkeypatch.setattr(shared, "many", None)
    monkeypatch.setattr(shared, "libraries", [])
    program, data = net()
    params, found, told = program.init(0), [], []
    found.append(program.loss_and_grads(params, **data)[0])
    monkeypatch.setattr(shared, "libraries", [Heard(x, told) for x in shared.libraries])
    cr.set_threads(3)
    later = NativeProgram(parse(NET.replace("H = 40", "H = 30")), "float32")
    later.loss_and_grads(later.init(0), **data)
    assert told == [3] and threads() == 3 and len(shared.libraries) == 2
    cr.set_threads(2)
    found.append(program.loss_and_grads(params, **data)[0])
    assert told == [3, 2] and found[0] == found[1]
    for wrong in (0, -1, 2.0, True, "2", None):
        with pytest.raises(ValueError, match="whole number from 1 on, not"):
            cr.set_threads(wrong)


class Heard:
    """A loaded library, and what it is told."""

    def __init__(self, library, told):
        self.library, self.told = library, told
        self.use_threads = lambda many, word: (told.append(many.value), library.use_threads(many, word))[1]


def test_a_loop_over_time_has_no_meeting():
    """What belongs to an example stays with its thread from the first step to the last."""
    c = NativeProgram(ZOO["elman"](), "float64").c
    work = c[c.index("static void gradients_share("):]
    loops = work.split("for (int64_t t = ")[1:]
    first = loops[0][:loops[0].index("\n    }\n")]
    assert "from_B" in first and "meet();" not in first


def test_only_the_threads_of_the_latest_library_spin():
    """All libraries look at one word; in it stands whose threads had work last."""
    program, data = net()
    other = NativeProgram(parse(NET.replace("H = 40", "H = 30")), "float32")
    found = []
    for p in (program, other, program):
        with_threads(p, 2)
        p.loss_and_grads(p.init(0), **data)
        found.append(ctypes.c_int64.from_address(sys.modules["chainrule_threads"].word).value)
    assert found[0] == found[2] != found[1]
