"""Helpers of modules for a GPU: launches, matrix products, arrays on the device. A module carries those that it uses.

Where one has the name of a helper for NumPy, it stands in its place.
"""

import ctypes

import numpy as np

cp = None                                                        # a module imports cupy as cp


class Kernels:
    """The kernels in CUDA C++, compiled for the device at the first launch."""

    def __init__(self, text):
        self.text, self.module, self.functions = text, None, {}

    def function(self, name):
        """A kernel, ready to be launched."""
        if name not in self.functions:
            self.module = self.module or cp.RawModule(code=self.text, options=("-std=c++17",))
            try:
                self.functions[name] = self.module.get_function(name)
            except Exception as e:
                major = int(cp.cuda.Device().compute_capability[:-1])
                if major >= 7:
                    raise
                raise RuntimeError(f"kernels need a GPU of compute capability 7.0 or more; this one has {major}.x") from e
        return self.functions[name]


def launch(name, blocks, threads, *args):
    """Launch a kernel on the current stream; whole numbers go as int."""
    grid = blocks if isinstance(blocks, tuple) else (blocks,)
    if min(grid) > 0:
        given = tuple(np.int32(a) if type(a) is int else a for a in args)
        KERNELS.function(name)(grid, threads if isinstance(threads, tuple) else (threads,), given)


