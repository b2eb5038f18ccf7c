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
                has, cuda = int(cp.cuda.Device().compute_capability) / 10, cp.cuda.runtime.runtimeGetVersion() // 1000
                if has >= (7.5 if cuda >= 13 else 7.0):
                    raise
                raise RuntimeError(f"kernels need a GPU of compute capability 7.0 or more, with CUDA 13 of 7.5 or more; this one "
                                   f"has {has}, and CuPy is that for CUDA {cuda}") from e
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


def shares(n, threads=256, most=256):
    """How many blocks add up n numbers: one more for 8 numbers of each thread, for meeting costs as much; 256 fill a device."""
    return max(1, min(most, n // (8 * threads)))


def tiles(columns, rows):
    """The grid that adds up rows: a block for 32 columns, with 32 threads for each; several where rows are many."""
    wide = blocks(columns, 32)
    return wide, shares(rows, 32, 256 // max(wide, 1))


def examples(count, most):
    """Blocks of at most so many of `count` examples: the first one and how many; one block where there is none."""
    return [(first, min(most, count - first)) for first in range(0, max(count, 1), most)]


class Parts:
    """Where blocks leave their parts of sums for the last one of them: for each stream, which runs one kernel at a time."""

    def __init__(self):
        self.made = {}

    def places(self):
        """Room for the parts of 16 sums of 32 columns from 256 blocks; how many blocks have come, 0 between kernels."""
        runs = STREAMS.runs()
        if runs not in self.made:
            self.made[runs] = allocated("parts of sums", [(16 * 256 * 32, np.float32), (256, np.uint32)])
            self.made[runs][1].fill(0)
        return self.made[runs]


def cublas_library():
    """The library of matrix products that CuPy uses, wherever it is installed, or the system's."""
    try:
        getattr(cp.cuda, "cublas", None)                         # CuPy loads it now; ctypes finds by its name what is loaded
    except ImportError:
        pass                                                     # CuPy knows of none; the system may
    cuda = cp.cuda.runtime.runtimeGetVersion() // 1000           # that of CuPy: a newer library may need a newer driver
    for name in (f"libcublas.so.{cuda}", f"cublas64_{cuda}.dll"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise RuntimeError(f"matrix products need cuBLAS, and there is no libcublas.so.{cuda} nor cublas64_{cuda}.dll; "
                       f'pip install "cupy-cuda{cuda}x[ctk]" brings it')


class Streams:
    """Streams that record what other streams will run, one for each other stream, which the recorded work then belongs to."""

    def __init__(self):
        self.recorders, self.recorded = {}, {}
        self.thread = ctypes.pythonapi.PyThread_get_thread_ident
        self.thread.restype = ctypes.c_ulong

    def current(self):
        """The device in use and its current stream; pointer 2 is the default stream of each thread, another one in each."""
        device, stream = cp.cuda.runtime.getDevice(), cp.cuda.get_current_stream().ptr
        return (device, stream) if stream != 2 else (device, stream, self.thread())

    def runs(self):
        """The device and the stream that run what is launched now: at once, or when what is recorded is replayed."""
        now = self.current()
        return self.recorded.get(now, now)

    def recorder(self):
        """A stream that records for the current one."""
        now = self.current()
        if now not in self.recorders:
            self.recorders[now] = stream = cp.cuda.Stream(non_blocking=True)
            self.recorded[now[0], stream.ptr] = now
        return self.recorders[now]


class Blas:
    """cuBLAS: a handle for each stream, and a workspace for what one stream runs, so that calls can be captured.

    `products` says how it rounds what it multiplies: not (float32), to 10 bits (tf32), to 7 (bf16); sums are float32.
    """

    def __init__(self, products="float32"):
        self.library, self.handles, self.workspaces = None, {}, {}
        self.computes = {"float32": 68, "tf32": 77, "bf16": 75}[products]          # CUBLAS_COMPUTE_32F, _FAST_TF32, _FAST_16BF
        self.one, self.zero = ctypes.c_float(1), ctypes.c_float(0)

    def ready(self):
        """The handle of the current stream."""
        now = STREAMS.current()
        if now not in self.handles:
            self.handles[now] = self.made(now[1])
        return self.handles[now]

    def made(self, stream):
        """A new handle. What runs at the same time, on several streams, must not share a workspace."""
        self.library = self.library or cublas_library()
        runs, handle = STREAMS.runs(), ctypes.c_void_p()
        if runs not in self.workspaces:
            self.workspaces[runs], = allocated("the workspace of matrix products", [(32 << 20, np.uint8)])
        at, size = self.workspaces[runs].data.ptr, self.workspaces[runs].nbytes
        self.check(self.library.cublasCreate_v2(ctypes.byref(handle)))
        self.check(self.library.cublasSetStream_v2(handle, ctypes.c_void_p(stream)))          # takes the workspace away
        self.check(self.library.cublasSetWorkspace_v2(handle, ctypes.c_void_p(at), ctypes.c_size_t(size)))
        return handle

    def check(self, status):
        """Refuse what cuBLAS refuses."""
        if status:
            name, text = self.library.cublasGetStatusName, self.library.cublasGetStatusString
            name.restype = text.restype = ctypes.c_char_p
            raise RuntimeError(f"a matrix product fails: {text(status).decode()} ({name(status).decode()})")


def matrix(a):
    """Whether a matrix lies transposed; its address, its type for cuBLAS (CUDA_R_32F), how far its rows are from each other."""
    rows, columns = a.shape[-2:]
    outer, inner = (n // a.itemsize for n in a.strides[-2:])
    turned, far = (False, outer) if columns == 1 or inner == 1 else (True, inner)
    if turned and rows > 1 and outer != 1:
        raise ValueError(f"no matrix for cuBLAS: shape {a.shape}, strides {a.strides}")
    return int(turned), ctypes.c_void_p(a.data.ptr), 0, max(far, rows if turned else columns, 1)


def matrices(a):
    """The same of a batch of matrices, and the distance from one to the next."""
    return *matrix(a), ctypes.c_longlong(a.strides[0] // a.itemsize)


def gemm(a, b, out, add=False, scale=1):
    """out = scale * a @ b, or out += scale * a @ b, for views of matrices."""
    multiply("cublasGemmEx", matrix, a, b, out, add, scale)


def gemm_batched(a, b, out, add=False, scale=1):
    """The same for each matrix of a batch."""
    multiply("cublasGemmStridedBatchedEx", matrices, a, b, out, add, scale, out.shape[0])


def multiply(function, operand, a, b, out, add, scale, *count):
    """out = scale * a @ b, or out += that: cuBLAS, whose matrices stand column by column, computes out.T = b.T @ a.T."""
    if out.size == 0 or a.shape[-1] == 0:                        # no numbers, or sums of none
        return None if add else out.fill(0)
    (ta, *left), (tb, *right), (_, *result) = operand(a), operand(b), operand(out)
    (m, n), k, handle = out.shape[-2:], a.shape[-1], BLAS.ready()
    by, keep = ctypes.byref(ctypes.c_float(scale)), ctypes.byref(BLAS.one if add else BLAS.zero)
    BLAS.check(getattr(BLAS.library, function)(
        handle, tb, ta, n, m, k, by, *right, *left, keep, *result, *count, BLAS.computes, -1))       # CUBLAS_GEMM_DEFAULT


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
    """Arrays, or a dict of them, on the device: real numbers as float32, whole ones as int64; without a copy where they are."""
    if isinstance(arrays, dict):
        return type(arrays)({k: to_device(v) for k, v in arrays.items()})
    some_device()
    there = isinstance(arrays, cp.ndarray) or hasattr(arrays, "__cuda_array_interface__")    # of another library
    a = cp.asarray(arrays) if there else np.asarray(arrays)
    kinds = {"f": np.float32, "i": np.int64, "u": np.int64, "b": bool}
    if a.dtype.kind not in kinds:
        raise TypeError(f"only arrays of numbers go to the device, not {a.dtype}")
    a = a if there else at_rest(np.asarray(a, kinds[a.dtype.kind], order="C"))
    try:
        return cp.asarray(a, kinds[a.dtype.kind], order="C")     # ascontiguousarray would make a row of one number
    except MemoryError:
        free = cp.cuda.runtime.memGetInfo()[0]
    raise MemoryError(f"an array of shape {a.shape} does not fit into the {free / 1e6:.1f} MB of the device that are free")


def some_device():
    """Refuse a machine without a GPU, or without a driver that CuPy can use."""
    try:
        count, why = cp.cuda.runtime.getDeviceCount(), "CuPy finds none"
    except RuntimeError as e:
        count, why = 0, str(e)
    if count == 0:
        raise RuntimeError(f"this module runs on an NVIDIA GPU with its driver ({why}); a module for NumPy or for C needs none")


def at_rest(a):
    """An array of NumPy that nobody writes: of pinned memory a copy, for the device reads that later, when it comes to it."""
    pinned = a.size and cp.cuda.runtime.pointerGetAttributes(a.ctypes.data).type == cp.cuda.runtime.memoryTypeHost
    return a.copy() if pinned else a


def allocated(what, counts):
    """New arrays of these (shape, dtype). MemoryError says what all of them take, and what there is."""
    try:
        return [cp.empty(shape, dtype) for shape, dtype in counts]
    except MemoryError:
        want = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in counts)
    free = cp.cuda.runtime.memGetInfo()[0]
    raise MemoryError(f"no room for {what}: {want / 1e6:.1f} MB are wanted, and {free / 1e6:.1f} MB of the device are free; "
                      "take a smaller batch or shorter sequences")


def countable(name, n):
    """Refuse more elements than kernels count in int, with the last step of their threads."""
    if n > 2**31 - 2**20:
        raise ValueError(f"{name} of {n} elements is too large: kernels count to {2**31 - 2**20}; take a smaller batch")


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
        self.moved = 0                                           # how often buffers were made: a graph knows where they are

    @staticmethod
    def of(given, state=None):
        """The one that a caller gives, that of its state, or a new one."""
        found = given or getattr(state, "workspace", None) or Workspace()
        if not isinstance(found, Workspace):
            raise TypeError(f"workspace must be one that this module's Workspace() makes, not {type(found).__name__}")
        return found

    def reserve(self, name, counts):
        """Flat arrays of at least these (size, dtype), the same ones as long as they suffice."""
        have = self.memory.setdefault(name, [])
        if len(have) < len(counts) or any(a.size < n or a.dtype != dtype for a, (n, dtype) in zip(have, counts)):
            self.views.pop(name, None)
            have.clear()                                         # what is too small makes room
            self.moved += 1
            try:
                for n, _ in counts:
                    countable("an array", n)
                have += allocated(f"the buffers of {name}", counts)
            except (MemoryError, ValueError):
                self.keys.pop(name, None)                        # nothing is there for the call that failed
                raise
        return have

    def gradients(self, params, names):
        """Arrays for the gradients of these parameters."""
        shapes = [params[k].shape for k in names]
        if self.keys.get("d") != shapes:
            self.views["d"] = dict(zip(names, allocated("gradients", [(shape, np.float32) for shape in shapes])))
            self.keys["d"] = shapes
            self.moved += 1
        return self.views["d"]


def constant(workspace, value):
    """A number on the device, made once."""
    made = workspace.views.setdefault("constants", {})
    if value not in made:
        made[value] = to_device(value)
    return made[value]


def update_arrays(params, grads, state, names, slots):
    """What an update works on: each parameter, its gradient and its slots."""
    for k in names:
        for s in slots:
            if f"{s}.{k}" not in state:
                raise KeyError(f"state has no {f'{s}.{k}'!r}: init_state makes it")
            if state[f"{s}.{k}"].shape != params[k].shape:
                raise ValueError(f"state[{f'{s}.{k}'!r}] must have the shape {params[k].shape}, not {state[f'{s}.{k}'].shape}: "
                                 "init_state makes it for these parameters")
    return [a for k in names for a in (params[k], grads[k], *(state[f"{s}.{k}"] for s in slots))]
