"""`start` and `step` of a standalone C file: one step of every sequence, for generation and for streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...compiler.graph import Input
from ..cpu.steps import slot_name
from .standalone_function import StandaloneFunction

if TYPE_CHECKING:
    from .standalone import StandalonePrinter


def step_functions(printer: StandalonePrinter) -> dict[str, StandaloneFunction]:
    """The printers of both functions, where the model has steps."""
    steps, out = printer.compiled.steps, dict[str, StandaloneFunction]()
    for name in ("start", "step") if steps is not None else ():
        assert steps is not None
        system, lay = steps.systems[name], steps.layouts[name]
        for e, a in lay.arrays.items():
            if isinstance(e, Input):
                a.name = slot_name(e.name)
        out[name] = StandaloneFunction(steps.functions[name], lay, system, system.names, printer.uses, printer.reserved, True,
                                       steps.explained)
    return out


__all__ = ["step_functions"]