def blocks(n, per):
    """How many blocks n pieces of work take."""
    return -(-n // per)


def cublas_library():
    """The library of matrix products that CuPy uses, wherever it is installed, or the system's."""
    try:
        getattr(cp.cuda, "cublas", None)                         # CuPy loads it now; ctypes finds by its name what is loaded
    except ImportError:
        pass                                                     # CuPy knows of none; the system may
    for name in ("libcublas.so.13", "libcublas.so.12", "cublas64_13.dll", "cublas64_12.dll"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise RuntimeError("matrix products need cuBLAS, and there is no libcublas.so.13 or .12; install cupy-cuda13x[ctk]")


class Blas:
    """cuBLAS on the current stream, with a workspace of its own, so that its calls can be captured.

    `products` says how it rounds what it multiplies: not (float32), to 10 bits (tf32), to 7 (bf16); sums are float32.
    """

    def __init__(self, products="float32"):
        self.handle, self.stream = None, None
        self.computes = {"float32": 68, "tf32": 77, "bf16": 75}[products]          # CUBLAS_COMPUTE_32F, _FAST_TF32, _FAST_16BF

    def ready(self):
        """The handle, for the current stream."""
        if self.handle is None:
            self.library, self.handle = cublas_library(), ctypes.c_void_p()
            self.workspace = cp.empty(32 << 20, np.uint8)
            self.one, self.zero = ctypes.c_float(1), ctypes.c_float(0)
            self.check(self.library.cublasCreate_v2(ctypes.byref(self.handle)))
        stream = cp.cuda.get_current_stream().ptr
        if stream != self.stream:                                # a new stream takes the workspace away
            self.check(self.library.cublasSetStream_v2(self.handle, ctypes.c_void_p(stream)))
            self.check(self.library.cublasSetWorkspace_v2(
                self.handle, ctypes.c_void_p(self.workspace.data.ptr), ctypes.c_size_t(self.workspace.nbytes)))
            self.stream = stream
        return self.handle

    @staticmethod
    def check(status):
        """Refuse what cuBLAS refuses."""
        if status:
            raise RuntimeError(f"cuBLAS gives status {status}")


def matrix(a):
    """Whether a matrix lies transposed, how far its rows are from each other, its address, its distance to the next matrix."""
    rows, columns = a.shape[-2:]
    outer, inner = (n // a.itemsize for n in a.strides[-2:])
    step = a.strides[0] // a.itemsize if a.ndim == 3 else 0
    turned, far = (False, outer) if columns == 1 or inner == 1 else (True, inner)
    if turned and rows > 1 and outer != 1:
        raise ValueError(f"no matrix for cuBLAS: shape {a.shape}, strides {a.strides}")
    return turned, max(far, rows if turned else columns, 1), ctypes.c_void_p(a.data.ptr), step


def gemm(a, b, out):
    """out = a @ b for views of matrices, or of batches of them: row by row, so that cuBLAS computes out.T = b.T @ a.T."""
    if out.size == 0:
        return
    (ta, la, pa, sa), (tb, lb, pb, sb), (_, lo, po, so) = matrix(a), matrix(b), matrix(out)
    (m, k), n, handle = a.shape[-2:], b.shape[-1], BLAS.ready()
    library, one, zero = BLAS.library, ctypes.byref(BLAS.one), ctypes.byref(BLAS.zero)
    real, how = 0, (BLAS.computes, -1)  # CUDA_R_32F; CUBLAS_GEMM_DEFAULT
    if out.ndim == 2:
        BLAS.check(library.cublasGemmEx(
            handle, int(tb), int(ta), n, m, k, one, pb, real, lb, pa, real, la, zero, po, real, lo, *how))
        return
    sb, sa, so = map(ctypes.c_longlong, (sb, sa, so))
    BLAS.check(library.cublasGemmStridedBatchedEx(
        handle, int(tb), int(ta), n, m, k, one, pb, real, lb, sb, pa, real, la, sa, zero, po, real, lo, so, out.shape[0], *how))


def sort_keys(workspace, keys, n, classes):
    """The places of classes in their order, those of one class in the order in which they stand: by digits of 8 bits."""
    parts = blocks(n, 1024)
    counts, order, other = workspace.reserve("sort", [(256 * parts, np.int32), (n, np.int32), (n, np.int32)])
    for shift in range(0, max((classes - 1).bit_length(), 1), 8):
        launch("count_digits", parts, 256, keys, order, n, shift, counts)
        launch("add_up", 1 if n else 0, 1024, counts, 256 * parts)
        launch("place_digits", parts, 256, keys, order, other, n, shift, counts)
        order, other = other, order
    return order


# ---------------------------------------------------------------- arrays

def to_device(arrays):
    """Arrays of NumPy, or a dict of them, on the device: real numbers as float32, whole ones as int64."""
    if isinstance(arrays, dict):
        return type(arrays)({k: to_device(v) for k, v in arrays.items()})
    if isinstance(arrays, cp.ndarray):
        return arrays
    a = np.asarray(arrays)
    kinds = {"f": np.float32, "i": np.int64, "u": np.int64, "b": bool}
    if a.dtype.kind not in kinds:
        raise TypeError(f"only arrays of numbers go to the device, not {a.dtype}")
    try:
        return cp.asarray(np.ascontiguousarray(a, kinds[a.dtype.kind]).reshape(a.shape))
    except MemoryError:
        free = cp.cuda.runtime.memGetInfo()[0]
    raise MemoryError(f"an array of shape {a.shape} does not fit into the {free / 1e6:.1f} MB of the device that are free")


def to_host(arrays):
    """Arrays of the device, or a dict of them, as NumPy's. ValueError says what was wrong with inputs on the device."""
    CHECKS.say()
    if isinstance(arrays, (dict, tuple)):
        pairs = {k: to_host(v) for k, v in arrays.items()} if isinstance(arrays, dict) else map(to_host, arrays)
        return dict(pairs) if isinstance(arrays, dict) else tuple(pairs)
    return cp.asnumpy(arrays) if isinstance(arrays, cp.ndarray) else arrays


def seeds(seed):
    """The seed and the step of random numbers, on the device."""
    both = seed if isinstance(seed, tuple) else (seed, 0)
    return tuple(x if isinstance(x, cp.ndarray) else cp.asarray(np.array([(int(x) + 2**63) % 2**64 - 2**63])) for x in both)


class Workspace:
    """The buffers of one caller on the device: made at the first call, grown when larger inputs come by."""

    def __init__(self):
        self.memory, self.keys, self.views = {}, {}, {}

    def reserve(self, name, counts):
        """Flat arrays of at least these (size, dtype), the same ones as long as they suffice."""
        have = self.memory.setdefault(name, [])
        del have[len(counts):]
        for k, (count, dtype) in enumerate(counts):
            if count >= 2**31:
                raise ValueError(f"an array of {count} elements is too large: kernels count to {2**31 - 1}; take a smaller batch")
            if k == len(have) or have[k].size < count or have[k].dtype != dtype:
                have[k:k + 1] = [self.made(name, counts, have, count, dtype)]
        return have

    @staticmethod
    def made(name, counts, have, count, dtype):
        """A new array. MemoryError says what all of them take, and what there is."""
        try:
            return cp.empty(count, dtype)
        except MemoryError:
            want = sum(n * np.dtype(kind).itemsize for n, kind in counts)
            free = cp.cuda.runtime.memGetInfo()[0] + sum(a.nbytes for a in have)
        raise MemoryError(f"the buffers of {name} take {want / 1e6:.1f} MB, and {free / 1e6:.1f} MB of the device are free; "
                          "take a smaller batch or shorter sequences")

    def constant(self, value):
        """A number on the device, made once."""
        if value not in self.views.setdefault("constants", {}):
            self.views["constants"][value] = to_device(value)
        return self.views["constants"][value]

    def gradients(self, params, names):
        """Arrays for the gradients of these parameters."""
        if self.keys.get("d") != [(params[k].shape, params[k].dtype) for k in names]:
            self.keys["d"] = [(params[k].shape, params[k].dtype) for k in names]
            self.views["d"] = {k: cp.empty(params[k].shape, params[k].dtype) for k in names}
        return self.views["d"]


def update_arrays(params, grads, state, names, slots):
    """What an update works on: each parameter, its gradient and its slots."""
    for k in names:
        for s in slots:
            if f"{s}.{k}" not in state:
                raise KeyError(f"state has no {f'{s}.{k}'!r}: init_state makes it")
    return [a for k in names for a in (params[k], grads[k], *(state[f"{s}.{k}"] for s in slots))]
