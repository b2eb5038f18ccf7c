"""The binding to cuBLAS: what C functions of its prototypes are handed by ctypes, where it is looked for, what it refuses."""

import ctypes
import subprocess
import types

import numpy as np
import pytest
from gpu import host, programs, standin

pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
# the prototypes of cublas_api.h, with int for its enumerations
LIBRARY = """#include <stdio.h>
#include <stddef.h>
static char said[2000];
extern "C" {
const char *what_was_said() { return said; }
int cublasCreate_v2(void **handle) { *handle = (void *)0x7ffe12345678; return 0; }
int cublasSetStream_v2(void *handle, void *stream) { return handle != (void *)0x7ffe12345678; }
int cublasSetWorkspace_v2(void *handle, void *at, size_t size) { return !at || size != 33554432; }
const char *cublasGetStatusName(int status) { return "CUBLAS_STATUS_NOT_SUPPORTED"; }
const char *cublasGetStatusString(int status) { return "the requested functionality is not supported"; }
int cublasGemmEx(void *handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int of_a, int lda,
                 const void *b, int of_b, int ldb, const void *beta, void *c, int of_c, int ldc, int how, int algorithm)
{
    snprintf(said, sizeof said, "%p %d %d %d %d %d %g %p %d %d %p %d %d %g %p %d %d %d %d", handle, ta, tb, m, n, k,
             *(float *)alpha, a, of_a, lda, b, of_b, ldb, *(float *)beta, c, of_c, ldc, how, algorithm);
    return 0;
}
int cublasGemmStridedBatchedEx(void *handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int of_a,
                               int lda, long long sa, const void *b, int of_b, int ldb, long long sb, const void *beta, void *c,
                               int of_c, int ldc, long long sc, int count, int how, int algorithm)
{
    snprintf(said, sizeof said, "%p %d %d %d %d %d %g %p %d %d %lld %p %d %d %lld %g %p %d %d %lld %d %d %d", handle, ta, tb, m,
             n, k, *(float *)alpha, a, of_a, lda, sa, b, of_b, ldb, sb, *(float *)beta, c, of_c, ldc, sc, count, how, algorithm);
    return count == 3 ? 15 : 0;
}
}
"""
FAR = 0x7FAB_CDEF_0123_0000                                      # an address that a C int cannot hold


@pytest.fixture
def module():
    return programs.loaded(programs.case("attention").source)    # with products of batches


@pytest.fixture
def said(module, tmp_path):
    """What the functions were handed, as text."""
    (tmp_path / "cublas.cpp").write_text(LIBRARY)
    made = str(tmp_path / "libcublas.so")
    subprocess.run([host.compiler(), "-w", "-shared", "-fPIC", str(tmp_path / "cublas.cpp"), "-o", made], check=True)
    library = ctypes.CDLL(made)
    library.what_was_said.restype = ctypes.c_char_p
    module.cublas_library = lambda: library
    return lambda: library.what_was_said().decode().split()


def matrix(at, *shape, far=None):
    """A matrix, or a batch of them at a distance, as far as `gemm` looks at one."""
    strides = (far, 4 * shape[-1], 4)[3 - len(shape):]
    return types.SimpleNamespace(shape=shape, strides=strides, ndim=len(shape), itemsize=4, size=int(np.prod(shape)),
                                 data=types.SimpleNamespace(ptr=at))


def test_a_product(module, said):
    module.gemm(matrix(FAR, 5, 3), matrix(FAR + 4096, 3, 7), matrix(FAR + 8192, 5, 7))
    assert said() == (f"0x7ffe12345678 0 0 7 5 3 1 {FAR + 4096:#x} 0 7 {FAR:#x} 0 3 0 {FAR + 8192:#x} 0 7 68 -1").split()


def test_a_product_times_a_number_is_added_to_what_is_there(module, said):
    module.gemm(matrix(FAR, 5, 3), matrix(FAR + 4096, 3, 7), matrix(FAR + 8192, 5, 7), add=True, scale=1 / 4)
    assert said() == (f"0x7ffe12345678 0 0 7 5 3 0.25 {FAR + 4096:#x} 0 7 {FAR:#x} 0 3 1 {FAR + 8192:#x} 0 7 68 -1").split()


def test_products_of_a_batch(module, said):
    """Distances are counted in numbers, and may be larger than a C int."""
    given = matrix(FAR, 2, 5, 3, far=2**34), matrix(FAR + 4096, 2, 3, 7, far=84), matrix(FAR + 8192, 2, 5, 7, far=140)
    module.gemm_batched(*given)
    assert said() == (f"0x7ffe12345678 0 0 7 5 3 1 {FAR + 4096:#x} 0 7 21 {FAR:#x} 0 3 {2**32} 0 {FAR + 8192:#x} 0 7 35 "
                      "2 68 -1").split()


def test_what_cublas_refuses_is_said_in_words(module, said):
    given = matrix(FAR, 3, 5, 3, far=60), matrix(FAR, 3, 3, 7, far=84), matrix(FAR, 3, 5, 7, far=140)
    with pytest.raises(RuntimeError, match=r"the requested functionality is not supported \(CUBLAS_STATUS_NOT_SUPPORTED\)"):
        module.gemm_batched(*given)


def test_sums_of_nothing_are_zero(module):
    """Of matrices without columns, whose addresses are none; cuBLAS is not asked."""
    out = standin.empty((2, 3), np.float32)
    module.gemm(standin.empty((2, 0), np.float32), standin.empty((0, 3), np.float32), out)
    assert (out.get() == 0).all()


@pytest.mark.parametrize("name", ["libcublas.so.13", "cublas64_13.dll", ""])
def test_where_the_library_is(module, name):
    """That of CuPy's CUDA, which CuPy loads; there may be another one beside it."""
    def load(asked):
        if asked != name and "12" not in asked:
            raise OSError(asked)
        return asked

    module.ctypes = types.SimpleNamespace(CDLL=load)
    if name:
        assert module.cublas_library() == name
    else:
        with pytest.raises(RuntimeError, match=r'no libcublas.so.13 nor cublas64_13.dll; pip install "cupy-cuda13x\[ctk\]"'):
            module.cublas_library()
