"""What each thread of a team does: the rows of a statement that are its share, and where all wait for all.

Input    the statements of a function, its memory planned
Output   for every statement its `Share`; the statements before which threads must meet

A statement is shared along one of the dims that its loops walk through: along the batch where it has one, so that what a thread
reads is mostly what it has written, and a loop over time runs from end to end without a meeting. No sum is shared: every
element is computed as one thread would, and results do not depend on the number of threads, to the bit.

Threads meet before a statement that touches what another thread may have touched since the last meeting, if one of both writes.
Arrays that live in the same slot of the workspace count as the same memory.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...compiler.graph import BATCH
from ...compiler.graph import length as axis_length
from ...compiler.passes.fusion import added_up, walked
from ...compiler.passes.memory import Plan, nominal
from ...compiler.program import (
    Along,
    Array,
    Block,
    Convolve,
    Copy,
    Correlate,
    Draw,
    Fill,
    Kernel,
    Loop,
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
    flat,
    reads,
    writes,
)
from ...compiler.sizes import Size, product, symbol
from .indexing import dense
from .kernels import length

if TYPE_CHECKING:
    from .statements import Statements

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
    dims = _dims(s)
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


def _dims(s: Stmt) -> tuple[Size, ...]:
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
    return s.a.dims if isinstance(s, Reduction) else s.out.dims if isinstance(s, Draw) else _dims(s)


def _may(s: Stmt, share: Share, private: frozenset[Array]) -> bool:
    """Whether a statement's elements along a dim are independent of each other, and its printed loops are cut along it."""
    if not isinstance(s, Nest):
        out = writes(s)
        return out is not None and _at(out, share.dim) is not None
    if share.dim < len(s.rows):
        return not any(added_up(m) for m in s.body) and all(
            m.out.array in private or _at(m.out, share.dim) is not None for m in s.body)        # type: ignore[union-attr]
    dims = _dims(s)
    if not all(walked(m) == dims and (not isinstance(m, Reduction) or added_up(m)) for m in s.body):
        return False
    found = [*touches(s, share)]
    inside = {t.array for t in found if t.written}               # no thread may need another one's part of a row
    return len({(t.array, t.dim) for t in found if t.array in inside}) == len(inside) and all(
        t.dim is not None for t in found if t.array in inside)


def _own(s: Stmt, dim: int) -> int:
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
        dim = _own(m, share.dim) if isinstance(s, Nest) else share.dim
    elif isinstance(m, Reduction):
        kept = [d for d in range(len(m.a.dims)) if d not in m.over]
        dim = share.dim if isinstance(s, Nest) else kept[share.dim]
    elif isinstance(m, (Take, Pick, Scatter)) and v is not m.index:
        dim = _looked_up(m, v, share.dim)
    else:
        dim = share.dim
    at = _at(v, dim) if dim < len(v.dims) else None
    if at is None or v.array.dims[at] != share.size or v.along[at].offset != 0:     # type: ignore[union-attr]
        return None
    return at


def _looked_up(m: Take | Pick | Scatter, v: View, dim: int) -> int:
    """The dim of what is looked up in, or scattered, that goes with a dim of the statement; -1: none."""
    if isinstance(m, Take):
        return dim - len(m.index.dims) + 1 if dim >= len(m.index.dims) else -1
    return dim


def clash(a: Touch, b: Touch) -> bool:
    """Whether different threads may touch the same element, and one of them writes it."""
    if not (a.written or b.written) or a.alone and b.alone:
        return False
    return a.array is not b.array or a.dim is None or (a.dim, a.part) != (b.dim, b.part)


# ---------------------------------------------------------------- meetings

