"""Examples of their own lengths in one padded array: equal to running each alone, whatever stands in the padding."""

import ast
from functools import cache

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.frontends.language import parse
from zoo.ragged import HEAD, MODELS, ONE, OWN, PLAIN, SIZES, STEP, TOKENS, alone, model, ragged_values

TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}


@cache
def modules(name, level):
    padded, plain = model(name)
    return padded, plain, *(Program(s, "float64", level).module for s in (padded, plain))


def drawn(module):
    """Parameters of which none is zero."""
    rng = np.random.default_rng(7)
    return {k: v + 0.1 * rng.standard_normal(v.shape) for k, v in module.init(0, dtype=np.float64).items()}


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", MODELS)
def test_losses_metrics_and_gradients_are_those_of_each_alone(name, level):
    padded, plain, module, reference = modules(name, level)
    params, values = drawn(reference), ragged_values(padded)
    totals, grads = {}, {}
    for b in range(SIZES["B"]):
        one = alone(plain, values, b)
        found = reference.evaluate(params, **one)
        for k in (k for k in found if k != "penalty"):
            totals[k] = np.add(totals.get(k, 0), found[k])
        _, d = reference.loss_and_grads(params, **one)
        for k in d:
            grads[k] = grads.get(k, 0) + d[k] * found["loss"][1]
    found = module.evaluate(params, **values)
    for k, expected in totals.items():
        np.testing.assert_allclose(found[k], expected, err_msg=k, **TOLERANCE)
    workspace = module.Workspace()
    for _ in range(2):
        loss, d = module.loss_and_grads(params, **values, workspace=workspace)
        np.testing.assert_allclose(loss, totals["loss"][0] / totals["loss"][1], **TOLERANCE)
        for k in d:
            np.testing.assert_allclose(d[k], grads[k] / totals["loss"][1], err_msg=k, **TOLERANCE)


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_each_alone_and_zero_after_its_end(name):
    padded, plain, module, reference = modules(name, 1)
    if not padded.outputs:
        return
    params, values = drawn(reference), ragged_values(padded)
    inputs = module.predict.__code__.co_varnames[1:module.predict.__code__.co_argcount]
    found = module.predict(params, **{k: values[k] for k in inputs})
    for b in range(SIZES["B"]):
        expected = reference.predict(params, **{k: v for k, v in alone(plain, values, b).items() if k in inputs})
        for k, value in expected.items():
            here = found[k][b]
            inside = tuple(slice(0, n) for n in value.shape[1:])
            np.testing.assert_allclose(here[inside], value[0], err_msg=k, **TOLERANCE)
            here = here.copy()
            here[inside] = 0
            assert not here.any(), k


def test_what_stands_in_the_padding_changes_no_bit():
    padded, _, module, _ = modules("bidirectional", 1)
    params, values = drawn(module), ragged_values(padded)
    loss, grads = module.loss_and_grads(params, **values)
    for b, n in enumerate(OWN["t"]):
        values["x"][b, n:] = 0
    again, others = module.loss_and_grads(params, **values)
    assert loss == again
    assert all(np.array_equal(grads[k], others[k]) for k in grads)


def test_an_example_of_length_0_takes_no_part():
    padded, _, module, _ = modules("lstm", 1)
    params, values = drawn(module), ragged_values(padded)
    values["lengths_t"] = np.array([5, 0, 3, 0])
    loss, grads = module.loss_and_grads(params, **values)
    few = {k: v[[0, 2]] for k, v in values.items()}
    expected, others = module.loss_and_grads(params, **few)
    np.testing.assert_allclose(loss, expected, **TOLERANCE)
    for k in grads:
        np.testing.assert_allclose(grads[k], others[k], err_msg=k, **TOLERANCE)


def test_a_batch_without_any_step_has_the_loss_0_and_changes_nothing():
    padded, _, module, _ = modules("lstm", 1)
    params, values = drawn(module), ragged_values(padded)
    values["lengths_t"] = np.zeros(4, int)
    loss, grads = module.loss_and_grads(params, **values)
    assert loss == 0 and not any(g.any() for g in grads.values())
    assert module.evaluate(params, **values)["loss"] == (0, 0)


