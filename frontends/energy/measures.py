"""Measures of an energy model: how well it reconstructs, predicts, and explains data.

    measures = Measures(system)
    measures.reconstruction_error(params, v=v)        mean of (v - E[v | E[h | v]])^2
    measures.pseudo_likelihood(params, v=v)           mean of D * log p(v_i | all others), one unit i an example, cycling
    measures.log_z(params)                            by enumeration, up to 20 units in the smaller side
    measures.log_likelihood(params, v=v)              mean of -F(v) - log Z, in nats
    measures.annealed(params)                         log Z by annealed importance sampling, with its error bar

`system` is a system with an energy, or a `Model` of one. Functions are compiled when they are first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends.interface import CompiledModel
from ...compiler.energy import conditionals, free_energies
from ...compiler.energy.indices import states
from ...compiler.energy.partition import smaller
from ...compiler.system import System
from ...compiler.units import Units
from ..model import Model, compile
from .annealing import Annealed, Annealing

Array = NDArray[Any]
Params = Mapping[str, Any]
CHUNK = 4096                                             # configurations at a time
FLIPS = {"binary": lambda v: 1 - v, "spin": lambda v: -v}


class Measures:
    """The measures of one energy model."""

    def __init__(self, model: Model | System, dtype: str = "float64") -> None:
        self.system, self.dtype = model.system if isinstance(model, Model) else model, dtype
        if self.system.energy is None:
            raise ValueError(f"{self.system.name} has a loss, and no energy to measure")
        self.energy = self.system.energy

    def _compiled(self, system: System) -> CompiledModel:
        return compile(system, dtype=self.dtype)

    @cached_property
    def _free(self) -> CompiledModel:
        return self._compiled(free_energies(self.system))

    @cached_property
    def _free_of_hidden(self) -> CompiledModel:
        return self._compiled(free_energies(self.system, "visible"))

    @cached_property
    def _means(self) -> tuple[CompiledModel, CompiledModel]:
        return self._compiled(conditionals(self.system, "hidden")), self._compiled(conditionals(self.system, "visible"))

    @cached_property
    def _annealing(self) -> Annealing:
        return Annealing(self.system)

    # ------------------------------------------------------------ of examples

    def free_energy(self, params: Params, **inputs: Any) -> Array:
        """F(v), per example."""
        return np.asarray(self._free.predict(params, **inputs)["free_energy"])

    def reconstruction_error(self, params: Params, **inputs: Any) -> float:
        """The mean over examples and visible units of the squared difference between v and E[v | E[h | v]]."""
        up, down = self._means
        names = [u.name for u in self.energy.visible]
        rest = {k: x for k, x in inputs.items() if k not in names}
        hidden = up.predict(params, **inputs)
        back = down.predict(params, **rest, **{k: x for k, x in hidden.items() if k in down.system.inputs})
        errors = [np.square(np.asarray(inputs[n]) - back[n]) for n in names]
        return float(sum(e.sum() for e in errors) / sum(e.size for e in errors))

    def pseudo_likelihood(self, params: Params, step: int = 0, **inputs: Any) -> float:
        """The mean of D * log sigmoid(F(v with one unit flipped) - F(v)); example n flips unit (step + n) mod D.

        Values of binary units are rounded to 0 or 1 first. ValueError for Gaussian and categorical visible units.
        """
        v = {u.name: self._discrete(u, inputs[u.name]) for u in self.energy.visible}
        rest = {k: x for k, x in inputs.items() if k not in v}
        flipped = {k: x.copy() for k, x in v.items()}
        units = sum(x[0].size for x in v.values())
        count = len(next(iter(v.values())))
        which = (step + np.arange(count)) % units
        for u in self.energy.visible:
            flat = flipped[u.name].reshape(count, -1)
            rows = np.flatnonzero((which >= 0) & (which < flat.shape[1]))
            flat[rows, which[rows]] = FLIPS[u.kind](flat[rows, which[rows]])
            which = which - flat.shape[1]
        gap = self.free_energy(params, **flipped, **rest) - self.free_energy(params, **v, **rest)
        return float(-units * np.logaddexp(0, -gap).mean())

    @staticmethod
    def _discrete(u: Units, v: Any) -> Array:
        if u.kind not in FLIPS:
            raise ValueError(f"a pseudo-likelihood flips binary or spin units, and {u.name} is {u.kind}")
        v = np.array(v, float)
        return np.round(v) if u.kind == "binary" else np.where(v < 0, -1.0, 1.0)

    # ------------------------------------------------------------ of the model

    def log_z(self, params: Params, **inputs: Any) -> Any:
        """log Z by enumeration: a number, or one for each example where the energy reads inputs.

        EnergyError where the smaller side has more than 20 units' worth of configurations.
        """
        layers, other = smaller(self.system)
        free = self._over(other)
        foreign = [k for k in free.system.inputs if k not in {u.name for u in layers}]
        if foreign:
            rows = len(inputs[foreign[0]])
            return np.array([self._enumerated(params, layers, free, {k: np.asarray(inputs[k])[n:n + 1] for k in foreign})
                             for n in range(rows)])
        return self._enumerated(params, layers, free, {})

    def log_likelihood(self, params: Params, **inputs: Any) -> float:
        """The mean over examples of log p(v) = -F(v) - log Z, in nats."""
        names = {u.name for u in self.energy.visible}
        rest = {k: x for k, x in inputs.items() if k not in names}
        return float(np.mean(-self.free_energy(params, **inputs) - self.log_z(params, **rest)))

    def annealed(self, params: Params, betas: Any = 1000, chains: int = 100, seed: int = 0) -> Annealed:
        """log Z by annealed importance sampling; `betas`: how many inverse temperatures, evenly spaced, or their values."""
        values = np.linspace(0, 1, betas) if isinstance(betas, int) else np.asarray(betas, float)
        return self._annealing(params, [float(b) for b in values], chains, seed)

    def _over(self, other: str) -> CompiledModel:
        return self._free if other == "hidden" else self._free_of_hidden

    def _enumerated(self, params: Params, layers: tuple[Units, ...], free: CompiledModel, rest: dict[str, Array]) -> float:
        total = -np.inf
        for values in _configurations(self.system, layers):
            count = len(next(iter(values.values())))
            given = {k: np.repeat(x, count, axis=0) for k, x in rest.items()}
            found = -np.asarray(free.predict(params, **values, **given)["free_energy"], float)
            total = np.logaddexp(total, np.logaddexp.reduce(found))
        return float(total)


def _configurations(system: System, layers: tuple[Units, ...]) -> Any:
    """Every configuration of some layers, some thousand at a time."""
    counts = [(u, *states(system, u)) for u in layers]
    radices = [r for _, n, r in counts for _ in range(n)]
    total = int(np.prod(radices, dtype=object))
    for low in range(0, total, CHUNK):
        digits = np.stack(np.unravel_index(np.arange(low, min(low + CHUNK, total)), radices), axis=1)
        values, at = {}, 0
        for u, n, r in counts:
            part = digits[:, at:at + n]
            shape = tuple(s.evaluate(system.sizes) for s in u.node.shape)
            hot = np.eye(r)[part] if u.kind == "categorical" else 2.0 * part - 1 if u.kind == "spin" else part.astype(float)
            values[u.name] = hot.reshape(len(part), *shape)
            at += n
        yield values

