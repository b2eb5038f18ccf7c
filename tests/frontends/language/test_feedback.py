"""`feedback` as it is read, written again, and built in Python."""

from __future__ import annotations

import pytest
from chainrule.compiler.graph import Input
from chainrule.compiler.system import Feedback
from chainrule.compiler.verify import verify
from chainrule.frontends import builder as nn
from chainrule.frontends.builder import Builder
from chainrule.frontends.language import ModelError, parse
from chainrule.frontends.language.printing import to_text

HEAD = """
model m(V = 5, H = 3)
input x[t] : class(V)
input v[t, H]
input b[t, H] : binary
input z[H]
target y[t] : class(V)
param E[V, H], W[V, H] ~ normal(1)
h[t] = tanh(E[x[t]] + v[t] + b[t] + z + h[t-1])     where h[-1] = 0
s[t] = W @ h[t]
p[t] = exp(s[t])
loss = mean[batch, t] cross_entropy(softmax(s[t]), y[t])
"""


@pytest.mark.parametrize(("line", "free"), [
    ("feedback x[t+1] ~ categorical(softmax(s[t] / temperature))", ("temperature",)),
    ("feedback x[t+1] ~ categorical(softmax((s[t] - tilt * t) / temperature))", ("tilt", "temperature")),
    ("feedback x[t+1] ~ categorical(assume_probability(p[t]))", ()),
    ("feedback x[t+1] = x[t]", ()),
    ("feedback v[t+1] ~ normal(h[t] * h[t-1], exp(z) * width)", ("width",)),
    ("feedback v[t+1] ~ normal(h[t], 0.1)", ()),
    ("feedback v[t+1] = v[t] + step_size * h[t]", ("step_size",)),
    ("feedback b[t+1] ~ bernoulli(sigmoid(h[t] + inf * pi))", ()),
])
def test_text(line: str, free: tuple[str, ...]) -> None:
    """Text -> system -> text -> the identical system."""
    system = parse(HEAD + line + "\n")
    found = system.feedback
    assert isinstance(found, Feedback) and found.free == free and found.axis == "t" and found.input == line[9]
    again = parse(to_text(system))
    assert again.feedback == found and again.outputs == system.outputs and again.loss == system.loss
    assert all(again.equations[k] is e for k, e in system.equations.items())
    verify(system)


def test_free_names_are_no_inputs() -> None:
    system = parse(HEAD + "feedback x[t+1] ~ categorical(softmax(s[t] / temperature))\n")
    assert "temperature" not in system.inputs
    assert any(n is Input("temperature", ()) for n in system.nodes())
    with pytest.raises(ModelError, match="there is no `temperature`"):
        parse(HEAD + "feedback x[t+1] ~ categorical(softmax(s[t] / temperature))\nmetric m = temperature\n")


def test_builder() -> None:
    m = Builder("m", V=5, H=3)
    t = m.time("t")
    x = m.input("x", t, cls="V")
    E, W = m.param("E", "V", "H", init=("normal", 1)), m.param("W", "V", "H", init=("normal", 1))
    h = m.var("h", t, "H")
    m.define(h, nn.tanh(E[x[t]] + h[t - 1]), where={-1: 0})
    s = m.eq("s", W @ h[t])
    m.output(s)
    m.feedback(x[t + 1], "categorical", nn.softmax(s[t] / m.free("temperature")))
    built, read = m.system(), parse("""
model m(V = 5, H = 3)
input x[t] : class(V)
param E[V, H], W[V, H] ~ normal(1)
h[t, H] = tanh(E[x[t]] + h[t-1])   where h[-1] = 0
s[t] = W @ h[t]
output s
feedback x[t+1] ~ categorical(softmax(s[t] / temperature))
""")
    assert built.feedback == read.feedback and built.feedback is not None
    assert parse(to_text(built)).feedback == built.feedback


def test_builder_without_a_draw() -> None:
    m = Builder("m", D=2)
    x = m.input("x", "t", "D")
    t = nn.Axis("t")
    y = m.eq("y", 2 * x[t])
    m.output(y)
    m.feedback(x[t + 1], "value", y[t] - 1)
    read = parse("model m(D = 2)\ninput x[t, D]\ny[t] = 2 * x[t]\noutput y\nfeedback x[t+1] = y[t] - 1\n")
    assert m.system().feedback == read.feedback is not None
