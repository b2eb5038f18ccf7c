"""The functions of an energy model as systems with outputs: arguments are the visible layers (or hidden ones) and inputs.

    conditionals(system, "hidden")     h = E[h | v]; also "visible"
    free_energies(system)              free_energy = F(v), per example
    gibbs(system, k)                   v_end, h_end: samples after k steps from v
"""

from __future__ import annotations

from collections.abc import Mapping

from ..graph import Expr
from ..system import System
from .chains import Sides, chain
from .conditionals import conditional
from .errors import EnergyError
from .free import free_energy
from .objectives import bare


def conditionals(system: System, side: str) -> System:
    """The means of one side given the other, by layer. EnergyError where a layer's units interact."""
    assert system.energy is not None
    found = conditional(system, side)
    given = system.energy.visible if side == "hidden" else system.energy.hidden
    out = system.copy(energy=None, equations={}, outputs=tuple(found),
                      inputs={k: v for k, v in system.inputs.items() if k not in found})
    for name, c in found.items():
        if c.interacting or c.beside:
            others = ", ".join(u.name for u in given)
            raise EnergyError(f"the mean of {name} given {others} has no closed form, because its units interact", None, name)
        out.equation(name, c.mean)
    return out


def free_energies(system: System, over: str = "hidden") -> System:
    """The free energy of every example: F(v), or that of the hidden side."""
    assert system.energy is not None
    gone = {u.name for u in (system.energy.hidden if over == "hidden" else system.energy.visible)}
    inputs = {k: v for k, v in system.inputs.items() if k not in gone}
    out = system.copy(energy=None, equations={}, outputs=("free_energy",), inputs=inputs)
    out.equation("free_energy", free_energy(system, over))
    return out


def gibbs(system: System, k: int | None = None, noise: Mapping[str, Expr] | None = None, first: str = "hidden") -> System:
    """Samples of every layer after k steps of the chain, outputs `v_end` and `h_end`.

    k None: the length of the axis `k` is an argument. `first` is the side that is drawn first: "hidden" starts at the visible
    layers' values, "visible" at hidden ones.
    """
    assert system.energy is not None
    out = bare(system)
    start: dict[Expr, Expr] = {u.node: u.node for u in system.energy.layers if u.visible == (first == "hidden")}
    if first == "visible":
        visible = {u.name for u in system.energy.visible}
        out.inputs = {name: x for name, x in system.inputs.items() if name not in visible}
    sides = Sides(conditional(system, "hidden"), conditional(system, "visible"), noise or {})
    end = chain(out, sides, start, k, first)
    names = {u.node: u.name for u in system.energy.layers}
    outputs = {f"{names[node]}_end": e for node, e in end.items() if node in names}
    for name, e in outputs.items():
        out.equation(name, e)
    out.outputs = tuple(outputs)
    return out
