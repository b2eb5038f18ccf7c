"""Every function and fragment of the library elaborates, and computes what its comment says."""

import math

import numpy as np
import pytest
from chainrule.compiler.interpret import evaluate
from chainrule.frontends.language import libraries, parse

HEAD = "model m(D = 6, H = 4, C = 3, V = 5)\ninput x[D]\ninput s[t, D]\ninput i : class(V)\nparam a = 0.25\n"
CALLS = {
    "clip": "clip(x, -1, 1)", "prelu": "prelu(x, a)", "dense": "dense(x, H, tanh)", "dense_relu": "dense_relu(x, H)",
    "linear": "linear(x, H)", "embedding": "embedding(i, V, H)", "mlp": "mlp(x, H, C)", "residual": "residual(x, H)",
    "residual_projection": "residual_projection(x, H, C)", "batch_norm": "batch_norm(x)", "layer_norm": "layer_norm(x)",
    "batch_norm_average": "batch_norm_average(x)", "drop_connect": "drop_connect(x, H, 0.5)",
    "elman": "elman(s[t], H)", "lstm": "lstm(s[t], H)", "gru": "gru(s[t], H)", "lstm_cell": ""}


@pytest.mark.parametrize("name", list(libraries.names()))
def test_every_name_elaborates(name: str) -> None:
    text = CALLS.get(name, f"{name}(x)")
    if name == "lstm_cell":
        line = "(q, r) = lstm_cell(x, dense(x, H), dense(x, H), H)"
    else:
        line = ("q[t] = " if "[t]" in text else "q = ") + text
    assert "q" in parse(HEAD + line + "\n").equations


X = np.linspace(-3, 3, 12).reshape(2, 6)
ERF = np.vectorize(math.erf)
SIGMOID = 1 / (1 + np.exp(-X))
FORMULAS = {
    "hard_tanh": np.clip(X, -1, 1), "leaky_relu": np.where(X > 0, X, 0.01 * X), "swish": X * SIGMOID, "silu": X * SIGMOID,
    "elu": np.where(X > 0, X, np.exp(X) - 1), "selu": 1.0507009873554805 * np.where(X > 0, X,
                                                                                    1.6732632423543772 * (np.exp(X) - 1)),
    "gelu": X * (1 + ERF(X / math.sqrt(2))) / 2, "mish": X * np.tanh(np.log(1 + np.exp(X))), "softsign": X / (1 + abs(X)),
    "log_sigmoid": np.log(SIGMOID), "threshold": (X > 0) * 1.0, "relu6": np.clip(X, 0, 6),
    "gelu_tanh": X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3))) / 2}


@pytest.mark.parametrize("name", list(FORMULAS))
def test_activations_compute_their_formulas(name: str) -> None:
    system = parse(f"model m(D = 6)\ninput x[D]\nq = {name}(x)\n")
    (found,) = evaluate(system, [system.equations["q"]], {"x": X})
    np.testing.assert_allclose(found, FORMULAS[name], rtol=1e-12, atol=1e-15)
