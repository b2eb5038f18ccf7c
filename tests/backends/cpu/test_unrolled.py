"""Rolled and unrolled modules of one recurrence: the same loss and gradients, in a page of code each."""

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.passes.unroll import unroll
from chainrule.compiler.system import Average
from zoo.build import LENGTHS, values
from zoo.catalogue import TIMED, ZOO

STEPS = 3


@pytest.mark.parametrize("name", [n for n in TIMED if "S" not in str(ZOO[n]().inputs)])
def test_unrolled_equals_rolled(name):
    system = ZOO[name]()
    lengths = {**LENGTHS, "T": STEPS}
    at = values(system, lengths)
    inputs = {k: np.moveaxis(at[k], 0, 1) if len(i.axes) == 2 else at[k] for k, i in system.inputs.items()}
    params = {k: at[k] for k in system.params}
    flat, (total, count) = unroll(system, "t", STEPS, [system.loss.total, system.loss.count])
    rolled, unrolled = (Program(s, "float64") for s in (system, flat.copy(loss=Average(total, count))))
    assert not any(line.strip().startswith("for t in") for line in unrolled.source.splitlines())
    (a, d), (b, e) = (p.loss_and_grads(params, **inputs) for p in (rolled, unrolled))
    assert np.isclose(float(a), float(b), rtol=1e-12)
    for k in params:
        np.testing.assert_allclose(d[k], e[k], rtol=1e-10, atol=1e-12, err_msg=k)
