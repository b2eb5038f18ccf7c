"""Generated modules of models with time agree with the reference interpreter, at both levels."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.derivatives import grad
from chainrule.compiler.graph import BATCH
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.options import Options
from chainrule.compiler.system import System
from chainrule.frontends.language import parse
from zoo.build import values
from zoo.language_time import MODELS

LENGTHS = {"B": 2, "T": 4, "S": 3}


def outside(node: Any, value: Any) -> Any:
    """An array as a caller holds it: batch first."""
    return np.moveaxis(value, len(node.axes) - 1, 0) if BATCH in node.axes else value


def given(f: Any, system: System, at: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a generated function takes."""
    names = inspect.signature(f).parameters
    inputs = {k: outside(i, at[k]) for k, i in system.inputs.items() if k in names}
    return inputs | {k: v for k, v in LENGTHS.items() if k in names}


def expected(system: System, at: dict[str, Any]) -> list[Any]:
    """Objective, gradients, outputs, by the reference interpreter."""
    extended, grads = grad(system, system.objective(), [p.node for p in system.params.values()])
    return evaluate(extended, [system.objective(), *grads, *(system.equations[o] for o in system.outputs)], at, LENGTHS)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", MODELS)
def test_modules_agree_with_the_interpreter(name: str, level: int) -> None:
    system = parse(MODELS[name])
    at = values(system, LENGTHS)
    params = {k: at[k].copy() for k in system.params}
    loss, *rest = expected(system, at)
    module = Program(system, "float64", level).module
    for _ in range(2):
        found, grads = module.loss_and_grads(params, **given(module.loss_and_grads, system, at))
        assert np.isclose(float(found), float(loss), rtol=1e-10)
        for k, e in zip(system.params, rest, strict=False):
            np.testing.assert_allclose(grads[k], e, rtol=1e-9, atol=1e-11, err_msg=k)
    outputs = module.predict(params, **given(module.predict, system, at))
    for k, e in zip(system.outputs, rest[len(system.params):], strict=True):
        np.testing.assert_allclose(outputs[k], outside(system.equations[k], e), rtol=1e-9, atol=1e-11, err_msg=k)
    module.evaluate(params, **given(module.evaluate, system, at))


def test_a_missing_length_is_an_argument() -> None:
    module = Program(parse(MODELS["one_to_many"]), "float64").module
    assert "T" in inspect.signature(module.predict).parameters
    assert "T" not in inspect.signature(module.loss_and_grads).parameters            # the target carries it
    params = module.init()
    assert module.predict(params, z=np.ones((2, 2)), T=5)["h"].shape == (2, 5, 3)
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="T must be a whole number from 1 on"):
            module.predict(params, z=np.ones((2, 2)), T=wrong)


@pytest.mark.parametrize("level", [0, 1])
def test_delayed_inputs_as_outputs(level: int) -> None:
    """Parts of padded arrays that no statement reads."""
    module = Program(parse("model m(D = 3)\ninput x[t, D]\nr[t] = x[t-2] where x[-1] = 5, x[-2] = 7\n"
                           "u[t] = x[t+2] where x[T] = 1, x[T+1] = 3\noutput r, u\n"), "float64", level).module
    x = np.random.default_rng(0).random((2, 4, 3))
    found = module.predict({}, x)
    pads = {k: np.full((2, 1, 3), float(k)) for k in (1, 3, 5, 7)}
    np.testing.assert_array_equal(found["r"], np.concatenate([pads[7], pads[5], x[:, :2]], 1))
    np.testing.assert_array_equal(found["u"], np.concatenate([x[:, 2:], pads[1], pads[3]], 1))


def test_a_model_without_parameters() -> None:
    """The numbers are then of the input's type; there is nothing to train."""
    module = Program(parse("model m(D = 3)\ninput x[t, D]\ntarget y[t, D]\nh[t] = tanh(x[t] + h[t-1]) where h[-1] = 0\n"
                           "loss = mean[batch, t] squares(h[t], y[t])\n")).module
    x = np.ones((2, 4, 3), np.float32)
    h = module.predict({}, x)["h"]
    assert h.dtype == np.float32 and np.allclose(h[:, 1], np.tanh(1 + np.tanh(1)))
    assert module.predict({}, x.astype(float))["h"].dtype == np.float64
    loss, grads = module.loss_and_grads({}, x, x)
    assert grads == {} and np.isclose(loss, module.train_step({}, module.init_state({}), x, x))
    assert np.array_equal(module.step({}, module.start({}, 2), x[:, 0])[0]["h"], h[:, 0])


CUT = """model m(D = 3)
input x[t, D]
input z[D]
target y[t, D]
param W[D, D], U[D, D] ~ normal(0.7)
q = tanh(U @ z)
g[t] = U @ x[t]
h[t] = tanh(W @ h[t-1] + g[t] * q) where h[-1] = q
loss = mean[batch, t] squares(W @ h[t], y[t]) + sum(h[last]^2)
on_backward q: 2 * d_q + d_q^3
on_backward g[t]: clip(d_g, -0.01, 0.01) * h[t]
on_backward h[t]: d_h / (1 + norm(d_h))
"""


@pytest.mark.parametrize("checkpoint", ["sqrt", "every 1", "every 2", "every 9"])
def test_surgery_goes_through_checkpoints(checkpoint: str) -> None:
    system = parse(CUT)
    at = values(system, {**LENGTHS, "T": 5})
    params = {k: at[k] for k in system.params}
    wanted, cut = (Program(system, "float64", 1, o).module for o in (Options(), Options(checkpoint=checkpoint)))
    loss, grads = wanted.loss_and_grads(params, **given(wanted.loss_and_grads, system, at))
    found, others = cut.loss_and_grads(params, **given(cut.loss_and_grads, system, at))
    np.testing.assert_allclose(found, loss, rtol=1e-12)
    for k in grads:
        np.testing.assert_allclose(others[k], grads[k], rtol=1e-11, atol=1e-12, err_msg=k)
