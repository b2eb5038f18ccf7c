"""Sums over rows as kernels: tiles of columns, whose rows several blocks share where there are many.

    d_b[i] = sum[b] d_a[b, i]          d_a[b, i] = d_h[b, i] * (h[b, i] > 0)

A block has 32 columns and 32 threads for each of them, which take every 32nd row; of several blocks for the same columns each
leaves its part, and the last one joins all parts in their order, so that results repeat to the bit. What is computed element by
element of the same rows stands in the same loop: it is read once, and values that are only added up are stored nowhere. What
is computed of the sums, column by column, is the kernel's epilogue: the thread that has a column's sum computes it.

    mu[i] = (sum[b] a[b, i]) / B
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...compiler.passes.fusion import added_up, walked
from ...compiler.passes.orders import own
from ...compiler.program import Fill, Kernel, Nest, Pick, Reduction, Stmt, Take, reads, writes
from ...compiler.sizes import product
from ..native.kernels import length
from ..native.loops import FIRST, accumulate
from ..native.nests import RowBody
from .geometry import TILE, WORD, Geometry, Over, split, strided

if TYPE_CHECKING:
    from .statements import Statements

MOST = 16                                                        # sums of one kernel


@dataclass(frozen=True)
class Total:
    """A column's sum: its kind, its variable, what a row adds, and where it goes."""

    kind: str
    name: str
    value: str
    target: str

    @property
    def added(self) -> str:
        """What a thread does with a row's value."""
        return accumulate(self.kind, self.name, self.value)[0]


class Columns(Nest):
    """A nest whose rows are added up, and whose threads need their own columns alone; its epilogue has the columns as rows."""

    @property
    def parts(self) -> tuple[Nest, Nest]:
        """What is done at each row, and the epilogue."""
        depth = len(walked(self.body[0]))
        rows, after = ([m for m in self.body if (len(walked(m)) == depth) is x] for x in (True, False))
        return Nest(self.rows, rows), Nest(walked(after[0]) if after else (), after)

    @property
    def sums(self) -> list[Reduction]:
        return [m for m in self.body if isinstance(m, Reduction)]


def of_columns(s: Stmt) -> bool:
    """Whether a statement adds up columns that stand together in memory."""
    if not isinstance(s, Reduction) or s.kind not in WORD or len(s.over) == len(s.a.dims):
        return False
    order = own(s.a)
    return bool(order) and order[-1] not in s.over


def by_column(s: Nest) -> bool:
    """Whether a nest computes element by element, and adds up its rows: each thread needs its own columns alone."""
    sums = [m for m in s.body if isinstance(m, Reduction) and added_up(m)]
    dims = {walked(m) for m in s.body}
    apart = (m for m in sums if len(m.over) != len(s.rows) or (own(m.a) or (0,))[-1] in m.over)
    if not 0 < len(sums) <= MOST or len(dims) > 1 or any(apart):
        return False
    rest = [m for m in s.body if m not in sums]
    if not all(isinstance(m, (Kernel, Take, Pick, Fill)) for m in rest):
        return False
    made = {out.array.home: out.along for m in rest if (out := writes(m)) is not None}
    added = {m.out.array.home for m in sums}
    return not any(v.array.home in added or made.get(v.array.home, v.along) != v.along for m in s.body for v in reads(m)) \
        and len(made) == len(rest)


def print_nest(s: Columns, print_: Statements) -> Iterator[str]:
    """The kernel of a nest that `by_column` allows."""
    rows, after = (n.body for n in s.parts)
    dims = walked(s.body[0])
    over, depth = list(zip(print_.indices(dims), dims, strict=True)), len(s.rows)
    body, totals, inside = list[str](), list[Total](), RowBody(len(dims), False, print_)
    if len(rows) == 1 and isinstance(rows[0], Reduction):
        yield from print_sum(rows[0], print_, after)
        return
    for m in rows:
        if isinstance(m, Reduction):
            totals.append(total_of(m, print_, totals))
            body.append(totals[-1].added)                        # here: a value further on may take the place of what it reads
        else:
            body += inside.run([m])
    yield from columns(over[:depth], over[depth:], totals, body, print_, after)


