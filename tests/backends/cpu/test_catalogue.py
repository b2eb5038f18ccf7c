"""The catalogue of units and losses: written in the language, compiled, run, against formulas from print."""

import mpmath as mp
import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.frontends.language import parse

LEVELS = pytest.mark.parametrize("level", [0, 1])


def compiled(text, level=1, dtype="float64"):
    return Program(parse(text), dtype, level)


# ---------------------------------------------------------------- activations

def normal_distribution(x):
    return (1 + mp.erf(x / mp.sqrt(2))) / 2


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def elu(x, a=1):
    return x if x > 0 else a * mp.expm1(x)


ACTIVATIONS = {                                      # as written in a model; what is meant, in many digits
    "sigmoid(x)": sigmoid,
    "sigmoid(1.7 * x)": lambda x: sigmoid(mp.mpf(1.7) * x),
    "1 / (1 + exp(-0.6 * x))": lambda x: sigmoid(mp.mpf(0.6) * x),
    "tanh(x)": mp.tanh,
    "tanh(0.4 * x)": lambda x: mp.tanh(mp.mpf(0.4) * x),
    "hard_tanh(x)": lambda x: max(min(x, 1), -1),
    "relu(x)": lambda x: max(x, mp.mpf(0)),
    "leaky_relu(x)": lambda x: x if x > 0 else mp.mpf(0.01) * x,
    "leaky_relu(x, 0.2)": lambda x: x if x > 0 else mp.mpf(0.2) * x,
    "swish(x)": lambda x: x * sigmoid(x),
    "swish(x, 1.5)": lambda x: x * sigmoid(1.5 * x),
    "softplus(x)": lambda x: mp.log1p(mp.exp(x)),
    "log(1 + exp(x))": lambda x: mp.log1p(mp.exp(x)),
    "elu(x)": elu,
    "selu(x)": lambda x: mp.mpf(1.0507009873554805) * elu(x, mp.mpf(1.6732632423543772)),
    "gelu(x)": lambda x: x * normal_distribution(x),
    "mish(x)": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
    "own(x)": lambda x: x * mp.exp(-x**2 / 2) + mp.atan(x) / (1 + x**2),
    "half(x)": lambda x: x / (1 + mp.exp(-x)) if x > 0 else mp.sinh(x) / 2,
}
OWN = """def own(x) = x * exp(-x^2 / 2) + arctan(x) / (1 + x^2)
def half(x) = select(x > 0, x / (1 + exp(-x)), (exp(min(x, 0)) - exp(-min(x, 0))) / 4)
"""
POINTS = np.array([-30.0, -7.5, -2.3, -1.2, -0.4, -1e-3, 1e-3, 0.3, 0.9, 1.8, 4.0, 11.0, 30.0])


def unit(text, level, points, dtype="float64"):
    """q = f(x) of a parameter x, and a loss whose gradient by x is f'(x)."""
    program = compiled(f"model m(N = {len(points)})\nparam x[N] = 0\ninput c[N]\n{OWN}q = {text}\nloss = sum(c * q)\noutput q\n",
                       level, dtype)
    params = {"x": points.astype(dtype)}
    _, grads = program.loss_and_grads(params, c=np.ones((1, len(points))))
    return program.predict(params)["q"], grads["x"]


@LEVELS
@pytest.mark.parametrize("text", ACTIVATIONS)
def test_activation(text, level):
    f = ACTIVATIONS[text]
    value, slope = unit(text, level, POINTS)
    with mp.workdps(60):
        np.testing.assert_allclose(value, [float(f(mp.mpf(x))) for x in POINTS], rtol=2e-13, atol=1e-15)
        np.testing.assert_allclose(slope, [float(mp.diff(f, mp.mpf(x), h=mp.mpf(10)**-25)) for x in POINTS],
                                   rtol=2e-12, atol=1e-15)


