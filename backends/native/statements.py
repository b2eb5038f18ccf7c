"""Statements as C: loops over their dims, calls of BLAS for matrix products, helpers for random numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ...compiler.graph import Number
from ...compiler.passes.orders import own
from ...compiler.program import (
    Array,
    Copy,
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
    Tap,
    Unfold,
    Unpool,
    View,
    Winner,
    reads,
)
from ...compiler.random import path_key
from ...compiler.sizes import Size, product
from .indexing import Indices, Namer, dense, element, start
from .kernels import length, number, scalar
from .loops import FIRST, INDENT, accumulate, loops
from .matrices import print_product
from .nests import print_nest


class Statements:
    """Prints the statements of one function; `names` says what an array is called, `local` which dims a local variable has."""

    def __init__(self, names: Namer, indices: Indices, offsets: dict[str, str] | None = None,
                 local: dict[Array, tuple[int, ...]] | None = None) -> None:
        self.names, self.indices, self.offsets, self.local = names, indices, offsets or {}, local or {}
        self.declared: set[Array] = set()
        self.taken: set[str] = set()

    def constant(self, value: Number | bool) -> str:
        return number(value).text

    def lines(self, s: Stmt) -> Iterable[str]:
        """The lines of a statement that is no loop and no block."""
        match s:
            case Kernel(_, out):
                yield from self.each(out, [f"{self(out)} = {self.value(s)};"])
            case Product():
                yield from print_product(s, self.names, self.indices)
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
            case Copy(out, a, flip):
                yield from self._copy(out, a, flip)
            case Draw():
                yield from self._draw(s)
            case Unfold(out, a, taps):
                places = _tapped(self.indices(out.dims), taps)
                yield from self.each(out, [f"{self(out)} = {self(a, places)};"])
            case Refold(out, a, taps):
                places = _tapped(self.indices(a.dims), taps)
                yield from self.lines(Fill(out, 0))
                yield from self.each(a, [f"{self(out, places)} += {self(a)};"], simd=False)
            case Pool():
                yield from self._pool(s)
            case Winner():
                yield from self._winner(s)
            case Unpool():
                yield from self._unpool(s)
            case Nest():
                yield from print_nest(s, self)
            case _:
                raise TypeError(s)

    def __call__(self, v: View, at: Sequence[str] | None = None) -> str:
        """The element of a view at the loops' index."""
        return element(v, self.names, self.indices(v.dims) if at is None else at, self.local.get(v.array))

    def value(self, s: Kernel | Take | Pick, held: dict[str, str] | None = None) -> str:
        """What a statement writes at an index; `held` maps elements to variables that hold them."""
        def read(v: View, at: Sequence[str] | None = None) -> str:
            text = self(v, at)
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
            body = [f"{self(s.out, [at[d] for d in rest])} += {self(s.a, at)};"]
            yield from loops([*kept[:-1], *over, kept[-1]], body, "SIMD ")
            return
        yield from loops(kept, self.reduced(s))

    def reduced(self, s: Reduction) -> list[str]:
        """One element of a reduction."""
        at, total = self.indices(s.a.dims), "real total"
        over = [(at[d], s.a.dims[d]) for d in s.over]
        target, value = self(s.out, [x for d, x in enumerate(at) if d not in s.over]), self(s.a, at)
        match s.kind:
            case "sum" | "prod" | "max" | "min":
                step, mark = accumulate(s.kind, "total", value)
                return [f"{total} = {FIRST[s.kind]};", *loops(over, [step], mark), f"{target} = total;"]
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

    def _copy(self, out: View, a: View, flip: tuple[int, ...]) -> Iterator[str]:
        at = self.indices(out.dims)
        for k in flip:
            at[k] = f"{length(a.dims[k])} - 1 - {at[k]}"
        if out.dims == a.dims:
            yield from self.each(out, [f"{self(out)} = {self(a, at)};"])
        elif dense(out):                                         # a reshape: the elements of a in their order
            target = f"({start(out, self.names)})[place++]"
            body = loops([*zip(self.indices(a.dims), a.dims, strict=True)], [f"{target} = {self(a)};"])
            yield from ["{", "    int64_t place = 0;", *(f"    {x}" for x in body), "}"]
        else:
            source = self._unravelled(a, out.dims)
            yield from self.each(out, [f"{self(out)} = {source};"])

    def _unravelled(self, a: View, dims: tuple[Size, ...]) -> str:
        """The element of a whose number in row-major order is that of the index in `dims`."""
        here = self.indices(dims)
        flat = " + ".join(f"{i}*({length(product(dims[d + 1:]))})" for d, i in enumerate(here)) or "0"
        at = [f"({flat}) / ({length(product(a.dims[k + 1:]))}) % ({length(n)})" for k, n in enumerate(a.dims)]
        return self(a, at)

    def _draw(self, s: Draw) -> Iterator[str]:
        """Random numbers go into dense memory; `at` counts those that came before in this chunk and this loop."""
        steps = [self.offsets[s.along]] if s.along in self.offsets else []
        if s.at is not None:
            steps += ([s.at.axis] if s.at.axis else []) + ([str(s.at.offset)] if s.at.offset else [])
        step = product(s.out.dims if s.at is not None else s.out.dims[1:])
        before = f"({' + '.join(steps)}) * ({length(step)})" if steps else "0"
        yield (f"draw_{s.kind}(seed, step, UINT64_C({path_key(s.key):#x}), {before}, {length(product(s.out.dims))}, "
               f"{start(s.out, self.names)});")

    def _windows(self, taps: tuple[Tap, ...], v: View, at: list[str]) -> tuple[list[tuple[str, Size]], list[str], str]:
        """The loops over a window's elements, the places in v that they stand for, and what is true of those in v."""
        places, over, within = [*at], list[tuple[str, Size]](), list[str]()
        for k, t in enumerate(taps):
            places[t.dim] = f"{times(at[t.dim], t.stride)} + {times(f'j{k}', t.dilation)}" + (f" - {t.lo}" if t.lo else "")
            over.append((f"j{k}", t.k))
            within += [f"{places[t.dim]} >= 0"] if t.lo else []
            within += [f"{places[t.dim]} < {length(v.dims[t.dim])}"] if t.lo or t.hi else []
        return over, places, " && ".join(within)

    def _pool(self, s: Pool) -> Iterator[str]:
        over, places, within = self._windows(s.taps, s.a, self.indices(s.out.dims))
        value = self(s.a, places)
        step = f"total += {value};" if s.kind == "sum" else f"total = maximum_(total, {value});"
        first = "0" if s.kind == "sum" else "-INFINITY"
        yield from self.each(s.out, [f"real total = {first};", *loops(over, [f"if ({within}) {step}" if within else step]),
                                          f"{self(s.out)} = total;"])

    def _winner(self, s: Winner) -> Iterator[str]:
        over, places, within = self._windows(s.taps, s.a, self.indices(s.out.dims))
        found = " && ".join([*([within] if within else []), f"won < 0 && {self(s.a, places)} == {self(s.best)}"])
        yield from self.each(s.out, ["int won = -1, place = 0;", *loops(over, [f"if ({found}) won = place;", "place++;"]),
                                     f"{self(s.out)} = won < 0 ? 0 : won;"])

    def _unpool(self, s: Unpool) -> Iterator[str]:
        over, places, within = self._windows(s.taps, s.out, self.indices(s.g.dims))
        told = " && ".join([*([within] if within else []), *([f"place == {self(s.won)}"] if s.won is not None else [])])
        step = f"{'if (' + told + ') ' if told else ''}{self(s.out, places)} += {self(s.g)};"
        yield from self.lines(Fill(s.out, 0))
        body = ["int place = 0;", *loops(over, [step, "place++;"])] if s.won is not None else list(loops(over, [step]))
        yield from self.each(s.g, body, simd=alone(s.g, s.taps))


