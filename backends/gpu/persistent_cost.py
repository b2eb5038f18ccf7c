"""Why a loop over time runs in one launch or in many: what the module will decide, for kinds of devices known here.

    for line in reasons(program, examples=32): print(line)
    sm_90, hs: in one launch, 3.3 us a step in 1 x 128 blocks, 6.2 us as 2 launches
"""

from __future__ import annotations

import ast
import re
from typing import Any

from . import persistent_device
from .program import CudaProgram

device: Any = persistent_device                                  # whose text has no types, for modules carry it
MACHINES = {                                                     # a T4, an A100, an H200: from their data sheets
    "sm_75": device.Machine(40, 65536, clock=1.59e9, cache=1.2e12),
    "sm_80": device.Machine(108, 166912, clock=1.41e9, cache=3e12),
    "sm_90": device.Machine(132, 232448, clock=1.98e9, cache=5.5e12),
}
LOOP = re.compile(r'^    "(\w+)": Recurrence(\(.*?\](?:, \d+)?\)),$', re.M | re.S)
STEPS = re.compile(r"^ *# Step by step: (.*)\.$", re.M)


def loops(program: CudaProgram) -> dict[str, Any]:
    """The loops of a program that have a form in one launch."""
    text = program.source.partition("TOGETHER = Together(")[2]
    return {name: device.Recurrence(*ast.literal_eval(given)) for name, given in LOOP.findall(text)}


def reasons(program: CudaProgram, examples: int = 32) -> list[str]:
    """A line for each loop and kind of device; of loops that have no form in one launch, one line each."""
    out = []
    for kind, machine in MACHINES.items():
        for name, loop in loops(program).items():
            shape, said = loop.choice(machine, examples)
            out.append(f"{kind}, {name}: {'in one launch' if shape else 'step by step'}, {said}")
    return [*out, *(f"step by step: {why}" for why in dict.fromkeys(STEPS.findall(program.source)))]


__all__ = ["MACHINES", "loops", "reasons"]
