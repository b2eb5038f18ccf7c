"""What training minimises: ordinary systems, whose gradients are derived like any other's.

    contrastive divergence     mean F(v) - mean F(v_model)                    statistics = probabilities
                               mean E(v, h) - mean E(v_model, h_model)        statistics = samples
    likelihood                 mean F(v) + log Z, the configurations of the smaller side enumerated along an axis
    sparsity                   weight * sum over hidden units of the cross-entropy between the target and mean p(h = 1 | v)

v_model and h_model are the end of a Gibbs chain: constants to the gradient, which is then the mean of dE/dw over the data less
its mean over the model. Penalties stand in the system as elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..graph import BATCH, Const, Expr, Extent, Input, Reduce, apply, length, mean, total
from ..system import Average, System
from ..units import Estimator
from .chains import Sides, axis_of, chain, draw
from .conditionals import Conditional, conditional, named
from .errors import EnergyError
from .free import free_energy
from .partition import partition
from .replace import replaced, without
from .sums import ordered


@dataclass(frozen=True)
class Objective:
    """A system with a loss.

    `chain` (persistent CD): the name of the input that holds a layer's samples at the start of the chain, `chain_h`, -> their new
    values. An input has the features of its layer and an axis of its own, so that there may be more chains than examples; zeros
    are a good start.
    """

    system: System
    chain: dict[str, Expr] = field(default_factory=dict)


def objective(system: System, estimator: Estimator | None = None, noise: Mapping[str, Expr] | None = None) -> Objective:
    """The training objective by an estimator, the system's own by default.

    `noise` replaces draws by other numbers, by the name of the equation that draws (`h`, `v_model`, `h_model`).
    """
    est = estimator or system.training.estimator or Estimator()
    out = bare(system)
    if est.kind == "likelihood":
        found = Objective(_likelihood(system, out))
    else:
        sides = Sides(conditional(system, "hidden"), conditional(system, "visible"), noise or {})
        persistent = est.kind == "persistent_contrastive_divergence"
        found = _persistent(system, out, sides, est) if persistent else Objective(_contrastive(system, out, sides, est))
    if est.sparsity is not None:
        _sparse(system, out, *est.sparsity)
    return found


def bare(system: System) -> System:
    """The system without its energy and its hidden layers: what the systems of its functions begin with."""
    assert system.energy is not None
    hidden = {u.name for u in system.energy.hidden}
    return system.copy(energy=None, equations={}, inputs={k: v for k, v in system.inputs.items() if k not in hidden})


def over_batch(value: Expr) -> Expr:
    """The mean over the examples, or over the chains."""
    return mean(value, value.axes)


def statistics(system: System) -> System:
    """The loss -mean F(v): its gradient by a parameter is the mean of -dE/dw given v."""
    out = bare(system)
    free = out.equation("F", free_energy(system))
    out.loss = Average(-Reduce("sum", free, (BATCH,)), Extent(length(BATCH)))
    return out


# ---------------------------------------------------------------- estimators

def _contrastive(system: System, out: System, sides: Sides, est: Estimator) -> System:
    """The chain begins at the data."""
    assert system.energy is not None
    data: dict[Expr, Expr] = {u.node: u.node for u in system.energy.visible}
    if est.statistics == "samples":
        data |= draw(out, sides.hidden, data, "", sides)
        model = chain(out, sides, data, est.k, "visible")
        return _difference(system, out, data, model)
    if est.k == 1:
        start = {**data, **draw(out, sides.hidden, data, "", sides)}
        model = {**start, **draw(out, sides.visible, start, "_model", sides, data)}
    else:
        model = chain(out, sides, data, est.k, "hidden")
    return _difference(system, out, None, {u.node: model[u.node] for u in system.energy.visible})


def _persistent(system: System, out: System, sides: Sides, est: Estimator) -> Objective:
    """The chain goes on from where it was: from samples of the hidden side (and of visible units that interact)."""
    assert system.energy is not None
    if foreign := [k for k in out.inputs if k not in {u.name for u in system.energy.visible}]:
        raise EnergyError(f"persistent chains belong to no example, and this energy reads the input {foreign[0]} of each; use "
                          "contrastive_divergence")
    kept = [c.layer for c in (*sides.hidden.values(), *(c for c in sides.visible.values() if c.interacting or c.beside))]
    axis = axis_of(out, "particles")
    inputs: dict[Expr, Expr] = {}
    for u in kept:
        inputs[u.node] = out.inputs[f"chain_{u.name}"] = Input(f"chain_{u.name}", (axis,), u.node.shape)
    model = chain(out, sides, inputs, est.k, "visible")
    visible: dict[Expr, Expr] = {u.node: model[u.node] for u in system.energy.visible}
    if est.statistics == "samples":
        data: dict[Expr, Expr] = {u.node: u.node for u in system.energy.visible}
        data |= draw(out, sides.hidden, data, "", sides)
        _difference(system, out, data, model)
    else:
        _difference(system, out, None, visible)
    return Objective(out, {f"chain_{u.name}": model[u.node] for u in kept})


def _difference(system: System, out: System, data: Mapping[Expr, Expr] | None, model: Mapping[Expr, Expr]) -> System:
    """The loss from both ends: energies of samples, or free energies of the visible side."""
    assert system.energy is not None
    value, name = (_by_slopes(system), "E") if data is not None else (free_energy(system), "F")
    low = out.equation(f"{name}_data" if data else name, replaced(value, data or {}))
    high = out.equation(f"{name}_model", replaced(value, model))
    out.loss = Average(over_batch(low) - over_batch(high), Const(1))
    return out


def _by_slopes(system: System) -> Expr:
    """The energy as E(v, 0) - sum(h * theta), where it is affine in all hidden units: theta is there, since h was drawn by it."""
    assert system.energy is not None
    hidden = conditional(system, "hidden").values()
    if any(c.layer.kind == "gaussian" or c.interacting or c.beside for c in hidden):
        return system.energy.value
    nodes = [u.node for u in system.energy.layers]
    value = ordered(without(system.energy.value, *(c.layer.node for c in hidden)), nodes, named(system))
    for c in hidden:
        value = value - total(c.layer.node * c.natural)
    return value


def _likelihood(system: System, out: System) -> System:
    """The negative log-likelihood of an example, in nats."""
    p = partition(system)
    out.sizes[str(length(p.axis))] = p.count
    out.names.update(p.names)
    free = out.equation("F", free_energy(system))
    log_z = out.equation("log_Z", p.value)
    out.loss = Average(over_batch(free) + over_batch(log_z), Const(1))
    return out


def _sparse(system: System, out: System, target: float, weight: float) -> None:
    """Add the sparsity target to the loss."""
    assert out.loss is not None
    value = out.loss.value
    for name, c in conditional(system, "hidden").items():
        q = over_batch(_activation(c))
        entropy = -(target * apply("log", q)) - (1 - target) * apply("log", 1 - q)
        value = value + weight * total(out.equation(f"sparsity_{name}", entropy))
    out.loss = Average(value, Const(1))


def _activation(c: Conditional) -> Expr:
    """p(unit is on | rest)."""
    if c.layer.kind == "binary":
        return c.mean
    if c.layer.kind == "spin":
        return apply("sigmoid", 2 * c.natural)
    raise EnergyError(f"a sparsity target is the probability that a binary or spin unit is on, and "
                      f"`{c.layer.name}` is {c.layer.kind}",
                      None, c.layer.name)


__all__ = ["Objective", "bare", "objective", "over_batch", "statistics"]