BOUNDED = [t for t in ACTIVATIONS if t != "half(x)"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text", BOUNDED)
def test_activation_stays_finite_far_out(text, dtype):
    value, slope = unit(text, 1, np.array([-1e4, -800.0, -100.0, 100.0, 800.0, 1e4]), dtype)
    assert np.isfinite(value).all() and np.isfinite(slope).all()


KINKS = {"relu(x)": {0: 0}, "leaky_relu(x)": {0: 0.01}, "hard_tanh(x)": {-1: 1, 1: 1}, "abs(x)": {0: 0},
         "elu(x)": {0: 1}, "max(x, 0)": {0: 1}, "max(0, x)": {0: 0}}


@LEVELS
@pytest.mark.parametrize("text", KINKS)
def test_derivative_at_kinks(text, level):
    """The first of equals takes the gradient; relu'(0) = 0."""
    points = np.array(list(KINKS[text]), float)
    np.testing.assert_array_equal(unit(text, level, points)[1], list(KINKS[text].values()))


@LEVELS
@pytest.mark.parametrize(("text", "by_slope"), [("prelu(x, a)", lambda x, a: min(x, mp.mpf(0))),
                                                ("swish(x, a)", lambda x, a: x**2 * sigmoid(a * x) * (1 - sigmoid(a * x))),
                                                ("tanh(a * x)", lambda x, a: x * (1 - mp.tanh(a * x)**2))])
def test_learned_slope(text, by_slope, level):
    program = compiled(f"model m(N = {len(POINTS)})\nparam a = 0.25\ninput x[N]\nq = {text}\nloss = sum(q)\n", level)
    params = {"a": np.array(0.7)}
    found = float(program.loss_and_grads(params, x=POINTS[None])[1]["a"])
    assert found == pytest.approx(float(sum(by_slope(mp.mpf(x), mp.mpf(0.7)) for x in POINTS)), rel=1e-12)


@LEVELS
def test_softmax_and_its_log(level):
    text = ("model m(N = 4)\nparam x[N] = 0\ninput c[N]\np = softmax(x)\nl = log_softmax(x)\n"
            "loss = sum(c * p) + sum(c * l)\noutput p, l\n")
    program, x, c = compiled(text, level), np.array([-2.0, 0.5, 3.0, 1.0]), np.array([1.0, -2.0, 0.5, 3.0])
    p = np.exp(x) / np.exp(x).sum()
    found = program.predict({"x": x})
    np.testing.assert_allclose(found["p"], p, rtol=1e-14)
    np.testing.assert_allclose(found["l"], np.log(p), rtol=1e-14)
    expected = p * (c - c @ p) + c - p * c.sum()
    np.testing.assert_allclose(program.loss_and_grads({"x": x}, c=c[None])[1]["x"], expected, rtol=1e-13)


@LEVELS
def test_layers_with_their_own_activations(level):
    """Any number of layers: a repeat, each with its own weights."""
    text = ("model m(D = 3, H = 4, L = 3)\ninput x[D]\nh[0] = dense(x, H, relu)\n"
            "repeat l in 1..L:\n    h[l] = dense(h[l-1], H, tanh)\n"
            "p = dense(h[L], D, sigmoid)\nloss = squares(p, x)\n")
    program = compiled(text, level)
    params, x = program.init(seed=1), np.random.default_rng(0).random((5, 3))
    params = {k: v.astype(float) for k, v in params.items()}
    weights = list(params.values())
    assert len(weights) == 10
    h = np.maximum(x @ weights[0].T + weights[1], 0)
    for W, b in zip(weights[2:8:2], weights[3:8:2]):
        h = np.tanh(h @ W.T + b)
    np.testing.assert_allclose(program.predict(params, x=x)["p"], 1 / (1 + np.exp(-(h @ weights[8].T + weights[9]))), rtol=1e-13)


# ---------------------------------------------------------------- losses

LOSSES = {                                           # loss of scores s and a target; its value and gradient by s
    "cross_entropy(softmax(s), i)": ("class", lambda s, y: np.log(np.exp(s - s.max()).sum()) + s.max() - s @ y,
                                     lambda s, y: softmax(s) - y),
    "cross_entropy(softmax(s), y)": ("vector", lambda s, y: y.sum() * (np.log(np.exp(s - s.max()).sum()) + s.max()) - s @ y,
                                     lambda s, y: softmax(s) * y.sum() - y),
    "-sum(y * log(exp(s) / sum(exp(s))))": ("vector", None, None),
    "binary_cross_entropy(sigmoid(s), y)": ("vector", lambda s, y: np.sum(np.logaddexp(0, s) - s * y),
                                            lambda s, y: expit(s) - y),
    "-sum(y * log(sigmoid(s)) + (1 - y) * log(1 - sigmoid(s)))": ("vector", None, None),
    "squares(s, y)": ("vector", lambda s, y: ((s - y)**2).sum() / 2, lambda s, y: s - y),
    "sum((s - y)^2) / 2": ("vector", None, None),
}
SAME = {2: 1, 4: 3, 6: 5}                            # rows that say in full what the row with this number says


def softmax(s):
    e = np.exp(s - s.max())
    return e / e.sum()


def expit(s):
    return np.exp(-np.logaddexp(0, -s))


SCORES = [np.array([0.3, -1.2, 2.0]), np.array([30.0, -40.0, 5.0]), np.array([0.0, 1000.0, -1000.0])]


@LEVELS
@pytest.mark.parametrize("scores", SCORES, ids=["near", "far", "extreme"])
@pytest.mark.parametrize("row", range(len(LOSSES)), ids=list(LOSSES))
def test_loss(row, scores, level):
    text = list(LOSSES)[row]
    kind, value, slope = list(LOSSES.values())[SAME.get(row, row)]
    program = compiled(f"model m(N = 3)\nparam s[N] = 0\ntarget {'i : class(N)' if kind == 'class' else 'y[N] : unit'}\n"
                       f"loss = {text}\n", level)
    y = np.eye(3)[2] if kind == "class" else np.array([0.2, 0.5, 0.3])
    given = {"i": np.array([2])} if kind == "class" else {"y": y[None]}
    loss, grads = program.loss_and_grads({"s": scores.copy()}, **given)
    np.testing.assert_allclose(float(loss), value(scores, y), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(grads["s"], slope(scores, y), rtol=1e-12, atol=1e-16)


@LEVELS
def test_one_output_pass_or_fail(level):
    """Logistic regression of one probability, with a truth value as target."""
    program = compiled("model m(D = 2)\ninput x[D]\ntarget y : binary\nparam w[D] = 0; b = 0\np = sigmoid(w @ x + b)\n"
                       "loss = binary_cross_entropy(p, y)\noutput p\n", level)
    rng = np.random.default_rng(0)
    x, y, w, b = rng.normal(size=(6, 2)), rng.random(6) < 0.5, rng.normal(size=2), np.array(0.3)
    loss, grads = program.loss_and_grads({"w": w, "b": b}, x=x, y=y)
    s = x @ w + b
    np.testing.assert_allclose(float(loss), np.mean(np.logaddexp(0, s) - s * y), rtol=1e-13)
    np.testing.assert_allclose(grads["w"], x.T @ (expit(s) - y) / 6, rtol=1e-12)
    np.testing.assert_allclose(grads["b"], np.mean(expit(s) - y), rtol=1e-12)


@LEVELS
def test_penalties_by_name_and_pattern(level):
    """(lambda/2) * ||w||^2 and lambda * ||w||_1 with subgradient sign(w), 0 at 0; reported apart in evaluation."""
    program = compiled("model m(N = 3)\ninput x[N]\nparam W1[N], W2[N], v[N], b = 1\nloss = (W1 + W2 + v) @ x + b\n"
                       "penalty l2(0.1) on W*\npenalty l1(0.3) on v, b\n", level)
    params = {"W1": np.array([1.0, -2.0, 0.0]), "W2": np.array([0.5, 0.0, 3.0]), "v": np.array([0.0, -1.5, 2.0]),
              "b": np.array(-2.0)}
    x = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]])
    base = float(((params["W1"] + params["W2"] + params["v"]) @ x.T + params["b"]).mean())
    penalty = 0.05 * sum(float(params[k] @ params[k]) for k in ("W1", "W2")) + 0.3 * (3.5 + 2.0)
    loss, grads = program.loss_and_grads(params, x=x)
    assert float(loss) == pytest.approx(base + penalty, rel=1e-13)
    for k in ("W1", "W2"):
        np.testing.assert_allclose(grads[k], x.mean(0) + 0.1 * params[k], rtol=1e-13)
    np.testing.assert_allclose(grads["v"], x.mean(0) + 0.3 * np.sign(params["v"]), rtol=1e-13)
    np.testing.assert_allclose(grads["b"], 1 - 0.3, rtol=1e-13)
    found = program.evaluate(params, x=x)
    assert float(found["loss"][0] / found["loss"][1]) == pytest.approx(base, rel=1e-13)
    assert float(found["penalty"]) == pytest.approx(penalty, rel=1e-13)
