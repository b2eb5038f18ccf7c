"""Functions of numbers in a data line's formulas: name -> (how many arguments, what it computes)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import DataError

Array = np.ndarray[Any, Any]


def onehot(a: Any, n: Any) -> Array:
    """out[..., k] = 1 where a is k, for the whole numbers from 0 to n-1."""
    count, value = int(np.max(n)), np.asarray(a)
    found = np.floor(value).astype(np.int64)
    if (found != value).any() or found.min(initial=0) < 0 or found.max(initial=0) >= count:
        wrong = value[(found != value) | (found < 0) | (found >= count)][0]
        raise DataError(f"onehot(..., {count}) takes whole numbers from 0 to {count - 1}, not {wrong:g}; floor(...) rounds")
    return np.eye(count, dtype=np.float32)[found]


FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "log": (1, np.log), "exp": (1, np.exp), "sqrt": (1, np.sqrt), "abs": (1, np.abs), "floor": (1, np.floor),
    "round": (1, np.round),
    "sin": (1, np.sin), "cos": (1, np.cos), "tanh": (1, np.tanh), "min": (2, np.minimum), "max": (2, np.maximum),
    "select": (3, np.where), "onehot": (2, onehot)}
