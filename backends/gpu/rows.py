"""Nests as kernels: one thread a row where its loops are short or none, else several threads, which share the loops inside.

What belongs to a row as a whole every thread of it computes, and the first one stores. What one thread of a row writes and
another reads stands behind a barrier: of the warp, or of the block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from ...compiler.passes.fusion import inner_loops, partial, walked
from ...compiler.program import Along, Array, Kernel, Nest, Pick, Reduction, Stmt, Take, View, reads, writes
from ...compiler.sizes import Size, product
from ..native.indexing import CTYPES
from ..native.kernels import length
from ..native.loops import FIRST, accumulate
from ..native.nests import RowBody
from .columns import MOST
from .geometry import BLOCK, WORD, Geometry, Over, element_of, lanes, row_of, split, strided

if TYPE_CHECKING:
    from .statements import Statements

SHORT = 4                                                        # elements of a row that one thread walks through
LONG = 4096                                                      # numbers that one block adds up as fast as several do
ALL = "every thread"                                             # who reads what belongs to a row as a whole


def print_rows(s: Nest, statements: Statements) -> Iterator[str]:
    """The body of a nest's kernel."""
    depth = len(s.rows)
    over = list(zip(statements.indices(s.rows), s.rows, strict=True))
    if summed_by_blocks(s, statements.known):
        yield from print_sums(s, statements)
        return
    if alone(s, statements.known):
        head, statements.geometry = element_of(over)
        rows = RowBody(depth, any(len(walked(m)) > depth for m in s.body), statements)
        yield from [*head, *(line for run in inner_loops(s.body, depth) for line in rows.run(run))]
        return
    shared = ThreadedRows(depth, True, statements, lanes=lanes([walked(m)[depth:] for m in s.body], statements.known))
    text = [line for run in inner_loops(s.body, depth) for line in shared.fenced(run)]
    head, statements.geometry = row_of(over, shared.lanes, 8 * shared.elements(statements.known))
    per = statements.geometry.per
    yield from head
    yield from ["__shared__ real parts[32];"] if shared.lanes > 32 and shared.joins else []
    for kind, name, dims in shared.shared:
        count = length(product(dims))
        if per == 1:
            yield f"__shared__ {kind} {name}[{count}];"
        else:
            yield from [f"__shared__ {kind} {name}_rows[{per}][{count}];", f"{kind} *{name} = {name}_rows[threadIdx.y];"]
    yield from text


def alone(s: Nest, known: Mapping[str, int]) -> bool:
    """Whether one thread does a row: its loops are short, and their lengths known."""
    inner = [product(walked(m)[len(s.rows):]) for m in s.body]
    return bool(s.rows) and all(not {*n.symbols} - {*known} and n.evaluate(known) <= SHORT for n in inner)


def summed_by_blocks(s: Nest, known: Mapping[str, int]) -> bool:
    """Whether several blocks share a nest of sums over everything: each reads what stands there before, and they may be long."""
    sums = [m for m in s.body if isinstance(m, Reduction)]
    written = {out.array.home for m in s.body if (out := writes(m)) is not None}
    counts = [product(walked(m)) for m in sums]
    return not s.rows and 0 < len(sums) <= MOST and not any(m.a.array.home in written for m in sums) \
        and any({*n.symbols} - {*known} or n.evaluate(known) > LONG for n in counts) \
        and all(isinstance(m, Reduction) or not walked(m) for m in s.body)


