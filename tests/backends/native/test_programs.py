"""Whole models in C against their NumPy modules: losses, gradients, outputs, in both precisions."""

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.backends.native.program import NativeProgram
from chainrule.compiler.graph import BATCH
from zoo.build import LENGTHS, values
from zoo.catalogue import ZOO


def outside(system, at):
    """Arrays as a caller holds them: batch first."""
    return {k: np.swapaxes(at[k], 0, 1) if len(i.axes) > 1 and BATCH in i.axes else at[k] for k, i in system.inputs.items()}


@pytest.mark.native
@pytest.mark.parametrize("name", ZOO)
def test_the_same_as_numpy(name):
    system = ZOO[name]()
    at = values(system, LENGTHS)
    for dtype, rtol, atol in (("float64", 1e-12, 1e-13), ("float32", 1e-5, 1e-5)):
        params = {k: at[k].astype(dtype) for k in (*system.params, *system.stats)}
        inputs = outside(system, at)
        numpy, native = Program(system, dtype), NativeProgram(system, dtype)
        workspace = native.Workspace()
        for seed in (0, 7):                                      # the second call finds the workspace as the first left it
            want, found = numpy.loss_and_grads(params, seed=seed, **inputs), \
                native.loss_and_grads(params, seed=seed, workspace=workspace, **inputs)
            np.testing.assert_allclose(found[0], want[0], rtol=rtol, atol=atol)
            for k, v in want[1].items():
                np.testing.assert_allclose(found[1][k], v, rtol=rtol * 100, atol=atol * 10, err_msg=f"{k} {dtype}")
        for k, v in (numpy.predict(params, **inputs) if system.outputs else {}).items():
            np.testing.assert_allclose(native.predict(params, **inputs)[k], v, rtol=rtol * 10, atol=atol * 10, err_msg=k)
        for k, v in numpy.evaluate(params, **inputs).items():
            np.testing.assert_allclose(native.evaluate(params, **inputs)[k], v, rtol=rtol * 10, atol=atol * 10, err_msg=k)
