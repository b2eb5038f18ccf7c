"""Gradients, explanations, stages and graphs of three small models, as people read them."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from chainrule.compiler.system import System
from chainrule.frontends.language import parse
from chainrule.frontends.showing import (
    STAGES,
    ShowingError,
    explain_text,
    grad_text,
    graph,
    model_html,
    model_latex,
    model_rich,
    stage_text,
)
from chainrule.frontends.showing.drawing import to_dot, to_svg
from chainrule.frontends.showing.layout import arrange, depths

LOGISTIC = """
model logistic(D = 784, C = 10)
input x[D]
target y : class(C)
param W[C, D] = 0;  b[C] = 0
p = W @ x + b
loss = cross_entropy(softmax(p), y)
"""
MLP = """
model mlp(D = 784, H = 128, C = 10)
input x[D]
target y : class(C)
param W1[H, D] ~ he;  b1[H] = 0
param W2[C, H] ~ xavier;  b2[C] = 0
h = tanh(W1 @ x + b1)
p = W2 @ h + b2
loss = cross_entropy(softmax(p), y)
metric error = argmax(p) != y
"""
ELMAN = """
model elman(V = 65, H = 128)
input x[t] : class(V)
target y[t] : class(V)
param Wxh[H, V], Whh[H, H], Why[V, H] ~ xavier
param bh[H] = 0;  by[V] = 0
h[t] = tanh(Wxh @ onehot(x[t]) + Whh @ h[t-1] + bh) where h[-1] = 0
p[t] = Why @ h[t] + by
loss = mean[batch, t] cross_entropy(softmax(p[t]), y[t])
"""
LSTM = """
model lstm(D = 5, H = 4)
input x[t, D]
target y[t, H]
h[t] = lstm(x[t], H)
loss = mean[batch, t] squares(h[t], y[t])
"""
NAIVE = """
model naive(D = 4)
input x[D]
target y : binary
param w[D] ~ normal(0.1)
a = w @ x
p = 1 / (1 + exp(-a))
loss = -(y * log(p) + (1 - y) * log(1 - p))
"""


@pytest.fixture
def mlp() -> System:
    return parse(MLP, "mlp.nn")


def plain(text: str) -> list[str]:
    return [re.sub(r" +", " ", line) for line in text.splitlines()]


# ---------------------------------------------------------------- gradients

def test_logistic_regression() -> None:
    assert plain(grad_text(parse(LOGISTIC))) == [
        "d_p = (softmax(p) - onehot(y)) / B",
        "d_W = d_p @ x.T",
        "d_b = sum[batch](d_p)"]


def test_multilayer_perceptron(mlp: System) -> None:
    assert plain(grad_text(mlp)) == [
        "d_p = (softmax(p) - onehot(y)) / B",
        "d_h = W2.T @ d_p",
        "d_a_h = d_h * (1 - h^2)",
        "d_W1 = d_a_h @ x.T",
        "d_b1 = sum[batch](d_a_h)",
        "d_W2 = d_p @ h.T",
        "d_b2 = sum[batch](d_p)"]


def test_elman() -> None:
    assert plain(grad_text(parse(ELMAN))) == [
        "d_p[t] = (softmax(p[t]) - onehot(y[t])) / (B*T)",
        "d_h[t] = Why.T @ d_p[t] + Whh.T @ d_a_h[t+1]",
        "d_a_h[t] = d_h[t] * (1 - h[t]^2)",
        "d_Wxh = sum[t] d_a_h[t] @ onehot(x[t]).T",
        "d_Whh = sum[t] d_a_h[t] @ h[t-1].T",
        "d_Why = sum[t] d_p[t] @ h[t].T",
        "d_bh = sum[t, batch](d_a_h[t])",
        "d_by = sum[t, batch](d_p[t])"]


def test_lstm_reads_as_in_a_paper() -> None:
    lines = plain(grad_text(parse(LSTM)))
    assert "d_h.c[t] = d_h[t] * h.o[t] * (1 - tanh(h.c[t])^2) + d_h.c[t+1] * h.f[t+1]" in lines
    assert "d_h.W_f = sum[t] d_a_h.f[t] @ h.z[t].T" in lines
    assert len(lines) == len({line.split(" = ")[0] for line in lines})


def test_one_parameter_and_one_equation(mlp: System) -> None:
    assert plain(grad_text(mlp, "W2")) == ["d_p = (softmax(p) - onehot(y)) / B", "d_W2 = d_p @ h.T"]
    assert grad_text(mlp, "W2") == grad_text(mlp, "d_W2")
    assert plain(grad_text(mlp, "h"))[-1] == "d_h = W2.T @ d_p"


def test_latex() -> None:
    text = grad_text(parse(ELMAN), "Whh", "latex")
    assert r"\bar{h}_{t} &= W_{hy}^{\top} \, \bar{p}_{t} + W_{hh}^{\top} \, \bar{a}_{h, t+1}" in text
    assert r"\bar{W}_{hh} &= \sum_{t} \bar{a}_{h, t} \, h_{t-1}^{\top}" in text
    assert text.count("{") == text.count("}")


def test_code_is_lines_of_the_module(mlp: System) -> None:
    text = grad_text(mlp, "W2", "code")
    assert re.search(r"^ *\d+ .*d_W2", text, re.M)


@pytest.mark.parametrize(("wrt", "words"), [("W3", "did you mean W"), ("zzz", "nothing is called zzz")])
def test_unknown_names(mlp: System, wrt: str, words: str) -> None:
    with pytest.raises(ShowingError, match=words):
        grad_text(mlp, wrt)


def test_what_has_no_gradient_says_so() -> None:
    with pytest.raises(ShowingError, match="no loss"):
        grad_text(parse("model m(D = 3)\ninput x[D]\nh = 2 * x\n"))
    frozen = parse(MLP + "train sgd(lr = 0.1), freeze W1\n")
    with pytest.raises(ShowingError, match="frozen"):
        grad_text(frozen, "W1")
    with pytest.raises(ShowingError, match="formula, latex or code"):
        grad_text(frozen, None, "pdf")


# ---------------------------------------------------------------- explanations

def test_explain_names_the_reader_and_its_contribution(mlp: System) -> None:
    text = explain_text(mlp, "d_W2")
    assert text.startswith("d_W2 = d_p @ h.T\n")
    assert re.search(r"p = W2 @ h \+ b2  \(mlp.nn:8\) +contributes +d_p @ h.T", text)
    assert "stabilised: log(exp(u)) -> u" in text and "before  loss = mean[batch] -log(softmax(p)) @ onehot(y)" in text
    assert re.search(r"line +\d+ +.*out=d_W2", text)


def test_explain_adds_what_several_readers_contribute() -> None:
    text = explain_text(parse(ELMAN, "rnn.nn"), "d_h")
    assert "h is read 2 times" in text
    assert re.search(r"h\[t\] = tanh.* contributes +Whh.T @ d_a_h\[t\+1\]", text)
    assert re.search(r"p\[t\] = Why @ h\[t\] \+ by .* contributes +Why.T @ d_p\[t\]", text)


def test_explain_shows_rewrites_of_naive_formulas() -> None:
    text = explain_text(parse(NAIVE), "w")
    assert "before  p = 1 / (1 + exp(-a))" in text and "after   p = sigmoid(a)" in text


# ---------------------------------------------------------------- stages

@pytest.mark.parametrize("stage", sorted(STAGES))
@pytest.mark.parametrize("model", [MLP, ELMAN, LSTM], ids=["mlp", "elman", "lstm"])
def test_every_stage_prints(stage: str, model: str) -> None:
    assert len(stage_text(parse(model), stage).splitlines()) > 3


def test_stages_say_what_they_are(mlp: System) -> None:
    assert "# stabilised: log(exp(u)) -> u" in stage_text(mlp, "stabilised")
    loops = stage_text(parse(ELMAN), "schedule")
    assert "for t = 0, ..., T-1:" in loops and "for t = T-1, ..., 0:" in loops
    assert parse(stage_text(mlp, "system")).equations == mlp.equations
    with pytest.raises(ShowingError, match="did you mean schedule"):
        stage_text(mlp, "schedul")


# ---------------------------------------------------------------- the graph

def test_graph_has_readers_and_delays() -> None:
    g = graph(parse(ELMAN))
    assert [*g.predecessors("h")] == ["Wxh", "x", "Whh", "h", "bh"]
    assert g.edges["h", "h"]["delays"] == (("t", -1),) and not g.edges["h", "h"]["direct"]
    assert g.edges["h", "p"]["delays"] == () and g.edges["h", "p"]["direct"]
    assert g.nodes["Whh"]["kind"] == "param" and g.nodes["Whh"]["shape"] == ("H", "H")
    assert g.nodes["p"]["formula"] == "Why @ h[t] + by" and g.nodes["loss"]["kind"] == "loss"


def test_layers_go_down_along_direct_edges(mlp: System) -> None:
    g = graph(mlp)
    depth = depths(g)
    assert all(depth[a] < depth[b] for a, b, d in g.edges(data=True) if d["direct"])
    slots = arrange(g, dict.fromkeys(g.nodes, 80.0))
    for layer in slots.layers:
        places = sorted((slots.x[n], slots.width[n]) for n in layer)
        assert all(a + wa / 2 <= b - wb / 2 + 1e-6 for (a, wa), (b, wb) in pairwise(places))


@pytest.mark.parametrize("model", [MLP, ELMAN, LSTM, NAIVE], ids=["mlp", "elman", "lstm", "naive"])
def test_pictures_are_well_formed(model: str) -> None:
    g = graph(parse(model))
    root = ElementTree.fromstring(to_svg(g))
    words = "".join(root.itertext())
    assert all(name in words for name in g.nodes)
    dot = to_dot(g)
    assert dot.startswith("digraph") and dot.count("->") == g.number_of_edges()


def test_a_picture_is_the_same_every_time(mlp: System) -> None:
    assert to_svg(graph(mlp)) == to_svg(graph(parse(MLP)))


# ---------------------------------------------------------------- notebooks and terminals

def test_rich_forms(mlp: System) -> None:
    assert r"h &= \tanh\left(W_{1} \, x + b_{1}\right)" in model_latex(mlp)
    assert "<svg" in model_html(mlp) and "h = tanh(W1 @ x + b1)" in model_html(mlp)
    assert "h = tanh(W1 @ x + b1)" in model_rich(mlp).plain


def test_lines_of_a_packed_parameter_are_those_of_the_pack_too() -> None:
    """d_W_f is cut from d_W: the product that fills that computes it."""
    model = Path(__file__).resolve().parents[3] / "examples/char_lstm/model.nn"
    text = explain_text(parse(model.read_text(encoding="utf-8")), "d_W_f").split("Computed by:")[1]
    assert "out=d_W[:, :H])" in text and "unstack(d_W, d_W_f" in text
