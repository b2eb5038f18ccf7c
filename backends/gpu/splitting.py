"""Which statements share a kernel: nests are cut where threads would be few or would wait, numbers are put together."""

from __future__ import annotations

from dataclasses import replace

from ...compiler.passes.fusion import added_up, inner_loops, walked
from ...compiler.program import Block, Kernel, Loop, Nest, Reduction, Scatter, Stmt
from .columns import Columns, by_column


def by_kernels(body: list[Stmt], looped: bool = False) -> list[Stmt]:
    """What a GPU does apart stands apart: sums over rows are no part of a nest. Numbers share a kernel with their neighbours.

    `looped`: a step of a loop, where few launches are worth more than many threads.
    """
    out = list[Stmt]()
    for s in body:
        if isinstance(s, (Block, Loop)):
            out.append(replace(s, body=by_kernels(s.body, looped or isinstance(s, Loop))))
        elif isinstance(s, Nest):
            if by_column(s) and not looped:
                out.append(Columns(s.rows, s.body))
                continue
            rows = [m for m in s.body if not (isinstance(m, (Reduction, Scatter)) and added_up(m))]
            wide = not looped and any(len(walked(m)) > len(s.rows) + 1 for m in rows)
            parts = inner_loops(rows, len(s.rows)) if wide and not any(isinstance(m, Reduction) for m in rows) else [rows]
            for part in parts:                                   # rows of several dims: more threads than a row's would share
                dims = s.rows if len(parts) == 1 else walked(part[0])
                out += [Nest(dims, part)] if len(part) > 1 else part
            sums = [m for m in s.body if m not in rows]
            together = len(sums) > 1 and not looped and by_column(Nest(s.rows, sums))
            out += [Columns(s.rows, sums)] if together else sums
        else:
            out.append(s)
    return _numbers(out)


def _numbers(body: list[Stmt]) -> list[Stmt]:
    """Blocks that only compute numbers, one after the other, as one nest without rows."""
    out = list[Stmt]()
    for s in body:
        small = isinstance(s, Block) and all((isinstance(x, Nest) and not x.rows) or _number(x) for x in s.body) and s.body
        if isinstance(s, Block) and small:
            members = [m for x in s.body for m in (x.body if isinstance(x, Nest) else [x])]
            last = out[-1] if out else None
            if isinstance(last, Block) and last.heading == s.heading and last.section == s.section \
                    and isinstance(last.body[0], Nest) and not last.body[0].rows:
                out[-1] = Block((*last.values, *s.values), [Nest((), [*last.body[0].body, *members])], s.section, s.heading)
            else:
                out.append(Block(s.values, [Nest((), members)], s.section, s.heading))
        else:
            out.append(s)
    return out


def _number(s: Stmt) -> bool:
    """Whether a statement computes one number from numbers, or by a reduction."""
    if isinstance(s, Kernel):
        return not s.dims
    return isinstance(s, Reduction) and len(s.over) == len(s.a.dims) and s.kind in ("sum", "max", "min", "prod") and bool(s.over)


__all__ = ["by_kernels"]
