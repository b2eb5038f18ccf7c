"""Rows added up by class as kernels: each class finds its rows by itself, or rows are sorted by their class before.

    d_E[k] = sum[b : x[b] = k] d_e[b]

Each class adds up its rows in an order that is always the same, so that results repeat to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...compiler.program import Scatter
from ...compiler.sizes import product
from ..native.kernels import length
from .geometry import TILE, Geometry, blocks_of, split

if TYPE_CHECKING:
    from .statements import Statements

FEW = 256                                                        # classes each of which looks through all rows itself
ACROSS = 4                                                       # columns that a thread then adds up at once
WARPS = 8                                                        # of a block, which share the rows


def print_scatter(s: Scatter, print_: Statements) -> Iterator[str]:
    """Blocks for each class look through all rows, a warp at 32 of them at once; what its warps find a block joins in order."""
    at, n = print_.indices(s.a.dims), len(s.index.dims)
    rows, rest = list(zip(at, s.a.dims, strict=True))[:n], list(zip(at, s.a.dims, strict=True))[n:]
    count, columns = (product(tuple(m for _, m in x)) for x in (rows, rest))
    row, name = "row_" if len(rows) > 1 else rows[0][0], rest[0][0] if len(rest) == 1 else "column"
    seen, tile = [f"{i}_" for i, _ in rows] if len(rows) > 1 else ["seen"], ACROSS * TILE
    print_.geometry = Geometry(s.out.dims[0], 1, (TILE, WARPS), blocks_of(columns, tile))
    inside = [*split(name, rest), f"totals[k_] += {print_(s.a, at)};"]
    yield f"__shared__ real parts[{WARPS}][{tile}];"
    yield f"const int chosen = blockIdx.x, n = {length(count)}, low = blockIdx.y * {tile} + threadIdx.x;"
    yield f"real totals[{ACROSS}] = {{{', '.join('0' * ACROSS)}}};"
    yield f"for (int from = {TILE} * threadIdx.y; from < n; from += {WARPS * TILE}) {{".ljust(60) + f" /* {TILE} rows a warp */"
    yield "    const int seen = min(from + (int)threadIdx.x, n - 1);"
    yield from (f"    {line}" for line in split("seen", [(i, m) for i, (_, m) in zip(seen, rows, strict=True)]))
    yield f"    unsigned mine = __ballot_sync(0xffffffffu, from + (int)threadIdx.x < n && {print_(s.index, seen)} == chosen);"
    yield "    for (; mine; mine &= mine - 1) {"
    yield f"        const int {row} = from + __popc((mine & -mine) - 1);"
    yield from (f"        {line}" for line in [*split("row_", rows), *_across(name, length(columns), inside, "break")])
    yield from ["    }", "}"]
    yield "#pragma unroll"
    yield f"for (int k_ = 0; k_ < {ACROSS}; k_++) parts[threadIdx.y][threadIdx.x + {TILE} * k_] = totals[k_];"
    yield from ["__syncthreads();", "if (threadIdx.y > 0) return;"]
    joined = ["real total = 0;", f"for (int w_ = 0; w_ < {WARPS}; w_++) total += parts[w_][threadIdx.x + {TILE} * k_];"]
    stored = [*split(name, rest), f"{print_(s.out, ['chosen', *at[n:]])} = total;"]
    yield from _across(name, length(columns), [*joined, *stored], "return")


def _across(name: str, columns: str, body: list[str], end: str) -> list[str]:
    """A loop over the columns of a thread."""
    return ["#pragma unroll", f"for (int k_ = 0; k_ < {ACROSS}; k_++) {{", f"    const int {name} = low + {TILE} * k_;",
            f"    if ({name} >= {columns}) {end};", *(f"    {line}" for line in body), "}"]


def print_sorted(s: Scatter, print_: Statements) -> Iterator[str]:
    """Rows by their class: a block where a class begins adds up its rows, a column of threads those of one column of it."""
    at, n = print_.indices(s.a.dims), len(s.index.dims)
    rows, rest = list(zip(at, s.a.dims, strict=True))[:n], list(zip(at, s.a.dims, strict=True))[n:]
    count, columns = (product(tuple(m for _, m in x)) for x in (rows, rest))
    tiles = blocks_of(columns, TILE)
    print_.geometry = Geometry(count, 1, (TILE, 8), tiles)
    row, name = "row_" if len(rows) > 1 else rows[0][0], rest[0][0] if len(rest) == 1 else "column"
    own = [f"const int {row} = order[from];", *(split(row, rows) if len(rows) > 1 else ())]
    yield f"const int n = {length(count)}, {name} = blockIdx.y * {TILE} + threadIdx.x;"
    if print_.atomics:
        yield f"if ({name} >= {length(columns)} || threadIdx.y > 0) return;"
        yield f"const int {row} = blockIdx.x;"
        yield from [*(split(row, rows) if len(rows) > 1 else ()), *split(name, rest), f"const int chosen = keys[{row}];"]
        yield f"atomicAdd(&{print_(s.out, ['chosen', *at[n:]])}, {print_(s.a, at)});"
        return
    yield from ["const int chosen = keys[order[blockIdx.x]];",
                "if (blockIdx.x > 0 && keys[order[blockIdx.x - 1]] == chosen) return;",
                f"__shared__ real parts[8][{TILE}];", "real total = 0;"]
    yield f"if ({name} < {length(columns)}) {{"
    yield from (f"    {line}" for line in split(name, rest))
    yield "    for (int from = blockIdx.x + threadIdx.y; from < n && keys[order[from]] == chosen; from += 8) {"
    yield from (f"        {line}" for line in [*own, f"total += {print_(s.a, at)};"])
    yield from ["    }", "}", "parts[threadIdx.y][threadIdx.x] = total;", "__syncthreads();",
                f"if (threadIdx.y > 0 || {name} >= {length(columns)}) return;",
                "for (int k_ = 1; k_ < 8; k_++) total += parts[k_][threadIdx.x];", *split(name, rest),
                f"{print_(s.out, ['chosen', *at[n:]])} = total;"]


__all__ = ["FEW", "print_scatter", "print_sorted"]
