"""One function of a module: its values get names and memory, its statements are printed under their equations."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from ...compiler.formulas import arrivals, formula, indexed
from ...compiler.graph import Concat, Expr, Param
from ...compiler.options import Options
from ...compiler.passes.layout import Layout
from ...compiler.passes.memory import Plan, numbered, plan, share
from ...compiler.passes.naming import Namer, printable
from ...compiler.passes.unrolled_loops import copied_arrays, unroll_loops
from ...compiler.pipeline import meanings
from ...compiler.program import (
    BOOL,
    DOUBLE,
    Array,
    Block,
    Convolve,
    Correlate,
    Draw,
    Fixed,
    Function,
    Kernel,
    Loop,
    Reduction,
    Stmt,
    Unpool,
    View,
    Winner,
    flat,
    reads,
    writes,
)
from ...compiler.sizes import Size, SizeLike, product, size, symbol
from ...compiler.system import System
from .convolutions import work_arrays
from .expressions import Numbers
from .images import scratch
from .kernels import Lowered
from .names import Names, cut, declared
from .packing import gathered, groups, joined, together
from .statements import Statements
from .views import name_of, part_dims, shape_text

WIDTH = 100
TELLING = ("exp", "log", "tanh", "sigmoid", "softplus", "square", "sqrt", "abs", "neg", "relu", "real")  # ops in names
WHOLE = re.compile(r"\.(transpose|swapaxes|reshape)\([^()]*\)")
SHAPES = 64                                              # the column at which trailing shapes stand


@dataclass
class Text:
    """Lines of a function, and which of them compute which value."""

    lines: list[str] = field(default_factory=list)
    where: dict[str, list[int]] = field(default_factory=dict)


@dataclass
class FunctionPrinter:
    """Prints a function's body; `buffered` keeps values in a workspace, otherwise each is a fresh array (-O0)."""

    kept_as: ClassVar[str] = "{}"                                # under which name a workspace holds the buffers
    single: ClassVar[bool] = False                               # numbers are float32, whatever the inputs are
    shares: ClassVar[bool] = True                                # values take the place of operands before they are named

    copied: ClassVar[str] = "{}.copy()"                          # a value that outlives the function

    function: Function
    layout: Layout
    system: System
    names: dict[Expr, str]
    uses: set[str]
    reserved: tuple[str, ...]
    buffered: bool = True
    explained: System | None = None                              # the system whose formulas the headings show
    options: Options = field(default_factory=Options)            # how often loops are unrolled
    plan: Plan = field(default_factory=Plan)
    offsets: dict[str, str] = field(default_factory=dict)       # time axis -> how many steps came before this chunk
    name: str = ""
    leaves: dict[Expr, str] = field(default_factory=dict)       # what slots and the offset of a chunk are called

    def __post_init__(self) -> None:
        if "loss" in self.layout.plan.roots:
            self.names = {**self.names, self.layout.plan.roots["loss"]: "loss"}
        self.kept = (*self.function.results.values(), *self.function.carry.values())
        self.values = {a: e for e, a in self.layout.arrays.items()}
        self.namer = Namer(self.reserved)
        if self.buffered and self.shares:
            share(self.function.body, self.kept)
        self.function = unroll_loops(self.function, self.options.unroll, self.options.steps)
        self.values |= {a: self.values[a.original] for a in copied_arrays(self.function) if a.original in self.values}
        self.local = {a for e, a in self.layout.arrays.items() if self.layout.kind[e] == "local"}
        parents = {parent for parent, _, _ in self.layout.part.values()}
        self.local -= {a for a in self.local if self.values[a] in parents}       # written in pieces
        self.local |= {a for a in copied_arrays(self.function) if a.original in self.local}
        if self.buffered:                                        # a loop draws into one array, step after step
            self.local -= {s.out.array for s in flat(self.function.body) if isinstance(s, Draw)}
        self.statements = Statements(self.uses, self.allocated)
        self.statements.expressions.numbers = Numbers(self.lengths_above(), (s for _, s, _ in numbered(self.function.body)))
        self.statements.offsets = self.offsets
        self._name()
        self.statements.prepare(self.function.body)
        self.statements.inlined -= {v.array for v in self.kept}          # what the caller gets has a name
        self._lower()
        if self.buffered:
            self.plan = plan(self.function.body, self.kept, self.scratch, frozenset(self.local), self.system.sizes)
            self._name_scratch()

    def _name_scratch(self) -> None:
        """One name for scratch of one shape in one slot: it is one view."""
        found: dict[tuple[int, tuple[Size, ...]], str] = {}
        self.again: set[Array] = set()
        for i, a in self.plan.arrays():
            if a.comment == "scratch":
                if (i, a.dims) in found:
                    self.again.add(a)
                else:
                    word = a.name if a.name.isidentifier() else "tmp"
                    found[i, a.dims] = self.namer.claim("mask" if a.kind == BOOL else word)
                a.name = found[i, a.dims]

    def lengths_above(self) -> dict[str, SizeLike]:
        """Lengths beyond the least that they may be, T + 1, and sizes: what `Size.positive` compares with."""
        some = any(v.array.role == "result" for v in self.kept)  # the caller's: no such function takes none of its examples
        free = {x for a in self.values for n in a.dims for x in n.symbols} if some else {*self.function.least}
        return {x: symbol(x) + self.function.least.get(x, 1) for x in free} | self.system.sizes

    def allocated(self, a: Array) -> bool:
        """Whether an array exists before it is written."""
        if a.role in ("param", "input", "result"):
            return True
        return self.buffered and bool(a.dims) and a.home not in self.local

    # ------------------------------------------------------------ names

    def _name(self) -> None:
        """The user's words for what has them; then a name from what the value is, in the order of printing."""
        for a in self.values:
            if a.role in ("param", "input"):
                word = self.leaves.get(self.values[a], a.name)
                kept = self.values[a] in self.leaves and ("[" in word or word in self.reserved)
                a.name = word if kept else self.namer.claim(word)        # an entry of the carry is read where it is
        for key, v in self.function.results.items():
            if v.array.role == "result" or (not v.array.dims and v.array.role == "value" and not v.array.name):
                v.array.name = self.namer.claim(v.array.name or key)
        Names(self.function, self.layout, self.values, self.names, self.namer, self.allocated).run()

    # ------------------------------------------------------------ memory

    def _lower(self) -> None:
        """Ufunc calls for every kernel that writes into memory, and the scratch arrays of every statement."""
        self.scratch: dict[int, list[Array]] = {}
        for _, s, looped in numbered(self.function.body):
            arrays: list[Array] = []
            if isinstance(s, Kernel) and s.out.dims and self.buffered and self.allocated(s.out.array) and not looped:
                lowered = Lowered(s, self.uses, numbers=self.statements.expressions.numbers)
                self.statements.lowered[id(s)] = lowered
                arrays = lowered.scratch
            elif isinstance(s, Reduction) and s.kind in ("logsumexp", "norm") and self.buffered and not looped:
                arrays = [Array(s.a.dims, comment="scratch")]
            elif isinstance(s, Winner | Unpool) and self.buffered:
                arrays = [Array(dims, kind, comment="scratch") for kind, dims in scratch(s)]
            elif isinstance(s, Draw) and self.buffered:
                more = 2 if s.at or s.along in self.statements.offsets else 1        # pairs: the first and the last may be halves
                dims = s.out.dims if s.kind == "uniform" else (size(2), product(s.out.dims) + more)
                arrays = [Array(dims, DOUBLE, comment="scratch")]
            elif isinstance(s, Convolve | Correlate) and self.buffered:
                arrays = work_arrays(s)
            if arrays:
                self.scratch[id(s)] = arrays
        self.statements.scratch = self.scratch if self.buffered else {}

    def buffers(self) -> list[tuple[int, Array]]:
        """The slot of every array of the workspace, each view once."""
        return [(i, a) for i, a in self.plan.arrays() if a not in self.again]

    # ------------------------------------------------------------ text

    def body(self, indent: str = "    ") -> Text:
        """The statements under their equations."""
        out = Text()
        self.seen: set[tuple[Array, tuple[Size, ...]]] = set()
        self.cut = cut(self.function.body, self.kept)
        self.carried: list[Expr] = []
        self.unprinted: list[Stmt] = []
        explained = self.explained or self.system
        self.arrivals, self.meanings = arrivals(explained), meanings(explained)
        self.place = {e: i for i, e in enumerate(self.layout.plan.order)}
        self.aliases: set[str] = {a.name for _, a in self.buffers()}
        section = ""
        for b in gathered(together(self.function.body), self._headed):
            if isinstance(b, Block) and b.section and b.section != section:
                section = b.section
                out.lines.append("")
                out.lines.append(f"{indent}# ---- {section}")
            self._print(b, out, indent)
        for v in self.kept:                                      # a part that no statement reads is returned all the same
            if v.array in self.cut and name_of(v) != v.array.name:
                out.lines.append(indent + declared(v.array, self.cut.pop(v.array)))
        return out

    def _headed(self, b: Block) -> bool:
        """Whether a block says above its statements what they compute."""
        if b.heading is not None:
            return bool(b.heading)
        told, _, notes = self._told(list(b.values))
        return bool(told or notes)

    def _print(self, s: Stmt | tuple[Stmt, ...], out: Text, indent: str) -> None:
        if isinstance(s, Block):
            start = len(out.lines)
            values = [*self.carried, *s.values]
            self.carried = []
            if not any(isinstance(x, Loop) for x in s.body):
                above = self.heading(values, indent) if s.heading is None else (f"# {line}" for line in s.heading)
                out.lines += [indent + line for line in above]
            before = len(out.lines)
            for run in groups(s.body):
                self._print(run[0] if len(run) == 1 else run, out, indent)
            if len(out.lines) == before:                         # all of it stands in its reader's expression
                del out.lines[start:]
                self.carried = values
            wholes = [self.layout.part[v][0] for v in values if v in self.layout.part]       # what is computed in its place
            for v in dict.fromkeys([*values, *wholes]):
                if v in self.names:
                    out.where.setdefault(self.names[v], []).extend(range(start, len(out.lines)))
        elif isinstance(s, Loop):
            self._print_loop(s, out, indent)
        else:
            run = s if isinstance(s, tuple) else (s,)
            target = writes(run[0]) if len(run) == 1 or joined(list(run)) else None
            lines = list(self.statements.together(run) if len(run) > 1 else self.statements.lines(run[0]))
            if not lines:
                self.unprinted += run                            # it stands in its reader's expression
            elif target is not None:
                lines, self.unprinted = [*self._alias(target.array), *self._after_parts(run, lines)], []
            for k, line in enumerate(lines):
                shape = self._shape(target) if k == 0 and target is not None else ""
                out.lines += wrapped(indent + line, shape)

    def _print_loop(self, s: Loop, out: Text, indent: str) -> None:
        for x in flat(s.body):
            target = writes(x)
            out.lines += [indent + line for line in (self._alias(target.array) if target is not None else ())]
        for line in (*self._traces(s), *(line for _, line in self._parts(s))):
            out.lines.append(indent + line)
        inner, made = (indent, None) if s.straight else (indent + "    ", {*self.statements.made})
        out.lines += [indent + line for line in loop_head(s)]
        for x in s.body:
            if s.copies > 1 or s.straight:
                assert isinstance(x, Block)
                out.lines += [f"{inner}# {line}" for line in x.heading or ()]
            for y in x.body if (s.copies > 1 or s.straight) and isinstance(x, Block) else [x]:
                self._print(y, out, inner)
        if made is not None:                                 # what the body makes is made again after the loop
            self.statements.made = made

    def _traces(self, loop: Loop) -> Iterator[str]:
        """Arrays that a loop fills step by step, where no workspace holds them."""
        for s in flat(loop.body):
            out = writes(s)
            if out is not None and not self.allocated(out.array) and any(isinstance(x, Fixed) for x in out.along):
                yield from self.statements.allocate(out)

    def _after_parts(self, run: tuple[Stmt, ...], lines: list[str]) -> list[str]:
        """Statements after the parts that they read; the parts of an array that they make come after the line that makes it."""
        made = [v.array for x in run if (v := writes(x)) is not None]
        at = next((k + 1 for k, line in enumerate(lines) if line.startswith(tuple(f"{a.name} = " for a in made))), 0)
        found = [part for x in (*self.unprinted, *run) for part in self._parts(x)]
        own = [line for a, line in found if at and a in made]
        return [*(line for _, line in found if line not in own), *lines[:at], *own, *lines[at:]]

    def _parts(self, s: Stmt) -> Iterator[tuple[Array, str]]:
        """The named parts of arrays, before the first statement that reads or writes one of them."""
        for x in flat([s]):
            for v in (*reads(x), writes(x)) if not isinstance(x, Loop) else ():
                if v is not None and v.array in self.cut and name_of(v) != v.array.name:
                    yield v.array, declared(v.array, self.cut.pop(v.array))

    def _alias(self, a: Array) -> Iterator[str]:
        """A value that is computed in another's place gets its own name first."""
        if a.home is not a and a.name != a.home.name and a.name not in self.aliases and self.allocated(a):
            self.aliases.add(a.name)
            yield f"{a.name} = {a.storage.name if a.storage.name in self.aliases else a.home.name}"  # type: ignore[union-attr]

    def _shape(self, v: View) -> str:
        """The shape of what a statement writes to: an array, or a part of it that has a name."""
        if not v.array.dims:
            return ""
        dims = part_dims(v)
        if (v.array.home, dims[1:]) in self.seen:
            return ""
        self.seen.add((v.array.home, dims[1:]))
        return "# " + shape_text(dims)

    def heading(self, values: list[Expr], indent: str = "    ") -> Iterator[str]:
        """The equations that a block computes, with where they were written, and the rewrites that shaped them."""
        told, hidden, notes = self._told(values)
        names = {e: n for n, e in self.meanings.items() if n not in hidden} if told else {}
        if any(n not in self.meanings for n in told.values()):                       # explained by what this function computes
            names = {e: n for e, n in self.names.items() if n not in hidden} | names
        for v, name in told.items():
            known = self.meanings.get(name, v)
            right = formula(known, names, index=bool(self.function.axes), limit=40, inline=self.arrivals)
            summed = f"{name} count" in {**self.function.results, **self.function.numbers}       # `evaluate` gives (sum, count)
            text = f"# {name}, summed: {right}" if summed else f"# {indexed(name, known)} = {right}"
            span = self.system.spans.get(name)
            place = f"{span.file.rsplit('/', 1)[-1]}:{span.line}" if span else ""
            rows = textwrap.wrap(text, WIDTH - 8, subsequent_indent="#     ", break_long_words=False)
            column = SHAPES - len(indent)
            if place and len(rows[0]) < WIDTH - len(place) - 8:
                rows[0] = f"{rows[0]:<{column}}{place}" if len(rows[0]) < column - 1 else f"{rows[0]}  {place}"
            yield from map(printable, rows)
        for note in notes:
            rows = textwrap.wrap(f"#   {note}", WIDTH - 8, subsequent_indent="#       ", break_long_words=False)
            yield from map(printable, rows)

    def _told(self, values: list[Expr]) -> tuple[dict[Expr, str], set[str], list[str]]:
        """What a heading explains, by its names; the names of what it does not, as it stands inside; notes of rewrites."""
        computed = {*values}
        hidden = {n for v in computed if (n := self.names.get(v, "")).startswith("a_") and n not in self.system.spans}
        ordered = sorted(computed, key=self.place.__getitem__)
        told = {v: self.names[v] for v in ordered if v in self.names and self.names[v] not in hidden
                and not (isinstance(v, Concat) and all(isinstance(a, Param) for a in v.args))}
        return told, hidden, [*dict.fromkeys(n for v in ordered for n in self.system.notes.get(v, ()))]


