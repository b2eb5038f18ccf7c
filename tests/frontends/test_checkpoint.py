"""`checkpoint` in the train line and on the command line: read, printed back, used, and the plan said before training."""

import chainrule as cr
import pytest
from chainrule.frontends.cli import app
from chainrule.frontends.language import ModelError
from chainrule.frontends.language.printing import to_text
from typer.testing import CliRunner

TEXT = """model rnn(V = 128, H = 8)
input  x[t] : class(V)
target y[t] : class(V)
param  U[H, V], W[H, H], Q[V, H] ~ normal(0.1)
s[t] = tanh(U @ onehot(x[t]) + W @ s[t-1])          where s[-1] = 0
loss = mean[batch, t] cross_entropy(softmax(Q @ s[t]), y[t])
data  text(chars, length = 400): x, y = x[t+1]
train sgd(lr = 0.1){}, epochs = 1, batch = 64
"""


@pytest.mark.parametrize("written", ["sqrt", "every 50", "memory 200MB", "memory 1500kB"])
def test_the_train_line_says_it(written):
    model = cr.parse(TEXT.format(f", checkpoint = {written}"))
    assert model.system.training.checkpoint == written
    assert f"checkpoint = {written}" in to_text(model.system)
    assert cr.parse(to_text(model.system)).system.training == model.system.training
    assert "_chunk_backward" in cr.compile(model).source


def test_what_is_no_checkpoint_is_a_sentence():
    with pytest.raises(ModelError, match="checkpoint = often: write sqrt, every 50"):
        cr.parse(TEXT.format(", checkpoint = often"))


@pytest.mark.parametrize("line, option", [(", checkpoint = sqrt", []), ("", ["--checkpoint", "sqrt"])])
def test_the_plan_is_printed_before_training(tmp_path, line, option):
    (tmp_path / "rnn.nn").write_text(TEXT.format(line))
    run = CliRunner().invoke(app, ["train", str(tmp_path / "rnn.nn"), "--out", str(tmp_path / "run"), *option])
    assert run.exit_code == 0, run.output
    assert "checkpoint sqrt: 400 steps in 20 chunks of 20; a training step takes" in run.output


def test_the_compiler_takes_schedules(tmp_path):
    (tmp_path / "rnn.nn").write_text(TEXT.format(""))
    for option, found in ((["--checkpoint", "every 5"], "return min(5, T)"), (["--unroll", "4"], "range(0, T - T % 4, 4)"),
                          (["--unroll", "full", "--steps", "3"], "    # t = 2")):
        run = CliRunner().invoke(app, ["compile", str(tmp_path / "rnn.nn"), *option])
        assert run.exit_code == 0 and found in run.output, run.output
    run = CliRunner().invoke(app, ["compile", str(tmp_path / "rnn.nn"), "--unroll", "full"])
    assert run.exit_code == 1 and "steps = T" in run.output
