"""What stands around the functions of a truncated model: the state that a chunk starts from, and what it hands on."""

from __future__ import annotations

from ...compiler.graph import Broadcast, Const, Expr, Extent, Param
from ...compiler.passes.carry import Slot
from ...compiler.passes.naming import quoted
from ...compiler.program import BOOL, INT, Array, Function, View
from ...compiler.truncation import FIRST, Truncation
from .expressions import number
from .statements import DTYPES
from .views import kept, shape_text, text

WORDS = ("carry", "start_from")                          # names that the functions of a truncated model use
WIDTH = 100
COPIED = "{}.copy()"
CHUNK = """

    One chunk of a sequence: it starts from `carry`, which the chunk before returned, or from the declared
    boundaries where that is None; the carry for the next chunk is returned.
    """


def leaves(it: Truncation | None) -> dict[Expr, str]:
    """What slots are called, entries of the carry; and what the entry makes of a carry: whether there is none, the offset."""
    if it is None:
        return {}
    return {**{x.node: f"carry[{quoted(x.key)}]" for x in it.slots}, FIRST: "first", it.offset: f"{it.axis}0"}


def offsets(it: Truncation | None) -> dict[str, str]:
    """Time axis -> how many steps came before the chunk."""
    return {it.axis: f"carry[{quoted(it.axis)}]"} if it is not None and it.numbered else {}


def entry(it: Truncation | None, function: Function, values: dict[Array, Expr], uses: set[str]) -> list[str]:
    """The carry: checked, or the declared boundary values where there is none."""
    if it is None:
        return []
    local = {e: a.name for a, e in values.items() if e in (FIRST, it.offset)}
    lines = [f"    {local[FIRST]} = carry is None"] if FIRST in local else []
    items = [f"{quoted(x.key)}: {_declared(x)}" for x in it.slots if x.key in function.carry]
    items += [f"{quoted(it.axis)}: 0"] if it.numbered else []
    if items:
        uses.add("start_from")
        lines += entries("    carry = start_from(carry, ", items, ")")
    if it.offset in local:
        lines.append(f"    {local[it.offset]} = carry[{quoted(it.axis)}]")
    return lines


def _declared(x: Slot) -> str:
    """The declared value of a boundary as an array; where the graph chooses, what is not chosen is zero."""
    base: Expr = x.init
    while isinstance(base, Broadcast):
        base = base.args[0]
    shape = shape_text(x.node.dims)
    if isinstance(base, Param):
        return f"np.broadcast_to(params[{quoted(base.name)}], {shape})"
    dtype = {"real": "dtype", "bool": DTYPES[BOOL]}.get(x.node.type.kind, DTYPES[INT])
    if isinstance(base, Extent):
        return f"np.full({shape}, {base.size.format()}, {dtype})"
    value = base.value if isinstance(base, Const) else 0
    if value in (0, 1):
        return f"np.{'ones' if value else 'zeros'}({shape}, {dtype})"
    return f"np.full({shape}, {number(value)}, {dtype})"


def handed_on(it: Truncation, function: Function, copied: str = COPIED) -> list[str]:
    """The carry of the next chunk: copies, since the workspace is written again."""
    items = [f"{quoted(k)}: {_copy(v, copied)}" for k, v in function.carry.items()]
    steps = f" + {it.axis.upper()}" if it.axis in function.axes else ""       # of a function that reads no sequence, unknown
    items += [f"{quoted(it.axis)}: carry[{quoted(it.axis)}]{steps}"] if it.numbered else []
    return entries("    carry = ", items)


def _copy(v: View, copied: str = COPIED) -> str:
    value = text(v)
    if len(kept(v)) < len(v.dims):
        value = f"np.broadcast_to({value}, {shape_text(v.dims)})"
    return copied.format(value)


def entries(before: str, items: list[str], after: str = "") -> list[str]:
    """A dict on one line, or one entry a line."""
    line = f"{before}{{{', '.join(items)}}}{after}"
    if len(line) <= WIDTH:
        return [line]
    return [f"{before}{{", *(f"        {i}," for i in items), f"    }}{after}"]
