"""Every example trains on its own data, and the loss falls; what small ones must reach, they reach."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.recipe import Pretraining
from chainrule.frontends.language import load
from chainrule.frontends.trainer.batches import Piece
from chainrule.frontends.trainer.data import load_data
from chainrule.frontends.trainer.loop import Trainer, evaluate
from chainrule.frontends.trainer.recipe import Recipe, pretrained
from chainrule.frontends.trainer.run import Options
from examples.regenerate import EXAMPLES, NAMES

FILES = Path(os.environ.get("CHAINRULE_DATA") or EXAMPLES.parent.parent / "shared" / "data")
FOLDERS = {"shakespeare_lstm": FILES / "tinyshakespeare" / "input.txt",         # by example, or by source
           "mnist": FILES / "mnist", "conll": FILES / "ud_english_ewt", "mat": FILES / "jsb_chorales" / "JSB_Chorales.mat"}
STEPS = {"sinusoid": 300, "stacked_bidirectional_residual_attention": 10, "pos_tagger": 20}
ROWS = {"stacked_bidirectional_residual_attention": 60, "pos_tagger": 200}      # how many the loss is compared on, where not 1000
CHUNKED = [n for n in NAMES if load(EXAMPLES / n / "model.nn").training.truncate]
PRETRAINED = ("dbn_mnist", "stacked_denoising_autoencoders")      # without pretraining their losses rest for a while
ENERGIES = [n for n in NAMES if load(EXAMPLES / n / "model.nn").energy is not None]      # what they minimise measures nothing
UNTRAINED = ("perceptron", "adbench_lstm")          # the first starts at loss 0, see below; the second has no data


def session(name, sizes=None, **options):
    """A trainer with the example's own settings, in float32."""
    system = load(EXAMPLES / name / "model.nn", sizes)
    path = FOLDERS.get(name, FOLDERS.get(system.data.source))
    if path is not None and not path.exists():
        pytest.skip(f"there is no {path}")
    data = load_data(system, path)
    training = system.training
    given = {"epochs": training.epochs, "batch": training.batch, "schedule": training.schedule,
             "schedule_options": training.schedule_options, "patience": training.patience, **options}
    trainer = Trainer(Program(system), data, Options(**given))
    trainer.start()
    return trainer


@pytest.mark.parametrize("name", [n for n in NAMES if n not in (*UNTRAINED, *CHUNKED, *PRETRAINED, *ENERGIES)])
def test_the_loss_falls(name):
    """A few steps on the example's own data, in its own batches, with its own optimiser."""
    trainer = session(name)
    program, params, state = trainer.program, trainer.run.params, trainer.run.state
    rows = np.random.default_rng(0).permutation(trainer.n)
    part = trainer.take(rows[:ROWS.get(name, 1000)])
    before = program.evaluate(params, **part)
    for k in range(STEPS.get(name, 40)):
        start = k * trainer.batch % max(trainer.n - trainer.batch, 1)
        program.train_step(params, state, **trainer.take(rows[start:start + trainer.batch]))
    after = program.evaluate(params, **part)
    assert float(after["loss"][0]) < 0.95 * float(before["loss"][0])


@pytest.mark.parametrize("name", CHUNKED)
def test_the_loss_falls_from_chunk_to_chunk(name):
    """The same for texts that are read in chunks, as streams side by side that hand on their state."""
    trainer = session(name)
    program, params, state = trainer.program, trainer.run.params, trainer.run.state
    steps, streams, chunk = 40, 16, program.system.training.truncate
    text = {k: a[0, :streams * steps * chunk].reshape(streams, -1) for k, a in trainer.data.parts["train"].items()}
    losses, carry = [], None
    for k in range(steps):
        piece = {name: a[:, k * chunk:(k + 1) * chunk] for name, a in text.items()}
        loss, carry = program.train_step(params, state, carry=carry, **piece)
        losses.append(float(loss))
    assert np.mean(losses[-5:]) < 0.85 * losses[0]


