"""What a natural parameter depends on, decided by its values and not by how the energy was written.

A sum that vanishes identically vanishes at random points, and one that does not is not zero there but with probability 0
(Schwartz 1980, Zippel 1979). Only what the graph leaves open is asked here: a natural parameter in which its own layer does
not stand is independent of it. Functions that saturate or bend (tanh, relu) look flat or straight far from 0 and on one side of
it, so that there are points near 0, too, and of both signs.

Which unit reads which is found with 2*log2(n) examples: example k moves the units that have bit k in their index, or those
that have not, so that each pair of units is parted by one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import BATCH, Expr, GraphError, Input, Param
from ..interpret import evaluate
from ..reach import reached
from ..system import System, size_value

Array = NDArray[Any]


@dataclass(frozen=True)
class Reading:
    """Whether some unit's natural parameter depends on that unit itself, and whether on another of its layer."""

    own: bool
    others: bool


def reading(system: System, natural: Expr, units: Input, last: bool = False) -> Reading:
    """How a natural parameter, of the features of `units`, reads them; `last`: the last feature is one unit's."""
    try:
        sizes = [size_value(system, s) for s in units.shape]
        if any(n is None for n in sizes):
            return Reading(True, True)                           # no sizes, no numbers: whatever may be
        shape = tuple(int(n or 0) for n in sizes)
        groups = shape[:-1] if last else shape
        moved = _subsets(int(np.prod(groups))).reshape(-1, *groups)
        everything = np.concatenate([np.zeros((1, *groups), bool), np.ones((1, *groups), bool), moved])
        mask = np.broadcast_to(everything[..., None] if last else everything, (len(everything), *shape))
        changed = _changed(system, natural, units, mask)
    except GraphError:
        return Reading(True, True)
    others = bool((changed & ~mask).any())
    if not others:
        return Reading(bool(changed[1].any()), False)
    return Reading(_own(system, natural, units, shape, last), True)


def same(system: System, a: Expr, units: Input) -> bool:
    """Whether a, of any shape, does not depend on these units at all."""
    try:
        shape = tuple(s.evaluate(system.sizes) for s in units.shape)
        return not _changed(system, a, units, np.stack([np.zeros(shape, bool), np.ones(shape, bool)])).any()
    except (GraphError, KeyError):
        return False


def idle(system: System, slope: Expr, units: Input, last: bool = False) -> tuple[int, ...] | None:
    """The place of the first unit whose slope is 0 whatever all values are: it stands in no term."""
    try:
        shape = tuple(s.evaluate(system.sizes) for s in units.shape)
        value = _values(system, slope, units, np.zeros((1, *shape), bool), PROBES[1])[0]
    except (GraphError, KeyError):
        return None
    still = (value == 0).all(-1) if last else value == 0
    return tuple(int(i) for i in np.argwhere(still)[0]) if still.any() else None


def _changed(system: System, e: Expr, units: Input, mask: Array) -> Array:
    """Which values of e differ from those of the first example, at some of the points."""
    found: Array | bool = False
    for probe in PROBES:
        value = _values(system, e, units, mask, probe)
        sure = np.isfinite(value) & np.isfinite(value[:1])       # a root of what is negative here tells nothing
        top = np.abs(value[sure]).max(initial=1.0)
        found |= sure & ~np.isclose(value, value[:1], rtol=1e-9, atol=1e-9 * top)
    return np.asarray(found)


def _subsets(n: int) -> Array:
    """For each bit of an index below n: the indices that have it, and those that have not, (2*bits, n)."""
    bits = max(1, (n - 1).bit_length())
    have = (np.arange(n)[None, :] >> np.arange(bits)[:, None] & 1).astype(bool)
    return np.concatenate([have, ~have])


def _own(system: System, natural: Expr, units: Input, shape: tuple[int, ...], last: bool) -> bool:
    """Unit by unit, some hundred at a time."""
    groups = shape[:-1] if last else shape
    n = int(np.prod(groups))
    for start in range(0, n, 128):
        rows = np.arange(start, min(start + 128, n))
        one = (np.arange(n)[None, :] == rows[:, None]).reshape(-1, *groups)
        one = np.concatenate([np.zeros((1, *groups), bool), one])
        mask = np.broadcast_to(one[..., None] if last else one, (len(one), *shape))
        if (_changed(system, natural, units, mask) & mask).any():
            return True
    return False


@dataclass(frozen=True)
class Probe:
    """Where values are compared: of size 1, or so small that sums of products are of size 1; positive, or of both signs."""

    small: bool = False
    signed: bool = False
    seed: int = 20

    def numbers(self, rng: np.random.Generator, dims: tuple[int, ...]) -> Array:
        out: Array = rng.uniform(0.5, 1.5, dims)
        if self.signed:
            out = out * rng.choice((-1.0, 1.0), dims)
        return out / max(1, prod(dims)) ** 0.5 if self.small else out


PROBES = (Probe(), Probe(small=True), *(Probe(True, True, seed) for seed in (21, 22, 23)))


def _values(system: System, e: Expr, units: Input, moved: Array, probe: Probe) -> Array:
    """e for a batch of layers that differ where `moved` says so; everything else is the same for all examples."""
    rng = np.random.default_rng(probe.seed)
    count = len(moved)
    values: dict[str, Any] = {}
    for leaf in leaves_of(system, e):
        dims = tuple(count if x == BATCH else 1 for x in leaf.axes) + tuple(int(s.evaluate(system.sizes)) for s in leaf.shape)
        if leaf is units:
            base, other = (probe.numbers(rng, moved.shape[1:])[None] for _ in range(2))
            values[leaf.name] = np.where(moved, other, base)
        elif leaf.type.kind == "class":
            assert leaf.type.n is not None
            values[leaf.name] = np.broadcast_to(rng.integers(leaf.type.n.evaluate(system.sizes), size=(1, *dims[1:])), dims)
        else:
            values[leaf.name] = np.broadcast_to(probe.numbers(rng, dims[1:] if BATCH in leaf.axes else dims), dims)
    with np.errstate(all="ignore"):
        out = evaluate(system, [e], values, {"B": count})[0]
    return out if BATCH in e.axes else np.broadcast_to(out, (count, *out.shape))


def leaves_of(system: System, *exprs: Expr) -> Sequence[Input | Param]:
    return [n for n in reached(system, exprs)[0] if isinstance(n, (Input, Param))]
