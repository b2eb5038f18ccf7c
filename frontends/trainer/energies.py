"""What a run reports of an energy model: its objective has the right gradient, but measures nothing.

    reconstruction_error     mean of (v - E[v | E[h | v]])^2, where that has a closed form
    pseudo_likelihood        mean of D * log p(v_i | the other units), of binary and spin units, in nats; higher is better
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from ...compiler.energy import EnergyError
from ...compiler.system import System
from ..energy.measures import FLIPS, Measures
from .batches import Piece

WATCHED = 2000                                           # examples that are measured after every epoch


class Watch:
    """The measures of one model over pieces of data."""

    def __init__(self, system: System) -> None:
        assert system.energy is not None
        self.measures, kinds = Measures(system), {u.kind for u in system.energy.visible}
        self.units = sum(prod(s.evaluate(system.sizes) for s in u.node.shape) for u in system.energy.visible)
        self.names = ["reconstruction_error"] + (["pseudo_likelihood"] if kinds <= {*FLIPS} else [])

    def __call__(self, params: Mapping[str, Any], pieces: Iterable[Piece], most: int | None = None) -> dict[str, float]:
        """Means over the examples; `most`: of the first ones only."""
        sums, count = dict.fromkeys(self.names, 0.0), 0
        if most is not None and "pseudo_likelihood" in sums and self.units < most:
            most -= most % self.units                            # every unit is flipped as often
        for piece in pieces:
            n = piece.examples if most is None else min(piece.examples, most - count)
            arrays = {k: a[:n] for k, a in piece.arrays.items()}
            for name in [*sums]:
                more = {"step": count} if name == "pseudo_likelihood" else {}
                try:
                    sums[name] += n * getattr(self.measures, name)(params, **more, **arrays)
                except EnergyError:                              # means without a closed form, units that interact
                    del sums[name]
            count += n
            if count == most:
                break
        return {k: v / count for k, v in sums.items()}

    @staticmethod
    def loss(found: Mapping[str, float]) -> float:
        """What early stopping minimises."""
        return -found["pseudo_likelihood"] if "pseudo_likelihood" in found else found.get("reconstruction_error", 0.0)


def chains(program: Any, batch: int) -> dict[str, int]:
    """How many persistent chains a state holds, where it holds some and the model leaves their number open."""
    way = program.system.training.estimator if getattr(program, "system", None) is not None else None
    open_ = way is not None and way.kind == "persistent_contrastive_divergence" and way.chains is None
    return {"chains": batch} if open_ else {}
