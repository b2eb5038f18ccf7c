"""Conditionals: what a unit's energy says of it, given the others.

    p(u | rest) is proportional to exp(-E), so that a unit's natural parameter is theta = -dE/du:

    binary        E affine in u        p(u = 1) = sigmoid(theta)
    spin          E affine in u        p(u = 1) = sigmoid(2 theta), mean tanh(theta)
    categorical   E affine in u        softmax(theta) along the last feature
    gaussian      E = a u^2/2 - theta u + ...   mean theta/a, variance 1/a, a = d2E/du2 > 0

theta is the adjoint of the layer, from the same rules as every gradient. A layer can be summed out where no unit's theta
depends on a unit of the layer; where it depends on others but not on the unit itself, the units are sampled one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..algebra import number
from ..graph import Broadcast, Concat, Expr, Input, Pad, Reduce, apply, broadcast, order_axes, postorder
from ..passes.simplify import simplify_exprs
from ..rules import spread
from ..system import System
from ..units import Units
from . import messages
from .confirm import explained, straight
from .positive import sign
from .probe import Reading, idle, reading, same
from .replace import replaced, without
from .sums import Opaque, arranged, built, collected, monomials, ordered, reads
from .terms import slope_of


@dataclass(frozen=True)
class Conditional:
    """p(layer | everything else).

    `natural` is theta, of the layer's features; `precision` is a (of a Gaussian layer, else None); `mean` is E[u | rest]:
    probabilities of binary and categorical units. `interacting`: theta reads other units of the layer, which are then sampled
    one by one; `beside` names other layers of the same side that theta reads.
    """

    layer: Units
    natural: Expr
    precision: Expr | None
    mean: Expr
    interacting: bool = False
    beside: tuple[str, ...] = ()

    def given(self, values: Mapping[Expr, Expr]) -> Conditional:
        """The same with layers, or anything else that it reads, replaced; along the axes of all values."""
        axes = {x for e in values.values() for x in e.axes}

        def along(e: Expr) -> Expr:
            new = replaced(e, values)
            return broadcast(new, order_axes({*new.axes, *axes}), new.shape)

        precision = None if self.precision is None else replaced(self.precision, values)
        return replace(self, natural=along(self.natural), precision=precision, mean=along(self.mean))


def conditional(system: System, side: str) -> dict[str, Conditional]:
    """The conditionals of one side, "hidden" or "visible", by layer.

    EnergyError: a unit in no term, an energy that is not affine (Gaussian: quadratic with positive curvature) in a unit, hidden
    layers that interact with each other.
    """
    assert system.energy is not None
    layers = system.energy.hidden if side == "hidden" else system.energy.visible
    return {u.name: of_layer(system, u, layers) for u in layers}


def of_layer(system: System, layer: Units, side: Sequence[Units], value: Expr | None = None) -> Conditional:
    """One layer's conditional under the system's energy, or another `value`; `side` holds the layers of its side."""
    assert system.energy is not None
    energy = system.energy.value if value is None else value
    if value is None and not reads([energy], [layer.node]):
        raise messages.absent(layer)
    slope = slope_of(system, energy, layer.node)
    last = layer.kind == "categorical"
    if value is None and any(isinstance(n, (Pad, Concat)) for n in postorder(slope)):
        place = idle(system, slope, layer.node, last)
        if place is not None:
            raise messages.idle(layer, place)
    found = Reading(False, False)
    if reads([slope], [layer.node]):
        found = reading(system, slope, layer.node, last)
    precision = None
    if layer.kind == "gaussian":
        if found.others:
            raise messages.matrix(system, energy, layer)
        precision = _precision(system, energy, slope, layer)
    elif found.own and not (found.others and _quadratic(system, slope, layer)):
        raise messages.not_affine(system, energy, layer)
    if not found.others:
        slope = without(slope, layer.node)
    beside = tuple(u for u in side if u is not layer and _depends(system, slope, u))
    if beside and not layer.visible:
        raise messages.beside(system, energy, layer, beside)
    nodes = [u.node for u in system.energy.layers]
    natural = _wide(ordered(simplify_exprs([slope], system.sizes)[0], nodes, named(system), energy), layer.node)
    if value is None and not (straight(energy, layer) or explained(system, energy, layer, natural, precision, found.others)):
        raise (messages.not_affine if precision is None else messages.not_quadratic)(system, energy, layer)
    return Conditional(layer, natural, precision, mean_of(layer, natural, precision, nodes), found.others,
                       tuple(u.name for u in beside))


def _depends(system: System, slope: Expr, other: Units) -> bool:
    return reads([slope], [other.node]) and not same(system, slope, other.node)


def _wide(e: Expr, layer: Input) -> Expr:
    """With the features of the layer, along its axes."""
    return broadcast(e, order_axes({*e.axes, *layer.axes}), layer.shape)


def named(system: System) -> Opaque:
    """Nodes with names of their own are not opened: a formula keeps the user's words."""
    return lambda e: e in system.names and bool(e.args)


def mean_of(layer: Units, natural: Expr, precision: Expr | None, units: Sequence[Expr] = ()) -> Expr:
    """E[u | rest] from the natural parameter."""
    match layer.kind:
        case "binary":
            return apply("sigmoid", natural)
        case "spin":
            return apply("tanh", natural)
        case "categorical":
            last = (len(natural.shape) - 1,)
            return apply("exp", natural - spread(Reduce("logsumexp", natural, last), natural, last))
    assert precision is not None
    return over(natural, precision, units)


def over(natural: Expr, precision: Expr, units: Sequence[Expr] = ()) -> Expr:
    """theta/a, powers cancelled: b + s*(W.T @ h) where theta is b/s^2 + (W.T @ h)/s and a is 1/s^2."""
    wide = precision if precision.shape != natural.shape else broadcast(precision, natural.axes, natural.shape)
    below = collected(monomials(wide))
    inverse = below[0].to(-1) if len(below) == 1 else None
    if inverse is None:
        return apply("div", natural, precision)
    return built(arranged(collected([m * inverse for m in monomials(natural)]), units), natural)


# ---------------------------------------------------------------- Gaussian units

def _precision(system: System, energy: Expr, slope: Expr, layer: Units) -> Expr:
    """The second derivative of the energy by each unit of a layer."""
    assert system.energy is not None
    u = layer.node
    curve = slope_of(system, slope, u)
    if reads([curve], [u]):
        if not same(system, curve, u):
            raise messages.not_quadratic(system, energy, layer)
        curve = simplify_exprs([without(curve, u)], system.sizes)[0]
    curve = _plain(ordered(curve, [x.node for x in system.energy.layers]))
    if number(curve) == 0:
        raise messages.flat(system, energy, layer)
    found = sign(curve, [x.node for x in system.energy.layers if x.kind in ("binary", "categorical")])
    if found <= 0:
        raise messages.curvature(system, energy, layer, curve, found)
    return curve


def _plain(e: Expr) -> Expr:
    """Without repetition along the batch."""
    return Broadcast(e.args[0], e.args[0].axes, e.shape, e.places) if isinstance(e, Broadcast) else e


# ---------------------------------------------------------------- what is not affine

def _quadratic(system: System, slope: Expr, layer: Units) -> bool:
    """Whether theta is affine in its own layer: a unit's square is then all that theta depends on it by (u^2 is u, s^2 is 1)."""
    if layer.kind not in ("binary", "spin"):
        return False
    curve = slope_of(system, slope, layer.node, 1)
    return not reads([curve], [layer.node]) or same(system, curve, layer.node)


__all__ = ["Conditional", "conditional", "mean_of", "named", "of_layer", "over"]
