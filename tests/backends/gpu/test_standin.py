"""The stand-in for CuPy and for cuBLAS: what they do as on a device, and what they refuse."""

import ctypes
import itertools

import numpy as np
import pytest
from gpu import host, programs, standin
from gpu.cublas import Cublas
from gpu.standin import Refused

TEXT = 'extern "C" __global__ void twice(float *x, int n) { if (threadIdx.x < n) x[threadIdx.x] *= 2; }'


@pytest.fixture
def cp():
    return standin.cupy()


def test_memory_begins_as_nan(cp):
    assert np.isnan(cp.empty((4, 3), np.float32).get()).all()


@pytest.mark.parametrize("work", [
    lambda cp, a: cp.empty(3), lambda cp, a: cp.asarray(np.zeros(3)), lambda cp, a: a.transpose(1, 0).reshape(12),
    lambda cp, a: a[np.array([0, 1])]], ids=("float64", "float64 sent", "a copy", "indexing by arrays"))
def test_what_is_refused(cp, work):
    with pytest.raises(Refused):
        work(cp, cp.zeros((4, 3), np.float32))


@pytest.mark.parametrize("work", [
    lambda cp, a: np.tanh(a), lambda cp, a: a * a, lambda cp, a: np.asarray(a), lambda cp, a: a.set(np.zeros((4, 3))),
    lambda cp, a: a.__setitem__(0, np.zeros(3, np.float32))],
    ids=("NumPy's functions", "arithmetic", "NumPy's arrays", "another type", "an assignment of NumPy's"))
def test_what_has_no_form(cp, work):
    with pytest.raises(TypeError):
        work(cp, cp.zeros((4, 3), np.float32))


def test_other_functions_of_cupy_are_not_there(cp):
    for name in ("tanh", "random", "matmul", "ones", "add"):
        assert not hasattr(cp, name)


@pytest.mark.parametrize("work", [
    lambda cp, a: cp.empty(3, np.float32), lambda cp, a: a.get(), lambda cp, a: a.copy(), lambda cp, a: float(a[0, 0]),
    lambda cp, a: a.set(np.zeros((4, 3), np.float32)), lambda cp, a: cp.cuda.get_current_stream().synchronize()],
    ids=("allocation", "a transfer", "a copy", "a number", "inputs", "waiting"))
def test_what_is_refused_while_capturing(cp, work):
    a = cp.zeros((4, 3), np.float32)
    with cp.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture(cp.cuda.runtime.streamCaptureModeThreadLocal)
        with pytest.raises(Refused, match="captures"):
            work(cp, a)
        with pytest.raises(RuntimeError, match="invalidated"):
            stream.is_capturing()
        with pytest.raises(RuntimeError, match="Invalidated"):
            stream.end_capture()
    assert not stream.is_capturing()


@pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
@pytest.mark.parametrize("work", [
    lambda cp, k, a: cp.RawModule(code=TEXT).get_function("twice"), lambda cp, k, a: k((1,), (32,), (a, np.int32(4))),
    lambda cp, k, a: a.fill(1), lambda cp, k, a: a.__setitem__(..., a.T), lambda cp, k, a: a.__iadd__(a)],
    ids=("a module", "a kernel", "a fill", "a copy that changes strides", "a sum"))
def test_code_is_loaded_before_a_capture(cp, work):
    """A kernel of the module or of CuPy's own that runs for the first time; afterwards it is captured."""
    kernel, a = cp.RawModule(code=TEXT).get_function("twice"), cp.zeros((4, 4), np.float32)
    with cp.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture(cp.cuda.runtime.streamCaptureModeThreadLocal)
        a.fill(0)                                                # bytes are set, bytes are copied
        a[:2] = a[2:]
        with pytest.raises(Refused, match="captures"):
            work(cp, kernel, a)
        with pytest.raises(RuntimeError, match="Invalidated"):
            stream.end_capture()
        if work(cp, kernel, a) in (None, a):
            stream.begin_capture(cp.cuda.runtime.streamCaptureModeThreadLocal)
            work(cp, kernel, a)
            stream.end_capture()


@pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
@pytest.mark.parametrize(("grid", "block"), [((2**31,), (32,)), ((1, 65536), (32,)), ((1,), (64, 32)), ((1,), (1, 1, 65))])
def test_launches_that_no_device_takes(cp, grid, block):
    kernel, a = cp.RawModule(code=TEXT).get_function("twice"), cp.zeros(4, np.float32)
    with pytest.raises(RuntimeError, match="INVALID_VALUE: twice: a grid"):
        kernel(grid, block, (a, np.int32(4)))


def test_shared_memory_is_asked_for(cp):
    """A kernel that has not asked for more than 48 KB is resident nowhere with more."""
    resident, kernel = cp.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor, cp.RawModule(code=TEXT).get_function("twice")
    assert resident(kernel.kernel.ptr, 256, 50000) == 0
    kernel.max_dynamic_shared_size_bytes = 50000
    assert resident(kernel.kernel.ptr, 256, 50000) == 1


def test_arrays_are_made_as_cupy_makes_them(cp):
    """The order of strides is kept unless another one is wanted, one number becomes a row, another device's array is copied."""
    turned = cp.asarray(np.ones((2, 3), np.float32).T)
    assert turned.strides == (4, 12) and cp.asarray(turned) is turned
    assert cp.asarray(turned, np.float32, order="C").flags.c_contiguous and cp.asarray(turned, np.int64).strides == (8, 24)
    assert cp.ascontiguousarray(cp.asarray(np.float32(1))).shape == (1,)
    standin.SETTINGS.device = 1
    assert cp.asarray(turned).device.id == 1


