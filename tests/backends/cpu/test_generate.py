"""`start`, `step` and `generate` of generated modules: steps equal whole sequences, draws follow what the model says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.graph import BATCH, GraphError
from chainrule.compiler.system import Feedback, System
from chainrule.frontends.language import load, parse
from scipy import stats
from zoo.build import LENGTHS, values
from zoo.catalogue import TIMED

ROOT = Path(__file__).resolve().parents[3]


def with_outputs(system: System, axis: str = "t") -> System:
    """Every equation along the axis as an output."""
    return system.copy(outputs=tuple(k for k, e in system.equations.items() if axis in e.axes))


def batch_first(system: System, arrays: dict[str, Any]) -> dict[str, Any]:
    """Arrays of inputs as a caller gives them."""
    out = {}
    for k, i in system.inputs.items():
        times = len(i.axes) - 1
        out[k] = np.moveaxis(arrays[k], times, 0) if times and BATCH in i.axes else arrays[k]
    return out


def steps_agree(system: System, steps: int = LENGTHS["T"], seed: int = 0, axis: str = "t") -> None:
    """Every output of every step equals that of `predict` on the whole."""
    program = Program(system, "float64")
    found = values(system, {"T": steps}, seed)
    params = {k: found[k] for k in (*system.params, *system.stats)}
    inputs = batch_first(system, found)
    inputs |= {f"lengths_{a}": np.full(LENGTHS["B"], steps if a == axis else LENGTHS["S"]) for a in system.lengths}
    whole = program.predict(params, **inputs, **dict.fromkeys(program.compiled.functions["predict"].free, steps))
    assert program.compiled.steps is not None
    plan = program.compiled.steps.plan
    counted = any(BATCH in system.inputs[k].axes for k in plan.fixed)
    carry = program.start(params, **inputs, **({} if counted else {"batch": LENGTHS["B"]}))
    for t in range(steps):
        now = {k: inputs[k][:, t] for k in plan.given}
        before = {k: np.copy(v) for k, v in carry.items()}
        out, later = program.step(params, carry, **now)
        assert all(np.array_equal(carry[k], v) for k, v in before.items())     # the carry that it is given stays as it is
        carry = later
        for k in system.outputs:
            np.testing.assert_allclose(out[k], whole[k][:, t], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [k for k in TIMED if k not in ("birnn", "masked", "attention")])
def test_zoo(name: str) -> None:
    steps_agree(with_outputs(TIMED[name]()))


EXAMPLES = ("char_gru", "cell_h2", "seq2seq_addition", "sequence_from_vector", "peephole_layernorm_lstm", "music_jsb")


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str) -> None:
    system = load(ROOT / "examples" / name / "model.nn")
    sizes = {k: min(n, 3 + i) for i, (k, n) in enumerate(system.sizes.items())}
    system = load(ROOT / "examples" / name / "model.nn", sizes)
    steps_agree(replace(system, training=replace(system.training, truncate=None)), 3)


def test_a_product_on_the_right() -> None:
    """Python reads `a * b @ c` from the left."""
    system = parse("model m(D = 3)\ninput x[t, D]\nparam A[D, D] ~ normal(1)\n"
                   "h[t] = tanh(x[t] * (A @ h[t-1]) * (x[t] * ((A @ x[t]) * x[t])))    where h[-1] = 1\noutput h\n")
    steps_agree(system)
    whole, plain = Program(system, "float64"), Program(system, "float64", 0)
    params, x = whole.init(), np.random.default_rng(0).normal(size=(2, 4, 3))
    np.testing.assert_allclose(whole.predict(params, x=x)["h"], plain.predict(params, x=x)["h"], rtol=1e-12)


def test_zoo_attention() -> None:
    """Two axes: the feedback says along which one it steps."""
    system = with_outputs(TIMED["attention"]())
    steps_agree(system.copy(feedback=Feedback("y", "t", "value", (system.equations["h"],))))


SEQUENCE = """
model none(D = 2)
input x[t, D]
param W[D, D] ~ normal(1)
h[t] = tanh(W @ h[t-1] + x[t])    where h[-1] = 0
"""


@pytest.mark.parametrize(("more", "why"), [
    ("y[t] = h[t+1]    where h[T] = 1\noutput y", r"`h\[t\+1\]` reads ahead"),
    ("y[t] = h[t] * sum[t] x[t]\noutput y", r"`sum\[t\]\(x\[t\]\)` reads every step along t at once"),
    ("y[t] = h[t] - h[last]\noutput y", r"`h\[T-1\]` reads every step along t at once"),
    ("y = h[last]\noutput y", "no output of this model has steps along t"),
    ("y[t] = h[t] / T\noutput y", "`T` needs the length T, which is not known at a step"),
])
def test_no_steps(more: str, why: str) -> None:
    """The module has no such function, and asking for it says why in a sentence."""
    program = Program(parse(SEQUENCE + more + "\n"), "float64")
    assert "def step(" not in program.source
    for name, call in (("step", lambda: program.step({}, {})), ("start", lambda: program.start({}))):
        with pytest.raises(GraphError, match=f"^none offers no {name}: .*{why}$"):
            call()


def test_no_time() -> None:
    program = Program(parse("model plain(D = 2)\ninput x[D]\nparam w[D] = 1\ny = w @ x\noutput y\n"))
    with pytest.raises(GraphError, match="plain offers no generate: this model has no time axis"):
        program.generate({}, 3)


MODELS = {
    "decoder": """
