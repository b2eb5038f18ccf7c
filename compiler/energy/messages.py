"""What is said of an energy from which something cannot be derived: the term, the layer, and a way out."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Expr
from ..system import System
from ..units import Units
from .errors import EnergyError
from .terms import blame

SQUARES = {"binary": "{0}^2 is {0} for units that are 0 or 1", "spin": "{0}^2 is 1 for units that are -1 or 1",
           "categorical": "{0}^2 is {0} for one-hot units"}


def _text(system: System, e: Expr | None) -> str:
    from ..formulas import formula
    return "the energy" if e is None else f"`{formula(e, system.names, top=e not in system.names)}`"


def absent(layer: Units) -> EnergyError:
    return EnergyError(f"`{layer.name}` stands in no term of the energy, which says nothing of its units; add a term with it, or "
                       "leave the layer out", None, layer.name)


def idle(layer: Units, place: Sequence[int]) -> EnergyError:
    unit = f"{layer.name}[{', '.join(map(str, place))}]"
    return EnergyError(f"the unit `{unit}` stands in no term of the energy, which says nothing of it; add a term with it, or "
                       f"make `{layer.name}` smaller", None, layer.name)


def not_affine(system: System, energy: Expr, layer: Units) -> EnergyError:
    term = blame(system, energy, layer)
    square = SQUARES[layer.kind].format(layer.name)
    return EnergyError(f"the energy is not affine in the {layer.kind} units `{layer.name}`: the derivative of "
                       f"{_text(system, term)} by a unit depends on the unit itself; write an energy of the first degree in "
                       f"each unit ({square})", term, layer.name)


def beside(system: System, energy: Expr, layer: Units, others: Sequence[Units]) -> EnergyError:
    term = blame(system, energy, layer, beside=others)
    return EnergyError(f"the hidden layers `{layer.name}` and `{others[0].name}` meet in {_text(system, term)}: hidden layers "
                       "above each other (a deep Boltzmann machine) cannot be summed out; join each hidden layer with visible "
                       "ones only, or stack machines by `pretrain`", term, layer.name)


def interacting(system: System, energy: Expr, layer: Units, others: Sequence[Units]) -> EnergyError:
    term = blame(system, energy, layer, others=True, beside=others)
    what = f"`{layer.name}` with `{others[0].name}`" if others else f"units of `{layer.name}` with each other"
    return EnergyError(f"`{layer.name}` cannot be summed out: {_text(system, term)} joins {what}, and the sum has a closed "
                       f"form only where each unit of `{layer.name}` meets units of the other side alone; leave the "
                       f"term out, or make `{layer.name}` visible", term, layer.name)


def matrix(system: System, energy: Expr, layer: Units) -> EnergyError:
    term = blame(system, energy, layer, others=True)
    return EnergyError(f"{_text(system, term)} joins units of the Gaussian layer `{layer.name}` with each other, whose precision "
                       "would be a matrix; write an energy in which each unit has a square of its own", term, layer.name)


def flat(system: System, energy: Expr, layer: Units) -> EnergyError:
    term = blame(system, energy, layer)
    return EnergyError(f"the energy does not grow with the square of the Gaussian units `{layer.name}`, so that exp(-E) has no "
                       f"finite sum; add a term such as sum({layer.name}^2)/2", term, layer.name)


def not_quadratic(system: System, energy: Expr, layer: Units) -> EnergyError:
    term = blame(system, energy, layer)
    return EnergyError(f"the energy is not quadratic in the Gaussian units `{layer.name}`: the second derivative of "
                       f"{_text(system, term)} depends on `{layer.name}`; write a quadratic such as "
                       f"sum(({layer.name} - b)^2)/2", term, layer.name)


def curvature(system: System, energy: Expr, layer: Units, curve: Expr, sign: int) -> EnergyError:
    term = blame(system, energy, layer)
    head = f"the second derivative of the energy by the Gaussian units `{layer.name}` is {_text(system, curve)}, which "
    if sign < 0:
        return EnergyError(f"{head}is not positive, so that exp(-E) has no finite sum; change the sign of the "
                           f"square of `{layer.name}` in {_text(system, term)}", term, layer.name)
    return EnergyError(f"{head}may be negative; write it as something positive, such as exp(z), softplus(z) or s^2, "
                       f"in {_text(system, term)}", term, layer.name)
