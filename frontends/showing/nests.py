"""The schedule of a native backend as text: which statements share loops, what stays apart and why, what memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...backends.native.matrices import form
from ...compiler.passes.fusion import inner_loops, partial, walked
from ...compiler.program import Array, Block, Loop, Nest, Product, Stmt, flat, writes
from ...compiler.sizes import Size
from .programs import statement_lines

WIDTH = 60                                                       # the column at which remarks stand


def nests_text(program: Any) -> str:
    """For each function: its statements as they share loops, then why others do not, then its memory."""
    parts = []
    for name, printer in program.printers.items():
        lines = [f"    {line}" for line in _body(printer.function.body, printer.own)]
        parts.append("\n".join([f"{name}:", *lines, *_apart(printer.why), *_memory(printer)]))
    return "\n\n".join(parts)


def _body(body: Sequence[Stmt], own: dict[Array, tuple[int, ...]]) -> Iterator[str]:
    for s in body:
        match s:
            case Block():
                yield from _body(s.body, own)
            case Loop(axis=axis, reverse=reverse):
                n = axis.upper()
                steps = "" if s.copies == 1 else f", {s.copies} steps at a time" if s.copies > 1 else ""
                yield f"for {axis} = {f'{n}-1, ..., 0' if reverse else f'0, ..., {n}-1'}{steps}:"
                yield from (f"    {line}" for line in _body(s.body, own))
            case Nest(rows=rows):
                yield f"in one loop over {_dims(rows)}:"
                yield from (f"    {line}" for line in _nest(s, own))
            case _:
                yield from _line(s, own)


def _nest(s: Nest, own: dict[Array, tuple[int, ...]]) -> Iterator[str]:
    """The members of a nest, those that share the loops inside a row under those."""
    depth = len(s.rows)
    for run in inner_loops(s.body, depth):
        inner = walked(run[0])[depth:]
        if inner and not partial(run[0], depth):
            yield f"along {_dims(inner)}:"
        for m in run:
            yield from (f"{'    ' if inner else ''}{line}" for line in _line(m, own))


def _line(s: Stmt, own: dict[Array, tuple[int, ...]]) -> Iterator[str]:
    """A statement, and how it is computed where that is no loop of its own."""
    remark, out = "", writes(s)
    if isinstance(s, Product):
        found = form(s)
        many = "" if found is None or not found.common else f"{_dims([found.size[k] for k in found.common])} products, each "
        remark = "sums in loops" if found is None else "matrix product, " + many + " x ".join(
            str(found.count(k)) for k in (found.m, found.k, found.n))
    elif out is not None and out.array in own:
        remark = "kept in a variable" if not own[out.array] else "kept for one row"
    for line in statement_lines(s):
        yield f"{line.ljust(WIDTH)}  {remark}" if remark else line
        remark = ""


def _dims(dims: Sequence[Size]) -> str:
    return ", ".join(map(str, dims))


def _apart(why: Sequence[str]) -> list[str]:
    return ["    apart:", *(f"        {x}" for x in dict.fromkeys(why))] if why else []


def _memory(printer: Any) -> Iterator[str]:
    """How many buffers hold how many values, and those that have none."""
    values = [a for slot in printer.plan.slots for a, _, _ in slot.members]
    yield "    memory:"
    yield f"        {len(printer.plan.slots)} buffers hold {len(values)} values, one after the other (show --stage memory)"
    written = dict.fromkeys(v.array for s in flat(printer.function.body) if (v := writes(s)) is not None)
    placed = [f"{a.name} in {a.home.name}" for a in written if a.name != a.home.name]
    if placed:
        yield f"        in place of what they are computed from: {', '.join(placed)}"
    if printer.own:
        yield f"        in no buffer, as one row alone needs them: {', '.join(a.name for a in printer.own)}"


__all__ = ["nests_text"]
