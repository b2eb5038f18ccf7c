"""Energy models on the command line: training that goes on bit for bit, chains, pictures of filters."""

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.frontends.commands.picture import PictureOptions, picture
from chainrule.frontends.commands.sample import SampleOptions, sample
from chainrule.frontends.language import parse
from chainrule.frontends.trainer.data import from_arrays
from chainrule.frontends.trainer.errors import OptionError
from chainrule.frontends.trainer.loop import Trainer
from chainrule.frontends.trainer.run import Options
from chainrule.frontends.trainer.weights import save_arrays

TEXT = """
energy small(D = 16, H = 8)
visible v[D] : binary
hidden  h[H] : binary
param W[H, D] ~ normal(0.1);  b[D] = 0;  c[H] = 0
E = - h @ W @ v - b @ v - c @ h
train persistent_contrastive_divergence(k = 2, lr = 0.1), epochs = 4, batch = 6
"""


class Stopped(Trainer):
    """A trainer that is interrupted after so many steps."""

    def _step(self, run):
        found = super()._step(run)
        self._stop = run.epoch == 1 and run.position == 2
        return found


def trainer(kind, out=None, chains=""):
    system = parse(TEXT.replace("k = 2,", f"k = 2,{chains}"))
    v = (np.random.default_rng(0).random((50, 16)) < 0.3).astype(np.float32)
    data = from_arrays(system, train={"v": v[:40]}, validation={"v": v[40:]})
    return kind(Program(system), data, Options(epochs=4, batch=6), out)


def test_a_resumed_run_is_one_that_was_never_interrupted(tmp_path):
    """Weights, persistent chains and measures, bit for bit."""
    whole = trainer(Trainer)
    whole.start()
    expected = whole.train()
    first = trainer(Stopped, tmp_path)
    first.start()
    assert first.train().status == "interrupted"
    second = trainer(Trainer, tmp_path)
    second.resume()
    found = second.train()
    for k, a in {**expected.run.params, **expected.run.state}.items():
        np.testing.assert_array_equal({**found.run.params, **found.run.state}[k], a, err_msg=k)
    drop = [{k: x for k, x in row.items() if k != "seconds"} for run in (expected, found) for row in run.run.history]
    assert drop[:4] == drop[4:]
    assert {"validation", "validation_reconstruction_error", "validation_pseudo_likelihood"} <= {*drop[0]}
    assert drop[0]["validation"] == -drop[0]["validation_pseudo_likelihood"]


def test_as_many_chains_as_a_batch_or_as_the_model_says():
    """The last batch of an epoch is smaller, and the chains are as many."""
    for chains, expected in (("", 6), (" chains = 9,", 9)):
        t = trainer(Trainer, chains=chains)
        t.start()
        t.train()
        assert t.run.state["chain_h"].shape == (expected, 8)


@pytest.fixture
def files(tmp_path):
    """A model file and weights."""
    model, weights = tmp_path / "small.nn", tmp_path / "weights.safetensors"
    model.write_text(TEXT)
    save_arrays(weights, Program(parse(TEXT)).init(seed=1), {"kind": "weights", "model": "small", "sizes": {"D": 16, "H": 8}})
    return str(model), str(weights), tmp_path


def test_chains_are_printed_and_drawn(files, capsys):
    """A row a chain; pictures, where the visible units are as many as a square has."""
    pytest.importorskip("matplotlib")
    model, weights, folder = files
    sample(model, SampleOptions(weights, length=20, count=2))
    assert "2 chains from random values; then the means of v after every 2 steps, to step 20" in capsys.readouterr().out
    sample(model, SampleOptions(weights, length=20, count=2, png=str(folder / "chains.png")))
    picture(model, PictureOptions(weights, param="W", png=str(folder / "filters.png")))
    assert all((folder / f).read_bytes()[:4] == b"\x89PNG" for f in ("chains.png", "filters.png"))


def test_what_chains_do_not_take(files):
    model, weights, _ = files
    with pytest.raises(OptionError, match="small is an energy model: its chains take no --prompt"):
        sample(model, SampleOptions(weights, prompt="a"))
    with pytest.raises(OptionError, match="--length and --count: at least 1"):
        sample(model, SampleOptions(weights, count=0))
