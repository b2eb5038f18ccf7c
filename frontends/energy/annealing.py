"""log Z by annealed importance sampling (Neal 2001; Salakhutdinov and Murray 2008).

Chains start as samples of E_0, the energy without what joins the sides, and walk to E through E_beta. Each chain's weight is
the product of exp(F_beta(v) - F_next(v)) along its way, and Z/Z_0 is the mean of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ...backends.interface import CompiledModel
from ...compiler.energy import tempering
from ...compiler.graph import length
from ...compiler.interpret import evaluate
from ...compiler.random import draw
from ...compiler.system import System
from ..model import compile


@dataclass(frozen=True)
class Annealed:
    """An estimate of log Z; `error` is its standard error, `weights` the chains' logarithms of importance weights."""

    log_z: float
    error: float
    weights: Any

    def __str__(self) -> str:
        return f"log Z = {self.log_z:.3f} +- {self.error:.3f}"


class Annealing:
    """The walk of one model, compiled."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.base = tempering.log_z_of_factorised(system)
        self.first: CompiledModel = compile(tempering.start(system), dtype="float64")
        self.next: CompiledModel = compile(tempering.step(system), dtype="float64")

    def __call__(self, params: Mapping[str, Any], betas: Sequence[float], chains: int, seed: int = 0) -> Annealed:
        """log Z from a number of chains along increasing betas, which begin with 0 and end with 1."""
        assert self.system.energy is not None
        if chains < 2:
            raise ValueError(f"an error bar needs at least 2 chains, not {chains}")
        if len(betas) < 2 or not (betas[0] == 0 and betas[-1] == 1 and all(a < b for a, b in pairwise(betas))):
            raise ValueError("the inverse temperatures increase from 0 to 1")
        names = [u.name for u in self.system.energy.visible]
        base = float(evaluate(self.system, [self.base], params, {str(length("batch")): 1})[0].reshape(-1)[0])
        now = self.first.predict(params, **self._noise(self.first, chains, seed, 0))
        total = np.zeros(chains)
        for k, (beta, after) in enumerate(pairwise(betas)):
            given = {n: now[f"{n}_next"] for n in names}
            now = self.next.predict(params, beta=beta, beta_next=after, **given, **self._noise(self.next, chains, seed, k + 1))
            total += now["gain"]
        top = total.max()
        w = np.exp(total - top)
        error = float(w.std(ddof=1) / w.mean() / np.sqrt(chains))
        return Annealed(base + float(top + np.log(w.mean())), error, total)

    def _noise(self, model: CompiledModel, chains: int, seed: int, step: int) -> dict[str, Any]:
        """The draws of one step, by the layers' names."""
        assert self.system.energy is not None
        kinds = {f"noise_{u.name}": "normal" if u.kind == "gaussian" else "uniform" for u in self.system.energy.layers}
        inputs = {k: i for k, i in model.system.inputs.items() if k in kinds}
        return {k: draw(kinds[k], f"annealing.{k}", (chains, *(s.evaluate(self.system.sizes) for s in i.shape)), seed, step)
                for k, i in inputs.items()}