@pytest.mark.parametrize("own", [[5, 5], [2, 5], [1, 5], [2, 2], [0, 1]])
def test_an_example_that_ends_before_the_range_of_a_mean_has_no_step_in_it(own):
    module = Program(parse("model m(D = 2)\ninput x[t, D]\nlengths t\nparam b[D] = 1\n"
                           "loss = mean[batch, t >= 2] sum(b * x[t])\n"), "float64").module
    x = np.random.default_rng(0).standard_normal((2, 5, 2))
    total, count = sum(x[i, 2:n].sum() for i, n in enumerate(own)), sum(max(n - 2, 0) for n in own)
    inputs = {"x": x, "lengths_t": np.array(own)}
    np.testing.assert_allclose(module.evaluate(module.init(dtype=np.float64), **inputs)["loss"], (total, count), **TOLERANCE)
    loss, _ = module.loss_and_grads(module.init(dtype=np.float64), **inputs)
    np.testing.assert_allclose(loss, total / max(count, 1), **TOLERANCE)


def test_full_lengths_are_no_lengths():
    padded, plain, module, reference = modules("stacked_bidirectional", 1)
    params, values = drawn(module), {k: np.nan_to_num(v, nan=0.5) for k, v in ragged_values(padded).items()}
    values["lengths_t"] = np.full(SIZES["B"], SIZES["T"])
    loss, grads = module.loss_and_grads(params, **values)
    expected, others = reference.loss_and_grads(params, **{k: values[k] for k in plain.inputs})
    np.testing.assert_allclose(loss, expected, **TOLERANCE)
    for k in grads:
        np.testing.assert_allclose(grads[k], others[k], err_msg=k, **TOLERANCE)


NORMALISED = HEAD + """input x[t, D]
target y[t, H]
lengths t
param W[H, D] ~ normal(0.7); gain[H] = 1
a[t] = W @ x[t]
m = mean[batch, t](a[t])
v = var[batch, t](a[t])
stat mu[H] = 0 <- 0.9 * mu + 0.1 * mean[batch, t](a[t])
h[t] = tanh(gain * (a[t] - m) / sqrt(v + 0.001))
loss = mean[batch, t] squares(h[t], y[t])
"""


def test_batch_statistics_skip_padding():
    """All steps of all examples side by side, as one sequence, have the same statistics."""
    padded = parse(NORMALISED)
    module = Program(padded, "float64", 1).module
    reference = Program(parse(NORMALISED.replace("lengths t\n", "")), "float64", 1).module
    params, values = drawn(module), ragged_values(padded)
    rows = {k: np.concatenate([values[k][b, :n] for b, n in enumerate(OWN["t"])])[None] for k in ("x", "y")}
    loss, grads = module.loss_and_grads(params, **values)
    expected, others = reference.loss_and_grads(params, **rows)
    np.testing.assert_allclose(loss, expected, **TOLERANCE)
    for k in grads:
        np.testing.assert_allclose(grads[k], others[k], err_msg=k, **TOLERANCE)
    states = [m.init_state(params) for m in (module, reference)]
    news = [{k: v.copy() for k, v in params.items()} for _ in range(2)]
    module.train_step(news[0], states[0], **values)
    reference.train_step(news[1], states[1], **rows)
    np.testing.assert_allclose(news[0]["mu"], news[1]["mu"], **TOLERANCE)


def test_a_statistic_of_each_step_counts_the_examples_that_are_left():
    text = HEAD + PLAIN + "a[t] = W @ x[t]\nh[t] = a[t] - mean[batch](a[t])\n" + TOKENS
    padded = parse(text)
    module = Program(padded, "float64", 1).module
    params, values = drawn(module), ragged_values(padded)
    a = np.nan_to_num(values["x"]) @ params["W"].T
    inside = (np.arange(SIZES["T"]) < OWN["t"][:, None])[..., None]
    mean = (a * inside).sum(0) / inside.sum(0)
    expected = 0.5 * (np.where(inside, a - mean - np.nan_to_num(values["y"]), 0) ** 2).sum()
    np.testing.assert_allclose(module.evaluate(params, **values)["loss"][0], expected, **TOLERANCE)


CHUNKED = HEAD + PLAIN + """h[t] = tanh(W @ x[t] + U @ h[t-1] + Q @ h[t-2])   where h[<0] = 0
""" + TOKENS + "train sgd(lr = 0.1), truncate = 2\n"


