"""CUDA C++ on the CPU: the text, unchanged, compiled by g++ and run on arrays of NumPy.

The threads of a block run one after the other in an order of choice, and switch where they wait for each other. Found are
barriers that only a part of the threads reaches, shuffles that read absent lanes, shared memory that is read before it is written
(it begins as NaN), arguments of the wrong type, and, by UBSan, indices out of bounds, misaligned addresses and overflows.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
FLAGS = ["-std=c++17", "-fPIC", "-shared", "-fno-strict-aliasing", "-fno-stack-protector", "-Wno-attributes",
         "-Wno-return-local-addr"]
CHECKS = ["-fsanitize=bounds,alignment,shift,signed-integer-overflow,integer-divide-by-zero,null",
          "-fsanitize-undefined-trap-on-error"]
ENTRY = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(')
FORWARD, BACKWARD, SHUFFLED = 0, 1, 2                            # orders of threads


class KernelError(RuntimeError):
    """What a launch does wrong."""


class Options(ctypes.Structure):
    """How a launch runs."""

    _fields_ = (("seed", ctypes.c_ulonglong), ("order", ctypes.c_int), ("strict", ctypes.c_int), ("cooperative", ctypes.c_int),
                ("flush", ctypes.c_int))


def compiler():
    """The path of g++, or None."""
    return shutil.which("g++")


def built(source, flags, folder, suffix):
    """The shared library of a source, compiled once."""
    key = hashlib.sha256("\0".join([source, *flags, (HERE / "kernel.h").read_text()]).encode()).hexdigest()[:24]
    target = Path(folder) / f"{key}.so"
    if not target.exists():
        text, made = target.with_suffix(suffix), Path(folder) / f"{key}.{os.getpid()}"
        text.write_text(source)
        done = subprocess.run([compiler(), *FLAGS, *flags, str(text), "-o", str(made)], capture_output=True, text=True)
        if done.returncode:
            raise KernelError(f"g++ cannot compile the kernels\n{done.stderr}")
        os.replace(made, target)
    return target


class Module:
    """The kernels of a text; `checked`: with UBSan's traps."""

    def __init__(self, text, folder, checked=False):
        scheduler = built((HERE / "scheduler.cpp").read_text(), ["-O2"], folder, ".cpp")
        ctypes.CDLL(str(scheduler), mode=ctypes.RTLD_GLOBAL)
        self.names = ENTRY.findall(text)
        exports = "".join(f"CUH_EXPORT({n})\n" for n in self.names)
        source = f'#line 1 "kernels.cu"\n{text}\n#line 1 "exports"\n{exports}'
        flags = ["-O1", "-Wl,-Bsymbolic", "-include", str(HERE / "kernel.h"), *(CHECKS if checked else [])]
        self.library = ctypes.CDLL(str(built(source, flags, folder, ".cpp")))

    def get_function(self, name):
        """A kernel."""
        return Function(self.library, name)


class Function:
    """A kernel: called with a grid, a block and arguments."""

    def __init__(self, library, name):
        self.name, self.call = name, getattr(library, f"cuh_launch_{name}")
        signature = getattr(library, f"cuh_sig_{name}")
        signature.restype = ctypes.c_char_p
        self.signature = [x for x in signature().decode().split(",") if x]
        self.order, self.seed = FORWARD, 1

    def packed(self, args):
        """The arguments as CuPy hands them over: whole numbers as 8 bytes, scalars of NumPy as theirs, arrays by address."""
        if len(args) != len(self.signature):
            raise KernelError(f"{self.name}: {len(args)} arguments for {len(self.signature)} parameters {self.signature}")
        return [self.one(k, a, kind) for k, (a, kind) in enumerate(zip(args, self.signature, strict=True))]

    def one(self, k, a, kind):
        """One argument, checked against its parameter's type."""
        pointer = "P" in kind
        wanted = kind.split("P")[-1]
        if isinstance(a, np.ndarray) != pointer:
            raise KernelError(f"{self.name}: parameter {k} is {kind}, the argument {type(a).__name__}")
        if pointer:
            if a.dtype.kind + str(a.dtype.itemsize) != wanted:
                raise KernelError(f"{self.name}: parameter {k} points to {wanted}, the array holds {a.dtype}")
            if not a.flags.c_contiguous:
                raise KernelError(f"{self.name}: parameter {k}: the array is not contiguous")
            return ctypes.c_void_p(a.ctypes.data)
        value = np.int64(a) if type(a) is int else np.float64(a) if type(a) is float else a
        if value.dtype.kind + str(value.dtype.itemsize) != wanted:
            raise KernelError(f"{self.name}: parameter {k} is {wanted}, and {a!r} is packed as {value.dtype}")
        return ctypes.create_string_buffer(value.tobytes(), 16)

    def __call__(self, grid, block, args):
        """Run all threads."""
        held = self.packed(args)
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(x) for x in held))
        three = [(ctypes.c_uint * 3)(*(*x, 1, 1, 1)[:3]) for x in (grid, block)]
        message, switches = ctypes.create_string_buffer(600), ctypes.c_ulonglong()
        how = Options(self.seed, self.order, 1, 0, 1)
        if self.call(*three, ctypes.c_size_t(0), pointers, ctypes.byref(how), message, ctypes.c_size_t(600),
                     ctypes.byref(switches)):
            raise KernelError(f"{self.name}: {message.value.decode()}")
