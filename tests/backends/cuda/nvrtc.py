"""NVRTC by ctypes: CUDA C++ compiled with CuPy's options, without a driver or a device."""

import ctypes
import re
import site
from pathlib import Path

OPTIONS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")
PLACES = ("nvidia/cu13/lib/libnvrtc.so.13", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12")


def library():
    """The path of the library of a wheel, or None."""
    return next((p for folder in site.getsitepackages() for place in PLACES if (p := Path(folder) / place).exists()), None)


class Nvrtc:
    """The compiler."""

    def __init__(self, path):
        for builtins in sorted(path.parent.glob("libnvrtc-builtins.so.*")):      # which it does not find by itself
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(path))

    def compile(self, text, architecture):
        """Whether the text compiles, and what the compiler says."""
        call, program, size = self.library, ctypes.c_void_p(), ctypes.c_size_t()
        call.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
        options = (f"-arch={architecture}", *OPTIONS)
        status = call.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*(o.encode() for o in options)))
        call.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        call.nvrtcGetProgramLog(program, log)
        call.nvrtcDestroyProgram(ctypes.byref(program))
        return status == 0, log.value.decode()


USED = re.compile(r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
                  r"(\d+) bytes spill loads.*?Used (\d+) registers(?:, used \d+ barriers)?"
                  r"(?:, (\d+) bytes cumulative stack size)?(?:, (\d+) bytes smem)?", re.S)


def resources(log):
    """Of each kernel: stack frame, spilled bytes, registers, bytes of shared memory."""
    return {m[1]: (int(m[2]), int(m[3]) + int(m[4]), int(m[5]), int(m[7] or 0)) for m in USED.finditer(log)}


def complaints(log):
    """Lines that say that something is odd."""
    return [line for line in log.split("\n") if re.search(r"\b(warning|error)\b", line) and not line.startswith("ptxas info")]
