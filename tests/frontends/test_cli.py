"""The command line on a real model: what it writes, and that a mistake is a sentence and the exit status 1."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from chainrule.frontends import cli
from chainrule.frontends.commands.common import guarded
from chainrule.frontends.trainer.weights import load_arrays, save_arrays
from typer.testing import CliRunner

MODEL = """model small(D = 2, H = 5, C = 3)
input  x[D]
target y : class(C)
param  W1[H, D] ~ xavier;  b1[H] = 0
param  W2[C, H] ~ xavier;  b2[C] = 0
h = tanh(W1 @ x + b1)
p = W2 @ dropout(h, 0.1) + b2
loss = mean[batch] cross_entropy(softmax(p), y)
penalty l2(1e-4) on W*
metric error = mean[batch] (argmax(p) != y)
data  csv("points.csv"): x = standardise([u, v]), y = kind, split 100 / 20 / 30
train adam(lr = 0.05), epochs = 6, batch = 10, schedule cosine
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a model and its data, in which the commands run."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, 150)
    points = np.array([[0, 3], [3, 0], [-3, -3]])[kinds] + rng.standard_normal((150, 2))
    rows = "".join(f"{u:.6f},{v:.6f},{'abc'[k]}\n" for (u, v), k in zip(points, kinds))
    (tmp_path / "points.csv").write_text("u,v,kind\n" + rows)
    (tmp_path / "small.nn").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args, status=0):
    result = CliRunner().invoke(cli.app, [str(a) for a in args])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.output


# ---------------------------------------------------------------- train

def test_train_leaves_its_files(folder):
    text = run("train", "small.nn")
    assert "100 train, 20 validation, 30 test" in text and "finished after 6 epochs" in text
    for word in ("train", "validation", "test", "loss", "error", "penalty"):
        assert word in text
    out = folder / "runs" / "small"
    weights, note = load_arrays(out / "weights.safetensors")
    assert sorted(weights) == ["W1", "W2", "b1", "b2"] and note["preparation"]["vocabulary"]["y"] == ["a", "b", "c"]
    assert note["results"]["test"]["error"] < 0.2
    rows = list(csv.DictReader((out / "curve.csv").read_text().splitlines()))
    assert len(rows) == 6 and float(rows[-1]["train"]) < float(rows[0]["train"])
    assert "accuracy" in (out / "classes.txt").read_text() and (out / "model_np.py").is_file()


