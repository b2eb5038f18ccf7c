"""The loop: resuming bit for bit, early stopping, schedules' effect, and losses that are no numbers."""

import os
import signal

import numpy as np
import pytest
from chainrule.frontends.trainer import weights
from chainrule.frontends.trainer.data import Dataset
from chainrule.frontends.trainer.errors import NotFinite, OptionError, RunError, WeightsError
from chainrule.frontends.trainer.loop import CHECKPOINT, Trainer, evaluate
from chainrule.frontends.trainer.run import Options, load_run


@pytest.fixture
def data(blobs):
    return Dataset("blobs", blobs)


@pytest.fixture
def trainer(logistic, data):
    def make(out=None, program=None, **options):
        options = {"epochs": 4, "batch": 10, "seed": 3, "schedule": "cosine", **options}
        return Trainer(program or logistic(4, 3), data, Options(**options), out=out)
    return make


def finished(trainer):
    trainer.start()
    return trainer.train()


def same(a, b):
    """Two runs, equal to the bit in all but the seconds that they took."""
    for kind in ("params", "state", "best"):
        x, y = getattr(a, kind), getattr(b, kind)
        assert x.keys() == y.keys()
        for name in x:
            assert x[name].dtype == y[name].dtype and x[name].tobytes() == y[name].tobytes(), name
    def rows(run):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in run.history]
    assert rows(a) == rows(b)
    assert (a.epoch, a.position, a.best_epoch, a.best_loss) == (b.epoch, b.position, b.best_epoch, b.best_loss)


def interrupt_after(program, step):
    """Ctrl-C during the given step."""
    program.on_step = lambda k: os.kill(os.getpid(), signal.SIGINT) if k == step else None
    return program


@pytest.mark.parametrize("step", [1, 7, 10, 11, 12, 22, 25, 43, 44])
def test_an_interrupted_run_resumes_bit_for_bit(trainer, logistic, tmp_path, step):
    whole = finished(trainer()).run
    first = finished(trainer(tmp_path, interrupt_after(logistic(4, 3), step)))
    assert first.status == "interrupted"
    assert load_run(tmp_path / CHECKPOINT)[0].state["step"] == step
    second = trainer(tmp_path)
    second.resume()
    outcome = second.train()
    assert outcome.status == "finished"
    same(outcome.run, whole)


def test_a_run_interrupted_many_times(trainer, logistic, tmp_path):
    whole = finished(trainer()).run
    t = trainer(tmp_path, interrupt_after(logistic(4, 3), 3))
    outcome = finished(t)
    for _ in range(20):
        if outcome.status == "finished":
            break
        t = trainer(tmp_path, interrupt_after(logistic(4, 3), 3))
        t.resume()
        outcome = t.train()
    same(outcome.run, whole)


class Crash(BaseException):
    """A power cut, as far as a test can make one."""


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("count", [2, 3, 6])
def test_a_crash_while_a_checkpoint_is_written_leaves_the_last_good_one(trainer, tmp_path, monkeypatch, call, count):
    whole = finished(trainer()).run
    calls, real = [], getattr(os, call)

    def dying(*args):
        calls.append(args)
        # fsync is called twice a file: for the content and for the folder
        if len(calls) == (2 * count - 1 if call == "fsync" else count):
            raise Crash
        return real(*args)
    t = trainer(tmp_path)
    t.save_every = 0.0
    with monkeypatch.context() as m, pytest.raises(Crash):
        m.setattr(os, call, dying)
        finished(t)
    assert load_run(tmp_path / CHECKPOINT)[0].state["step"] == count - 2
    t = trainer(tmp_path)
    t.resume()
    same(t.train().run, whole)


def test_a_file_cut_off_in_the_middle_is_named(trainer, tmp_path):
    finished(trainer(tmp_path))
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        trainer(tmp_path).resume()


def test_more_epochs_go_on_from_a_finished_run(trainer, tmp_path):
    whole = finished(trainer(schedule="constant", epochs=6)).run
    finished(trainer(tmp_path, schedule="constant", epochs=2))
    t = trainer(tmp_path, schedule="constant", epochs=6)
    t.resume()
    same(t.train().run, whole)


def test_resuming_refuses_other_options_data_and_models(trainer, logistic, data, tmp_path):
    with pytest.raises(WeightsError, match="nothing to resume"):
        trainer(tmp_path).resume()
    finished(trainer(tmp_path))
    with pytest.raises(OptionError, match="started with batch = 10"):
        trainer(tmp_path, batch=20).resume()
    with pytest.raises(WeightsError, match=r"W is float32 \(3, 4\) there and float32 \(3, 5\) in the model"):
        trainer(tmp_path, logistic(5, 3)).resume()
    mixed = logistic(4, 3)
    mixed.init = lambda seed=0: {"W": logistic(4, 3).init(seed)["W"], "b": np.zeros(3)}
    with pytest.raises(WeightsError, match="b is float32"):
        trainer(tmp_path, mixed).resume()
    data.parts = {**data.parts, "train": {**data.parts["train"], "x": data.parts["train"]["x"] + 1}}
    with pytest.raises(WeightsError, match="other data"):
        trainer(tmp_path).resume()


