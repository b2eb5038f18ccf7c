"""Which statements a loop in one launch has a form for, and what it makes of them; Apart says what has none."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ...compiler.graph import BATCH, length
from ...compiler.program import (
    Array,
    Block,
    Copy,
    Draw,
    Fill,
    Kernel,
    Load,
    Loop,
    Nest,
    Pick,
    Product,
    Reduction,
    Stmt,
    Take,
    missing,
    writes,
)
from ...compiler.sizes import Size
from ..native.indexing import strides
from .persistent_form import Apart

ROWWISE = ("sum", "max", "min", "prod")


def opened(body: Sequence[Stmt]) -> Iterator[Stmt]:
    """The statements of a step, one after the other."""
    for s in body:
        if isinstance(s, Loop):
            raise Apart("there is a loop in it")
        if isinstance(s, (Block, Nest)):
            yield from opened(s.body)
        else:
            yield s


def plain(s: Stmt) -> Stmt:
    """A statement that has a form; of a copy, the elementwise one that it is."""
    out = writes(s)
    name = out.array.name or "a value" if out is not None else "a value"
    if isinstance(s, Copy):
        if s.flip or s.out.dims != s.a.dims:
            raise Apart(f"{name} is a copy that is {'turned round' if s.flip else 'reshaped'}")
        s = Kernel(s.out.dims, s.out, Load(s.a))
    if out is None or not isinstance(s, (Kernel, Take, Pick, Fill, Draw, Reduction, Product)):
        raise Apart(f"{name} is computed by a {type(s).__name__.lower()}")
    if isinstance(s, Reduction) and (s.kind not in ROWWISE or not s.over):
        raise Apart(f"{name} is a {s.kind}")
    if missing(out):
        raise Apart(f"{name} is of a step that a sequence may not have")
    return s


def examples(body: Sequence[Stmt], sizes: Mapping[str, int]) -> Size:
    """The length of the dim that all results have and that no statement mixes: of examples, or of chains."""
    outs = [out for s in body if (out := writes(s)) is not None]
    found = [n for n in dict.fromkeys([length(BATCH), *(n for out in outs for n in out.dims)]) if {*n.symbols} - {*sizes}]
    lacks = {n: next((out for out in outs if out.dims.count(n) != 1), None) for n in found}
    batch = next((n for n, out in lacks.items() if out is None), None)
    if batch is None:
        out = lacks[found[0]]
        raise Apart(f"{(out.array.name if out else None) or 'a value'} is not computed example by example")
    return batch


def turned(s: Product, batch: Size, written: Collection[Array]) -> Product:
    """A product as x times weights that stay the same: `a` is what changes, `b` the weights. `written`: in the loop."""
    for x, lx, w, lw in ((s.a, s.la, s.b, s.lb), (s.b, s.lb, s.a, s.la)):
        example = [q for q, n in zip(lx, x.dims, strict=True) if n == batch]
        if w.array.home in written or len(lx) != 2 or len(lw) != 2 or len(example) != 1 or len(s.lo) != 2:
            continue
        inner, = (q for q in lx if q not in example)
        steps = dict(zip([*lx, *s.lo], [*strides(x), *strides(s.out)], strict=False))
        if inner in lw and inner not in s.lo and {*s.lo} == {example[0], *lw} - {inner} and None not in steps.values():
            return Product(s.out, x, w, lx, lw, s.lo)
    raise Apart(f"{s.out.array.name or 'a product'} is no product of examples and weights that stay the same")


__all__ = ["examples", "opened", "plain", "turned"]
