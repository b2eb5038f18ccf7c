"""Gradient checkpointing in time: the numbers of the plain gradient, in the memory of a chunk."""

import tracemalloc

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.graph import BATCH, At, GraphError, Index, Noise, Reduce, apply, length, matmul
from chainrule.compiler.options import Options
from chainrule.compiler.shortest import shortest
from chainrule.compiler.verify_program import verify_program
from zoo.build import Model, delay, squares, tanh, values
from zoo.catalogue import TIMED

CHECKPOINTS = ("sqrt", "every 1", "every 3", "memory 3kB")
PLAIN = ("elman", "lstm_concat", "gru", "many_to_one", "masked", "attention", "noisy")      # these at -O0, too
REFUSED = {"birnn": r"b\[t\+1\] reads ahead", "neighbours": r"a\[t\+1\] reads ahead", "mutual": r"c\[t\+1\] reads ahead",
           "over_time": "takes the .* over t, so it cannot be computed in chunks"}


def point(system, steps, seed=0):
    """Parameters, and inputs with the batch first."""
    drawn = values(system, {"T": steps, "S": 3}, seed)
    inputs = {k: np.moveaxis(drawn[k], len(n.axes) - 1, 0) for k, n in system.inputs.items()}
    return {k: drawn[k] for k in (*system.params, *system.stats)}, inputs


def agree(system, level=1, steps=(1, 2, 7)):
    plain = Program(system, "float64")
    programs = [Program(system, "float64", level, Options(checkpoint=c)) for c in CHECKPOINTS]
    least = shortest(system).get("T", 1)
    for n in steps:
        params, inputs = point(system, max(n, least))
        loss, grads = plain.loss_and_grads(params, **inputs, seed=(3, 1))
        for program in programs:
            found, other = program.loss_and_grads(params, **inputs, seed=(3, 1))
            np.testing.assert_allclose(found, loss, rtol=1e-12)
            for k in grads:
                np.testing.assert_allclose(other[k], grads[k], rtol=1e-12, atol=1e-13, err_msg=k)
    return programs


CASES = [*((n, 1) for n in TIMED if n not in REFUSED), *((n, 0) for n in PLAIN)]


@pytest.mark.parametrize("name, level", CASES)
def test_chunks_agree_with_the_whole(name, level):
    agree(TIMED[name](), level)


@pytest.mark.parametrize("name", [n for n in TIMED if n not in REFUSED])
def test_functions_over_chunks_are_legal_in_their_memory(name):
    system = TIMED[name]()
    for printer in Program(system, "float32", 1, Options(checkpoint="sqrt")).printers.values():
        verify_program(printer.function, system.sizes, printer.plan, (4, 2))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_cut_is_refused_by_its_equation(name):
    with pytest.raises(GraphError, match=REFUSED[name]):
        Program(TIMED[name](), "float64", 1, Options(checkpoint="sqrt"))


def test_a_step_that_needs_the_end_is_refused():
    m = Model("centred", H=2)
    x, y = m.input("x", "H", time="t"), m.input("y", "H", time="t")
    h = m.eq("h", tanh(x + matmul(m.param("U", "H", "H"), delay(m.ref("h", "H"), -1))))
    centred = m.eq("centred", h - At(h, "t", -1))
    with pytest.raises(GraphError, match="centred needs at every step what is known after the last one only"):
        Program(m.loss(squares(centred, y)), "float64", 1, Options(checkpoint="sqrt"))


def test_the_index_the_length_and_noise_go_on():
    """The index as a number, the length of the whole sequence at every step, draws of both kinds, one step by its number."""
    m = Model("counted", H=2)
    x, y = m.input("x", "H", time="t"), m.input("y", "H", time="t")
    U, u = m.param("U", "H", "H"), Noise("uniform", "drop", ("t", BATCH), m.param("b", "H").shape)
    rate = apply("div", Index("t"), length("t"))
    h = m.eq("h", tanh(x * rate + matmul(U, delay(m.ref("h", "H"), -1)) * apply("real", u < 0.7)))
    noise = Noise("normal", "jitter", ("t", BATCH), h.shape)
    loss = squares(h + 0.1 * noise, y) / length("t")
    system = m.loss(Reduce("sum", loss, ("t",)) + Reduce("sum", At(h, "t", 0) * At(h, "t", -1), (0,)))
    agree(system)


def test_unrolled_chunks():
    system = TIMED["lstm_split"]()
    params, inputs = point(system, 7)
    loss, grads = Program(system, "float64").loss_and_grads(params, **inputs)
    found, other = Program(system, "float64", 1, Options(unroll=2, checkpoint="every 3")).loss_and_grads(params, **inputs)
    np.testing.assert_allclose(found, loss, rtol=1e-12)
    for k in grads:
        np.testing.assert_allclose(other[k], grads[k], rtol=1e-12, atol=1e-13)


def test_training_steps_are_the_same():
    system = TIMED["lstm_packed"]()
    params, inputs = point(system, 7)
    ends = []
    for options in (Options(), Options(checkpoint="sqrt")):
        program, own = Program(system, "float64", 1, options), {k: v.copy() for k, v in params.items()}
        state = program.init_state(own)
        losses = [program.train_step(own, state, **inputs) for _ in range(3)]
        ends.append((losses, own))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-12)
    for k in params:
        np.testing.assert_allclose(ends[0][1][k], ends[1][1][k], rtol=1e-12, atol=1e-13)


def workspace_bytes(program, params, inputs):
    workspace = program.Workspace()
    program.loss_and_grads(params, **inputs, workspace=workspace)
    return sum(a.nbytes for held in workspace.memory.values() for a in held)


@pytest.mark.parametrize("name", ["elman", "lstm_packed", "gru"])
def test_a_long_sequence_takes_a_tenth_of_the_memory(name):
    """At T = 4096: the plan, which is what the workspace holds; what is allocated in all at T = 1024."""
    system = TIMED[name]()
    whole, chunked = Program(system), Program(system, "float32", 1, Options(checkpoint="sqrt"))
    plan = chunked.checkpoint_plan(32, 4096)
    assert plan.chunk == 64 and plan.chunks == 64 and 10 * plan.bytes <= plan.without
    params, inputs = point(system, 1024)
    params = {k: v.astype(np.float32) for k, v in params.items()}
    plan = chunked.checkpoint_plan(3, 1024)
    assert workspace_bytes(whole, params, inputs) == plan.without
    assert workspace_bytes(chunked, params, inputs) == plan.buffers
    peaks = []
    for program in (whole, chunked):
        program.loss_and_grads(params, **inputs)
        tracemalloc.start()
        program.loss_and_grads(params, **inputs)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 0.6 * peaks[0]


def test_the_chunk_that_a_memory_allows():
    system = TIMED["lstm_packed"]()
    program = Program(system, "float32", 1, Options(checkpoint="memory 100kB"))
    plan = program.checkpoint_plan(3, 1024)
    assert plan.bytes <= 100_000 and 1 < plan.chunk < 1024
    assert program.checkpoint_plan(3, 8).chunk == 8
    assert "100kB" in str(plan)
