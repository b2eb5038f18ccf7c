"""How a statement's work is shared: along which dim, and what each thread then touches in memory.

A statement is shared along one of the dims that its loops walk through: along the batch where it has one, so that what a thread
reads is mostly what it has written. No sum is shared: every element is computed as one thread would.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...compiler.graph import BATCH
from ...compiler.graph import length as axis_length
from ...compiler.passes.fusion import added_up, walked
from ...compiler.passes.memory import nominal
from ...compiler.program import (
    Along,
    Array,
    Convolve,
    Copy,
    Correlate,
    Draw,
    Fill,
    Kernel,
    Nest,
    Pick,
    Pool,
    Product,
    Reduction,
    Refold,
    Scatter,
    Stmt,
    Take,
    Unfold,
    Unpool,
    View,
    Winner,
    reads,
    writes,
)
from ...compiler.sizes import Size, product, symbol
from .indexing import dense
from .kernels import length

SMALL = 4096                                                     # elements that one thread computes alone
FEW = 16                                                         # rows or columns of a product of which no share is worth a call
EXAMPLES = axis_length(BATCH)
PARTS = symbol("parts")


@dataclass(frozen=True)
class Share:
    """Along which dim a statement is shared: its number among the dims walked through, its length; of a product, its label."""

    dim: int
    size: Size
    label: str | int | None = None
    word: str = ""                                               # of a matrix product: rows or columns of the result

    @property
    def bounds(self) -> tuple[str, str]:
        n = re.sub(r"\W+", "_", length(self.size)).strip("_")
        return f"from_{n}", f"to_{n}"


@dataclass(frozen=True)
class Touch:
    """How a statement touches an array: the dim of the array that is shared, None where each thread touches all of it.

    `alone`: by the first thread.
    """

    array: Array
    written: bool
    dim: int | None
    part: Size | None = None
    alone: bool = False


def shares_of(s: Stmt, private: frozenset[Array], sizes: Mapping[str, int], looped: bool = False) -> list[Share]:
    """How a statement may be shared, the best way first; in no way where one thread does all of it.

    `looped`: inside a loop over time, where what belongs to an example stays with its thread.
    """
    if isinstance(s, Product):
        return _of_product(s, sizes, looped)
    if isinstance(s, Correlate):                                 # elements of the kernel: which, its function knows
        return [Share(0, PARTS)]
    dims = dims_of(s)
    if not dims:
        return []
    rows = len(s.rows) if isinstance(s, Nest) else len(dims)
    batch = next((d for d, n in enumerate(dims[:rows]) if n == EXAMPLES), None)
    small = nominal(product(_most(s)), sizes) < SMALL
    order = _in_memory(s, len(dims))
    found = list[Share]()
    for d in dict.fromkeys(([batch] if batch is not None else []) + ([] if small else order)):
        if nominal(dims[d], sizes) > 1:
            found.append(Share(d, dims[d]))
    return [x for x in found if _may(s, x, private)]


def dims_of(s: Stmt) -> tuple[Size, ...]:
    """The dims along which a statement might be shared."""
    match s:
        case Nest(_, body):
            return max((walked(m) for m in body), key=len)
        case Kernel() | Take() | Pick() | Fill():
            return walked(s)
        case Copy(out, a, flip) if out.dims == a.dims and not flip and not out.array.packed:
            return out.dims
        case (Copy(out, a) | Pool(out, _, a) | Unpool(out, a) | Winner(out, a) | Convolve(out, a) | Unfold(out, a)
              | Refold(out, a)):
            return out.dims[:1] if out.dims[:1] == a.dims[:1] == (EXAMPLES,) else ()
        case Reduction(_, out):
            return out.dims
        case Draw(out) if out.dims and dense(out):
            return out.dims[:1]
    return ()


def _in_memory(s: Stmt, n: int) -> list[int]:
    """The dims in the order in which they stand in memory, the outermost first."""
    out = None if isinstance(s, (Nest, Draw)) else writes(s)
    found = [x.dim for x in out.along if isinstance(x, Along)] if out is not None else []
    return found if sorted(found) == [*range(n)] else [*range(n)]


def _most(s: Stmt) -> tuple[Size, ...]:
    return s.a.dims if isinstance(s, Reduction) else s.out.dims if isinstance(s, Draw) else dims_of(s)


def _may(s: Stmt, share: Share, private: frozenset[Array]) -> bool:
    """Whether a statement's elements along a dim are independent of each other, and its printed loops are cut along it."""
    if not isinstance(s, Nest):
        out = writes(s)
        return out is not None and _at(out, share.dim) is not None
    if share.dim < len(s.rows):
        return not any(added_up(m) for m in s.body) and all(
            m.out.array in private or _at(m.out, share.dim) is not None for m in s.body)        # type: ignore[union-attr]
    dims = dims_of(s)
    if not all(walked(m) == dims and (not isinstance(m, Reduction) or added_up(m)) for m in s.body):
        return False
    found = [*touches(s, share)]
    inside = {t.array for t in found if t.written}               # no thread may need another one's part of a row
    return len({(t.array, t.dim) for t in found if t.array in inside}) == len(inside) and all(
        t.dim is not None for t in found if t.array in inside)


