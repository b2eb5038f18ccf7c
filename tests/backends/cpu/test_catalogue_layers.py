"""The catalogue of noise, normalisation and residual connections: training and evaluation against formulas by hand."""

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.frontends.language import parse

LEVELS = pytest.mark.parametrize("level", [0, 1])


def compiled(text, level=1, dtype="float64"):
    return Program(parse(text), dtype, level)


# ---------------------------------------------------------------- noise

def noisy(text, level, params=None, n=20000, **run):
    """The values of a noisy expression of x = 2 for n examples of one feature, read off a gradient: d w = mean of c * value."""
    program = compiled(f"model m(N = {n})\ninput x[N]\nparam w[N] = 0\nq = {text}\nloss = sum(w * q)\noutput q\n", level)
    x = np.full((1, n), 2.0)
    params = {"w": np.zeros(n)}
    return program.loss_and_grads(params, x=x, **run)[1]["w"], program.predict({"w": np.zeros(n)}, x=x)["q"][0]


@LEVELS
def test_dropout(level):
    """A unit is kept with probability 1 - r and divided by it; evaluation is the identity."""
    values, evaluated = noisy("dropout(x, 0.3)", level, seed=5)
    kept = values != 0
    np.testing.assert_allclose(values[kept], 2 / 0.7, rtol=1e-14)
    assert kept.mean() == pytest.approx(0.7, abs=5 * np.sqrt(0.21 / len(values)))
    np.testing.assert_array_equal(evaluated, 2.0)
    again, other, later = (noisy("dropout(x, 0.3)", level, seed=s)[0] for s in (5, 6, (5, 1)))
    np.testing.assert_array_equal(values, again)
    for different in (other, later):
        assert (different != values).mean() == pytest.approx(0.42, abs=0.02)


@LEVELS
def test_gaussian_noise(level):
    values, evaluated = noisy("gaussian_noise(x, 0.5)", level, seed=5)
    assert values.mean() == pytest.approx(2, abs=5 * 0.5 / np.sqrt(len(values)))
    assert values.std() == pytest.approx(0.5, rel=0.03)
    assert np.mean(np.abs(values - 2) > 1) == pytest.approx(0.0455, abs=0.01)
    np.testing.assert_array_equal(evaluated, 2.0)


@LEVELS
def test_other_draws_become_their_mean(level):
    values, evaluated = noisy("bernoulli(x / 8)", level, seed=5)
    assert set(np.unique(values)) == {0.0, 1.0} and values.mean() == pytest.approx(0.25, abs=0.02)
    np.testing.assert_array_equal(evaluated, 0.25)
    values, evaluated = noisy("x * uniform(x)", level, seed=5)
    assert 0 <= values.min() and values.max() < 2 and values.mean() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(evaluated, 1.0)


@LEVELS
@pytest.mark.parametrize("text", ["drop_connect(x, H, 0.5)", "dropout(W, 0.5) @ x"])
def test_dropped_weights(text, level):
    """One draw for the whole batch: the gradient of a dropped weight is 0, of a kept one doubled."""
    own = "" if "connect" in text else "param W[H, D] ~ normal(1)\n"
    program = compiled(f"model m(D = 40, H = 30)\ninput x[D]\n{own}q = {text}\nloss = sum(q)\noutput q\n", level)
    params = {k: v.astype(float) for k, v in program.init().items()}
    x = np.random.default_rng(0).uniform(1, 2, (7, 40))
    _, grads = program.loss_and_grads(params, x=x, seed=1)
    name = next(k for k in params if k.endswith("W"))
    ratio = grads[name] / x.mean(0)
    kept = ratio > 1
    np.testing.assert_allclose(ratio, np.where(kept, 2.0, 0.0), rtol=1e-12)
    assert kept.mean() == pytest.approx(0.5, abs=0.06)
    bias = sum(v for k, v in params.items() if k != name)
    np.testing.assert_allclose(program.predict(params, x=x)["q"], x @ params[name].T + bias, rtol=1e-12)


