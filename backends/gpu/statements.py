"""Statements as the bodies of CUDA kernels: each thread computes one element, or its share of a row or of a column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...compiler.passes.orders import own
from ...compiler.program import (
    NOWHERE,
    REAL,
    Along,
    Array,
    Convolve,
    Copy,
    Correlate,
    Draw,
    Kernel,
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
)
from ...compiler.random import path_key
from ...compiler.sizes import Size, product
from ..native import statements as native
from ..native.copies import flipped
from ..native.indexing import Indices, Namer, place
from ..native.kernels import length
from ..native.loops import FIRST, accumulate, loops
from .columns import Columns, of_columns, print_nest, print_sum
from .convolutions import print_convolution
from .geometry import BLOCK, TILE, WORD, Geometry, blocks_of, bracketed, element_of, flattened, lanes, row_of, split, strided
from .rows import few, print_few, print_rows
from .scatters import FEW, print_scatter, print_sorted
from .windows import Pooled, print_pooled, print_windows

SHARE = re.compile(r"(?<![*/] )(?<![\w.)\]])(-?\d+|\(real\)[\d.e-]+) \* \(1 / (\(real\)(?:\w+|\([^()]*\)))\)")
SHORT = 512                                                      # terms that one thread adds up
MANY = 1 << 14                                                   # results so many that one thread each will do


class Statements(native.Statements):
    """Prints one statement at a time as the body of a kernel; `geometry` says then how it is launched."""

    def __init__(self, names: Namer, indices: Indices, known: Mapping[str, int], offsets: dict[str, str] | None = None,
                 local: dict[Array, tuple[int, ...]] | None = None) -> None:
        super().__init__(names, indices, offsets, local)
        self.known = known
        self.atomics = False
        self.geometry: Geometry | None = None

    def kernel(self, s: Stmt) -> tuple[list[str], Geometry]:
        """The body of a statement's kernel, and its launch."""
        body = flattened([*self.lines(s)])
        assert self.geometry is not None
        return body, self.geometry

    def lines(self, s: Stmt) -> Iterable[str]:
        """The lines of a statement that is no loop and no block."""
        match s:
            case Columns():
                yield from print_nest(s, self)
            case Pooled():
                yield from print_pooled(s, self)
            case Nest():
                yield from print_rows(s, self)
            case Product():
                yield from self._product(s)
            case Scatter():
                yield from print_sorted(s, self) if self.sorts(s) else print_scatter(s, self)
            case Draw():
                yield from self._random(s)
            case Copy():
                yield from self._copy(s)
            case Convolve() | Correlate():
                yield from print_convolution(s, self)
            case Unfold() | Refold() | Pool() | Winner() | Unpool():
                yield from print_windows(s, self)
            case _:
                yield from super().lines(s)

    def __call__(self, v: View, at: Sequence[str] | None = None) -> str:
        """The element of a view at an index: arrays are row-major blocks of memory, of local ones each row has its own."""
        at, kept = self.indices(v.dims) if at is None else at, self.local.get(v.array)
        places = [(place(x, n, at), length(n)) for k, (x, n) in enumerate(zip(v.along, v.array.dims, strict=True))
                  if (kept is None or k in kept) and n != 1]
        if not places:
            return self.names(v.array) + ("" if kept == () else "[0]")
        return f"{self.names(v.array)}[{flat(places)}]"

    def extents(self, dims: Sequence[Size]) -> str:
        """A row's own buffer is one block of memory, too."""
        return f"[{length(product(tuple(dims)))}]" if dims else ""

    def value(self, s: Kernel | Take | Pick, held: dict[str, str] | None = None) -> str:
        """What a statement writes at an index."""
        return SHARE.sub(r"\1 / \2", super().value(s, held))   # `-1 * (1 / n)`: no element changes it

    def each(self, v: View, body: list[str], simd: bool = True) -> Iterator[str]:
        """One thread an element, in the order of memory."""
        order, over = own(v), list(zip(self.indices(v.dims), v.dims, strict=True))
        if sorted(order) == [*range(len(over))]:
            over = [over[d] for d in order]
        head, self.geometry = element_of(over)
        yield from head
        yield from body

    # ------------------------------------------------------------ reductions

    def _reduction(self, s: Reduction) -> Iterator[str]:
        """A warp or a block for each element of the result; a column of threads where what lies together is kept."""
        at, dims = self.indices(s.a.dims), s.a.dims
        rest = [(at[d], dims[d]) for d in range(len(dims)) if d not in s.over]
        over = [(at[d], dims[d]) for d in range(len(dims)) if d in s.over]
        if of_columns(s):
            yield from print_sum(s, self)
            return
        if s.kind in WORD and few(rest, over, self.known):
            target = self(s.out, [x for d, x in enumerate(at) if d not in s.over])
            yield from print_few(s.kind, self(s.a, at), target, rest, over, self)
            return
        width = 32 if s.kind == "argmax" else lanes([tuple(n for _, n in over)], self.known)
        head, self.geometry = row_of(rest, width, 0)
        yield from head
        yield from self._shared_by(s, at, over, width)

    def _shared_by(self, s: Reduction, at: list[str], over: list[tuple[str, Size]], width: int) -> Iterator[str]:
        """One element of a reduction, by the threads of a row."""
        value, target = self(s.a, at), self(s.out, [x for d, x in enumerate(at) if d not in s.over])
        end = f"if (lane == 0) {target} = "
        yield from ["__shared__ real parts[32];"] if width > 32 else []
        match s.kind:
            case "argmax":
                where = flat([(i, length(n)) for i, n in over])
                yield from ["real best = -INFINITY;", "int found = 0;"]
                yield from strided(over, [f"if ({value} > best) {{ best = {value}; found = {where}; }}"], width)
                yield from ["found = first_of_warp(best, found);", f"{end}found;"]
                return
            case "logsumexp":
                yield from self.joined("max", "best", value, over, width)
                yield "const real base = isinf(best) ? 0 : best;"
                yield from self.joined("sum", "total", f"exp_({value} - base)", over, width)
                yield f"{end}base + log_(total);"
            case "norm":
                yield from self.joined("max", "best", f"abs_({value})", over, width, "0")
                yield "const real scale = best > 0 && !isinf(best) ? best : 1;"
                yield from self.joined("sum", "total", f"square_({value} / scale)", over, width)
                yield f"{end}scale * sqrt_(total);"
            case _:
                yield from self.joined(s.kind, "total", value, over, width)
                yield f"{end}total;"

    def joined(self, kind: str, total: str, value: str, over: list[tuple[str, Size]], width: int, first: str = "",
               condition: str = "") -> Iterator[str]:
        """A reduction over `over` into a variable that all threads of the row then have."""
        yield f"real {total} = {first or FIRST[kind]};"
        yield from strided(over, [condition + accumulate(kind, total, value)[0]], width)
        yield join(kind, total, width)

    def _product(self, s: Product) -> Iterator[str]:
        """What is no matrix product: each thread adds up one element."""
        size = {k: n for v, ls in ((s.a, s.la), (s.b, s.lb), (s.out, s.lo)) for k, n in zip(ls, v.dims, strict=True)}
        summed = [k for k in size if k not in s.lo]
        var = dict(zip([*s.lo, *summed], self.indices([size[k] for k in (*s.lo, *summed)]), strict=True))
        a, b = (self(v, [var[k] for k in ls]) for v, ls in ((s.a, s.la), (s.b, s.lb)))
        rest, over = [(var[k], size[k]) for k in s.lo], [(var[k], size[k]) for k in summed]
        target = self(s.out, [var[k] for k in s.lo])
        order = [s.la[d] for d in own(s.a)]                      # neighbours read neighbours
        over = sorted(over, key=lambda x: next((k for k, label in enumerate(order) if var[label] == x[0]), -1))
        if few(rest, over, self.known, long=SHORT):
            yield from print_few("sum", f"{a} * {b}", target, rest, over, self)
            return
        if rest and not few(rest, over, self.known, MANY, SHORT):
            head, self.geometry = element_of(rest)
            yield from [*head, "real total = 0;", *loops(over, [f"total += {a} * {b};"]), f"{target} = total;"]
            return
        width = lanes([tuple(n for _, n in over)], self.known)
        head, self.geometry = row_of(rest, width, 0)
        yield from [*head, *(["__shared__ real parts[32];"] if width > 32 else [])]
        yield from self.joined("sum", "total", f"{a} * {b}", over, width)
        yield f"if (lane == 0) {target} = total;"

    # ------------------------------------------------------------ what adds up by place: each element asks what comes to it

    def sorts(self, s: Scatter) -> bool:
        """Whether rows are sorted by their class: there are many classes, or the order is free."""
        classes = s.out.dims[0]
        return self.atomics or bool({*classes.symbols} - {*self.known}) or classes.evaluate(self.known) > FEW

    def zero(self, s: Scatter) -> tuple[list[str], Geometry]:
        """A kernel that makes the result zero."""
        body = [*self.each(s.out, [f"{self(s.out)} = 0;"])]
        assert self.geometry is not None
        return body, self.geometry

    def keys(self, s: Scatter) -> tuple[list[str], Geometry]:
        """A kernel that writes the classes of all rows, in their order."""
        over = list(zip(self.indices(s.index.dims), s.index.dims, strict=True))
        head, geometry = element_of(over)
        return [*head, f"keys[{'at' if len(over) > 1 else over[0][0]}] = (int){self(s.index)};"], geometry

    # ------------------------------------------------------------ moves, random numbers

    def _copy(self, s: Copy) -> Iterator[str]:
        if transposed(s):
            yield from self._transposed(s)
            return
        at, find = self.indices(s.out.dims), list[str]()
        if s.out.dims != s.a.dims:                               # the element of the same number
            name = "from" if own(s.out) != (*range(len(at)),) or not at else "at" if len(at) > 1 else at[0]
            number = flat([(i, length(n)) for i, n in zip(at, s.out.dims, strict=True) if n != 1]) or "0"
            find = [f"const int from = {number};"] if name == "from" else []
            at = [f"{i}_" for i in self.indices(s.a.dims)] if len(s.a.dims) > 1 else [name] * len(s.a.dims)
            find += split(name, [*zip(at, s.a.dims, strict=True)])
        yield from self.each(s.out, [*find, f"{self(s.out)} = {self(s.a, flipped(s, at))};"])

    def _transposed(self, s: Copy) -> Iterator[str]:
        """A matrix by tiles, which shared memory turns: neighbours read and write neighbours."""
        (i, j), (rows, columns) = self.indices(s.out.dims), s.out.dims
        self.geometry = Geometry(rows, TILE, (TILE, 8), blocks_of(columns, TILE))
        near, far = (f"blockIdx.{x} * {TILE}" for x in "xy")
        steps = [(f"{i} = {near} + threadIdx.x, {j} = {far} + k_", f"tile[k_][threadIdx.x] = {self(s.a)}"),
                 (f"{i} = {near} + k_, {j} = {far} + threadIdx.x", f"{self(s.out)} = tile[threadIdx.x][k_]")]
        yield f"__shared__ real tile[{TILE}][{TILE + 1}];"
        for k, (where, done) in enumerate(steps):
            yield from ["__syncthreads();"] if k else []
            yield f"for (int k_ = threadIdx.y; k_ < {TILE}; k_ += 8) {{"
            yield f"    const int {where};"
            yield f"    if ({i} < {length(rows)} && {j} < {length(columns)}) {done};"
            yield "}"

    def _random(self, s: Draw) -> Iterator[str]:
        """Four elements a thread: a block of Philox."""
        count = product(s.out.dims)
        self.geometry = Geometry(count + 4, 4 * BLOCK, (BLOCK,))
        start = self(s.out, ["0"] * len(s.out.dims))
        yield f"{s.kind}_({self._stream(s)}, {length(count)}, &{start});"

    def drawn(self, s: Draw) -> str:
        """One element of a draw by itself."""
        at = flat([(i, length(n)) for i, n in zip(self.indices(s.out.dims), s.out.dims, strict=True)])
        return f"{s.kind}_at_({self._stream(s)} + {at})"

    def _stream(self, s: Draw) -> str:
        """The stream of a draw, and the number in it of the first element."""
        steps = [self.offsets[s.along]] if s.along in self.offsets else []
        if s.at is not None:
            steps += ([s.at.axis] if s.at.axis else []) + ([str(s.at.offset)] if s.at.offset else [])
        step = product(s.out.dims if s.at is not None else s.out.dims[1:])
        before = f"(int64_t)({' + '.join(steps)}) * {bracketed(length(step))}" if steps else "0"
        return f"seed[0], step[0], {path_key(s.key):#x}u, {before}"


