"""The program: statements over arrays, the second and last IR. It knows no target.

    Function   name, inputs, body, results {name: View}
    Stmt       Product(out, a, b, la, lb, lo)       sum of products: the matrix-product family; labels name dims
               Kernel(dims, writes)                 one loop nest over an index space; a scalar body for each write
               Reduction(kind, out, a, over)        a reduced over its dims `over`
               Take(out, table, index)              out[...] = table[index[...]]: rows by number
               Pick(out, a, index)                  out[...] = a[..., index[...]]: one element of each row
               Scatter(out, a, index)               out[index[...]] += a[...], from zero; sorted, so that it repeats to the bit
               Unfold(out, a, taps) | Refold(out, a, taps)   windows along dims, copied; windows added back where they came from
               Convolve(out, x, kernel, how) | Correlate(out, x, g, how)      a convolution, its adjoint in the kernel
               Pool(out, kind, a, taps)             the maximum or the sum of each window
               Winner(out, a, best, taps)           which element of each window is its first maximum
               Unpool(out, g, won, taps)            g added to the winner of its window, or to all of the window
               Fill(out, value) | Copy(out, a)      a constant; a move that no view can be
               Draw(out, kind, key)                 random numbers
               Nest(rows, body)                     statements that share the loops over their leading dims
               Loop(axis, reverse, body)            one step of time after the other
               Block(heading, body)                 statements under the equations that they compute
    View       an affine access: buffer dim k is read at `along[k]`, an output dim plus an offset, or a fixed index
    Scalar     Literal | SizeOf(size) | Load(view) | Hot(view) | Step(axis) | Call(f, args)

A kernel is the unit of fusion for every target: NumPy prints it as ufunc calls with `out=`, C as one function. An Array's
storage is decided late: `memory` lets values share what they never need at the same time.
Not here: control flow on data, aliasing that is not a View, allocation inside a body.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .graph import Expr, Number
from .image_statements import Convolve as Convolve
from .image_statements import Correlate as Correlate
from .image_statements import Pool as Pool
from .image_statements import Refold as Refold
from .image_statements import Tap as Tap
from .image_statements import Unfold as Unfold
from .image_statements import Unpool as Unpool
from .image_statements import Way as Way
from .image_statements import Winner as Winner
from .sizes import Size, size

REAL, BOOL, INT = "real", "bool", "int"
DOUBLE, BYTE = "double", "byte"                          # float64 whatever the type of the parameters; a number below 256

Ranges = tuple[tuple[Size, Size], ...]


@dataclass(eq=False)
class Array:
    """A value with storage: dims, element kind, and the role that says who owns it.

    role: param, input, result (given by the caller), or value (of the workspace). `name` and `views`, names of parts of it
    by their ranges (first index, length) along each dim, are given late.
    """

    dims: tuple[Size, ...]
    kind: str = REAL
    role: str = "value"
    name: str = ""
    storage: Array | None = None                         # the array in whose place this one is kept
    comment: str = ""
    views: dict[Ranges, str] = field(default_factory=dict)
    original: Array | None = None                        # of an unrolled loop: the array of any step, of which this is one step's
    suffix: str = ""                                     # what the name of that step ends in
    packed: int = 0                                      # a matrix, its rows this many dims, that only products read; C packs it

    @property
    def home(self) -> Array:
        """The array whose memory this one uses."""
        return self if self.storage is None else self.storage.home


NOWHERE = size(0)


@dataclass(frozen=True)
class Along:
    """A buffer dim read at an output dim, plus an offset."""

    dim: int
    offset: Size = NOWHERE


@dataclass(frozen=True)
class Fixed:
    """A buffer dim read at one index: loop variable `axis` (or none) plus an offset; `end` counts from the dim's end.

    `unrolled`: one of several steps in a loop's body, which are there whenever the body runs.
    """

    axis: str | None
    offset: int
    end: bool = False
    unrolled: bool = False


@dataclass(frozen=True)
class View:
    """array read through `along`, one entry a buffer dim; output dims that no entry names are repeats."""

    array: Array
    along: tuple[Along | Fixed, ...]
    dims: tuple[Size, ...]

    @property
    def whole(self) -> bool:
        """Whether this is the array as it stands."""
        return self.dims == self.array.dims and self.along == tuple(Along(k) for k in range(len(self.dims)))


def may_miss(x: Along | Fixed, n: Size) -> bool:
    """Whether a step counted from the start or the end lies beyond the shortest sequence, whose length is 1."""
    if isinstance(x, Along) or x.axis is not None or x.unrolled:
        return False
    shortest = n.evaluate(dict.fromkeys(n.symbols, 1))
    return not -shortest <= x.offset < shortest


def missing(v: View) -> list[int]:
    """The dims of its array at which a view may be of a step that a short sequence does not have: it reads as 0 there."""
    return [k for k, x in enumerate(v.along) if may_miss(x, v.array.dims[k])]


def view(array: Array) -> View:
    return View(array, tuple(Along(k) for k in range(len(array.dims))), array.dims)


# ---------------------------------------------------------------- scalars

@dataclass(frozen=True)
class Literal:
    value: Number | bool


@dataclass(frozen=True)
class SizeOf:
    size: Size


@dataclass(frozen=True)
class Load:
    """The view's element at the kernel's index."""

    view: View


@dataclass(frozen=True)
class Hot:
    """1 where the last index equals the class that the view holds, else 0."""

    view: View


@dataclass(frozen=True)
class Step:
    """The index along a dim of the kernel, or of the loop around it where `dim` is None."""

    dim: int | None
    axis: str


@dataclass(frozen=True)
class Call:
    """A primitive of `ops`."""

    f: str
    args: tuple[Scalar, ...]
    kind: str = REAL


Scalar = Literal | SizeOf | Load | Hot | Step | Call


def leaves(s: Scalar) -> Iterator[Scalar]:
    """The leaves of a scalar body, left to right."""
    if isinstance(s, Call):
        for a in s.args:
            yield from leaves(a)
    else:
        yield s


# ---------------------------------------------------------------- statements

@dataclass(frozen=True)
class Product:
    out: View
    a: View
    b: View
    la: tuple[str | int, ...]
    lb: tuple[str | int, ...]
    lo: tuple[str | int, ...]


@dataclass(frozen=True)
class Kernel:
    dims: tuple[Size, ...]
    out: View
    body: Scalar


@dataclass(frozen=True)
class Reduction:
    kind: str
    out: View
    a: View
    over: tuple[int, ...]


@dataclass(frozen=True)
class Take:
    out: View
    table: View
    index: View


@dataclass(frozen=True)
class Pick:
    out: View
    a: View
    index: View


@dataclass(frozen=True)
class Scatter:
    out: View
    a: View
    index: View


@dataclass(frozen=True)
class Fill:
    out: View
    value: Number


@dataclass(frozen=True)
class Copy:
    """out[...] = a, or a reshaped, or flipped along some dims."""

    out: View
    a: View
    flip: tuple[int, ...] = ()


@dataclass(frozen=True)
class Draw:
    out: View
    kind: str
    key: str
    along: str = ""                                      # the time axis that comes first: in a chunk, a draw goes on along it
    at: Fixed | None = None                              # the step of a loop along it, where the loop draws step by step


@dataclass
class Loop:
    """One step of time after the other. Unrolled, the body holds `copies` steps, each a Block of Blocks; where that is all
    of them, it is `straight`, and no loop is left. `rest` = k: only the T % k steps that a loop of k copies leaves.
    """

    axis: str
    reverse: bool
    body: list[Stmt]
    copies: int = 1
    rest: int = 1
    straight: bool = False

    def starts(self, length: int) -> range:
        """The values of the loop's variable, at a length of the axis."""
        if self.straight:
            return range(1)
        left = length % max(self.copies, self.rest)
        if self.reverse:
            low, high = (0, left) if self.rest > 1 else (left if self.copies > 1 else 0, length)
            return range(low, high, self.copies)[::-1]
        low, high = (length - left, length) if self.rest > 1 else (0, length - left if self.copies > 1 else length)
        return range(low, high, self.copies)


