"""Pretraining is carried out: block after block, resumed in any of them, each fed what the ones before have made."""

import os
import signal

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.frontends import cli
from chainrule.frontends.language import parse
from chainrule.frontends.trainer.data import from_arrays
from chainrule.frontends.trainer.recipe import Recipe, fed, pretrained, seed_of
from chainrule.frontends.trainer.weights import load_arrays
from typer.testing import CliRunner

MODEL = """model stack(D = 64, H = 12, C = 10)
input  x[D] : unit
target y : class(C)
param  W1[H, D], W2[H, H] ~ glorot;  V[D, H] = 0;  b1[H], b2[H], a1[D], a2[H] = 0
h1 = sigmoid(W1 @ x + b1)
h2 = sigmoid(W2 @ h1 + b2)
s  = dense(h2, C)
r  = sigmoid(V @ h1)
pretrain one:
    z = sigmoid(W1 @ masking_noise(x, 0.2) + b1)
    loss = binary_cross_entropy(sigmoid(W1.T @ z + a1), x)
    train adam(lr = 0.01), epochs = 3, batch = 50
pretrain V = W1.T
pretrain two:
    z = sigmoid(W2 @ dropout(h1, 0.2) + b2)
    loss = squares(W2.T @ z + a2, h1)
    train momentum(lr = 0.05), epochs = 2, batch = 50
loss = cross_entropy(softmax(s), y) + 0.001 * binary_cross_entropy(r, x)
metric error = argmax(s) != y
output s
data  digits: x = image / 16, y = label, split 300 / 50, labelled 60
train adam(lr = 0.01), epochs = 4, batch = 20
"""
STEPS = 6 * 3 + 6 * 2                                # of the two blocks; three an epoch follow


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "stack.nn").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    for place in ("trainer.recipe.draw_curve", "commands.train.draw_curve", "commands.train.report_mistakes"):      # slow
        monkeypatch.setattr(f"chainrule.frontends.{place}", lambda *_: [])
    return tmp_path


def run(*args, status=0):
    result = CliRunner().invoke(cli.app, ["train", "stack.nn", *map(str, args)])
    assert result.exit_code == status and "Traceback" not in result.output, result.output
    return result.output


TWINS = """model twins(D = 6, H = 5, C = 2)
input  x[D] : unit
target y : class(C)
param  W1[H, D], W2[H, D] = 0;  b1[H], b2[H], a1[D], a2[D] = 0
s = dense(sigmoid(W1 @ x + b1 + W2 @ x + b2), C)
pretrain one:
    visible v[D] : binary(mean) = x
    hidden  u[H] : binary
    E = - u @ W1 @ v - a1 @ v - b1 @ u
    train contrastive_divergence(k = 1, lr = 0.1), epochs = 1, batch = 20
pretrain two:
    visible v[D] : binary(mean) = x
    hidden  u[H] : binary
    E = - u @ W2 @ v - a2 @ v - b2 @ u
    train contrastive_divergence(k = 1, lr = 0.1), epochs = 1, batch = 20
loss = cross_entropy(softmax(s), y)
train sgd(lr = 0.1)
"""


def test_two_blocks_alike_draw_other_numbers():
    """Two machines with units of the same names, the same data and zeros to start from: only what they draw tells them apart."""
    system = parse(TWINS)
    rng = np.random.default_rng(0)
    data = from_arrays(system, train={"x": rng.random((80, 6), np.float32), "y": rng.integers(0, 2, 80)})
    found = []
    for seed in (0, 0, 1):
        params = Program(system).init(seed=0)
        assert pretrained(Recipe(system, data, Program, seed=seed), params) is None
        assert not np.allclose(params["W1"], params["W2"], atol=1e-3)
        found.append(params["W1"])
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2], atol=1e-3)
    assert len({seed_of(s, name) for s in (0, 1) for name in ("one", "two")}) == 4


def test_blocks_are_trained_in_order_and_the_rest_starts_from_them():
    system = parse(MODEL)
    rng = np.random.default_rng(0)
    x = rng.random((80, 64), np.float32)
    data = from_arrays(system, train={"x": x, "y": rng.integers(0, 10, 80)})
    said = []
    recipe = Recipe(system, data, Program, say=said.append)
    params = Program(system).init(seed=0)
    before = {k: v.copy() for k, v in params.items()}
    assert pretrained(recipe, params) is None
    assert said == ["pretrain one (1 of 2): W1, b1, a1", "pretrain two (2 of 2): W2, b2, a2"]
    changed = [k for k in params if not np.array_equal(params[k], before[k])]
    assert changed == ["W1", "W2", "V", "b1", "b2", "a1", "a2"]
    np.testing.assert_array_equal(params["V"], params["W1"].T)
    two = fed(recipe, recipe.blocks[1], params)
    np.testing.assert_allclose(two.parts["train"]["h1"], 1 / (1 + np.exp(-(x @ params["W1"].T + params["b1"]))), rtol=1e-5)
    assert list(two.parts["train"]) == ["h1"]


