"""The trainer on compiled models: dropout, stored statistics, every optimiser's state; resumed, they are equal to the bit."""

import os
import signal

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.graph import Expr, Extent, Input, Noise, Param, Reduce, apply
from chainrule.compiler.node import class_of, length
from chainrule.compiler.sizes import symbol
from chainrule.compiler.system import Average, Initialiser, Parameter, Penalty, Stat, System, Training
from chainrule.frontends.language.semantics import average, cross_entropy, softmax
from chainrule.frontends.trainer.data import Dataset
from chainrule.frontends.trainer.diagnose import diagnose
from chainrule.frontends.trainer.differences import differences, random_inputs
from chainrule.frontends.trainer.errors import NotFinite
from chainrule.frontends.trainer.loop import CHECKPOINT, Trainer, evaluate
from chainrule.frontends.trainer.run import Options, load_run

D, H, C = map(symbol, "DHC")


def network(optimiser="adam", activation="tanh", **options) -> System:
    """s = W2 dropout(f(W1 (x - mu))) + b, mu the mean of the batch and in evaluation its running average."""
    x, y = Input("x", shape=(D,)), Input("y", type=class_of(C))
    system = System("network", {"D": 4, "H": 6, "C": 3}, {"x": x, "y": y}, ("y",))

    def param(name: str, *shape: object) -> Expr:
        system.params[name] = Parameter(Param(name, shape), Initialiser("normal", (0.5,)))
        return system.params[name].node
    mu = Param("mu", (D,))
    mean = Reduce("sum", x, ("batch",)) / Extent(length("batch"))
    system.stats["mu"] = Stat(mu, Initialiser(), mu * 0.9 + mean * 0.1)
    h = system.equation("h", apply(activation, param("W1", H, D) @ (x - mean)))
    keep = apply("real", apply("lt", Noise("uniform", "h", ("batch",), (H,)), 0.8))
    s = system.equation("s", param("W2", C, H) @ (h * (keep / 0.8)) + param("b", C))
    system.loss = average(cross_entropy(softmax(s), y))
    system.metrics["error"] = Average(Reduce("sum", apply("real", apply("ne", Reduce("argmax", s, (0,)), y)), ("batch",)),
                                      Extent(length("batch")))
    system.penalties = (Penalty("l2", 1e-3, ("W1", "W2")),)
    system.outputs = ("s",)
    system.training = Training(optimiser, tuple({"lr": 0.05, **options}.items()))
    return system


def trainer(program, blobs, out=None, **options):
    return Trainer(program, Dataset("blobs", blobs), Options(epochs=3, batch=16, seed=5, schedule="linear", **options), out=out)


@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"])
@pytest.mark.parametrize("step", [4, 17])
def test_a_resumed_run_is_equal_to_the_bit(blobs, tmp_path, monkeypatch, optimiser, step):
    program = Program(network(optimiser))
    whole = trainer(program, blobs)
    whole.start()
    whole.train()
    first, real, steps = trainer(program, blobs, tmp_path), program.train_step, []

    def counted(*args, **kw):
        steps.append(1)
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **kw)
    first.start()
    with monkeypatch.context() as m:
        m.setattr(program, "train_step", counted, raising=False)
        assert first.train().status == "interrupted"
    second = trainer(Program(network(optimiser)), blobs, tmp_path)
    second.resume()
    second.train()
    for kind in ("params", "state", "best"):
        a, b = getattr(whole.run, kind), getattr(second.run, kind)
        assert a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)
    assert np.any(whole.run.params["mu"] != 0) and int(whole.run.state["step"]) == 21


def test_training_lowers_the_loss_and_the_error(blobs):
    t = trainer(Program(network()), blobs)
    t.start()
    before = t.evaluate("test", t.run.params)
    after = t.evaluate("test", t.train().params)
    assert after["loss"] < before["loss"] / 2 and after["error"] < 0.2 and after["penalty"] > 0


def test_evaluation_has_no_noise_and_combines_over_batches(blobs):
    program = Program(network(), "float64")
    params = program.init(seed=1)
    part = {"x": blobs["train"]["x"].astype(float), "y": blobs["train"]["y"]}
    whole, pieces = (evaluate(program, params, part, n) for n in (1000, 9))
    assert whole == pytest.approx(pieces) and whole == evaluate(program, params, part, 1000)


def test_differences_are_small():
    system = network()
    program = Program(system, "float64")
    rows = differences(program, program.init(seed=2), random_inputs(system), seed=3)
    assert [r.name for r in rows] == ["W1", "W2", "b"] and max(r.error for r in rows) < 1e-6


def test_a_diverging_run_names_the_equation_and_keeps_the_last_good_state(blobs, tmp_path):
    system = network("sgd", "log")
    t = trainer(Program(system), blobs, tmp_path)
    t.diagnose = lambda params, inputs, step, carry: diagnose(system, params, inputs, 5, step, carry)
    t.start()
    with pytest.raises(NotFinite, match=r"the loss became nan at step 1 \(epoch 1\): the first equation .* is h: nan at example"):
        t.train()
    assert np.isfinite(load_run(tmp_path / CHECKPOINT)[0].params["W1"]).all()


def test_an_overflow_of_float32_is_told_from_a_wrong_equation(blobs):
    system = network("sgd", "square", lr=1e12)
    t = trainer(Program(system), blobs)
    t.diagnose = lambda params, inputs, step, carry: diagnose(system, params, inputs, 5, step, carry)
    t.start()
    with pytest.raises(NotFinite, match="training stopped"):
        t.train()
