"""`start`, `step` and `generate` on a GPU, and gradients in chunks of time. What `generate` draws is drawn on the host."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...compiler.graph import Expr, Input
from ...compiler.program import Function
from ..cpu.checkpointing import Checkpointing
from ..cpu.entry import Entry, assigned
from ..cpu.functions import FunctionPrinter, Text
from ..cpu.generation import GenerationPrinter
from ..cpu.steps import StepPrinter, slot_name
from .function import INDENT, CudaFunction
from .kernels import Kernels


class OneStep(CudaFunction):
    """A function of one step: its buffers are made at every call."""

    def body(self, indent: str = INDENT) -> Text:
        """Buffers, launches and products."""
        out = super().body(indent)
        names, lengths = [a.name for _, a in self.buffers()], self.buffer_lengths()
        if names:
            out.lines[:0] = assigned(names, f"_{self.name}_buffers({', '.join(['Workspace()', *lengths, 'dtype'])})")
        return out

    def buffer_lengths(self) -> list[str]:
        """The lengths on which buffers depend."""
        return sorted({s for _, a in self.buffers() for d in a.dims for s in d.symbols} - {*self.system.sizes})


class CudaCheckpointing(Checkpointing):
    """Prints the sweeps over chunks of time: numbers are arrays of the device, and what is made is made there."""

    number = "{}.copy()"

    def text(self) -> list[str]:
        """All functions."""
        made = re.compile(r"\bnp\.(zeros|ones|full|empty_like|zeros_like|broadcast_to)\(")
        return [made.sub(r"cp.\1(", t) for t in super().text()]

    def _value(self, function: Function, key: str) -> str:
        value = super()._value(function, key)
        return f"to_device({value})" if key in function.numbers else value


class CudaSteps(StepPrinter):
    """Prints `start` and `step`."""

    kernels: Kernels

    def print(self) -> list[str]:
        """The functions, and their buffers."""
        self.made: dict[str, OneStep] = {}
        functions = super().print()
        buffers = (Entry(k, self.steps.systems[k], p, self.uses).buffers() for k, p in self.made.items())
        return [*functions, *(b for b in buffers if b)]

    def printer(self, name: str, reserved: tuple[str, ...] = ()) -> FunctionPrinter:
        """That of a step; what `generate` draws is NumPy's."""
        if name == "draw":
            return super().printer(name, reserved)
        system, lay = self.steps.systems[name], self.steps.layouts[name]
        for e, a in lay.arrays.items():
            if isinstance(e, Input):
                a.name = slot_name(e.name)
        taken = (*(w for w in self.reserved if w != self.axis), *reserved)
        self.made[name] = out = OneStep(self.steps.functions[name], lay, system, system.names, self.uses, taken, True,
                                        self.steps.explained)
        out.name, out.kernels = name, self.kernels
        return out

    def dtype(self, given: Mapping[str, str] | None = None) -> str:
        """Never an input's."""
        return super().dtype()

    def number(self, e: Expr) -> str:
        """A constant as an array of the device."""
        return f"to_device({super().number(e)})" if e.dims else super().number(e)

    def _result(self, printer, v, e):  # type: ignore[no-untyped-def]
        return super()._result(printer, v, e).replace("np.broadcast_to", "cp.broadcast_to")

    def _slot(self, key: str, node: Input, name: str, known: set[str]) -> list[str]:
        if key == self.axis:
            return [f'    {name} = to_device(dtype.type(carry["{key}"]))']
        return super()._slot(key, node, name, known)


class CudaGeneration(GenerationPrinter):
    """Prints `generate`: what a draw reads is brought to the host."""

    def loop(self) -> list[str]:
        """Step, draw, and again."""
        read = re.compile(r'(= )((?:outputs|carry)\["[^"]*"\]|params\["[^"]*"\]|\w+\[:, -1\])$|(\()(params\[k\])( for k)')
        return [read.sub(lambda m: f"{m[1]}to_host({m[2]})" if m[1] else f"{m[3]}to_host({m[4]}){m[5]}", line)
                for line in super().loop()]


__all__ = ["CudaCheckpointing", "CudaGeneration", "CudaSteps"]
