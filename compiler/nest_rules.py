"""What a legal nest is: its rows are independent of each other, so that they may be computed in any order, or at the same time.

1. Every member walks through the nest's rows first, and may be cut there.
2. An element that a row writes is touched by that row only. What adds up rows is touched by nothing else in the nest.
3. Members that share the loops inside a row (`inner_loops`) touch what they write there at one and the same element.

Then one member after the other over all rows computes what one row after the other does, and a statement's own rules do the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graph import GraphError
from .passes.fusion import added_up, cuts, inner_loops, partial, walked
from .program import Nest, Reduction, Stmt, Take, View, reads, writes

Cells = NDArray[np.int64]
EVERY, NOBODY = -1, -2                                           # a place that stands for all rows; no place


def check_nest(s: Nest) -> None:
    """GraphError where a member does not have the nest's rows."""
    if not s.rows or not s.body:
        raise GraphError("a nest without rows or members")
    for m in s.body:
        out = writes(m)
        name = (out.array.name if out is not None else "") or type(m).__name__
        if len(s.rows) not in cuts(m) or walked(m)[:len(s.rows)] != s.rows:
            raise GraphError(f"{name} does not walk through the rows ({', '.join(map(str, s.rows))})")


def check_rows(s: Nest, cells: Callable[[View], Cells], size: int) -> tuple[Stmt, str] | None:
    """The member that breaks rule 2 or 3, and how; `cells` gives a view's places in a memory of that size."""
    depth = len(s.rows)
    found = [(k, m, v, cells(v)) for k, m in enumerate(s.body) for v in _views(m)]
    every = [(m, v, c, _place(m, v, c.shape, depth, k)) for k, m, v, c in found if c.size]
    if broken := _mixed(every, size):
        return broken[0], f"touches {broken[1].array.name or 'an array'} at another row than the one that writes it"
    for run in inner_loops(s.body, depth):
        if not isinstance(run[0], Reduction) or not partial(run[0], depth):
            members = {id(m) for m in run if not added_up(m)}
            mine = [(m, v, c, _element(m, v, c.shape, depth)) for m, v, c, _ in every if id(m) in members]
            if broken := _mixed(mine, size):
                return broken[0], f"touches {broken[1].array.name or 'an array'} at another element than the one that writes it"
    return None


def _views(m: Stmt) -> Iterator[View]:
    yield from reads(m)
    out = writes(m)
    assert out is not None
    yield out


def _mixed(every: list[tuple[Stmt, View, Cells, Any]], size: int) -> tuple[Stmt, View] | None:
    """Who touches an element at another place than the one at which it is written."""
    owner = np.full(size, NOBODY, np.int64)
    for m, v, cells, place in every:
        if v is writes(m):
            before = owner[cells]
            if ((before != NOBODY) & (before != place)).any():
                return m, v
            owner[cells] = place
    for m, v, cells, place in every:
        found = owner[cells]
        if ((found != NOBODY) & (found != place)).any():
            return m, v
    return None


def _place(m: Stmt, v: View, shape: tuple[int, ...], depth: int, k: int) -> Any:
    """The row at which each element of a view is touched."""
    if v is writes(m) and added_up(m):
        return NOBODY - 1 - k
    if not v.dims or (isinstance(m, Take) and v is m.table):
        return EVERY
    return _numbers(shape, 0, depth)


def _element(m: Stmt, v: View, shape: tuple[int, ...], depth: int) -> Any:
    """The element of a row at which each element of a view is touched; all of them where it has other dims than the loops."""
    return _numbers(shape, depth, len(shape)) if v.dims == walked(m) else EVERY


def _numbers(shape: tuple[int, ...], low: int, high: int) -> Cells:
    """The number of the index along some dims, in an array of the form."""
    found = np.arange(prod(shape[low:high])).reshape([n if low <= k < high else 1 for k, n in enumerate(shape)])
    return np.broadcast_to(found, shape)


__all__ = ["check_nest", "check_rows"]
