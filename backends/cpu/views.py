"""A view as NumPy indexing."""

from __future__ import annotations

from ...compiler.program import Along, Fixed, View
from ...compiler.sizes import Size


def index_text(v: View, sizes: dict[str, str] | None = None) -> str:
    """The subscript of a view, `[t + 1, :, 4:8]`, without trailing full slices; empty for none."""
    items: list[str] = []
    for k, x in enumerate(v.along):
        if isinstance(x, Fixed):
            items.append(_fixed(x, v.array.dims[k]))
            continue
        lo, hi = x.offset, x.offset + v.dims[x.dim]
        low = "" if lo == 0 else lo.format(sizes)
        high = "" if hi == v.array.dims[k] else _end(hi, v.array.dims[k], sizes)
        items.append(f"{low}:{high}")
    while items and items[-1] == ":":
        items.pop()
    return f"[{', '.join(items)}]" if items else ""


def _fixed(x: Fixed, n: Size) -> str:
    if may_miss(x, n):
        return f"{x.offset}:{x.offset + 1}"
    if x.axis is None:
        return str(x.offset)
    return x.axis if x.offset == 0 else f"{x.axis} {'+' if x.offset > 0 else '-'} {abs(x.offset)}"


def _end(hi: Size, total: Size, sizes: dict[str, str] | None) -> str:
    back = (hi - total).value
    return str(back) if back is not None and back < 0 and hi.value is None else hi.format(sizes)


def kept(v: View) -> list[int]:
    """The output dims that the array has, in the array's order; the others are repeats."""
    return [x.dim for x in v.along if isinstance(x, Along)]


def plain(v: View, sizes: dict[str, str] | None = None) -> str:
    """The indexed array with its own dims in its own order: no transposition, no repeats.

    A step that a short sequence does not have is zero there: it is read as the sum of a slice of one step, or of none.
    """
    missing = [k for k, x in enumerate(v.along) if isinstance(x, Fixed) and may_miss(x, v.array.dims[k])]
    base = v.array.name + index_text(v, sizes)
    if not missing:
        return base
    before = sum(isinstance(x, Along) for x in v.along[:missing[0]])
    return f"np.sum({base}, axis={before})"


def may_miss(x: Fixed, n: Size) -> bool:
    """Whether a step counted from the start or the end lies beyond the shortest sequence, whose length is 1."""
    if x.axis is not None or x.unrolled:
        return False
    shortest = n.evaluate(dict.fromkeys(n.symbols, 1))
    return not -shortest <= x.offset < shortest


def text(v: View, sizes: dict[str, str] | None = None) -> str:
    """The view as it broadcasts against its dims: transposed, with None for repeated dims that are not leading."""
    out, order = plain(v, sizes), kept(v)
    if order != sorted(order):
        out += transposition(order)
        order = sorted(order)
    missing = [d for d in range(len(v.dims)) if d not in order and order and d > order[0]]
    if not missing:
        return out
    items = [":" if d in order else "None" for d in range(order[0], len(v.dims))]
    if all(i == "None" for i in items[len(order):]):
        return f"{out}[..., {', '.join(items[len(order):])}]" if len(order) > 1 else f"{out}[:, {', '.join(items[1:])}]"
    while items[-1] == ":":
        items.pop()
    return f"{out}[{', '.join(items)}]"


def transposition(order: list[int]) -> str:
    """The suffix that brings dims standing in `order` to ascending order."""
    rank = sorted(order)
    perm = [order.index(d) for d in rank]
    if len(perm) == 2:
        return ".T"
    swapped = [k for k, p in enumerate(perm) if k != p]
    if len(swapped) == 2:
        return f".swapaxes({swapped[0]}, {swapped[1]})"
    return f".transpose({', '.join(map(str, perm))})"


def contiguous(v: View) -> bool:
    """Whether the view is one block of memory in its own order: whole, or cut along its first kept dim only."""
    order = kept(v)
    if order != sorted(order) or len(order) != len(v.dims):
        return False
    cut = [k for k, x in enumerate(v.along)
           if isinstance(x, Along) and (x.offset != 0 or v.dims[x.dim] != v.array.dims[k])]
    first = next((k for k, x in enumerate(v.along) if isinstance(x, Along)), 0)
    fixed = [k for k, x in enumerate(v.along) if isinstance(x, Fixed)]
    return all(k == first for k in cut) and all(k < first for k in fixed)