def loop_head(s: Loop) -> list[str]:
    """`for t in range(T):`, every k-th step, or the steps that this leaves; nothing where every step is written out."""
    if s.straight:
        return []
    t, n, k = s.axis, s.axis.upper(), s.copies
    if s.rest > 1:
        steps = f"range({n} % {s.rest})" if s.reverse else f"range({n} - {n} % {s.rest}, {n})"
    elif k > 1:
        steps = f"range({n} % {k}, {n}, {k})" if s.reverse else f"range(0, {n} - {n} % {k}, {k})"
    else:
        steps = f"range({n})"
    return [f"for {t} in {f'reversed({steps})' if s.reverse else steps}:"]


def wrapped(line: str, comment: str, opened: int = 0) -> list[str]:
    """A statement, its shape at a fixed column, and a break inside brackets where it is too long; `opened`: open before it."""
    if comment:
        line = f"{line:<{SHAPES}}{comment}" if len(line) < SHAPES - 1 else f"{line}  {comment}"
    if len(line) <= WIDTH:
        return [line]
    code = line.split("  # ")[0].rstrip()
    if len(code) <= WIDTH:
        return [code]
    indent = len(code) - len(code.lstrip())
    found = [(depth, i) for i, depth in breaks(code, opened) if indent < i < WIDTH]
    assignment = re.match(r"[^=]* [-+*/]?= ", code)
    sums = [i for depth, i in found if depth == 0 and code[i] in "+-" and assignment and i > assignment.end()]
    if sums and assignment:                                      # in parentheses, a term a line
        at = assignment.end()
        return [f"{code[:at]}({code[at:sums[-1]].rstrip()}", *wrapped(f"{' ' * (at + 1)}{code[sums[-1]:]})", "", 1)]
    least = min((depth for depth, _ in found if depth), default=0)
    cut = max((i for depth, i in found if depth == least), default=0) if least else 0
    if cut == 0:
        return [code]
    at = cut + (code[cut] == ",")
    listed = least == opened and code[cut] == "," and code[cut - 1] != ":"       # the rest of a list: lines below each other
    return [code[:at].rstrip(), *wrapped(" " * (indent + 4 * (not listed)) + code[at:].lstrip(), "", least)]


def breaks(code: str, depth: int) -> list[tuple[int, int]]:
    """Where a line may be broken, with how many brackets are open there: after a comma, before a plus or a minus of terms."""
    text, close, out = "", 0, list[tuple[int, int]]()
    for i, c in enumerate(code):
        if i < close:                                            # an order of axes, or a shape, stays in one piece
            continue
        if text:
            text = "" if c == text else text
        elif m := WHOLE.match(code, i):
            close = m.end()
        elif c in "\"'":
            text = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif code[i:i + 2] == ", " or (code[i - 1:i + 2] in (" + ", " - ")):
            out.append((i, depth))
    return out
