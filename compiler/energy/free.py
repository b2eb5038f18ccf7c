"""Free energies: layers summed out in closed form.

    F(v) = -log sum_h exp(-E(v, h)) = E(v, 0) - sum over the units of

    binary        softplus(theta)                           log(1 + e^theta)
    spin          softplus(2 theta) - theta                 log(e^theta + e^-theta) = log(2 cosh theta)
    categorical   logsumexp(theta) along the last feature
    gaussian      theta^2/(2a) + log(2 pi/a)/2
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..graph import Const, Expr, Reduce, apply, broadcast, order_axes, product, total
from ..system import System
from ..units import Units
from .conditionals import Conditional, of_layer
from .errors import EnergyError
from .replace import without
from .sums import ordered
from .terms import blame, written


def free_energy(system: System, over: str = "hidden") -> Expr:
    """F of the other side: the layers of one side summed out of the energy, per example.

    EnergyError where two units of the layers interact; it names the term.
    """
    assert system.energy is not None
    return summed_out(system, system.energy.hidden if over == "hidden" else system.energy.visible)


def summed_out(system: System, layers: Sequence[Units], value: Expr | None = None) -> Expr:
    """-log of the sum of exp(-value), the energy by default, over all configurations of some layers."""
    assert system.energy is not None
    energy = system.energy.value if value is None else value
    found = [of_layer(system, u, layers, energy) for u in layers]
    for c in found:
        if c.interacting or c.beside:
            raise EnergyError(_interact(system, energy, c, layers),
                              blame(system, energy, c.layer, True, [u for u in layers if u.name in c.beside]), c.layer.name)
    nodes = [u.node for u in system.energy.layers]
    rest = without(energy, *(u.node for u in layers))
    rest = ordered(rest, nodes, lambda e: e in system.names and bool(e.args))
    for c in found:
        for part in log_sums(c):
            rest = apply("sub", rest, part)
    return rest


def _interact(system: System, energy: Expr, c: Conditional, layers: Sequence[Units]) -> str:
    beside = [u for u in layers if u.name in c.beside]
    term = written(system, energy, c.layer, True, beside)
    what = f"units of {c.layer.name} with each other" if not beside else f"{c.layer.name} with {beside[0].name}"
    return (f"{c.layer.name} cannot be summed out: {term} joins {what}; the free energy has a closed form only where the units of a "
            "layer meet units of the other side")


def log_sums(c: Conditional) -> list[Expr]:
    """log sum_u exp(theta u) over the values of each unit (Gaussian: the integral), summed over the units: the parts of the sum."""
    theta = c.natural
    match c.layer.kind:
        case "binary":
            return [total(apply("softplus", theta))]
        case "spin":
            return [total(apply("softplus", 2 * theta) - theta)]
        case "categorical":
            return [total(Reduce("logsumexp", theta, (len(theta.shape) - 1,)))]
    assert c.precision is not None
    a = c.precision
    units = product(c.layer.node.shape)
    if a.rank == 0 or not a.shape or _constant(a) is not None:
        level = _constant(a)
        square = total(apply("square", theta)) / 2 if level == 1 else total(apply("div", apply("square", theta), 2 * a))
        scale = apply("log", apply("div", 2 * math.pi, a)) if level is None else Const(math.log(2 * math.pi / level))
        return [square, apply("mul", units, scale) / 2]
    return [total(apply("square", theta) / (2 * _spread(a, theta))), total(apply("log", apply("div", 2 * math.pi, a))) / 2]


def _constant(a: Expr) -> float | None:
    from ..algebra import number
    value = number(a)
    return None if value is None else float(value)


def _spread(a: Expr, theta: Expr) -> Expr:
    return broadcast(a, order_axes({*a.axes, *theta.axes}), theta.shape)
