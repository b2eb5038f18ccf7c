"""What a batch of a few examples does not run: kernels of several blocks, sums by more examples than threads, groups of examples
in a loop over time; and on a device whose blocks cannot wait for each other, the kernels that each step of such a loop launches.

The other tests take three examples, so that most of their kernels have one block.
"""

from dataclasses import replace

import pytest
from chainrule.backends.gpu.program import CudaProgram
from chainrule.compiler.options import Options
from gpu import host, nvrtc, programs
from zoo.catalogue import TIMED, ZOO
from zoo.tiers import tier

MANY = {"B": 300}                                                # more than a block's 256 threads
pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)


def agrees(c, rtol=5e-5):
    """NumPy's results, in a shuffled order of threads."""
    found = programs.on_device(c, host.SHUFFLED, trapped=True)
    assert programs.differences(found, programs.on_numpy(c), rtol, 2e-6) == {}


def followed(c):
    """Each kernel by the interpreter of PTX."""
    if nvrtc.compiler() is None:
        pytest.skip(nvrtc.MISSING)
    assert {k: v for k, v in programs.interpreted(c).items() if v > 1e-5} == {}


def step_by_step(name):
    """A model whose loops over time launch each step."""
    c = programs.case(name)
    source = CudaProgram(c.system, options=Options(persistent=False)).source
    assert "TOGETHER" not in source
    return replace(c, source=source)


@pytest.mark.parametrize("name", tier(ZOO, ["mlp"]))
def test_a_batch_of_several_blocks(name):
    agrees(programs.case(name, **MANY))


@pytest.mark.full
@pytest.mark.parametrize("name", ["mlp", "lenet", "lstm_packed", "batch_norm", "attention"])
def test_a_batch_of_several_blocks_in_ptx(name):
    followed(programs.case(name, B=131))


@pytest.mark.parametrize("name", tier(TIMED, ["lstm_packed"]))
def test_a_loop_that_launches_each_step(name):
    agrees(step_by_step(name))


@pytest.mark.full
@pytest.mark.parametrize("name", TIMED)
def test_a_loop_that_launches_each_step_in_ptx(name):
    followed(step_by_step(name))
