"""Whatever the native backend may meet, against the reference interpreter: every primitive and its gradient, every model of the
catalogue, every schedule, energy models. A few cases in each run, all of them in the long tier.

An array agrees to 1e-12 in float64 and 1e-5 in float32, relative to its largest element; or to the hundredth part of the largest
gradient of its model, of an output to that of 1, where it is smaller: what cancels has the rounding of what cancelled.
"""

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.backends.native.program import NativeProgram
from chainrule.compiler.options import Options
from chainrule.compiler.verify_program import verify_program
from zoo import trained_energies as energies
from zoo import truncated
from zoo.build import LENGTHS, values
from zoo.catalogue import TIMED
from zoo.points import CASES, SEED, expected, point
from zoo.tiers import tier

pytestmark = pytest.mark.native
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
QUICK = ("every primitive", "neighbours at one step", "time grid", "chunked positions", "example mlp_dropout_l2",
         "example pos_tagger", "fragment attention_heads", "lengths bidirectional")
SCHEDULES = {"unroll 2": Options(unroll=2), "full": Options(unroll="full", steps=5), "every 3": Options(checkpoint="every 3"),
             "sqrt": Options(checkpoint="sqrt"), "unroll 2, every 3": Options(unroll=2, checkpoint="every 3")}
AHEAD = ("birnn", "neighbours", "mutual", "over_time")           # they read steps that a chunk does not have


@pytest.fixture(autouse=True)
def optimised(request, monkeypatch, native):
    """Not at all where a test is to be quick, as users have it in the long tier."""
    monkeypatch.setenv("CHAINRULE_CFLAGS", "" if request.node.get_closest_marker("full") else "-O0")


def agree(found, want, dtype, least=0.0):
    """Arrays by name; `least`: from which size on an array counts."""
    assert {*found} >= {*want}
    for k, v in want.items():
        v = np.asarray(v)
        size = max(np.abs(v).max(initial=0.0), least)
        np.testing.assert_allclose(found[k], v, rtol=0, atol=TOLERANCE[dtype] * size, err_msg=f"{k} in {dtype}")


def legal(program):
    for printer in program.printers.values():
        verify_program(printer.function, program.system.sizes, printer.plan, (4, 2) if not printer.function.lengths else (1,))


@pytest.mark.parametrize("name", tier(CASES, QUICK))
def test_models(name):
    """Gradients with noise, outputs without, twice in the same memory; the program is legal there."""
    p, (loss, grads, outputs) = point(name), expected(name)
    least = 1e-2 * max((np.abs(v).max(initial=0.0) for v in grads.values()), default=0.0)
    for dtype in TOLERANCE:
        program = NativeProgram(p.system, dtype)
        legal(program)
        params = {k: v.astype(dtype) for k, v in p.params.items()}
        workspace, inputs = program.Workspace(), p.inputs(program)
        for _ in range(2):
            found, d = program.loss_and_grads(params, **inputs, seed=SEED, workspace=workspace)[:2]    # then comes a carry
            agree({"loss": found}, {"loss": loss}, dtype, 1e-2)
            agree(d, grads, dtype, least)
        if outputs:
            agree(program.predict(params, **inputs), outputs, dtype, 1e-2)


@pytest.mark.parametrize("name, schedule", tier(
    [(n, s) for n in TIMED for s in SCHEDULES if not (n in AHEAD and SCHEDULES[s].checkpoint)],
    [("lstm_concat", s) for s in SCHEDULES] + [("attention", "unroll 2")]))
def test_schedules(name, schedule):
    """In steps that a loop's copies divide and others, as the rolled module computes it."""
    system = TIMED[name]()
    for dtype in TOLERANCE:
        reference, program = Program(system, "float64"), NativeProgram(system, dtype, 1, SCHEDULES[schedule])
        legal(program)
        for steps in (5, 4, 1) if schedule != "full" else (5,):
            at = values(system, {**LENGTHS, "T": steps, "S": 5 if schedule == "full" else 4})
            inputs = {k: np.moveaxis(at[k], len(n.axes) - 1, 0) for k, n in system.inputs.items()}
            params = {k: at[k].astype(dtype) for k in (*system.params, *system.stats)}
            loss, grads = reference.loss_and_grads({k: at[k] for k in params}, **inputs, seed=SEED)
            found, d = program.loss_and_grads(params, **inputs, seed=SEED)
            agree({"loss": found}, {"loss": loss}, dtype, 1e-2)
            agree(d, grads, dtype, 1e-2 * max(np.abs(v).max() for v in grads.values()))


