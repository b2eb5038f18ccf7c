"""Generated modules of every small system: loss, gradients and outputs against the reference interpreter, at both levels."""

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.derivatives import grad
from chainrule.compiler.graph import BATCH
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.shortest import shortest
from zoo.build import LENGTHS, values
from zoo.catalogue import ZOO


def outside(system, at):
    """Arrays as a caller holds them: batch first."""
    return {k: np.swapaxes(at[k], 0, 1) if len(i.axes) > 1 and BATCH in i.axes else at[k] for k, i in system.inputs.items()}


@pytest.mark.parametrize("steps", [LENGTHS["T"], 1])
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", ZOO)
def test_gradients_agree_with_the_interpreter(name, level, steps):
    """At a single step, too, which is less than some delays reach; at as few as the model asks for."""
    system = ZOO[name]()
    lengths = {**LENGTHS, "T": steps, "S": 4 if steps > 1 else 1}
    lengths = {k: max(n, shortest(system).get(k, 1)) for k, n in lengths.items()}
    if steps == 1 and not any(len(i.axes) > 1 for i in system.inputs.values()):
        return
    at = values(system, lengths)
    params = {k: at[k].copy() for k in (*system.params, *system.stats)}
    extended, grads = grad(system, system.objective(), [p.node for p in system.params.values()])
    expected = evaluate(extended, [system.objective(), *grads], at, lengths)
    module = Program(system, "float64", level).module
    workspace = module.Workspace()
    for _ in range(2):                                           # the second call finds the workspace as the first left it
        loss, found = module.loss_and_grads(params, **outside(system, at), workspace=workspace)
        assert np.isclose(float(loss), float(expected[0]), rtol=1e-10)
        for k, e in zip(system.params, expected[1:], strict=True):
            np.testing.assert_allclose(found[k], e, rtol=1e-9, atol=1e-11, err_msg=k)
