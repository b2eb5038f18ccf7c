"""Statements as C: loops over their dims, calls of BLAS for matrix products, helpers for random numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ...compiler.passes.fusion import added_up, inner_loops, partial, walked
from ...compiler.program import (
    Array,
    Call,
    Copy,
    Draw,
    Fill,
    Hot,
    Kernel,
    Literal,
    Load,
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
    leaves,
    writes,
)
from ...compiler.random import path_key
from ...compiler.sizes import Size, product
from .indexing import CTYPES, Namer, dense, element, indices, start
from .kernels import length, number, scalar
from .matrices import print_product

INDENT = "    "


class Statements:
    """Prints the statements of one function; `names` says what an array is called."""

    def __init__(self, names: Namer, offsets: dict[str, str] | None = None) -> None:
        self.names, self.offsets, self.counted = names, offsets or {}, 0
        self.scalars: frozenset[Array] = frozenset()

    def lines(self, s: Stmt) -> Iterable[str]:
        """The lines of a statement that is no loop and no block."""
        match s:
            case Kernel(dims, out, body):
                loads = {x.view: element(x.view, self.names) for x in leaves(body) if isinstance(x, (Load, Hot))}
                yield from nest(dims, [f"{element(out, self.names)} = {scalar(body, loads)};"])
            case Product():
                yield from print_product(s, self.names)
            case Reduction():
                yield from self._reduction(s)
            case Take(out, table, index):
                at, n = indices(len(out.dims)), len(index.dims)
                row = element(index, self.names, at[:n])
                yield from nest(out.dims, [f"{self(out)} = {element(table, self.names, [row, *at[n:]])};"])
            case Pick(out, a, index):
                at = indices(len(out.dims))
                yield from nest(out.dims, [f"{self(out)} = {element(a, self.names, [*at, element(index, self.names, at)])};"])
            case Scatter(out, a, index):
                at, n = indices(len(a.dims)), len(index.dims)
                row = element(index, self.names, at[:n])
                yield from self.lines(Fill(out, 0))
                yield from nest(a.dims, [f"{element(out, self.names, [row, *at[n:]])} += {self(a)};"])
            case Fill(out, value):
                yield from nest(out.dims, [f"{self(out)} = {number(value)};"])
            case Copy(out, a, flip):
                yield from self._copy(out, a, flip)
            case Draw():
                yield from self._draw(s)
            case Unfold(out, a, taps):
                at, places = _tapped(len(out.dims), taps)
                yield from nest(out.dims, [f"{self(out)} = {element(a, self.names, places)};"])
            case Refold(out, a, taps):
                at, places = _tapped(len(a.dims), taps)
                yield from self.lines(Fill(out, 0))
                yield from nest(a.dims, [f"{element(out, self.names, places)} += {self(a)};"])
            case Pool():
                yield from self._pool(s)
            case Winner():
                yield from self._winner(s)
            case Unpool():
                yield from self._unpool(s)
            case Nest(over, body):
                yield from self._nest(over, body)
            case _:
                raise TypeError(s)

    def __call__(self, v: View, at: Sequence[str] | None = None) -> str:
        """The element of a view at the loops' index."""
        return element(v, self.names, at)

    def _nest(self, over: tuple[Size, ...], body: list[Stmt]) -> Iterator[str]:
        """Loops over rows; at each the members' own loops, one for each run of members that share it."""
        depth = len(over)
        for s in body:
            if added_up(s):
                yield from self.lines(Fill(s.out, 0))  # type: ignore[union-attr]
        text: list[str] = []
        for run in inner_loops(body, depth):
            text += self._run(run, depth)
        yield from loops([(f"i{d}", n) for d, n in enumerate(over)], text)

    def _run(self, run: list[Stmt], depth: int) -> list[str]:
        """Members that walk through the same elements of a row."""
        before, body, after = list[str](), list[str](), list[str]()
        dims = walked(run[0])
        if isinstance(first := run[0], Reduction) and partial(first, depth):
            return list(self._reduction(first, depth))
        for s in run:
            b, inner, a = self._member(s, depth)
            before, body, after = before + b, body + inner, after + a
        over = [(f"i{d}", n) for d, n in enumerate(dims)][depth:]
        return [*before, *loops(over, body), *after] if over else [*before, *body, *after]

    def _member(self, s: Stmt, depth: int) -> tuple[list[str], list[str], list[str]]:
        """What stands before, in and after the loop over a row's elements."""
        if isinstance(s, Reduction):
            at = [f"i{d}" for d in range(len(s.a.dims))]
            target, value = self(s.out, [at[d] for d in range(len(at)) if d not in s.over]), self(s.a, at)
            if added_up(s):
                return [], [f"{target} += {value};"], []
            self.counted += 1
            x = f"{s.kind}{self.counted}"
            first = {"sum": "0", "prod": "1", "max": "-INFINITY", "min": "INFINITY"}[s.kind]
            step = {"sum": f"{x} += {value};", "prod": f"{x} *= {value};"}.get(s.kind, f"{x} = {s.kind}imum_({x}, {value});")
            return [f"real {x} = {first};"], [step], [f"{target} = {x};"]
        out = writes(s)
        assert out is not None
        if out.array in self.scalars:
            loads = {x.view: element(x.view, self.names) for x in leaves(s.body) if isinstance(x, (Load, Hot))} \
                if isinstance(s, Kernel) else {}
            value = scalar(s.body, loads) if isinstance(s, Kernel) else next(iter(self.lines(s))).partition(" = ")[2][:-1]
            if not isinstance(s, Kernel):
                value = list(self.lines(s))[-1].partition(" = ")[2][:-1]
            return [], [f"const {CTYPES.get(out.array.kind, 'real')} {self(out)} = {value};"], []
        return [], [list(self.lines(s))[-1].strip()], []

    def _reduction(self, s: Reduction, depth: int = 0) -> Iterator[str]:
        """Rows that are reduced along their last dim go through a local variable; sums over outer dims add up whole rows."""
        dims, rest = s.a.dims, [d for d in range(len(s.a.dims)) if d not in s.over]
        at = [f"i{d}" for d in range(len(dims))]
        kept, over = [(f"i{d}", dims[d]) for d in rest if d >= depth], [(f"i{d}", dims[d]) for d in s.over]
        target, value = self(s.out, [f"i{d}" for d in rest]), self(s.a, at)
        if s.kind == "sum" and rest and rest[-1] > max(s.over):
            yield from self.lines(Fill(s.out, 0))
            inner = [x for x in kept if x[0] != f"i{rest[-1]}"]
            yield from loops([*inner, *over, kept[-1]], [f"{target} += {value};"])
            return
        yield from loops(kept, self._reduced(s.kind, target, value, over, s))

    def _reduced(self, kind: str, target: str, value: str, over: list[tuple[str, Size]], s: Reduction) -> list[str]:
        """One element of a reduction."""
        match kind:
            case "sum":
                return ["real total = 0;", *loops(over, [f"total += {value};"]), f"{target} = total;"]
            case "prod":
                return ["real total = 1;", *loops(over, [f"total *= {value};"]), f"{target} = total;"]
            case "max" | "min":
                first = "-INFINITY" if kind == "max" else "INFINITY"
                return [f"real best = {first};", *loops(over, [f"best = {kind}imum_(best, {value});"]), f"{target} = best;"]
            case "argmax":
                return ["real best = -INFINITY;", "int64_t at = 0, k = 0;",
                        *loops(over, [f"if ({value} > best) {{ best = {value}; at = k; }}", "k++;"]), f"{target} = at;"]
            case "logsumexp":
                return ["real best = -INFINITY, total = 0;", *loops(over, [f"best = maximum_(best, {value});"]),
                        "real base = isinf(best) ? 0 : best;",
                        *loops(over, [f"total += {scalar(Call('exp', (Literal(0),))).replace('((real)0)', f'({value} - base)')};"]),
                        f"{target} = base + (real)log((double)total);"]
            case "norm":
                return ["real best = 0, total = 0;", *loops(over, [f"best = maximum_(best, (real)fabs((double){value}));"]),
                        "real scale = best > 0 && !isinf(best) ? best : 1;",
                        *loops(over, [f"total += square_({value} / scale);"]), f"{target} = scale * (real)sqrt((double)total);"]
        raise KeyError(kind)

    def _copy(self, out: View, a: View, flip: int | None) -> Iterator[str]:
        at = indices(len(out.dims))
        if flip is not None:
            at[flip] = f"{length(a.dims[flip])} - 1 - i{flip}"
        if out.dims == a.dims:
            yield from nest(out.dims, [f"{self(out)} = {element(a, self.names, at)};"])
        elif dense(out):                                         # a reshape: the elements of a in their order
            target = f"(&{element(out, self.names, ['0'] * len(out.dims))})[k++]"
            yield from ["{", "    int64_t k = 0;", *(f"    {x}" for x in nest(a.dims, [f"{target} = {self(a)};"])), "}"]
        else:
            source = self._unravelled(a, out.dims)
            yield from nest(out.dims, [f"{self(out)} = {source};"])

    def _unravelled(self, a: View, dims: tuple[Size, ...]) -> str:
        """The element of a whose number in row-major order is that of the index in `dims`."""
        flat = " + ".join(f"i{d}*({length(product(dims[d + 1:]))})" for d in range(len(dims))) or "0"
        at = [f"({flat}) / ({length(product(a.dims[k + 1:]))}) % ({length(n)})" for k, n in enumerate(a.dims)]
        return element(a, self.names, at)

    def _draw(self, s: Draw) -> Iterator[str]:
        """Random numbers go into dense memory; `at` counts those that came before in this chunk and this loop."""
        steps = [self.offsets[s.along]] if s.along in self.offsets else []
        if s.at is not None:
            steps += ([s.at.axis] if s.at.axis else []) + ([str(s.at.offset)] if s.at.offset else [])
        step = product(s.out.dims if s.at is not None else s.out.dims[1:])
        before = f"({' + '.join(steps)}) * ({length(step)})" if steps else "0"
        yield (f"draw_{s.kind}(seed, step, UINT64_C({path_key(s.key):#x}), {before}, {length(product(s.out.dims))}, "
               f"{start(s.out, self.names)});")

    def _windows(self, taps: tuple[Tap, ...], v: View) -> tuple[list[tuple[str, Size]], list[str], str]:
        """The loops over a window's elements, the places in v that they stand for, and what is true of those in v."""
        places, over, within = [f"i{d}" for d in range(len(v.dims))], list[tuple[str, Size]](), list[str]()
        for k, t in enumerate(taps):
            places[t.dim] = f"i{t.dim}*{t.stride} + j{k}*{t.dilation}" + (f" - {t.lo}" if t.lo else "")
            over.append((f"j{k}", t.k))
            within += [f"{places[t.dim]} >= 0"] if t.lo else []
            within += [f"{places[t.dim]} < {length(v.dims[t.dim])}"] if t.lo or t.hi else []
        return over, places, " && ".join(within)

    def _pool(self, s: Pool) -> Iterator[str]:
        over, places, within = self._windows(s.taps, s.a)
        value = element(s.a, self.names, places)
        step = f"total += {value};" if s.kind == "sum" else f"total = maximum_(total, {value});"
        first = "0" if s.kind == "sum" else "-INFINITY"
        yield from nest(s.out.dims, [f"real total = {first};", *loops(over, [f"if ({within}) {step}" if within else step]),
                                     f"{self(s.out)} = total;"])

    def _winner(self, s: Winner) -> Iterator[str]:
        over, places, within = self._windows(s.taps, s.a)
        found = " && ".join([*([within] if within else []), f"won < 0 && {element(s.a, self.names, places)} == {self(s.best)}"])
        yield from nest(s.out.dims, ["int won = -1, k = 0;", *loops(over, [f"if ({found}) won = k;", "k++;"]),
                                     f"{self(s.out)} = won < 0 ? 0 : won;"])

    def _unpool(self, s: Unpool) -> Iterator[str]:
        over, places, within = self._windows(s.taps, s.out)
        told = " && ".join([*([within] if within else []), *([f"k == {self(s.won)}"] if s.won is not None else [])])
        step = f"{'if (' + told + ') ' if told else ''}{element(s.out, self.names, places)} += {self(s.g)};"
        yield from self.lines(Fill(s.out, 0))
        body = ["int k = 0;", *loops(over, [step, "k++;"])] if s.won is not None else list(loops(over, [step]))
        yield from nest(s.g.dims, body)


