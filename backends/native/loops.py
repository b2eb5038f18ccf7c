"""Loops in C, and how they are marked for compilers that compute several of their steps at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...compiler.program import View
from ...compiler.sizes import Size, product
from .kernels import length

Loops = Sequence[tuple[str, Size]]                               # a variable and a length each
INDENT = "    "
FEW = 16                                                         # rows that are no block
WIDE = 1024                                                      # columns whose sums may stand on the stack
FIRST = {"sum": "0", "prod": "1", "max": "-INFINITY", "min": "INFINITY"}


def loops(over: Loops, body: list[str], mark: str = "") -> Iterator[str]:
    """One loop a line, the last one, under its mark, with braces where its body is more than a line."""
    pad = ""
    for k, (i, n) in enumerate(over):
        last = k == len(over) - 1
        brace = " {" if last and len(body) > 1 else ""
        yield f"{pad}{mark if last else ''}for (int64_t {i} = 0; {i} < {length(n)}; {i}++){brace}"
        pad += INDENT
    if not over and len(body) > 1:
        yield "{"
        pad = INDENT
    yield from (pad + line for line in body)
    if len(body) > 1:
        yield pad[:-4] + "}"


def accumulate(kind: str, total: str, value: str) -> tuple[str, str]:
    """One step of a reduction into a variable, and the mark of the loop around it."""
    match kind:
        case "sum":
            return f"{total} += {value};", f"SIMD_SUM({total}) "
        case "prod":
            return f"{total} *= {value};", f"SIMD_PROD({total}) "
    return f"{total} = {kind}imum_({total}, {value});", f"SIMD_{kind.upper()}({total}) "


def adding(kind: str, out: View) -> tuple[str, str]:
    """The type of the variable that a reduction goes into, and the cast of what it holds in the end.

    One number in all is added up in double: float loses digits over thousands of terms, and one sum costs nothing beside them.
    """
    return ("double", "(real)") if kind == "sum" and not out.dims else ("real", "")


def added(value: str, over: Loops, out: View, sizes: Mapping[str, int]) -> Iterator[str]:
    """A sum into the variable `total`."""
    wide, cast = adding("sum", out)
    yield f"{wide} total = 0;"
    outer = 0 if cast else blocked(over, (), sizes)
    step, mark = accumulate("sum", "block" if outer else "total", value)
    inner = loops(over[outer:], [step], mark)
    yield from in_blocks(over[:outer], inner, [Part("block", "total", ())]) if outer else inner


@dataclass(frozen=True)
class Part:
    """What a block of rows adds up: a variable beside the element `whole` of the sum, with `columns` to loop over."""

    name: str
    whole: str
    columns: Loops

    @property
    def element(self) -> str:
        return self.name + "".join(f"[{i}]" for i, _ in self.columns)


def blocked(rows: Loops, columns: Loops, sizes: Mapping[str, int]) -> int:
    """How many loops over rows are loops over blocks of them, if columns are added up block by block; 0: they are not.

    A block is what has known `sizes` behind a batch, such as an image: a float that takes the terms of all images loses digits,
    one that takes those of one image, and then the images' sums, next to none.
    """
    outer = len(rows)
    while outer and {*rows[outer - 1][1].symbols} <= {*sizes}:
        outer -= 1
    wide, block = (product(tuple(n for _, n in x)) for x in (columns, rows[outer:]))
    many = {*wide.symbols} <= {*sizes} and wide.evaluate(sizes) <= WIDE and block.evaluate(sizes) >= FEW
    return outer if many else 0


def in_blocks(blocks: Loops, rows: Iterable[str], parts: Sequence[Part]) -> Iterator[str]:
    """Loops over blocks; `rows`: the lines of one, which adds to its parts."""
    before = [f"real {p.name}{''.join(f'[{length(n)}]' for _, n in p.columns)} = {'{0}' if p.columns else '0'};" for p in parts]
    after = [x for p in parts for x in loops(p.columns, [f"{p.whole} += {p.element};"], "SIMD ")]
    yield from loops(blocks, [*before, *rows, *after])


__all__ = ["FIRST", "INDENT", "Part", "accumulate", "added", "adding", "blocked", "in_blocks", "loops"]
