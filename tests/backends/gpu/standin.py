"""A stand-in for CuPy in which a generated module runs on the CPU: what such modules may use and nothing else, and stricter.

Kernels are the module's own text (`gpu.host`), cuBLAS is `gpu.cublas`. New memory is NaN. Refused are float64 arrays, operations
that are not below, and, while a stream captures, allocation, transfers and reads by the host. What is captured does not run until
the graph is launched, and then only where its arrays are still alive. `Count` counts what costs time on a device.
"""

import ctypes
import math
import types
import weakref

import numpy as np
from gpu import host
from gpu.devices import LOCK, SETTINGS, Graph, Memory, Refused, Stream, allocation, current, free, loaded, not_captured, there

STATIC = 48 << 10                                                # bytes of dynamic shared memory that nobody need ask for
GRID, BLOCK, THREADS = (2**31 - 1, 65535, 65535), (1024, 1024, 64), 1024
ARGUMENTS = 4096                                                 # bytes


# ---------------------------------------------------------------- arrays

class Pointer:
    """Where an array begins."""

    def __init__(self, a):
        self.array, self.ptr = a, a.held.ctypes.data

    def copy_from_device_async(self, source, nbytes, stream):
        """Bytes as they stand; both arrays are dense and of one type."""
        to, given = self.array, source.array
        dense = to.flags.c_contiguous and given.flags.c_contiguous
        if not dense or to.dtype != given.dtype or not to.nbytes == given.nbytes == nbytes:
            raise Refused("a copy of bytes between arrays of other kinds")
        SETTINGS.count.launched += 1
        stream.run(lambda: np.copyto(to.held, given.held.reshape(to.shape)), [to.memory, given.memory])


class ndarray:
    """An array of the device."""

    def __init__(self, memory, held, own=True):
        if own and held.dtype == np.float64:
            raise Refused("a float64 array: programs for a GPU compute in float32")
        self.own, self.memory, self.held, self.device = own, memory, held, types.SimpleNamespace(id=memory.device)

    shape, dtype, ndim, size, nbytes, strides, itemsize, flags = (
        property(lambda a, k=k: getattr(a.held, k))
        for k in ("shape", "dtype", "ndim", "size", "nbytes", "strides", "itemsize", "flags"))
    data = property(lambda a: Pointer(a))
    T = property(lambda a: a._view(a.held.T))
    __cuda_array_interface__ = property(lambda a: {"shape": a.shape, "typestr": a.dtype.str, "data": (a.data.ptr, False),
                                                   "strides": a.strides, "version": 3})

    def _view(self, held):
        if held.size and not np.shares_memory(held, self.held):
            raise Refused("a view that copies")
        return ndarray(self.memory, held, self.own)

    def __len__(self):
        return len(self.held)

    def reshape(self, *shape):
        return self._view(self.held.reshape(*shape))

    def ravel(self):
        return self._view(self.held.reshape(-1))

    def transpose(self, *axes):
        return self._view(self.held.transpose(*axes))

    def swapaxes(self, a, b):
        return self._view(self.held.swapaxes(a, b))

    def view(self, dtype):
        return self._view(self.held.view(dtype))

    def __getitem__(self, key):
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(k, (ndarray, np.ndarray, list)) for k in parts):
            raise Refused("indexing by arrays")
        return self._view(self.held[parts if ... in parts else (*parts, ...)])

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray):
            raise TypeError("an array of NumPy is not assigned to one of the device; use set()")
        to, given = self[key].held, value.held if isinstance(value, ndarray) else value
        alike = isinstance(value, ndarray) and (to.shape, to.strides, to.dtype) == (given.shape, given.strides, given.dtype)
        if not (alike and to.flags.c_contiguous):                # else a copy of bytes
            loaded(f"CuPy's copy of {getattr(given, 'dtype', 'a number')} to {to.dtype}", SETTINGS.loaded)
        SETTINGS.count.launched += 1
        current().run(lambda: np.copyto(to, given), [self.memory, getattr(value, "memory", None)])

    def __add__(self, other):                                    # of sums over chunks of time
        if not isinstance(other, ndarray):
            return NotImplemented
        out = self.copy()
        out += other
        return out

    def __iadd__(self, other):
        loaded(f"CuPy's sum of {self.dtype} and {other.dtype}", SETTINGS.loaded)
        SETTINGS.count.launched += 1
        current().run(lambda: np.add(self.held, other.held, out=self.held), [self.memory, other.memory])
        return self

    def fill(self, value):
        if value != 0 or not self.flags.c_contiguous:            # else bytes are set
            loaded(f"CuPy's fill of {self.dtype}", SETTINGS.loaded)
        SETTINGS.count.launched += 1
        held = self.held
        current().run(lambda: held.fill(value), [self.memory])

    def copy(self):
        out = empty(self.shape, self.dtype)
        out[...] = self
        return out

    def __deepcopy__(self, memo):
        return self.copy()

    def set(self, a, stream=None):
        if not isinstance(a, np.ndarray) or a.dtype != self.dtype or a.shape != self.shape:
            raise TypeError(f"only an array of NumPy of shape {self.shape} and {self.dtype} can be set")
        if not self.flags.c_contiguous and not self.flags.f_contiguous:
            raise RuntimeError("Cannot set to non-contiguous array")
        sent(a)
        self.held[...] = a

    def get(self):
        not_captured("a transfer to the host")
        SETTINGS.count.read += 1
        return self.held.copy()

    def item(self):
        return self.get().item()

    __float__ = __int__ = __bool__ = __index__ = item

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion to a NumPy array is not allowed; use get()")


