"""What stands around a recorded step: what it may do, whose stream it is, what it says when it cannot be; planted bugs of it."""

import gc
import threading
import types

import numpy as np
import pytest
from gpu import host, programs, standin
from gpu.test_planted import found_in

pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
WARMED = "                if BLAS.handles:\n                    BLAS.ready()"


def test_cublas_begins_before_a_capture():
    """Else a step with products is not recorded."""
    assert found_in("mlp", WARMED, WARMED.replace("BLAS.handles", "False")) == "they differ"


def test_memory_of_a_relaxed_capture_has_ended():
    """What a step makes while it is recorded is given back before the graph runs: steps are recorded in a mode that refuses."""
    c = programs.case("mlp")
    grads, mode = "    grads = workspace.gradients(params", "begin_capture(cp.cuda.runtime.streamCaptureModeThreadLocal)"
    source = c.source.replace(grads, f"    spare = params['W3'].copy()\n    params['W3'][...] = spare\n{grads}")
    assert source != c.source
    assert programs.on_device(c, source=source)["replayed"] == 0
    with pytest.raises(standin.Refused, match="memory that has been freed"):
        programs.on_device(c, source=source.replace(mode, "begin_capture()"))


@pytest.mark.parametrize("collecting", [True, False])
def test_nothing_is_collected_while_a_step_is_recorded(collecting):
    """A graph of a module that nobody has any more is in a cycle: where the collector finds it then, the step is not recorded."""
    c, before = programs.case("mlp"), "ctypes.pythonapi.PyGC_Disable()"
    grads, left = "    grads = workspace.gradients(params", "    left = [STREAMS.spare.pop()] if capturing() else []\n"
    source = c.source.replace(grads, f"{left}    left.append(left)\n    del left\n{grads}")
    assert before in source
    module = programs.loaded(source.replace(before, "False") if collecting else source)
    params, inputs = module.to_device(c.params), programs.on_their_way(module, c.inputs)
    state = module.init_state(params)
    module.train_step(params, state, **inputs)
    with module.cp.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        module.STREAMS.spare = [stream.end_capture()]
    usual = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        if collecting:
            with pytest.warns(UserWarning, match="a step cannot be captured: .* invalidated"):
                module.train_step(params, state, **inputs)
        else:
            module.train_step(params, state, **inputs)
    finally:
        gc.set_threshold(*usual)
    assert gc.isenabled()
    assert standin.SETTINGS.count.replayed == (not collecting)


def test_what_goes_wrong_first_is_told():
    """Not that the capture has ended by it: then a step is launched plainly, and the next one is as good."""
    c = programs.case("mlp")
    grads = "    grads = workspace.gradients(params"
    module = programs.loaded(c.source.replace(grads, f"    state['step'].copy()\n{grads}"))
    params, inputs = module.to_device(c.params), programs.on_their_way(module, c.inputs)
    state = module.init_state(params)
    module.train_step(params, state, **inputs)
    with pytest.warns(UserWarning, match="a step cannot be captured: allocation while the stream captures; it is launched"):
        module.train_step(params, state, **inputs)
    module.train_step(params, state, **inputs)
    assert module.to_host(state["step"]) == 3


def test_a_default_stream_of_each_thread(monkeypatch):
    """It has one pointer in all threads: they share neither handles nor parts of sums."""
    module, found = programs.loaded(programs.case("mlp").source), []
    monkeypatch.setattr(module.cp.cuda, "get_current_stream", lambda: types.SimpleNamespace(ptr=2, is_capturing=lambda: False))
    barrier = threading.Barrier(2)

    def work():
        found.append(module.STREAMS.current())
        barrier.wait()
    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({*found}) == 2


def test_pinned_memory_is_copied_first():
    """The device reads it later: also where a step is replayed, its owner may write it as soon as the call returns."""
    c = programs.case("mlp")
    module = programs.loaded(c.source)
    params = module.to_device(c.params)
    inputs = {k: np.array(v, np.float32 if v.dtype.kind == "f" else np.int64) for k, v in c.inputs.items()}
    state = module.init_state(params)
    standin.PINNED.update(v.ctypes.data for v in inputs.values())
    try:
        for _ in range(3):
            module.train_step(params, state, **inputs)
        with pytest.raises(standin.Refused, match="pinned"):
            module.cp.asarray(inputs["x"])
    finally:
        standin.PINNED.clear()
    assert standin.SETTINGS.count.replayed == 2
