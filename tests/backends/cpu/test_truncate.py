"""Truncated backpropagation: chunks of a sequence against the whole sequence, in which no gradient passes the chunks' borders."""


import numpy as np
import pytest
from chainrule import parse
from chainrule.backends.cpu.program import Program
from chainrule.backends.interface import NoBackend, compile_for
from chainrule.compiler.verify_program import verify_program
from zoo import recurrent as zoo
from zoo.build import LENGTHS, values
from zoo.chunked import CHUNKED, given_start
from zoo.truncated import MEANS, STEPS, chunked, part, truncating, whole


@pytest.mark.parametrize("chunk", [3, 1])                        # 1: shorter than the longer delays
@pytest.mark.parametrize("build", MEANS)
def test_chunks_agree_with_the_whole_sequence_stopped_at_their_borders(build, chunk):
    system = truncating(build(), chunk)
    at = values(system, {**LENGTHS, "T": STEPS})
    params = {k: at[k].copy() for k in (*system.params, *system.stats)}
    expected = whole(system, at, chunk)
    for level in (0, 1):
        loss, grads = chunked(Program(system, "float64", level), system, params, at, chunk)
        np.testing.assert_allclose(loss, expected[0], rtol=1e-12)
        for k, e in zip(system.params, expected[1:], strict=True):
            np.testing.assert_allclose(grads[k], e, rtol=1e-11, atol=1e-12, err_msg=f"{k}, level {level}")


@pytest.mark.parametrize("build", [zoo.lstm_stacked, zoo.delay2, zoo.over_time, zoo.many_to_one, zoo.noisy, *CHUNKED])
def test_the_functions_are_legal_programs(build):
    program = Program(truncating(build(), 3), "float64")
    for name, function in program.compiled.functions.items():
        verify_program(function, program.system.sizes, program.printers[name].plan)


@pytest.mark.parametrize("build", [zoo.elman, zoo.delay2, given_start, zoo.over_time])
def test_the_module_checks_its_own_gradients(build, capsys):
    assert Program(truncating(build(), 3), "float64").module.check() < 1e-5
    assert "gradients agree" in capsys.readouterr().out


def test_evaluation_and_prediction_carry_too():
    system = truncating(zoo.lstm_split(), 3)
    system.outputs = ("h",)
    program = Program(system, "float64")
    at = values(system, {**LENGTHS, "T": STEPS})
    params = {k: at[k] for k in system.params}
    every = part(system, at, 0, STEPS)
    full, outputs = program.evaluate(params, **every), program.predict(params, x=every["x"])
    carry = seen = None
    total, count, parts = 0.0, 0, []
    for lo in range(0, STEPS, 3):
        piece = part(system, at, lo, min(lo + 3, STEPS))
        out, found = program.evaluate(params, **piece, carry=carry), program.predict(params, x=piece["x"], carry=seen)
        carry, seen = out.pop("carry"), found.pop("carry")
        total, count = total + out["loss"][0], count + out["loss"][1]
        parts.append(found["h"])
    np.testing.assert_allclose(total / count, full["loss"][0] / full["loss"][1], rtol=1e-13)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), outputs["h"], rtol=1e-13, atol=1e-14)
    for k in full["carry"]:
        np.testing.assert_allclose(carry[k], full["carry"][k], rtol=1e-13)


def test_training_steps_return_the_carry_and_never_touch_the_one_given():
    system = truncating(zoo.lstm_split(), 3)
    program = Program(system)
    at = values(system, {**LENGTHS, "T": STEPS})
    params = program.init(0)
    state, piece = program.init_state(params), part(system, at, 0, 3)
    loss, first = program.train_step(params, state, **piece)
    kept = {k: v.copy() for k, v in first.items()}
    _, second = program.train_step(params, state, **piece, carry=first)
    assert np.isfinite(loss) and set(first) == set(second) == {"h[-1]", "c[-1]"}
    for k, v in first.items():
        np.testing.assert_array_equal(v, kept[k])                # fresh: the next call does not write into it
        assert v.dtype == np.float32 and v.base is None and not np.array_equal(v, second[k])


def test_the_steps_before_a_chunk_are_counted():
    system = truncating(zoo.noisy(), 3)
    program = Program(system, "float64")
    at = values(system, {**LENGTHS, "T": STEPS})
    params = {k: at[k] for k in system.params}
    _, _, carry = program.loss_and_grads(params, **part(system, at, 0, 3))
    assert carry["t"] == 3 and isinstance(carry["t"], int)
    saved = {k: np.asarray(v) for k, v in carry.items()}         # as a file gives it back
    _, _, carry = program.loss_and_grads(params, **part(system, at, 3, 5), carry=saved)
    assert carry["t"] == 5


TAGGED = """
model tagged(H = 3, C = 4)
input x[t, H]
target y[t] : class(C)
lengths t
param W[C, H] ~ xavier
p[t] = softmax(W @ lstm(x[t], H))
loss = mean[batch, t] cross_entropy(p[t], y[t])
train adam(lr = 0.01), truncate = 3
"""


def test_chunks_of_sequences_of_their_own_lengths():
    """Every chunk is given what of each example stands in it, none at last; sums and counts add up to the whole's."""
    program = Program(parse(TAGGED).system, "float64")
    params, rng = program.init(1), np.random.default_rng(0)
    params = {k: v + 0.3 * rng.standard_normal(v.shape) for k, v in params.items()}
    x, y, lengths = rng.standard_normal((3, STEPS, 3)), rng.integers(0, 4, (3, STEPS)), np.array([5, 4, 2])
    expected = program.evaluate(params, x=x, y=y, lengths_t=lengths)["loss"]
    carry, total, count = None, 0.0, 0
    for lo in range(0, STEPS, 3):
        hi = min(lo + 3, STEPS)
        found = program.evaluate(params, x=x[:, lo:hi], y=y[:, lo:hi], lengths_t=np.clip(lengths - lo, 0, hi - lo), carry=carry)
        carry, total, count = found["carry"], total + found["loss"][0], count + found["loss"][1]
    assert count == 11 == expected[1]
    np.testing.assert_allclose(total, expected[0], rtol=1e-12)


# ---------------------------------------------------------------- what is refused

@pytest.mark.parametrize("change, message", [
    (lambda c: {k: v for k, v in c.items() if k != "h[-1]"}, r"carry has no 'h\[-1\]'; it needs h\[-1\], c\[-1\]"),
    (lambda c: {**c, "h[-1]": c["h[-1]"][:, :2]}, r"carry\['h\[-1\]'\] must have the shape \(3, 3\), not \(3, 2\)"),
    (lambda c: {**c, "c[-1]": c["c[-1]"][:2]}, r"carry\['c\[-1\]'\] is of 2 examples, the inputs are of 3"),
    (lambda c: (0.0, c), "carry must be the dict that the chunk before returned, or None, not tuple"),
])
def test_a_wrong_carry_is_refused(change, message):
    system = truncating(zoo.lstm_split(), 3)
    program = Program(system, "float64")
    at = values(system, {**LENGTHS, "T": STEPS})
    params = {k: at[k] for k in system.params}
    _, _, carry = program.loss_and_grads(params, **part(system, at, 0, 3))
    with pytest.raises((KeyError, ValueError, TypeError), match=message):
        program.loss_and_grads(params, **part(system, at, 3, 5), carry=change(carry))


def test_models_that_read_ahead_are_refused():
    with pytest.raises(NoBackend, match=r"birnn: truncate = 5: b\[t\+1\] reads ahead"):
        compile_for(truncating(zoo.birnn(), 5))
