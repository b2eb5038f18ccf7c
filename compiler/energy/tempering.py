"""Between a machine without interactions and a machine: what annealed importance sampling walks along (Neal 2001).

    E_beta = (1 - beta) E_0 + beta E,     E_0 = E|_{h=0} + E|_{v=0} - E|_{v=h=0}

E_0 keeps each side's own terms, so that its log Z has a closed form. The conditionals and free energies of E_beta are derived
like those of any energy.
"""

from __future__ import annotations

from dataclasses import replace

from ..graph import Expr, Input
from ..system import System
from ..units import Units
from .conditionals import Conditional, of_layer
from .errors import EnergyError
from .free import free_energy, summed_out
from .objectives import bare
from .replace import without
from .sampling import sample

BETA, NEXT = Input("beta", ()), Input("beta_next", ())


def factorised(system: System) -> Expr:
    """E_0."""
    assert system.energy is not None
    value = system.energy.value
    visible, hidden = ([u.node for u in side] for side in (system.energy.visible, system.energy.hidden))
    return without(value, *hidden) + without(value, *visible) - without(value, *visible, *hidden)


def tempered(system: System, beta: Expr) -> System:
    """The system with the energy E_beta."""
    assert system.energy is not None
    value = (1 - beta) * factorised(system) + beta * system.energy.value
    return system.copy(energy=replace(system.energy, value=value))


def log_z_of_factorised(system: System) -> Expr:
    """log Z of E_0. EnergyError where units of a side interact."""
    assert system.energy is not None
    rest = summed_out(system, system.energy.hidden, factorised(system))
    return -summed_out(system, system.energy.visible, rest)


def start(system: System) -> System:
    """Outputs `v_next`: samples of E_0's visible side from given noise, inputs `noise_v`."""
    assert system.energy is not None
    out = _walk(system)
    value = factorised(system)
    for u in system.energy.visible:
        _drawn(out, u, of_layer(system, u, system.energy.visible, value))
    return out


def step(system: System) -> System:
    """One step from E_beta to E_next: `gain` = F_beta(v) - F_next(v), and `v_next`, drawn from v by a Gibbs step of E_next.

    Inputs: the visible layers, beta, beta_next, and the noise of each layer.
    """
    assert system.energy is not None
    if foreign := [k for k in bare(system).inputs if k not in {u.name for u in system.energy.visible}]:
        raise EnergyError(f"annealing estimates one log Z, and this energy has one for each value of the input {foreign[0]}")
    here, there = tempered(system, BETA), tempered(system, NEXT)
    assert there.energy is not None
    out = _walk(system)
    out.inputs |= {u.name: u.node for u in system.energy.visible} | {"beta": BETA, "beta_next": NEXT}
    out.equation("gain", free_energy(here) - free_energy(there))
    hidden: dict[Expr, Expr] = {}
    for u in system.energy.hidden:
        hidden[u.node] = _drawn(out, u, of_layer(there, u, system.energy.hidden))
    for u in system.energy.visible:
        c = of_layer(there, u, system.energy.visible)
        if c.interacting or c.beside:
            raise EnergyError(f"the units of {u.name} interact, and annealing needs each side to be drawn at once", None, u.name)
        _drawn(out, u, c.given(hidden))
    out.outputs = ("gain", *(f"{u.name}_next" for u in system.energy.visible))
    return out


def _walk(system: System) -> System:
    """A system without inputs, whose outputs are the visible layers' next values."""
    assert system.energy is not None
    out = bare(system)
    return out.copy(inputs={}, penalties=(), outputs=tuple(f"{u.name}_next" for u in system.energy.visible))


def _drawn(out: System, u: Units, c: Conditional) -> Expr:
    shape = u.node.shape[:-1] if u.kind == "categorical" else u.node.shape
    noise = out.inputs[f"noise_{u.name}"] = Input(f"noise_{u.name}", u.node.axes, shape)
    return out.equation(f"{u.name}_next", sample(c, f"{u.name}_next", noise))


__all__ = ["factorised", "log_z_of_factorised", "start", "step", "tempered"]
