"""What a legal statement is: views within their arrays at every length, kernels of the right arity and kinds, dims that fit."""

from __future__ import annotations

from .graph import REDUCTIONS, GraphError, length
from .ops import PRIMITIVES
from .program import (
    BOOL,
    BYTE,
    INT,
    REAL,
    Along,
    Call,
    Convolve,
    Copy,
    Correlate,
    Draw,
    Fill,
    Hot,
    Images,
    Kernel,
    Literal,
    Load,
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
    Tap,
    Unfold,
    Unpool,
    View,
    Way,
    Winner,
    reads,
    writes,
)
from .sizes import Size, product, size, symbol
from .windows import window_count

ANY_KIND = {"eq", "ne", "select", "real", "lt", "le", "gt", "ge"}        # primitives that take classes and truth values, too


def describe(s: Stmt) -> str:
    """A statement in words: its kind and the names of what it writes and reads."""
    out = writes(s)
    sources = ", ".join(dict.fromkeys(v.array.name or "?" for v in reads(s)))
    return f"{type(s).__name__} {(out.array.name or '?') if out else ''}" + (f" from {sources}" if sources else "")


def check_statement(s: Stmt, axes: tuple[str, ...]) -> None:
    """GraphError where a statement inside loops over `axes` is not well formed."""
    out = writes(s)
    assert out is not None
    for v in (out, *reads(s)):
        _view(v, axes, hot=isinstance(s, Kernel))
    if sorted(x.dim for x in out.along if isinstance(x, Along)) != list(range(len(out.dims))):
        raise GraphError("the output repeats a dim")
    match s:
        case Kernel(dims, _, body):
            _same(dims, out.dims, "the kernel and its output")
            found = _kind(body, dims, axes)
            if found != out.array.kind and {found, out.array.kind} != {REAL, "double"}:
                raise GraphError(f"a {found} body for a {out.array.kind} array")
        case Product():
            _product(s)
        case Reduction():
            _reduction(s)
        case Take() | Pick() | Scatter():
            _lookup(s)
        case Copy(_, a, flip):
            for k in flip:
                if not 0 <= k < len(a.dims):
                    raise GraphError(f"a flip along dim {k} of {len(a.dims)}")
            if product(a.dims) != product(out.dims):
                raise GraphError("a copy of another number of elements")
        case Unfold() | Refold() | Convolve() | Correlate() | Pool() | Winner() | Unpool():
            _images(s)
        case Draw(_, kind):
            if kind not in ("uniform", "normal"):
                raise GraphError(f"no draw is called {kind}")
        case Fill():
            pass
        case _:
            raise GraphError("no such statement")


# ---------------------------------------------------------------- views

def _view(v: View, axes: tuple[str, ...], hot: bool) -> None:
    """One entry a buffer dim, each output dim once, every index within the array."""
    name = v.array.name or "an array"
    if len(v.along) != len(v.array.dims):
        raise GraphError(f"a view of {name} with {len(v.along)} entries for {len(v.array.dims)} dims")
    used = [x.dim for x in v.along if isinstance(x, Along)]
    if len({*used}) != len(used) or any(not 0 <= d < len(v.dims) for d in used):
        raise GraphError(f"a view of {name} through the dims {used} of {len(v.dims)}")
    for x, n in zip(v.along, v.array.dims, strict=True):
        if isinstance(x, Along):
            low, high = x.offset, n - x.offset - v.dims[x.dim]
        elif x.axis is not None:
            if x.axis not in axes:
                raise GraphError(f"{name} is read at {x.axis} outside a loop over {x.axis}")
            low, high = size(x.offset), n - length(x.axis) - x.offset
            if x.unrolled:                                       # running the statements finds what is beyond the end
                continue
        elif x.unrolled:
            continue
        elif x.end:
            low, high = n + x.offset, size(-x.offset - 1)
        else:
            low, high = size(x.offset), n - 1 - x.offset
        for bound in (low, high):
            if negative(bound):
                raise GraphError(f"a view of {name} reaches {bound} elements beyond its {n}")


