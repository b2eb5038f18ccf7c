"""Every model's program for a GPU on the stand-in for CuPy, its kernels' text on the CPU: NumPy's results, the same bits in every
order of threads, nothing undefined.
"""

import numpy as np
import pytest
from gpu import host, nvrtc, programs
from zoo.catalogue import ZOO

QUICK = ("mlp", "lstm_packed", "dropout")                        # dense; through time, with rows; random numbers
pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)


def agrees(name, order, trapped=False, captures=True):
    """Losses, gradients, outputs, and three training steps, captured as a graph or not."""
    c = programs.case(name)
    found = programs.on_device(c, order, trapped, captures)
    assert programs.differences(found, programs.on_numpy(c, captures), 2e-5, 1e-6) == {}
    return found


def in_every_order(name, trapped):
    """The order of threads changes not one bit."""
    first, *others = (agrees(name, order, trapped) for order in host.ORDERS.values())
    for other in others:
        for k, v in first.items():
            np.testing.assert_array_equal(other[k], v, err_msg=k)


@pytest.mark.parametrize("name", QUICK)
def test_a_model_in_every_order(name):
    in_every_order(name, trapped=False)


@pytest.mark.parametrize("name", [QUICK[0], *(pytest.param(k, marks=pytest.mark.full) for k in ZOO if k != QUICK[0])])
def test_a_model_that_is_not_captured(name):
    agrees(name, host.SHUFFLED, captures=False)


@pytest.mark.parametrize("name", [QUICK[1], *(pytest.param(k, marks=pytest.mark.full) for k in ZOO if k != QUICK[1])])
def test_the_first_launch_of_each_kernel_in_ptx(name):
    """No race, nothing read that was not written, all in bounds, and the CPU's numbers."""
    if nvrtc.compiler() is None:
        pytest.skip(nvrtc.MISSING)
    found = programs.interpreted(programs.case(name))
    assert {k: v for k, v in found.items() if v > 1e-5} == {}


@pytest.mark.full
@pytest.mark.parametrize("name", ZOO)
def test_every_model_in_every_order(name):
    in_every_order(name, trapped=True)
