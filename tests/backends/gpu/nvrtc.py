"""NVIDIA's compiler for kernels (NVRTC) through ctypes: no driver, no device, no CuPy.

    made = compiler().compile(text, "sm_90")         # as CuPy compiles it
    made.kernels["h"].registers, made.complaints, made.ptx

The library comes with the wheel `nvidia-cuda-nvrtc`; figures of registers are those of the pinned version.
"""

import ctypes
import re
import site
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ARCHITECTURES = ("sm_75", "sm_80", "sm_90")
OPTIONS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space")             # what CuPy adds to the module's own
PLACES = ("nvidia/cu13/lib/libnvrtc.so.13", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12")
MISSING = "needs NVIDIA's NVRTC: there is no wheel nvidia-cuda-nvrtc"
REFUSED = 6                                                      # NVRTC_ERROR_COMPILATION


@dataclass(frozen=True)
class Resources:
    """What one kernel takes of a multiprocessor: registers of a thread, bytes of shared memory of a block; bytes on the stack."""

    registers: int
    shared: int
    stack: int
    spilled: int


@dataclass(frozen=True)
class Compiled:
    """A text that compiled: what the compiler said, and what it made of it."""

    log: str
    ptx: str

    @property
    def kernels(self):
        """name -> Resources."""
        return resources(self.log)

    @property
    def complaints(self):
        """Warnings, of both halves of the compiler."""
        return [line for line in self.log.splitlines() if re.search(r"\bwarning\b", line)]


class Refused(RuntimeError):
    """The text does not compile."""


class Compiler:
    """NVRTC."""

    def __init__(self, path):
        for builtins in sorted(path.parent.glob("libnvrtc-builtins.so.*")):      # not found by itself outside a CUDA toolkit
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(path))

    def compile(self, text, architecture, *more):
        """The text for an architecture: sm_90 goes through the assembler, which counts registers; compute_90 gives PTX only."""
        program, options = ctypes.c_void_p(), (f"-arch={architecture}", *OPTIONS, "--ptxas-options=-v", *more)
        self._check(self.library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None))
        try:
            given = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
            status = self.library.nvrtcCompileProgram(program, len(options), given)
            log = self._text(program, "ProgramLog")
            if status == REFUSED:
                raise Refused(log)
            self._check(status)
            return Compiled(log, self._text(program, "PTX"))
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))

    def _text(self, program, what):
        size = ctypes.c_size_t()
        self._check(getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        text = ctypes.create_string_buffer(size.value)
        self._check(getattr(self.library, f"nvrtcGet{what}")(program, text))
        return text.value.decode()

    @staticmethod
    def _check(status):
        if status:
            raise RuntimeError(f"NVRTC gives status {status}")


@cache
def compiler():
    """NVRTC, or None where there is none."""
    paths = (Path(folder) / place for folder in site.getsitepackages() for place in PLACES)
    path = next((p for p in paths if p.exists()), None)
    return path and Compiler(path)


ENTRY = re.compile(r"Compiling entry function '(\w+)'(.*?)(?=Compiling entry function|\Z)", re.S)
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


def resources(log):
    """What the assembler's log says of each kernel, with the functions that it calls. ValueError where it cannot be read."""
    found = {}
    for name, said in ENTRY.findall(log):
        stacks, registers = [tuple(map(int, m)) for m in STACK.findall(said)], re.search(r"Used (\d+) registers", said)
        if not stacks or registers is None:
            raise ValueError(f"the log of {name} cannot be read: {said}")
        shared = re.search(r"(\d+) bytes smem", said)
        spilled = sum(stored + loaded for _, stored, loaded in stacks)
        found[name] = Resources(int(registers[1]), int(shared[1]) if shared else 0, stacks[0][0], spilled)
    return found
