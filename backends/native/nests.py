"""Nests as C: loops over rows, and inside them the loops over a row's elements, one for each run of members that share it.

What belongs to a row as a whole stands in variables: loops over its elements read those, never memory that they might write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...compiler.passes.fusion import added_up, inner_loops, partial, walked
from ...compiler.program import Fill, Kernel, Nest, Pick, Reduction, Scatter, Stmt, Take, View, reads, writes
from .indexing import CTYPES
from .loops import FIRST, Loops, Part, accumulate, adding, blocked, in_blocks, loops

if TYPE_CHECKING:
    from .statements import Statements


def print_nest(s: Nest, statements: Statements) -> Iterator[str]:
    """The nest's lines; sums of rows start from zero before it."""
    for m in s.body:
        if isinstance(m, (Reduction, Scatter)) and added_up(m):
            yield from statements.lines(Fill(m.out, 0))
    inner = any(len(walked(m)) > len(s.rows) for m in s.body)
    rows = RowBody(len(s.rows), inner, statements)
    over, mark = list(zip(statements.indices(s.rows), s.rows, strict=True)), "" if inner else "SIMD "
    outer, parts = rows.parts(s, over)
    text = [line for run in inner_loops(s.body, rows.depth) for line in rows.run(run)]
    yield from in_blocks(over[:outer], loops(over[outer:], text, mark), parts) if parts else loops(over, text, mark)


