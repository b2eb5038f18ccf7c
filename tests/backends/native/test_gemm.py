"""Matrix products in C: every way in which operands may lie in memory, against NumPy; packed weights of recurrent models."""

import ctypes
import re
from pathlib import Path

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends import native
from chainrule.backends.cpu.program import Program
from chainrule.backends.native.program import NativeProgram

PLAIN, TURNED, PACKED, ADDED = 0, 1, 2, 4
GEMM = (Path(native.__file__).parent / "gemm.c").read_text(encoding="utf-8")
TYPES = {np.float32: "float", np.float64: "double"}
CALLS = """
void product_(int64_t ta, int64_t tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda, const real *b, int64_t ldb,
              real *c, int64_t ldc) { gemm((int)ta, (int)tb, m, n, k, a, lda, b, ldb, c, ldc); }
void part_of_it_(int64_t first, int64_t count, int64_t ta, int64_t tb, int64_t m, int64_t k, const real *a, int64_t lda,
                 const real *b, int64_t ldb, real *c, int64_t ldc)
{ columns_(first, count, (int)ta, (int)tb, m, k, a, lda, b, ldb, c, ldc); }
void pack_it_(int64_t turned, int64_t n, int64_t k, const real *b, int64_t ldb, real *packed)
{ pack((int)turned, n, k, b, ldb, packed); }
"""


@pytest.fixture(scope="module", params=TYPES, ids=TYPES.values())
def products(request, compiled):
    """The functions of gemm.c for a type."""
    head = "".join(f"#include <{x}.h>\n" for x in ("stdbool", "stdint", "string"))
    return compiled(f"{head}typedef {TYPES[request.param]} real;\n{GEMM}{CALLS}", request.param, "-march=native"), request.param


def called(function, *arguments):
    function.restype = None
    function(*(ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_int64(a) for a in arguments))


def packed(library, way, b, n, k):
    """The matrix in panels, somewhere in memory that was NaN."""
    out = np.full(k * (n + 31) + 3, np.nan, b.dtype)[3:]
    called(library.pack_it_, way, n, k, b, b.shape[1], out)
    return out


SIZES = [(m, n, k) for m in (1, 2, 3, 7, 8, 17, 33) for n in (1, 3, 16, 31, 65, 200) for k in (1, 2, 65, 300)]


@pytest.mark.parametrize("ta", (PLAIN, TURNED))
@pytest.mark.parametrize("tb", (PLAIN, TURNED))
def test_products(products, ta, tb):
    """c is NaN before, and has more columns than the product: those stay as they are."""
    library, dtype = products
    rng = np.random.default_rng(0)
    for m, n, k in SIZES:
        a = rng.normal(size=(k, m + 2) if ta else (m, k + 2)).astype(dtype)
        b = rng.normal(size=(n, k + 1) if tb else (k, n + 1)).astype(dtype)
        right = (b[:, :k].T if tb else b[:, :n]).astype(float)
        want = (a[:, :m].T if ta else a[:, :k]).astype(float) @ right
        near = 30 * np.finfo(dtype).eps * np.sqrt(k)
        for way, matrix, distance in ((tb, b, b.shape[1]), (PACKED, packed(library, tb, b, n, k), k)):
            c = np.full((m, n + 3), np.nan, dtype)
            called(library.product_, ta, way, m, n, k, a, a.shape[1], matrix, distance, c, n + 3)
            np.testing.assert_allclose(c[:, :n], want, rtol=0, atol=near, err_msg=f"{m, n, k}")
            called(library.product_, ta | ADDED, way, m, n, k, a, a.shape[1], matrix, distance, c, n + 3)
            np.testing.assert_allclose(c[:, :n], 2 * want, rtol=0, atol=3 * near, err_msg=f"{m, n, k}")
            assert np.isnan(c[:, n:]).all()


