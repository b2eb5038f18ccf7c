"""Sums of products as C: matrix products where the labels and the order in memory allow it, otherwise loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ...compiler.program import Along, Product, View
from ...compiler.sizes import Size, product
from .indexing import Namer, element, start, strides
from .kernels import length
from .loops import INDENT, added, adding, loops

if TYPE_CHECKING:
    from .statements import Statements

Label = str | int
Labels = Sequence[Label]


@dataclass(frozen=True)
class Matrix:
    """An operand of a product: where it begins, the distance between its rows, and how it stands in memory (see gemm.c)."""

    start: str
    distance: Size
    way: str = "PLAIN"


@dataclass(frozen=True)
class Form:
    """A sum of products as matrix products, one for each index of `common`: rows `m`, columns `n`, `k` summed."""

    common: list[Label]
    m: list[Label]
    n: list[Label]
    k: list[Label]
    left: View
    right: View
    left_labels: Labels
    right_labels: Labels
    size: dict[Label, Size]

    def count(self, labels: Labels) -> Size:
        """How many indices these labels have together."""
        return product(tuple(self.size[q] for q in labels))


def print_product(s: Product, print_: Statements) -> Iterator[str]:
    """The statement's lines."""
    f = form(s)
    if f is None:
        yield from _loops(s, print_)
        return
    found = _matrices(s, f, print_.names)
    assert found is not None
    left, right, _ = found
    call = ", ".join([left.way, right.way, *(length(f.count(x)) for x in (f.m, f.n, f.k)),
                      *(text for x in found for text in (x.start, length(x.distance)))])
    yield from (f"{INDENT * i}for (int64_t c{i} = 0; c{i} < {length(f.size[q])}; c{i}++)" for i, q in enumerate(f.common))
    yield f"{INDENT * len(f.common)}gemm({call});"


def print_packing(out: View, a: View, names: Namer) -> str:
    """A copy into an array that is packed: k rows, then columns."""
    rows, columns = [*range(out.array.packed)], [*range(out.array.packed, len(a.dims))]
    source = _matrix(a, range(len(a.dims)), rows, columns, [], names)
    assert source is not None
    k, n = (length(product(tuple(a.dims[d] for d in group))) for group in (rows, columns))
    return f"pack({source.way}, {n}, {k}, {source.start}, {length(source.distance)}, {start(out, names)});"


def form(s: Product) -> Form | None:
    """How matrix products compute a statement; None where memory does not stand so."""
    return next((f for f in forms(s) if _matrices(s, f, lambda a: a.name) is not None), None)


def forms(s: Product) -> Iterator[Form]:
    """The ways in which a statement is a product of matrices by its labels, the result as it is and transposed; whether its
    arrays stand so in memory is another question.
    """
    size = {k: n for v, ls in ((s.a, s.la), (s.b, s.lb)) for k, n in zip(ls, v.dims, strict=True)}
    common = [k for k in s.lo if k in s.la and k in s.lb]
    summed = [k for k in s.la if k in s.lb and k not in s.lo]
    rows = [k for k in s.lo if k in s.la and k not in s.lb]
    columns = [k for k in s.lo if k in s.lb and k not in s.la]
    if not summed or not (rows or columns) or len(common) + len(rows) + len(columns) != len(s.lo):
        return
    for m, n, x, lx, y, ly in ((rows, columns, s.a, s.la, s.b, s.lb), (columns, rows, s.b, s.lb, s.a, s.la)):
        for k in _orders(summed, x, lx):
            yield Form(common, m, n, k, x, y, lx, ly, size)


def _matrices(s: Product, f: Form, names: Namer) -> tuple[Matrix, Matrix, Matrix] | None:
    """Both operands and the result as matrices."""
    left = _matrix(f.left, f.left_labels, f.m, f.k, f.common, names)
    right = _matrix(f.right, f.right_labels, f.k, f.n, f.common, names)
    out = _matrix(s.out, s.lo, f.m, f.n, f.common, names)
    if left is None or right is None or out is None or out.way != "PLAIN" or left.way == "PACKED":
        return None
    return left, right, out


