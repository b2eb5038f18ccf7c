"""Sums over all of an array, in two steps where others add up the columns of as large ones.

    out = sum[i, j] a[i, j]      columns[j] = sum[i] a[i, j], out = sum[j] columns[j]

A loss beside the gradient of a bias is such a sum: the first step joins that gradient's loops, so that threads share it and the
loss's terms need no place in memory. Columns are added up in double, as one sum would be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from ..program import DOUBLE, REAL, Array, Block, Loop, Reduction, Stmt, flat, view
from ..sizes import Size


def in_two_steps(body: list[Stmt], claim: Callable[[str], str]) -> list[Stmt]:
    """The statements of a body with such sums in two steps; `claim` gives new arrays their names."""
    inside = {id(x) for s in flat(body) if isinstance(s, Loop) for x in flat(s.body)}
    added = {s.a.dims for s in flat(body) if isinstance(s, Reduction) and s.kind == "sum" and id(s) not in inside
             and len(s.a.dims) > 1 and s.over == (*range(len(s.a.dims) - 1),)}
    return [replace(s, body=[x for y in s.body for x in _steps(y, added, claim)]) if isinstance(s, Block) else s for s in body]


def _steps(s: Stmt, added: set[tuple[Size, ...]], claim: Callable[[str], str]) -> Iterator[Stmt]:
    if not isinstance(s, Reduction) or s.kind != "sum" or s.a.dims not in added or len(s.over) < len(s.a.dims):
        yield s
        return
    a = s.out.array
    columns = Array(s.a.dims[-1:], DOUBLE if a.kind == REAL else a.kind, name=claim(f"{a.name}_columns"))
    yield Reduction("sum", view(columns), s.a, s.over[:-1])
    yield Reduction("sum", s.out, view(columns), (0,))


__all__ = ["in_two_steps"]
