"""Sizes whose names mean something else in C: the same numbers, in the module and in a standalone file."""

import numpy as np
import pytest
from chainrule.backends.native.program import NativeProgram
from chainrule.backends.native.words import size_name
from chainrule.frontends.language import parse
from zoo.c_library import Library

pytestmark = pytest.mark.native
NAMES = """SIMD PLAIN TURNED PACKED ADDED ALONE APART PIECES PATIENCE WORTH LANES NAN INFINITY NULL EOF FILE BUFSIZ M_PI INT64_MAX
HUGE_VAL DEPTH_ R_ BYTES INCLUDED DOUBLE BATCH LENGTH REAL MAX_ FLT_MAX PTHREAD_MUTEX_INITIALIZER ROUND TINY LOW HIGH
QUOTED SEEK_SET RAND_MAX SIZE_MAX UINT64_C DBL_EPSILON TO FROM""".split()


def model(names):
    """Every size has an array, and is a number in an equation."""
    text = "".join(f"param w{k}[{n}] = 0.5\n" for k, n in enumerate(names))
    total = " + ".join(f"sum(w{k} * w{k}) / {n}" for k, n in enumerate(names))
    sizes = ", ".join(f"{n} = {2 + k % 3}" for k, n in enumerate(names))
    return parse(f"model collide({sizes}, D = 3)\ninput x[D]\nparam u[D] = 0.5\n{text}"
                 f"y = sum(u * x)\nloss = y^2 + {total}\ntrain sgd(lr = 0.1), batch = 2\n")


def test_names_that_stay():
    assert [size_name(n) for n in ("H", "V", "D", "B", "T", "EMBED", "H2")] == ["H", "V", "D", "B", "T", "EMBED", "H2"]


@pytest.mark.parametrize("part", range(0, len(NAMES), 8))
def test_the_same_numbers(part, tmp_path):
    system, x = model(NAMES[part:part + 8]), np.arange(6.0).reshape(2, 3)
    library = Library(system, {"B": 2}, tmp_path, flags=("-O0",))
    params = library.numpy.module.init(0, "float64")
    loss, grads = library.numpy.loss_and_grads(params, x=x)[:2]
    library.init(0)
    np.testing.assert_allclose(library.number("loss_and_grads", {"x": x}), loss, rtol=1e-12)
    native = NativeProgram(system, "float64").loss_and_grads(params, x=x)
    np.testing.assert_allclose(native[0], loss, rtol=1e-12)
    for k, v in grads.items():
        np.testing.assert_allclose(library.grads[k], v, rtol=1e-12, err_msg=k)
        np.testing.assert_allclose(native[1][k], v, rtol=1e-12, err_msg=k)
