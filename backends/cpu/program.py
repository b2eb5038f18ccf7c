"""A compiled model: the generated module, loaded, with the module's functions as methods."""

from __future__ import annotations

import linecache
from pathlib import Path
from types import ModuleType
from typing import Any

from ...compiler.pipeline import Compiled, compile_system
from ...compiler.system import System
from .module import Module, ModulePrinter


class Program:
    """A NumPy module printed from a system.

    `source` is its text, `lines` maps every named value to the lines that compute it, `compiled` keeps every stage. The module's
    functions (`init`, `predict`, `evaluate`, `loss_and_grads`, `train_step`, `init_state`, `Workspace`) are attributes.
    """

    backend = "numpy"

    def __init__(self, system: System, dtype: str = "float32", level: int = 1) -> None:
        self.system, self.dtype, self.level = system, dtype, level
        self.compiled: Compiled = compile_system(system)
        printed: Module = ModulePrinter(self.compiled, dtype, level).print()
        self.source, self.lines, self.printers = printed.source, printed.lines, printed.printers
        self._module: ModuleType | None = None

    @property
    def module(self) -> ModuleType:
        """The loaded module; its lines show in tracebacks."""
        if self._module is None:
            name = f"<chainrule {self.system.name}>"
            linecache.cache[name] = (len(self.source), None, self.source.splitlines(keepends=True), name)
            self._module = ModuleType("chainrule_generated")
            exec(compile(self.source, name, "exec"), self._module.__dict__)
        return self._module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(self.module, name):
            raise AttributeError(f"the compiled model has no {name}")
        return getattr(self.module, name)

    def save(self, path: str | Path) -> Path:
        """Write the module; it needs NumPy and nothing else."""
        out = Path(path)
        out.write_text(self.source, encoding="utf-8")
        return out

    def memory_plan(self, function: str = "gradients") -> list[tuple[str, str, int, int, int]]:
        """(name, shape, slot, first statement, last statement) of every buffer of a function."""
        printer = self.printers[function]
        return [(a.name, f"({', '.join(map(str, a.dims))})", i, first, last)
                for i, slot in enumerate(printer.plan.slots) for a, first, last in slot.members]
