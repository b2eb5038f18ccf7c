"""Energy models in the language: what is declared becomes the system, by text and by the builder."""

from __future__ import annotations

import pytest
from chainrule.compiler.graph import BATCH, Input
from chainrule.compiler.system import System
from chainrule.compiler.units import Estimator
from chainrule.frontends.builder import Builder, BuilderError
from chainrule.frontends.language import ModelError, parse
from chainrule.frontends.language.printing import to_text

RBM = """
energy rbm(D = 6, H = 4)
visible v[D] : binary
hidden  h[H] : binary
param W[H, D] ~ normal(0.01);  b[D] = 0;  c[H] = 0
E = - h @ W @ v - b @ v - c @ h
"""


def with_train(line: str) -> System:
    return parse(RBM + "train " + line)


def test_layers_and_energy() -> None:
    s = parse(RBM)
    assert s.energy is not None and s.loss is None and not s.equations and not s.outputs
    assert [(u.name, u.kind, u.visible) for u in s.energy.layers] == [("v", "binary", True), ("h", "binary", False)]
    assert s.energy.layers[0].node is s.inputs["v"] is Input("v", (BATCH,), s.params["b"].node.shape)
    assert s.energy.value.axes == (BATCH,) and s.energy.value.shape == ()
    assert s.domains == {"v": "binary"} and s.training.estimator == Estimator()


def test_means_are_data_of_binary_units_where_it_is_said() -> None:
    s = parse(RBM.replace("v[D] : binary", "v[D] : binary(mean)"))
    assert s.energy is not None and s.energy.layers[0].kind == "binary" and s.domains == {"v": "unit"}


@pytest.mark.parametrize("line,estimator,optimiser,options", [
    ("contrastive_divergence(k = 2, lr = 0.1)", Estimator(k=2), "sgd", (("lr", 0.1),)),
    ("contrastive_divergence(k = 1, momentum = 0.5, statistics = samples)", Estimator(statistics="samples"), "momentum",
     (("lr", 0.01), ("momentum", 0.5))),
    ("persistent_contrastive_divergence(k = 15, chains = 20), nesterov(lr = 0.2)",
     Estimator("persistent_contrastive_divergence", 15, chains=20), "nesterov", (("lr", 0.2),)),
    ("likelihood, adam(lr = 0.001)", Estimator("likelihood"), "adam", (("lr", 0.001),)),
    ("contrastive_divergence(sparsity = 0.1)", Estimator(sparsity=(0.1, 0.1)), "sgd", (("lr", 0.01),)),
])
def test_train_lines(line: str, estimator: Estimator, optimiser: str, options: tuple[tuple[str, float], ...]) -> None:
    t = with_train(line + ", epochs = 3").training
    assert (t.estimator, t.optimiser, t.options, t.epochs) == (estimator, optimiser, options, 3)
    assert parse(to_text(with_train(line))).training == with_train(line).training


def test_an_energy_may_be_written_in_parts_and_with_functions() -> None:
    """Helper equations, `def`, `repeat` and fragments mean what they mean in a model."""
    s = parse("""
energy deep_bias(D = 6, H = 4, K = 3)
input x[K]
visible v[D] : binary
hidden  h[H] : binary
param W[H, D] ~ normal(0.1)
def twice(a) = a + a
bias = dense(x, D)
joint = h @ W @ v
repeat l in 1..2:
    param r[l] = 0
    part[l] = r[l] * joint
E = -twice(joint) - bias @ v - part[1] - part[2]
""")
    assert s.energy is not None
    assert [*s.params] == ["W", "r.1", "r.2", "bias.W", "bias.b"] and {"bias", "joint", "part.1"} <= {*s.equations}
    assert parse(to_text(s)).energy == s.energy


def test_builder_writes_the_same() -> None:
    m = Builder("rbm", energy=True, D=6, H=4)
    v, h = m.visible("v", "D"), m.hidden("h", "H")
    W, b, c = m.param("W", "H", "D", init=("normal", 0.01)), m.param("b", "D"), m.param("c", "H")
    m.E(-h @ W @ v - b @ v - c @ h)
    m.train("contrastive_divergence", k=3, statistics="samples", beside=("adam", {"lr": 0.001}))
    built, read = m.system(), with_train("contrastive_divergence(k = 3, statistics = samples), adam(lr = 0.001)")
    assert built.energy == read.energy and built.training == read.training and to_text(built) == to_text(read)
    with pytest.raises(BuilderError, match="no kind"):
        m.visible("u", units="binary(mean) = 1")


def test_a_model_needs_no_energy_and_an_energy_no_loss() -> None:
    with pytest.raises(ModelError, match="an energy model has no loss"):
        parse(RBM + "loss = sum(v)")
    with pytest.raises(ModelError, match="declares the units of an energy model"):
        parse("model m(D = 3)\nhidden h[D] : binary\nloss = sum(h)")


def test_mistakes_are_shown_together_and_at_their_places() -> None:
    with pytest.raises(ModelError) as raised:
        parse(RBM.replace("h[H] : binary", "h[H] : bin").replace("b @ v", "b @ w"))
    assert [(d.span.line, d.span.column) for d in raised.value.diagnostics] == [(3 + 1, 16), (6, 23)]