@dataclass
class Team:
    """How a function is divided: each statement's share by its id, and the statements before which threads meet.

    `private`: arrays that every row, and so every thread, has for itself; `returned`: numbers that the caller is given.
    """

    plan: Plan
    private: frozenset[Array]
    returned: frozenset[Array]
    sizes: Mapping[str, int] = field(default_factory=dict)
    shares: dict[int, Share | None] = field(default_factory=dict)
    meetings: set[int] = field(default_factory=set)
    slots: dict[Array, int] = field(default_factory=dict)
    since: dict[int, set[Touch]] = field(default_factory=dict)   # by place in memory: touched since the last meeting
    loops: int = 0                                               # around the statement that is looked at

    def __post_init__(self) -> None:
        self.slots = {a.home: k for k, slot in enumerate(self.plan.slots) for a, _, _ in slot.members}

    def divide(self, body: list[Stmt]) -> None:
        """Divide the statements of a body; of a loop twice, as its last statement comes before its first."""
        for s in body:
            if isinstance(s, Block):
                self.divide(s.body)
            elif isinstance(s, Loop):
                self.loops += 1
                if self._clashes(t for x in _inside(s.body) for t in self._touches(x)):
                    self.meetings.add(id(s))                     # before the loop, not at each of its steps
                    self.since = {}
                before = {k: {*v} for k, v in self.since.items()}
                self.divide(s.body)
                if not s.straight:
                    self.divide(s.body)
                    for k, v in before.items():                  # the loop may have no step
                        self.since.setdefault(k, set()).update(v)
                self.loops -= 1
            else:
                found = [*self._touches(s)]
                if id(s) in self.meetings or self._clashes(found):
                    self.meetings.add(id(s))
                    self.since = {}
                for t in found:
                    self.since.setdefault(self._place(t.array), set()).add(t)

    def _touches(self, s: Stmt) -> Iterator[Touch]:
        """What a statement touches, shared in the way for which nobody waits, if there is one."""
        own = self.everywhere(s)
        if id(s) not in self.shares:
            ways = [] if own else shares_of(s, self.private, self.sizes, self.loops > 0)
            if not self.loops and not isinstance(s, Product):
                ways = [x for x in ways if not self._clashes(t for t in touches(s, x) if not self._own(t.array))] or ways
            self.shares[id(s)] = ways[0] if ways else None
        yield from (replace(t, alone=t.alone and not own) for t in touches(s, self.shares[id(s)]) if not self._own(t.array))

    def _clashes(self, found: Iterable[Touch]) -> bool:
        return any(clash(t, w) for t in found for w in self.since.get(self._place(t.array), ()))

    def _place(self, a: Array) -> int:
        return self.slots.get(a.home, -1 - id(a.home))

    def _own(self, a: Array) -> bool:
        """Whether every thread has its own: a variable of the function or of a row."""
        return a in self.private or not a.dims and a.role == "value" and a not in self.returned

    def everywhere(self, s: Stmt) -> bool:
        """Whether each thread computes a statement for itself, as its value is a variable."""
        out = writes(s)
        return out is not None and self._own(out.array)

    def bounds(self, text: str) -> list[str]:
        """The variables of a text that hold where a thread's shares begin and end."""
        words = {*re.findall(r"\w+", text)}
        every = {x.bounds: length(x.size) for x in self.shares.values() if x is not None}
        return [f"const int64_t {low} = FROM({n}), {high} = TO({n});" for (low, high), n in sorted(every.items()) if low in words]

    def lines(self, s: Stmt, print: Statements) -> list[str]:
        """A statement's lines: its loops as each thread's share of them."""
        share, text = self.shares[id(s)], [*print.lines(s)]
        if share is None:
            return text if self.everywhere(s) else alone(text)
        return shared(s, text, share, print)


def shared(s: Stmt, text: list[str], share: Share, print: Statements) -> list[str]:
    """A statement's lines with its loop along the shared dim, or its matrix product, cut."""
    if isinstance(s, Draw):
        return print.draw(s, *share.bounds)
    if isinstance(s, Product):
        return _shared_product(s, text, share, print)
    if isinstance(s, Correlate):
        return [x.replace(", 0, 1);", ", me, us->many);") for x in text]
    if isinstance(s, Convolve):
        low, high = share.bounds
        return [x.replace(f", 0, {share.size.format()});", f", {low}, {high});") for x in text]
    filled = [m.out for m in (s.body if isinstance(s, Nest) else [s]) if isinstance(m, (Reduction, Scatter)) and added_up(m)]
    zeros = [[*print.lines(Fill(v, 0))] for v in filled]
    if not isinstance(s, Nest) and text[:len(zeros[0]) if zeros else 0] != (zeros[0] if zeros else []):
        zeros = []                                               # summed into a variable
    out, at = list[str](), 0
    for v, m, lines in zip(filled, [m for m in (s.body if isinstance(s, Nest) else [s]) if writes(m) in filled], zeros, strict=False):
        dim = _own(m, share.dim) if isinstance(s, Nest) else share.dim
        out += _cut(lines, print.indices(v.dims)[dim], share)
        at += len(lines)
    if isinstance(s, Reduction):
        var = print.indices(s.a.dims)[[d for d in range(len(s.a.dims)) if d not in s.over][share.dim]]
    else:
        var = print.indices(_dims(s))[share.dim]
    return out + _cut(text[at:], var, share)


