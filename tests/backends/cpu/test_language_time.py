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
