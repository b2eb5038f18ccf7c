"""`grad`, `explain` and `show` of energy models."""

from __future__ import annotations

import pytest
from chainrule.frontends.commands.check import parts
from chainrule.frontends.language import parse
from chainrule.frontends.showing import ShowingError, explain_text, grad_text, graph, stage_text

RBM = parse("""
energy rbm(D = 6, H = 4)
visible v[D] : binary
hidden  h[H] : binary
param W[H, D] ~ normal(0.01);  b[D] = 0;  c[H] = 0
E = - h @ W @ v - b @ v - c @ h
""")

DERIVED = """\
# the energy
E(v, h) = -h @ W @ v - b @ v - c @ h

# the hidden units given the visible ones: theta_h = -dE/dh
theta_h      = W @ v + c
p(h = 1 | v) = sigmoid(W @ v + c)

# the visible units given the hidden ones: theta_v = -dE/dv
theta_v      = W.T @ h + b
p(v = 1 | h) = sigmoid(W.T @ h + b)

# the free energy, the hidden units summed out: p(v) = exp(-F(v)) / Z
F(v) = -b @ v - sum(softplus(W @ v + c))

# the derivatives of the energy
dE/dW = -h @ v.T
dE/db = -v
dE/dc = -h

# the gradient of the log-likelihood: the mean of -dE/dtheta in the data, less its mean in the model
d log p(v)/dW = E[h @ v.T | v] - E[h @ v.T]
d log p(v)/db = v - E[v]
d log p(v)/dc = E[h | v] - E[h]"""


def test_the_whole_derivation() -> None:
    assert grad_text(RBM) == DERIVED


def test_one_parameter() -> None:
    assert grad_text(RBM, "W").splitlines() == [
        "dE/dW          = -h @ v.T", "d log p(v)/dW  = E[h @ v.T | v] - E[h @ v.T]",
        "E[h @ v.T | v] = sigmoid(W @ v + c) @ v.T"]


def test_latex() -> None:
    text = grad_text(RBM, format="latex")
    assert r"F(v) &= -b^{\top} \, v - \sum\left(\operatorname{softplus}\left(W \, v + c\right)\right)" in text
    assert (r"\frac{\partial \log p(v)}{\partial W} &= \mathbb{E}\left[h \, v^{\top} \mid v\right] - "
            r"\mathbb{E}\left[h \, v^{\top}\right]") in text
    assert r"p(h = 1 \mid v) &= \sigma\left(W \, v + c\right)" in text
    assert text.count("&=") == len([x for x in DERIVED.splitlines() if " = " in x and not x.startswith("#")])
    assert text.count(r"\left") == text.count(r"\right")


UNITS = {
    "spin": ("visible v[D] : spin", "-h @ W @ v", ["p(v = 1 | h) = sigmoid(2 * (W.T @ h))", "E[v | h]     = tanh(W.T @ h)"]),
    "gaussian": ("visible v[D] : gaussian", "sum(v^2) / 2 - h @ W @ v", ["E[v | h]   = W.T @ h", "var(v | h) = 1"]),
    "categorical": ("visible v[D] : categorical", "-h @ W @ v", ["p(v | h) = softmax(W.T @ h)"]),
    "semi-restricted": ("visible v[D] : binary\nparam L[D, D] = 0", "-h @ W @ v - v @ L @ v",
                        ["p(v = 1 | other v, h) = sigmoid(W.T @ h + L.T @ v + L @ v)", "d log p(v)/dL = v @ v.T - E[v @ v.T]"]),
}


@pytest.mark.parametrize("kind", sorted(UNITS))
def test_kinds_of_units(kind: str) -> None:
    layer, energy, lines = UNITS[kind]
    system = parse(f"energy e(D = 6, H = 4)\n{layer}\nhidden h[H] : binary\nparam W[H, D] ~ normal(0.1)\nE = {energy}")
    found = grad_text(system).splitlines()
    assert {f"E(v, h) = {energy}", "d log p(v)/dW = E[h @ v.T | v] - E[h @ v.T]", *lines} <= {*found}


def test_inputs_stand_behind_the_bar() -> None:
    system = parse("""
energy conditional(D = 6, H = 4, K = 3)
input x[K]
visible v[D] : binary
hidden h[H] : binary
param W[H, D], A[D, K] ~ normal(0.1)
bias = A @ x
E = -h @ W @ v - bias @ v
""")
    assert {"bias       = A @ x", "E(v, h; x) = -h @ W @ v - bias @ v", "p(v = 1 | h, x) = sigmoid(W.T @ h + bias)",
            "F(v; x) = -bias @ v - sum(softplus(W @ v))", "d log p(v | x)/dA = v @ x.T - E[v @ x.T | x]"} \
        <= {*grad_text(system).splitlines()}


def test_explain_names_the_terms() -> None:
    text = explain_text(RBM, "d_c")
    assert text.startswith("d log p(v)/dc = E[h | v] - E[h]\n") and "-c @ h   contributes   h" in text
    with pytest.raises(ShowingError, match="no parameter V"):
        explain_text(RBM, "V")


def test_stages() -> None:
    """The adjoint of what training minimises is the textbook's update."""
    text = stage_text(RBM, "simplified")
    assert "d_b = (sum[batch](v_model) - sum[batch](v)) / B" in text, text
    assert stage_text(RBM, "system").startswith("energy rbm(D = 6, H = 4)")
    assert {(a, b) for a, b in graph(RBM).edges if b == "E"} == {(x, "E") for x in ("v", "h", "W", "b", "c")}
    assert graph(RBM).nodes["h"]["kind"] == "hidden"


def test_check_takes_the_energy_and_the_free_energy() -> None:
    energy, free = parts(RBM)
    assert {*energy.inputs} == {"v", "h"} and {*free.inputs} == {"v"} and energy.loss is not None and free.loss is not None


def test_learned_variances() -> None:
    system = parse("""
energy gauss(D = 6, H = 4)
visible v[D] : gaussian
hidden  h[H] : binary
param W[H, D] ~ normal(0.01);  z[D] = 0
s = exp(z)
E = sum(v^2 / s^2) / 2 - h @ W @ (v / s)
""")
    assert {"E[v | h]   = (W.T @ h) * s", "var(v | h) = s^2"} <= {*grad_text(system).splitlines()}