model decoder(V = 5, W = 7, H = 4)
input  src[s] : class(W)
input  x[t] : class(V)
input  c[t, H]
target y[t] : class(V)
param  Es[W, H], Ex[V, H], Ue[H, H], Ud[H, H], A[H, H], O[V, H], g[H] ~ normal(0.5)
e[s] = tanh(Es[src[s]] + Ue @ e[s-1])                            where e[-1] = g
d[t] = tanh(Ex[x[t]] + Ud @ d[t-1] + k[t] + c[t-1] * t)          where d[-1] = e[last], c[-1] = 0.5
w[t] = softmax(freeze(A @ e[s], s) @ d[t-1])
k[t, H] = contract("i,ij->j", w[t], freeze(e[s], s))
q[t] = O @ d[t]
loss = mean[batch, t] cross_entropy(softmax(q[t]), y[t])
output q, w, d
feedback x[t+1] ~ categorical(softmax(q[t] / heat))
""",
    "index": """
model index(D = 3)
input x[t, D]
input z[D]
param W[D, D], a[D] ~ normal(0.5)
h[t] = tanh(W @ h[t-2] + x[t] + z / (1 + t) + exp(a))           where h[-1] = z, h[-2] = tanh(a)
output h
feedback x[t+1] ~ normal(h[t] * gain, 0.1)
""",
}


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, steps: int) -> None:
    steps_agree(parse(MODELS[name]), steps)


def test_lengths() -> None:
    """An encoder's lengths are read by `start`; a step along t is a step of every example, whatever its own length."""
    system = parse(MODELS["decoder"].replace("target y", "lengths s\nlengths t\ntarget y"))
    program = Program(system, "float64")
    found = values(system)
    params, inputs = {k: found[k] for k in system.params}, batch_first(system, found)
    inputs |= {"lengths_s": np.array([2, 4, 3]), "lengths_t": np.array([5, 4, 5])}
    whole = program.predict(params, **inputs)
    carry = program.start(params, src=inputs["src"], lengths_s=inputs["lengths_s"])
    for t in range(4):
        out, carry = program.step(params, carry, x=inputs["x"][:, t], c=inputs["c"][:, t])
        for k in system.outputs:
            np.testing.assert_allclose(out[k], whole[k][:, t], rtol=1e-12, atol=1e-12)


def test_one_to_many() -> None:
    """An axis that only the feedback's input runs along, and a state that starts from a vector."""
    system = parse("""
model caption(V = 6, D = 3, H = 4)
input image[D]
input x[t] : class(V)
param W[H, D], E[V, H], U[H, H], O[V, H] ~ normal(0.7)
h[t] = tanh(E[x[t]] + U @ h[t-1])    where h[-1] = tanh(W @ image)
s[t] = O @ h[t]
output s
feedback x[t+1] ~ categorical(softmax(s[t] / temperature))
""")
    steps_agree(system)
    program = Program(system, "float64")
    params, image = program.init(1), np.ones((3, 3)) * [[0], [1], [2]]
    out = program.generate(params, 7, image=image, temperature=0)
    assert out.shape == (3, 7) and out.dtype == np.int64
    for row, picture in zip(out, image, strict=True):           # the same as drawing the likeliest from the whole
        x = np.concatenate([[0], row[:-1]])[None]
        assert np.array_equal(program.predict(params, x=x, image=picture[None])["s"].argmax(-1)[0], row)