def _cut(lines: list[str], var: str, share: Share) -> list[str]:
    """The loops over a variable from a thread's first index to its last."""
    n, (low, high) = length(share.size), share.bounds
    old, new = f"for (int64_t {var} = 0; {var} < {n}; {var}++)", f"for (int64_t {var} = {low}; {var} < {high}; {var}++)"
    out = [x.replace(old, new) for x in lines]
    assert out != lines, f"no loop over {var} < {n} in {lines}"
    return out


def _shared_product(s: Product, text: list[str], share: Share, print: Statements) -> list[str]:
    call = re.search(r"\bgemm\w*\(", text[-1])
    n = length(share.size)
    if call is None:
        size = {k: n for v, ls in ((s.a, s.la), (s.b, s.lb), (s.out, s.lo)) for k, n in zip(ls, v.dims, strict=True)}
        order = [*s.lo, *(k for k in size if k not in s.lo)]
        own = share if share.label is not None else replace(share, size=size[s.lo[share.dim]])     # of the rows only the first dim
        return _cut(text, print.indices([size[k] for k in order])[share.dim], own)
    if not share.word:                                           # one of many products
        return _cut(text, "c0", share)
    sizes = [x.strip() for x in text[-1].split("(", 1)[1].split(",")]
    assert n in sizes[2:4], f"{n} is not among the sizes of {text[-1]}"
    return [*text[:-1], text[-1].replace(call[0], f"{call[0][:-1]}_{share.word}(")]


def alone(lines: list[str]) -> list[str]:
    """What the first thread does for all."""
    if sum(x[:1] not in (" ", "}") for x in lines) == 1:
        return [f"ALONE {lines[0]}", *lines[1:]]
    return ["ALONE {", *(f"    {x}" for x in lines), "}"]


def cost(body: list[Stmt]) -> Size:
    """Floating-point operations, roughly: twice the sums of products, five for each element that is computed."""
    total = product(()) * 0
    for s in flat(body):
        if isinstance(s, Product):
            size = {k: n for v, ls in ((s.a, s.la), (s.b, s.lb)) for k, n in zip(ls, v.dims, strict=True)}
            total += product(tuple(size.values())) * 2
        elif isinstance(s, (Convolve, Correlate)):
            result, kernel = (s.out, s.kernel) if isinstance(s, Convolve) else (s.g, s.out)
            total += product((*result.dims[:-1], *kernel.dims)) * 2
        elif isinstance(s, (Kernel, Reduction, Draw)):
            total += product(s.a.dims if isinstance(s, Reduction) else s.out.dims) * 5
    return total


def _inside(body: list[Stmt]) -> Iterator[Stmt]:
    """The statements of a body, nests as they are, blocks and loops opened."""
    for s in body:
        if isinstance(s, (Block, Loop)):
            yield from _inside(s.body)
        else:
            yield s


def sums_apart(body: list[Stmt], kept: frozenset[Array], readers: Mapping[Array, int] | None = None) -> list[Stmt]:
    """Sums over rows in nests of their own, where rows are shared: a thread cannot add to what others add to.

    What only the sums read moves with them, if it is computed element by element.
    """
    if readers is None:
        readers = Counter(v.array for s in flat(body) for v in reads(s))
    out = list[Stmt]()
    for s in body:
        if isinstance(s, (Block, Loop)):
            s = replace(s, body=sums_apart(s.body, kept, readers))
        elif isinstance(s, Nest) and any(added_up(m) for m in s.body):
            longest = _dims(s)
            if any(walked(m) != longest or isinstance(m, Reduction) and not added_up(m) for m in s.body):
                out += _parted(s, kept, readers)
                continue
        out.append(s)
    return out


def _parted(s: Nest, kept: frozenset[Array], readers: Mapping[Array, int]) -> list[Stmt]:
    later = {id(m) for m in s.body if added_up(m)}
    dims = walked(next(m for m in s.body if added_up(m)))
    for m in reversed(s.body):
        if isinstance(m, Kernel) and walked(m) == dims and m.out.array not in kept:
            moved = sum(v.array is m.out.array for x in s.body if id(x) in later for v in reads(x))
            if moved and moved == readers[m.out.array]:
                later.add(id(m))
    parts = [m for m in s.body if id(m) not in later], [m for m in s.body if id(m) in later]
    return [Nest(s.rows, p) for p in parts if p]
