"""The gradient of a compiled model against finite differences of its loss, along random directions, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...compiler.node import BATCH, base
from ...compiler.shortest import shortest
from ...compiler.system import System
from .run import Program

Array = np.ndarray[Any, Any]
TOLERANCE = 1e-6
# five-point differences (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h: the larger steps see less rounding, the smaller ones fewer
# kinks; each is a fair measurement, so the best counts
_STEPS = (1e-2, 1e-3, 1e-4, 1e-5)


def moved(params: dict[str, Array], seed: int = 0) -> dict[str, Array]:
    """Parameters at a random point near these: zeros would put scores on the very kinks of max, abs and threshold."""
    rng = np.random.default_rng([seed, 2])
    return {k: np.asarray(p + 0.1 * rng.standard_normal(np.shape(p))) for k, p in params.items()}


@dataclass(frozen=True)
class Difference:
    """One parameter: the slope along a random direction as derived and as measured."""

    name: str
    shape: tuple[int, ...]
    norm: float
    derived: float
    measured: float
    error: float

    @property
    def right(self) -> bool:
        return self.error < TOLERANCE


def random_inputs(system: System, seed: int = 0, batch: int = 5, length: int = 6, whole: bool = False) -> dict[str, Array]:
    """Inputs of the declared types: normal numbers, classes in their range, truth values.

    Of sequences with lengths the first is as long as the array, the others are shorter; with `whole`, all are.
    """
    rng = np.random.default_rng(seed)
    length = max(length, *shortest(system, system.lengths).values(), 1)
    out: dict[str, Array] = {f"lengths_{a}": np.append(length, rng.integers(length if whole else 1, length + 1, batch - 1))
                             for a in system.lengths}
    for name, node in ((k, x) for k, x in system.inputs.items() if k not in out):
        lead = tuple(batch if a == BATCH else length for a in sorted(node.axes, key=lambda a: a != BATCH))
        shape = lead + tuple(s.evaluate(system.sizes) for s in node.shape)
        kind = node.type
        if kind.kind == "class" and kind.n is not None:
            out[name] = rng.integers(0, kind.n.evaluate(system.sizes), shape)
        elif kind.kind == "bool":
            out[name] = rng.random(shape) < 0.5
        else:
            out[name] = rng.standard_normal(shape)
    told = {axis for node in system.inputs.values() for axis in node.axes}
    free = sorted({base(axis) for node in system.nodes() for axis in node.axes} - told - {BATCH})
    return out | {axis.upper(): np.asarray(length) for axis in free}       # what no input tells is an argument


def differences(program: Program, params: dict[str, Array], inputs: Mapping[str, Array], seed: int = 0) -> list[Difference]:
    """A row a trained parameter; noise, where the model has any, is the same in every evaluation.

    error = |derived - measured| / max(|derived|, |measured|, 1e-6 max(1, |loss|)): below that floor a float64 loss shows nothing.
    """
    rng = np.random.default_rng([seed, 1])
    loss, grads = program.loss_and_grads(params, seed=seed, **inputs)[:2]        # of a truncated model: one chunk
    floor = 1e-6 * max(1.0, abs(float(loss)))
    rows = []
    for name, gradient in grads.items():
        direction = rng.standard_normal(np.shape(params[name]))
        direction /= max(float(np.linalg.norm(direction)), 1e-300)
        derived = float(np.sum(gradient * direction))
        found = [_slope(program, params, inputs, name, direction, h, seed) for h in _STEPS]
        measured = min(found, key=lambda m: abs(m - derived) if np.isfinite(m) else float("inf"))
        error = abs(derived - measured) / max(abs(derived), abs(measured), floor)
        rows.append(Difference(name, np.shape(gradient), float(np.linalg.norm(gradient)), derived, measured,
                               error if np.isfinite(error) else float("inf")))
    return rows


def _slope(program: Program, params: dict[str, Array], inputs: Mapping[str, Array], name: str, direction: Array, h: float,
           seed: int) -> float:
    def at(k: int) -> float:
        moved = {**params, name: np.asarray(params[name] + k * h * direction)}
        with np.errstate(all="ignore"):
            return float(program.loss_and_grads(moved, seed=seed, **inputs)[0])
    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)
