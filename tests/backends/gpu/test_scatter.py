"""Rows added up by class: sorted where there are many classes, the same bits each time; and by atomics, if they are asked for."""

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.backends.gpu.program import CudaProgram
from chainrule.compiler.options import BadOption, Options
from gpu import host, programs

pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
TEXT = """
model words(V = {classes}, H = 37, C = 3)
input x[t] : class(V)
target y : class(C)
param E[H, V], W[C, H] ~ normal(0.5)
e[t] = E @ onehot(x[t])
loss = cross_entropy(softmax(W @ sum[t] tanh(e[t])), y)
train sgd(lr = 0.1)
"""


def gradients(classes, order, batch=7, steps=11, planted=(), **options):
    """All gradients for a GPU, whose module's text may be changed, and NumPy's."""
    system = cr.parse(TEXT.format(classes=classes)).system
    numpy, rng = Program(system, "float32"), np.random.default_rng(2)
    params = {k: np.asarray(v) for k, v in numpy.init(seed=1).items()}
    inputs = {"x": rng.integers(0, classes, (batch, steps)) // rng.integers(1, 9, (batch, steps)), "y": rng.integers(0, 3, batch)}
    source = CudaProgram(system, options=Options(**options)).source
    assert not planted or planted[0] in source
    module = programs.loaded(source.replace(*planted) if planted else source, order)
    found = module.loss_and_grads(module.to_device(params), **inputs)[1]
    return module.to_host(found), numpy.loss_and_grads(params, **inputs)[1], module


@pytest.mark.parametrize(("classes", "batch", "steps"), [(70000, 7, 11), pytest.param(300, 64, 20, marks=pytest.mark.full),
                                                      pytest.param(300, 1, 1, marks=pytest.mark.full)])
def test_many_classes(classes, batch, steps):
    found, wanted, module = gradients(classes, host.SHUFFLED, batch, steps)
    assert "place_digits" in module.KERNELS.text and programs.differences(found, wanted, 1e-5, 1e-7) == {}
    again = gradients(classes, host.BACKWARD, batch, steps)[0]
    assert all(np.array_equal(v, again[k]) for k, v in found.items())


def test_few_classes_and_atomics():
    found, wanted, module = gradients(40, host.FORWARD)
    assert "keys" not in module.KERNELS.text and programs.differences(found, wanted, 1e-5, 1e-7) == {}
    found, wanted, _ = gradients(40, host.SHUFFLED, 64, 20)     # rows enough for every warp of a block
    assert programs.differences(found, wanted, 1e-5, 1e-7) == {}
    found, wanted, module = gradients(40, host.SHUFFLED, atomics=True)
    assert "atomicAdd" in module.KERNELS.text and programs.differences(found, wanted, 1e-5, 1e-7) == {}


PLANTED = {                                                      # name -> classes, what is changed to what
    "rows that two warps add": (40, "from += 256", "from += 128"),
    "rows that nobody adds": (40, "from += 256", "from += 512"),
    "a warp that is not added": (40, "w_ < 8", "w_ < 7"),
    "a digit that forgets the last one": (300, "shift ? order[at] : at", "at"),
}


@pytest.mark.full
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name):
    """Rows enough for several rounds of all warps."""
    classes, *planted = PLANTED[name]
    found, wanted, _ = gradients(classes, host.SHUFFLED, 64, 20, planted)
    assert "E" in programs.differences(found, wanted, 1e-5, 1e-7)


@pytest.mark.full
def test_atomics_come_in_any_order():
    """What these tests compare bits for."""
    runs = [gradients(40, order, 64, 20, atomics=True)[0]["E"] for order in (host.FORWARD, host.BACKWARD)]
    assert not np.array_equal(*runs)


@pytest.mark.parametrize(("products", "off"), [pytest.param("tf32", 2e-3, marks=pytest.mark.full), ("bf16", 2e-2)])
def test_products_that_round(products, off):
    found, wanted, module = gradients(40, host.FORWARD, products=products)
    assert module.BLAS.computes != 68
    assert programs.differences(found, wanted, off, off) == {} != programs.differences(found, wanted, 1e-6, 1e-8)
    with pytest.raises(BadOption, match="products = fp8: write float32, tf32 or bf16"):
        Options(products="fp8")
