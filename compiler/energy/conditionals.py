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

from ..gradient import pullback
from ..graph import BATCH, Broadcast, Const, Expr, Input, Map, Reduce, apply, broadcast, order_axes
from ..passes.simplify import simplify_exprs
from ..rules import spread
from ..system import System
from ..units import Units
from .errors import EnergyError
from .positive import sign
from .probe import Reading, reading, same
from .replace import replaced, without
from .sums import arranged, built, collected, monomials, ordered, reads
from .terms import blame, written


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
        """The same with layers, or anything else that it reads, replaced."""
        precision = None if self.precision is None else replaced(self.precision, values)
        return replace(self, natural=replaced(self.natural, values), precision=precision, mean=replaced(self.mean, values))


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
    units = system.energy.layers
    slope = slope_of(system, energy, layer.node)
    if not reads([energy], [layer.node]):
        raise EnergyError(f"{layer.name} stands in no term of the energy: nothing would be said of its units", None, layer.name)
    found = Reading(False, False)
    if reads([slope], [layer.node]):
        found = reading(system, slope, layer.node, layer.kind == "categorical")
    precision = None
    if layer.kind == "gaussian":
        if found.others:
            raise EnergyError(f"the units of the Gaussian layer {layer.name} interact with each other in {written(system, energy, layer, True)}: "
                              "their precision would be a matrix; write an energy in which each unit has its own",
                              blame(system, energy, layer, others=True), layer.name)
        precision = _precision(system, energy, slope, layer)
        found = replace(found, own=False)
    elif found.own and not (found.others and _quadratic(system, slope, layer)):
        raise EnergyError(_not_affine(system, energy, layer), blame(system, energy, layer), layer.name)
    if not found.others:
        slope = without(slope, layer.node)
    beside = tuple(u.name for u in side if u is not layer and reads([slope], [u.node]))
    if beside and not layer.visible:
        raise EnergyError(f"the hidden layers {layer.name} and {beside[0]} interact: a layer above another hidden one (a deep Boltzmann "
                          "machine) cannot be summed out; connect hidden layers with visible ones only, or stack machines by `pretrain`",
                          blame(system, energy, layer, beside=[u for u in side if u.name in beside]), layer.name)
    nodes = [u.node for u in units]
    natural = _wide(ordered(simplify_exprs([slope], system.sizes)[0], nodes, _named(system)), layer.node)
    return Conditional(layer, natural, precision, mean_of(layer, natural, precision, nodes), found.others, beside)


def slope_of(system: System, energy: Expr, layer: Input) -> Expr:
    """-dE/du, simplified."""
    seed = Broadcast(Const(-1), energy.axes, energy.shape, ())
    return simplify_exprs([pullback(system, {energy: seed}, [layer]).grads[layer]], system.sizes)[0]


def _wide(e: Expr, layer: Input) -> Expr:
    """Along the axes of the layer, or of what it is given."""
    return broadcast(e, order_axes({*e.axes, BATCH}), layer.shape)


def _named(system: System) -> Mapping[Expr, str] | object:
    """Nodes with names of their own are not opened."""
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
    below = collected(monomials(precision))
    inverse = below[0].to(-1) if len(below) == 1 else None
    if inverse is None:
        return apply("div", natural, precision)
    return built(arranged(collected([m * inverse for m in monomials(natural)]), units), natural)


# ---------------------------------------------------------------- Gaussian units

def _precision(system: System, energy: Expr, slope: Expr, layer: Units) -> Expr:
    """The second derivative of the energy by each unit of a layer."""
    u = layer.node
    if not reads([slope], [u]):
        raise EnergyError(f"the energy does not grow with the square of the Gaussian unit {layer.name}: its curvature is 0, and exp(-E) has "
                          f"no finite sum; add a term such as sum({layer.name}^2)/2", blame(system, energy, layer), layer.name)
    ones = Broadcast(Const(-1), slope.axes, slope.shape, ())
    curve = simplify_exprs([pullback(system, {slope: ones}, [u]).grads[u]], system.sizes)[0]
    if reads([curve], [u]):
        if not same(system, curve, u):
            raise EnergyError(f"the energy is not quadratic in the Gaussian unit {layer.name}: {written(system, energy, layer)} has a "
                              f"curvature that depends on {layer.name}; write a quadratic such as sum(({layer.name} - b)^2)/2",
                              blame(system, energy, layer), layer.name)
        curve = simplify_exprs([without(curve, u)], system.sizes)[0]
    assert system.energy is not None
    curve = _plain(ordered(curve, [x.node for x in system.energy.layers]))
    binary = [x.node for x in system.energy.layers if x.kind in ("binary", "categorical")]
    found = sign(curve, binary)
    if found <= 0:
        raise EnergyError(_curvature(system, curve, layer, found), blame(system, energy, layer), layer.name)
    return curve


def _plain(e: Expr) -> Expr:
    """Without repetition along the batch."""
    return Broadcast(e.args[0], e.args[0].axes, e.shape, e.places) if isinstance(e, Broadcast) else e


def _curvature(system: System, curve: Expr, layer: Units, found: int) -> str:
    from ..formulas import formula
    text = formula(curve, system.names)
    if found < 0:
        return (f"the energy curves down in the Gaussian unit {layer.name}: its second derivative is {text}, and exp(-E) has no "
                f"finite sum; change the sign of the square of {layer.name}")
    return (f"the second derivative of the energy by the Gaussian unit {layer.name} is {text}, which may be negative: write it as something "
            "positive, such as exp(z), softplus(z) or s^2")


# ---------------------------------------------------------------- what is not affine

def _quadratic(system: System, slope: Expr, layer: Units) -> bool:
    """Whether a unit's own square is all that makes theta depend on it (u^2 is u, and s^2 is 1): theta is affine in the layer."""
    if layer.kind not in ("binary", "spin"):
        return False
    ones = Broadcast(Const(1), slope.axes, slope.shape, ())
    curve = simplify_exprs([pullback(system, {slope: ones}, [layer.node]).grads[layer.node]], system.sizes)[0]
    return not reads([curve], [layer.node]) or same(system, curve, layer.node)


def _not_affine(system: System, energy: Expr, layer: Units) -> str:
    square = {"binary": f"{layer.name}^2 is {layer.name} for units that are 0 or 1", "spin": f"{layer.name}^2 is 1 for units that are -1 or 1",
              "categorical": f"{layer.name}^2 is {layer.name} for one-hot units"}[layer.kind]
    return (f"the energy is not affine in the {layer.kind} unit {layer.name}: the derivative of {written(system, energy, layer)} by {layer.name} "
            f"depends on {layer.name} itself; write an energy of first degree in each unit ({square})")


__all__ = ["Conditional", "Map", "conditional", "mean_of", "of_layer", "over", "slope_of"]