def empty(shape, dtype=float):
    not_captured("allocation", True)
    SETTINGS.count.made += 1
    shape, dtype = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape), np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    if size > free():
        raise MemoryError("Out of memory allocating")
    memory = Memory(size)
    return ndarray(memory, memory.bytes.view(dtype).reshape(shape))


def empty_like(a):
    """Of what a user gives, also of NumPy, the type and the order of strides are kept."""
    if isinstance(a, ndarray) and a.own:
        return empty(a.shape, a.dtype)
    return given(np.full_like(getattr(a, "held", a), -1))


def zeros_like(a):
    out = empty_like(a)
    out.fill(0)
    return out


def zeros(shape, dtype=float):
    out = empty(shape, dtype)
    out.fill(0)
    return out


def asarray(a, dtype=None, order="K"):
    """Of an array of the device a copy where it has another type, another order of strides, or lies on another device."""
    if isinstance(a, ndarray):
        same = dtype in (None, a.dtype) and (order == "K" or a.flags.c_contiguous) and a.memory.device == SETTINGS.device
        return a if same else laid_out(a.held.astype(dtype or a.dtype, order=order), a.own or dtype is not None)
    if hasattr(a, "__cuda_array_interface__"):                   # of another library, whose memory it stays
        about = a.__cuda_array_interface__
        raw, place = np.dtype(about["typestr"]), about["data"][0]
        memory = allocation(place, int(np.prod(about["shape"])) * raw.itemsize)
        held = memory.bytes[place - memory.address:].view(raw)
        found = ndarray(memory, np.lib.stride_tricks.as_strided(held, about["shape"], about["strides"]), False)
        return asarray(found, dtype, order)
    a = np.asarray(a)
    a = np.asarray(a, dtype, order="F" if order == "K" and a.flags.fnc else "C")
    sent(a)
    return laid_out(a)


def sent(a):
    """An array of NumPy goes to the device."""
    not_captured("a transfer to the device")
    if a.ctypes.data in PINNED:
        raise Refused("a transfer of pinned memory, which its owner may write before it is read")
    SETTINGS.count.sent += 1


def laid_out(a, own=True):
    """A new array of the device, with what an array of NumPy holds, in the order of its strides."""
    if not own:
        return given(a)
    order = sorted(range(a.ndim), key=lambda k: -abs(a.strides[k]))
    out = empty([a.shape[k] for k in order], a.dtype).transpose(*np.argsort(order))
    out.held[...] = a
    return out


def given(a):
    """An array of the device as a user may give it: of any type, its strides those of an array of NumPy."""
    memory = Memory(a.nbytes)
    order = sorted(range(a.ndim), key=lambda k: -abs(a.strides[k]))
    held = memory.bytes.view(a.dtype).reshape([a.shape[k] for k in order]).transpose(np.argsort(order))
    held[...] = a
    return ndarray(memory, held, False)


def broadcast_to(a, shape):
    return a._view(np.broadcast_to(a.held, shape))


def ascontiguousarray(a):
    """As NumPy's, it makes a row of one number."""
    return (a if a.flags.c_contiguous else a.copy()).reshape(a.shape or 1)


# ---------------------------------------------------------------- kernels

PINNED = set()                                                   # addresses of arrays of NumPy in pinned memory
PROCESSORS = 6                                                   # of the device: each keeps one block of a cooperative launch
HANDLES = weakref.WeakValueDictionary()                          # kernels by what the driver knows them by


class RawModule:
    """Kernels, compiled by a C++ compiler."""

    def __init__(self, *, code, options=(), backend="nvrtc", enable_cooperative_groups=False):
        self.code, self.cooperative, self.modules = code, enable_cooperative_groups, {}
        if type(options) is not tuple:
            raise TypeError(f"Argument 'options' has incorrect type (expected tuple, got {type(options).__name__})")

    def kernel(self, name, trapped):
        """The function, with or without traps."""
        if trapped not in self.modules:
            self.modules[trapped] = host.Module(self.code, trapped)
        return self.modules[trapped].get_function(name)

    def get_function(self, name):
        not_captured("compiling kernels", True)
        return RawKernel(self, name)