def times(i: str, n: int) -> str:
    return i if n == 1 else f"{i}*{n}"


def alone(v: View, taps: tuple[Tap, ...]) -> bool:
    """Whether what stands next to each other in memory belongs to different windows."""
    return bool(own(v)) and own(v)[-1] not in [t.dim for t in taps]


def _tapped(at: list[str], taps: tuple[Tap, ...]) -> list[str]:
    """The places that the index of windows and elements stands for: each tapped dim is two."""
    places, d, k = list[str](), 0, 0
    by = {t.dim: t for t in taps}
    while d < len(at):
        t = by.get(k)
        places.append(f"{times(at[d], t.stride)} + {times(at[d + 1], t.dilation)}" if t else at[d])
        d, k = d + (2 if t else 1), k + 1
    return places


def loop_head(s: Loop) -> str:
    """The loop over time, every k-th step, or the steps that this leaves."""
    t, n, k = s.axis, s.axis.upper(), s.copies
    if s.rest > 1:
        low, high = ("0", f"{n} % {s.rest}") if s.reverse else (f"{n} - {n} % {s.rest}", n)
    elif k > 1:
        low, high = (f"{n} % {k}", n) if s.reverse else ("0", f"{n} - {n} % {k}")
    else:
        low, high = "0", n
    if s.reverse:
        return f"for (int64_t {t} = {high} - {k}; {t} >= {low}; {t} -= {k}) {{"
    return f"for (int64_t {t} = {low}; {t} < {high}; {t} += {k}) {{"


__all__ = ["INDENT", "Statements", "loop_head"]
