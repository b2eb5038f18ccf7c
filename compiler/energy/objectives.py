"""What training minimises: ordinary systems, whose gradients are derived like any other's.

    contrastive divergence     mean F(v) - mean F(v~)                   statistics = probabilities
                               mean E(v, h) - mean E(v~, h~)            statistics = samples
    likelihood                 mean F(v) + log Z, the configurations of the smaller side enumerated along an axis

v~ and h~ are the end of a Gibbs chain: constants to the gradient, which is then <-dE/dtheta>_model - <-dE/dtheta>_data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..graph import BATCH, Const, Expr, Extent, Input, Reduce, apply, length
from ..system import Average, System
from .conditionals import Conditional, conditional
from .free import free_energy
from .replace import replaced
from .sampling import sample


@dataclass(frozen=True)
class Objective:
    """A system with a loss, and the new end of the persistent chain by the name of the input that held the old one."""

    system: System
    chain: dict[str, Expr] = field(default_factory=dict)


def over_batch(value: Expr) -> Expr:
    """The mean over the examples."""
    return apply("div", Reduce("sum", value, value.axes), Extent(length(value.axes[0])))


def contrastive_divergence(system: System) -> Objective:
    """CD-k with the estimator of the system's training."""
    est = system.training.estimator
    assert est is not None and est.k == 1
    hidden, visible = conditional(system, "hidden"), conditional(system, "visible")
    out = system.copy(energy=None, equations={})
    h = drawn(out, hidden, {}, "")
    v = drawn(out, visible, h, "_model")
    F = free_energy(system)
    data = out.equation("F", F)
    model = out.equation("F_model", replaced(F, v))
    out.loss = Average(over_batch(data) - over_batch(model), Const(1))
    return Objective(out)


def drawn(out: System, conditionals: Mapping[str, Conditional], given: Mapping[Expr, Expr], suffix: str) -> dict[Expr, Expr]:
    """Samples of one side's layers given the other's, as equations `h` + suffix."""
    return {c.layer.node: out.equation(name + suffix, sample(c.given(given), name + suffix)) for name, c in conditionals.items()}


def statistics(system: System) -> System:
    """-mean F(v): its gradient by a parameter is the mean of -dE/dtheta given v."""
    out = system.copy(energy=None, equations={})
    F = out.equation("F", free_energy(system))
    out.loss = Average(-Reduce("sum", F, (BATCH,)), Extent(length(BATCH)))
    return out


__all__ = ["Input", "Objective", "contrastive_divergence", "drawn", "over_batch", "statistics"]