def print_sums(s: Nest, statements: Statements) -> Iterator[str]:
    """Sums by several blocks, each of which leaves its parts; the last one joins them, and computes the numbers after them."""
    rows = ThreadedRows(0, True, statements, lanes=BLOCK)
    sums, after = [m for m in s.body if isinstance(m, Reduction)], list[str]()
    lines, totals = [f"const int lane = threadIdx.x, first = blockIdx.x * {BLOCK} + lane, far = gridDim.x * {BLOCK};",
                     "__shared__ real parts[32];"], list[str]()
    for m in sums:
        over = list(zip(statements.indices(m.a.dims), m.a.dims, strict=True))
        total, step, _ = rows._total(m)
        totals.append(total)
        lines += [f"real {total} = {FIRST[m.kind]};", *strided(over, [step], "far", "first"), rows._join(m.kind, total)]
        after += rows._stored(m.out, total)
    yield from [*lines, "if (gridDim.x > 1) {"]
    place = [f"blockIdx.x{f' + {k} * gridDim.x' if k else ''}" for k in range(len(sums))]
    yield from (f"    if (lane == 0) left[{p}] = {t};" for p, t in zip(place, totals, strict=True))
    yield "    if (!last_block(arrived, gridDim.x)) return;"
    for k, (m, t) in enumerate(zip(sums, totals, strict=True)):
        yield f"    {t} = all_blocks<{WORD[m.kind]}>({FIRST[m.kind]}, left{f' + {k} * gridDim.x' if k else ''}, parts);"
    yield from ["}", *after, *(line for m in s.body if not isinstance(m, Reduction) for line in rows.run([m]))]
    most = max((product(walked(m)) for m in sums), key=lambda n: len(n.symbols))
    statements.geometry = Geometry(most, BLOCK, (BLOCK,), grid=f"shares({most.format()})")


def few(rest: Over, over: Over, known: Mapping[str, int], most: int = BLOCK, long: int = LONG) -> bool:
    """Whether there are at most so many results, and what each adds up may be long."""
    results, terms = (product(tuple(n for _, n in x)) for x in (rest, over))
    return not {*results.symbols} - {*known} and results.evaluate(known) <= most \
        and bool({*terms.symbols} - {*known} or terms.evaluate(known) > long)


def print_few(kind: str, value: str, target: str, rest: Over, over: Over, statements: Statements) -> Iterator[str]:
    """Few results, each by several blocks, the last of which joins what they leave."""
    results, terms = (product(tuple(n for _, n in x)) for x in (rest, over))
    row = rest[0][0] if len(rest) == 1 else "row"
    most = BLOCK // max(results.evaluate(statements.known), 1)
    statements.geometry = Geometry(terms, BLOCK, (BLOCK,), results.format() if rest else "",
                                   f"shares({terms.format()}{f', {BLOCK}, {most}' if rest else ''})")
    yield f"const int lane = threadIdx.x, first = blockIdx.x * {BLOCK} + lane, far = gridDim.x * {BLOCK};"
    yield from [f"const int {row} = blockIdx.y;", *split(row, rest)] if rest else []
    yield from ["__shared__ real parts[32];", f"real total = {FIRST[kind]};"]
    yield from strided(over, [accumulate(kind, "total", value)[0]], "far", "first")
    yield f"total = by_block<{WORD[kind]}>(total, parts);"
    place, counter = (f" + {row} * gridDim.x", f"arrived + {row}") if rest else ("", "arrived")
    yield from ["if (gridDim.x > 1) {", f"    if (lane == 0) left[blockIdx.x{place}] = total;",
                f"    if (!last_block({counter}, gridDim.x)) return;",
                f"    total = all_blocks<{WORD[kind]}>({FIRST[kind]}, left{place}, parts);", "}",
                f"if (lane == 0) {target} = total;"]


@dataclass
class Touch:
    """What a run does to an array: where each of its threads is there, and whether it writes."""

    array: Array
    where: object
    written: bool


