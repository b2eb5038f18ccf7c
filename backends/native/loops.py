"""Loops in C, and how they are marked for compilers that compute several of their steps at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...compiler.program import View
from ...compiler.sizes import Size
from .kernels import length

INDENT = "    "
FIRST = {"sum": "0", "prod": "1", "max": "-INFINITY", "min": "INFINITY"}


def loops(over: Sequence[tuple[str, Size]], body: list[str], mark: str = "") -> Iterator[str]:
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


__all__ = ["FIRST", "INDENT", "accumulate", "adding", "loops"]