@LEVELS
def test_noise_on_weights(level):
    """d loss / d b is the noisy weight itself: one draw for all examples, of the parameter's shape."""
    text = "model m(D = 4000)\ninput x\nparam W[D] = 1; b[D] = 0\nloss = b @ gaussian_noise(W, 0.1) * x\n"
    program = compiled(text, level)
    given = {"W": np.ones(4000), "b": np.zeros(4000)}
    one, three = (program.loss_and_grads(given, x=np.ones(n), seed=2)[1]["b"] for n in (1, 3))
    np.testing.assert_allclose(one, three, rtol=1e-14)
    assert one.mean() == pytest.approx(1, abs=0.01) and one.std() == pytest.approx(0.1, rel=0.06)


def test_training_steps_draw_anew_and_repeat():
    """Noise is keyed by seed and step: the same run twice is the same to the bit, step by step and seed by seed."""
    text = "model m(D = 50)\ninput x[D]\nparam w[D] = 0\nloss = w @ dropout(x, 0.5)\ntrain sgd(lr = 1)\n"
    program, x = compiled(text), np.ones((1, 50))

    def run(seed):
        params = {"w": np.zeros(50)}
        state, trace = program.init_state(params, seed=seed), []
        for _ in range(3):
            program.train_step(params, state, x=x)
            trace.append(params["w"].copy())
        return np.diff(np.array([np.zeros(50), *trace]), axis=0)
    one, same, other = run(1), run(1), run(2)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one[0], one[1]) and not np.array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], -program.loss_and_grads({"w": np.zeros(50)}, x=x, seed=(1, 1))[1]["w"])


# ---------------------------------------------------------------- batch normalisation

NORMALISED = """model m(D = 3, H = 4)
input x[D]
target y[H]
param W[H, D] ~ normal(1)
a = W @ x
q = {layer}(a)
loss = squares(q, y)
output q
train sgd(lr = 0.1)
"""
EPS = 1e-5


def layer(level, kind="batch_norm"):
    program = compiled(NORMALISED.format(layer=kind), level)
    rng = np.random.default_rng(0)
    params = {k: v.astype(float) for k, v in program.init(seed=1).items()}
    short = {k.split(".")[-1]: k for k in params}
    params[short["gamma"]][...] = rng.uniform(0.5, 2, 4)
    params[short["beta"]][...] = rng.normal(size=4)
    return program, params, short, [(rng.normal(1, 2, (8, 3)), rng.normal(size=(8, 4))) for _ in range(3)]


@LEVELS
def test_batch_norm_in_training(level):
    """The backward pass as Ioffe and Szegedy print it, by batch mean and variance."""
    program, params, short, data = layer(level)
    x, y = data[0]
    gamma, beta = params[short["gamma"]], params[short["beta"]]
    a = x @ params["W"].T
    n, inverse = len(x), 1 / np.sqrt(a.var(0) + EPS)
    z = (a - a.mean(0)) * inverse
    d_q = (gamma * z + beta - y) / n
    d_z = d_q * gamma
    d_a = inverse / n * (n * d_z - d_z.sum(0) - z * (d_z * z).sum(0))
    loss, grads = program.loss_and_grads(params, x=x, y=y)
    assert float(loss) == pytest.approx(n / 2 * np.sum(d_q**2), rel=1e-12)
    np.testing.assert_allclose(grads[short["gamma"]], (d_q * z).sum(0), rtol=1e-10)
    np.testing.assert_allclose(grads[short["beta"]], d_q.sum(0), rtol=1e-10)
    np.testing.assert_allclose(grads["W"], d_a.T @ x, rtol=1e-9, atol=1e-12)
    assert sorted(grads) == sorted(["W", short["gamma"], short["beta"]])


@LEVELS
def test_batch_norm_keeps_statistics_and_evaluates_by_them(level):
    program, params, short, data = layer(level)
    state, mu, v = program.init_state(params), np.zeros(4), np.ones(4)
    for x, y in data:
        a = x @ params["W"].T
        mu, v = 0.9 * mu + 0.1 * a.mean(0), 0.9 * v + 0.1 * a.var(0)
        kept = {k: params[short[k]].copy() for k in ("mu", "v")}
        program.loss_and_grads(params, x=x, y=y)     # writes no statistics
        np.testing.assert_array_equal(kept["mu"], params[short["mu"]])
        program.train_step(params, state, x=x, y=y)
        np.testing.assert_allclose(params[short["mu"]], mu, rtol=1e-12)
        np.testing.assert_allclose(params[short["v"]], v, rtol=1e-12)
    x, y = data[0]
    expected = params[short["gamma"]] * (x @ params["W"].T - mu) / np.sqrt(v + EPS) + params[short["beta"]]
    np.testing.assert_allclose(program.predict(params, x=x)["q"], expected, rtol=1e-11)
    np.testing.assert_allclose(program.predict(params, x=x[:1])["q"], expected[:1], rtol=1e-11)      # whatever the batch
    total, count = program.evaluate(params, x=x, y=y)["loss"]
    assert float(total / count) == pytest.approx(((expected - y)**2).sum() / 2 / len(x), rel=1e-11)