def test_a_chunk_hands_on_each_examples_own_state():
    """An example that ended in an earlier chunk keeps its last two values."""
    module = Program(parse(CHUNKED), "float64", 1).module
    alone_ = Program(parse(CHUNKED.replace("lengths t\n", "")), "float64", 1).module
    params, values = drawn(module), ragged_values(parse(CHUNKED))
    carry = None
    for start in (0, 2, 4):
        n = np.clip(OWN["t"] - start, 0, min(2, 5 - start))
        x, y = (values[k][:, start:start + 2] for k in ("x", "y"))
        _, _, carry = module.loss_and_grads(params, x, y, n, carry=carry)
    for b, n in enumerate(OWN["t"]):
        own = None
        for start in range(0, n, 2):
            x, y = (values[k][b:b + 1, start:min(start + 2, n)] for k in ("x", "y"))
            _, _, own = alone_.loss_and_grads(params, x, y, carry=own)
        for k in own:
            np.testing.assert_allclose(carry[k][b], own[k][0], err_msg=k, **TOLERANCE)


# ---------------------------------------------------------------- what is printed, and what is refused

def statements(module, name="_gradients"):
    body = next(f for f in ast.parse(module.source).body if isinstance(f, ast.FunctionDef) and f.name == name)
    return sum(isinstance(n, ast.stmt) for n in ast.walk(body)), body


def test_the_gradient_is_about_as_long_as_without_lengths():
    padded, plain = model("lstm")
    with_, without = (Program(s, "float32", 1) for s in (padded, plain))
    more, body = statements(with_)
    less, _ = statements(without)
    assert more - less <= 10
    loops = [ast.unparse(n) for n in ast.walk(body) if isinstance(n, ast.For)]
    assert len(loops) == 2
    assert not any("padding" in text or "end" in text for text in loops)      # a recurrence into the past needs no mask


def test_models_without_lengths_hold_no_masks():
    source = Program(parse(HEAD + (PLAIN + STEP + TOKENS).replace("lengths t\n", "")), "float32", 1).source
    assert "lengths_t" not in source
    assert "where" not in source


@pytest.mark.parametrize(("change", "sentence"), [
    ({"lengths_t": np.array([5, 6, 3, 1])}, "lengths_t[1] is 6; the arrays hold 5 steps"),
    ({"lengths_t": np.array([5, 2, -1, 1])}, "lengths_t[2] is -1; the arrays hold 5 steps"),
    ({"lengths_t": np.array([5, 2, 1])}, "lengths_t must have the shape (4,), not (3,)"),
    ({"lengths_t": np.array([5.0, 2, 3, 1])}, "lengths_t must hold integers, the lengths 0 to 5, not float64"),
    ({"x": [[1, 2, 3, 4, 5], [1, 2], [1, 2, 3], [1]]},
     "x holds sequences of unequal length: pad them to one, and declare `lengths t` in the model, t being their axis"),
    ({"lengths_t": None}, "lengths_t is missing: the model declares `lengths t`"),
    ({"lengths_t": {4}}, "lengths_t must be an array of numbers, not {4}"),
    ({"x": np.zeros((0, 5), int)}, "x must have the shape (some, some), not (0, 5)"),
    ({"x": np.zeros((4, 0), int)}, "x must have the shape (some, some), not (4, 0)"),
    ({"x": None}, "x must be an array of numbers, not None"),
    ({"x": [[1, None]]}, "x must be an array of numbers, not [[1, None]]"),
])
def test_what_is_wrong_with_an_input_is_one_sentence(change, sentence):
    padded, _, module, _ = modules("lstm", 1)
    with pytest.raises((ValueError, TypeError)) as raised:
        module.loss_and_grads(drawn(module), **{**ragged_values(padded), **change})
    assert str(raised.value) == sentence


def test_a_token_outside_its_vocabulary_is_named_with_its_place():
    padded, _, module, _ = modules("lstm", 1)
    values = ragged_values(padded)
    values["x"][3, 4] = 6
    with pytest.raises(ValueError, match=r"x\[3, 4\] is 6; classes are 0 to 5"):
        module.predict(drawn(module), values["x"], values["lengths_t"])


def test_the_modules_own_check_draws_no_sequence_of_one_step(capsys):
    """Of which `max[t >= 1]` would be the maximum of nothing."""
    text = HEAD + ONE + "m = max[t >= 1] tanh(W @ x[t])\nloss = mean[batch] squares(m, y)\n"
    module = Program(parse(text), "float64", 1).module
    assert max(module.check(seed=seed) for seed in range(8)) < 1e-5
    assert "inf" not in capsys.readouterr().out
