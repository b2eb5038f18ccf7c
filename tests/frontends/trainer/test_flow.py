"""Norms of gradients by equation and step: against finite differences, and what a plain network and an LSTM show."""

from pathlib import Path

import numpy as np
import pytest
from chainrule.compiler.interpret import evaluate
from chainrule.frontends import cli
from chainrule.frontends.language import load, parse
from chainrule.frontends.trainer.differences import random_inputs
from chainrule.frontends.trainer.flow import bars, flows
from typer.testing import CliRunner

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "gradflow"
MODEL = """model m(D = 2, H = 3)
input  x[t, D]
target y[t, H]
param  W[H, D], U[H, H] ~ xavier
a[t] = W @ x[t] + U @ h[t-1]
h[t] = tanh(a[t])                 where h[-1] = 0
loss = mean[batch, t] squares(h[t], y[t])
"""


def values(system, seed=0):
    rng = np.random.default_rng(seed)
    return {k: rng.normal(0, 0.5, [s.evaluate(system.sizes) for s in p.node.shape]) for k, p in system.params.items()}


@pytest.mark.parametrize("at", ["last", "all"])
def test_norms_are_those_of_differences(at):
    """An input added to a[t] has the adjoint of a[t]."""
    system, steps, batch = parse(MODEL), 5, 2
    moved = parse(MODEL.replace("target y", "input e[t, H]\ntarget y").replace("U @ h[t-1]", "U @ h[t-1] + e[t]"))
    params, inputs = values(system), random_inputs(system, 1, batch, steps)
    found = {f.name: f for f in flows(system, params, inputs, at)}
    given = {k: np.moveaxis(v, 0, 1) for k, v in inputs.items()}

    def loss(e):
        h, = evaluate(moved, [moved.equations["h"]], {**params, **given, "e": e})
        terms = 0.5 * np.square(h - given["y"])
        return (terms[-1].sum() if at == "last" else terms.sum() / steps) / batch
    d = np.zeros((steps, batch, 3))
    for i in np.ndindex(d.shape):
        e = np.zeros(d.shape)
        e[i] = 1e-5
        d[i] = (loss(e) - loss(-e)) / 2e-5
    assert found["a"].norms == pytest.approx(np.sqrt(np.square(d).sum((1, 2))), abs=1e-9) and found["a"].axis == "t"
    assert found["h"].norms[-1] > 0


def test_a_plain_network_forgets_and_an_lstm_does_not():
    ratio = {}
    for name, equation in (("rnn", "h"), ("lstm", "c")):
        system = load(EXAMPLES / f"{name}.nn")
        from chainrule.backends.interface import compile_for
        params = compile_for(system, dtype="float64").init(seed=0)
        found = {f.name: f.norms for f in flows(system, params, random_inputs(system, 0, 4, 100))}
        ratio[name] = found[equation][0] / found[equation][-1]
    assert ratio["rnn"] < 1e-12 and 0.01 < ratio["lstm"] < 100


def test_bars():
    assert bars([1e-8, 1e-4, 1.0, 0.0], 1e-8, 1.0) == "▁▅█." and len(bars([1.0] * 500, 0.1, 1.0)) == 24


def run(*args, status=0):
    result = CliRunner().invoke(cli.app, ["gradflow", *map(str, args)])
    assert result.exit_code == status and "Traceback" not in result.output, result.output
    return result.output


def test_the_command(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    text = run(EXAMPLES / "rnn.nn", "--steps", 20, "--png", tmp_path / "f.png")
    assert "d_h[t]" in text and "t = 0 ... 19" in text and (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "m.nn").write_text(MODEL)
    assert "over all steps" in run(tmp_path / "m.nn", "--at", "all", "--steps", 6)
    plain = "model f(D = 3)\ninput x[D]\ntarget y\nparam w[D] ~ normal(1)\nh = tanh(w @ x)\nloss = squares(h, y)"
    (tmp_path / "f.nn").write_text(plain)
    assert "d_h" in run(tmp_path / "f.nn") and "last step" not in run(tmp_path / "f.nn")


@pytest.mark.parametrize("args,says", [(["--at", "first"], "--at last, --at all"), (["--steps", 0], "at least 1"),
                                       (["--weights", "none"], "there is no file none")])
def test_the_command_refuses(args, says):
    assert says in run(EXAMPLES / "rnn.nn", *args, status=1)
