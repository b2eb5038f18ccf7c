"""A model compiled to C: the NumPy module's functions, whose work is done by a library that the system's compiler made."""

from __future__ import annotations

import ctypes
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...compiler.passes.naming import identifier
from ...compiler.program import Draw, flat
from ..cpu.module import ModulePrinter
from ..cpu.program import Program
from . import blas
from .build import NoCompiler, library
from .function import NativeFunction
from .prelude import prelude

HERE = Path(__file__).parent


class NativePrinter(ModulePrinter):
    """The module around the native functions."""

    Function = NativeFunction


class NativeProgram(Program):
    """A program whose `_gradients`, `_predict` and `_evaluate` run in C; `c` is their text."""

    backend = "native"
    Printer = NativePrinter

    @cached_property
    def c(self) -> str:
        """The C text of every function."""
        sizes = "".join(f"    {k} = {v},\n" for k, v in self.system.sizes.items())
        parts = list[str]()
        if any(isinstance(s, Draw) for f in self.compiled.functions.values() for s in flat(f.body)):
            parts.append((HERE / "random.c").read_text(encoding="utf-8"))
        parts += [(HERE / "blas.c").read_text(encoding="utf-8"), f"enum {{\n{sizes}}};\n" if sizes else ""]
        parts += [p.c() for p in self.printers.values()]  # type: ignore[attr-defined]
        text = "\n".join(parts)
        return f"{prelude(text)}\n{text}"

    @cached_property
    def libraries(self) -> dict[str, Any]:
        return {}

    def library(self, dtype: str) -> Any:
        """The loaded library for a type."""
        if dtype not in self.libraries:
            flags = ("-DLANES", *(("-DDOUBLE",) if dtype == "float64" else ()))
            found = library(self.c, identifier(self.system.name), flags)
            address = blas.product(dtype)
            if address is None:
                raise NoCompiler("NumPy brings no BLAS with 64-bit sizes that C can call")
            found.use_gemm(ctypes.c_void_p(address))
            self.libraries[dtype] = found
        return self.libraries[dtype]

    @property
    def module(self) -> Any:
        fresh = self._module is None
        out = super().module
        if fresh:
            out.__dict__["native"] = self.call
        return out

    def call(self, name: str, dtype: Any, arrays: list[Any], numbers: list[int], seed: Any = None) -> None:
        """Run one function of the library."""
        held = [a if a.flags.c_contiguous else np.ascontiguousarray(a) for a in map(np.asarray, arrays)]
        if seed is not None:
            s, step = seed if isinstance(seed, tuple) else (seed, 0)
            numbers = [*numbers, _word(s), _word(step)]
        pointers = (ctypes.c_void_p * len(held))(*(a.ctypes.data for a in held))
        values = (ctypes.c_int64 * len(numbers))(*map(int, numbers))
        function = getattr(self.library(np.dtype(dtype).name), name)
        function.restype = None
        function(pointers, values)


def _word(n: Any) -> int:
    """Any integer modulo 2**64, as a signed one."""
    n = int(n) % 2**64
    return n - 2**64 if n >= 2**63 else n
