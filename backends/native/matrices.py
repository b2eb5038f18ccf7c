"""Sums of products as C: one matrix product of BLAS where the labels and the order in memory allow it, otherwise loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...compiler.program import Product, View
from ...compiler.sizes import Size, product
from .indexing import Indices, Namer, element, strides
from .kernels import length
from .loops import accumulate, loops

Label = str | int
WAY = {False: "PLAIN", True: "TURNED"}


@dataclass(frozen=True)
class Matrix:
    """An operand of a product: where it begins, the distance between its rows, and whether it stands transposed."""

    start: str
    distance: Size
    transposed: bool


def print_product(s: Product, names: Namer, indices: Indices) -> Iterator[str]:
    """The statement's lines."""
    common = [k for k in s.lo if k in s.la and k in s.lb]
    summed = [k for k in s.la if k in s.lb and k not in s.lo]
    rows = [k for k in s.lo if k in s.la and k not in s.lb]
    columns = [k for k in s.lo if k in s.lb and k not in s.la]
    if summed and (rows or columns) and len(common) + len(rows) + len(columns) == len(s.lo):
        found = _gemm(s, names, common, rows, columns, summed)
        if found is not None:
            yield from found
            return
    yield from _loops(s, names, indices)


def _gemm(s: Product, names: Namer, common: list[Label], rows: list[Label], columns: list[Label],
          summed: list[Label]) -> list[str] | None:
    """A call for each index of the labels that both operands and the result share."""
    size = {k: n for v, ls in ((s.a, s.la), (s.b, s.lb)) for k, n in zip(ls, v.dims, strict=True)}
    for m, n, x, lx, y, ly in ((rows, columns, s.a, s.la, s.b, s.lb), (columns, rows, s.b, s.lb, s.a, s.la)):
        for k in _orders(summed, x, lx):
            left, right = _matrix(x, lx, m, k, common, names), _matrix(y, ly, k, n, common, names)
            out = _matrix(s.out, s.lo, m, n, common, names)
            if left is None or right is None or out is None or out.transposed:
                continue
            sizes = [length(product(tuple(size[q] for q in group))) for group in (m, n, k)]
            call = (f"gemm({WAY[left.transposed]}, {WAY[right.transposed]}, {', '.join(sizes)}, "
                    f"{left.start}, {length(left.distance)}, {right.start}, {length(right.distance)}, "
                    f"{out.start}, {length(out.distance)});")
            around = [f"{'    ' * i}for (int64_t c{i} = 0; c{i} < {length(size[q])}; c{i}++)" for i, q in enumerate(common)]
            return [*around, "    " * len(common) + call]
    return None


def _orders(summed: list[Label], v: View, labels: Sequence[Label]) -> list[list[Label]]:
    """The order in which what is summed stands in memory."""
    steps = dict(zip(labels, strides(v), strict=True))
    at = {k: next((i for i, x in enumerate(v.along) if getattr(x, "dim", None) == list(labels).index(k)), -1) for k in summed}
    return [sorted(summed, key=lambda k: at[k])] if all(steps[k] is not None for k in summed) else []


def _matrix(v: View, labels: Sequence[Label], first: list[Label], second: list[Label], common: list[Label],
            names: Namer) -> Matrix | None:
    """A view as a matrix with rows along `first`, columns along `second`; None where memory does not stand so."""
    steps = dict(zip(labels, strides(v), strict=True))
    size = dict(zip(labels, v.dims, strict=True))
    if any(steps[k] is None for k in (*first, *second)) or {*labels} != {*first, *second, *common}:
        return None
    outer, inner = _collapsed(first, steps, size), _collapsed(second, steps, size)
    if outer is None or inner is None:
        return None
    at = [f"c{common.index(k)}" if k in common else "0" for k in labels]
    start = "&" + element(v, names, at)
    rows, columns = product(tuple(size[k] for k in first)), product(tuple(size[k] for k in second))
    if inner == 1 or not second:
        return Matrix(start, outer if first else columns, False)
    if outer == 1 or not first:
        return Matrix(start, inner if second else rows, True)
    return None


def _collapsed(labels: list[Label], steps: dict[Label, Size | None], size: dict[Label, Size]) -> Size | None:
    """The one step that walks along several dims, the last one fastest; None where there is none."""
    for k, later in pairwise(labels):
        inner = steps[later]
        if inner is None or steps[k] != inner * size[later]:
            return None
    return steps[labels[-1]] if labels else _ONE


_ONE = product(())


def _loops(s: Product, names: Namer, indices: Indices) -> Iterator[str]:
    """out = sum over what is not in the result, element by element."""
    size = {k: n for v, ls in ((s.a, s.la), (s.b, s.lb), (s.out, s.lo)) for k, n in zip(ls, v.dims, strict=True)}
    summed = [k for k in size if k not in s.lo]
    order = [*s.lo, *summed]
    var = dict(zip(order, indices([size[k] for k in order]), strict=True))
    pad = ""
    for k in s.lo:
        yield f"{pad}for (int64_t {var[k]} = 0; {var[k]} < {length(size[k])}; {var[k]}++)" + (" {" if k == s.lo[-1] else "")
        pad += "    "
    if not s.lo:
        yield "{"
        pad = "    "
    yield f"{pad}real total = 0;"
    a, b = (element(v, names, [var[k] for k in ls]) for v, ls in ((s.a, s.la), (s.b, s.lb)))
    step, mark = accumulate("sum", "total", f"{a} * {b}")
    inner = loops([(var[k], size[k]) for k in summed], [step], mark)
    yield from (pad + line for line in inner)
    yield f"{pad}{element(s.out, names, [var[k] for k in s.lo])} = total;"
    yield pad[4:] + "}"