def print_sum(s: Reduction, print_: Statements, after: Sequence[Stmt] = ()) -> Iterator[str]:
    """The kernel of a sum whose columns stand together in memory."""
    at, order = print_.indices(s.a.dims), own(s.a)
    places = sorted(range(len(at)), key=lambda d: order.index(d) if d in order else -1)
    rows, rest = ([(at[d], s.a.dims[d]) for d in places if (d in s.over) == over] for over in (True, False))
    total = total_of(s, print_, [])
    yield from columns(rows, rest, [total], [total.added], print_, after)
def total_of(s: Reduction, print_: Statements, others: Sequence[Total]) -> Total:
    """The sum of a reduction; one that only the epilogue reads is a variable."""
    at = print_.indices(s.a.dims)
    target = print_(s.out, [x for d, x in enumerate(at) if d not in s.over])
    name = target if s.out.array in print_.local else fresh(s, print_, others)
    return Total(s.kind, name, print_(s.a, at), target)


def fresh(s: Reduction, print_: Statements, others: Sequence[Total]) -> str:
    """A name for a sum."""
    word = f"{print_.names(s.out.array)}_sum"
    return next(x for x in (word, *(f"{word}_{k}" for k in range(2, 1000)))
                if x not in print_.taken and x not in {t.name for t in others})


def epilogue(rows: Over, totals: Sequence[Total], after: Sequence[Stmt], print_: Statements) -> Iterator[str]:
    """What is computed of a column's sums: without the rows' indices, those of the columns are called as they are there."""
    before = print_.indices.open
    print_.indices.open = [*before, *(i for i, _ in rows)]
    for m in after:
        yield from RowBody(len(walked(m)), False, print_, {t.target: t.name for t in totals}).run([m])
    print_.indices.open = before


def columns(rows: Over, rest: Over, totals: Sequence[Total], body: Sequence[str], print_: Statements,
            after: Sequence[Stmt]) -> Iterator[str]:
    """A kernel: what each row does, what its rows add up to, and what is computed of that."""
    count, many = (product(tuple(n for _, n in x)) for x in (rest, rows))
    name = rest[0][0] if len(rest) == 1 else "at"
    grid = f"tiles({count.format()}, {many.format()})"
    print_.geometry = Geometry(count, TILE, (TILE, TILE), grid=grid)
    loop = strided(rows, body, f"gridDim.y * {TILE}", f"blockIdx.y * {TILE} + threadIdx.y")
    yield f"__shared__ real sums[{TILE}][{TILE + 1}];"
    yield f"const int {name} = blockIdx.x * {TILE} + threadIdx.x;"
    yield from (f"real {', '.join(f'{t.name} = {FIRST[t.kind]}' for t in totals[k:k + 4])};" for k in range(0, len(totals), 4))
    yield f"if ({name} < {length(count)}) {{"
    yield from (f"    {line}" for line in [*split(name, rest), *loop])
    yield "}"
    yield from (f"{t.name} = by_column<{WORD[t.kind]}>({t.name}, sums);" for t in totals)
    yield "if (gridDim.y > 1) {"
    yield from (f"    leave(left, {k}, {t.name});" for k, t in enumerate(totals))
    yield "    if (!last_block(&arrived[blockIdx.x], gridDim.y)) return;"
    yield from (f"    {t.name} = all_rows<{WORD[t.kind]}>({FIRST[t.kind]}, left, {k}, sums);" for k, t in enumerate(totals))
    yield "}"
    yield f"if (threadIdx.y > 0 || {name} >= {length(count)}) return;"
    yield from split(name, rest)
    yield from (f"{t.target} = {t.name};" for t in totals if t.target != t.name)
    yield from epilogue(rows, totals, after, print_)


__all__ = ["Columns", "by_column", "of_columns", "print_nest", "print_sum"]
