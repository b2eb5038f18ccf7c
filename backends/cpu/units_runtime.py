"""Helpers of generated modules of energy models."""

from __future__ import annotations

import numpy as np

from .runtime import real_input as real_input


def units_input(name, value, dims, dtype, kind):
    """Values of units: binary 0 or 1, mean from 0 to 1, spin -1 or 1, categorical one-hot along the last axis."""
    value = real_input(name, value, dims, dtype)
    if kind == "mean":
        fits, what = (value >= 0) & (value <= 1), "numbers from 0 to 1, means of binary units"
    elif kind == "spin":
        fits, what = (value == -1) | (value == 1), "-1 or 1, the values of spin units"
    else:
        fits, what = (value == 0) | (value == 1), "0 or 1, the values of binary units"
    if kind == "categorical":
        fits, what = fits & (value.sum(axis=-1, keepdims=True) == 1), "a single 1 among 0s along its last axis"
    if not fits.all():
        place = tuple(int(i) for i in np.argwhere(~fits)[0])
        raise ValueError(f"{name} must hold {what}; {name}{list(place)} is {value[place]:g}")
    return value
