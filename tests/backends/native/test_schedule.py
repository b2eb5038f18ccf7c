"""`show --stage schedule --backend native`: what shares loops, what stays apart and why, how products are computed, memory."""

import pytest
from chainrule.frontends.cli import app
from chainrule.frontends.language import parse
from chainrule.frontends.showing import stage_text
from typer.testing import CliRunner
from zoo.catalogue import ZOO

MODEL = """model m(D = 5, H = 4, C = 3)
input x[t, D]
target y[t] : class(C)
param W[H, D], U[H, H], Q[C, H] ~ normal(0.5);  b[H], q[C] = 0.1
h[t] = tanh(W @ x[t] + U @ h[t-1] + b)   where h[-1] = 0
s[t] = Q @ h[t] + q
loss = mean[batch, t] cross_entropy(softmax(s[t]), y[t])
output s
train sgd(lr = 0.1)
"""
pytestmark = pytest.mark.native


def test_loops_products_reasons_and_memory(tmp_path):
    (tmp_path / "m.nn").write_text(MODEL)
    done = CliRunner().invoke(app, ["show", str(tmp_path / "m.nn"), "--stage", "schedule", "--backend", "native"])
    assert done.exit_code == 0, done.output
    text = done.output[done.output.index("gradients:"):]
    assert "    for t = 0, ..., T-1:\n" in text and "    for t = T-1, ..., 0:\n" in text
    row = text[text.index("in one loop over T, B:"):]
    assert row.index("along C:") < row.index("max_s = ") < row.index("exp_s = ") < row.index("s_picked") < row.index("    loss")
    assert "matrix product, B*T x D x H" in text
    assert "buffers hold" in text and "in no buffer, as one row alone needs them: " in text
    assert len(text.splitlines()) < 70


def test_what_stays_apart_says_why():
    """A mean over the batch is known after all of it; loops over different dims; a value that is read at other rows."""
    text = stage_text(ZOO["batch_norm"](), "schedule", backend="native")
    assert "        mu stays apart from sum_a: sum_a is known only after the last row\n" in text
    assert "a_minus_mu stays apart from mu: one runs over B, H, the other over H\n" in text
    text = stage_text(ZOO["over_time"](), "schedule", backend="native")
    assert "sum_exp_q_h is read at other rows than it is written at" in text


def test_every_late_stage_takes_a_backend():
    """The statements, the memory and the text are those of the backend that is asked for."""
    system = parse(MODEL)
    for stage in ("program", "memory", "code"):
        numpy, native = (stage_text(system, stage, backend=b) for b in ("numpy", "native"))
        assert numpy != native and min(len(t.splitlines()) for t in (numpy, native)) > 5, stage
    assert "loop over T, B:\n" in stage_text(system, "program", backend="native")
    assert "loop over" not in stage_text(system, "program")
