"""Energy models: random units and the energy that joins them.

    Units    a layer of random units: binary {0, 1}, spin {-1, 1}, categorical (one-hot vectors along the last feature), gaussian
    Energy   E(v, h), from which everything else is derived (`compiler.energy`): p(v, h) = exp(-E(v, h)) / Z
    Estimator   how the gradient of the log-likelihood is estimated in training

A layer's values are an `Input` of the system, hidden layers too: what a function samples itself is not among its arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

from .graph import Expr, Input

KINDS = ("binary", "spin", "categorical", "gaussian")
ESTIMATORS = ("contrastive_divergence", "persistent_contrastive_divergence", "likelihood")


@dataclass(frozen=True)
class Units:
    """One declared layer."""

    node: Input
    kind: str                                                    # one of KINDS
    visible: bool

    @property
    def name(self) -> str:
        return self.node.name


@dataclass(frozen=True)
class Energy:
    """The energy of one configuration: no features, no axis but batch."""

    value: Expr
    layers: tuple[Units, ...]

    @property
    def visible(self) -> tuple[Units, ...]:
        return tuple(u for u in self.layers if u.visible)

    @property
    def hidden(self) -> tuple[Units, ...]:
        return tuple(u for u in self.layers if not u.visible)


@dataclass(frozen=True)
class Estimator:
    """kind: one of ESTIMATORS; k: Gibbs steps; statistics: probabilities (where unbiased) or samples, as textbooks print it.

    sparsity: (target, weight) of a penalty that draws the mean activation of every hidden unit to the target.
    """

    kind: str = "contrastive_divergence"
    k: int = 1
    statistics: str = "probabilities"
    sparsity: tuple[float, float] | None = None
    chains: int | None = None                                    # of persistent CD; None: as many as examples in a batch