def transposed(s: Copy) -> bool:
    """Whether a copy turns a matrix: what is a column of the result stands together where it is read."""
    return len(s.out.dims) == 2 and s.out.dims == s.a.dims and not s.flip and s.out.array.kind == s.a.array.kind == REAL \
        and own(s.out) == (0, 1) and own(s.a) == (1, 0) and s.a.along[-1] == Along(0, getattr(s.a.along[-1], "offset", NOWHERE))


def of_part(s: Copy) -> bool:
    """Whether a copy is of a part of an array, or into one, in the order of memory."""
    if transposed(s):
        return False
    apart = s.out.array.dims != s.a.array.dims
    return apart and not s.flip and s.out.dims == s.a.dims and own(s.out) == tuple(range(len(s.out.dims)))


def flat(places: Sequence[tuple[str, str]]) -> str:
    """The number of an element, row by row, from its index along each dim and the dims' lengths."""
    text = ""
    for x, n in places:
        if not text or text == "0":
            text = x
        else:
            more = "" if x == "0" else f" + {x}"
            text = f"{bracketed(text)}*{bracketed(n)}{more}"
    return text


def join(kind: str, total: str, width: int) -> str:
    """What the threads of a row have, as one."""
    return f"{total} = by_warp<{WORD[kind]}>({total});" if width == 32 else f"{total} = by_block<{WORD[kind]}>({total}, parts);"


__all__ = ["Statements", "flat", "join", "of_part"]
