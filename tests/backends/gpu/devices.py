"""The stand-in's device: memory that ends, streams that run at once or keep what they capture, graphs."""

import threading
import weakref
from dataclasses import dataclass, field

import numpy as np
from gpu import host

RELAXED = 2                                                      # a capture may allocate memory, which ends before the graph
ALIGNED = 512                                                    # bytes: CuPy's allocations


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
    """How kernels run: the order of threads, whether undefined behaviour traps; `watch` is given each launch, and runs it.

    `loaded`: the kernels of CuPy's own whose code is on a device, with that device.
    """

    order: int = host.FORWARD
    trapped: bool = False
    captures: bool = True
    watch: object = None
    device: int = 0
    memory: int = 1 << 40
    count: Count = field(default_factory=Count)
    loaded: set = field(default_factory=set)


SETTINGS = Settings()


LIVE = weakref.WeakSet()                                         # allocations
LOCK = threading.RLock()                                         # kernels run one at a time, whichever thread launches them


class Memory:
    """One allocation."""

    def __init__(self, size):
        whole = np.full(size + ALIGNED, 0xFF, np.uint8)
        start = -whole.ctypes.data % ALIGNED
        self.bytes = whole[start:start + size]
        self.address, self.device = self.bytes.ctypes.data, SETTINGS.device
        with LOCK:
            LIVE.add(self)


def free():
    """How many bytes of the device nobody has."""
    with LOCK:
        return SETTINGS.memory - sum(m.bytes.size for m in LIVE)


def there(what, memory):
    """Refuse memory of another device than that in use."""
    if memory.device != SETTINGS.device:
        raise Refused(f"{what} of device {memory.device}, and device {SETTINGS.device} is in use")
    return memory


def allocation(address, size):
    """The allocation that holds these bytes. Refused where none does."""
    with LOCK:
        found = [m for m in LIVE if m.address <= address and address + size <= m.address + m.bytes.size]
    if found:
        return there("memory", found[0])
    raise Refused(f"{size} bytes at {address:#x} are in no allocation of the device")


class Stream:
    """A stream: what it is given runs at once, or is kept while it captures."""

    def __init__(self, null=False, non_blocking=False):
        self.kept, self.non_blocking, self.ptr, self.before, self.spoiled = None, non_blocking, 0 if null else id(self), [], False
        self.device = None if null else SETTINGS.device

    def __enter__(self):
        if self.device not in (None, SETTINGS.device):
            raise RuntimeError(f"The device that the stream is created on ({self.device}) does not match with the current device "
                               f"({SETTINGS.device})")
        self.before.append(current())
        THREAD.stream = self
        return self

    def __exit__(self, *error):
        THREAD.stream = self.before.pop()

    def begin_capture(self, mode=RELAXED):
        self.mode = mode
        if self.kept is not None:
            raise RuntimeError("cudaErrorIllegalState: the operation cannot be performed in the present state")
        if not self.non_blocking:
            raise Refused("only a stream that is non-blocking can capture")
        if not SETTINGS.captures:
            raise Refused("this device captures nothing")
        self.kept, self.spoiled = [], False

    def is_capturing(self):
        if self.kept is not None and self.spoiled:
            raise RuntimeError("the stream was capturing, but an error has invalidated the capture sequence")
        return self.kept is not None

    def end_capture(self):
        graph, self.kept = Graph(self.kept), None
        if self.spoiled:
            raise RuntimeError("cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture")
        return graph

    def synchronize(self):
        not_captured("waiting for the device")

    def run(self, work, memories):
        """Now, or in the graph, which holds addresses and keeps no memory alive."""
        if self.kept is None:
            with LOCK:
                work()
        else:
            self.kept.append((work, [weakref.ref(m) for m in memories if m is not None]))


Stream.null, THREAD = Stream(null=True), threading.local()


def current():
    """The current stream of this thread."""
    return getattr(THREAD, "stream", Stream.null)


class Graph:
    """What a stream captured."""

    def __init__(self, work):
        self.work = work

    def __del__(self):
        """Destroying a graph is not permitted while the thread captures, and spoils what it captures."""
        stream = current()
        if stream.kept is not None and stream.mode != RELAXED:
            stream.spoiled = True

    def upload(self, stream=None):
        pass

    def __reduce__(self):
        raise TypeError("no default __reduce__ due to non-trivial __cinit__")

    def launch(self, stream=None):
        if (stream or current()).ptr != current().ptr:
            raise Refused("a graph launched into another stream than the current one: nothing orders it after what came before")
        SETTINGS.count.replayed += 1
        for work, memories in self.work:
            if any(m() is None for m in memories):
                raise Refused("a captured launch uses memory that has been freed since")
            with LOCK:
                work()


def not_captured(what, relaxed=False):
    """Refuse it while a stream captures, which spoils the capture; `relaxed`: not if that is allowed."""
    if current().kept is not None and not (relaxed and current().mode == RELAXED):
        current().spoiled = True
        raise Refused(f"{what} while the stream captures")


def loaded(what, where):
    """A kernel's first launch on a device loads its code there: refused while a stream captures. `where` remembers."""
    if (what, SETTINGS.device) not in where:
        not_captured(f"the first launch of {what}", True)
        where.add((what, SETTINGS.device))
