"""Arrays as pictures: filters, feature maps and examples side by side, as PNG or as characters."""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from .weights import write_atomic

Array = np.ndarray[Any, Any]
_SHADES = " .:-=+*#%@"


def images_of(a: Array) -> Array | None:
    """(n, height, width) or (n, height, width, 3) from what an array holds, None where that is no set of pictures.

    (O, C, h, w): O pictures for C = 1, in colour for C = 3, else O*C; (C, h, w): C; (n, d): n squares where d is a square number.
    """
    if a.ndim == 4 and a.shape[1] == 3:
        return np.moveaxis(a, 1, -1)
    if a.ndim == 4:
        return a.reshape(-1, *a.shape[2:])
    if a.ndim == 3:
        return a
    side = isqrt(a.shape[-1]) if a.ndim == 2 else 0
    return a.reshape(-1, side, side) if side > 1 and side * side == a.shape[-1] else None


def scaled(a: Array, together: bool = False) -> Array:
    """Each picture, or all together, from 0 (its least value) to 1; 0.5 where a picture is of one value."""
    over = None if together else tuple(range(1, a.ndim))
    low, high = a.min(over, keepdims=True), a.max(over, keepdims=True)
    return np.where(high > low, (a - low) / np.where(high > low, high - low, 1), 0.5)


def as_text(a: Array, columns: int, most: int = 16) -> str:
    """The first pictures in rows, light values as dense characters; two characters an element, so that squares look square."""
    grey = scaled(a if a.ndim == 3 else a.mean(-1))[:most]
    marks = np.asarray(list(_SHADES))[np.clip((grey * len(_SHADES)).astype(int), 0, len(_SHADES) - 1)]
    rows = []
    for start in range(0, len(marks), columns):
        line = marks[start:start + columns]
        rows += ["  ".join("".join(np.repeat(picture[i], 2)) for picture in line) for i in range(marks.shape[1])] + [""]
    more = f"and {len(a) - most} more; --png FILE draws them all\n" if len(a) > most else ""
    return "\n".join(rows) + more


def tiled(a: Array, columns: int, gap: float) -> tuple[Array, list[tuple[int, int]]]:
    """One white sheet with all pictures on it, `gap` of their height between rows, and each one's upper left corner."""
    n, h, w = a.shape[:3]
    rows, down, across = -(-n // columns), h + max(1, round(gap * h)), w + max(1, round(0.1 * w))
    sheet = np.ones((rows * down, columns * across - (across - w), *a.shape[3:]))
    places = [(down * (k // columns) + down - h, across * (k % columns)) for k in range(n)]
    for picture, (top, left) in zip(a, places):
        sheet[top:top + h, left:left + w] = picture
    return sheet, places


def draw_grid(path: Path, a: Array, title: str, columns: int, titles: Sequence[str] = ()) -> bool:
    """All pictures in a grid, as PNG; False where matplotlib is not there."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    grid, places = tiled(scaled(a), columns, 0.3 if titles else 0.1)
    inch = 0.8 / a.shape[2]
    figure = Figure(figsize=(max(inch * grid.shape[1], 2.5) + 0.2, inch * grid.shape[0] + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    ax.axis("off")
    ax.imshow(grid, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for text, (top, left) in zip(titles, places):
        ax.text(left + a.shape[2] / 2 - 0.5, top - 0.7, text, fontsize=7, ha="center", va="bottom")
    figure.suptitle(title, fontsize=9)
    found = io.BytesIO()
    figure.savefig(found, format="png", dpi=120, metadata={"Software": None})
    write_atomic(path, found.getvalue())
    return True


__all__ = ["as_text", "draw_grid", "images_of", "scaled"]