def test_two_axes_without_feedback() -> None:
    """An encoder's axis does not step; without a feedback nothing says which axis does."""
    text = MODELS["decoder"].replace("feedback x[t+1] ~ categorical(softmax(q[t] / heat))\n", "")
    with pytest.raises(GraphError, match="runs along s and t"):
        Program(parse(text)).start({})


# ---------------------------------------------------------------- draws

CHAIN = """
model chain(V = 4)
input x[t] : class(V)
param P[V, V] ~ normal(1)
s[t] = P[x[t]]
output s
feedback x[t+1] ~ categorical(softmax(s[t] / temperature))
"""


def chain() -> tuple[Program, dict[str, Any]]:
    program = Program(parse(CHAIN), "float64")
    return program, program.init(3)


def test_seed() -> None:
    program, params = chain()
    first, again = (program.generate(params, 50, seed=4, batch=3) for _ in range(2))
    assert first.shape == (3, 50) and np.array_equal(first, again)
    assert not np.array_equal(first, program.generate(params, 50, seed=5, batch=3))
    assert not np.array_equal(first, program.generate(params, 50, seed=(4, 1), batch=3))
    assert not np.array_equal(first[0], first[1])


def test_both_precisions_draw_the_same_numbers() -> None:
    program, params = chain()
    single = Program(parse(CHAIN), "float32")
    few = {k: v.astype(np.float32) for k, v in params.items()}
    assert np.array_equal(program.generate(params, 40, batch=2), single.generate(few, 40, batch=2))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies(temperature: float) -> None:
    """Transitions of a Markov chain against its own probabilities: chi-squared, one row a state."""
    program, params = chain()
    drawn = program.generate(params, 200, seed=1, temperature=temperature, batch=40)
    before = np.concatenate([np.zeros((40, 1), int), drawn[:, :-1]], axis=1)
    p = np.exp(params["P"] / temperature)
    p /= p.sum(1, keepdims=True)
    for state in range(4):
        seen = np.bincount(drawn[before == state], minlength=4)
        assert stats.chisquare(seen, p[state] * seen.sum()).pvalue > 1e-3


def test_cold_is_the_likeliest() -> None:
    program, params = chain()
    for temperature in (0, 1e-6):
        drawn = program.generate(params, 20, temperature=temperature)[0]
        assert np.array_equal(drawn, params["P"].argmax(1)[np.concatenate([[0], drawn[:-1]])])


def test_prompt() -> None:
    """What follows a prompt is what would have followed it: the prompt's steps are taken, not drawn."""
    program = Program(parse(MODELS["index"]), "float64")
    params, z = program.init(2), np.ones((2, 3))
    prompt = np.random.default_rng(0).normal(size=(2, 4, 3))
    drawn = program.generate(params, 5, x=prompt, z=z, gain=0.5)
    assert drawn.shape == (2, 5, 3)
    x = np.concatenate([prompt, drawn], axis=1)[:, :-1]
    mean = 0.5 * program.predict(params, x=x, z=z)["h"][:, 3:]
    noise = (drawn - mean) / 0.1
    assert abs(noise.mean()) < 1 and 0.5 < noise.std() < 1.5
    again = program.generate(params, 5, x=prompt, z=z, gain=0.5)
    assert np.array_equal(drawn, again)


def test_bernoulli() -> None:
    program = Program(parse("""
model notes(D = 3)
input x[t, D] : binary
param W[D, D] ~ normal(0.5)
p[t] = sigmoid(W @ x[t])
output p
feedback x[t+1] ~ bernoulli(p[t])
"""), "float64")
    params = program.init(0)
    drawn = program.generate(params, 400, batch=20)
    assert drawn.shape == (20, 400, 3) and set(np.unique(drawn)) == {0.0, 1.0}
    p = program.predict(params, x=np.concatenate([np.zeros((20, 1, 3)), drawn[:, :-1]], axis=1))["p"]
    z = (drawn - p).sum((0, 1)) / np.sqrt((p * (1 - p)).sum((0, 1)))
    assert np.abs(z).max() < 4