def _tapped(rank: int, taps: tuple[Tap, ...]) -> tuple[list[str], list[str]]:
    """The index of windows and elements, and the places that it stands for: each tapped dim is two."""
    at, places, d, k = indices(rank), [], 0, 0
    by = {t.dim: t for t in taps}
    while d < rank:
        t = by.get(k)
        places.append(f"i{d}*{t.stride} + i{d + 1}*{t.dilation}" if t else f"i{d}")
        d, k = d + (2 if t else 1), k + 1
    return at, places


def nest(dims: Sequence[Size], body: list[str]) -> Iterator[str]:
    """Loops over an index space around a body."""
    return loops([(f"i{d}", n) for d, n in enumerate(dims)], body)


def loops(over: Sequence[tuple[str, Size]], body: list[str]) -> Iterator[str]:
    """One loop a line, the last one with braces where its body is more than a line."""
    pad = ""
    for k, (i, n) in enumerate(over):
        brace = " {" if k == len(over) - 1 and len(body) > 1 else ""
        yield f"{pad}for (int64_t {i} = 0; {i} < {length(n)}; {i}++){brace}"
        pad += INDENT
    if not over and len(body) > 1:
        yield "{"
        pad = INDENT
    yield from (pad + line for line in body)
    if len(body) > 1:
        yield pad[:-4] + "}"


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


__all__ = ["Array", "Statements", "loop_head", "loops", "nest"]
