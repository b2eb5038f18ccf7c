"""`lengths t`: examples have their own lengths along an axis. The functions then require them, as the input `lengths_t`."""

from __future__ import annotations

from ...compiler.node import base
from ...compiler.system import System, lengths_input
from . import syntax as s
from .scope import AxisName, Context, Lost, Poisoned, Scope, suggest


def declare_lengths(ctx: Context, scope: Scope, statements: tuple[s.Statement, ...]) -> None:
    """All `lengths` lines of a body, after its inputs have declared the axes; the axes in alphabetical order."""
    for x in statements:
        if isinstance(x, s.Axis) and x.keyword == "lengths":
            try:
                _declare(ctx, scope, x)
            except Poisoned:
                pass
    ctx.system.lengths = tuple(sorted(ctx.system.lengths))
    ctx.system.inputs.update((f"lengths_{a}", lengths_input(a)) for a in ctx.system.lengths)


def _declare(ctx: Context, scope: Scope, x: s.Axis) -> None:
    if scope.hidden:
        ctx.fail(scope, x, "the lengths of examples are declared in a model, not in a fragment")
    found = scope.find(x.name)
    if isinstance(found, Lost):
        raise Poisoned
    if not isinstance(found, AxisName):
        ctx.fail(scope, x, f"there is no time axis `{x.name}`", hint=suggest(x.name, Scope(scope.source), scope.axes())
                 or (f"an input declares it: input x[{x.name}, D], or time {x.name}" if x.name[:1].islower() else
                     "a time axis has a lower-case name; its length is the same letter in upper case"))
    if base(found.axis) != found.axis:
        ctx.fail(scope, x, f"`{x.name}` is a second name of {base(found.axis)}, and as long", (found, "it is declared here"),
                 hint=f"write lengths {base(found.axis)}")
    if found.axis in ctx.system.lengths:
        ctx.fail(scope, x, f"`lengths {x.name}` stands here twice")
    ctx.system.lengths = (*ctx.system.lengths, found.axis)


def lengths_text(system: System) -> list[str]:
    """The lines that declare a system's lengths."""
    return [f"lengths {axis}" for axis in system.lengths]


def own_inputs(system: System) -> list[str]:
    """The inputs that the model itself declares: all but the lengths."""
    return [k for k in system.inputs if not any(system.inputs[k] is lengths_input(a) for a in system.lengths)]