def own_dim(s: Stmt, dim: int) -> int:
    """The dim of a member's output that is a dim of what the member walks through."""
    if isinstance(s, Reduction):
        return dim - sum(d < dim for d in s.over)
    return dim - len(s.index.dims) + 1 if isinstance(s, Scatter) else dim


def _at(v: View, dim: int) -> int | None:
    """The dim of an array that a view walks through along one of its own dims, over all of its length."""
    found = [k for k, x in enumerate(v.along) if isinstance(x, Along) and x.dim == dim]
    return found[0] if len(found) == 1 and dim >= 0 else None


# ---------------------------------------------------------------- products

def _of_product(s: Product, sizes: Mapping[str, int], looped: bool) -> list[Share]:
    """Many products, product by product; one, by rows of the result, which lie together in memory.

    Each thread reads all of the other operand: where that is the larger one, a layer's weight, by columns. In a loop over time
    rows are examples, and stay with their threads.
    """
    size = {k: n for v, ls in ((s.a, s.la), (s.b, s.lb)) for k, n in zip(ls, v.dims, strict=True)}
    common = [k for k in s.lo if k in s.la and k in s.lb]
    if not s.lo:
        return []
    if common:
        return [Share(s.lo.index(common[0]), size[common[0]], label=common[0])]
    place = {s.lo[x.dim]: k for k, x in enumerate(s.out.along) if isinstance(x, Along)}
    first = min(s.lo, key=lambda k: place.get(k, 99))
    rows = [k for k in s.lo if (k in s.la) == (first in s.la)]
    columns = [k for k in s.lo if k not in rows]
    if not columns and first not in s.la:
        rows, columns = columns, rows
    m, n = (product(tuple(size[k] for k in group)) for group in (rows, columns))
    ways = [Share(s.lo.index(by[0]), count, by[0] if len(by) == 1 else None, word)
            for by, count, word in ((rows, m, "rows"), (columns, n, "columns")) if by and nominal(count, sizes) >= FEW]
    more = EXAMPLES in (size[k] for k in rows) and nominal(m, sizes) < nominal(n, sizes)
    return ways[::-1] if more and not looped else ways


# ---------------------------------------------------------------- who touches what

def touches(s: Stmt, share: Share | None) -> Iterator[Touch]:
    """How the threads of a team touch memory in a statement."""
    for m in s.body if isinstance(s, Nest) else [s]:
        out = writes(m)
        for v, written in (*((v, False) for v in reads(m)), *(((out, True),) if out is not None else ())):
            dim = None if share is None else _shared_dim(m, v, written, share, s)
            part = share.size if share is not None and dim is not None else None
            yield Touch(v.array.home, written, dim, part, share is None)


def _shared_dim(m: Stmt, v: View, written: bool, share: Share, s: Stmt) -> int | None:
    """The dim of a view's array that is shared as the statement is: all of that dim, from its first element on."""
    if isinstance(m, Product):
        labels = m.lo if written else m.la if v is m.a else m.lb
        dim = labels.index(share.label) if share.label in labels and share.label is not None else -1
    elif written:
        dim = own_dim(m, share.dim) if isinstance(s, Nest) else share.dim
    elif isinstance(m, Reduction):
        kept = [d for d in range(len(m.a.dims)) if d not in m.over]
        dim = share.dim if isinstance(s, Nest) else kept[share.dim]
    elif isinstance(m, (Take, Pick, Scatter)) and v is not m.index:
        dim = _looked_up(m, v, share.dim)
    else:
        dim = share.dim
    at = _at(v, dim) if dim < len(v.dims) else None
    if at is None or v.array.dims[at] != share.size or v.along[at].offset != 0:
        return None
    return at


def _looked_up(m: Take | Pick | Scatter, v: View, dim: int) -> int:
    """The dim of what is looked up in, or scattered, that goes with a dim of the statement; -1: none."""
    if isinstance(m, Take):
        return dim - len(m.index.dims) + 1 if dim >= len(m.index.dims) else -1
    return dim


def clash(a: Touch, b: Touch) -> bool:
    """Whether different threads may touch the same element, and one of them writes it."""
    if not (a.written or b.written) or (a.alone and b.alone):
        return False
    return a.array is not b.array or a.dim is None or (a.dim, a.part) != (b.dim, b.part)
