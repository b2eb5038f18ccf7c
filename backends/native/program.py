"""A model compiled to C: the module's functions, whose work is done by a library that the system's compiler makes."""

from __future__ import annotations

from typing import Any

from ...compiler.graph import GraphError
from ...compiler.options import Options
from ...compiler.system import System
from ..cpu.program import Program
from .build import NoCompiler
from .module import NativeEnergyPrinter, NativePrinter


class NativeProgram(Program):
    """A program whose functions run in C, except `start`, `step` and `generate`, which are NumPy's.

    `source` is one module with the C text in it; it needs NumPy and a C compiler, and compiles at the first call.
    """

    backend, filename = "native", "model_native.py"
    direct = True
    Printer = NativePrinter
    EnergyPrinter = NativeEnergyPrinter

    def __init__(self, system: System, dtype: str = "float32", level: int = 1, options: Options | None = None) -> None:
        if level == 0:
            raise GraphError("-O0 prints one expression an equation, for reading, which the native backend has no form for; "
                             'the backend "numpy" has')
        super().__init__(system, dtype, level, options)

    @property
    def c(self) -> str:
        """The C text alone."""
        return self.source.partition(', r"""')[2].rpartition('""")')[0]

    @property
    def module(self) -> Any:
        """The loaded module."""
        fresh = self._module is None
        out = super().module
        if fresh:
            out.__dict__["NoCompiler"] = NoCompiler
        return out

    def build(self) -> None:
        """Compile what training needs now, not at the first call. NoCompiler says why that cannot be done."""
        self.module.LIBRARY.function("gradients", self.dtype)
