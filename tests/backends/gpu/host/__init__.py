"""CUDA C++ on the CPU: the text, unchanged, compiled by the system's C++ compiler and run on arrays of NumPy.

    kernels = Module(text)
    kernels.get_function("h")((4,), (256,), (x, y, np.int32(1000)))

Of the text only `extern __shared__ T name[];` becomes a pointer, for there is no such array in C++. Each array argument is copied
between closed pages and back, so that an access outside this very argument is found, be it in a larger buffer. Every launch
checks the arguments' number, types, density, and that what is written overlaps nothing else.
"""

import ctypes
import itertools
import math
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from gpu.memory import Fences

HERE = Path(__file__).parent
FORWARD, BACKWARD, SHUFFLED = 0, 1, 2                            # in what order the threads of a block run
ORDERS = {"forward": FORWARD, "backward": BACKWARD, "shuffled": SHUFFLED}
MISSING = "needs a C++ compiler: there is no g++"
FLAGS = ("-std=gnu++17", "-fPIC", "-w", "-fno-strict-aliasing", "-fno-stack-protector", "-fvisibility=hidden",
         "-ffp-contract=off", "-U_FORTIFY_SOURCE")
LEVEL = "KERNELS_ON_HOST"                                        # variable of the environment: how they are optimised
TRAPS = ("-fsanitize=bounds,alignment,shift,signed-integer-overflow,integer-divide-by-zero,float-cast-overflow,bool,null",
         "-fsanitize-undefined-trap-on-error")
ENTRY = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(')
BOUND = re.compile(r"__launch_bounds__\s*\(\s*(\d+)[^)]*\)\s*(\w+)\s*\(")
DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\s*\(\s*\d+\s*\)\s+)?(\w+)\s+(\w+)\s*\[\s*\]\s*;")


class KernelError(RuntimeError):
    """What a kernel, or a launch of it, does wrong."""


