"""How convolutions are computed, as text: for each the way, why, and what every way was estimated to cost."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ...compiler.formulas import arrivals, formula
from ...compiler.formulas.calls import written
from ...compiler.formulas.terms import name
from ...compiler.formulas.text import to_text
from ...compiler.passes.convolution import Choice
from ...compiler.passes.schedule import Schedule
from ...compiler.system import System


def ways(plan: Schedule, system: System) -> Iterator[str]:
    """A line for each convolution and its adjoints; nothing where there is none."""
    if plan.choices:
        yield "    convolutions, by the estimated milliseconds of 64 examples:"
    for c in plan.choices.values():
        costs = ", ".join(f"{way} {1e3 * t:.3g}" for way, t in sorted(c.costs.items(), key=lambda x: x[1]))
        yield f"        {_call(c, system)}: {c.way}, {_why(c)} ({costs})"


def _call(c: Choice, system: System) -> str:
    words = [system.names.get(a) or formula(a, system.names, limit=8, inline=arrivals(system)) for a in c.call.operands]
    return to_text(written(c.call, [name(w) for w in words]))


def _why(c: Choice) -> str:
    """What speaks for the way."""
    k = [x.k.value or 0 for x in c.call.lines]
    examples = f"{c.block} example{'s' if c.block > 1 else ''} at a time"
    match c.way:
        case "whole":
            return "its windows are kept for the gradient" if c.shared else "all windows at once"
        case "blocks":
            return f"windows of {examples} fit the cache"
        case "rows":
            return f"{k[-1]} copies of the image instead of {prod(k)}, {examples}"
        case "direct":
            return "no window is copied"
        case "each":
            return f"every channel has a kernel of its own, {examples}"
    return "one element: the image as it stands"
