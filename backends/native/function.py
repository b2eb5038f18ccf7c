"""One function of a model in C, and the lines of Python that call it.

The Python around it is the NumPy module's: checks, lengths, buffers, results. What stands between them is one call, which hands
over the address of every array and every length.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace

from ...compiler.graph import Expr
from ...compiler.passes.fusion import fuse, locals_
from ...compiler.passes.memory import share
from ...compiler.passes.naming import identifier
from ...compiler.passes.rows import by_rows
from ...compiler.passes.totals import in_two_steps
from ...compiler.program import DOUBLE, Array, Block, Draw, Kernel, Loop, Nest, SizeOf, Stmt, flat, leaves, reads, writes
from ...compiler.sizes import Size, product
from ..cpu.functions import FunctionPrinter, Text, wrapped
from ..cpu.names import cut, declared
from ..cpu.packing import gathered
from ..cpu.views import name_of
from .convolutions import Shapes
from .indexing import Indices, declaration
from .kernels import length
from .packing import packed_once
from .parallel import Team, cost, sums_apart
from .parts import in_parts
from .statements import INDENT, Statements, loop_head
from .words import KEYWORDS, size_name

NONE: list[Expr] = []


class NativeFunction(FunctionPrinter):
    """Prints one function: `c` is its text in C, `body` the call in Python."""

    def allocated(self, a: Array) -> bool:
        """Every array with dims has a place in the workspace; numbers are local variables."""
        return a.role in ("param", "input", "result") or bool(a.dims)

    keywords = KEYWORDS                                          # what no array may be called
    kept_as = "{} in C"                                          # a state may go from one backend to the other
    shares = False
    parallel = False                                             # whether several threads share the work
    packs = True                                                 # whether products in loops read matrices that are packed
    shapes: Shapes | None = None                                 # convolutions of all functions
    prepared = False                                             # whether a caller may want the call itself
    team: Team | None = None
    rows: dict[str, list[int]]                                   # value -> rows of the text

    def _lower(self) -> None:
        self.scratch = {}
        kept = frozenset(v.array for v in self.kept)
        self.why: list[str] = []                                 # why statements do not share loops
        body = in_two_steps(by_rows(self.function.body, kept, self.namer.claim), self.namer.claim)
        body = fuse(body, self.why)
        body = packed_once(body, kept, self.namer.claim) if self.packs else body
        self.function = replace(self.function, body=sums_apart(body, kept) if self.parallel else body)
        count = Counter(v.array for s in flat(self.function.body) if not isinstance(s, Loop)
                        for v in (*reads(s), writes(s)) if v is not None)
        found = [s for b in bodies(self.function.body) for s in b if isinstance(s, Nest)]
        self.own = {a: dims for n in found for a, dims in locals_(n, count, kept, self._small).items() if a.storage is None}
        for a in dict.fromkeys(v.array for s in flat(self.function.body) if not isinstance(s, Loop) for v in reads(s)):
            self.own.pop(a.storage, None)  # type: ignore[arg-type]
        share(self.function.body, self.kept, self.own)
        self.scalars = frozenset(self.own)
        self.local = set(self.own)                               # they have no place in the workspace

    def _small(self, dims: tuple[Size, ...]) -> bool:
        """Whether a row's buffer may stand on the stack: its length is known, and 16 KiB of doubles hold it."""
        n = product(dims)
        return {*n.symbols} <= {*self.system.sizes} and n.evaluate(self.system.sizes) <= 2048

    def body(self, indent: str = INDENT) -> Text:
        """The call, with the arrays in the order of their first use."""
        self.c_names = self._c_names()
        out = Text()
        names = self.arrays()
        self.returned = [a for a in dict.fromkeys(v.array for v in self.kept) if not a.dims and a.role == "value"]
        for a in self.returned:
            out.lines.append(f"{indent}{a.name} = np.empty((), {'np.int64' if a.kind == 'int' else 'dtype'})")
        given = [*(a.home.name for a in names), *(a.name for a in self.returned)]
        numbers = [*self.lengths(), *self.drawn().values()]
        seed = ", seed" if any(isinstance(s, Draw) for s in flat(self.function.body)) else ""
        call = f'LIBRARY.call("{self.name}", dtype, [{", ".join(given)}], [{", ".join(numbers)}]{seed})'
        if self.prepared:                                        # a training step makes the call itself
            out.lines += [*wrapped(f"{indent}call = {call}", ""), f"{indent}if isinstance(workspace, Preparing):",
                          f"{indent}    return call", f"{indent}call()"]
        else:
            out.lines += wrapped(f"{indent}{call}()", "")
        out.lines += [f"{indent}{a.name} = {a.name}[()]" for a in self.returned]
        for a in dict.fromkeys(v.array for v in self.kept):
            if a.home is not a and a.name != a.home.name:
                out.lines.append(f"{indent}{a.name} = {a.home.name}")
        parts = cut(self.function.body, self.kept)
        for v in self.kept:                                      # of some arrays, a part has the name
            if v.array in parts and name_of(v) != v.array.name:
                out.lines.append(indent + declared(v.array, parts.pop(v.array)))
        return out

    def arrays(self) -> list[Array]:
        """What is handed over: every array that a statement touches, storage by storage its own name."""
        found: dict[Array, None] = {}
        for s in flat(self.function.body):
            for v in (*reads(s), *((writes(s),) if not isinstance(s, Loop) else ())):
                if v is not None and (v.array.dims or v.array.role != "value") and v.array not in self.scalars:
                    found.setdefault(v.array.home)
        return list(found)

    def drawn(self) -> dict[str, str]:
        """The steps before this chunk, of time axes along which it draws."""
        along = {s.along for s in flat(self.function.body) if isinstance(s, Draw)}
        return {k: word for k, word in self.offsets.items() if k in along}

    def lengths(self) -> list[str]:
        """Batch and sequence lengths that sizes depend on."""
        return sorted({*map(str, self._symbols())})

    def _symbols(self) -> set[str]:
        loops = {s.axis.upper() for s in flat(self.function.body) if isinstance(s, Loop) and not s.straight}
        read = {n for s in flat(self.function.body) if isinstance(s, Kernel) for x in leaves(s.body) if isinstance(x, SizeOf)
                for n in x.size.symbols}
        return ({x for a in self.arrays() for d in a.dims for x in d.symbols} | loops | read) - {*self.system.sizes}

    def _c_names(self) -> dict[Array, str]:
        taken = {*self.keywords, *self.system.sizes, *(s.axis for s in flat(self.function.body) if isinstance(s, Loop))}
        out: dict[Array, str] = {}
        for a in dict.fromkeys(x for y in self._every() for x in (y.home, y)):
            if a.home is not a and a.name in (a.home.name, ""):
                out[a] = out[a.home]
                continue
            base = re.sub(r"[^A-Za-z0-9_]", "_", identifier(a.name or "x")).strip("_") or "v"
            word, k = base, 2
            while word in taken or re.fullmatch(r"[ijc]\d+", word):
                word, k = f"{base}_{k}", k + 1
            taken.add(word)
            out[a] = word
        return out

    def _every(self) -> list[Array]:
        found: dict[Array, None] = {}
        for s in flat(self.function.body):
            for v in (*reads(s), *((writes(s),) if not isinstance(s, Loop) else ())):
                if v is not None:
                    found.setdefault(v.array)
        return list(found)

    # ------------------------------------------------------------ C

    def c(self) -> str:
        """The function in C."""
        pointers = {a for a in self.arrays() if not a.dims} | {*self.returned}
        statements = self.printing({a: f"(*{n})" if a in pointers else n for a, n in self.c_names.items()})
        written = {v.array.home for s in flat(self.function.body) if not isinstance(s, Loop) and (v := writes(s)) is not None}
        self.team = self._team()
        head = "static void {}_share(team *us, int me, {}, const double *option)" if self.team else "void {}({})"
        numbers = [*map(size_name, self.lengths()), *(f"offset_{k}" for k in self.drawn())]
        if any(isinstance(s, Draw) for s in flat(self.function.body)):
            numbers += ["seed", "step"]
        lines = [f"{INDENT}const int64_t {n} = number[{k}];" for k, n in enumerate(numbers)]
        for k, a in enumerate([*self.arrays(), *self.returned]):
            lines.append(f"{INDENT}{declaration(a, self.c_names[a], a.home not in written)} = array[{k}];")
        lines += self.variables(pointers)
        body = self.work(statements)
        lines += [INDENT + x for x in self.team.bounds("\n".join(body))] if self.team else []
        above, text, place = in_parts(self.name, head.format(self.name, "void *const *array, const int64_t *number"), lines, body)
        self.rows = {k: [place[r] for r in rows] for k, rows in self.rows.items()}
        return "\n".join([*above, *text, *self._entry(numbers)]) + "\n"

    def printing(self, names: dict[Array, str]) -> Statements:
        """What prints the statements, for arrays of these names."""
        taken = {*self.c_names.values(), *self.system.sizes}
        symbols = {x for s in flat(self.function.body) if not isinstance(s, Loop) for v in (*reads(s), writes(s)) if v is not None
                   for d in (*v.dims, *v.array.dims) for x in d.symbols} - {*self.system.sizes}
        self.shapes = Shapes(self.system.sizes) if self.shapes is None else self.shapes
        out = Statements(names.__getitem__, Indices(sorted(symbols), taken), {k: f"offset_{k}" for k in self.offsets}, self.own,
                         self.shapes, self.system.sizes)
        out.taken |= taken | KEYWORDS
        return out

    def variables(self, pointers: Collection[Array]) -> list[str]:
        """Other names of arrays, and numbers that are no arrays; `pointers`: numbers that stand in the caller's memory."""
        lines = [f"{INDENT}{declaration(a, self.c_names[a])} = {self.c_names[a.home]};" for a in self._every()
                 if self.c_names[a] != self.c_names[a.home] and a not in self.scalars]
        loose = [self.c_names[a] for a in self._every() if a not in pointers and not a.dims and a not in self.own]
        kinds = {self.c_names[a]: a.kind for a in self._every()}
        for kind, word in (("real", "real"), ("bool", "bool"), ("int", "int64_t"), (DOUBLE, "double")):
            own = [n for n in loose if kinds[n] == kind]
            lines += [f"{INDENT}{word} {', '.join(own)};"] if own else []
        return lines

    def work(self, statements: Statements, before: int = 0) -> list[str]:
        """The statements under their equations; `before`: lines above them."""
        self.meanings_()
        self.said: list[str] = []
        self.rows = {}
        lines: list[str] = []
        for b in gathered(self.function.body, self._headed):
            for line, values in self._c(b, statements, INDENT):
                for name in dict.fromkeys(self.names[v] for v in values if v in self.names):
                    self.rows.setdefault(name, []).append(before + len(lines))
                lines.append(line)
        return lines

    def _team(self) -> Team | None:
        """How threads share the work."""
        if not self.parallel:
            return None
        team = Team(self.plan, frozenset(self.own), frozenset(self.returned), self.system.sizes)
        team.divide(self.function.body)
        return team

    def _entry(self, numbers: list[str]) -> list[str]:
        """The function that a caller calls, where threads share the work."""
        if not self.team:
            return []
        work = cost(self.function.body).substitute(self.system.sizes)
        read = [f"{n} = number[{k}]" for k, n in enumerate(numbers) if n in map(size_name, work.symbols)]
        return ["", f"static double {self.name}_cost(const int64_t *number)", "{",
                *([f"{INDENT}const int64_t {', '.join(read)};"] if read else [f"{INDENT}(void)number;"]),
                f"{INDENT}return (double)({length(work)});", "}", "",
                f"void {self.name}(void *const *array, const int64_t *number)", "{",
                f"{INDENT}in_parallel({self.name}_share, {self.name}_cost(number), array, number, 0);", "}"]

    def meanings_(self) -> None:
        """What headings need."""
        from ...compiler.formulas import arrivals
        from ...compiler.pipeline import meanings
        explained = self.explained or self.system
        self.arrivals, self.meanings = arrivals(explained), meanings(explained)
        self.place = {e: i for i, e in enumerate(self.layout.plan.order)}

    def _c(self, s: Stmt, statements: Statements, pad: str, values: list[Expr] = NONE) -> Iterator[tuple[str, list[Expr]]]:
        """The lines of a statement, each with the values that it computes."""
        if isinstance(s, Block):
            above = list(self.heading(list(s.values), pad)) if s.heading is None else [f"# {x}" for x in s.heading]
            if any(isinstance(x, Loop) for x in s.body):
                above = []
            found = [*s.values, *(self.layout.part[v][0] for v in s.values if v in self.layout.part)]
            new = [x for x in above if x not in self.said]       # a block that goes on has its heading
            yield from ((f"{pad}/*{x[1:]} */", found) for x in new)
            self.said = above or self.said
            for x in s.body:
                yield from self._c(x, statements, pad, found)
        elif isinstance(s, Loop):
            statements.indices.open.append(s.axis)
            if self.team and id(s) in self.team.meetings:
                yield f"{pad}meet();", NONE
            if not s.straight:
                yield pad + loop_head(s), NONE
            for x in gathered(s.body, self._headed):
                yield from self._c(x, statements, pad if s.straight else pad + INDENT, values)
            if not s.straight:
                yield pad + "}", NONE
            statements.indices.open.pop()
        else:
            if self.team and id(s) in self.team.meetings:
                yield f"{pad}meet();", NONE
            yield from ((pad + line, values) for line in (self.team.lines(s, statements) if self.team else statements.lines(s)))


def bodies(body: list[Stmt]) -> Iterator[list[Stmt]]:
    """Lists of statements, those of loops included."""
    for s in body:
        if isinstance(s, Block):
            yield s.body
            yield from bodies([x for x in s.body if isinstance(x, Loop)])
        elif isinstance(s, Loop):
            yield from bodies(s.body)
