"""The examples of a table of which a formula is true: `only label < 5`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .errors import DataError
from .formulas import Evaluation, Fitted, parse
from .ragged import Ragged
from .table import Table

Array = np.ndarray[Any, Any]


def only(table: Table, formula: str) -> Table:
    """The table without the rows of which the formula is not true; its parts shrink with it."""
    if table.stream:
        raise DataError(f"only {formula}: {table.name} is one sequence, and of a sequence no steps can be left out")
    plain = {name: c for name, c in table.columns.items() if not isinstance(c, Ragged)}
    try:
        value = Evaluation(plain, np.dtype(float), Fitted({}), "only").run(parse(formula))
    except DataError as e:
        raise DataError(str(e).replace("input only: ", f"only {formula}: ", 1)) from None
    if value.shape != (len(table),):
        raise DataError(f"only {formula}: one truth value for each example was expected, not {value.shape[1:] or 'one for all'}")
    kept = value != 0
    if not kept.any():
        raise DataError(f"only {formula}: of the {len(table)} examples of {table.name} none is left")
    rows = np.flatnonzero(kept)
    ends = np.cumsum([0, *table.own.values()])
    own = {part: int(kept[a:b].sum()) for part, a, b in zip(table.own, ends, ends[1:])}
    step = table.locate_step
    return replace(
        table, name=f"{table.name}, only {formula}", columns={name: c[rows] for name, c in table.columns.items()},
        tested=int(kept[len(table) - table.tested:].sum()), own={part: n for part, n in own.items() if n},
        locate=lambda row: table.locate(int(rows[row])),
        locate_step=None if step is None else lambda row, at: step(int(rows[row]), at))


__all__ = ["only"]