def _orders(summed: list[Label], v: View, labels: Labels) -> list[list[Label]]:
    """The order in which what is summed stands in memory."""
    steps = dict(zip(labels, strides(v), strict=True))
    at = {k: next((i for i, x in enumerate(v.along) if getattr(x, "dim", None) == list(labels).index(k)), -1) for k in summed}
    return [sorted(summed, key=lambda k: at[k])] if all(steps[k] is not None for k in summed) else []


def _matrix(v: View, labels: Labels, first: list[Label], second: list[Label], common: list[Label],
            names: Namer) -> Matrix | None:
    """A view as a matrix with rows along `first`, columns along `second`; None where memory does not stand so."""
    steps = dict(zip(labels, strides(v), strict=True))
    size = dict(zip(labels, v.dims, strict=True))
    if v.array.packed:
        return Matrix(start(v, names), product(tuple(size[k] for k in first)), "PACKED")
    if any(steps[k] is None for k in (*first, *second)) or {*labels} != {*first, *second, *common}:
        return None
    outer, inner = collapsed(first, steps, size), collapsed(second, steps, size)
    if outer is None or inner is None:
        return None
    at = [f"c{common.index(k)}" if k in common else "0" for k in labels]
    first_element = "&" + element(v, names, at)
    rows, columns = product(tuple(size[k] for k in first)), product(tuple(size[k] for k in second))
    if inner == 1 or not second:
        return Matrix(first_element, outer if first else columns)
    if outer == 1 or not first:
        return Matrix(first_element, inner if second else rows, "TURNED")
    return None


def collapsed(labels: list[Label], steps: dict[Label, Size | None], size: dict[Label, Size]) -> Size | None:
    """The one step that walks along several dims, the last one fastest; None where there is none."""
    for k, later in pairwise(labels):
        inner = steps[later]
        if inner is None or steps[k] != inner * size[later]:
            return None
    return steps[labels[-1]] if labels else _ONE


_ONE = product(())


def _loops(s: Product, print_: Statements) -> Iterator[str]:
    """out = sum over what is not in the result, element by element."""
    size = {k: n for v, ls in ((s.a, s.la), (s.b, s.lb), (s.out, s.lo)) for k, n in zip(ls, v.dims, strict=True)}
    summed = [k for k in size if k not in s.lo]
    order = [*s.lo, *summed]
    var = dict(zip(order, print_.indices([size[k] for k in order]), strict=True))
    a, b, out = (print_(v, [var[k] for k in ls]) for v, ls in ((s.a, s.la), (s.b, s.lb), (s.out, s.lo)))
    columns, rows = ([(var[k], size[k]) for k in ls] for ls in (s.lo, summed))
    last = _fastest(s.out, s.lo)
    if summed and last is not None and all(last not in ls or _fastest(v, ls) == last for v, ls in ((s.a, s.la), (s.b, s.lb))):
        yield from loops(columns, [f"{out} = 0;"])               # whole rows are added up
        over = [k for k in s.lo if k != last]
        yield from print_.columns(s.out, out, f"{a} * {b}", rows, columns) or loops(
            [(var[k], size[k]) for k in (*over, *summed, last)], [f"{out} += {a} * {b};"], "SIMD ")
        return
    pad = ""
    for k in s.lo:
        yield f"{pad}for (int64_t {var[k]} = 0; {var[k]} < {length(size[k])}; {var[k]}++)" + (" {" if k == s.lo[-1] else "")
        pad += "    "
    if not s.lo:
        yield "{"
        pad = "    "
    wide, cast = adding("sum", s.out)
    yield from (pad + x for x in added(f"{f'({wide})' if cast else ''}{a} * {b}", rows, s.out, print_.sizes))
    yield f"{pad}{out} = {cast}total;"
    yield pad[4:] + "}"


def _fastest(v: View, labels: Sequence[Label]) -> Label | None:
    """The label of the dim whose neighbours stand side by side in memory."""
    x = v.along[-1] if v.along else None
    return labels[x.dim] if isinstance(x, Along) else None
