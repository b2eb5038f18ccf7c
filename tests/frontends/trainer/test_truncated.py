"""Training with `truncate`: state carried from chunk to chunk, evaluation on whole sequences, resuming bit for bit."""

import numpy as np
import pytest
from chainrule.backends.interface import compile_for
from chainrule.frontends.language import parse
from chainrule.frontends.trainer.batches import evaluation
from chainrule.frontends.trainer.data import load_data
from chainrule.frontends.trainer.diagnose import diagnose
from chainrule.frontends.trainer.errors import DataError
from chainrule.frontends.trainer.loop import Trainer, combine
from chainrule.frontends.trainer.run import Options
from chainrule.frontends.trainer.time import truncated_axis

MODEL = """model m(V = 12, H = 5)
input  x[t] : class(V)
target y[t] : class(V)
param  W[H, V], U[H, H], Y[V, H] ~ xavier
h[t] = tanh(W @ onehot(x[t]) + U @ h[t-1])        where h[-1] = 0
s[t] = Y @ dropout(h[t], 0.1)
loss = mean[batch, t] cross_entropy(softmax(s[t]), y[t])
metric error = mean[batch, t] (argmax(s[t]) != y[t])
data  text(chars, "t.txt"): x, y = x[t+1], split 300 / 63 / 0
train adam(lr = 0.01), epochs = 3, batch = 4, truncate = 16
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("truncated")
    (path / "t.txt").write_text("".join(np.random.default_rng(0).choice(list("abcdefgh ijk"), 400)))
    return path


@pytest.fixture(scope="module")
def program():
    return compile_for(parse(MODEL), dtype="float64")


@pytest.fixture
def trainer(folder, program):
    def make(out=None, **more):
        system = program.system
        return Trainer(program, load_data(system, folder=folder), Options(epochs=3, batch=4, seed=1, **more), out)
    return make


def test_an_epoch_goes_through_the_text_once(trainer):
    t = trainer()
    assert t.batches == 5 and t.data.describe().endswith("t.txt: 299 train, 62 validation")
    t.start()
    carries, step = [], t.program.train_step

    class Watching:
        def __getattr__(self, name):
            return getattr(program, name)

        def train_step(self, params, state, *, carry, **kw):
            carries.append((carry, kw["x"].shape))
            return step(params, state, carry=carry, **kw)
    program, t.program = t.program, Watching()
    t.train()
    assert [c is None for c, _ in carries] == [True, False, False, False, False] * 3
    assert [shape for _, shape in carries[:5]] == [(4, 16)] * 4 + [(4, 10)] and carries[1][0]["h[-1]"].shape == (4, 5)


def test_evaluation_is_that_of_the_whole_sequence(trainer, program):
    t = trainer()
    t.start()
    part = t.data.parts["validation"]
    chunked = combine(program, t.run.params, evaluation(part, 1, 16, t.timed, True), True)
    total, count = program.evaluate(t.run.params, **part)["loss"]
    assert chunked["loss"] == pytest.approx(total / count, abs=1e-14) and count == 62
    assert set(t.evaluate("validation", t.run.params)) == {"loss", "error"}


@pytest.mark.parametrize("stop", [1, 3, 5, 8, 14])
def test_a_run_interrupted_between_chunks_resumes_bit_for_bit(trainer, tmp_path, stop, monkeypatch):
    whole = trainer()
    whole.start()
    whole.train()
    first = trainer(tmp_path)
    first.start()
    real = Trainer._step

    def stopping(self, run):
        found = real(self, run)
        self._stop = run.epoch * self.batches + run.position == stop
        return found
    with monkeypatch.context() as m:
        m.setattr(Trainer, "_step", stopping)
        assert first.train().status == "interrupted"
    second = trainer(tmp_path)
    second.resume()
    second.train()
    for k, a in whole.run.params.items():
        assert a.tobytes() == second.run.params[k].tobytes()
    assert [r["train"] for r in whole.run.history] == [r["train"] for r in second.run.history]


def test_a_wrong_number_is_located_in_a_chunk(program):
    system = parse(MODEL.replace("s[t] = Y @ dropout(h[t], 0.1)", "g[t] = log(h[t][0:1])\ns[t] = Y @ h[t] + sum(g[t])"))
    params = compile_for(system, dtype="float64").init(seed=0)
    x = np.zeros((2, 3), int)
    text = diagnose(system, params, {"x": x, "y": x}, carry={"h[-1]": np.full((2, 5), -1.0)}, axis=truncated_axis(system))
    assert text.startswith("the first equation whose value is not finite is g")


def test_windows_and_chunks_exclude_each_other(folder):
    system = parse(MODEL.replace('"t.txt")', '"t.txt", length = 20)'))
    with pytest.raises(DataError, match="length = 20 cuts the text into windows, and truncate = 16 into chunks"):
        load_data(system, folder=folder)
