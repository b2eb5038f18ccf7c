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

    @property
    def lengths(self) -> Array:
        return np.diff(self.offsets)

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

    def padded(self, steps: int) -> Array:
        """(n, steps, ...): each sequence and zeros after it."""
        out = np.zeros((len(self), steps, *self.values.shape[1:]), self.values.dtype)
        out[np.arange(steps) < self.lengths[:, None]] = self.values
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


def padded(arrays: Part) -> dict[str, Array]:
    """Arrays as the generated functions take them: sequences padded to the longest along their axis, and `lengths_t`."""
    longest: dict[str, int] = {}
    out: dict[str, Array] = {}
    for a in arrays.values():
        if isinstance(a, Ragged):
            longest[a.axis] = max(longest.get(a.axis, 0), int(a.lengths.max(initial=0)))
    for name, a in arrays.items():
        if isinstance(a, Ragged):
            out[name] = a.padded(longest[a.axis])
            out[f"lengths_{a.axis}"] = a.lengths
        else:
            out[name] = a
    return out