def test_value() -> None:
    """No draw: what is fed back is the value itself, of the input, of the state before and of a given sequence, too."""
    program = Program(parse("""
model orbit
input x[t]
input push[t]
param a = 0.5
v[t] = a * v[t-1] - x[t]      where v[-1] = 1
y[t] = x[t] + v[t]
output y
feedback x[t+1] = y[t] + push[t] + v[t-1] - v[t-1]
"""), "float64")
    params = program.init()
    push = np.linspace(0, 1, 6)[None]
    drawn = program.generate(params, 5, x=[[2.0]], push=push)[0]
    x, v = 2.0, 1.0
    for t in range(5):
        v = 0.5 * v - x
        x = x + v + push[0, t]
        np.testing.assert_allclose(drawn[t], x, rtol=1e-12)
    with pytest.raises(ValueError, match="push must have 6 steps"):
        program.generate(params, 6, push=push[:, :4])


# ---------------------------------------------------------------- what is refused

def test_sentences() -> None:
    program, params = chain()
    with pytest.raises(ValueError, match="length must be a whole number from 1 on"):
        program.generate(params, 0)
    with pytest.raises(ValueError, match="the prompt x must have at least one step"):
        program.generate(params, 3, x=np.zeros((2, 0), int))
    with pytest.raises(ValueError, match="x"):
        program.generate(params, 3, x=[[7]])
    for temperature in (-1, "warm", None, [1, 2], np.nan):
        with pytest.raises(ValueError, match="temperature must be a number from 0 on, not"):
            program.generate(params, 3, temperature=temperature)
    with pytest.raises(ValueError, match="the probabilities of the next step are not finite"):
        program.generate({"P": params["P"] * np.nan}, 3)
    index = Program(parse(MODELS["index"]), "float64")
    params = index.init()
    carry = index.start(params, z=np.zeros((2, 3)))
    with pytest.raises(KeyError, match=r"carry has no 'h\[-2\]'"):
        index.step(params, {k: v for k, v in carry.items() if k != "h[-2]"}, x=np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"carry\['h\[-[12]\]'\] must have the shape"):
        index.step(params, carry, x=np.zeros((3, 3)))
    with pytest.raises(GraphError, match="elman offers no generate: it has no feedback"):
        Program(with_outputs(TIMED["elman"]())).generate({}, 3)


def test_names() -> None:
    """Inputs that are called like what the functions use themselves."""
    system = parse("""
model names(D = 2)
input carry_entry[t, D]
input np_[D]
param sigmoid_[D, D], drawn[D] ~ normal(1)
outputs[t] = tanh(sigmoid_ @ outputs[t-1] + carry_entry[t] + np_ * drawn)   where outputs[-1] = np_
output outputs
feedback carry_entry[t+1] = outputs[t] * u
""")
    steps_agree(system)
    program = Program(system)
    assert program.generate(program.init(), 3, np_=np.ones((2, 2)), u=0.5).shape == (2, 3, 2)
    with pytest.raises(ValueError, match="u must be a number, not 'half'"):
        program.generate(program.init(), 3, np_=np.ones((2, 2)), u="half")


def test_a_number_made_of_an_argument_of_generate() -> None:
    """It is known when `generate` is called, and not at the start."""
    system = parse(SEQUENCE + "output h\nfeedback x[t+1] ~ normal(h[t], 0.1 * scale)\n")
    program = Program(system, "float64")
    params = program.init(0)
    still = program.generate(params, 3, scale=0, x=np.ones((1, 1, 2)))
    expected = program.predict(params, x=np.concatenate([np.ones((1, 1, 2)), still[:, :-1]], 1))["h"]
    np.testing.assert_allclose(still, expected, rtol=1e-12)
    one, two = (program.generate(params, 1, scale=s, x=np.ones((1, 1, 2))) - still[:, :1] for s in (1, 2))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-9)
