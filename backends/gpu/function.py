"""One function of a model for a GPU: its kernels in CUDA C++, and the Python that launches them, equation by equation."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...compiler.formulas import formula, indexed
from ...compiler.graph import BATCH, Expr, Input
from ...compiler.passes.fusion import fuse, locals_
from ...compiler.passes.memory import Slot, share
from ...compiler.passes.rows import by_rows
from ...compiler.program import (
    Array,
    Block,
    Convolve,
    Copy,
    Correlate,
    Draw,
    Kernel,
    Load,
    Loop,
    Nest,
    Product,
    Scatter,
    SizeOf,
    Stmt,
    View,
    flat,
    leaves,
    reads,
    writes,
)
from ...compiler.sizes import Size, product, size
from ..cpu.functions import WIDTH, Text, loop_head, wrapped
from ..cpu.names import cut, declared
from ..cpu.packing import gathered
from ..cpu.views import name_of
from ..native.function import NativeFunction, bodies
from ..native.indexing import CTYPES, Indices
from ..native.words import KEYWORDS
from .columns import Columns
from .convolutions import Blocks, in_blocks, print_blocks
from .epilogues import with_epilogues
from .geometry import BLOCK, SHARED, Geometry, blocks_of
from .kernels import Kernels
from .matrices import as_it_stands, gemm, place_of
from .persistent_function import NAMES, handed_over, launched, named, recurrences
from .prelude import KERNELS, found
from .scaled import Scaled, with_scales
from .splitting import by_kernels
from .statements import Statements, of_part
from .totals import by_totals
from .windows import Pooled, pooled

INDENT = "    "
LOSS = {"gradients": ("loss",)}                                  # results that tell of wrong inputs, where not all do
CUDA = frozenset("""threadIdx blockIdx blockDim gridDim warpSize lane row column parts chosen first_of_warp asm class delete new
this template typename using namespace operator private protected public friend virtual throw try catch signed mutable
explicit export abs acos acosh asin asinh atan atan2 atanh cbrt ceil cos cosh erf erfc exp exp2 expm1 fabs fdim floor
fma fmax fmin fmod
hypot j0 j1 jn log log10 log1p log2 max min modf norm pow remainder rint round rsqrt signbit sin sinh sqrt tan tanh tgamma trunc
y0 y1 yn clock free malloc printf memcpy memset assert int8_t uint8_t int32_t uint32_t int64_t uint64_t size_t
half dim3 error_t keys order from noted left arrived sums first far low seen mine totals tile""".split())


class CudaFunction(NativeFunction):
    """Prints one function: `body` is its text in Python; its kernels go into `kernels`."""

    kept_as = "{}"
    single = True
    copied = "kept({})"
    keywords = KEYWORDS | CUDA | frozenset(found()) | frozenset(KERNELS) | NAMES
    kernels: Kernels
    part = ""                                                    # the function and its section, for the kernels' heads
    equations: tuple[str, ...] = ()                              # what the next kernel computes

    def _lower(self) -> None:
        self.scratch = {}
        kept = frozenset(v.array for v in self.kept)
        self.why = list[str]()
        rows = by_rows(self._arranged(self.function.body), kept, self.namer.claim)
        self.function = replace(self.function, body=self._joined(by_kernels(fuse(rows, self.why)), kept))
        count = Counter(v.array for s in self._flat() for v in views(s))
        nests = [s for b in bodies(self.function.body) for s in b if isinstance(s, Nest)]
        self.own = {}
        for n in nests:
            self.taken = 0
            parts, sums = (n.parts, {s.out.array for s in n.sums}) if isinstance(n, (Columns, Pooled)) else ((n,), set())
            self.own |= {a: dims for part in parts for a, dims in locals_(part, count, kept, self._small).items()
                         if a.storage is None}
            inside = Counter(v.array for s in n.body for v in views(s))
            self.own |= {a: () for a, k in inside.items()
                         if (not a.dims or a in sums) and a.role == "value" and k == count[a] and a not in kept}
        for a in dict.fromkeys(v.array for s in self._flat() for v in reads(s)):
            self.own.pop(a.storage, None)  # type: ignore[arg-type]
        share(self.function.body, self.kept, self.own)
        self.scalars = frozenset(self.own)
        self.local = {*self.own}
        self.recurrences, self.step_by_step = recurrences(self)
        self.blocks = dict(self._in_blocks())
        self.scratch = {k: made.scratch for k, made in self.blocks.items()}

    def _joined(self, body: list[Stmt], kept: frozenset[Array]) -> list[Stmt]:
        """What is computed of a sum, or of a product, without a launch of its own, where that may be."""
        body = by_totals(with_scales(body, kept, self.lengths_above()), kept, self.namer.claim)
        return with_epilogues(pooled(body))

    def _name_scratch(self) -> None:
        """Numbers that one kernel hands to another have places of their own."""
        self.again = set()
        self.plan.slots += [Slot(a.kind, [size(1)], [(a, 0, 0)]) for a in self._every()
                            if not a.dims and a.role == "value" and a not in self.own]
        for a, n in handed_over(self):
            a.name = self.namer.claim(a.name or "x")
            self.plan.slots.append(Slot(a.kind, [n], [(a, 0, 0)]))

    def _arranged(self, body: list[Stmt], looped: bool = False) -> list[Stmt]:
        """Outside loops, copies of parts as kernels, which share a launch with their neighbours; products as memory stands."""
        out = list[Stmt]()
        for s in body:
            if isinstance(s, (Block, Loop)):
                out.append(replace(s, body=self._arranged(s.body, looped or isinstance(s, Loop))))
            elif isinstance(s, Copy) and not looped and of_part(s):
                out.append(Kernel(s.out.dims, s.out, Load(s.a)))
            elif isinstance(s, Product) and not looped:
                out.append(as_it_stands(s))
            else:
                out.append(s)
        return out

    def _in_blocks(self) -> Iterator[tuple[int, Blocks]]:
        """The convolutions that go by blocks of examples, by their identity."""
        found = [s for s in self._flat() if isinstance(s, (Convolve, Correlate))]
        names = (self.namer.claim("begin"), self.namer.claim("n")) if found else ("", "")
        self.keywords = self.keywords | {*names}
        for s in found:
            if (made := in_blocks(s, self.namer.claim, self.system.sizes, names)) is not None:
                yield id(s), made

    def _small(self, dims: tuple[Size, ...]) -> bool:
        """Whether a row's buffer may stand in shared memory beside those that are there."""
        n = product(dims)
        if not {*n.symbols} <= {*self.system.sizes} or self.taken + 4 * n.evaluate(self.system.sizes) > SHARED:
            return False
        self.taken += 4 * n.evaluate(self.system.sizes)
        return True

    def _every(self) -> list[Array]:
        return [*super()._every(), *(a for made in self.scratch.values() for a in made)]

    def _flat(self) -> list[Stmt]:
        return [s for s in flat(self.function.body) if not isinstance(s, Loop)]

    @property
    def numbers(self) -> set[str]:
        """Numbers that a kernel may take: lengths, and the variables of the loops around it."""
        loops = {s.axis.upper() for s in flat(self.function.body) if isinstance(s, Loop)} - {*self.system.sizes}
        return self.lengths_ | loops | {*self.indices.open}

    # ------------------------------------------------------------ Python

    def body(self, indent: str = INDENT) -> Text:
        """Launches and matrix products under their equations."""
        self.c_names = self._c_names()
        named(self)
        self.meanings_()
        self.said: list[str] = []
        self.known_names: set[str] = {a.home.name for a in self._every()}
        symbols = {x for s in self._flat() for v in views(s) for d in (*v.dims, *v.array.dims) for x in d.symbols}
        symbols |= {x for s in self._flat() for m in (s.body if isinstance(s, Nest) else [s]) if isinstance(m, Kernel)
                    for leaf in leaves(m.body) if isinstance(leaf, SizeOf) for x in leaf.size.symbols}
        taken = {*self.c_names.values(), *self.system.sizes, *(x for b in self.blocks.values() for x in (b.first, b.many))}
        self.indices = Indices(sorted(symbols - {*self.system.sizes}), taken)
        self.lengths_ = symbols - {*self.system.sizes}
        self.spoils = self._spoils()
        out, section, self.part = Text([*self._opening(indent)]), "", f"_{self.name}"
        for s in gathered(self.function.body, self._headed):
            if isinstance(s, Block) and s.section and s.section != section:
                section, self.part = s.section, f"_{self.name}: {s.section}"
                out.lines += ["", f"{indent}# ---- {section}"]
            for line, values in self._python(s, indent, []):
                for name in dict.fromkeys(self.names[v] for v in values if v in self.names):
                    out.where.setdefault(name, []).append(len(out.lines))
                out.lines.append(line)
        out.lines += self._results(indent)
        return out

    def _opening(self, indent: str) -> Iterator[str]:
        """Inputs as they are read, time first; the seed of random numbers."""
        for a in self._every():
            e = self.values.get(a)
            if isinstance(e, Input) and len(e.axes) > 1 and BATCH in e.axes:
                yield f"{indent}{a.home.name} = cp.ascontiguousarray({a.home.name})"
        if any(isinstance(s, Draw) for s in self._flat()):
            yield f"{indent}seed = seeds(seed)"

    def _results(self, indent: str) -> Iterator[str]:
        """Names of results that have none yet: of what is computed in another's place, of parts of arrays, of numbers."""
        for a in dict.fromkeys(v.array for v in self.kept):
            if a.home is not a and a.name not in self.known_names:
                self.known_names.add(a.name)
                yield f"{indent}{a.name} = {a.home.name}"
            if not a.dims and a.role == "value":
                yield f"{indent}{a.name} = {a.home.name}.reshape(())"
        parts = cut(self.function.body, self.kept)
        for a in self.spoils:
            self.kernels.plain["spoil"] = None
            name = self._called(a)
            yield f'{indent}launch("spoil", blocks({name}.size, {BLOCK}), {BLOCK}, {name}, {name}.size, CHECKS.place())'
        for v in self.kept:
            if v.array in parts and name_of(v) != v.array.name:
                yield indent + declared(v.array, parts.pop(v.array))

    def _python(self, s: Stmt, pad: str, values: list[Expr]) -> Iterator[tuple[str, list[Expr]]]:
        """The lines of a statement, each with the values that it computes."""
        if isinstance(s, Block):
            above = self._above(s, pad)
            if any(isinstance(x, Loop) for x in s.body):
                above = []
            found = [*s.values, *(self.layout.part[v][0] for v in s.values if v in self.layout.part)]
            yield from ((pad + x, found) for x in above if x not in self.said)
            self.said = above or self.said
            for x in s.body:
                self.equations = self._computed(s, x)
                yield from self._python(x, pad, found)
        elif isinstance(s, Loop):
            if (made := self.recurrences.get(id(s))) is not None:
                self.equations = tuple(x for b in blocks(s) for x in self._above(b))
                yield from ((pad + line, values) for line in self._other_names(s))
                yield from ((x, []) for x in wrapped(f"{pad}if {launched(self, made)}:", ""))
                pad += INDENT
            elif self.options.persistent and id(s) in self.step_by_step:
                yield f"{pad}# Step by step: {self.step_by_step[id(s)]}.", []
            self.indices.open.append(s.axis)
            yield from ((pad + line, []) for line in loop_head(s))
            for x in gathered(s.body, self._headed):
                yield from self._python(x, pad if s.straight else pad + INDENT, values)
            self.indices.open.pop()
        else:
            for line in self._launch(s, values):
                yield from ((x, values) for x in wrapped(pad + line, ""))
            yield from ((pad + line, values) for line in self._other_names(s))

    def _above(self, b: Block, pad: str = INDENT) -> list[str]:
        """The equations of a block."""
        return [*self.heading([*b.values], pad)] if b.heading is None else [f"# {x}" for x in b.heading]

    def _computed(self, b: Block, s: Stmt) -> tuple[str, ...]:
        """The equations of what a statement computes of a block; of values without a name, their formulas."""
        written = {v.array for x in flat([s]) if not isinstance(x, Loop) and (v := writes(x)) is not None}
        arrays = {e: self.layout.arrays.get(self.layout.part[e][0] if e in self.layout.part else e) for e in b.values}
        own = [e for e in b.values if arrays[e] in written]
        inner = [e for e in b.values if self.names.get(e, "").startswith("a_") and e not in own]
        if named := [*self.heading([*own, *inner])]:
            return tuple(named)
        names = {**{e: a.name for e, a in self.layout.arrays.items() if a.name}, **self.names}
        unnamed = [(a, e) for e in own if (a := arrays[e]) is not None and a.name and a not in self.scalars]
        lines = [f"# {indexed(a.name, e)} = {formula(e, names, limit=40)}" for a, e in unnamed]
        return tuple(y for x in lines for y in textwrap.wrap(x, WIDTH - 8, subsequent_indent="#     ", break_long_words=False)) \
            or tuple(self._above(b) if len(b.body) == 1 else ())

    def _other_names(self, s: Stmt) -> Iterator[str]:
        """Names of what a statement computes in the place of something else."""
        for a in [v.array for x in flat([s]) if not isinstance(x, Loop) and (v := writes(x)) is not None]:
            if a.home is not a and a.name and a.name not in self.known_names and a not in self.scalars:
                self.known_names.add(a.name)
                yield f"{a.name} = {a.home.name}"

    def _launch(self, s: Stmt, values: list[Expr]) -> Iterator[str]:
        """A statement as a call of cuBLAS, or as the launch of a kernel."""
        if isinstance(s, Product) and (text := gemm(s, self._called, place_of, s.more if isinstance(s, Scaled) else "")):
            self.uses.add(text.partition("(")[0])
            yield text
            return
        if (made := self.blocks.get(id(s))) is not None and isinstance(s, (Convolve, Correlate)):
            yield from print_blocks(s, made, self)
            return
        if isinstance(s, Scatter) and self._statements().sorts(s):
            yield from self._sorted(s)
            return
        yield self._call(s, *self._statements().kernel(s))

    def _statements(self) -> Statements:
        """What prints the next kernel."""
        out = Statements(self.c_names.__getitem__, self.indices, self.system.sizes,
                         {k: f"offset_{k}[0]" for k in self.offsets}, self.own)
        out.taken |= {*self.c_names.values(), *self.system.sizes} | self.keywords
        out.atomics = self.options.atomics
        return out

    def _spoils(self) -> list[Array]:
        """The results, where kernels look through inputs: of wrong ones they become NaN."""
        inputs = [e for a in self._every() if isinstance(e := self.values.get(a), Input)]
        looked = any(e.type.kind == "class" or e.name.startswith("lengths_") for e in inputs)
        if not {*["check_classes"] * looked, "check_units"} & {*self.kernels.plain}:
            return []
        written = {v.array for s in self._flat() if (v := writes(s)) is not None}
        told = LOSS.get(self.name, self.function.results)
        found = [v.array for k, v in self.function.results.items() if k in told]
        return [a for a in dict.fromkeys(found) if a in written and a.kind not in CTYPES]

    def _spoiled(self, body: list[str], written: list[Array]) -> tuple[list[str], bool]:
        """The body of a kernel; one that stores a result, at one place, looks there for what was noted of inputs."""
        loss = next((a for a in self.spoils if a in written and not a.dims), None)
        if loss is None or sum(writes(x).array is loss for x in self._flat() if writes(x)) != 1:  # type: ignore[union-attr]
            return body, False
        stored = re.compile(rf"(.*\b{self.c_names[loss]}\[0\] = )(.*);")
        places = [(k, m) for k, line in enumerate(body) if (m := stored.fullmatch(line))]
        if len(places) != 1:
            return body, False
        (k, m), = places
        self.spoils.remove(loss)
        return [*body[:k], f"{m[1]}noted[0] < 0 ? {m[2]} : NAN;", *body[k + 1:]], True

    def _call(self, s: Stmt, body: list[str], geometry: Geometry, word: str = "") -> str:
        """The launch of a kernel with this body."""
        arrays = list(dict.fromkeys(v.array for x in flat([s]) for v in views(x) if v.array not in self.scalars))
        written = [v.array for x in flat([s]) if (v := writes(x)) is not None]
        body, noted = self._spoiled(body, written)
        shared = bool(geometry.grid)
        self.uses |= {"Parts", *(k for k in ("tiles", "shares") if f"{k}(" in geometry.grid)} if shared else set()
        more = [*["real *__restrict__ left", "unsigned *__restrict__ arrived"] * shared,
                *["const int64_t *__restrict__ noted"] * noted]
        name, homes, numbers = self.kernels.add(word or self._word(s), body, geometry, arrays, written, self, more=more)
        seeded = ["*seed"] if any(isinstance(x, Draw) for x in flat([s])) else []
        sorting = [k for k in ("keys", "order") if any(f"{k}[" in line for line in body)] if isinstance(s, Scatter) else []
        places = [*["*PARTS.places()"] * shared, *["CHECKS.place()"] * noted]
        given = ", ".join([*(self._called(a) for a in homes), *seeded, *sorting, *self.lengths_given(numbers), *places])
        threads = str(geometry.threads if len(geometry.threads) > 1 else geometry.threads[0])
        count = geometry.grid or blocks_of(geometry.count, geometry.per)
        return f'launch("{name}", {f"({count}, {geometry.tiles})" if geometry.tiles else count}, {threads}, {given})'

    def lengths_given(self, numbers: Sequence[str]) -> Iterator[str]:
        """The numbers that a kernel takes, as they are called in Python."""
        for n in numbers:
            before = self.offsets.get(n.removeprefix("offset_")) if n.startswith("offset_") else None
            self.uses |= {"steps_before"} if before is not None else set()
            yield n if before is None else f"steps_before(workspace, {before}, np.int32)"

    def _sorted(self, s: Scatter) -> Iterator[str]:
        """Rows added up by their class: the classes brought together, sorted, and then a block for each class that there is."""
        word, rows = self._word(s), product(s.index.dims).format()
        self.uses |= {"sort_keys"}
        self.kernels.plain |= dict.fromkeys(("count_digits", "add_up", "place_digits"))
        yield self._call(s, *self._statements().zero(s), f"{word}_zero")
        yield f'keys, = workspace.reserve("keys", [({rows}, np.int32)])'
        yield self._call(s, *self._statements().keys(s), f"{word}_keys")
        if not self.options.atomics:
            yield f"order = sort_keys(workspace, keys, {rows}, {s.out.dims[0].format()})"
        yield self._call(s, *self._statements().kernel(s))

    def _called(self, a: Array) -> str:
        """What an array is called in Python: its own name where it has one already."""
        return a.name if a.name in self.known_names else a.home.name

    def _word(self, s: Stmt) -> str:
        """A kernel is called after what it writes last."""
        last = [v.array for x in flat([s]) if (v := writes(x)) is not None]
        named = [a for a in last if a not in self.scalars] or last
        return self.c_names[named[-1]]


def views(s: Stmt) -> tuple[View, ...]:
    """All that a statement reads and writes."""
    out = writes(s)
    return (*reads(s), *((out,) if out is not None else ()))


def blocks(s: Loop) -> Iterator[Block]:
    """The blocks of a loop, and of loops in it."""
    for b in s.body:
        if isinstance(b, Block):
            yield from (y for x in b.body if isinstance(x, Loop) for y in blocks(x))
            yield b
        elif isinstance(b, Loop):
            yield from blocks(b)


__all__ = ["CTYPES", "CudaFunction"]
