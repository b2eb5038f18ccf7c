"""A view as NumPy indexing."""

from __future__ import annotations

from ...compiler.graph import length
from ...compiler.program import Along, Array, Fixed, Ranges, View, may_miss, missing
from ...compiler.sizes import Size, size


def ranges(v: View) -> Ranges | None:
    """What a view reads along each dim of its array, as (first index, length), all steps of a loop together.

    None where it takes a single index of its own.
    """
    out: list[tuple[Size, Size]] = []
    for x in v.along:
        if isinstance(x, Along):
            out.append((x.offset, v.dims[x.dim]))
        elif x.axis is not None or x.unrolled:
            out.append((size(x.offset), length(x.axis) if x.axis else size(0)))
        else:
            return None
    return tuple(out)


def everything(array: Array) -> Ranges:
    """All of an array."""
    return tuple((size(0), n) for n in array.dims)


def _base(v: View) -> tuple[str, Ranges]:
    """The named part of the array that comes closest to a view: its name and ranges; the array itself where none does."""
    wanted = ranges(v)
    best, found = 0, (v.array.name, everything(v.array))
    for have, name in v.array.views.items() if wanted is not None else ():
        if have == wanted:
            return name, have
        loops = [isinstance(x, Fixed) for x in v.along]
        full = everything(v.array)
        fits = all(_behind(w, h, f[1], x) if loop else h in (w, f)
                   for loop, h, w, f, x in zip(loops, have, wanted or (), full, v.along, strict=True))
        score = sum(h != f for h, f in zip(have, full, strict=True))
        if fits and any(loops) and score > best:
            best, found = score, (name, have)
    return found


def _behind(wanted: tuple[Size, Size], have: tuple[Size, Size], n: Size, x: Along | Fixed) -> bool:
    """Whether every step of an array that is read is a step of its part, counted from the part's start.

    Steps of an unrolled loop are known one by one, and how many there are is not: they are steps of a part that reaches the
    array's end, and the first one is a step of any.
    """
    before, after = (wanted[0] - have[0]).value, (have[0] + have[1] - wanted[0] - wanted[1]).value
    if before is None or before < 0 or not isinstance(x, Fixed) or x.end:
        return False
    if x.unrolled and (have[0] + have[1] == n or x.axis is None):
        return have[0] + have[1] == n or before == 0
    return after is not None and after >= 0


def name_of(v: View) -> str:
    """What a view is called: the part that it is, or its array."""
    return _base(v)[0]


def part_dims(v: View) -> tuple[Size, ...]:
    """The shape of the named part that a view is cut from, or of its array."""
    return tuple(n for _, n in _base(v)[1])


def _items(v: View, within: Ranges, sizes: dict[str, str] | None) -> list[str]:
    """The subscripts of a view inside the part of its array that `within` is."""
    items: list[str] = []
    for x, n, (start, count) in zip(v.along, v.array.dims, within, strict=True):
        if isinstance(x, Fixed):
            items.append(_fixed(x, n, start.value or 0))
            continue
        lo, hi = x.offset - start, x.offset + v.dims[x.dim] - start
        low = "" if lo == 0 else lo.format(sizes)
        high = "" if hi == count else _end(hi, count, sizes)
        items.append(f"{low}:{high}")
    while items and items[-1] == ":":
        items.pop()
    return items


def part_text(array: Array, part: Ranges, sizes: dict[str, str] | None = None) -> str:
    """A part of an array, as it is cut from it: `hs[1:]`, `fio[..., :H]`."""
    v = View(array, tuple(Along(k, lo) for k, (lo, _) in enumerate(part)), tuple(n for _, n in part))
    items = _items(v, everything(array), sizes)
    if len(items) == len(array.dims) > 2 and all(i == ":" for i in items[:-1]):
        items = ["...", items[-1]]
    return f"{array.name}[{', '.join(items)}]" if items else array.name


def assigned(target: str) -> str:
    """A target of an assignment that fills it."""
    return target if target.endswith("]") else f"{target}[...]"


def _fixed(x: Fixed, n: Size, start: int) -> str:
    if may_miss(x, n):
        return f"{x.offset}:{x.offset + 1 or ''}"
    at = x.offset - start
    if x.axis is None:
        return str(at if x.unrolled and not x.end else x.offset)
    return x.axis if at == 0 else f"{x.axis} {'+' if at > 0 else '-'} {abs(at)}"


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
    absent = missing(v)
    name, within = _base(v)
    items = _items(v, within, sizes)
    base = f"{name}[{', '.join(items)}]" if items else name
    if not absent:
        return base
    before = sum(isinstance(x, Along) for x in v.along[:absent[0]])
    return f"np.sum({base}, axis={before})"


def text(v: View, sizes: dict[str, str] | None = None) -> str:
    """The view as it broadcasts against its dims: transposed, with None for repeated dims that are not leading."""
    out, order = plain(v, sizes), kept(v)
    if order != sorted(order):
        out += transposition(order)
        order = sorted(order)
    repeats = [d for d in range(len(v.dims)) if d not in order and order and d > order[0]]
    if not repeats:
        return out
    items = [":" if d in order else "None" for d in range(order[0], len(v.dims))]
    if all(i == "None" for i in items[len(order):]):
        return f"{out}[..., {', '.join(items[len(order):])}]" if len(order) > 1 else f"{out}[:, {', '.join(items[1:])}]"
    while items[-1] == ":":
        items.pop()
    return f"{out}[{', '.join(items)}]"


def repeated(v: View, sizes: dict[str, str] | None = None) -> str:
    """A view whose repeats are elements like others: for what takes dims from an operand, and adds up along them."""
    found = text(v, sizes)
    return found if len(kept(v)) == len(v.dims) else f"np.broadcast_to({found}, {shape_text(v.dims, sizes)})"


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


def shape_text(dims: tuple[Size, ...], sizes: dict[str, str] | None = None) -> str:
    """Dims as a Python tuple."""
    return f"({', '.join(d.format(sizes) for d in dims)}{',' if len(dims) == 1 else ''})"
