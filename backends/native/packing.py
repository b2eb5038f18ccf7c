"""Matrices that products in a time loop take at every step, packed once before it.

Input    a function's body after fusion
Output   the same, with a Copy of each such matrix into an array that is `packed`, and the products reading that

A packed array holds k rows (its first `packed` dims) of n columns in the panels of gemm.c, in room for 31 columns more. It is
read by products alone. What pays: a product of few rows reads the matrix about once, and so takes as long as packing it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from ...compiler.program import REAL, Along, Array, Block, Copy, Fixed, Loop, Product, Stmt, View, flat, reads, writes
from .matrices import Form, form

BESIDE = 31                                                      # columns: the last panel filled up, its first vector aligned
ENOUGH = 4                                                       # products of an unrolled loop; columns


def packed_once(body: list[Stmt], kept: Collection[Array], claim: Callable[[str], str]) -> list[Stmt]:
    """The body with its loops' constant matrices packed; `claim` gives free names."""
    packing = _Packing(Counter(w.array.home for s in flat(body) if not isinstance(s, Loop) and (w := writes(s)) is not None),
                       _copies(body), claim)
    out = [x for s in body for x in packing.before(s)]
    read = {v.array for s in flat(out) if not isinstance(s, Loop) for v in reads(s)} | {*kept}
    gone = [s for a, s in packing.copies.items() if a in packing.passed and a not in read]
    return _without(out, gone)


@dataclass
class _Packing:
    """What is found on the way: `written` counts statements by array; `copies` were made of what is never written."""

    written: Counter[Array]
    copies: dict[Array, Copy]
    claim: Callable[[str], str]
    passed: set[Array] = field(default_factory=set)              # copies in whose place their originals are packed
    done: dict[tuple[View, int, int], View] = field(default_factory=dict)

    def before(self, s: Stmt) -> list[Stmt]:
        """A statement, with what its loops need before it."""
        if not isinstance(s, Block) or not any(isinstance(x, Loop) for x in s.body):
            return [s]
        out, body = list[Stmt](), list[Stmt]()
        for x in s.body:
            if isinstance(x, Loop):
                changed = {w.array.home for y in flat(x.body) if not isinstance(y, Loop) and (w := writes(y)) is not None}
                x, copies = self._loop(x, changed)
                out += [Block((), [c], heading=(f"{_name(c)} is the same at every step: packed once",)) for c in copies]
            body.append(x)
        return [*out, replace(s, body=body)]

    def _loop(self, loop: Loop, changed: Collection[Array]) -> tuple[Loop, list[Copy]]:
        found: dict[int, tuple[Product, Form, View]] = {}
        for s in flat(loop.body):
            f = form(s) if isinstance(s, Product) else None
            if isinstance(s, Product) and f is not None and _constant(f.right, changed) and not f.common and _wide(f):
                found[id(s)] = s, f, self._origin(f.right)
        uses = Counter(v for _, _, v in found.values())
        copies, new = list[Copy](), dict[int, Product]()
        for key, (s, f, origin) in found.items():
            if not loop.straight or uses[origin] >= ENOUGH:
                right, labels = self._packed(f, origin, id(loop), copies), (*f.k, *f.n)
                new[key] = replace(s, a=right, la=labels) if s.a is f.right else replace(s, b=right, lb=labels)
        return replace(loop, body=_replaced(loop.body, new)), copies

    def _origin(self, v: View) -> View:
        """What a view of a copy shows, in the original."""
        copy = self.copies.get(v.array)
        if copy is None:
            return v
        along = tuple(x if isinstance(x, Fixed) else _moved(v.along[x.dim], x) for x in copy.a.along)
        return replace(copy.a, along=along, dims=v.dims)

    def _packed(self, f: Form, origin: View, loop: int, copies: list[Copy]) -> View:
        """The view of the packed array, k before n; a copy into it is added where there is none yet."""
        order = [[*f.right_labels].index(q) for q in (*f.k, *f.n)]
        source = replace(origin, dims=tuple(origin.dims[d] for d in order), along=tuple(
            x if isinstance(x, Fixed) else Along(order.index(x.dim), x.offset) for x in origin.along))
        key = source, len(f.k), loop if self.written[origin.array.home] else 0
        self.passed |= {f.right.array} & self.copies.keys()
        if key not in self.done:
            array = Array((*source.dims[:-1], source.dims[-1] + BESIDE), packed=len(f.k),
                          name=self.claim(f"{origin.array.name or 'matrix'}_packed"))
            copies.append(Copy(View(array, tuple(Along(d) for d in range(len(order))), source.dims), source))
            self.done[key] = copies[-1].out
        return self.done[key]


def _name(c: Copy) -> str:
    return c.a.array.name or "a matrix"


def _constant(v: View, changed: Collection[Array]) -> bool:
    """Whether a loop reads the same of an array at every step."""
    return v.array.kind == REAL and v.array.home not in changed and not any(isinstance(x, Fixed) and x.axis for x in v.along)


def _wide(f: Form) -> bool:
    """Whether there are rows and columns enough."""
    return all(n.value is None or n.value >= ENOUGH for n in (f.count(f.n), f.count(f.k)))


def _moved(x: Along | Fixed, inner: Along) -> Along | Fixed:
    """An index of a copy, `inner` the original's along the same dim."""
    if isinstance(x, Fixed):
        value = inner.offset.value
        return Fixed(x.axis, x.offset + (value or 0), x.end)
    return Along(x.dim, x.offset + inner.offset)


def _copies(body: list[Stmt]) -> dict[Array, Copy]:
    """Arrays that are nothing but a copy, turned perhaps, of something that the function does not write."""
    written = Counter(w.array.home for s in flat(body) if not isinstance(s, Loop) and (w := writes(s)) is not None)
    return {s.out.array: s for s in flat(body) if isinstance(s, Copy) and not s.flip and s.out.whole and s.out.dims == s.a.dims
            and written[s.out.array.home] == 1 and not written[s.a.array.home] and s.out.array.role == "value"
            and sorted(x.dim for x in s.a.along if isinstance(x, Along)) == [*range(len(s.a.dims))]
            and all(x.axis is None if isinstance(x, Fixed) else x.offset == 0 for x in s.a.along)}


def _replaced(body: list[Stmt], new: dict[int, Product]) -> list[Stmt]:
    return [replace(s, body=_replaced(s.body, new)) if isinstance(s, (Block, Loop)) else new.get(id(s), s) for s in body]


def _without(body: list[Stmt], gone: list[Copy]) -> list[Stmt]:
    """A body without some statements, and without blocks that had nothing else."""
    if not gone:
        return body
    out = [replace(s, body=[x for x in s.body if not any(x is g for g in gone)]) if isinstance(s, Block) else s for s in body]
    return [s for s in out if not isinstance(s, Block) or s.body]


__all__ = ["packed_once"]
