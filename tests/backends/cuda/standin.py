"""A stand-in for CuPy in which a generated module runs on the CPU: only what such modules may use, and stricter.

Arrays end at an unmapped page and begin as NaN. Kernels are the module's own text (`on_cpu`). cuBLAS is NumPy behind its C
interface: addresses and distances are followed. While a stream captures, nothing runs: launches are kept, and allocation,
transfers and reads are refused. float64 arrays are refused everywhere.
"""

import ctypes
import mmap
import types

import numpy as np
import on_cpu


class Refused(RuntimeError):
    """What a module for a GPU may not do."""


def guarded(size):
    """Bytes that end at an unmapped page, all ones: NaN as numbers, -1 as integers."""
    n = max(16, -(-size // 16) * 16)
    pages = -(-n // 4096) * 4096
    memory = mmap.mmap(-1, pages + 4096)
    held = (ctypes.c_char * len(memory)).from_buffer(memory)
    ctypes.CDLL(None).mprotect(ctypes.c_void_p(ctypes.addressof(held) + pages), 4096, 0)
    del held
    out = np.frombuffer(memory, np.uint8, n, pages - n)
    out.fill(0xFF)
    return out[:size]


class Stream:
    """A stream: it runs what it is given at once, or keeps it while it captures."""

    current = None

    def __init__(self, null=False, non_blocking=False):
        self.kept, self.non_blocking, self.ptr, self.before = None, non_blocking, id(self) & 0xFFFFFFFF, None

    def __enter__(self):
        self.before, Stream.current = Stream.current, self
        return self

    def __exit__(self, *error):
        Stream.current = self.before

    def begin_capture(self, mode=None):
        if not self.non_blocking:
            raise Refused("only a non-blocking stream can capture")
        self.kept = []

    def end_capture(self):
        graph, self.kept = Graph(self.kept), None
        return graph

    def is_capturing(self):
        return self.kept is not None

    def synchronize(self):
        refuse_capture("synchronize")

    def run(self, work):
        """Now, or in the graph."""
        if self.kept is None:
            work()
        else:
            self.kept.append(work)


Stream.current = Stream()


class Graph:
    """What a stream captured."""

    def __init__(self, work):
        self.work = work

    launched = 0

    def launch(self, stream=None):
        Graph.launched += 1
        for x in self.work:
            x()


def refuse_capture(what):
    if Stream.current.kept is not None:
        raise Refused(f"{what} while the stream captures")


class ndarray:
    """An array of the device."""

    made = 0

    def __init__(self, held):
        if held.dtype == np.float64:
            raise Refused("a float64 array")
        self.held = held

    shape, dtype, ndim, size = (property(lambda a, k=k: getattr(a.held, k)) for k in ("shape", "dtype", "ndim", "size"))
    nbytes, strides = (property(lambda a, k=k: getattr(a.held, k)) for k in ("nbytes", "strides"))
    itemsize, flags = (property(lambda a, k=k: getattr(a.held, k)) for k in ("itemsize", "flags"))
    data = property(lambda a: types.SimpleNamespace(ptr=a.held.ctypes.data))
    T = property(lambda a: ndarray(a.held.T))

    def __len__(self):
        return len(self.held)

    def view(self, held):
        """A view of this array's memory."""
        if held.size and not np.shares_memory(held, self.held):
            raise Refused("a view that copies")
        return ndarray(held)

    def reshape(self, *shape):
        return self.view(self.held.reshape(*shape))

    def transpose(self, *axes):
        return self.view(self.held.transpose(*axes))

    def swapaxes(self, a, b):
        return self.view(self.held.swapaxes(a, b))

    def __getitem__(self, key):
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(k, (ndarray, np.ndarray, list)) for k in parts):
            raise Refused("indexing by arrays")
        return self.view(self.held[(*parts, ...)])

    def __setitem__(self, key, value):
        refuse_capture("an assignment")
        self.held[key] = value.held if isinstance(value, ndarray) else value

    def set(self, a):
        refuse_capture("a transfer to the device")
        if not isinstance(a, np.ndarray) or (a.dtype, a.shape) != (self.dtype, self.shape):
            raise TypeError(f"{type(a).__name__} cannot be set to an array of {self.dtype} {self.shape}")
        self.held[...] = a

    def copy(self):
        refuse_capture("a copy")
        return made(self.held.copy())

    def item(self):
        refuse_capture("reading a number")
        return self.held.item()

    __float__ = __int__ = __bool__ = item

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion to a NumPy array is not allowed; use get()")

    def get(self):
        refuse_capture("a transfer to the host")
        return self.held.copy()


def made(a):
    """A new array of the device with these elements."""
    refuse_capture("allocation")
    ndarray.made += 1
    out = guarded(a.nbytes).view(a.dtype).reshape(a.shape)
    out[...] = a
    return ndarray(out)


def empty(shape, dtype=float):
    refuse_capture("allocation")
    ndarray.made += 1
    shape, dtype = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape), np.dtype(dtype)
    return ndarray(guarded(int(np.prod(shape)) * dtype.itemsize).view(dtype).reshape(shape))


def zeros(shape, dtype=float):
    out = empty(shape, dtype)
    out.held[...] = 0
    return out


def asarray(a, dtype=None):
    if isinstance(a, ndarray):
        return a if dtype is None or a.dtype == dtype else made(a.held.astype(dtype))
    a = np.asarray(a)
    return made(a if dtype is None else a.astype(dtype))


def ascontiguousarray(a):
    return a if a.held.flags.c_contiguous else made(np.ascontiguousarray(a.held))


class RawModule:
    """Kernels, compiled by g++."""

    folder, order, checked = None, on_cpu.FORWARD, False

    def __init__(self, *, code, options=()):
        self.module = on_cpu.Module(code, RawModule.folder, RawModule.checked)

    def get_function(self, name):
        return RawKernel(self.module.get_function(name))


class RawKernel:
    """A kernel."""

    launched = 0

    def __init__(self, function):
        self.function = function

    def __call__(self, grid, block, args, *, shared_mem=0):
        given = [a.held if isinstance(a, ndarray) else a for a in args]
        self.function.packed(given)                              # what is wrong shows at the launch
        RawKernel.launched += 1
        order = RawModule.order

        def work():
            self.function.order = order
            self.function(grid, block, given)
        Stream.current.run(work)


class Cublas:
    """The interface of cuBLAS: matrices column by column, by address."""

    def cublasCreate_v2(self, handle):
        return 0

    def cublasSetStream_v2(self, handle, stream):
        return 0

    def cublasSetWorkspace_v2(self, handle, address, size):
        return 0

    def cublasSgemm_v2(self, handle, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        return self.batched(ta, tb, (m, n, k), (a, lda, 0), (b, ldb, 0), (c, ldc, 0), 1)

    def cublasSgemmStridedBatched(self, handle, ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc, count):
        return self.batched(ta, tb, (m, n, k), (a, lda, sa.value), (b, ldb, sb.value), (c, ldc, sc.value), count)

    def batched(self, ta, tb, sizes, a, b, c, count):
        """c[i] = op(a[i]) @ op(b[i])."""
        m, n, k = sizes
        if a[1] < (k if ta else m) or b[1] < (n if tb else k) or c[1] < m or min(m, n, k) < 0:
            return 7                                             # CUBLAS_STATUS_INVALID_VALUE

        def work():
            for i in range(count):
                x, y = column_major(*a, i, (k, m) if ta else (m, k)), column_major(*b, i, (n, k) if tb else (k, n))
                column_major(*c, i, (m, n))[...] = (x.T if ta else x) @ (y.T if tb else y) if k else 0
        Stream.current.run(work)
        return 0


def column_major(address, distance, step, i, shape):
    """The matrix that lies there, as an array of NumPy."""
    rows, columns = shape
    if rows * columns == 0:
        return np.zeros(shape, np.float32)
    count = (columns - 1) * distance + rows
    flat = np.ctypeslib.as_array((ctypes.c_float * count).from_address(address.value + 4 * step * i))
    return np.lib.stride_tricks.as_strided(flat, shape, (4, 4 * distance))


def cupy(folder, order=on_cpu.FORWARD, checked=False):
    """The module that stands for `cupy`; its kernels are compiled into a folder."""
    RawModule.folder, RawModule.order, RawModule.checked = folder, order, checked
    out = types.ModuleType("cupy")
    out.__dict__.update(ndarray=ndarray, empty=empty, zeros=zeros, asarray=asarray, ascontiguousarray=ascontiguousarray,
                        RawModule=RawModule, asnumpy=lambda a: a.get(), empty_like=lambda a: empty(a.shape, a.dtype),
                        zeros_like=lambda a: zeros(a.shape, a.dtype))
    runtime = types.SimpleNamespace(getDeviceCount=lambda: 1)
    out.cuda = types.SimpleNamespace(Stream=Stream, Graph=Graph, get_current_stream=lambda: Stream.current, runtime=runtime)
    return out
