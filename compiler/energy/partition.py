"""The partition function by enumeration: log Z = logsumexp of -F over all configurations of the smaller side."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from ..graph import Expr, Reduce
from ..system import System
from ..units import Units
from .chains import axis_of
from .conditionals import conditional
from .errors import EnergyError
from .free import free_energy
from .indices import configurations, states
from .replace import replaced

LARGEST = 20                                             # bits: about a million configurations


@dataclass(frozen=True)
class Partition:
    """log Z as an expression, the axis that it enumerates, and how long that is: `sizes` of what evaluates it."""

    value: Expr
    axis: str
    count: int
    names: dict[Expr, str]                                       # of the configurations, `every_h`


def partition(system: System) -> Partition:
    """log Z (for every example, where the energy reads inputs). EnergyError as of `smaller`."""
    enumerated, summed = smaller(system)
    axis = axis_of(system, "config")
    count = 1
    for u in enumerated:
        n, radix = states(system, u)
        count *= radix ** n
    every = configurations(system, enumerated, axis)
    free = replaced(free_energy(system, summed), every)
    names = {every[u.node]: f"every_{u.name}" for u in enumerated}
    return Partition(Reduce("logsumexp", -free, (axis,)), axis, count, names)


def smaller(system: System) -> tuple[tuple[Units, ...], str]:
    """The side with fewer configurations whose other side can be summed out, and that other side. EnergyError: too many."""
    assert system.energy is not None
    found = []
    for layers, other in ((system.energy.hidden, "visible"), (system.energy.visible, "hidden")):
        joined = any(c.interacting or c.beside for c in conditional(system, other).values())
        if layers and not joined and all(u.kind != "gaussian" for u in layers):
            found.append((sum(n * log2(r) for n, r in (states(system, u) for u in layers)), other, layers))
    if not found:
        raise EnergyError("log Z cannot be enumerated, because no side has countable units that face units without interactions; "
                          "estimate it by annealed importance sampling")
    bits, other, layers = min(found, key=lambda f: f[0])
    if bits > LARGEST:
        names = ", ".join(u.name for u in layers)
        raise EnergyError(f"an exact log Z adds up 2^{bits:.0f} configurations of {names}, and at most 2^{LARGEST} can be "
                          "enumerated; estimate it by annealed importance sampling")
    return layers, other