@dataclass
class Nest:
    """Statements that share loops over rows, their leading dims: at each row one after the other (see `passes/fusion.py`)."""

    rows: tuple[Size, ...]
    body: list[Stmt]


@dataclass
class Block:
    """What computes one value: `values` are its expression and those computed on the way.

    The comment above are their equations, or `heading` where that is given.
    """

    values: tuple[Expr, ...]
    body: list[Stmt]
    section: str = ""
    heading: tuple[str, ...] | None = None


Images = Unfold | Refold | Convolve | Correlate | Pool | Winner | Unpool
Stmt = Product | Kernel | Reduction | Take | Pick | Scatter | Images | Fill | Copy | Draw | Loop | Nest | Block


@dataclass
class Function:
    """One entry of a module: its body over arrays, what it gives back, and what it is called with."""

    name: str
    body: list[Stmt] = field(default_factory=list)
    results: dict[str, View] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()                           # time axes that its values have
    free: tuple[str, ...] = ()                           # lengths that no input tells: arguments of the function
    carry: dict[str, View] = field(default_factory=dict)         # of a chunk: what the next one starts from
    numbers: dict[str, Expr] = field(default_factory=dict)       # results that are sizes or constants
    trained: tuple[str, ...] = ()                        # parameters whose gradients it writes
    lengths: dict[str, int] = field(default_factory=dict)        # lengths that its loops were unrolled for, {"T": 3}
    least: dict[str, int] = field(default_factory=dict)          # lengths that it asks for at least, {"T": 8} for h[7]


def flat(body: list[Stmt]) -> Iterator[Stmt]:
    """Statements in order, with blocks and loops opened; a loop comes before its body."""
    for s in body:
        if isinstance(s, (Block, Nest)):
            yield from flat(s.body)
        elif isinstance(s, Loop):
            yield s
            yield from flat(s.body)
        else:
            yield s


def reads(s: Stmt) -> tuple[View, ...]:
    """The views that a statement reads."""
    match s:
        case Product(_, a, b):
            return (a, b)
        case Kernel(_, _, body):
            return tuple(x.view for x in leaves(body) if isinstance(x, (Load, Hot)))
        case Reduction(_, _, a) | Copy(_, a) | Unfold(_, a) | Refold(_, a) | Pool(_, _, a):
            return (a,)
        case Take(_, a, index) | Pick(_, a, index) | Scatter(_, a, index):
            return (a, index)
        case Winner(_, a, best):
            return (a, best)
        case Unpool(_, g, won):
            return (g,) if won is None else (g, won)
        case Convolve(_, x, other) | Correlate(_, x, other):
            return (x, other)
    return ()


def writes(s: Stmt) -> View | None:
    """The view that a statement writes."""
    return None if isinstance(s, (Loop, Block, Nest)) else s.out
