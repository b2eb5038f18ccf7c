"""What is printed for recurrent models reads as if by hand: few statements, one loop each way, short lines and telling names.

CHAINRULE_UPDATE_GOLDEN=1 writes the texts in tests/golden/modules anew.
"""

import ast
import os
import re
from pathlib import Path

import chainrule as cr
import pytest
from chainrule.backends.cpu.program import Program

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests/golden/modules"
HEAD = """
model {name}(V = 65, H = 128)
input  x[t] : class(V)
target y[t] : class(V)
"""
TAIL = """
p[t] = W_y @ h[t] + b_y
loss = mean[batch, t] cross_entropy(softmax(p[t]), y[t])
train adam(lr = 0.002), clip_norm = 5
"""
LSTM = HEAD.format(name="char_lstm") + """
param  W_f, W_i, W_c, W_o [H, H + V] ~ xavier
param  b_f[H] = 1;  b_i, b_c, b_o [H] = 0
param  W_y[V, H] ~ xavier;  b_y[V] = 0

z[t] = [h[t-1], onehot(x[t])]
f[t] = sigmoid(W_f @ z[t] + b_f)
i[t] = sigmoid(W_i @ z[t] + b_i)
g[t] = tanh(W_c @ z[t] + b_c)
o[t] = sigmoid(W_o @ z[t] + b_o)
c[t] = f[t] * c[t-1] + i[t] * g[t]               where c[-1] = 0
h[t] = o[t] * tanh(c[t])                         where h[-1] = 0
""" + TAIL
GRU = HEAD.format(name="char_gru") + """
param  W_z, W_r, W_n [H, V] ~ xavier
param  U_z, U_r, U_n [H, H] ~ xavier
param  b_z, b_r, b_n [H] = 0
param  W_y[V, H] ~ xavier;  b_y[V] = 0

z[t] = sigmoid(W_z @ onehot(x[t]) + U_z @ h[t-1] + b_z)
r[t] = sigmoid(W_r @ onehot(x[t]) + U_r @ h[t-1] + b_r)
n[t] = tanh(W_n @ onehot(x[t]) + U_n @ (r[t] * h[t-1]) + b_n)
h[t] = (1 - z[t]) * n[t] + z[t] * h[t-1]         where h[-1] = 0
""" + TAIL
RNN = (ROOT / "examples/min_char_rnn/model.nn").read_text()
MODELS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
MOST = {"lstm": 75, "rnn": 40}


def source(name, level=1):
    return Program(cr.parse(MODELS[name], f"{name}.nn").system, "float32", level).source


def work(text):
    """The text of `_gradients`."""
    at = text.index("def _gradients(")
    return text[at:text.index("    return loss\n", at) + len("    return loss\n")]


def statements(text):
    """Statements of the forward and the backward pass, loops counted with their bodies; checks and buffers are left out."""
    first = text[:text.index("# ---- forward")].count("\n") + 1
    return [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.stmt) and n.lineno > first]


@pytest.mark.parametrize("name", MOST)
def test_a_gradient_is_short(name):
    assert len(statements(work(source(name)))) <= MOST[name]


@pytest.mark.parametrize("name", MODELS)
def test_one_loop_each_way_and_short_lines(name):
    text = work(source(name))
    loops = [n for n in statements(text) if isinstance(n, ast.For)]
    assert [ast.unparse(n.iter) for n in loops] == ["range(T)", "reversed(range(T))"]
    assert max(map(len, text.splitlines())) <= 100
    assert len({n.lineno for n in statements(text)}) == len(statements(text))


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", MODELS)
def test_an_index_means_what_it_means_in_the_equation(name, level):
    text = work(source(name, level))
    assert "h_prev, h = hs[:-1], hs[1:]" in text
    assert not re.search(r"\[t [+-] 1", "\n".join(line.split("#")[0] for line in text.splitlines()))
    assert not re.search(r"\b(value|term)\d*\b", text) or level == 0


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", MODELS)
def test_the_printed_gradient_is_the_one_that_somebody_read(name, level):
    path = GOLDEN / f"{name}_O{level}.txt"
    found = work(source(name, level))
    if os.environ.get("CHAINRULE_UPDATE_GOLDEN"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def test_headings_name_the_step_and_shapes_the_part_that_is_written():
    """h[t] = ... on the left, too; d_o is (B, H), though it is a part of (B, 3*H); what was undone has no note."""
    lstm, gru = work(source("lstm", 1)), work(source("gru", 1))
    assert "# c[t] = f[t] * c[t-1] + i[t] * g[t]" in lstm
    for line in lstm.splitlines():
        if line.lstrip().startswith("d_f[...] ="):
            assert line.endswith("# (B, H)")
    assert "sigmoid(-x)" not in gru


def test_where_a_line_comes_from_stands_at_one_column():
    lines = [x for x in work(source("lstm", 1)).splitlines() if "lstm.nn:" in x and x.index("lstm.nn:") < 76]
    assert len({x.index("lstm.nn:") for x in lines}) == 1


def test_evaluate_says_that_its_loss_is_a_sum():
    body = source("rnn").partition("def _evaluate(")[2].partition("\ndef ")[0]
    assert "# loss, summed: sum[" in body and "# loss = " not in body
