"""Which examples a step sees: batches in a random order, sequences of like length together, chunks of a truncated sequence.

    Batches(arrays, batch, seed)                   whole examples; of unequal sequences, those of like length meet in a batch
    Chunks(arrays, batch, seed, k, axes, stream)   sequences cut into chunks of k steps, which carry their state along
    evaluation(arrays, batch, ...)                 every example once, in an order that does not depend on the seed

Each gives a `Piece`: the arrays of a step, how many examples and steps of time it holds, and whether a state begins with it.
The order is drawn from (seed, epoch), so that a resumed run meets the same pieces.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import DataError, plural
from .ragged import Part, Ragged, padded

Array = np.ndarray[Any, Any]
Batch = dict[str, Array]
_POOL = 64                                           # batches among which like lengths are looked for
_EVALUATION_BATCH = 1000


@dataclass
class Piece:
    """What one step sees."""

    arrays: Batch
    examples: int
    tokens: int
    fresh: bool = True


def count(arrays: Part) -> int:
    """How many examples there are."""
    return len(next(iter(arrays.values()))) if arrays else 0


def lengths(arrays: Part) -> Array | None:
    """How long each example is, over all its axes; None where all are equally long."""
    seen = {a.axis: a.lengths for a in arrays.values() if isinstance(a, Ragged)}
    return sum(seen.values()) if seen else None      # type: ignore[return-value]


def take(arrays: Part, rows: Any) -> Batch:
    """These examples, padded where they are unequal; all of them, without a copy, for None."""
    return padded(arrays, rows)


class Batches:
    """Whole examples in batches; `batch` 0 is all of them."""

    def __init__(self, arrays: Part, batch: int, seed: int) -> None:
        self.arrays, self.seed, self.n = arrays, seed, count(arrays)
        self.batch = batch or self.n
        self.steps = math.ceil(self.n / self.batch)
        self.lengths = lengths(arrays)
        self._rows: list[Any] = []
        self._epoch = -1

    def rows(self, epoch: int, position: int) -> Any:
        """The examples of a step; None for all in their own order."""
        if epoch != self._epoch:
            self._rows, self._epoch = self._order(epoch), epoch
        return self._rows[position]

    def at(self, epoch: int, position: int) -> Piece:
        rows = self.rows(epoch, position)
        arrays = take(self.arrays, rows)
        n = self.n if rows is None else len(rows)
        return Piece(arrays, n, n if self.lengths is None else int((self.lengths if rows is None else self.lengths[rows]).sum()))

    def _order(self, epoch: int) -> list[Any]:
        if self.batch >= self.n:
            return [None]
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.n)
        if self.lengths is None:
            return _split(order, self.batch)
        pools = [p[np.argsort(self.lengths[p], kind="stable")] for p in _split(order, _POOL * self.batch)]
        found = [rows for p in pools for rows in _split(p, self.batch)]
        return [found[i] for i in rng.permutation(len(found))]


class Chunks:
    """Sequences side by side, cut into chunks of k steps; the state begins anew with each batch of sequences.

    A stream is one long sequence: it is folded into `batch` parallel ones of equal length, and the few symbols that are left
    over are not trained on. `axes` says along which axis an input is cut: inputs that have none go with every chunk.
    """

    def __init__(self, arrays: Part, batch: int, seed: int, k: int, cut: frozenset[str], stream: bool = False) -> None:
        self.arrays = fold(arrays, batch or 1) if stream else arrays
        self.k, self.seed, self.cut, self.n = k, seed, cut, count(self.arrays)
        self.batch = min(batch or self.n, self.n)
        self.lengths = self._lengths()
        # batches of like lengths, the same in every epoch: so each epoch has as many steps
        self._groups = _split(np.argsort(self.lengths, kind="stable"), self.batch)
        self.steps = sum(self._pieces(rows) for rows in self._groups)
        self._plan: list[tuple[Any, int]] = []
        self._epoch = -1
        self._held: tuple[int, Batch] = (-1, {})

    def _lengths(self) -> Array:
        for name, a in self.arrays.items():
            if name in self.cut:
                return a.lengths if isinstance(a, Ragged) else np.full(len(a), a.shape[1])
        raise DataError("truncate needs an input with a time axis")

    def _pieces(self, rows: Array) -> int:
        return max(math.ceil(int(self.lengths[rows].max(initial=0)) / self.k), 1)

    def at(self, epoch: int, position: int) -> Piece:
        if epoch != self._epoch:
            self._plan, self._epoch, self._held = self._order(epoch), epoch, (-1, {})
        rows, chunk = self._plan[position]
        if self._held[0] != position - chunk:
            self._held = (position - chunk, take(self.arrays, None if len(rows) == self.n else rows))
        return cut_chunk(self._held[1], self.cut, chunk * self.k, self.k)

    def _order(self, epoch: int) -> list[tuple[Any, int]]:
        rng = np.random.default_rng([self.seed, epoch])
        groups = self._groups
        if not any(isinstance(a, Ragged) for a in self.arrays.values()) and len(groups) > 1:
            groups = _split(rng.permutation(self.n), self.batch)
        elif len(groups) > 1:
            groups = [groups[i] for i in rng.permutation(len(groups))]
        return [(rows, chunk) for rows in groups for chunk in range(self._pieces(rows))]


def cut_chunk(arrays: Batch, cut: frozenset[str], start: int, k: int) -> Piece:
    """Steps start, ..., start + k - 1 of the inputs in `cut`; an example's own length is what of it lies in the chunk."""
    out, tokens = {}, 0
    for name, a in arrays.items():
        if name in cut and name.startswith("lengths_"):
            out[name] = np.clip(a - start, 0, k)
            tokens = int(out[name].sum())
        else:
            out[name] = a[:, start:start + k] if name in cut else a
    shaped = next(a for name, a in out.items() if name in cut and not name.startswith("lengths_"))
    return Piece(out, len(shaped), tokens or shaped.shape[0] * shaped.shape[1], start == 0)


