"""Arrays as pictures: filters, feature maps and examples side by side, as PNG or as characters."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
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
    """One white sheet with all pictures on it, `gap` of their height above each, and each one's upper left corner."""
    n, h, w = a.shape[:3]
    rows, down, across = -(-n // columns), h + max(1, round(gap * h)), w + max(1, round(0.1 * w))
    sheet = np.ones((rows * down, columns * across - (across - w), *a.shape[3:]))
    places = [(down * (k // columns) + down - h, across * (k % columns)) for k in range(n)]
    for picture, (top, left) in zip(a, places):
        sheet[top:top + h, left:left + w] = picture
    return sheet, places


@dataclass(frozen=True)
class Sheet:
    """What stands around the pictures of a grid: a title, words above each, and beside the rows; an image that comes first.

    With `common`, all have one scale, which a bar shows: from the least value to the greatest, or, where there are values of both
    signs, blue below 0, white at 0, red above. Without it, each goes from its own least value, black, to its greatest, white.
    """

    title: str
    columns: int
    above: Sequence[str] = ()
    beside: Sequence[str] = ()
    first: Array | None = None
    common: bool = False


def draw_grid(path: Path, a: Array, how: Sheet) -> bool:
    """All pictures in a grid, as PNG; False where matplotlib is not there."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    common = how.common and a.ndim == 3
    low, high, colours = _scale(a) if common else (0.0, 1.0, "gray")
    cells, places = tiled(np.full(a.shape, np.nan), how.columns, 0.3 if how.above else 0.1)
    grid, _ = tiled(a if common else scaled(a), how.columns, 0.3 if how.above else 0.1)
    if a.ndim == 3:
        grid = np.where(np.isnan(cells), grid, np.nan)           # what lies between the pictures is left white
    inch = (0.8 if len(a) <= 40 else 0.5) / a.shape[2]
    wide, tall = inch * grid.shape[1], inch * grid.shape[0]
    left = 0.1 + (1.5 if how.first is not None else 0.0) + (0.09 * max(map(len, how.beside)) if how.beside else 0.0)
    width = max(left + wide + (0.8 if common else 0.1), 0.085 * len(how.title))
    height = max(tall, 1.4 if how.first is not None else 0.0) + 0.45
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.text(0.1 / width, 1 - 0.12 / height, how.title, fontsize=9, va="top")
    ax = figure.add_axes((left / width, (height - 0.35 - tall) / height, wide / width, tall / height))
    shown = ax.imshow(grid, cmap=colours, vmin=low, vmax=high, interpolation="nearest", aspect="auto")
    ax.axis("off")
    for text, (top, at) in zip(how.above, places):
        ax.text(at + a.shape[2] / 2 - 0.5, top - 0.7, text, fontsize=7, ha="center", va="bottom")
    for text, (top, _) in zip(how.beside, places[::how.columns]):
        ax.text(-0.2 * a.shape[2], top + a.shape[1] / 2, text, fontsize=7, ha="right", va="center")
    if how.first is not None:
        small = figure.add_axes((0.1 / width, (height - 0.45 - 1.25) / height, 1.25 / width, 1.25 / height))
        small.imshow(scaled(how.first[None])[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        small.axis("off")
    if common:
        bar = figure.add_axes(((left + wide + 0.15) / width, (height - 0.35 - min(tall, 2.0)) / height, 0.1 / width,
                               (min(tall, 2.0) - 0.1) / height))
        figure.colorbar(shown, cax=bar).ax.tick_params(labelsize=7)
    _save(figure, path)
    return True


def _scale(a: Array) -> tuple[float, float, str]:
    """The least and the greatest value, and colours; values of both signs lie around 0."""
    low, high = float(a.min()), float(a.max())
    if low < 0 < high:
        most = max(-low, high)
        return -most, most, "RdBu_r"
    return (low, high, "gray") if low < high else (low - 1, high + 1, "gray")


def draw_confusion(path: Path, counts: Array, labels: Sequence[str], title: str) -> bool:
    """counts[i, j], how often class i was taken for class j, mistakes in red; False where matplotlib is not there."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    n, wrong = len(counts), counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    figure = Figure(figsize=(1.6 + 0.42 * n, 1.2 + 0.36 * n), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    ax.imshow(wrong, cmap="Reds", vmin=0, vmax=1.5 * max(1, wrong.max()), interpolation="nearest", aspect="auto")
    for i, j in np.argwhere(counts):
        ax.text(j, i, str(counts[i, j]), fontsize=7, ha="center", va="center", color="gray" if i == j else "black")
    ax.set_xticks(range(n), labels, fontsize=8, rotation=90 if max(map(len, labels)) > 3 else 0)
    ax.set_yticks(range(n), labels, fontsize=8)
    ax.set(xlabel="taken for", ylabel="is")
    ax.set_title(title, fontsize=9)
    _save(figure, path)
    return True


def _save(figure: Any, path: Path) -> None:
    found = io.BytesIO()
    figure.savefig(found, format="png", dpi=120, metadata={"Software": None})
    write_atomic(path, found.getvalue())


__all__ = ["Sheet", "as_text", "draw_confusion", "draw_grid", "images_of", "scaled"]
