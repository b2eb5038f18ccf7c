"""Whether an energy is what its derivatives say: E(a) - E(b) for two values a, b of a layer against what theta predicts.

    E(a) - E(b) = -theta @ (a - b) + sum(precision * (a^2 - b^2)) / 2

A derivative sees an energy at a point. Of sums, products and squares that is enough; a step has slope 0 and yet changes the
energy. Asked where something else is done to the units; theta is taken in the middle, so that squares are right, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import BATCH, Contract, Expr, GraphError, Map, Reduce, postorder
from ..interpret import evaluate
from ..system import System
from ..units import Units
from .probe import PROBES, leaves_of

Array = NDArray[Any]
POLYNOMIAL = ("add", "sub", "neg", "mul", "square")
COUNT = 16                                               # pairs of values at each point


def straight(energy: Expr, layer: Units) -> bool:
    """Whether only sums, products and squares are taken of a layer on its way into the energy."""
    on_the_way: set[Expr] = {layer.node}
    for n in postorder(energy):
        if n is layer.node or not any(a in on_the_way for a in n.args):
            continue
        on_the_way.add(n)
        match n:
            case Map("div", (_, b)):
                if b in on_the_way:
                    return False
            case Map():
                if n.f not in POLYNOMIAL:
                    return False
            case Reduce():
                if n.kind != "sum":
                    return False
            case Contract():
                pass
    return True


def explained(system: System, energy: Expr, layer: Units, natural: Expr, precision: Expr | None, interacting: bool) -> bool:
    """Whether theta (and the precision) say how the energy changes with the layer, at random points."""
    try:
        return all(_agrees(system, energy, layer, natural, precision, interacting, k) for k in range(len(PROBES)))
    except (GraphError, KeyError):                               # no sizes, no numbers
        return True


def _agrees(system: System, energy: Expr, layer: Units, natural: Expr, precision: Expr | None, interacting: bool,
            which: int) -> bool:
    rng, probe = np.random.default_rng(which), PROBES[which]
    kinds = {u.node: u.kind for u in system.energy.layers} if system.energy is not None else {}
    values: dict[str, Any] = {}
    for leaf in leaves_of(system, *(x for x in (energy, natural, precision) if x is not None)):
        shape = tuple(int(s.evaluate(system.sizes)) for s in leaf.shape)
        if leaf in kinds:
            one = _legal(rng, kinds[leaf], (COUNT, *shape))
        elif leaf.type.kind == "class":
            assert leaf.type.n is not None
            one = rng.integers(leaf.type.n.evaluate(system.sizes), size=(COUNT, *shape))
        else:
            one = probe.numbers(rng, shape)
            one = np.broadcast_to(one, (COUNT, *shape)) if BATCH in leaf.axes else one
        values[leaf.name] = one
    name, a = layer.name, values[layer.name]
    b = _legal(rng, layer.kind, a.shape)
    if interacting:                                              # one unit of each example
        b = np.where(_one(rng, a.shape, layer.kind == "categorical"), b, a)
    with np.errstate(all="ignore"):
        high, low = (evaluate(system, [energy], {**values, name: x}, {"B": COUNT})[0] for x in (a, b))
        rest = [natural] if precision is None else [natural, precision]
        theta, *curve = evaluate(system, rest, {**values, name: (a + b) / 2}, {"B": COUNT})
        terms = -theta * (a - b) + (curve[0] * (a**2 - b**2) / 2 if curve else 0)
        wanted = terms.reshape(COUNT, -1).sum(1)
    scale = 1 + np.abs(terms).reshape(COUNT, -1).sum(1) + np.abs(high) + np.abs(low)
    sure = np.isfinite(high) & np.isfinite(low) & np.isfinite(wanted)
    return bool((np.abs(high - low - wanted) <= 1e-8 * scale)[sure].all())


def _legal(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Array:
    """Values that units of a kind may have."""
    if kind == "categorical":
        return np.eye(shape[-1])[rng.integers(shape[-1], size=shape[:-1])]
    if kind == "gaussian":
        return rng.standard_normal(shape)
    ones = (rng.random(shape) < 0.5).astype(float)
    return 2 * ones - 1 if kind == "spin" else ones


def _one(rng: np.random.Generator, shape: tuple[int, ...], last: bool) -> Array:
    """A mask of one unit of each example."""
    groups = shape[1:-1] if last else shape[1:]
    n = int(np.prod(groups))
    mask = (np.arange(n) == rng.integers(n, size=(shape[0], 1))).reshape(shape[0], *groups)
    return np.broadcast_to(mask[..., None], shape) if last else mask


__all__ = ["explained", "straight"]
