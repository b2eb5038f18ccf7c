"""`picture`: filters and feature maps; what training leaves about its worst mistakes."""

import numpy as np
import pytest
from chainrule.frontends.cli import app
from chainrule.frontends.trainer.pictures import as_text, images_of, scaled
from chainrule.frontends.trainer.weights import save_arrays
from typer.testing import CliRunner

MODEL = """
model net(H = 4)
input x[1, 8, 8]
target y : class(10)
param K[H, 1, 3, 3] ~ he;  b[H] = 0;  W[10, 36*H] ~ xavier
c = relu(conv(x, K, b))
s = W @ flatten(c)
loss = cross_entropy(softmax(s), y)
data digits: x = image / 16, y = label, split 1000 / 300
"""


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "net.nn").write_text(MODEL)
    save_arrays(tmp_path / "w", {"K": rng.normal(size=(4, 1, 3, 3)), "b": np.zeros(4), "W": rng.normal(size=(10, 144))}, {})
    return tmp_path


def run(*args, status=0):
    result = CliRunner().invoke(app, [str(a) for a in args], env={"COLUMNS": "200"})
    assert result.exit_code == status, result.output
    return result.output


def test_filters_and_feature_maps(weights):
    text = run("picture", "net.nn", "--weights", "w", "--param", "K")
    assert "K: 4 images of 3 x 3" in text and len(text.splitlines()) == 5
    text = run("picture", "net.nn", "--weights", "w", "--param", "K", "--input", 7)
    assert "c of example 7 of the test part: 4 images of 6 x 6" in text
    text = run("picture", "net.nn", "--weights", "w", "--input", 7, "--value", "c", "--png", "c.png")
    assert "written: c.png" in text and (weights / "c.png").read_bytes().startswith(b"\x89PNG")
    assert "W: 10 images of 12 x 12" in run("picture", "net.nn", "--weights", "w", "--param", "W")


@pytest.mark.parametrize("args,says", [
    (["--param", "k"], "--param k: w holds no such array; known: K, W, b"), ([], "--param NAME says whose filters"),
    (["--param", "b"], "b is 4: no set of images"), (["--input", 300], "the test part has the examples 0 to 299"),
    (["--input", 0, "--value", "d"], "--value d: no equation is called that"),
    (["--input", 0, "--param", "W"], "--value NAME says")])
def test_refused(weights, args, says):
    assert says in run("picture", "net.nn", "--weights", "w", *args, status=1)


def test_arrays_as_images():
    assert images_of(np.zeros((5, 3, 4, 6))).shape == (5, 4, 6, 3) and images_of(np.zeros((5, 2, 4, 6))).shape == (10, 4, 6)
    assert images_of(np.zeros((7, 64))).shape == (7, 8, 8) and images_of(np.zeros((7, 60))) is None
    found = scaled(np.stack([np.arange(4.0).reshape(2, 2), np.ones((2, 2))]))
    assert found[0].tolist() == [[0, 1 / 3], [2 / 3, 1]] and (found[1] == 0.5).all()
    assert as_text(np.eye(2)[None], 1) == "@@  \n  @@\n"


MLP = """
model net(D = 64, H = 12)
input x[D]
target y : class(10)
param W1[H, D], W2[10, H] ~ xavier
s = W2 @ tanh(W1 @ x)
loss = cross_entropy(softmax(s), y)
metric error = argmax(s) != y
data digits: x = image / 16, y = label, split 1000 / 300
train adam(lr = 0.01), epochs = 3
"""


def test_worst_mistakes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.nn").write_text(MLP)
    text = run("train", "net.nn", "--out", "run")
    assert "run/mistakes.txt" in text and "run/mistakes.png" in text
    head, columns, *rows = (tmp_path / "run" / "mistakes.txt").read_text().splitlines()
    assert head.startswith("worst mistakes of the test part") and columns.split()[-1] == "margin" and 1 <= len(rows) <= 20
    margins = [float(row.split()[-1]) for row in rows]
    assert margins == sorted(margins, reverse=True) and all(row.split()[1] != row.split()[2] for row in rows)