@pytest.mark.parametrize("name", tier([f.__name__ for f in truncated.MEANS], ("lstm_packed",)))
def test_chunks_of_truncated_models(name):
    """The chunks of a sequence against the whole one, in which no gradient passes their borders."""
    build = next(f for f in truncated.MEANS if f.__name__ == name)
    system = truncated.truncating(build(), 3)
    at = values(system, {**LENGTHS, "T": truncated.STEPS})
    loss, *grads = truncated.whole(system, at, 3)
    for dtype in TOLERANCE:
        program = NativeProgram(system, dtype)
        legal(program)
        params = {k: at[k].astype(dtype) for k in (*system.params, *system.stats)}
        found, d = truncated.chunked(program, system, params, at, 3)
        agree({"loss": found}, {"loss": loss}, dtype, 1e-2)
        agree(d, dict(zip(system.params, grads, strict=True)), dtype, 1e-2 * max(np.abs(v).max() for v in grads))


ENERGIES = [(n, s) for n, x in energies.TRAINED.items() for s in ("rolled", "unroll 2") if s == "rolled" or "k = 1" not in x]


@pytest.mark.parametrize("name, schedule", tier(ENERGIES, [("pcd", "rolled"), ("categorical", "unroll 2")]))
def test_energies(name, schedule):
    """Steps with their chains, means, samples, free energies and statistics: the same draws, so the same numbers."""
    text = energies.TRAINED[name]
    options = {} if schedule == "rolled" else {"unroll": 2}
    want, found = (energies.trained(text, backend=b, **options) for b in ("numpy", "native"))
    agree(found, want, "float64", 1e-2)
    numpy, native = (cr.compile(cr.parse(text), dtype="float64", backend=b, **options) for b in ("numpy", "native"))
    inputs, params = energies.data(numpy.system), numpy.init(seed=1)
    for call in (lambda p: {"F": p.free_energy(params, **inputs)}, lambda p: p.statistics(params, **inputs),
                 lambda p: {"v": p.gibbs(params, 3, seed=2, **inputs)}):
        agree(call(native), call(numpy), "float64", 1e-2)


NET = """model net(D = 6, H = 5)
input x[D]
target y[H]
param W[H, D] ~ normal(0.5);  b[H] = 0.1;  s = 0.7
loss = squares(s * tanh(W @ x) + b, y)
train {}
"""


@pytest.mark.parametrize("line", ["adagrad(lr = 0.1)", "adam(lr = 0.1)", "rmsprop(lr = 0.1)", "sgd(lr = 0.1)"])
def test_steps_in_float32(line):
    """As far apart as rounding makes them, after each of three steps from the same state.

    An optimiser that divides by the root of squared gradients moves a weight by about lr * g / |g|, however small g is: its
    relative error is that of g, not the step's. Gradients agree to 1e-5 of the largest one, d; so steps agree to lr * d / |g|,
    and where g itself is no more than rounding, to lr from either side.
    """
    system = cr.parse(NET.format(line)).system
    numpy, native = Program(system), NativeProgram(system)
    p, q = numpy.init(seed=1), numpy.init(seed=1)
    s, t = numpy.init_state(p), native.init_state(q)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        data = {"x": rng.normal(size=(7, 6)), "y": rng.normal(size=(7, 5))}
        data["x"][:, 2] = 1e-7                                   # gradients of rounding's size
        grads = numpy.loss_and_grads(p, **data)[1]
        d = 1e-5 * max(np.abs(g).max() for g in grads.values())
        agree({"loss": native.train_step(q, t, **data)}, {"loss": numpy.train_step(p, s, **data)}, "float32")
        for k, g in grads.items():
            free = 0.1 * (d if line.startswith("sgd") else np.minimum(2, 20 * d / np.maximum(np.abs(g), 1e-30)))
            assert (np.abs(q[k] - p[k]) <= free + 1e-6 * np.abs(p[k])).all(), f"{k} after step {seed}"
            q[k][...] = p[k]
        for k in s:
            if k in t and isinstance(t[k], np.ndarray):
                np.testing.assert_allclose(t[k], s[k], rtol=1e-4, atol=d, err_msg=k)
                t[k][...] = s[k]