def negative(bound: Size) -> bool:
    """Whether a size is below 0 at every length; what lengths decide is left to running the statements.

    With every symbol at least 1, n = 1 + n': a polynomial whose coefficients in the n' are all at most 0, the constant below 0.
    """
    moved = bound.substitute({s: symbol(s) + 1 for s in bound.symbols})
    return moved.terms != () and all(c < 0 for _, c in moved.terms) and any(not m for m, _ in moved.terms)


def _classes(index: View) -> None:
    if index.array.kind != INT:
        raise GraphError(f"an index of kind {index.array.kind}")


def _same(a: tuple[Size, ...], b: tuple[Size, ...], what: str) -> None:
    if a != b:
        raise GraphError(f"{what} have the dims ({', '.join(map(str, a))}) and ({', '.join(map(str, b))})")


def _product(s: Product) -> None:
    """Labels as many as dims, of one size each; every label of the output in an operand."""
    sizes: dict[str | int, Size] = {}
    for v, labels in ((s.a, s.la), (s.b, s.lb), (s.out, s.lo)):
        if len(labels) != len(v.dims) or len({*labels}) != len(labels):
            raise GraphError(f"the labels {labels} for {len(v.dims)} dims")
        for k, n in zip(labels, v.dims, strict=True):
            if sizes.setdefault(k, n) != n:
                raise GraphError(f"the label {k} is {sizes[k]} and {n}")
    if not {*s.lo} <= {*s.la, *s.lb}:
        raise GraphError("a label of the output that no operand has")


def _reduction(s: Reduction) -> None:
    if s.kind not in REDUCTIONS or any(not 0 <= k < len(s.a.dims) for k in s.over) or len({*s.over}) != len(s.over):
        raise GraphError(f"{s.kind} over {s.over} of {len(s.a.dims)} dims")
    _same(tuple(n for k, n in enumerate(s.a.dims) if k not in s.over), s.out.dims, "the reduced operand and the output")


def _images(s: Images) -> None:
    """Windows that fit, and dims that follow from them."""
    match s:
        case Unfold(out, a, taps):
            _taps(a.dims, out.dims, taps)
        case Refold(out, a, taps):
            _taps(out.dims, a.dims, taps)
        case Pool(out, kind, a, taps):
            if kind not in ("max", "sum"):
                raise GraphError(f"pooling by {kind}")
            _pooled(a.dims, out.dims, taps)
        case Winner(out, a, best, taps):
            _same(out.dims, best.dims, "the winners and the maxima")
            _numbers(out, taps)
            _pooled(a.dims, best.dims, taps)
        case Unpool(out, g, won, taps):
            if won is not None:
                _same(g.dims, won.dims, "the winners and the adjoint of the maxima")
                _numbers(won, taps)
            _pooled(out.dims, g.dims, taps)
        case Convolve(out, x, kernel, how):
            _convolved(x.dims, out.dims, kernel.dims, how)
        case Correlate(out, x, g, how):
            _convolved(x.dims, g.dims, out.dims, how)


def _numbers(won: View, taps: tuple[Tap, ...]) -> None:
    """Winners are bytes where a window has no more elements than those count."""
    most = product(tuple(t.k for t in taps)).value
    if won.array.kind != (BYTE if most is not None and most <= 256 else INT):
        raise GraphError(f"winners among {most} of kind {won.array.kind}")


def _convolved(image: tuple[Size, ...], result: tuple[Size, ...], kernel: tuple[Size, ...], how: Way) -> None:
    """The places of the windows, and a kernel of as many elements as they and their channels have."""
    places = tuple((n + t.lo + t.hi - (t.k - 1) * t.dilation - 1) // t.stride + 1
                   for n, t in zip(image[1:-1], how.taps, strict=True))
    _same((image[0], *places), result[:-1], "the windows and the result")
    elements = product((*(t.k for t in how.taps), image[-1], result[-1]))
    if product(kernel) * how.groups != elements:
        raise GraphError(f"a kernel of {product(kernel)} elements in {how.groups} groups for {elements} products")