def test_a_stream_belongs_to_a_device(cp):
    stream = cp.cuda.Stream(non_blocking=True)
    standin.SETTINGS.device = 1
    with pytest.raises(RuntimeError, match="does not match with the current device"):
        stream.__enter__()


@pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
def test_what_is_captured_runs_when_it_is_launched(cp):
    kernel, a = cp.RawModule(code=TEXT).get_function("twice"), cp.asarray(np.ones(4, np.float32))
    with cp.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        kernel((1,), (32,), (a, np.int32(4)))
        graph = stream.end_capture()
    assert (a.get() == 1).all()
    graph.launch()
    graph.launch()
    assert (a.get() == 4).all()
    del a
    with pytest.raises(Refused, match="freed"):
        graph.launch()


def product(a, b, out, /, **changed):
    """out = a @ b, row by row, as column by column of the transposed ones; some arguments changed."""
    one, zero, n = ctypes.c_float(1), ctypes.c_float(0), ctypes.c_longlong
    (m, k), columns = a.shape[-2:], b.shape[-1]
    given = {"ta": 0, "tb": 0, "m": columns, "n": m, "k": k, "alpha": ctypes.byref(one), "a": ctypes.c_void_p(b.data.ptr),
             "lda": columns, "sa": n(k * columns), "b": ctypes.c_void_p(a.data.ptr), "ldb": k, "sb": n(m * k),
             "beta": ctypes.byref(zero), "c": ctypes.c_void_p(out.data.ptr), "ldc": columns, "sc": n(m * columns),
             "count": len(a)}
    library, handle, workspace = Cublas(), ctypes.c_void_p(), standin.empty(64, np.uint8)
    library.cublasCreate_v2(ctypes.byref(handle))
    library.cublasSetStream_v2(handle, ctypes.c_void_p(0))
    library.cublasSetWorkspace_v2(handle, ctypes.c_void_p(workspace.data.ptr), ctypes.c_size_t(64))
    return library.cublasSgemmStridedBatched(handle, **{**given, **changed})


def test_products_are_numpys(cp):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=s).astype(np.float32) for s in ((2, 3, 4), (2, 4, 5)))
    a, b, out = cp.asarray(x), cp.asarray(y), cp.empty((2, 3, 5), np.float32)
    assert product(a, b, out) == 0
    np.testing.assert_allclose(out.get(), x @ y, rtol=1e-5)
    half = ctypes.c_float(0.5)
    product(a, b, out, alpha=ctypes.byref(half), beta=ctypes.byref(half))
    np.testing.assert_allclose(out.get(), x @ y, rtol=1e-5)


@pytest.mark.parametrize(("changed", "said"), [
    ({"sa": 20}, "32 bits"), ({"a": 4096}, "32 bits"), ({"m": np.int64(5)}, "a number"), ({"count": 3}, "no allocation"),
    ({"lda": 50}, "no allocation")])
def test_products_that_are_refused(cp, changed, said):
    a, b, out = (cp.zeros(s, np.float32) for s in ((2, 3, 4), (2, 4, 5), (2, 3, 5)))
    with pytest.raises(Refused, match=said):
        product(a, b, out, **changed)


def test_products_in_place_are_refused(cp):
    a = cp.zeros((1, 4, 4), np.float32)
    with pytest.raises(Refused, match="overlaps"):
        product(a, a, a)


def test_columns_of_one_array_do_not_overlap(cp):
    a = cp.zeros((4, 8), np.float32)
    one = cp.zeros((1, 4, 4), np.float32)
    left = a.reshape(1, 4, 8)[:, :, :4]
    right = a[:, 4:]
    assert product(left, one, right, ldb=8, ldc=8, m=4) == 0


def test_a_distance_below_the_rows_is_a_status(cp):
    a, b, out = (cp.zeros(s, np.float32) for s in ((2, 3, 4), (2, 4, 5), (2, 3, 5)))
    assert product(a, b, out, lda=2) != 0


def test_only_cublas_is_a_library():
    with pytest.raises(Refused):
        standin.Ctypes().CDLL("libm.so.6")


def laid(cp, shape, order):
    """An array of this shape whose dims stand in memory in this order, each with room beside it; and what it holds."""
    rng = np.random.default_rng(0)
    held = cp.asarray(rng.normal(size=[2 * shape[d] if j < len(shape) - 1 else shape[d] for j, d in enumerate(order)])
                      .astype(np.float32))
    view = held[tuple(slice(0, shape[d]) for d in order)].transpose(*(order.index(k) for k in range(len(shape))))
    return view, view.get()


@pytest.mark.parametrize("sizes", list(itertools.product((1, 3), (1, 4), (1, 5))), ids=str)
def test_products_of_views_are_numpys(cp, sizes):
    """A generated module's own: of matrices and of batches, either operand transposed, rows apart, dims of one element."""
    module, (m, k, n) = programs.loaded(programs.case("attention").source), sizes
    for gemm, batch, orders in ((module.gemm, (), ((0, 1), (1, 0))),
                                (module.gemm_batched, (2,), ((0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1)))):
        for left, right in itertools.product(orders, orders):
            (a, x), (b, y) = laid(cp, (*batch, m, k), left), laid(cp, (*batch, k, n), right)
            for out in (cp.empty((*batch, m, n), np.float32), laid(cp, (*batch, m, n), orders[0])[0]):
                gemm(a, b, out)
                np.testing.assert_allclose(out.get(), x @ y, rtol=1e-4, atol=1e-5, err_msg=f"{left} {right}")
