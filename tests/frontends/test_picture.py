"""`picture`: filters and feature maps; what training leaves about its worst mistakes."""

import numpy as np
import pytest
from chainrule.frontends.cli import app
from chainrule.frontends.commands.picture import Shown, _arranged
from chainrule.frontends.trainer.pictures import _scale, as_text, images_of, scaled
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


def test_filters(weights):
    text = run("picture", "net.nn", "--weights", "w", "--param", "K")
    assert "K: 4 images of 3 x 3, all of them from" in text and text.endswith("written: K.png\n")
    assert (weights / "K.png").read_bytes().startswith(b"\x89PNG")
    text = run("picture", "net.nn", "--weights", "w", "--param", "K", "--text")
    assert len(text.splitlines()) == 5 and "written" not in text
    assert "W: 10 images of 12 x 12" in run("picture", "net.nn", "--weights", "w", "--param", "W", "--png", "rows.png")


def test_feature_maps(weights):
    text = run("picture", "net.nn", "--weights", "w", "--param", "K", "--input", 7)
    assert "c of example 7 of the test part: 4 images of 6 x 6" in text and (weights / "c.png").exists()
    text = run("picture", "net.nn", "--weights", "w", "--maps", "c", "--png", "first.png")
    assert "c of example 0 of the test part" in text and "written: first.png" in text
    run("picture", "net.nn", "--weights", "w", "--maps", "s", status=1)


@pytest.mark.parametrize("args,says", [
    (["--param", "k"], "--param k: w holds no such array; known: K, W, b"), ([], "--param NAME says whose filters"),
    (["--param", "b"], "b is 4: no set of images"), (["--input", 300], "the test part has the examples 0 to 299"),
    (["--maps", "d"], "--maps d: no equation is called that"), (["--input", 0, "--param", "W"], "--maps NAME says")])
def test_refused(weights, args, says):
    assert says in run("picture", "net.nn", "--weights", "w", *args, status=1)


def test_kernels_from_map_to_map_stand_in_a_table():
    """A column for each map that comes out, a row for each that goes in."""
    kernels = np.arange(2 * 4 * 9.0).reshape(2, 4, 3, 3)
    pictures, sheet = _arranged(images_of(kernels), Shown("K", "net: K", kernels))
    assert sheet.columns == 2 and list(sheet.above) == ["0", "1"] and list(sheet.beside) == [f"from {i}" for i in range(4)]
    np.testing.assert_array_equal(pictures[2 * 3 + 1], kernels[1, 3])


def test_colours_of_both_signs_lie_around_zero():
    assert _scale(np.array([-1.0, 3.0])) == (-3.0, 3.0, "RdBu_r") and _scale(np.array([0.0, 3.0])) == (0.0, 3.0, "gray")


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
    for file in ("classes.txt", "confusion.png", "mistakes.txt", "mistakes.png"):
        assert f"run/{file}" in text and (tmp_path / "run" / file).exists()
    head, columns, *rows = (tmp_path / "run" / "mistakes.txt").read_text().splitlines()
    assert head.startswith("worst mistakes of the test part") and columns.split()[-1] == "margin" and 1 <= len(rows) <= 20
    margins = [float(row.split()[-1]) for row in rows]
    assert margins == sorted(margins, reverse=True) and all(row.split()[1] != row.split()[2] for row in rows)