@pytest.mark.parametrize("name", ENERGIES)
def test_energy_models_learn(name):
    """After some steps the examples are likelier than others: reconstructed better, and their units predicted better."""
    trainer = session(name, epochs=1)
    rows = np.random.default_rng(0).permutation(trainer.n)
    batches = [trainer.take(rows[i:i + trainer.batch]) for i in range(0, 120 * trainer.batch, trainer.batch)]
    batches = [b for b in batches if len(b["v"])]
    piece = Piece(trainer.take(rows[:500]), 500, 500)
    before = trainer.watch(trainer.run.params, [piece])
    for k in range(60 if name == "rbm_mnist" else 300):
        trainer.program.train_step(trainer.run.params, trainer.run.state, **batches[k % len(batches)])
    after = trainer.watch(trainer.run.params, [piece])
    assert after["reconstruction_error"] < 0.8 * before["reconstruction_error"]
    assert after.get("pseudo_likelihood", 0) >= before.get("pseudo_likelihood", 0)


def test_perceptron_learns_its_formulas_exactly():
    trainer = session("perceptron")
    params = trainer.train().params
    assert trainer.evaluate("train", params) == {"loss": 0.0, "errors": 0.0}
    x = trainer.data.parts["train"]["x"]
    a, b, c = x.T > 0
    found = trainer.program.predict(params, x=x)
    np.testing.assert_array_equal(found["o"], np.stack([a & b & c, a | b | c], axis=1))
    np.testing.assert_array_equal(found["f"], (a & ~b) | (b & c))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_perceptron_in_any_order(seed):
    trainer = session("perceptron", seed=seed)
    assert trainer.evaluate("train", trainer.train().params)["errors"] == 0


@pytest.mark.parametrize(("name", "epochs", "most"), [("logistic_regression", 100, 0.06), ("mlp", 10, 0.05),
                                                     ("mlp_dropout_l2", 15, 0.05), ("mlp_batchnorm_residual", 10, 0.05)])
def test_digits_are_told_apart(name, epochs, most):
    trainer = session(name, epochs=epochs)
    outcome = trainer.train()
    assert trainer.evaluate("test", outcome.params)["error"] <= most


def test_more_units_overfit_the_sinusoid():
    """One unit cannot follow ten points, three can; ten learn the noise, too."""
    loss = {}
    for units in (1, 3, 10):
        trainer = session("sinusoid", {"H": units})
        params = trainer.train().params
        loss[units] = [trainer.evaluate(part, params)["loss"] for part in ("train", "test")]
    train, test = zip(*loss.values())
    assert train[0] > 0.05 and 0.001 < train[1] < 0.01 and train[2] < 0.001
    assert test[1] < test[0] and test[1] < 0.5 * test[2]


@pytest.mark.parametrize("name", PRETRAINED)
def test_the_first_block_learns_to_rebuild(name):
    """Of images that a layer has seen a few times it keeps more than at the start."""
    system = load(EXAMPLES / name / "model.nn", {"H": 100})
    if not FOLDERS["mnist"].exists():
        pytest.skip(f"there is no {FOLDERS['mnist']}")
    recipe = Recipe(system, load_data(system, FOLDERS["mnist"]), Program)
    program = Program(recipe.blocks[0].system)
    params = program.init()
    state, x = program.init_state(params), recipe.data.parts["train"]["x"][:500]

    def rebuilt():
        h = 1 / (1 + np.exp(-(x @ params["W1"].T + params["b1"])))
        return float(((1 / (1 + np.exp(-(h @ params["W1"] + params["a1"]))) - x) ** 2).mean())
    before = rebuilt()
    (name,) = [k for k in program.system.inputs if k in ("x", "v")]
    for k in range(50):
        program.train_step(params, state, **{name: x[k % 5 * 100:][:100]})
    assert rebuilt() < 0.5 * before


def test_an_autoencoder_starts_better_from_a_belief_network():
    """Unrolled, and not yet fine-tuned, it rebuilds what it has not seen better than at its initial values."""
    system = load(EXAMPLES / "dbn_autoencoder" / "model.nn")
    short = [replace(s, system=s.system.copy(training=replace(s.system.training, epochs=15))) if isinstance(s, Pretraining) else s
             for s in system.pretraining]
    recipe = Recipe(system.copy(pretraining=tuple(short)), load_data(system), Program)
    program = Program(system)
    params = program.init()
    before = evaluate(program, params, recipe.data.parts["test"])
    assert pretrained(recipe, params) is None
    assert evaluate(program, params, recipe.data.parts["test"])["squared_error"] < 0.6 * before["squared_error"]
    np.testing.assert_array_equal(params["V1"], params["W1"].T)