def test_plain_averages_over_training_batches():
    program, params, short, data = layer(1, "batch_norm_average")
    state, means, variances = program.init_state(params), [], []
    for x, y in data:
        a = x @ params["W"].T
        means.append(a.mean(0))
        variances.append(a.var(0))
        program.train_step(params, state, x=x, y=y)
    np.testing.assert_allclose(params[short["mu"]], np.mean(means, axis=0), rtol=1e-12)
    np.testing.assert_allclose(params[short["v"]], np.mean(variances, axis=0), rtol=1e-12)


# ---------------------------------------------------------------- residual connections

def relu(x):
    return np.maximum(x, 0)


RESIDUAL = {                                         # the block; whether a projection leads past its layers
    "x + F": ("q = relu(x + W2 @ relu(W1 @ x + b1) + b2)\n", False),
    "P @ x + F": ("q = relu(P @ x + W2 @ relu(W1 @ x + b1) + b2)\n", True),
}


@LEVELS
@pytest.mark.parametrize("kind", RESIDUAL)
def test_residual(kind, level):
    """The gradient of what enters a block is the sum of both paths; the first layer's weights show it."""
    equation, projected = RESIDUAL[kind]
    text = ("model m(D = 3, H = 4, C = 5)\ninput v[D]\ntarget y[C]\nparam W0[H, D], W1[H, H], W2[C, H], P[C, H] ~ normal(1)\n"
            "param b1[H], b2[C] = 0.1\n" + f"x = tanh(W0 @ v)\n{equation}loss = squares(q, y)\n")
    text = text if projected else text.replace(", P[C, H]", "").replace("[C", "[H").replace(", C = 5", "")
    program = compiled(text, level)
    w = {k: a.astype(float) for k, a in program.init(seed=2).items()}
    rng = np.random.default_rng(0)
    v, y = rng.normal(size=(6, 3)), rng.normal(size=(6, len(w["b2"])))
    x = np.tanh(v @ w["W0"].T)
    past = w["P"] if projected else np.eye(4)
    h = relu(x @ w["W1"].T + w["b1"])
    q = relu(x @ past.T + h @ w["W2"].T + w["b2"])
    d_s = (q - y) * (q > 0) / len(v)
    d_h = d_s @ w["W2"] * (h > 0)
    d_x = d_s @ past + d_h @ w["W1"]
    expected = {"W0": (d_x * (1 - x**2)).T @ v, "W1": d_h.T @ x, "W2": d_s.T @ h, "b1": d_h.sum(0), "b2": d_s.sum(0)}
    if projected:
        expected["P"] = d_s.T @ x
    loss, grads = program.loss_and_grads(w, v=v, y=y)
    assert float(loss) == pytest.approx(((q - y)**2).sum() / 2 / len(v), rel=1e-12)
    assert sorted(grads) == sorted(expected)
    for k, g in expected.items():
        np.testing.assert_allclose(grads[k], g, rtol=1e-10, atol=1e-13, err_msg=k)


@pytest.mark.parametrize("kind", ["residual(x, H)", "residual_projection(x, H, C)"])
def test_residual_blocks_of_the_library(kind):
    program = compiled(f"model m(D = 3, H = 4, C = 5)\ninput x[D]\nq = {kind}\nloss = sum(q)\noutput q\n")
    w = {k: a.astype(float) for k, a in program.init(seed=2).items()}
    short = {k.split(".")[-1]: a for k, a in w.items()}
    x = np.random.default_rng(0).normal(size=(6, 3))
    past = x @ short["P"].T if "P" in short else x
    expected = relu(past + relu(x @ short["W1"].T + short["b1"]) @ short["W2"].T + short["b2"])
    np.testing.assert_allclose(program.predict(w, x=x)["q"], expected, rtol=1e-12)
