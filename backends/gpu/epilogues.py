"""Epilogues: what is computed of column sums alone, column by column, shares their kernel; what is computed of windows' maxima
or sums, element by element, shares theirs.

    mu[i] = (sum[b] a[b, i]) / B                                  one launch, and the sum is stored nowhere
    h[b, i, j, c] = relu(max[k, l] a[b, 2*i + k, 2*j + l, c] + b[c])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...compiler.program import (
    Array,
    Block,
    Kernel,
    Loop,
    Pool,
    Reduction,
    Stmt,
    flat,
    missing,
    reads,
    writes,
)
from .columns import Columns, of_columns
from .windows import Pooled


def with_epilogues(body: list[Stmt]) -> list[Stmt]:
    """The statements, kernels of sums moved up to them, past what has nothing to do with either; loops stay as they are."""
    out = list[Stmt]()
    for s in body:
        if isinstance(s, Block):
            s = replace(s, body=with_epilogues(s.body))
        k = _last_met(s, out)
        made = _joined(out[k], s) if k is not None else None
        if k is not None and made is not None:
            out[k] = made
        else:
            out.append(s)
    return out


def _last_met(s: Stmt, body: Sequence[Stmt]) -> int | None:
    """The last statement of a body that this one has to stay behind."""
    touched, written = memory(s)
    for k in reversed(range(len(body))):
        other, changed = memory(body[k])
        if touched & changed or written & other:
            return k
    return None


def memory(s: Stmt) -> tuple[set[Array], set[Array]]:
    """The memory that a statement touches, and what it writes of that."""
    every = [x for x in flat([s]) if not isinstance(x, Loop)]
    written = {v.array.home for x in every if (v := writes(x)) is not None}
    return written | {v.array.home for x in every for v in reads(x)}, written


def _joined(sums: Stmt, s: Stmt) -> Stmt | None:
    """Sums with a statement as their epilogue, where it is one."""
    members = [x for x in flat([s]) if isinstance(x, Kernel)]
    if len(members) < len([*flat([s])]):
        return None
    if isinstance(sums, Block):
        k = _last_met(s, sums.body)
        made = _joined(sums.body[k], s) if k is not None else None
        if k is None or made is None or not isinstance(s, Block) or s.heading != sums.heading:
            return None
        values = tuple(dict.fromkeys([*sums.values, *s.values]))
        return replace(sums, values=values, body=[*sums.body[:k], made, *sums.body[k + 1:]])
    if isinstance(sums, Columns):
        return Columns(sums.rows, [*sums.body, *members]) if _by_column(sums, members) else None
    if isinstance(sums, (Pool, Pooled)):
        pooled = sums if isinstance(sums, Pooled) else Pooled(sums.out.dims, [sums])
        return Pooled(pooled.rows, [*pooled.body, *members]) if _by_element(pooled, members) else None
    if isinstance(sums, Reduction) and of_columns(sums):
        alone = Columns(tuple(sums.a.dims[d] for d in sums.over), [sums])
        return Columns(alone.rows, [sums, *members]) if _by_column(alone, members) else None
    return None


def _by_column(sums: Columns, members: Sequence[Kernel]) -> bool:
    """Whether these need, of what the sums' kernel writes, the sums alone, and those of their own column."""
    rows, after = sums.parts
    done = {v.array.home: v.along for m in (*sums.sums, *after.body, *members) if (v := writes(m)) is not None}
    other = memory(rows)[1] - {m.out.array.home for m in sums.sums}
    for m in members:
        if m.dims != sums.sums[0].out.dims or missing(m.out) or m.out.array.home in memory(rows)[0]:
            return False
        for v in (*reads(m), m.out):
            if v.array.home in other or done.get(v.array.home, v.along) != v.along:
                return False
    return True


def _by_element(s: Pooled, members: Sequence[Kernel]) -> bool:
    """Whether these need no element of what windows give but their own, and nothing of what the windows are of."""
    (pool,) = s.sums
    done = {v.array.home: v.along for m in (*s.body, *members) if (v := writes(m)) is not None}
    return all(m.dims == pool.out.dims and not missing(m.out) for m in members) \
        and all(v.array.home is not pool.a.array.home and done.get(v.array.home, v.along) == v.along
                for m in members for v in (*reads(m), m.out))


__all__ = ["memory", "with_epilogues"]
