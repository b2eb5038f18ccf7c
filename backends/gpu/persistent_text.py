"""Loops over time in one launch, as CUDA C++: weights into shared memory, then step after step, with barriers between them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import cast

from ...compiler.program import Along, Draw, Kernel, Pick, Product, Reduction, Stmt, Take, View
from ...compiler.sizes import Size
from ..native.indexing import CTYPES, Indices, Namer, place, strides
from ..native.kernels import length, scalar
from ..native.loops import FIRST, accumulate
from .geometry import bracketed, strided
from .persistent_form import BLOCK, GROUP, Again, Recurrence, Split, beside, joined, kept_dims, space, views
from .statements import Statements, flat, join

THREADS = 256
WORK = 8192                                                      # numbers that a product works with
BARRIERS = {BLOCK: "__syncthreads();", GROUP: "meet_(arrived, members);"}
PAD = "    "
WORD = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True)
class Names:
    """What the numbers of a way to share out units are called."""

    share: str
    low: str
    units: str


class PersistentText(Statements):
    """Prints one loop."""

    def __init__(self, made: Recurrence, names: Namer, indices: Indices, known: Mapping[str, int],
                 taken: Collection[str], offsets: dict[str, str]) -> None:
        super().__init__(names, indices, known, offsets, dict.fromkeys(made.registers, ()))
        self.made, self.taken, self.done = made, {*taken}, set[str]()
        self.part, self.unit, self.inside = self.fresh("part"), self.fresh("unit"), ""       # of a loop over the parts of a unit
        self.numbered = {u: Names(*(self.fresh(f"{x}{k or ''}") for x in ("share", "lowest", "units")))
                         for k, u in enumerate(made.units)}
        self.weights: dict[tuple[View, Split], str] = {}
        for s, how in zip(made.body, made.splits, strict=True):
            if isinstance(s, Product) and (s.b, how) not in self.weights:
                self.weights[s.b, how] = self.fresh(f"{names(s.b.array)}_held")

    def fresh(self, word: str) -> str:
        """A name that nothing has yet."""
        name = next(x for x in (word, *(f"{word}_{k}" for k in range(2, 1000))) if x not in self.taken)
        self.taken.add(name)
        return name

    # ------------------------------------------------------------ the whole kernel

    def text(self) -> list[str]:
        """The body of the kernel."""
        loop = self.made.loop
        t, n = loop.axis, loop.axis.upper()
        head = f"for (int {t} = {n} - 1; {t} >= 0; {t}--) {{" if loop.reverse else f"for (int {t} = 0; {t} < {n}; {t}++) {{"
        rest = [*self._memory(), *self._filled(), "__syncthreads();", head, *(PAD + line for line in self._steps()), "}"]
        used, lines = set(WORD.findall("\n".join(rest))), list[str]()
        for name, value in reversed([*self._shares()]):
            if name in used:
                used |= {*WORD.findall(value)}
                lines.insert(0, f"const int {name} = {value};")
        return [*lines, *rest]

    def _shares(self) -> Iterator[tuple[str, str]]:
        """What is this block's."""
        every = bracketed(length(self.made.batch))
        yield from (("lane", "threadIdx.x % 32"), ("warp", "threadIdx.x / 32"), ("member", "blockIdx.x % members"),
                    ("group", "blockIdx.x / members"), ("examples", f"({every} + groups - 1) / groups"),
                    ("first", "group*examples"), ("rows", f"max(min({every} - first, examples), 0)"))
        for u, n in self.numbered.items():
            size = bracketed(length(u))
            yield n.share, f"({size} + members - 1) / members"
            yield n.low, f"member*{n.share}"
            yield n.units, f"max(min({size} - {n.low}, {n.share}), 0)"

    def _memory(self) -> Iterator[str]:
        """Shared memory: for products, weights, the block's own values of a step."""
        yield "extern __shared__ real work[];"
        before = f"work + {WORK}"
        for (v, how), name in self.weights.items():
            yield f"real *{name} = {before};"
            before = f"{name} + {self._depth(v, how)}*{self._padded(how)}"
        for a, (dim, of, parts) in self.made.own.items():
            yield f"real *{self.names(a)} = {before};"
            sizes = [*(bracketed(length(n)) for _, n in beside(self.made, a, dim)), *([str(parts)] if parts > 1 else [])]
            before = f"{self.names(a)} + {'*'.join(['examples', *sizes, self.numbered[of].share])}"
        for a in self.made.private:
            kind = CTYPES.get(a.kind, "real")
            yield f"{kind} *{self.names(a)} = {before if kind == 'real' else f'({kind} *)({before})'};"
            before = f"{'' if kind == 'real' else '(real *)'}{self.names(a)} + examples"
        yield "arrived += 32*group;"

    def _depth(self, v: View, how: Split) -> str:
        """How many weights a unit has, of a matrix of them."""
        both = zip(self.made.body, self.made.splits, strict=True)
        s = next(s for s, x in both if isinstance(s, Product) and (s.b, x) == (v, how))
        return bracketed(length(next(n for q, n in zip(s.lb, s.b.dims, strict=True) if q not in s.lo)))

    def _padded(self, how: Split) -> str:
        """Rows of weights of a block, as they stand in memory: four by four."""
        return f"(({self._rows(how)} + 3) / 4*4)"

    def _rows(self, how: Split) -> str:
        share = self.numbered[how.of].share
        return share if how.parts == 1 else f"{how.parts}*{share}"

    def _filled(self) -> Iterator[str]:
        """Weights, column by column; zeros where a block has fewer units than the others."""
        for s, how in zip(self.made.body, self.made.splits, strict=True):
            name = self.weights.get((s.b, how), "") if isinstance(s, Product) else ""
            if not isinstance(s, Product) or name in self.done:
                continue
            self.done.add(name)
            n = self.numbered[how.of]
            inner = next(q for q in s.lb if q not in s.lo)
            depth, padded = self._depth(s.b, how), self._padded(how)
            element = self(s.b, ["column_" if q == inner else "mine_" for q in s.lb])
            part = f" + row_ / {n.share}*{bracketed(length(how.of))}" if how.parts > 1 else ""
            yield f"for (int at = threadIdx.x; at < {depth}*{padded}; at += {THREADS}) {{"
            yield f"    const int column_ = at / {padded}, row_ = at % {padded}, mine_ = {n.low}{part} + row_ % {n.share};"
            yield f"    {name}[at] = row_ < {self._rows(how)} && row_ % {n.share} < {n.units} ? {element} : 0;"
            yield "}"

    # ------------------------------------------------------------ a step

    def _steps(self) -> Iterator[str]:
        """The statements of a step, those of one kind in one loop."""
        body, barriers, k = self.made.body, self.made.barriers, 0
        while k < len(body):
            end = k + 1
            while end < len(body) and barriers[end] not in BARRIERS and joined(self.made, k, end):
                end += 1
            yield from [BARRIERS[barriers[k]]] if barriers[k] in BARRIERS else []
            yield from self._run(body[k:end], self.made.splits[k])
            k = end

    def _run(self, run: list[Stmt], how: Split) -> Iterator[str]:
        s = run[0]
        if isinstance(s, Product):
            yield from self._multiplied(s, how)
            return
        over = [(i, n) for d, (i, n) in enumerate(zip(self.indices(space(s)), space(s), strict=True)) if d in kept_dims(s)]
        each = not isinstance(s, Reduction)
        start, step = ("threadIdx.x", THREADS) if each else ("warp", THREADS // 32)
        if each and how.parts > 1 and len(over) == 2:
            yield from self._parted(run, over, how)
            return
        elements, found = self._places(over, how)
        yield f"for (int at = {start}; at < {elements}; at += {step}) {{"
        yield f"    const int {', '.join(found)};"
        body = (line for x in run for line in self._line(x)) if each else self._sums(cast(list[Reduction], run))
        yield from (PAD + line for line in body)
        yield "}"

    def _parted(self, run: list[Stmt], over: Sequence[tuple[str, Size]], how: Split) -> Iterator[str]:
        """All parts of a unit by one thread, which has the unit in other loops too: no barrier between them."""
        n, batch = self.numbered[how.of], next(i for i, size in over if size == self.made.batch)
        self.inside = over[cast(int, how.dim)][0]
        index = f"const int {self.inside} = {n.low} + {self.part}*{bracketed(length(how.of))} + {self.unit};"
        body = [line for s in run for line in self._line(s)]
        yield f"for (int at = threadIdx.x; at < rows*{n.units}; at += {THREADS}) {{"
        yield f"    const int {batch} = first + at / {n.units}, {self.unit} = at % {n.units};"
        yield f"    for (int {self.part} = 0; {self.part} < {how.parts}; {self.part}++) {{"
        yield from (2 * PAD + line for line in ([index] if self.inside in WORD.findall("\n".join(body)) else []) + body)
        yield from ("    }", "}")
        self.inside = ""

    def _places(self, over: Sequence[tuple[str, Size]], how: Split) -> tuple[str, list[str]]:
        """How many elements a block does, and how it finds the index of one: units run fastest, examples slowest."""
        factors, out = list[str](), list[str]()
        batch = next(d for d, (_, n) in enumerate(over) if n == self.made.batch)
        if how.dim is not None:
            n, name = self.numbered[how.of], over[how.dim][0]
            part = f" + at / {n.units} % {how.parts}*{bracketed(length(how.of))}" if how.parts > 1 else ""
            out.append(f"{name} = {n.low}{part} + at % {n.units}")
            factors += [n.units, *([str(how.parts)] if how.parts > 1 else [])]
        for d in reversed(range(len(over))):
            if d not in (how.dim, batch):
                below = f" / ({'*'.join(factors)})" if factors else ""
                out.append(f"{over[d][0]} = at{below} % {bracketed(length(over[d][1]))}")
                factors.append(bracketed(length(over[d][1])))
        below = f" / ({'*'.join(factors)})" if len(factors) > 1 else f" / {factors[0]}" if factors else ""
        return "*".join(["rows", *reversed(factors)]), [f"{over[batch][0]} = first + at{below}", *out]

    def _line(self, s: Stmt) -> list[str]:
        """What a statement does at an element."""
        out = views(s)[-1]
        if isinstance(s, (Kernel, Take, Pick)):
            value = self.value(s)
        elif isinstance(s, Draw):
            value = self.drawn(s)
        else:
            value = self.constant(s.value)  # type: ignore[union-attr]
        if out.array in self.made.registers:
            return [f"const {CTYPES.get(out.array.kind, 'real')} {self(out)} = {value};"]
        return [f"{self(out)} = {value};", *self._stored(out, "", self(out), self.indices(space(s)))]

    def _sums(self, run: list[Reduction]) -> Iterator[str]:
        """Reductions of the same elements, by a warp: all totals in one pass."""
        at = self.indices(run[0].a.dims)
        over = [(at[d], run[0].a.dims[d]) for d in run[0].over]
        free = (name for k in count(2) if (name := f"total{k}") not in self.taken)
        totals = dict(zip(["total", *islice(free, len(run) - 1)], run, strict=True))
        yield from (f"real {name} = {FIRST[s.kind]};" for name, s in totals.items())
        yield from strided(over, [accumulate(s.kind, name, self._term(s, at))[0] for name, s in totals.items()], 32)
        yield from (join(s.kind, name, 32) for name, s in totals.items())
        for name, s in totals.items():
            yield f"if (lane == 0) {self(s.out, [at[d] for d in kept_dims(s)])} = {name};"
            yield from self._stored(s.out, "lane == 0 && ", name, at)

    def _term(self, s: Reduction, at: list[str]) -> str:
        """What a reduction joins."""
        if isinstance(s, Again):
            return scalar(s.body, {v: self.read(v) for v in views(s)[:-1]}, at)
        return self(s.a, at)

    def _stored(self, out: View, test: str, value: str, at: list[str]) -> list[str]:
        """What every block has, one of them stores."""
        v = self.made.stored.get(out.array)
        return [] if v is None else [f"if ({test}member == 0) {super().__call__(v, at[:1])} = {value};"]

    def _multiplied(self, s: Product, how: Split) -> Iterator[str]:
        """The block's share of a product."""
        n, of = self.numbered[how.of], bracketed(length(how.of))
        inner = next(q for q in s.la if q not in s.lo)
        far, near = (self._stride(s.a, s.la.index(q)) for q in (next(q for q in s.la if q != inner), inner))
        x = self(s.a, ["0" if q == inner else "first" for q in s.la])
        assert how.dim is not None
        start = self(s.out, [n.low if d == how.dim else "first" for d in range(2)])
        steps = (self._rows(how), "1", n.share) if s.out.array in self.made.own else (
            self._stride(s.out, 1 - how.dim), self._stride(s.out, how.dim), of)
        yield f"multiply_({self.weights[s.b, how]}, {self._rows(how)}, {self._depth(s.b, how)}, {{&{x}, {far}, {near}}}, rows,"
        yield f"          {{&{start}, {', '.join(steps)}, {n.share}, {n.units}}}, work);"

    @staticmethod
    def _stride(v: View, d: int) -> str:
        step = strides(v)[d]
        assert step is not None
        return length(step)

    # ------------------------------------------------------------ elements

    def __call__(self, v: View, at: Sequence[str] | None = None) -> str:
        """The element of a view: of the block's own values, only its units and its examples are there."""
        at = self.indices(v.dims) if at is None else at
        if v.array in self.made.private:
            return f"{self.names(v.array)}[{at[v.along[0].dim]} - first]".replace("first - first", "0")  # type: ignore[union-attr]
        if v.array not in self.made.own:
            return super().__call__(v, at)
        dim, of, parts = self.made.own[v.array]
        share = self.numbered[of].share
        example = next(d for d, n in enumerate(v.array.dims) if n == self.made.batch and isinstance(v.along[d], Along))
        row = place(v.along[example], v.array.dims[example], at)
        places = [("0" if row == "first" else f"{row} - first", "examples")]
        places += [(place(v.along[d], n, at), length(n)) for d, n in beside(self.made, v.array, dim)]
        places.append((self._unit(v, dim, of, parts, at), share if parts == 1 else f"({parts}*{share})"))
        return f"{self.names(v.array)}[{flat(places)}]"

    def _unit(self, v: View, dim: int, of: Size, parts: int, at: Sequence[str]) -> str:
        """The place of a unit among those of a block: its part, and how far it is from the block's first one."""
        x, n = v.along[dim], self.numbered[of]
        assert isinstance(x, Along)
        i, size = at[x.dim], bracketed(length(of))
        before = x.offset.evaluate(self.known) // of.evaluate(self.known)
        beside = f"{i} - {n.low}" if i != n.low else "0"
        if v.dims[x.dim] == of:
            return beside if before == 0 else f"{before}*{n.share} + {beside}"
        if i == n.low:
            return f"{before}*{n.share}" if before else "0"
        if i == self.inside:
            return f"({self.part} + {before})*{n.share} + {self.unit}" if before else f"{self.part}*{n.share} + {self.unit}"
        moved = f"({i} / {size} + {before})" if before else f"{i} / {size}"
        return f"{moved}*{n.share} + {i} % {size} - {n.low}"


__all__ = ["THREADS", "WORK", "PersistentText"]