def fold(arrays: Part, batch: int) -> dict[str, Array]:
    """One sequence (1, N, ...) as `batch` parallel ones (batch, N // batch, ...)."""
    out: dict[str, Array] = {}
    for name, a in arrays.items():
        assert isinstance(a, np.ndarray)
        steps = a.shape[1] // batch
        if not steps:
            raise DataError(f"input {name}: {plural(a.shape[1], 'symbol')} cannot be cut into {batch} parallel streams; "
                            f"a smaller --batch is needed")
        out[name] = a[0, :steps * batch].reshape(batch, steps, *a.shape[2:])
    return out


def evaluation(arrays: Part, batch: int = 0, k: int = 0, cut: frozenset[str] = frozenset(),
               stream: bool = False) -> Iterator[Piece]:
    """Every example once, whole or in chunks of k; `cut` names the inputs that run along time.

    Of a stream no symbol is left out: what does not fill the parallel sequences is one of its own.
    """
    if not k:
        yield from _whole(arrays, batch, cut)
    elif stream:
        dense = {name: a for name, a in arrays.items() if isinstance(a, np.ndarray)}
        symbols = min(a.shape[1] for a in dense.values())
        batch = max(min(batch, symbols), 1)
        yield from _chunked(fold(dense, batch), k, cut)
        if symbols % batch:
            yield from _chunked({name: a[:, symbols - symbols % batch:] for name, a in dense.items()}, k, cut)
    else:
        for rows in _split(np.arange(count(arrays)), batch or _EVALUATION_BATCH):
            yield from _chunked(take(arrays, rows), k, cut)


def _chunked(arrays: Mapping[str, Array], k: int, cut: frozenset[str]) -> Iterator[Piece]:
    whole = dict(arrays)
    steps = next(a.shape[1] for name, a in whole.items() if name in cut and not name.startswith("lengths_"))
    for start in range(0, max(steps, 1), k):
        yield cut_chunk(whole, cut, start, k)


def _whole(arrays: Part, batch: int, cut: frozenset[str]) -> Iterator[Piece]:
    """Batches of about a thousand steps of time, or of training's own size where that is more."""
    own, n = lengths(arrays), count(arrays)
    if own is not None:
        for rows in _split(np.argsort(own, kind="stable"), max(batch, 1)):
            yield Piece(take(arrays, rows), len(rows), int(own[rows].sum()))
        return
    steps = max((a.shape[1] for name, a in arrays.items() if name in cut and isinstance(a, np.ndarray)), default=1)
    size = max(batch, _EVALUATION_BATCH // max(steps, 1), 1)
    for start in range(0, n, size):
        rows = slice(start, start + size)
        yield Piece(take(arrays, rows), min(size, n - start), min(size, n - start))


def _split(rows: Array, size: int) -> list[Array]:
    return [rows[i:i + size] for i in range(0, len(rows), size)]