class Launch(ctypes.Structure):
    """The scheduler's `Launch`."""

    _fields_ = (("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("dynamic", ctypes.c_size_t),
                ("seed", ctypes.c_uint64), ("order", ctypes.c_int), ("cooperative", ctypes.c_int))


@cache
def compiler():
    """The path of the C++ compiler, or None."""
    return shutil.which("g++")


@cache
def folder():
    """Where libraries are kept, for one run of the tests."""
    held = tempfile.TemporaryDirectory(prefix="kernels")
    folder.held = held
    return Path(held.name)


def compiled(*words):
    """Run the compiler. KernelError, with what it says."""
    made = subprocess.run([compiler(), *FLAGS, *map(str, words)], capture_output=True, text=True)
    if made.returncode:
        raise KernelError(f"the kernels do not compile as C++\n{made.stderr}")


@cache
def header(flags):
    """A folder with `cuda.h`, compiled: it takes longer than the kernels that include it."""
    made = Path(tempfile.mkdtemp(dir=folder()))
    compiled(*flags, "-x", "c++-header", HERE / "cuda.h", "-o", made / "cuda.h.gch")
    return made


@cache
def library(source, flags):
    """The shared library of kernels; they include `cuda.h`."""
    made = Path(tempfile.mkdtemp(dir=folder()))
    (made / "kernels.cpp").write_text(source, encoding="utf-8")
    compiled(*flags, "-shared", "-I", header(flags), "-I", HERE, made / "kernels.cpp", "-o", made / "kernels.so")
    return made / "kernels.so"


@cache
def scheduler():
    """The library that runs threads, whose functions all others call."""
    made = folder() / "scheduler.so"
    compiled("-O2", "-shared", HERE / "scheduler.cpp", "-o", made)
    return ctypes.CDLL(str(made), mode=ctypes.RTLD_GLOBAL)


class Module:
    """The kernels of a text; with `trapped`, undefined behaviour stops them."""

    def __init__(self, text, trapped=False):
        scheduler()
        self.names = ENTRY.findall(text)
        self.most = {name: int(n) for n, name in BOUND.findall(text)}
        body = DYNAMIC.sub(r"\1 *const \2 = (\1 *)on_host::dynamic_shared();", text)
        exports = "".join(f"ON_HOST_EXPORT({name})\n" for name in self.names)
        source = f'#include "cuda.h"\n#line 1 "kernels.cu"\n{body}\n#line 1 "exports"\n{exports}'
        self.library = ctypes.CDLL(str(library(source, (os.environ.get(LEVEL, "-O1"), *(TRAPS if trapped else ())))))

    def get_function(self, name):
        """A kernel."""
        return Kernel(self.library, name, self.most.get(name, 1024))


class Kernel:
    """A kernel: called with a grid, a block and arguments, as CuPy's."""

    def __init__(self, library, name, most):
        self.most, self.name, self.call = most, name, getattr(library, f"on_host_launch_{name}")
        parameters = getattr(library, f"on_host_parameters_{name}")
        parameters.restype = ctypes.c_char_p
        self.parameters = [p for p in parameters().decode().split(",") if p]

    def __call__(self, grid, block, args, *, shared_mem=0, order=FORWARD, seed=1, cooperative=False):
        self.check(args)
        if (threads := math.prod(block)) > self.most:
            raise KernelError(f"{self.name}: a block of {threads} threads; __launch_bounds__ says {self.most} at most")
        how = Launch((*grid, 1, 1)[:3], (*block, 1, 1)[:3], shared_mem, seed, order, cooperative)
        with Fences() as fences:
            held = [ctypes.c_void_p(fences.copy(a)) if isinstance(a, np.ndarray) else ctypes.create_string_buffer(packed(a), 16)
                    for a in args]
            pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(x) for x in held))
            message = ctypes.create_string_buffer(600)
            failed = self.call(ctypes.byref(how), pointers, message, ctypes.c_size_t(len(message)))
            if failed:
                raise KernelError(f"{self.name}: {message.value.decode()}")
            arrays = [k for k, p in enumerate(self.parameters) if "*" in p]
            beside = fences.back([not self.parameters[k].startswith("const") for k in arrays])
            if beside is not None:
                raise KernelError(f"{self.name}: a store beside the array of parameter {arrays[beside]}")

    def check(self, args):
        """Refuse arguments that a device would read as something else. KernelError says which."""
        if len(args) != len(self.parameters):
            raise KernelError(f"{self.name}: {len(args)} arguments for {len(self.parameters)} parameters")
        for k, (a, p) in enumerate(zip(args, self.parameters, strict=True)):
            if wrong := mistake(a, p):
                raise KernelError(f"{self.name}: parameter {k} is {p}, {wrong}")
        arrays = [(k, a) for k, (a, p) in enumerate(zip(args, self.parameters, strict=True)) if "*" in p]
        for (j, a), (k, b) in itertools.combinations(arrays, 2):
            written = not all(self.parameters[n].startswith("const") for n in (j, k))
            if written and np.may_share_memory(a, b):
                raise KernelError(f"{self.name}: parameters {j} and {k} overlap in memory, and one of them is written")


def mistake(a, parameter):
    """What is wrong with an argument, or None."""
    kind = parameter.split("*")[-1]
    if isinstance(a, np.ndarray) != ("*" in parameter):
        return f"the argument {type(a).__name__}"
    if isinstance(a, np.ndarray):
        if kind_of(a) != kind:
            return f"the array holds {a.dtype}"
        return None if a.flags.c_contiguous else f"the array has strides {a.strides}, which a kernel does not see"
    found = np.frombuffer(packed(a), np.uint8).size
    given = "f8" if type(a) is float else "i8" if type(a) is int else kind_of(a)
    return None if given == kind else f"and {a!r} is handed over as {given} of {found} bytes"


def kind_of(a):
    return a.dtype.kind + str(a.dtype.itemsize)


def packed(a):
    """The bytes of a number as CuPy hands it over: Python's own as 8 bytes, NumPy's as they are."""
    return (np.int64(a) if type(a) is int else np.float64(a) if type(a) is float else a).tobytes()
