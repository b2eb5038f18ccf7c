"""The stages for an energy model: each of its functions is a system of its own, compiled like any other.

    gradients              the training objective and its gradient       energy.objective
    statistics             the mean of -dE/dw given v                    energy.statistics
    hidden, visible        the means of one side given the other         energy.conditionals
    free_energy            F(v), per example                             energy.free_energies
    gibbs                  samples after k steps                         energy.gibbs

Input    a `System` with an energy
Output   a `Compiled` of the objective, the other functions in `parts`; `missing` says why a function is not there
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from . import energy
from .passes.finish import finish
from .passes.hoist import hoisted
from .passes.pack import pack, unpacked
from .passes.preactivations import name_preactivations
from .passes.simplify import simplify
from .passes.stabilise import stabilise
from .pipeline import Compiled, backwards, differentiate, lower_function
from .surgery import without_stops
from .system import System

FUNCTIONS: dict[str, Callable[[System], System]] = {
    "hidden": partial(energy.conditionals, side="hidden"), "visible": partial(energy.conditionals, side="visible"),
    "free_energy": energy.free_energies, "gibbs": energy.gibbs}


def compile_energy(system: System) -> Compiled:
    """All functions of an energy model, up to statements."""
    objective = energy.objective(system)
    out = _trained(objective.system.copy(equations={**objective.system.equations, **{
        f"new {k}": e for k, e in objective.chain.items()}}))
    train = out.differentiated
    assert train is not None
    out.model, out.chain = system, tuple(objective.chain)
    roots = {"loss": train.equations["loss*"], **{f"d_{k}": e for k, e in backwards(out).items()},
             **{k: train.equations[f"new {k}"] for k in out.chain}}
    lower_function(out, "gradients", train, roots, tuple(k for k in roots if k != "loss"), out.trained)
    every = replace(system.training, freeze=())
    found = out.parts["statistics"] = _trained(energy.statistics(system).copy(penalties=(), training=every))
    assert found.differentiated is not None
    roots = {f"d_{k}": e for k, e in backwards(found).items()}
    lower_function(found, "statistics", found.differentiated, roots, tuple(roots))
    for name, derive in FUNCTIONS.items():
        try:
            out.parts[name] = _evaluated(name, derive(system))
        except energy.EnergyError as why:
            out.missing[name] = str(why)
    if "gibbs" in out.missing:                                   # units sampled one by one: the steps are calls
        out.parts["gibbs"] = _evaluated("gibbs", energy.gibbs(system, 1))
        del out.missing["gibbs"]
    for name, part in out.parts.items():
        out.functions[name], out.layouts[name] = part.functions[name], part.layouts[name]
    return out


def _trained(system: System) -> Compiled:
    """A system with a loss, differentiated by its parameters."""
    stable = stabilise(system)
    out = Compiled(system, name_preactivations(hoisted(simplify(stable))))
    differentiate(out)
    return out


def _evaluated(name: str, system: System) -> Compiled:
    """A system with outputs, lowered as the function `name`."""
    stable = simplify(name_preactivations(without_stops(stabilise(system))))
    out = Compiled(system, stable)
    packed, packs = pack(stable)
    out.explained["evaluated"] = packed
    final = out.evaluated = unpacked(finish(packed), packs)
    lower_function(out, name, final, {k: final.equations[k] for k in final.outputs}, ())
    return out
