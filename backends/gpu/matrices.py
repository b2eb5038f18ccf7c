"""Sums of products as calls of cuBLAS: matrices are views of arrays, so nothing is copied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...compiler.passes.orders import own, turned
from ...compiler.program import Along, Array, Product, View
from ...compiler.sizes import product
from ..native.indexing import place, strides
from ..native.matrices import Label, collapsed, forms

Text = Callable[[Array], str]


def gemm(s: Product, names: Text, step: Callable[[View, int], str], more: str = "") -> str | None:
    """`gemm(x, W.T, out)`, or `gemm_batched` with a leading dim where both operands and the result share labels; None where
    memory does not stand so. `more`: a further argument.
    """
    for f in forms(s):
        given = ((f.left, f.left_labels, (f.m, f.k)), (f.right, f.right_labels, (f.k, f.n)), (s.out, s.lo, (f.m, f.n)))
        found = [_matrix(v, labels, [f.common, *groups], names, step) for v, labels, groups in given]
        if None not in found and not _turned(s.out, s.lo, f.m, f.n):
            return f"gemm{'_batched' if f.common else ''}({', '.join(map(str, found))}{more})"
    return None


def place_of(v: View, k: int) -> str:
    """A step of a loop as a subscript."""
    return place(v.along[k], v.array.dims[k], [])


def as_it_stands(s: Product) -> Product:
    """A product with the labels of its first operand in the order of memory, so that `dot` finds sums over whole rows."""
    order = own(s.a)
    if sorted(order) != [*range(len(s.a.dims))]:
        return s
    return replace(s, a=turned(s.a, order), la=tuple(s.la[k] for k in order))


def _turned(v: View, labels: Sequence[Label], rows: list[Label], columns: list[Label]) -> bool:
    """Whether a matrix lies column by column."""
    steps = dict(zip(labels, strides(v), strict=True))
    return bool(columns) and steps[columns[-1]] != 1


def _matrix(v: View, labels: Sequence[Label], groups: list[list[Label]], names: Text,
            step: Callable[[View, int], str]) -> str | None:
    """A view with one dim a group of labels, the first of which may be empty; one of the last two stands together in memory."""
    steps = dict(zip(labels, strides(v), strict=True))
    size = dict(zip(labels, v.dims, strict=True))
    if {*labels} != {k for g in groups for k in g} or any(steps[k] is None for k in labels):
        return None
    walks = [collapsed(g, steps, size) for g in groups]
    if None in walks or not any(w == 1 or not g for w, g in zip(walks[1:], groups[1:], strict=True)):
        return None
    own = [labels[x.dim] for x in v.along if isinstance(x, Along)]
    wanted = [k for g in groups for k in g]
    text = names(v.array) + _items(v, step)
    if wanted != own:
        perm = [own.index(k) for k in wanted]
        text += ".T" if perm == [1, 0] else f".transpose({', '.join(map(str, perm))})"
    shaped = groups if groups[0] else groups[1:]
    if any(len(g) != 1 for g in shaped):
        dims = [product(tuple(size[k] for k in g)).format() for g in shaped]
        text += f".reshape({', '.join(dims)})"
    return text


def _items(v: View, step: Callable[[View, int], str]) -> str:
    """The subscripts of a view of its array, `[t, :, H:2*H]`."""
    items = []
    for k, (x, n) in enumerate(zip(v.along, v.array.dims, strict=True)):
        if isinstance(x, Along):
            low, high = x.offset, x.offset + v.dims[x.dim]
            items.append(f"{'' if low == 0 else low.format()}:{'' if high == n else high.format()}")
        else:
            items.append(step(v, k))
    while items and items[-1] == ":":
        items.pop()
    return f"[{', '.join(items)}]" if items else ""


__all__ = ["as_it_stands", "gemm", "place_of"]