def test_the_generated_module_proves_itself(folder):
    run("train", "small.nn", "--epochs", 1)
    done = subprocess.run([sys.executable, "runs/small/model_np.py"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "W1" in done.stdout, done.stderr


@pytest.mark.parametrize("step", [3, 10, 27, 45])
def test_ctrl_c_saves_and_resume_goes_on_bit_for_bit(folder, monkeypatch, step):
    run("train", "small.nn", "--out", "whole")
    from chainrule.frontends.trainer.loop import Trainer
    real, steps = Trainer._step, []

    def counted(self, state):
        steps.append(1)
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, state)
    with monkeypatch.context() as m:
        m.setattr(Trainer, "_step", counted)
        text = run("train", "small.nn", "--out", "parts")
    assert "the state is saved" in text and "chainrule train small.nn --resume --out parts" in text
    assert "resumed after" in run("train", "small.nn", "--resume", "--out", "parts")
    for name in ("weights.safetensors", "classes.txt", "model_np.py"):
        assert (folder / "parts" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    whole, parts = (load_arrays(f"{d}/checkpoint.safetensors")[0] for d in ("whole", "parts"))
    assert all(whole[k].tobytes() == parts[k].tobytes() for k in whole) and whole.keys() == parts.keys()
    columns, again = ((folder / d / "curve.csv").read_text().splitlines()[0] for d in ("whole", "parts"))
    assert columns == again and columns.startswith("epoch,rate,train,validation")


def test_the_same_seed_gives_the_same_bytes(folder):
    for out in "ab":
        run("train", "small.nn", "--out", out, "--seed", 7)
    run("train", "small.nn", "--out", "c", "--seed", 8)
    a, b, c = ((folder / d / "weights.safetensors").read_bytes() for d in "abc")
    assert a == b != c


def test_a_resumed_run_keeps_its_options(folder):
    run("train", "small.nn", "--set", "H=7", "--batch", 25, "--epochs", 3, "--freeze", "b*")
    assert "finished after 5 epochs" in run("train", "small.nn", "--resume", "--epochs", 5)
    weights, _ = load_arrays("runs/small/weights.safetensors")
    assert weights["W1"].shape == (7, 2) and not weights["b1"].any()
    assert "was started with batch = 25" in run("train", "small.nn", "--resume", "--batch", 10, status=1)


def test_transfer(folder):
    run("train", "small.nn", "--out", "first")
    text = run("train", "small.nn", "--from", "first/weights.safetensors", "--skip", "*2", "--freeze", "*1", "--out", "second",
               "--epochs", 2, "--rate", "W2=0.5")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert rows[:4] == [["W1", "5 x 2", "5 x 2", "loaded", "frozen"], ["b1", "5", "5", "loaded", "frozen"],
                        ["W2", "3 x 5", "3 x 5", "skipped", "rate x 0.5"], ["b2", "3", "3", "skipped", ""]]
    source = (folder / "second" / "model_np.py").read_text()
    assert "d_W2" in source and not any(name in source for name in ("d_W1", "d_b1", "d_h"))     # nothing is computed for them
    first, second = (load_arrays(f"{d}/weights.safetensors")[0] for d in ("first", "second"))
    assert np.array_equal(first["W1"], second["W1"]) and not np.array_equal(first["W2"], second["W2"])
    text = run("train", "small.nn", "--from", "first/weights.safetensors", "--set", "H=6", status=1)
    assert "W1 is (5, 2) in the file and (6, 2) in the model" in text


def test_a_loss_that_is_no_number_is_located(folder):
    (folder / "bad.nn").write_text(MODEL.replace("h = tanh(W1 @ x + b1)", "g = log(x[0:1])\nh = tanh(W1 @ x + b1) + sum(g)"))
    text = run("train", "bad.nn", status=1)
    assert "training stopped: the loss became nan at step 1 (epoch 1)" in text
    assert "the first equation whose value is not finite is g (bad.nn:6): nan at example" in text
    assert "the last good checkpoint is runs/bad/checkpoint.safetensors, after step 0" in text


@pytest.mark.parametrize("args,says", [
    (["--data", "none.csv"], "--data none.csv: there is no such file"), (["--set", "Q=3"], "no size `Q`"),
    (["--set", "H"], "write SIZE=NUMBER"), (["--set", "H=0"], "write SIZE=NUMBER"), (["--set", "D=3"], "x[D] with D = 3"),
    (["--resume"], "there is no checkpoint"), (["--from", "none"], "there is no file none"),
    (["--freeze", "V*"], "--freeze V*: no parameter is called that"), (["--rate", "W1"], "write PATTERN=NUMBER"),
    (["--rate", "W9=1"], "did you mean 'W2'"), (["--epochs", "0"], "epochs: at least 1"),
    (["--batch", "-1"], "batch: at least 1"), (["--rate", "W1=-1"], "from 0 on"), (["--labelled", "0"], "labelled: 0 of the 100"),
    (["--skip", "W1"], "--skip W1: it says what --from FILE leaves out"), (["--from", "."], ". is a folder, not a file of"),
    (["--out", "points.csv"], "the run's folder points.csv is a file"),
    (["--backend", "numpi"], "no backend is called 'numpi'"), (["--dtype", "float16"], "float32 or float64"),
    (["--lr", "-1"], "a learning rate is above 0")])
def test_train_refuses(folder, args, says):
    assert says in run("train", "small.nn", *args, status=1)
    assert not (folder / "runs" / "small" / "weights.safetensors").exists()


def test_wrong_data_is_refused_before_training(folder):
    text = (folder / "points.csv").read_text().split("\n")
    text[17] = "1.0,,a"
    (folder / "points.csv").write_text("\n".join(text))
    assert "input x: nan at row 17 of points.csv, position 1 is not a finite number" in run("train", "small.nn", status=1)
    assert not (folder / "runs").exists()


XOR = """model xor(D = 2, H = 4, C = 2)
input x[D]
target y : class(C)
h = dense(x, H)
p = dense(tanh(h), C)
loss = mean[batch] cross_entropy(softmax(p), y)
metric error = mean[batch] (argmax(p) != y)
data truth: x = input, y = odd
train adam(lr = 0.05), epochs = 300, batch = 4
"""
RNN = """model char_rnn(V = 20, H = 8)
input  x[t] : class(V)
target y[t] : class(V)
param  Wxh[H, V] ~ normal(0.1);  Whh[H, H] ~ normal(0.1);  Why[V, H] ~ normal(0.1)
h[t] = tanh(Wxh @ onehot(x[t]) + Whh @ h[t-1])   where h[-1] = 0
p[t] = Why @ h[t]
loss = mean[batch, t] cross_entropy(softmax(p[t]), y[t])
data  text(chars, length = 10): x, y = x[t+1]
train adam(lr = 0.05), epochs = 30, batch = 8
"""


def test_a_truth_table_is_learned(folder):
    (folder / "xor.nn").write_text(XOR)
    assert "finished after 300 epochs" in run("train", "xor.nn")
    assert load_arrays("runs/xor/weights.safetensors")[1]["results"]["train"]["error"] == 0


def test_characters_are_learned(folder):
    (folder / "rnn.nn").write_text(RNN)
    (folder / "text.txt").write_text("the quick brown fox\n" * 40)
    text = run("train", "rnn.nn", "--data", "text.txt", "--set", "V=12", status=1)
    assert "class(V) has room for 12; --set V=" in text
    run("train", "rnn.nn", "--data", "text.txt")
    note = load_arrays("runs/rnn/weights.safetensors")[1]
    assert note["results"]["test"]["loss"] < 0.5 and note["preparation"]["vocabulary"]["x"][:3] == ["\n", " ", "b"]


def test_a_target_that_only_a_metric_reads(folder):
    text = MODEL.replace("target y : class(C)", "target y : class(C)\ntarget z").replace("y = kind,", "y = kind, z = u,")
    (folder / "more.nn").write_text(text + "metric far = (z - sum(h))^2\n")
    assert "far" in run("train", "more.nn", "--epochs", 1)
    run("check", "more.nn")


@pytest.mark.parametrize("command", ["train", "check"])
def test_a_model_without_a_loss_is_refused(folder, command):
    lines = [line for line in MODEL.splitlines() if not line.startswith(("loss", "penalty"))]
    (folder / "lossless.nn").write_text("\n".join(lines) + "\n")
    assert f"model small has no loss, so there is nothing to {command}" in run(command, "lossless.nn", status=1)
    (folder / "frozen.nn").write_text(MODEL.replace("schedule cosine", "freeze *"))
    assert f"all its parameters are frozen, so there is nothing to {command}" in run(command, "frozen.nn", status=1)


def test_what_is_not_there_yet_is_refused(folder):
    (folder / "rnn.nn").write_text(RNN.replace("batch = 8", "batch = 8, truncate = 5"))
    assert "truncate = 5" in run("train", "rnn.nn", status=1)


# ---------------------------------------------------------------- the other commands

def test_compile_writes_a_module(folder):
    run("compile", "small.nn", "-o", "small_np.py")
    source = (folder / "small_np.py").read_text()
    assert run("compile", "small.nn") == source and "import numpy" in source
    plain = run("compile", "small.nn", "-O0")
    assert plain != source
    compile(plain, "small_np.py", "exec")


def test_check_prints_a_table(folder):
    text = run("check", "small.nn")
    assert all(name in text for name in ("W1", "b1", "W2", "b2")) and "wrong" not in text


@pytest.mark.parametrize("form", ["formula", "latex", "code"])
def test_grad(folder, form):
    assert "W2" in run("grad", "small.nn", "--format", form).replace("_{2}", "2")


@pytest.mark.parametrize(("backend", "line"), [("native", "gemm"), ("cupy", "gemm(")])
def test_grad_of_another_backend(folder, backend, line):
    """The lines of that backend's module."""
    assert line in run("grad", "small.nn", "--wrt", "W2", "--format", "code", "--backend", backend)


def test_the_system_as_text(folder):
    assert "tanh" in run("show", "small.nn")


def test_explain_and_show(folder):
    assert "p" in run("explain", "small.nn", "d_W2")
    assert "digraph" in run("show", "small.nn", "--stage", "graph")
    run("show", "small.nn", "--stage", "graph", "--out", "graph.svg")
    assert (folder / "graph.svg").read_text().startswith("<svg")
    run("show", "small.nn", "--stage", "code", "--out", "code.txt")
    assert "def " in (folder / "code.txt").read_text()
    run("train", "small.nn", "--epochs", 1)
    assert "near 0" in run("show", "small.nn", "--stage", "weights", "--weights", "runs/small/weights.safetensors")


@pytest.mark.parametrize("args,says", [
    (["grad", "none.nn"], "the model file none.nn is not there"), (["grad", "."], "is a folder"),
    (["grad", "small.nn", "--wrt", "W3"], "did you mean 'W"),
    (["grad", "small.nn", "--format", "tex"], "there is no such format"),
    (["grad", "small.nn", "--backend", "cupy"], "add --format code"),
    (["compile", "small.nn", "-o", "small.nn/x.py"], "error: small.nn: Not a directory"),
    (["compile", "small.nn", "-o", "."], "error: .: Is a directory"),
    (["compile", "small.nn", "-o", "m.c", "--backend", "cupy"], "names a C file, and the backend cupy prints"),
    (["check", "small.nn", "--set", "H=1000000000000"], "the memory does not suffice"),
    (["show", "small.nn", "--stage", "grap"], "grap"),
    (["show", "small.nn", "--stage", "weights"], "--weights FILE"), (["explain", "small.nn", "d_W9"], "nothing is called W9")])
def test_commands_refuse(folder, args, says):
    assert says in run(*args, status=1)


@pytest.mark.parametrize("command", ["train", "grad", "compile", "check", "show"])
def test_a_wrong_model_is_shown_with_its_line(folder, command):
    (folder / "wrong.nn").write_text(MODEL.replace("W2 @ dropout", "W3 @ dropout"))
    text = run(command, "wrong.nn", status=1)
    assert "wrong.nn:7:5" in text and "W3" in text and "^" in text


def test_help_is_quick():
    heavy = "('sympy', 'matplotlib', 'sklearn', 'lark')"
    code = f"import sys, chainrule.frontends.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
    assert "demo" in run("--help")


def test_a_mistake_of_ours_is_one_line(capsys, monkeypatch):
    def broken():
        raise KeyError("x")
    assert guarded(broken) == 2
    text = capsys.readouterr().err
    assert "KeyError" in text and "Traceback" not in text
    monkeypatch.setenv("CHAINRULE_DEBUG", "1")
    with pytest.raises(KeyError):
        guarded(broken)


def test_demo(folder):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    text = run("demo", "--epochs", 3)
    for piece in ("model digits", "d_W1", "import numpy", "def _gradients", "1300 train, 200 validation, 297 test",
                  "weights.safetensors", "error"):
        assert piece in text
    assert (folder / "runs" / "demo" / "demo.nn").is_file()


def test_saved_arrays_are_plain_safetensors(tmp_path):
    from safetensors.numpy import load_file
    save_arrays(tmp_path / "w.safetensors", {"a": np.ones(2)}, {})
    assert load_file(tmp_path / "w.safetensors")["a"].tolist() == [1, 1]


def test_a_gradient_whose_parameters_begin_at_kinks_is_checked_beside_them():
    """A perceptron begins with zeros, where max(-y * s, 0) has its kink: the check moves away from it."""
    model = Path(__file__).resolve().parents[2] / "examples/perceptron/model.nn"
    result = CliRunner().invoke(cli.app, ["check", str(model)])
    assert result.exit_code == 0, result.output
    assert "wrong" not in result.output
