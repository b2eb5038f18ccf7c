"""Statements as NumPy.

An array that the workspace holds is written with `out=`; an array that has no storage (a loop's local value, or anything at
-O0) is assigned, and where one kernel alone reads it, its expression stands in that kernel's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...compiler import random
from ...compiler.passes.memory import numbered
from ...compiler.program import (
    BOOL,
    BYTE,
    DOUBLE,
    INT,
    Array,
    Block,
    Call,
    Convolve,
    Copy,
    Correlate,
    Draw,
    Fill,
    Hot,
    Kernel,
    Literal,
    Load,
    Loop,
    Pick,
    Pool,
    Product,
    Reduction,
    Refold,
    Scalar,
    Scatter,
    Step,
    Stmt,
    Take,
    Unfold,
    Unpool,
    View,
    Winner,
    leaves,
    reads,
    writes,
)
from ...compiler.sizes import product
from .expressions import UFUNC, Expressions, number
from .images import on_image
from .kernels import ARITHMETIC, UFUNCS, Lowered
from .packing import joined, split
from .products import out_text, print_product
from .views import assigned, contiguous, kept, plain, repeated, shape_text, text, transposition

DTYPES = {BOOL: "bool", INT: "np.int64", DOUBLE: "np.float64", BYTE: "np.uint8"}
REDUCTIONS = {"sum": "np.sum", "max": "np.max", "min": "np.min", "prod": "np.prod", "argmax": "np.argmax"}


class Statements:
    """Prints the body of one function."""

    def __init__(self, uses: set[str], allocated: Callable[[Array], bool], sizes: dict[str, str] | None = None) -> None:
        self.uses, self.allocated, self.sizes = uses, allocated, sizes
        self.pending: dict[Array, tuple[str, int]] = {}          # values that their one reader prints
        self.inlined: set[Array] = set()
        self.states: set[Array] = set()                          # values that a loop writes over, after their start
        self.factors: dict[Array, tuple[str, str]] = {}          # of those that are matrix products
        self.lowered: dict[int, Lowered] = {}                    # id of a kernel -> its ufunc calls
        self.scratch: dict[int, list[Array]] = {}                # id of another statement -> its scratch arrays
        self.offsets: dict[str, str] = {}                        # time axis -> how many steps came before this chunk
        self.made: set[str] = set()                              # arrays that this body has made
        self.expressions = Expressions(uses, sizes, self._load)

    def prepare(self, body: list[Stmt]) -> None:
        """Decide which unallocated values stand inside their reader's expression."""
        readers: dict[Array, list[tuple[Stmt, View, bool]]] = {}
        writers: dict[Array, list[tuple[Stmt, bool]]] = {}
        for _, s, looped in numbered(body):
            for v in reads(s):
                readers.setdefault(v.array, []).append((s, v, looped))
            out = writes(s)
            if out is not None:
                writers.setdefault(out.array, []).append((s, looped))
        order = [s for _, s, _ in numbered(body)]
        place = {id(s): k for k, s in enumerate(order)}
        self.states = {a for a, found in writers.items() if len(found) > 1 and not self.allocated(a)}
        for a, found in writers.items():
            if a.role != "value" or self.allocated(a) or len(found) != 1 or not a.dims or len(readers.get(a, [])) != 1:
                continue
            (s, looped), (reader, v, read_looped) = found[0], readers[a][0]
            once = looped == read_looped and v.whole and isinstance(reader, Kernel) and _in_order(writes(s))
            if once and isinstance(s, (Product, Take, Pick, Reduction)) and \
                    not _overwritten(s, order[place[id(s)] + 1:place[id(reader)]]):
                self.inlined.add(a)

    def _load(self, v: View) -> tuple[str, int]:
        if v.array in self.pending and v.whole:
            return self.pending.pop(v.array)
        return text(v, self.sizes), 9

    # ------------------------------------------------------------ one statement

    def lines(self, s: Stmt) -> Iterable[str]:
        """The text of a statement, one line each."""
        match s:
            case Kernel():
                yield from self._kernel(s)
            case Product(out):
                yield from self._product(s, out)
            case Reduction():
                yield from self._reduction(s)
            case Take(out, table, index):
                i = text(index, self.sizes)
                if self.fresh(out):
                    yield from self._assign(out, f"{text(table, self.sizes)}[{i}]", 9)
                else:
                    yield from self.allocate(out)
                    yield f'np.take({text(table, self.sizes)}, {i}, axis=0, out={text(out, self.sizes)}, mode="clip")'
            case Pick(out, a, index):
                self.uses.add("pick")
                value = f"pick({repeated(a, self.sizes)}, {text(index, self.sizes)}"
                if self.fresh(out) or not out.dims:
                    yield from self._assign(out, value + ")", 9)
                else:
                    yield from self.allocate(out)
                    yield f"{value}, out={text(out, self.sizes)})"
            case Scatter(out, a, index):
                self.uses.add("scatter")
                yield from self.allocate(out)
                yield f"scatter({repeated(a, self.sizes)}, {text(index, self.sizes)}, out={text(out, self.sizes)})"
            case Unfold() | Refold() | Convolve() | Correlate() | Pool() | Winner() | Unpool():
                yield from (*self.allocate(s.out), on_image(s, self.uses, self.sizes, self._names(s)))
            case Fill(out, value):
                yield from self.allocate(out)
                yield f"{assigned(plain(out, self.sizes))} = {number(value)}"
            case Copy(out, a, flip):
                yield from self._copy(out, a, flip)
            case Draw(out, kind, key):
                self.uses.add(kind)
                yield from self.allocate(out)
                scratch = "".join(f"{x}, " for x in self._names(s))
                yield f"{kind}(seed, {key_text(key)}, {scratch}out={text(out, self.sizes)}{self._skipped(s)})"

    def _names(self, s: Stmt) -> list[str]:
        """The scratch arrays of a statement."""
        return [x.name for x in self.scratch.get(id(s), [])]

    def _skipped(self, s: Draw) -> str:
        """How many elements of a draw came before this chunk's, and before this step's."""
        steps = [self.offsets[s.along]] if s.along in self.offsets else []
        if s.at is not None:
            steps += ([s.at.axis] if s.at.axis else []) + ([str(s.at.offset)] if s.at.offset else [])
        step = product(s.out.dims if s.at is not None else s.out.dims[1:]).format(self.sizes)
        before = " + ".join(steps)
        step = f"*{f'({step})' if ' ' in step else step}" if step != "1" else ""
        return f", at={f'({before})' if len(steps) > 1 and step else before}{step}" if steps else ""

    def together(self, run: tuple[Stmt, ...]) -> Iterable[str]:
        """Copies that one call does: parts side by side, or an array's parts into arrays of their own."""
        whole, parts = joined(list(run)), split(list(run))
        sources = ", ".join(text(s.a, self.sizes) for s in run if isinstance(s, Copy))
        if parts:
            self.uses.add("unstack")
            yield f"unstack({parts[0].a.array.name}, {', '.join(s.out.array.name for s in parts)})"
        elif whole:
            out, axis = whole[0], f", axis={whole[1]}" if whole[1] else ""
            if self.fresh(out):
                yield f"{out.array.name} = np.concatenate(({sources}){axis})"
            else:
                yield from self.allocate(out)
                yield f"np.concatenate(({sources}){axis}, out={text(out, self.sizes)})"

    def fresh(self, out: View) -> bool:
        """Whether a write makes the array."""
        return not self.allocated(out.array) and out.whole

    def _assign(self, out: View, value: str, level: int) -> Iterable[str]:
        if out.array in self.inlined:
            if not out.whole:                                    # but for dims of one
                value, level = f"{value if level == 9 else f'({value})'}.reshape{shape_text(out.array.dims, self.sizes)}", 9
            self.pending[out.array] = (value, level)
        elif self.fresh(out) or (not out.array.dims and out.array.role != "result"):
            yield f"{out.array.name} = {value}"
        else:
            yield from self.allocate(out)
            yield f"{assigned(text(out, self.sizes))} = {value}"

    def allocate(self, out: View) -> Iterable[str]:
        """An array that is written in pieces, and that nobody has made."""
        if not self.allocated(out.array) and out.array.name not in self.made:
            self.made.add(out.array.name)
            yield f"{out.array.name} = np.empty({shape_text(out.array.dims, self.sizes)}, {DTYPES.get(out.array.kind, 'dtype')})"

    def _kernel(self, s: Kernel) -> Iterable[str]:
        out = s.out
        self.expressions.rank = len(s.dims)
        expression = self.fresh(out) or not out.dims or any(isinstance(x, Load) and x.view.array in self.pending
                                                            for x in leaves(s.body))
        if not expression and id(s) in self.lowered:
            yield from self.lowered[id(s)].lines()
            return
        target = text(out, self.sizes)
        body = s.body
        if not self.fresh(out) and out.dims and isinstance(body, Call):
            if body.f in ("add", "sub") and isinstance(body.args[0], Load) and self._same(body.args[0].view, out):
                yield f"{target} {'+' if body.f == 'add' else '-'}= {self.expressions.at(body.args[1], 1 + (body.f == 'sub'))}"
                return
            if body.f == "add" and isinstance(body.args[1], Load) and self._same(body.args[1].view, out):
                yield f"{target} += {self.expressions.at(body.args[0], 1)}"
                return
            if body.f in UFUNC:
                yield from self.allocate(out)
                yield f"{UFUNC[body.f]}({', '.join(map(self.expressions.text, body.args))}, out={target})"
                return
            if body.f == "add" and (product := self._in_place(body, out)) is not None:
                left, right, other = product
                yield f"np.matmul({left}, {right}, out={target})"
                yield f"{target} += {self.expressions.at(other, 1)}"
                return
            if self.allocated(out.array) and body.f in ARITHMETIC and all(isinstance(x, Load) for x in body.args):
                yield f"{UFUNCS[body.f]}({', '.join(map(self.expressions.text, body.args))}, out={target})"      # no temporary
                return
            if body.f == "sigmoid":
                self.uses.add("sigmoid")
                yield from self.allocate(out)
                yield f"sigmoid({self.expressions.text(body.args[0])}, out={target})"
                return
        if isinstance(body, Literal) and out.dims:
            yield from self.lines(Fill(out, body.value))
        else:
            yield from self._computed(s)

    def _computed(self, s: Kernel) -> Iterable[str]:
        """An expression as a value, which has an array of all its elements where they are to be written or added up."""
        out, body, shape = s.out, s.body, shape_text(s.out.dims, self.sizes)
        if isinstance(body, Load) and out.array in self.states and self.fresh(out) and out.dims:
            yield f"{out.array.name} = {repeated(body.view, self.sizes)}.copy()"
        elif self.fresh(out) and not _spread(s):
            yield f"{out.array.name} = np.full({shape}, {self.expressions.text(body)}, {DTYPES.get(out.array.kind, 'dtype')})"
        else:
            yield from self._assign(out, *self.expressions._with(body))

    def _in_place(self, body: Call, out: View) -> tuple[str, str, Scalar] | None:
        """The factors of a product to which something is added, and that: the product is written where the sum belongs."""
        for x, other in (body.args, body.args[::-1]):
            v = x.view if isinstance(x, Load) else None
            if v is not None and v.whole and v.array in self.factors and self.allocated(out.array) and contiguous(out) \
                    and v.dims == out.dims and not any(isinstance(y, Load) and (y.view.array.home is out.array.home or
                                                       y.view.array in self.pending) for y in leaves(other)):
                del self.pending[v.array]
                return *self.factors[v.array], other
        return None

    @staticmethod
    def _same(v: View, out: View) -> bool:
        return v.array.home is out.array.home and v.along == out.along

    def _product(self, s: Product, out: View) -> Iterable[str]:
        printed = print_product(s, self.sizes)
        if self.fresh(out) or not out.dims or out.array in self.inlined:
            value = printed.expression
            if printed.form and printed.left:
                value = f"({value}).reshape{shape_text(out.dims, self.sizes)}"
            elif printed.left and out.array in self.inlined and out.whole:
                self.factors[out.array] = printed.left, printed.right
            yield from self._assign(out, value, 2 if printed.left and not printed.form else 9)
            return
        yield from self.allocate(out)
        if not printed.left:
            yield f"{printed.expression[:-1]}, out={text(out, self.sizes)})"
            return
        target = out_text(out, printed.form, self.sizes)
        if target is None:
            yield f"{assigned(plain(out, self.sizes))} = ({printed.expression}).reshape{shape_text(out.dims, self.sizes)}"
        else:
            yield f"np.matmul({printed.left}, {printed.right}, out={target})"

    def _reduction(self, s: Reduction) -> Iterable[str]:
        out, a = s.out, repeated(s.a, self.sizes)
        if not kept(s.a) and s.a.dims:                           # a number, which may be one of Python's
            a = f"np.full({shape_text(s.a.dims, self.sizes)}, {text(s.a, self.sizes)}, dtype)"
        every = len(s.over) == len(s.a.dims)
        axis = "" if every else f", axis={s.over[0] if len(s.over) == 1 else s.over}"
        if s.kind in REDUCTIONS:
            call = f"{REDUCTIONS[s.kind]}({a}{axis}"
            if s.kind == "sum" and every:
                call = f"np.sum({a}"
        else:
            self.uses.add(s.kind)
            call = f"{s.kind}({a}, {s.over[0] if len(s.over) == 1 else s.over}"
        scratch = self._names(s)
        if self.fresh(out) or not out.dims:
            yield from self._assign(out, call + ")", 9)
        else:
            yield from self.allocate(out)
            yield f"{', '.join([call, *scratch])}, out={text(out, self.sizes)})"

    def _copy(self, out: View, a: View, flip: tuple[int, ...]) -> Iterable[str]:
        source = text(a, self.sizes)
        if flip:
            source += f"[{', '.join('::-1' if k in flip else ':' for k in range(max(flip) + 1))}]"
        if out.dims != a.dims:
            if len(kept(a)) < len(a.dims):                       # repeats are elements like others once they are reshaped
                source = f"np.broadcast_to({source}, {shape_text(a.dims, self.sizes)})"
            source = f"{source}.reshape{shape_text(out.dims, self.sizes)}"
        yield from self.allocate(out) if not self.fresh(out) else ()
        if self.fresh(out) and out.dims:
            yield f"{out.array.name} = {f'{repeated(a, self.sizes)}.copy()' if out.array in self.states and not flip else source}"
        elif not out.dims and not out.array.dims and not self.allocated(out.array):
            yield f"{out.array.name} = {source}"
        else:
            order = kept(out)
            target = plain(out, self.sizes) + ("" if order == sorted(order) else transposition(order))
            yield f"{assigned(target)} = {source}"


def _spread(s: Kernel) -> bool:
    """Whether what is computed has all dims of the kernel: some operand has each of them."""
    found = [range(len(s.dims)) if isinstance(x, Hot) else kept(x.view) if isinstance(x, Load) else
             [x.dim] if isinstance(x, Step) else [] for x in leaves(s.body)]
    return {d for dims in found for d in dims} >= {*range(len(s.dims))}


def _overwritten(s: Stmt, later: list[Stmt]) -> bool:
    """Whether what a statement reads is written anew by one of those that follow: a state whose old value it reads."""
    read = {v.array.home for v in reads(s)}
    return any((out := writes(x)) is not None and out.array.home in read for x in later)


def _in_order(out: View | None) -> bool:
    """Whether what is written stands in its array as it is computed, dims of one apart."""
    return out is not None and kept(out) == [*range(len(out.dims))]


def key_text(key: str) -> str:
    """The hash of a draw's path, as the generated text of an integer."""
    return hex(random.path_key(key))


__all__ = ["Block", "Loop", "Statements"]