@pytest.mark.parametrize("tb", (PLAIN, TURNED, PACKED))
@pytest.mark.parametrize("ta", (PLAIN, TURNED))
def test_columns_of_a_product(products, ta, tb):
    """Threads compute columns from anywhere on, beside others that no thread may touch."""
    library, dtype = products
    rng = np.random.default_rng(1)
    m, n, k = 37, 70, 20
    a, b = (rng.normal(size=x).astype(dtype) for x in ((k, m) if ta else (m, k), (n, k) if tb == TURNED else (k, n)))
    want = (a.T if ta else a) @ (b.T if tb == TURNED else b)
    matrix = packed(library, PLAIN, b, n, k) if tb == PACKED else b
    for first, count in ((0, 70), (1, 3), (5, 30), (16, 20), (33, 37), (69, 1)):
        c = np.full((m, n), np.nan, dtype)
        args = first, count, ta, tb, m, k, a, a.shape[1], matrix, n if tb == PLAIN else k, c, n
        called(library.part_of_it_, *args)
        np.testing.assert_allclose(c[:, first:first + count], want[:, first:first + count], rtol=0, atol=1e-4)
        assert np.isnan(c[:, :first]).all() and np.isnan(c[:, first + count:]).all()
        called(library.part_of_it_, *args[:2], ta | ADDED, *args[3:])
        np.testing.assert_allclose(c[:, first:first + count], 2 * want[:, first:first + count], rtol=0, atol=1e-4)


def test_what_is_no_number_stays_so(products):
    """0 * NaN is NaN, and only where the sum has it; the zeros that fill a panel up touch no column."""
    library, dtype = products
    a, b, c = np.zeros((3, 5), dtype), np.ones((5, 20), dtype), np.empty((3, 20), dtype)
    b[2, 7], a[1, 4] = np.nan, np.inf
    for way, matrix, distance in ((PLAIN, b, 20), (PACKED, packed(library, PLAIN, b, 20, 5), 5)):
        called(library.product_, PLAIN, way, 3, 20, 5, a, 5, matrix, distance, c, 20)
        assert np.isnan(c[:, 7]).all() and np.isinf(np.delete(c[1], 7)).all() and (np.delete(c[0], 7) == 0).all()


RECURRENT = """
model m(V = 12, H = 20)
input x[t] : class(V)
target y[t] : class(V)
param W[H, V] ~ xavier
param U{shape} ~ xavier
param W_y[V, H] ~ xavier
h[t] = tanh(W @ onehot(x[t]) + {product})      where h[-1] = 0
loss = mean[batch, t] cross_entropy(softmax(W_y @ h[t]), y[t])
train sgd(lr = 0.1)
"""


@pytest.mark.native
@pytest.mark.parametrize(("shape", "product"), (
    ("[H, H]", "U @ h[t-1]"), ("[H, H]", "U.T @ h[t-1]"), ("[2, H, H]", "U[1] @ h[t-1]")))
def test_a_weight_is_packed_once_before_the_loop(shape, product):
    """Turned or not, also a part of an array; no copy is left that was turned for products alone."""
    m = cr.parse(RECURRENT.format(shape=shape, product=product))
    system = getattr(m, "system", m)
    native = NativeProgram(system, "float64")
    body = native.c.split("gradients")[1]
    assert body.count("pack(") == 2 and body.count("PACKED,") == 2 and not re.search(r"\bU_T\b", body)
    assert body.index("pack(") < body.index("for (int64_t t") < body.index("PACKED,")
    rng = np.random.default_rng(0)
    params = {k: rng.normal(size=v.shape) for k, v in native.init(seed=0).items()}
    inputs = {"x": rng.integers(0, 12, (5, 9)), "y": rng.integers(0, 12, (5, 9))}
    want, found = Program(system, "float64").loss_and_grads(params, **inputs), native.loss_and_grads(params, **inputs)
    np.testing.assert_allclose(found[0], want[0], rtol=1e-12)
    for k, v in want[1].items():
        np.testing.assert_allclose(found[1][k], v, rtol=1e-9, atol=1e-13)