def test_a_run_leaves_the_files_of_every_block(folder):
    text = run()
    assert "digits: 60 train, 50 test" in text                   # what is labelled; pretraining sees all 300
    assert text.index("pretrain one (1 of 2)") < text.index("pretrain two (2 of 2)") < text.index("epoch 1/4")
    for block in ("one", "two"):
        assert (folder / f"runs/stack/pretrain-{block}/curve.csv").read_text().startswith("epoch,rate,train,seconds")
        assert "def train_step" in (folder / f"runs/stack/pretrain-{block}/model_np.py").read_text()
    weights, _ = load_arrays("runs/stack/weights.safetensors")
    assert weights["a1"].any() and weights["V"].any()            # what only pretraining reads is kept, too
    assert not np.array_equal(weights["W1"], load_arrays("runs/stack/pretrain-one/checkpoint.safetensors")[0]["params/W1"])


def test_without_pretraining(folder):
    assert "pretrain" not in run("--skip-pretraining").split("written")[0]
    weights, _ = load_arrays("runs/stack/weights.safetensors")
    assert not weights["a1"].any()
    assert "100 train" in run("--skip-pretraining", "--labelled", 100, "--epochs", 1)
    assert "labelled: 400 of the 300 examples" in run("--labelled", 400, status=1)


@pytest.mark.parametrize("step", [2, 18, 29, STEPS + 1])
def test_interrupted_anywhere_and_resumed_bit_for_bit(folder, monkeypatch, step):
    from chainrule.frontends.trainer.loop import Trainer
    run("--out", "whole")
    real, steps = Trainer._step, []

    def counted(self, state):
        steps.append(1)
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, state)
    with monkeypatch.context() as m:
        m.setattr(Trainer, "_step", counted)
        text = run("--out", "parts")
    assert "the state is saved" in text and "chainrule train stack.nn --resume --out parts" in text
    assert "resumed after" in run("--resume", "--out", "parts")
    assert (folder / "parts/weights.safetensors").read_bytes() == (folder / "whole/weights.safetensors").read_bytes()


def test_a_new_run_does_not_take_an_old_blocks_weights(folder):
    run("--seed", 1)
    first = load_arrays("runs/stack/weights.safetensors")[0]
    run("--seed", 2)
    run("--seed", 1)
    again = load_arrays("runs/stack/weights.safetensors")[0]
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert (folder / "runs/stack/pretrain-one/previous-checkpoint.safetensors").is_file()


def test_sequences_of_their_own_lengths_are_fed_as_such():
    system = parse("""model ragged(D = 3, H = 4)
input x[t, D]
lengths t
param W[H, D], V[D, H], R[H, H], U[H, H] ~ glorot
h[t] = tanh(W @ x[t])
g[t] = tanh(R @ h[t] + U @ g[t-1])   where g[-1] = 0
pretrain first:
    loss = mean[batch, t] squares(V @ h[t], x[t])
    train sgd(lr = 0.1), epochs = 1, batch = 2
pretrain second:
    loss = mean[batch, t] squares(R.T @ g[t], h[t])
    train sgd(lr = 0.1), epochs = 1, batch = 2
loss = mean[batch, t] squares(V @ g[t], x[t])
""")
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(n, 3)).astype(np.float32) for n in (2, 5, 1, 4, 3)]
    recipe = Recipe(system, from_arrays(system, train={"x": x}), Program)
    params = Program(system).init()
    second = fed(recipe, recipe.blocks[1], params).parts["train"]["h"]
    assert list(second.lengths) == [2, 5, 1, 4, 3] and second.axis == "t"
    for a, i, j in zip(x, second.offsets[:-1], second.offsets[1:]):
        np.testing.assert_allclose(second.values[i:j], np.tanh(a @ params["W"].T), rtol=1e-5, atol=1e-6)
    before = params["U"].copy()
    assert pretrained(recipe, params) is None and not np.array_equal(params["U"], before)