def test_another_seed_is_another_run(trainer):
    a, b = (finished(trainer(seed=s)).run for s in (3, 4))
    assert not np.array_equal(a.params["W"], b.params["W"])


def test_every_example_is_taken_once_an_epoch_and_the_last_batch_is_smaller(trainer, logistic):
    program, seen = logistic(4, 3), []
    step = program.train_step
    program.train_step = lambda params, state, **kw: seen.append(kw["x"]) or step(params, state, **kw)
    t = trainer(program=program, epochs=2)
    finished(t)
    assert [len(x) for x in seen] == ([10] * 10 + [3]) * 2
    first, second = (np.concatenate(seen[i:i + 11]) for i in (0, 11))
    assert not np.array_equal(first, second)
    everything = np.sort(t.data.parts["train"]["x"], axis=0)
    assert np.array_equal(np.sort(first, axis=0), everything) and np.array_equal(np.sort(second, axis=0), everything)


@pytest.mark.parametrize("batch,steps", [(0, 2), (1, 206), (103, 2), (1000, 2)])
def test_full_batch_and_single_examples(trainer, logistic, batch, steps):
    program = logistic(4, 3)
    finished(trainer(program=program, batch=batch, epochs=2))
    assert program.steps == steps


def test_early_stopping_keeps_the_best_weights(trainer, logistic):
    program = logistic(4, 3)
    losses = iter([5.0, 4.0, 3.0, 3.5, 3.2, 9.0, 1.0])
    kept = []
    program.evaluate = lambda params, x, y: (kept.append(params["W"].copy()), {"loss": (next(losses) * len(y), len(y))})[1]
    outcome = finished(trainer(program=program, epochs=20, patience=2))
    assert (outcome.status, outcome.run.best_epoch, outcome.run.epoch) == ("stopped early", 3, 5)
    assert np.array_equal(outcome.params["W"], kept[2])


def test_patience_needs_a_validation_part(logistic, blobs):
    with pytest.raises(OptionError, match="patience needs a validation part"):
        Trainer(logistic(4, 3), Dataset("blobs", {"train": blobs["train"]}), Options(patience=2))


def test_averages_combine_over_batches(logistic, blobs):
    program = logistic(4, 3)
    params = program.init()
    whole, parts = (evaluate(program, params, blobs["train"], n) for n in (1000, 7))
    assert whole.keys() == parts.keys() == {"loss", "error"}
    assert whole["error"] == parts["error"] and whole["loss"] == pytest.approx(parts["loss"])


@pytest.mark.parametrize("step", [0, 5, 17])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(trainer, logistic, tmp_path, step):
    program = logistic(4, 3)
    program.blow = step
    t = trainer(tmp_path, program)
    asked = []
    t.diagnose = lambda params, inputs, at, carry: asked.append((params, inputs, at)) or "the first equation is s"
    with pytest.raises(NotFinite) as e:
        finished(t)
    text = str(e.value)
    assert f"the loss became inf at step {step + 1} (epoch {step // 11 + 1}): the first equation is s" in text
    assert f"the last good checkpoint is {tmp_path / CHECKPOINT}" in text
    params, inputs, at = asked[0]
    assert at == step
    assert np.isfinite(params["W"]).all() and len(inputs["x"]) == 10
    assert np.isfinite(load_run(tmp_path / CHECKPOINT)[0].params["W"]).all()
    # the diagnosis sees the weights that the step saw
    healthy = trainer(program=interrupt_after(logistic(4, 3), step)) if step else None
    if healthy:
        assert np.array_equal(params["W"], finished(healthy).run.params["W"])


def test_a_gradient_that_is_no_number_is_told_from_a_loss(trainer, logistic, tmp_path):
    program = logistic(4, 3)
    grads = program.loss_and_grads

    def bad(params, *, workspace=None, seed=0, x, y):
        loss, g = grads(params, seed=seed, x=x, y=y)
        if program.steps >= 4:
            g["b"] = g["b"] * np.nan
        return loss, g
    program.loss_and_grads = bad
    t = trainer(tmp_path, program)
    with pytest.raises(NotFinite) as e:
        finished(t)
    # repeated from the start, the stand-in counts on: its first repeated step is bad
    assert "parameter b stopped being finite at step 1" in str(e.value)
    assert "its gradient is not finite" in str(e.value)


def test_weights_that_start_bad_are_refused(trainer):
    t = trainer()
    t.start({"W": np.full((3, 4), np.nan, np.float32), "b": np.zeros(3, np.float32)})
    with pytest.raises(NotFinite, match="parameter W is not finite before the first step"):
        t.train()


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch": -1}, {"seed": -1}, {"schedule": "cosin"},
                                   {"schedule_options": (("flor", 1.0),)}])
def test_options_that_mean_nothing(trainer, wrong):
    with pytest.raises(OptionError):
        trainer(**wrong)


def test_every_error_is_one_of_the_family():
    assert all(issubclass(e, RunError) for e in (NotFinite, OptionError, WeightsError))


def test_atomic_writing_leaves_no_other_file(tmp_path):
    weights.write_atomic(tmp_path / "a" / "f", b"one")
    weights.write_atomic(tmp_path / "a" / "f", b"two")
    assert [(p.name, p.read_bytes()) for p in (tmp_path / "a").iterdir()] == [("f", b"two")]
