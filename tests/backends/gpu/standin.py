"""A stand-in for CuPy in which a generated module runs on the CPU: what such modules may use and nothing else, and stricter.

Kernels are the module's own text (`gpu.host`), cuBLAS is `gpu.cublas`. New memory is NaN. Refused are float64 arrays, operations
that are not below, and, while a stream captures, allocation, transfers and reads by the host. What is captured does not run until
the graph is launched, and then only where its arrays are still alive. `Count` counts what costs time on a device.
"""

import ctypes
import types
import weakref
from dataclasses import dataclass, field

import numpy as np
from gpu import host

ALIGNED = 512                                                    # bytes: CuPy's allocations
STATIC = 48 << 10                                                # bytes of dynamic shared memory that nobody need ask for


class Refused(RuntimeError):
    """What a module for a GPU may not do."""


@dataclass
class Count:
    """What has been done: memory made, arrays sent to the device, results waited for, kernels and graphs launched."""

    made: int = 0
    sent: int = 0
    read: int = 0
    launched: int = 0
    replayed: int = 0


@dataclass
class Settings:
    """How kernels run: the order of threads, whether undefined behaviour traps; `watch` is given each launch, and runs it."""

    order: int = host.FORWARD
    trapped: bool = False
    captures: bool = True
    watch: object = None
    device: int = 0
    memory: int = 1 << 40
    count: Count = field(default_factory=Count)


SETTINGS = Settings()


# ---------------------------------------------------------------- memory

LIVE = weakref.WeakSet()                                         # allocations


class Memory:
    """One allocation."""

    def __init__(self, size):
        whole = np.full(size + ALIGNED, 0xFF, np.uint8)
        start = -whole.ctypes.data % ALIGNED
        self.bytes = whole[start:start + size]
        self.address = self.bytes.ctypes.data
        LIVE.add(self)


def free():
    """How many bytes of the device nobody has."""
    return SETTINGS.memory - sum(m.bytes.size for m in LIVE)


def allocation(address, size):
    """The allocation that holds these bytes. Refused where none does."""
    for memory in LIVE:
        if memory.address <= address and address + size <= memory.address + memory.bytes.size:
            return memory
    raise Refused(f"{size} bytes at {address:#x} are in no allocation of the device")


class Stream:
    """A stream: what it is given runs at once, or is kept while it captures."""

    def __init__(self, null=False, non_blocking=False):
        self.kept, self.non_blocking, self.ptr, self.before = None, non_blocking, id(self) if non_blocking else 0, []

    def __enter__(self):
        self.before.append(Stream.current)
        Stream.current = self
        return self

    def __exit__(self, *error):
        Stream.current = self.before.pop()

    def begin_capture(self, mode=None):
        if self.kept is not None:
            raise RuntimeError("cudaErrorIllegalState: the operation cannot be performed in the present state")
        if not self.non_blocking:
            raise Refused("only a stream that is non-blocking can capture")
        if not SETTINGS.captures:
            raise Refused("this device captures nothing")
        self.kept = []

    def is_capturing(self):
        return self.kept is not None

    def end_capture(self):
        graph, self.kept = Graph(self.kept), None
        return graph

    def synchronize(self):
        not_captured("waiting for the device")

    def run(self, work, memories):
        """Now, or in the graph, which holds addresses and keeps no memory alive."""
        if self.kept is None:
            work()
        else:
            self.kept.append((work, [weakref.ref(m) for m in memories if m is not None]))


Stream.null = Stream.current = Stream()


class Graph:
    """What a stream captured."""

    def __init__(self, work):
        self.work = work

    def upload(self, stream=None):
        pass

    def launch(self, stream=None):
        SETTINGS.count.replayed += 1
        for work, memories in self.work:
            if any(m() is None for m in memories):
                raise Refused("a captured launch uses memory that has been freed since")
            work()


def not_captured(what):
    if Stream.current.kept is not None:
        raise Refused(f"{what} while the stream captures")


# ---------------------------------------------------------------- arrays