@dataclass
class RowBody:
    """The body of a nest under construction: `held` maps elements of arrays to the variables that hold them for a row.

    `inner`: there are loops inside the rows.
    """

    depth: int
    inner: bool
    print: Statements
    held: dict[str, str] = field(default_factory=dict)

    def parts(self, s: Nest, over: Loops) -> tuple[int, list[Part]]:
        """The variables for what a block of rows adds up, and how many loops over rows are loops over blocks."""
        outer, parts = 0, list[Part]()
        for m in s.body:
            if isinstance(m, Reduction) and added_up(m):
                at = self.print.indices(m.a.dims)[self.depth:]
                columns = list(zip(at, m.out.dims, strict=True))
                if found := blocked(over, columns, self.print.sizes):
                    outer = found
                    parts.append(self.print.block_part(m.out, self.print(m.out, at), columns))
        self.held |= {p.whole: p.element for p in parts}
        return outer, parts

    def fresh(self, v: View) -> str:
        """A name for a row's value of an array."""
        word = f"{self.print.names(v.array)}_row"
        return next(x for x in (word, *(f"{word}_{k}" for k in range(2, 1000)))
                    if x not in self.print.taken and x not in self.held.values())

    def run(self, run: list[Stmt]) -> list[str]:
        """Members that walk through the same elements of a row."""
        first, depth = run[0], self.depth
        if isinstance(first, Reduction) and partial(first, depth):
            return self._partial(first)
        at, dims = self.print.indices(walked(first)), walked(first)
        over = list(zip(at, dims, strict=True))[depth:]
        before, body, after, marks = self._held(run, at[depth:]) if over else [], list[str](), list[str](), list[str]()
        for s in run:
            if isinstance(s, Reduction) and not added_up(s):
                total, step, mark = self._total(s)
                wide, cast = ("real", "") if s.out.array in self.print.local else adding(s.kind, s.out)
                before += [*self._declared(s.out), f"{wide} {total} = {FIRST[s.kind]};"]
                body, after, marks = [*body, step], [*after, *self._stored(s.out, cast + total)], [*marks, mark]
            elif over:
                before += self._declared(writes(s))
                body.append(self._line(s))
            else:
                body += self._once(s)
        return [*before, *loops(over, body, _mark(marks)), *after] if over else [*before, *body, *after]

    def _held(self, run: list[Stmt], inner: list[str]) -> list[str]:
        """Variables for what the loop over a row's elements reads at each of them: one value of the row."""
        out = []
        written = {w.array.home for s in run if (w := writes(s)) is not None}
        for v in dict.fromkeys(v for s in run for v in reads(s)):
            row = not any(getattr(x, "dim", -1) >= self.depth for x in v.along)
            text = self.print.read(v) if row and v.array.dims else ""
            if text and v.array not in self.print.local and v.array.home not in written and text not in self.held:
                if any(isinstance(s, (Take, Pick)) and v is not s.index for s in run if v in reads(s)):
                    continue
                self.held[text] = self.fresh(v)
                out.append(f"const {CTYPES.get(v.array.kind, 'real')} {self.held[text]} = {text};")
        return out

    def _total(self, s: Reduction) -> tuple[str, str, str]:
        """The variable that a row's reduction goes into, one step, and the loop's mark."""
        at = self.print.indices(s.a.dims)
        text = self.print(s.a, at)
        target = self.print(s.out, at[:self.depth])
        local = s.out.array in self.print.local
        total = target if local else self.fresh(s.out)
        if not local:
            self.held[target] = total
        return (total, *accumulate(s.kind, total, self.held.get(text, text)))

    def _stored(self, out: View, total: str) -> list[str]:
        return [] if out.array in self.print.local else [f"{self.print(out)} = {total};"]

    def _declared(self, out: View | None) -> list[str]:
        """A row's own buffer, where it is first written."""
        if out is None or not (kept := self.print.local.get(out.array)) or out.array in self.print.declared:
            return []
        self.print.declared.add(out.array)
        extents = self.print.extents([out.array.dims[k] for k in kept])
        return [f"{CTYPES.get(out.array.kind, 'real')} {self.print.names(out.array)}{extents};"]

    def _once(self, s: Stmt) -> list[str]:
        """What a member does once a row; what later members read stands in a variable, too."""
        out, line = writes(s), self._line(s)
        assert out is not None
        if out.array in self.print.local or not self.inner or isinstance(s, (Reduction, Scatter)):
            return [line]
        target, _, value = line.partition(" = ")
        self.held[target] = name = self.fresh(out)
        return [f"const {CTYPES.get(out.array.kind, 'real')} {name} = {value}", f"{target} = {name};"]

    def _line(self, s: Stmt) -> str:
        """What a member does at one element."""
        if isinstance(s, (Reduction, Scatter)):
            at = self.print.indices(s.a.dims)
            text = self.print(s.a, at)
            if isinstance(s, Scatter):
                row = self.print(s.index)
                at = [self.held.get(row, row), *at[len(s.index.dims):]]
                return f"{self.print(s.out, at)} += {self.held.get(text, text)};"
            whole = self.print(s.out, [x for d, x in enumerate(at) if d not in s.over])
            return f"{self.held.get(whole, whole)} += {self.held.get(text, text)};"
        if isinstance(s, Fill):
            value = self.print.constant(s.value)
        else:
            assert isinstance(s, (Kernel, Take, Pick))
            value = self.print.value(s, self.held)
        out, target = s.out, self.print(s.out)
        if self.print.local.get(out.array) == ():
            return f"const {CTYPES.get(out.array.kind, 'real')} {target} = {value};"
        return f"{target} = {value};"

    def _partial(self, s: Reduction) -> list[str]:
        """A reduction of some of a row's dims, in loops of its own."""
        at = self.print.indices(s.a.dims)
        kept = [(at[d], s.a.dims[d]) for d in range(self.depth, len(at)) if d not in s.over]
        return [*self._declared(s.out), *loops(kept, self.print.reduced(s))]


def _mark(marks: list[str]) -> str:
    """One mark for a loop: several reductions of one kind share theirs; compilers are told nothing of mixed ones."""
    if not marks:
        return "SIMD "
    kinds = {m.partition("(")[0] for m in marks}
    inside = ", ".join(m.partition("(")[2].rstrip(") ") for m in marks)
    return f"{kinds.pop()}({inside}) " if len(kinds) == 1 else ""


__all__ = ["print_nest"]
