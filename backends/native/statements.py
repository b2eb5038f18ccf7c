"""Statements as C: loops over their dims, calls of BLAS for matrix products, helpers for random numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...compiler.graph import Number
from ...compiler.passes.orders import own
from ...compiler.program import (
    Array,
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
    reads,
    writes,
)
from ...compiler.random import path_key
from ...compiler.sizes import Size, product
from .convolutions import Shapes
from .copies import print_copy
from .indexing import Indices, Namer, element, start, there
from .kernels import length, number, scalar
from .loops import FIRST, INDENT, Loops, Part, accumulate, added, adding, blocked, in_blocks, loops
from .matrices import print_packing, print_product
from .nests import print_nest
from .windows import print_windows
from .words import size_name


class Statements:
    """Prints the statements of one function; `names` says what an array is called, `local` which dims a local variable has."""

    def __init__(self, names: Namer, indices: Indices, offsets: dict[str, str] | None = None,
                 local: dict[Array, tuple[int, ...]] | None = None, shapes: Shapes | None = None,
                 sizes: Mapping[str, int] | None = None) -> None:
        self.names, self.indices, self.offsets, self.local = names, indices, offsets or {}, local or {}
        self.declared: set[Array] = set()
        self.taken: set[str] = set()
        self.shapes = shapes                                     # of convolutions, where there may be some
        self.sizes = sizes or {}                                 # what is known of them when this is compiled

    def constant(self, value: Number | bool) -> str:
        return number(value).text

    def lines(self, s: Stmt) -> Iterable[str]:
        """The lines of a statement that is no loop and no block; of a step that the sequence may not have, under a test."""
        out = writes(s)
        test = there(out) if out is not None else ""
        yield from [f"if ({test}) {{", *(INDENT + line for line in self._lines(s)), "}"] if test else self._lines(s)

    def _lines(self, s: Stmt) -> Iterable[str]:
        match s:
            case Kernel(_, out):
                yield from self.each(out, [f"{self(out)} = {self.value(s)};"])
            case Product():
                yield from print_product(s, self)
            case Reduction():
                yield from self._reduction(s)
            case Take(out) | Pick(out):
                yield from self.each(out, [f"{self(out)} = {self.value(s)};"])
            case Scatter(out, a, index):
                at, n = self.indices(a.dims), len(index.dims)
                yield from self.lines(Fill(out, 0))
                yield from self.each(a, [f"{self(out, [self(index, at), *at[n:]])} += {self(a)};"], simd=n < len(a.dims))
            case Fill(out, value):
                yield from self.each(out, [f"{self(out)} = {number(value).text};"])
            case Copy(out, a) if out.array.packed:
                yield print_packing(out, a, self.names)
            case Copy():
                yield from print_copy(s, self)
            case Draw():
                yield from self.draw(s)
            case Unfold() | Refold() | Pool() | Winner() | Unpool():
                yield from print_windows(s, self)
            case Convolve() | Correlate():
                assert self.shapes is not None
                yield from self.shapes.lines(s, self.names)
            case Nest():
                yield from print_nest(s, self)
            case _:
                raise TypeError(s)

    def __call__(self, v: View, at: Sequence[str] | None = None) -> str:
        """The element of a view at the loops' index."""
        return element(v, self.names, self.indices(v.dims) if at is None else at, self.local.get(v.array))

    def read(self, v: View, at: Sequence[str] | None = None) -> str:
        """The element that a kernel reads: 0 of a step that the sequence does not have."""
        test = there(v)
        return f"({test} ? {self(v, at)} : 0)" if test else self(v, at)

    def value(self, s: Kernel | Take | Pick, held: dict[str, str] | None = None) -> str:
        """What a statement writes at an index; `held` maps elements to variables that hold them."""
        def read(v: View, at: Sequence[str] | None = None) -> str:
            text = self.read(v, at)
            return (held or {}).get(text, text)
        match s:
            case Kernel(dims, _, body):
                return scalar(body, {v: read(v) for v in reads(s)}, self.indices(dims))
            case Take(out, table, index):
                at, n = self.indices(out.dims), len(index.dims)
                return read(table, [read(index, at), *at[n:]])
            case Pick(out, a, index):
                at = self.indices(out.dims)
                return read(a, [*at, read(index, at)])

    def extents(self, dims: Sequence[Size]) -> str:
        """The lengths of a row's own buffer in its declaration."""
        return "".join(f"[{length(n)}]" for n in dims)

    def each(self, v: View, body: list[str], simd: bool = True) -> Iterator[str]:
        """Loops over a view's elements, as they stand in memory, around a body; `simd`: whose steps are independent."""
        order = own(v)
        over = list(zip(self.indices(v.dims), v.dims, strict=True))
        if sorted(order) == [*range(len(over))]:
            over = [over[d] for d in order]
        return loops(over, body, "SIMD " if simd else "")

    def _reduction(self, s: Reduction) -> Iterator[str]:
        """Rows that are reduced along their last dim go through a local variable; sums over outer dims add up whole rows."""
        dims, rest = s.a.dims, [d for d in range(len(s.a.dims)) if d not in s.over]
        at = self.indices(dims)
        kept, over = [(at[d], dims[d]) for d in rest], [(at[d], dims[d]) for d in s.over]
        if s.kind == "sum" and rest and rest[-1] > max(s.over):
            yield from self.lines(Fill(s.out, 0))
            target, value = self(s.out, [at[d] for d in rest]), self(s.a, at)
            yield from self.columns(s.out, target, value, over, kept) or loops(
                [*kept[:-1], *over, kept[-1]], [f"{target} += {value};"], "SIMD ")
            return
        yield from loops(kept, self.reduced(s))

    def columns(self, v: View, target: str, value: str, rows: Loops, columns: Loops) -> list[str]:
        """The lines of a sum of columns that goes by blocks of rows; none of another one."""
        if not (outer := blocked(rows, columns, self.sizes)):
            return []
        part = self.block_part(v, target, columns)
        return [*in_blocks(rows[:outer], loops([*rows[outer:], *columns], [f"{part.element} += {value};"], "SIMD "), [part])]

    def block_part(self, v: View, whole: str, columns: Loops) -> Part:
        """The variable of a block of rows for a sum of columns."""
        word = f"{self.names(v.array)}_part"
        return Part(next(x for x in (word, *(f"{word}_{k}" for k in range(2, 1000))) if x not in self.taken), whole, columns)

    def reduced(self, s: Reduction) -> list[str]:
        """One element of a reduction."""
        at = self.indices(s.a.dims)
        over = [(at[d], s.a.dims[d]) for d in s.over]
        target, value = self(s.out, [x for d, x in enumerate(at) if d not in s.over]), self(s.a, at)
        match s.kind:
            case "sum":
                return [*added(value, over, s.out, self.sizes), f"{target} = {adding('sum', s.out)[1]}total;"]
            case "prod" | "max" | "min":
                step, mark = accumulate(s.kind, "total", value)
                return [f"real total = {FIRST[s.kind]};", *loops(over, [step], mark), f"{target} = total;"]
            case "argmax":
                steps = [f"if ({value} > best) {{ best = {value}; found = place; }}", "place++;"]
                return ["real best = -INFINITY;", "int64_t found = 0, place = 0;", *loops(over, steps), f"{target} = found;"]
            case "logsumexp":
                return ["real best = -INFINITY, total = 0;",
                        *loops(over, [f"best = maximum_(best, {value});"], "SIMD_MAX(best) "),
                        "const real base = isinf(best) ? 0 : best;",
                        *loops(over, [f"total += exp_({value} - base);"], "SIMD_SUM(total) "), f"{target} = base + log_(total);"]
            case "norm":
                return ["real best = 0, total = 0;",
                        *loops(over, [f"best = maximum_(best, abs_({value}));"], "SIMD_MAX(best) "),
                        "const real scale = best > 0 && !isinf(best) ? best : 1;",
                        *loops(over, [f"total += square_({value} / scale);"], "SIMD_SUM(total) "),
                        f"{target} = scale * sqrt_(total);"]
        raise KeyError(s.kind)

    def draw(self, s: Draw, low: str = "", high: str = "") -> list[str]:
        """Random numbers go into dense memory; `at` counts those that came before in this chunk and this loop.

        `low`, `high`: of the first dim, only the rows from the one up to the other.
        """
        steps = [self.offsets[s.along]] if s.along in self.offsets else []
        if s.at is not None:
            steps += ([s.at.axis] if s.at.axis else []) + ([str(s.at.offset)] if s.at.offset else [])
        step = product(s.out.dims if s.at is not None else s.out.dims[1:])
        before, count = f"({' + '.join(steps)}) * ({length(step)})" if steps else "0", length(product(s.out.dims))
        out = start(s.out, self.names)
        if low:
            row = length(product(s.out.dims[1:]))
            before, count = f"{'' if before == '0' else f'{before} + '}{low} * ({row})", f"({high} - {low}) * ({row})"
            out = f"&{element(s.out, self.names, [low, *['0'] * (len(s.out.dims) - 1)])}"
        return [f"draw_{s.kind}(seed, step, UINT64_C({path_key(s.key):#x}), {before}, {count}, {out});"]


def loop_head(s: Loop) -> str:
    """The loop over time, every k-th step, or the steps that this leaves."""
    t, n, k = s.axis, size_name(s.axis.upper()), s.copies
    if s.rest > 1:
        low, high = ("0", f"{n} % {s.rest}") if s.reverse else (f"{n} - {n} % {s.rest}", n)
    elif k > 1:
        low, high = (f"{n} % {k}", n) if s.reverse else ("0", f"{n} - {n} % {k}")
    else:
        low, high = "0", n
    if s.reverse:
        return f"for (int64_t {t} = {high} - {k}; {t} >= {low}; {f'{t} -= {k}' if k > 1 else f'{t}--'}) {{"
    return f"for (int64_t {t} = {low}; {t} < {high}; {f'{t} += {k}' if k > 1 else f'{t}++'}) {{"


__all__ = ["INDENT", "Statements", "loop_head"]
