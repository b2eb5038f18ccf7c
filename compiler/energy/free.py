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

from ..algebra import constant, number
from ..gradient import is_zero
from ..graph import Const, Expr, Reduce, apply, product, total
from ..system import System
from ..units import Units
from . import messages
from .conditionals import Conditional, named, of_layer, over
from .replace import without
from .sums import ordered


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
    found = [of_layer(system, u, layers, value) for u in layers]
    for c in found:
        if c.interacting or c.beside:
            raise messages.interacting(system, energy, c.layer, [u for u in layers if u.name in c.beside])
    nodes = [u.node for u in system.energy.layers]
    rest = without(energy, *(u.node for u in layers))
    rest = ordered(rest, nodes, named(system))
    for c in found:
        for part in log_sums(c):
            rest = -part if is_zero(rest) else apply("sub", rest, part)
    return rest


def log_sums(c: Conditional) -> list[Expr]:
    """The log of each unit's sum of exp(theta u) over its values (Gaussian: the integral), added up over the units, in parts."""
    theta = c.natural
    match c.layer.kind:
        case "binary":
            return [total(apply("softplus", theta))]
        case "spin":
            return [total(apply("softplus", 2 * theta) - theta)]
        case "categorical":
            return [total(Reduce("logsumexp", theta, (len(theta.shape) - 1,)))]
    assert c.precision is not None
    if (a := number(c.precision)) is not None:
        level = Const(math.log(2 * math.pi / a) / 2)
        return [total(apply("square", theta)) / Const(2 * a), apply("mul", level, product(theta.shape))]
    square = over(apply("square", theta), 2 * c.precision)
    return [total(square), total(apply("log", over(constant(2 * math.pi, c.precision), c.precision))) / 2]

