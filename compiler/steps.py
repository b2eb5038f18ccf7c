"""The functions of one step: `start`, `step`, and the draw of `generate`, through the stages of every other function.

    stepped(system)     system -> the functions as statements; NoSteps, one sentence, where a system has no steps
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .graph import Broadcast, Const, Extent, Input
from .node import BATCH, base
from .passes.evaluation import evaluation
from .passes.finish import finish
from .passes.layout import Layout, layout
from .passes.lengths import masked
from .passes.lower import lower
from .passes.pack import joined, pack, split
from .passes.preactivations import name_preactivations
from .passes.schedule import schedule
from .passes.simplify import simplify
from .passes.stabilise import stabilise
from .passes.stepping import NoSteps, Stepping, stepping
from .program import Function
from .system import System, lengths_input


@dataclass
class Steps:
    """A system's steps: what they are, and each function's system, statements and layout; `explained` is all steps at once."""

    plan: Stepping
    explained: System
    systems: dict[str, System] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    layouts: dict[str, Layout] = field(default_factory=dict)


def stepped(system: System) -> Steps:
    """The functions `start`, `step` and, with a feedback, `draw`."""
    explained = masked(stabilise(evaluation(single(system))))
    plan = stepping(split(simplify(explained)))
    out = Steps(plan, simplify(explained))
    _function(out, "start", plan.start, [*plan.before.values()])
    _function(out, "step", plan.step, [*plan.outputs, *plan.after.values()])
    if plan.draw is not None:
        _function(out, "draw", plan.draw, [*plan.draw.equations])
    return out


def single(system: System) -> System:
    """The system whose examples have no lengths along the axis that it steps along: a step is a step of every example."""
    axis = system.feedback.axis if system.feedback is not None else None
    gone = [a for a in system.lengths if axis in (None, a)]
    inputs = {k: i for k, i in system.inputs.items() if k not in {lengths_input(a).name for a in gone}}
    return system.copy(lengths=tuple(a for a in system.lengths if a not in gone), inputs=inputs)


def _function(out: Steps, name: str, system: System, roots: list[str]) -> None:
    """One function: simplified, packed, laid out and lowered; its results are fresh arrays."""
    system, packs = pack(simplify(name_preactivations(system)))
    system = finish(system)
    if packs:
        system = system.rewrite(joined(packs))
    own = [k for k in system.equations if name == "step" and k not in roots]       # every equation is a value of its own
    lay = layout(schedule(system, {k: system.equations[k] for k in (*own, *roots)}))
    function = Function(name, body=list(lower(lay, system.names)))
    for key in roots:
        e = system.resolve(system.equations[key])
        inner = e.args[0] if isinstance(e, Broadcast) else e
        if isinstance(inner, (Const, Extent)):
            function.numbers[key] = e
        else:
            function.results[key] = lay.access(e, None)
    read = {n.name for n in lay.plan.order if isinstance(n, Input)}
    function.inputs = tuple(k for k in system.inputs if k in read)
    function.axes = tuple(sorted({base(x) for n in lay.plan.order for x in n.axes if x != BATCH} | {out.plan.axis}))
    out.systems[name], out.functions[name], out.layouts[name] = system, function, lay


__all__ = ["NoSteps", "Steps", "stepped"]
