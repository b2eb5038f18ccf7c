"""Helpers of generated modules of energy models."""

from __future__ import annotations

import numpy as np

from .runtime import real_input as real_input


def units_input(name, value, dims, dtype, kind):
    """Values of units: binary 0 or 1, mean from 0 to 1, spin -1 or 1, categorical one-hot along the last axis."""
    value = real_input(name, value, dims, dtype)
    what = {"mean": "numbers from 0 to 1, means of binary units", "spin": "-1 or 1, the values of spin units",
            "binary": "0 or 1, the values of binary units", "categorical": "a single 1 among 0s along its last axis"}[kind]
    low, high = (-1 if kind == "spin" else 0), 1
    flat, wrong = value.reshape(-1), None
    for i in range(0, flat.size, 8192):                         # in pieces that stay in the cache
        x = flat[i:i + 8192]
        fits = (x >= low) & (x <= high) if kind == "mean" else (x == low) | (x == high)
        if not fits.all():
            wrong = i + int(np.argmin(fits))
            break
    if wrong is None and kind == "categorical":
        single = value.sum(axis=-1) == 1
        wrong = None if single.all() else int(np.argmin(single)) * value.shape[-1]
    if wrong is not None:
        place = tuple(int(i) for i in np.unravel_index(wrong, value.shape))
        raise ValueError(f"{name} must hold {what}; {name}{list(place)} is {flat[wrong]:g}")
    return value
