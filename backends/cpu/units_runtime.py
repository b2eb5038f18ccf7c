"""Helpers of generated modules of energy models."""

from __future__ import annotations

import numpy as np

from .runtime import real_input as real_input


def units_input(name, value, dims, dtype, kind):
    """Values of units: binary 0 or 1, mean from 0 to 1, spin -1 or 1, categorical one-hot along the last axis."""
    value = real_input(name, value, dims, dtype)
    if kind == "mean":
        wrong, what = ~((value >= 0) & (value <= 1)), "numbers from 0 to 1, means of binary units"
    elif kind == "spin":
        wrong, what = value * value != 1, "-1 or 1, the values of spin units"
    else:
        wrong, what = value * value != value, "0 or 1, the values of binary units"
    if kind == "categorical":
        what = "one 1 among 0s along its last axis, the state of a categorical unit"
        wrong = wrong | (value.sum(axis=-1, keepdims=True) != 1)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{name} must hold {what}; {name}{list(place)} is {value[place]:g}")
    return value
