"""The module around functions in C: what Python does before and after them, and their text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...compiler.graph import Input
from ...compiler.passes.naming import identifier
from ...compiler.program import Draw, flat
from ..cpu.energies import EnergyPrinter
from ..cpu.entry import Entry
from ..cpu.functions import FunctionPrinter
from ..cpu.module import HELPERS, ModulePrinter
from . import build, calls, threads
from .convolutions import TEXT as SHAPES
from .convolutions import Shapes
from .function import NativeFunction
from .prelude import prelude
from .updates import NativeUpdates
from .words import size_name

HERE = Path(__file__).parent
IMPORTS = """import ctypes
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from operator import is_
from pathlib import Path

import numpy as np
"""
WORDS = ("LIBRARY", "call")


class ParallelFunction(NativeFunction):
    """A function whose work several threads share."""

    parallel = True


class NativePrinter(ModulePrinter):
    """Prints a compiled system as a module whose work is done in C; the C text stands in it."""

    Function = ParallelFunction
    Updates = NativeUpdates
    imports = IMPORTS
    carried = (*HELPERS, build, threads, calls)

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.reserved = (*self.reserved, *WORDS)
        self.uses |= {"Library"}
        self.updates: NativeUpdates | None = None
        self.Updates = self._updates                             # type: ignore[assignment]

    def _updates(self, compiled: Any, uses: set[str]) -> NativeUpdates:
        """The training step: one call in C, where the gradient is one, and its inputs are checked in C."""
        self.updates = NativeUpdates(compiled, uses)
        self.updates.parallel = self.Function.parallel
        self.updates.direct = next((p for p in self.natives if p.prepared), None)
        return self.updates

    def framed(self, name: str, printer: FunctionPrinter, entry: Entry, what: str) -> str:
        """A function, whose statements are printed in C."""
        assert isinstance(printer, NativeFunction)
        printer.prepared = name == "gradients" and self._direct(printer)
        self.uses |= {"Preparing"} if printer.prepared else set()
        return super().framed(name, printer, entry, what)

    @property
    def natives(self) -> list[NativeFunction]:
        """The functions in C: a gradient in chunks of time is several."""
        chunked = "chunk_backward" in self.module.printers
        found = {k: p for k, p in self.module.printers.items() if not (chunked and k == "gradients")}
        return [p for p in found.values() if isinstance(p, NativeFunction)]

    def _direct(self, printer: NativeFunction) -> bool:
        """Whether a training step can prepare the gradient's call: all that changes from step to step are the inputs' values."""
        known = all(printer.values.get(a) is not None for a in printer.arrays() if a.role == "input")
        read = {e for a in printer.arrays() if isinstance(e := printer.values.get(a), Input)}
        return (self.cut is None and self.compiled.chunked is None and not printer.function.free and known
                and {*read} == {self.system.inputs[k] for k in printer.function.inputs}
                and printer.function.results["loss"].array in {v.array for v in printer.kept if not v.array.dims})

    def helpers(self) -> str:
        """The helpers, and the C text."""
        return f'{super().helpers()}\n\nLIBRARY = Library("{identifier(self.system.name)}", r"""{self.c()}""")\n'

    def c(self) -> str:
        """The C text of all functions."""
        sizes = "".join(f"    {size_name(k)} = {v},\n" for k, v in self.system.sizes.items())
        parts = [(HERE / "parallel.c").read_text(encoding="utf-8")]
        if any(isinstance(s, Draw) for p in self.natives for s in flat(p.function.body)):
            parts.append((HERE / "random.c").read_text(encoding="utf-8"))
        parts += [(HERE / "gemm.c").read_text(encoding="utf-8"), f"enum {{\n{sizes}}};\n" if sizes else ""]
        shapes, sections = Shapes(self.system.sizes), dict[str, list[str]]()
        for p in sorted(self.natives, key=_trains):
            p.shapes = shapes
            sections.setdefault("training" if _trains(p) else "use", []).append(p.c())
            head = f"static void {p.name}_share" if p.parallel else f"void {p.name}"
            self.rows[head] = p.rows if p.name in ("gradients", "chunk_backward") else {}
        parts += [SHAPES, shapes.text()] if shapes.names else []
        if self.updates is not None:
            sections.setdefault("training", []).append(self.updates.c())
        for title, found in sections.items():
            parts += [f"/* {8 * '-'} {title} {8 * '-'} */", *found]
        text = "\n".join(parts)
        return f"{prelude(text)}\n{text}"


def _trains(printer: NativeFunction) -> bool:
    """Whether a training step calls a function. These are compiled together, and what only uses a model when it is used."""
    return printer.name in ("gradients", "top") or printer.name.startswith("chunk_")


class NativeEnergyPrinter(NativePrinter, EnergyPrinter):
    """The same of an energy model."""
