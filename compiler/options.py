"""Compile options: how one system is scheduled. They change what is printed and what memory a step takes, never a value.

    unroll       1 | k | "full"                         how many steps of time a loop's body holds
    steps        the length of a full unroll, the same for every axis that has a loop
    checkpoint   "sqrt" | "every k" | "memory 200MB"    backpropagation through time in chunks, each computed anew going back
    persistent   True | False                           on a GPU: whole loops over time in one launch, where that is faster

Two change values by their rounding, on a GPU, and are off unless asked for:

    products     "float32" | "tf32" | "bf16"            how matrix products round what they multiply
    atomics      False | True                           rows added up by class in any order: not deterministic
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from .graph import GraphError

UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
FULL = "full"
PRODUCTS = ("float32", "tf32", "bf16")


class BadOption(GraphError):
    """A compile option that means nothing, in one sentence."""


@dataclass(frozen=True)
class Checkpoint:
    """How long chunks are: `sqrt` of the sequence's length, `every` amount steps, or what fits into `memory` bytes."""

    kind: str
    amount: int = 0

    def __str__(self) -> str:
        return {"sqrt": "sqrt", "every": f"every {self.amount}", "memory": f"memory {_bytes(self.amount)}"}[self.kind]


@dataclass(frozen=True)
class Options:
    """The schedule that is asked for. BadOption where it makes no sense."""

    unroll: int | str = 1
    steps: int | None = None
    checkpoint: Checkpoint | str | None = None
    persistent: bool = True
    products: str = "float32"
    atomics: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "unroll", _unroll(self.unroll))
        if isinstance(self.checkpoint, str):
            object.__setattr__(self, "checkpoint", read_checkpoint(self.checkpoint))
        if self.products not in PRODUCTS:
            raise BadOption(f"products = {self.products}: write {', '.join(PRODUCTS[:-1])} or {PRODUCTS[-1]}")
        if self.unroll == FULL and self.steps is None:
            raise BadOption("unroll = full writes out every step, so it needs their number: steps = T")
        if self.unroll != FULL and self.steps is not None:
            raise BadOption("steps is the length of a full unroll: it goes with unroll = full")
        if self.steps is not None and self.steps < 1:
            raise BadOption(f"steps = {self.steps}: a sequence that is unrolled has at least one step")
        if self.unroll == FULL and self.checkpoint is not None:
            raise BadOption("a full unroll has no chunks of time: unroll = full and checkpoint exclude each other")

    def over(self, declared: str | None) -> Options:
        """These options, with a model's own checkpoints where none are given."""
        return self if declared is None or self.checkpoint is not None else replace(self, checkpoint=declared)


def _unroll(value: int | str) -> int | str:
    text = str(value).strip()
    if text == FULL:
        return FULL
    if not text.isdigit() or int(text) < 1:
        raise BadOption(f"unroll = {value}: write 1, a number of steps, or full")
    return int(text)


def read_checkpoint(text: str) -> Checkpoint:
    """`sqrt`, `every 50`, `memory 200MB`."""
    words = text.split()
    if words == ["sqrt"]:
        return Checkpoint("sqrt")
    if words[:1] == ["every"] and len(words) == 2 and words[1].isdigit() and int(words[1]) > 0:
        return Checkpoint("every", int(words[1]))
    found = re.fullmatch(r"memory\s+(\d+(?:\.\d+)?)\s*([kmg]i?b)", text.strip(), re.IGNORECASE)
    if found and float(found[1]) > 0:
        return Checkpoint("memory", int(float(found[1]) * UNITS[found[2].lower()]))
    raise BadOption(f"checkpoint = {text}: write sqrt, every 50 (steps), or memory 200MB")


def _bytes(n: int) -> str:
    """A number of bytes as `read_checkpoint` reads it."""
    for unit in ("GB", "MB", "kB"):
        scale = UNITS[unit.lower()]
        if n % scale == 0:
            return f"{n // scale}{unit}"
    return f"{n / 1000:g}kB"