class RawKernel:
    """A kernel. Arguments are checked at the launch, also while it is captured."""

    def __init__(self, module, name):
        self.module, self.name, self.kernels, self.max_dynamic_shared_size_bytes = module, name, {}, STATIC
        self.loaded = set()                                      # devices
        self.kernel = types.SimpleNamespace(ptr=id(self))
        HANDLES[id(self)] = self

    @staticmethod
    def resident(handle, threads, dynamic):
        """How many blocks a multiprocessor keeps: none of a kernel that has not asked for so much shared memory."""
        return int(dynamic <= HANDLES[handle].max_dynamic_shared_size_bytes and threads <= THREADS)

    def __call__(self, grid, block, args, *, shared_mem=0):
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise Refused(f"{self.name}: {shared_mem} bytes of shared memory, and max_dynamic_shared_size_bytes is "
                          f"{self.max_dynamic_shared_size_bytes}")
        if self.module.cooperative and grid[0] > PROCESSORS:
            raise Refused(f"{self.name}: {grid[0]} blocks that wait for each other, and {PROCESSORS} run at the same time")
        if any(isinstance(a, np.ndarray) for a in args):
            raise TypeError(f"{self.name}: an array of NumPy as a kernel's argument")
        if not (type(grid) is type(block) is tuple and min(*grid, *block, 1) == 1 and max(len(grid), len(block)) <= 3):
            raise Refused(f"{self.name}: a grid {grid} of blocks {block}: both are tuples, and a 0 in them would become 1")
        if any(n > most for n, most in [*zip(grid, GRID), *zip(block, BLOCK)]) or math.prod(block) > THREADS:
            raise RuntimeError(f"CUDA_ERROR_INVALID_VALUE: {self.name}: a grid {grid} of blocks {block}")
        if sum(8 if isinstance(a, ndarray) else np.asarray(a).itemsize for a in args) > ARGUMENTS:
            raise RuntimeError(f"CUDA_ERROR_INVALID_VALUE: {self.name}: more than {ARGUMENTS} bytes of arguments")
        for a in args:
            if isinstance(a, ndarray):
                there(f"{self.name}: an array", a.memory)
        now = SETTINGS
        with LOCK:
            if now.trapped not in self.kernels:
                self.kernels[now.trapped] = self.module.kernel(self.name, now.trapped)
        kernel, given = self.kernels[now.trapped], [a.held if isinstance(a, ndarray) else a for a in args]
        kernel.check(given)
        loaded(self.name, self.loaded)
        now.count.launched += 1

        def work():
            def run():
                kernel(grid, block, given, shared_mem=shared_mem, order=SETTINGS.order, cooperative=self.module.cooperative)

            if SETTINGS.watch:
                SETTINGS.watch(self, grid, block, given, shared_mem, run)
            else:
                run()

        current().run(work, [a.memory for a in args if isinstance(a, ndarray)])


# ---------------------------------------------------------------- the modules

class Ctypes:
    """The standard library's module, whose CDLL finds cuBLAS and nothing else."""

    def __getattr__(self, name):
        return getattr(ctypes, name)

    @staticmethod
    def CDLL(name):
        from gpu.cublas import Cublas
        if "cublas" not in name:
            raise Refused(f"the library {name}")
        return Cublas()


def cupy(order=host.FORWARD, trapped=False, captures=True):
    """The module that stands for `cupy`, and how its kernels run from now on."""
    SETTINGS.__init__(order, trapped, captures)
    out = types.ModuleType("cupy")
    out.__dict__.update(ndarray=ndarray, empty=empty, zeros=zeros, asarray=asarray, ascontiguousarray=ascontiguousarray,
                        broadcast_to=broadcast_to,
                        RawModule=RawModule, asnumpy=lambda a: a.get(), empty_like=empty_like,
                        zeros_like=zeros_like, float32=np.float32, int32=np.int32, int64=np.int64)
    attributes = {"MultiProcessorCount": PROCESSORS, "MaxSharedMemoryPerBlockOptin": 232448, "CooperativeLaunch": 1,
                  "ClockRate": 1500000}
    device = types.SimpleNamespace(
        compute_capability="90", attributes=attributes, synchronize=lambda: current().synchronize())
    out.cuda = types.SimpleNamespace(
        Stream=Stream, Graph=Graph, get_current_stream=current, Device=lambda k=0: device,
        driver=types.SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=RawKernel.resident),
        runtime=types.SimpleNamespace(getDeviceCount=lambda: 1, getDevice=lambda: SETTINGS.device,
                                      runtimeGetVersion=lambda: 13000, streamCaptureModeThreadLocal=1, memoryTypeHost=1,
                                      pointerGetAttributes=lambda address: types.SimpleNamespace(type=int(address in PINNED)),
                                      memGetInfo=lambda: (free(), SETTINGS.memory)))
    return out