def _pooled(whole: tuple[Size, ...], pooled: tuple[Size, ...], taps: tuple[Tap, ...]) -> None:
    """Each tapped dim becomes the number of its windows."""
    by = {t.dim: t for t in taps}
    dims = tuple(window_count(n + by[k].lo + by[k].hi, by[k].k, by[k].stride, by[k].dilation) if k in by else n
                 for k, n in enumerate(whole))
    _same(dims, pooled, "the windows and what is kept of them")


def _taps(whole: tuple[Size, ...], wide: tuple[Size, ...], taps: tuple[Tap, ...]) -> None:
    """Each tapped dim becomes two, windows and elements, and the windows fit."""
    dims: list[Size] = []
    by = {t.dim: t for t in taps}
    for k, n in enumerate(whole):
        t = by.get(k)
        dims += [n] if t is None else [(n - (t.k - 1) * t.dilation - 1) // t.stride + 1, t.k]
    if len(by) != len(taps) or not all(0 <= k < len(whole) for k in by):
        raise GraphError(f"windows along the dims {[t.dim for t in taps]} of {len(whole)}")
    _same(tuple(dims), wide, "the windows and what they are of")


def _lookup(s: Take | Pick | Scatter) -> None:
    """Rows by number: taken, one element of each picked, or added up."""
    _classes(s.index)
    match s:
        case Take(out, table, index):
            _same((*index.dims, *table.dims[1:]), out.dims, "the rows and the output")
        case Pick(out, a, index):
            _same(a.dims[:-1], index.dims, "the operand and the index")
            _same(index.dims, out.dims, "the index and the output")
        case Scatter(out, a, index):
            _same(a.dims[:len(index.dims)], index.dims, "the operand and the index")
            _same(a.dims[len(index.dims):], out.dims[1:], "the rows and the output")


# ---------------------------------------------------------------- scalars

def _kind(s: Scalar, dims: tuple[Size, ...], axes: tuple[str, ...]) -> str:
    """The kind of a scalar body, its primitives' arity and kinds checked."""
    match s:
        case Literal(value):
            return BOOL if isinstance(value, bool) else REAL
        case Load(v):
            _same(v.dims or dims, dims, f"the operand {v.array.name} and the kernel")
            return REAL if v.array.kind == "double" else v.array.kind
        case Hot(v):
            _same(v.dims, dims, "a one-hot vector and the kernel")
            _classes(v)
            if any(isinstance(x, Along) and x.dim == len(dims) - 1 for x in v.along):
                raise GraphError("a one-hot vector whose class depends on the place along it")
        case Step(dim, axis):
            if dim is None and axis not in axes:
                raise GraphError(f"the index {axis} outside a loop over {axis}")
            if dim is not None and (not 0 <= dim < len(dims) or dims[dim] != length(axis)):
                raise GraphError(f"the index {axis} along dim {dim}")
        case Call(f, args, kind):
            return _call(f, [_kind(a, dims, axes) for a in args], kind)
    return REAL


def _call(f: str, kinds: list[str], kind: str) -> str:
    if f not in PRIMITIVES:
        raise GraphError(f"no primitive is called {f}")
    if len(kinds) != PRIMITIVES[f].arity:
        raise GraphError(f"{f} takes {PRIMITIVES[f].arity} operands, not {len(kinds)}")
    if f in ("and", "or", "not"):
        wanted = [BOOL] * len(kinds)
    elif f == "select":
        wanted = [BOOL, kind, kind]
    else:
        wanted = kinds if f in ANY_KIND else [REAL] * len(kinds)
    if kinds != wanted:
        raise GraphError(f"{f} of {', '.join(kinds)}")
    given = BOOL if f in ("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not") else kinds[1] if f == "select" else REAL
    if kind != given:
        raise GraphError(f"{f} gives {given}, not {kind}")
    return kind
