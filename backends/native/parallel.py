"""Functions whose work several threads share: the share of each statement, and where all threads wait for all.

Input    the statements of a function, its memory planned
Output   its lines: loops and products as each thread's share of them, and meetings before some

All threads run all of the function. They meet before a statement that touches what another thread may have touched since the
last meeting, if one of both writes. Arrays that live in the same slot of the workspace count as the same memory. As no sum is
shared, results do not depend on the number of threads, to the bit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...compiler.passes.fusion import added_up, walked
from ...compiler.passes.memory import Plan
from ...compiler.program import (
    Array,
    Block,
    Convolve,
    Correlate,
    Draw,
    Fill,
    Kernel,
    Loop,
    Nest,
    Product,
    Reduction,
    Scatter,
    Stmt,
    flat,
    reads,
    writes,
)
from ...compiler.sizes import Size, product
from .kernels import length
from .shares import Share, Touch, clash, dims_of, own_dim, shares_of, touches

if TYPE_CHECKING:
    from .statements import Statements


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
        return a in self.private or (not a.dims and a.role == "value" and a not in self.returned)

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
        if isinstance(s, Product) and share.label is None and "gemm" not in text[-1]:
            share = self.shares[id(s)] = replace(share, size=_size_of(s, s.lo[share.dim]))   # in loops: the first dim of the rows
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
        return [x.replace(f", 0, {length(share.size)});", f", {low}, {high});") for x in text]
    sums = [m for m in (s.body if isinstance(s, Nest) else [s]) if isinstance(m, (Reduction, Scatter)) and added_up(m)]
    zeros = [[*print.lines(Fill(m.out, 0))] for m in sums]       # the loops that stand before a statement's own
    if zeros and text[:len(zeros[0])] != zeros[0]:
        zeros = []                                               # summed into a variable
    out = list[str]()
    for m, lines in zip(sums, zeros, strict=False):
        dim = own_dim(m, share.dim) if isinstance(s, Nest) else share.dim
        out += _cut(lines, print.indices(m.out.dims)[dim], share)
    dims, dim = dims_of(s), share.dim
    if isinstance(s, Reduction):
        dims, dim = s.a.dims, [d for d in range(len(s.a.dims)) if d not in s.over][share.dim]
    return out + _cut(text[len(out):], print.indices(dims)[dim], share)


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
        return _cut(text, print.indices([size[k] for k in order])[share.dim], share)
    if not share.word:                                           # one of many products
        return _cut(text, "c0", share)
    sizes = [x.strip() for x in text[-1].split("(", 1)[1].split(",")]
    assert n in sizes[2:4], f"{n} is not among the sizes of {text[-1]}"
    return [*text[:-1], text[-1].replace(call[0], f"{call[0][:-1]}_{share.word}(")]


def _size_of(s: Product, label: str | int) -> Size:
    """The size of a product's label."""
    return next(n for v, labels in ((s.a, s.la), (s.b, s.lb)) for k, n in zip(labels, v.dims, strict=True) if k == label)


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
            longest = dims_of(s)
            if any(walked(m) != longest or (isinstance(m, Reduction) and not added_up(m)) for m in s.body):
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