class ndarray:
    """An array of the device."""

    def __init__(self, memory, held):
        if held.dtype == np.float64:
            raise Refused("a float64 array: programs for a GPU compute in float32")
        self.memory, self.held, self.device = memory, held, types.SimpleNamespace(id=SETTINGS.device)

    shape, dtype, ndim, size, nbytes, strides, itemsize, flags = (
        property(lambda a, k=k: getattr(a.held, k))
        for k in ("shape", "dtype", "ndim", "size", "nbytes", "strides", "itemsize", "flags"))
    data = property(lambda a: types.SimpleNamespace(ptr=a.held.ctypes.data))
    T = property(lambda a: a._view(a.held.T))
    __cuda_array_interface__ = property(lambda a: {"shape": a.shape, "typestr": a.dtype.str, "data": (a.data.ptr, False),
                                                   "strides": a.strides, "version": 3})

    def _view(self, held):
        if held.size and not np.shares_memory(held, self.held):
            raise Refused("a view that copies")
        return ndarray(self.memory, held)

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
        to, given = self[key], value
        SETTINGS.count.launched += 1
        Stream.current.run(lambda: np.copyto(to.held, given.held if isinstance(given, ndarray) else given),
                           [to.memory, getattr(given, "memory", None)])

    def __add__(self, other):                                    # of sums over chunks of time
        if not isinstance(other, ndarray):
            return NotImplemented
        out = self.copy()
        out += other
        return out

    def __iadd__(self, other):
        SETTINGS.count.launched += 1
        Stream.current.run(lambda: np.add(self.held, other.held, out=self.held), [self.memory, other.memory])
        return self

    def fill(self, value):
        SETTINGS.count.launched += 1
        held = self.held
        Stream.current.run(lambda: held.fill(value), [self.memory])

    def copy(self):
        out = empty(self.shape, self.dtype)
        out[...] = self
        return out

    def set(self, a, stream=None):
        if not isinstance(a, np.ndarray) or a.dtype != self.dtype or a.shape != self.shape:
            raise TypeError(f"only an array of NumPy of shape {self.shape} and {self.dtype} can be set")
        not_captured("a transfer to the device")
        SETTINGS.count.sent += 1
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
    not_captured("allocation")
    SETTINGS.count.made += 1
    shape, dtype = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape), np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    if size > free():
        raise MemoryError("Out of memory allocating")
    memory = Memory(size)
    return ndarray(memory, memory.bytes.view(dtype).reshape(shape))


def zeros(shape, dtype=float):
    out = empty(shape, dtype)
    out.fill(0)
    return out


def asarray(a, dtype=None):
    if isinstance(a, ndarray):
        if dtype is None or a.dtype == dtype:
            return a
        out = empty(a.shape, dtype)
        np.copyto(out.held, a.held, casting="unsafe")
        return out
    a = np.asarray(a, dtype)
    out = empty(a.shape, a.dtype)
    out.set(a)
    return out


def broadcast_to(a, shape):
    return a._view(np.broadcast_to(a.held, shape))


def ascontiguousarray(a):
    return a if a.flags.c_contiguous else a.copy()


# ---------------------------------------------------------------- kernels

class RawModule:
    """Kernels, compiled by a C++ compiler."""

    def __init__(self, *, code, options=(), backend="nvrtc", enable_cooperative_groups=False):
        self.code, self.cooperative = code, enable_cooperative_groups
        self.modules = {}

    def kernel(self, name, trapped):
        """The function, with or without traps."""
        if trapped not in self.modules:
            self.modules[trapped] = host.Module(self.code, trapped)
        return self.modules[trapped].get_function(name)

    def get_function(self, name):
        return RawKernel(self, name)


class RawKernel:
    """A kernel. Arguments are checked at the launch, also while it is captured."""

    def __init__(self, module, name):
        self.module, self.name, self.kernels, self.max_dynamic_shared_size_bytes = module, name, {}, STATIC

    def __call__(self, grid, block, args, *, shared_mem=0):
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise Refused(f"{self.name}: {shared_mem} bytes of shared memory, and max_dynamic_shared_size_bytes is "
                          f"{self.max_dynamic_shared_size_bytes}")
        if any(isinstance(a, np.ndarray) for a in args):
            raise TypeError(f"{self.name}: an array of NumPy as a kernel's argument")
        now = SETTINGS
        if now.trapped not in self.kernels:
            self.kernels[now.trapped] = self.module.kernel(self.name, now.trapped)
        kernel, given = self.kernels[now.trapped], [a.held if isinstance(a, ndarray) else a for a in args]
        kernel.check(given)
        now.count.launched += 1

        def work():
            def run():
                kernel(grid, block, given, shared_mem=shared_mem, order=SETTINGS.order, cooperative=self.module.cooperative)

            if SETTINGS.watch:
                SETTINGS.watch(self, grid, block, given, shared_mem, run)
            else:
                run()

        Stream.current.run(work, [a.memory for a in args if isinstance(a, ndarray)])


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
                        RawModule=RawModule, asnumpy=lambda a: a.get(), empty_like=lambda a: empty(a.shape, a.dtype),
                        zeros_like=lambda a: zeros(a.shape, a.dtype), float32=np.float32, int32=np.int32, int64=np.int64)
    attributes = {"MultiProcessorCount": 6, "MaxSharedMemoryPerBlockOptin": 232448, "CooperativeLaunch": 1, "ClockRate": 1500000}
    device = types.SimpleNamespace(
        compute_capability="90", attributes=attributes, synchronize=lambda: Stream.current.synchronize())
    out.cuda = types.SimpleNamespace(
        Stream=Stream, Graph=Graph, get_current_stream=lambda: Stream.current, Device=lambda k=0: device,
        runtime=types.SimpleNamespace(getDeviceCount=lambda: 1, getDevice=lambda: SETTINGS.device,
                                      runtimeGetVersion=lambda: 13000,
                                      memGetInfo=lambda: (free(), SETTINGS.memory)))
    return out
