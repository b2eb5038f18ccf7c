"""Sums of products times constants: cuBLAS multiplies by one as it stores, and adds to what stands there.

    d_W = (d_s @ h.T) / (B*T) + d_a @ x.T                         two calls, and no launch after them
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from ...compiler.graph import Expr
from ...compiler.program import (
    Along,
    Array,
    Block,
    Call,
    Kernel,
    Literal,
    Load,
    Loop,
    Product,
    Scalar,
    SizeOf,
    Stmt,
    View,
    flat,
    reads,
    writes,
)
from ...compiler.sizes import SizeLike
from ..cpu.expressions import Expressions
from .epilogues import memory
from .matrices import gemm

ONE = Literal(1)
CONSTANT = {"add", "sub", "mul", "div", "neg", "sqrt"}           # what a constant is made with


@dataclass(frozen=True)
class Scaled(Product):
    """A product times a constant, which may be added to what stands in the result."""

    scale: Scalar = ONE
    adds: bool = False

    @property
    def more(self) -> str:
        """What the call takes beside its matrices."""
        scale = Expressions(set()).text(self.scale)
        return f"{', add=True' if self.adds else ''}{f', scale={scale}' if scale != '1' else ''}"


def with_scales(body: list[Stmt], kept: Collection[Array], lengths: Mapping[str, SizeLike]) -> list[Stmt]:
    """The statements, a kernel that only adds up products times constants as these products; loops stay as they are.

    `lengths`: those that a constant may be made of, each as a number, or as its own name beyond the least that it may be: T + 1.
    """
    every = [s for s in flat(body) if not isinstance(s, Loop)]
    count = Counter(v.array for s in every for v in (*reads(s), writes(s)) if v is not None)
    once = {a for a, k in count.items() if k == 2 and a.role == "value" and a not in kept}       # written, and read
    return _scaled(body, once, lengths)


def _scaled(body: list[Stmt], once: Collection[Array], lengths: Mapping[str, SizeLike]) -> list[Stmt]:
    out = list[Stmt]()
    for s in body:
        if isinstance(s, Block):
            s = replace(s, body=_scaled(s.body, once, lengths))
        new = _products(out, s, once, lengths)
        if not new:
            out.append(s)
            continue
        values = s.values if isinstance(s, Block) else ()
        out = [_with(x, new, values if list(new)[-1] in [*_own(x)] else ()) for x in out]
    return out


def _products(body: list[Stmt], s: Stmt, once: Collection[Array], lengths: Mapping[str, SizeLike]) -> dict[Product, Scaled]:
    """The products before a kernel that make, scaled, what it computes of them; none where it computes another thing."""
    members = [*flat([s])]
    if len(members) != 1 or not isinstance(members[0], Kernel):
        return {}
    target, terms = members[0].out, _terms(members[0].body, ONE, lengths)
    scales = {v.array: scale for scale, v in terms}
    found = [p for x in body for p in _own(x) if p.out.array in scales]
    whole = [x.dim for x in target.along if isinstance(x, Along) and x.offset == 0] == [*range(len(target.array.dims))] \
        and target.dims == target.array.dims
    alike = all(v.array in once and v.array.dims == target.dims and v.along == target.along for _, v in terms)
    if not terms or not whole or not alike or not len(found) == len(terms) == len(scales):
        return {}
    first = next(k for k, x in enumerate(body) if found[0] in [*_own(x)])
    new = {p: Scaled(replace(p.out, array=target.array), p.a, p.b, p.la, p.lb, p.lo, scales[p.out.array], p is not found[0])
           for p in found}
    free = not any(target.array.home in memory(x)[0] for x in body[first:])
    return new if free and all(gemm(p, lambda a: "", lambda v, k: "") is not None for p in new.values()) else {}


def _own(s: Stmt) -> Iterator[Product]:
    """The products of a statement, those in loops left out."""
    if isinstance(s, Block):
        for x in s.body:
            yield from _own(x)
    elif isinstance(s, Product) and not isinstance(s, Scaled):
        yield s


def _with(s: Stmt, new: Mapping[Product, Scaled], values: tuple[Expr, ...]) -> Stmt:
    """A statement with other products, which then computes these values, too."""
    if isinstance(s, Block):
        return replace(s, values=tuple(dict.fromkeys([*s.values, *values])), body=[_with(x, new, ()) for x in s.body])
    return new.get(s, s) if isinstance(s, Product) else s


def _terms(s: Scalar, scale: Scalar, lengths: Mapping[str, SizeLike]) -> list[tuple[Scalar, View]]:
    """The values that a scalar adds up, each with its constant; none where it is another thing."""
    match s:
        case Load(v):
            return [(scale, v)]
        case Call("add" | "sub" as f, (a, b)):
            one, other = _terms(a, scale, lengths), _terms(b, scale if f == "add" else _negative(scale), lengths)
            return [*one, *other] if one and other else []
        case Call("neg", (a,)):
            return _terms(a, _negative(scale), lengths)
        case Call("mul", (a, b)) if _constant(a, lengths) or _constant(b, lengths):
            c, rest = (a, b) if _constant(a, lengths) else (b, a)
            return _terms(rest, c if scale == ONE else Call("mul", (scale, c)), lengths)
        case Call("div", (a, b)) if _constant(b, lengths):
            return _terms(a, Call("div", (scale, b)), lengths)
    return []


def _negative(s: Scalar) -> Scalar:
    return Literal(-1) if s == ONE else Call("neg", (s,))


def _constant(s: Scalar, lengths: Mapping[str, SizeLike]) -> bool:
    """Whether a scalar is made of numbers and of these lengths."""
    match s:
        case Literal(value):
            return not isinstance(value, bool)
        case SizeOf(size):
            return size.positive(lengths)                        # Python does not divide by 0: `B*T - B` is where T is 2 or more
        case Call(f, args):
            return f in CONSTANT and all(_constant(x, lengths) for x in args)
    return False


__all__ = ["Scaled", "with_scales"]
