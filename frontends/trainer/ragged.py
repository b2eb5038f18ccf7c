"""Sequences of unequal length: one array of all their steps, and where each begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Ragged:
    """Sequence i is `values[offsets[i]:offsets[i + 1]]`; `axis` is the time axis of the model along which it runs."""

    def __init__(self, values: Array, offsets: Array, axis: str = "") -> None:
        self.values, self.offsets, self.axis = values, offsets, axis
        self.lengths: Array = np.diff(offsets)

    @classmethod
    def of(cls, sequences: Sequence[Any], axis: str = "") -> Ragged:
        """The same from a list of sequences."""
        arrays = [np.asarray(s) for s in sequences]
        values = np.concatenate(arrays) if arrays else np.zeros(0)
        return cls(values, offsets_of([len(a) for a in arrays]), axis)

    @classmethod
    def of_dense(cls, array: Array, lengths: Array | None = None, axis: str = "") -> Ragged:
        """Rows (n, T, ...) as sequences, each up to its own length where lengths are given."""
        n, steps = array.shape[:2]
        if lengths is None:
            return cls(array.reshape(n * steps, *array.shape[2:]), np.arange(n + 1) * steps, axis)
        return cls(array[np.arange(steps) < np.reshape(lengths, (-1, 1))], offsets_of(lengths), axis)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: Any) -> Ragged:
        """The sequences of these rows (indices, a mask or a slice), in their order."""
        rows = np.arange(len(self))[rows]
        offsets = offsets_of(self.lengths[rows])
        return Ragged(self.values[_index(self.offsets[rows], offsets)], offsets, self.axis)

    def cut(self, low: int, high: int) -> Ragged:
        """Without the first `low` and the last `high` steps of each sequence; a shorter one is empty."""
        offsets = offsets_of(np.maximum(self.lengths - low - high, 0))
        return Ragged(self.values[_index(self.offsets[:-1] + low, offsets)], offsets, self.axis)

    def padded(self, steps: int, rows: Any = None) -> Array:
        """(n, steps, ...): each sequence, or each of these rows, and zeros after it."""
        rows = np.arange(len(self)) if rows is None else rows
        out = np.zeros((len(rows), steps, *self.values.shape[1:]), self.values.dtype)
        for k, lo, hi in zip(range(len(rows)), self.offsets[rows].tolist(), self.offsets[rows + 1].tolist()):
            out[k, :hi - lo] = self.values[lo:hi]
        return out

    def dense(self) -> Array:
        """(n, T, ...) of sequences that are equally long."""
        n = len(self)
        return self.values.reshape(n, len(self.values) // max(n, 1), *self.values.shape[1:])

    def place(self, i: int) -> tuple[int, int]:
        """The row and the step of value i."""
        row = int(np.searchsorted(self.offsets, i, side="right")) - 1
        return row, i - int(self.offsets[row])


Part = Mapping[str, Array | Ragged]


def offsets_of(lengths: Any) -> Array:
    """Where sequences of these lengths begin, and where the last ends."""
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))])


def _index(starts: Array, offsets: Array) -> Array:
    """The places of values of which sequence i begins at starts[i]."""
    return np.repeat(starts - offsets[:-1], np.diff(offsets)) + np.arange(offsets[-1])


def padded(arrays: Part, rows: Any = None) -> dict[str, Array]:
    """Examples as the generated functions take them: sequences padded to the longest along their axis, and `lengths_t`.

    All of them, plain arrays without a copy, where `rows` is None.
    """
    every = {a.axis: a.lengths for a in arrays.values() if isinstance(a, Ragged)}
    if every:                                            # a slice or a mask as indices
        n = len(next(iter(every.values())))
        rows = np.arange(n) if rows is None else np.arange(n)[rows]
    own = {axis: lengths[rows] for axis, lengths in every.items()}
    out: dict[str, Array] = {}
    for name, a in arrays.items():
        if isinstance(a, Ragged):
            out[name] = a.padded(int(own[a.axis].max(initial=0)), rows)
        else:
            out[name] = a if rows is None else a[rows]
    return out | {f"lengths_{axis}": lengths for axis, lengths in own.items()}
