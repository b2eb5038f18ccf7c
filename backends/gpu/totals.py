"""Sums over everything of what a kernel of column sums computes: it adds up its columns, and these are what is left to add up.

    loss = sum[b, i] loss_terms[b, i]          one number a column in memory, and none of the terms
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace

from ...compiler.program import Array, Block, Loop, Nest, Reduction, Stmt, flat, reads, view, writes
from .columns import MOST, Columns


def by_totals(body: list[Stmt], kept: Collection[Array], claim: Callable[[str], str]) -> list[Stmt]:
    """The statements, such sums in two steps; `claim` gives new arrays their names."""
    every = [s for s in flat(body) if not isinstance(s, Loop)]
    count = Counter(v.array for s in every for v in (*reads(s), writes(s)) if v is not None)
    totals = {s.a.array: s for s in every if isinstance(s, Reduction) and s.kind in ("sum", "max", "min")
              and len(s.over) == len(s.a.dims) and s.a.whole and count[s.a.array] == 2 and s.a.array not in kept}
    left = dict[Reduction, Reduction]()

    def added_up(s: Columns) -> Columns:
        inner, depth, free = list[Stmt](), len(s.rows), MOST - len(s.sums)
        for m in s.body:
            inner.append(m)
            out = writes(m)
            if out is not None and out.whole and out.array in totals and free:
                total, free = totals[out.array], free - 1
                part = view(Array(out.dims[depth:], out.array.kind, name=claim(f"{out.array.name}_sums")))
                inner.append(Reduction(total.kind, part, total.a, tuple(range(depth))))
                left[total] = Reduction(total.kind, total.out, part, tuple(range(len(part.dims))))
        return Columns(s.rows, inner)

    def each(s: Stmt) -> Stmt:
        if isinstance(s, Columns):
            return added_up(s)
        if isinstance(s, (Block, Nest)):
            return replace(s, body=[each(x) for x in s.body])
        return left.get(s, s) if isinstance(s, Reduction) else s

    return [each(s) for s in body]


__all__ = ["by_totals"]