@dataclass
class ThreadedRows(RowBody):
    """The body of a row that `lanes` threads share."""

    lanes: int = 32
    joins: bool = False
    shared: list[tuple[str, str, tuple[Size, ...]]] = field(default_factory=list)
    before: list[Touch] = field(default_factory=list)            # what was touched since the last barrier

    def elements(self, known: Mapping[str, int]) -> int:
        """How many elements of shared memory a row takes."""
        return sum(product(dims).evaluate(known) for _, _, dims in self.shared)

    def fenced(self, run: list[Stmt]) -> list[str]:
        """A run, behind a barrier where its threads touch what others wrote, or write what others read."""
        if len(run) > 1 and len(walked(run[0])) == self.depth:
            return [line for s in run for line in self.fenced([s])]
        now = [t for s in run for t in self._touches(s)]
        fence = any(x.array is y.array and (x.written or y.written) and (x.where != y.where or x.where == ALL)
                    for x in self.before for y in now)
        self.before = [*([] if fence else self.before), *now]
        return [*(self._barrier() if fence else []), *self.run(run)]

    def _barrier(self) -> list[str]:
        return ["__syncwarp();" if self.lanes == 32 else "__syncthreads();"]

    def _touches(self, s: Stmt) -> Iterator[Touch]:
        out = writes(s)
        assert out is not None
        for v in (*reads(s), out):
            kept = self.print.local.get(v.array)
            if kept == () or (v is not out and self.print(v) in self.held):
                continue
            yield Touch(v.array.home, self._where(s, v), v is out)

    def _where(self, s: Stmt, v: View) -> object:
        """Which thread is at an element: that of the element's place in the row, the first one, or any."""
        inner = [(k, x.dim, x.offset) for k, x in enumerate(v.along) if isinstance(x, Along) and x.dim >= self.depth]
        dims = walked(s)[self.depth:]
        every = {d for _, d, _ in inner} == {*range(self.depth, len(walked(s)))}
        if (isinstance(s, (Take, Pick)) and v in reads(s)[:1]) or partial(s, self.depth):
            return ALL
        if v is writes(s) and not inner:
            return "the first"
        return (dims, tuple(inner)) if inner and every else ALL

    def run(self, run: list[Stmt]) -> list[str]:
        """Members that walk through the same elements of a row, each thread through its own."""
        first, depth = run[0], self.depth
        if isinstance(first, Reduction) and partial(first, depth):
            return self._partial(first)
        dims = walked(first)
        over = list(zip(self.print.indices(dims), dims, strict=True))[depth:]
        before, body, after = self._held(run, [i for i, _ in over]) if over else [], list[str](), list[str]()
        for s in run:
            if isinstance(s, Reduction):
                total, step, _ = self._total(s)
                before.append(f"real {total} = {FIRST[s.kind]};")
                body.append(step)
                after += [self._join(s.kind, total), *self._stored(s.out, total)]
            elif over:
                before += self._declared(writes(s))
                body.append(self._line(s))
            else:
                body += self._once(s)
        return [*before, *strided(over, body, self.lanes), *after] if over else [*before, *body, *after]

    def _join(self, kind: str, total: str) -> str:
        from .statements import join
        self.joins = True
        return join(kind, total, self.lanes)

    def _stored(self, out: View, total: str) -> list[str]:
        return [] if out.array in self.print.local else [f"if (lane == 0) {self.print(out)} = {total};"]

    def _declared(self, out: View | None) -> list[str]:
        """A row's own buffer stands in shared memory."""
        if out is None or not (kept := self.print.local.get(out.array)) or out.array in self.print.declared:
            return []
        self.print.declared.add(out.array)
        kind = CTYPES.get(out.array.kind, "real")
        self.shared.append((kind, self.print.names(out.array), tuple(out.array.dims[k] for k in kept)))
        return []

    def _once(self, s: Stmt) -> list[str]:
        """What every thread of a row computes, and the first one stores."""
        out = writes(s)
        assert out is not None
        if self.print.local.get(out.array) == ():
            return [self._line(s)]
        target, kind = self.print(out), CTYPES.get(out.array.kind, "real")
        value = self.print.constant(s.value) if hasattr(s, "value") else self.print.value(cast(Kernel, s), self.held)
        self.held[target] = name = self.fresh(out)
        again = self._barrier() if any(v.array.home is out.array.home for v in reads(s)) else []      # every thread has read it
        return [f"const {kind} {name} = {value};", *again, f"if (lane == 0) {target} = {name};"]

    def _partial(self, s: Reduction) -> list[str]:
        """A reduction of some of a row's dims: each thread does whole elements of the result."""
        at = self.print.indices(s.a.dims)
        kept = [(at[d], s.a.dims[d]) for d in range(self.depth, len(at)) if d not in s.over]
        return [*self._declared(s.out), *strided(kept, self.print.reduced(s), self.lanes)]
