"""Transfer: the example's models, and the command from the weights of one to a report and a module without frozen gradients."""

import re

import numpy as np
from chainrule.backends.cpu.program import Program
from chainrule.frontends.cli import app
from chainrule.frontends.commands.train import TrainOptions, with_training
from chainrule.frontends.language import load
from chainrule.frontends.trainer.weights import load_arrays
from examples.regenerate import EXAMPLES
from typer.testing import CliRunner

HERE = EXAMPLES / "transfer_digits"
BASE = """
model net(M = 4, C = 5)
input  x[1, 8, 8]
target y : class(C)
conv1 = conv_relu(x, M)
conv2 = conv_relu(max_pool(conv1, 2), 2*M)
low = dense(global_max(conv2), C)
loss = mean[batch] cross_entropy(softmax(low), y)
metric error = mean[batch] (argmax(low) != y)
data  digits: x = image / 16, y = label, only label < 5, split 400 / 200
train adam(lr = 0.003), epochs = 2, batch = 50
"""
HEAD = BASE.replace("low", "high").replace("y = label, only label < 5", "y = min(label - 5, 4), only label >= 5").replace(
    "C = 5", "C = 6")


def gradients(source):
    """The function that computes them, without its comments."""
    text = source[source.index("def _gradients("):source.index("def _gradients_buffers(")]
    return re.sub(r"#.*", "", text)


def test_frozen_convolutions_cost_no_gradient():
    system = load(HERE / "head.nn")
    whole = gradients(Program(system).source)
    frozen = Program(with_training(system, TrainOptions(freeze=("conv*",), rates=("conv*=0.1",))))
    assert "d_conv2" in whole and "max_unpool(" in whole
    found = gradients(frozen.source)
    for word in ("d_conv", "d_p1", "d_p2", "max_unpool(", "fold(", "np.greater("):
        assert word not in found, word
    assert re.search(r'^TRAINED = \("high.W", "high.b"\)$', frozen.source, re.MULTILINE)
    assert frozen.compiled.functions["gradients"].trained == ("high.W", "high.b")


def test_head_takes_the_convolutions_of_the_base():
    base, head = (load(HERE / f"{name}.nn") for name in ("base", "head"))
    shared = [k for k in base.params if k in head.params]
    assert shared == ["conv1.W", "conv1.b", "conv2.W", "conv2.b"]
    assert all(base.params[k].node.shape == head.params[k].node.shape for k in shared)


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*args, status=0):
        result = CliRunner().invoke(app, list(args), env={"COLUMNS": "200"})
        assert result.exit_code == status, result.output
        return result.output

    (tmp_path / "base.nn").write_text(BASE)
    (tmp_path / "head.nn").write_text(HEAD)
    run("train", "base.nn")
    weights = "runs/base/weights.safetensors"
    text = run("train", "head.nn", "--from", weights, "--freeze", "conv1*", "--rate", "conv*=0.1")
    rows = {line.split("│")[1].strip(): [x.strip() for x in line.split("│")[2:6]] for line in text.splitlines() if "│" in line}
    assert rows["conv1.W"] == ["4 x 1 x 3 x 3", "4 x 1 x 3 x 3", "loaded", "frozen"]
    assert rows["conv2.W"] == ["8 x 4 x 3 x 3", "8 x 4 x 3 x 3", "loaded", "rate x 0.1"]
    assert rows["high.W"] == ["", "6 x 8", "new", ""] and rows["low.W"] == ["5 x 8", "", "left over", ""]
    before, after = load_arrays(weights)[0], load_arrays("runs/head/weights.safetensors")[0]
    np.testing.assert_array_equal(before["conv1.W"], after["conv1.W"])
    assert 0 < np.abs(before["conv2.W"] - after["conv2.W"]).max() < 0.1
    text = run("train", "head.nn", "--from", weights, "--set", "M=3", status=1)
    assert "conv2.W is (8, 4, 3, 3) in the file and (6, 3, 3, 3) in the model" in text and "--skip conv2.W" in text
