"""Words and characters as classes 0..n-1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import DataError

Array = np.ndarray[Any, Any]
UNKNOWN = "<unk>"


def learn_vocabulary(name: str, values: Array, limit: int, size: str, unknown: bool, least: int = 1) -> list[str]:
    """The classes of a column, in alphabetical order.

    With `unknown`, that one and then the most frequent, ties by spelling, which occur at least `least` times.
    """
    counts = Counter(map(str, values.ravel().tolist()))
    if unknown:
        frequent = sorted((w for w, n in counts.items() if n >= least), key=lambda w: (-counts[w], w))
        return [UNKNOWN, *frequent[:max(limit - 1, 0)]]
    if len(counts) > limit:
        hint = f"; --set {size}={len(counts)} makes room" if size.isidentifier() else ""
        raise DataError(f"input {name}: the data hold {len(counts)} classes, class({size}) has room for {limit}{hint}")
    return sorted(counts)


def encode(name: str, values: Array, vocabulary: list[str], locate: Callable[[int], str]) -> Array:
    """Each word's place in the vocabulary; one that is not there is the unknown word, or refused where there is none."""
    index = {word: i for i, word in enumerate(vocabulary)}
    unknown = index.get(UNKNOWN, -1)
    out = np.fromiter((index.get(str(w), unknown) for w in values.ravel().tolist()), np.int64, values.size)
    if out.size and out.min() < 0:
        first = int(np.argmax(out < 0))
        raise DataError(f"input {name}: {str(values.ravel()[first])!r} at {locate(first)} is not in the vocabulary "
                        f"of {len(vocabulary)}")
    return out.reshape(values.shape)
