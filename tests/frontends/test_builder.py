"""The Python builder and the text build one and the same system."""

from __future__ import annotations

import pytest
from chainrule.compiler.system import System
from chainrule.frontends import builder as nn
from chainrule.frontends.builder import Builder, BuilderError
from chainrule.frontends.language import ModelError, parse

PARTS = ("name", "sizes", "inputs", "targets", "domains", "params", "stats", "outputs", "loss", "penalties", "metrics",
         "training", "data")


def same(m: Builder, text: str) -> System:
    """The builder's system, which is node for node that of the text."""
    built, read = m.system(), parse(text)
    for part in PARTS:
        assert getattr(built, part) == getattr(read, part), m.text()
    assert {*built.equations} == {*read.equations}
    for name, e in read.equations.items():
        assert built.equations[name] is e, m.text()
    return built


def test_multilayer_perceptron() -> None:
    m = Builder("mlp", D=784, H=128)
    x, y = m.input("x", "D"), m.target("y", cls=10)
    W, b = m.param("W", "H", "D", init="xavier"), m.param("b", ("H",))
    h = m.eq("h", nn.relu(W @ x + b))
    s = m.eq("s", m.call("dense", nn.dropout(h, 0.2), 10))
    m.loss(nn.cross_entropy(nn.softmax(s), y))
    m.penalty("l2", 1e-4, W, "s.*")
    m.metric("error", nn.argmax(s) != y)
    m.train("adam", lr=0.002, settings={"clip_norm": 5, "epochs": 20}, schedule=("cosine", {"floor": 0.1}), freeze=["b"],
            rates={"s.*": 0.1})
    m.data("digits", x="image / 16", y="label", split=(1400, 397), options={"shuffle": 1})
    same(m, """
model mlp(D = 784, H = 128)
input x[D]
target y : class(10)
param W[H, D] ~ xavier;  b[H] = 0
h = relu(W @ x + b)
s = dense(dropout(h, 0.2), 10)
loss = cross_entropy(softmax(s), y)
penalty l2(1e-4) on W, s.*
metric error = argmax(s) != y
train adam(lr = 0.002), clip_norm = 5, epochs = 20, schedule cosine(floor = 0.1), freeze b, rate s.* = 0.1
data digits(shuffle = 1): x = image / 16, y = label, split 1400 / 397
""")


def test_recurrence() -> None:
    m = Builder("elman", V=65, H=16)
    t = m.time("t")
    x, y = m.input("x", t, cls="V"), m.target("y", t, cls="V")
    W, U = m.param("W", "H", "V", init="xavier"), m.param("U", "H", "H", init="orthogonal")
    V = m.param("V_o", "V", "H", init="he")
    b, h0 = m.param("b", "H"), m.param("h0", "H", init=("normal", 0.1))
    h = m.var("h", t, "H")
    m.define(h, nn.tanh(W @ nn.onehot(x) + U @ h[t - 1] + b), where={-1: h0})
    p = m.eq("p", V @ h + 2 * V[:, 0:2] @ h[t, 0:2] - V @ h["last"] * (t < 3))
    m.loss(nn.mean(nn.cross_entropy(nn.softmax(p), y), over=("batch", t)))
    same(m, """
model elman(V = 65, H = 16)
time t
input x[t] : class(V)
target y[t] : class(V)
param W[H, V] ~ xavier
param U[H, H] ~ orthogonal
param V_o[V, H] ~ he
param b[H] = 0
param h0[H] ~ normal(0.1)
h[t, H] = tanh(W @ onehot(x[t]) + U @ h[t-1] + b) where h[-1] = h0
p[t] = V_o @ h[t] + 2 * V_o[:, 0:2] @ h[t, 0:2] - V_o @ h[last] * (t < 3)
loss = mean[batch, t](cross_entropy(softmax(p[t]), y[t]))
""")


def test_layers_stats_and_several_results() -> None:
    m = Builder("layers", D=8, H=4)
    x, y = m.input("x", "t", "D", type="unit"), m.target("y")
    h = m.eq("h", m.call("lstm", x, "H", reverse=True))
    a = m.eq("a", nn.sum(h, over="t"))
    mu = m.stat("mu", "H", update=lambda old: 0.9 * old + 0.1 * nn.mean(a, over="batch"))
    m.stat("top", "H", start=1, update=nn.max(a, over="batch"), average=True)
    u, v = m.eqs(("u", "v"), m.call("lstm_cell", a, a * 2, a - mu, "H"))
    r = m.eq("r", nn.select((u > 0) & ~(v > 1), u**2, -u) @ [v[0:2], v[2:"H"]])
    m.loss((r - y)**2 / 2)
    m.output(r, "u")
    same(m, """
model layers(D = 8, H = 4)
input x[t, D] : unit
target y
h[t] = lstm(x[t], H, reverse = true)
a = sum[t](h[t])
stat mu[H] = 0 <- 0.9 * mu + 0.1 * mean[batch](a)
stat top[H] = 1 <- average[batches](max[batch](a))
(u, v) = lstm_cell(a, a * 2, a - mu, H)
r = select(u > 0 and not v > 1, u^2, -u) @ [v[0:2], v[2:H]]
loss = (r - y)^2 / 2
output r, u
""")


def test_a_number_as_the_first_size() -> None:
    m = Builder("unit")
    x = m.input("x", 2)
    w = m.param("w", 2, 2, init=("normal", 1))
    m.loss(nn.sum(w @ x))
    assert str(m.system().params["w"].node.shape[0]) == "2"


def test_a_mistake_names_the_python_line() -> None:
    m = Builder("wrong", D=3, H=4)
    x = m.input("x", "D")
    W = m.param("W", "H", "H", init="xavier")
    m.loss(nn.sum(W @ x))                                          # the wrong line
    with pytest.raises(ModelError) as error:
        m.system()
    assert "`W` has H = 4 columns" in str(error.value)
    assert "# the wrong line" in str(error.value) and "test_builder.py" in str(error.value)


@pytest.mark.parametrize("act", [
    lambda m: m.input("x; loss = 1"), lambda m: m.input("x", "D]; param W[D"), lambda m: m.param("W\n", "D"),
    lambda m: m.param("W", "D", init='xavier" '), lambda m: m.penalty("l2", 0.1, "W on"), lambda m: m.data("d", x="a\nloss = 1"),
    lambda m: m.eq("h", "a @ b"), lambda m: m.eq("h", object()), lambda m: m.define(m.input("x", "D"), 1),
    lambda m: m.data("d", options={"path": 'a"b'}), lambda m: m.eq("h", 1, where={"-1] = 0, x[": 1}), lambda m: m.eq("1h", 1),
])
def test_nothing_escapes_its_place(act: object) -> None:
    with pytest.raises(BuilderError):
        act(Builder("m", D=3))  # type: ignore[operator]


def test_a_variable_without_definition_is_named() -> None:
    m = Builder("m", D=3)
    m.var("h", m.time("t"), "D")
    with pytest.raises(BuilderError, match="not defined: h"):
        m.system()


def test_a_value_is_no_truth_and_no_list() -> None:
    x = Builder("m", D=3).input("x", "D")
    with pytest.raises(BuilderError):
        bool(x > 0)
    with pytest.raises(TypeError):
        list(x)
    with pytest.raises(AttributeError):
        nn.no_such_function(x)
