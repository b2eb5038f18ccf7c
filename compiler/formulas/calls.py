"""Calls of the words for images: what was found in the graph, and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..graph import Expr, Size
from .terms import Term, call, concat, name, number

STRIDED = ("max_pool", "avg_pool", "unpool", "max_unpool")       # their stride is the window's size unless it is given


@dataclass(frozen=True)
class Line:
    """How windows of k elements stand along one dimension; `more` elements stay outside the last one."""

    k: Size
    stride: int = 1
    lo: int = 0
    hi: int = 0
    dilation: int = 1
    more: int = 0


@dataclass(frozen=True)
class Word:
    """A call: its operands, how its windows stand, whether their size is an argument, and the rest."""

    name: str
    operands: tuple[Expr, ...]
    lines: tuple[Line, ...] = ()
    sized: bool = False
    groups: Size | None = None
    flip: bool = False

    @property
    def same(self) -> bool:
        """Whether a stride of 1 and the padding keep the image's size: `padding = same`."""
        total = [((x.k - 1) * x.dilation).value for x in self.lines]
        return self.name != "conv_transpose" and any(total) and all(
            x.stride == 1 and n is not None and (x.lo, x.hi) == (n // 2, n - n // 2)
            for x, n in zip(self.lines, total, strict=True))


def written(found: Word, operands: Sequence[Term], text: Callable[[Size], str] = str) -> Term:
    """`conv(x, K, stride = 2, padding = [1, 2])`: options that are not the usual ones, one number where all dimensions agree.

    A padding that differs before and after is a pair: `padding = [[0, 1], [0, 1]]`.
    """
    lines = found.lines
    terms = list(operands)
    if found.sized:
        terms.append(_each([[Term("size", text(x.k))] for x in lines]))
    if any(x.stride != (x.k.value if found.name in STRIDED else 1) for x in lines):
        terms.append(_option("stride", _each([[number(x.stride)] for x in lines])))
    if found.same:
        terms.append(_option("padding", name("same")))
    elif any(x.lo or x.hi for x in lines):
        pads = [[number(n) for n in ([x.lo] if x.lo == x.hi else [x.lo, x.hi])] for x in lines]
        terms.append(_option("padding", _each(pads)))
    if found.name in ("conv_transpose", "unpool") and any(x.more for x in lines):
        terms.append(_option("more", _each([[number(x.more)] for x in lines])))
    if any(x.dilation != 1 for x in lines):
        terms.append(_option("dilation", _each([[number(x.dilation)] for x in lines])))
    if found.groups is not None:
        terms.append(_option("groups", Term("size", text(found.groups))))
    if found.flip:
        terms.append(_option("flip", name("true")))
    return call(found.name, *terms)


def _option(head: str, value: Term) -> Term:
    return Term("argument", head, (value,))


def _each(items: list[list[Term]]) -> Term:
    """One number for all dimensions, or a list."""
    if all(len(x) == 1 and x[0].head == items[0][0].head for x in items):
        return items[0][0]
    return concat([x[0] if len(x) == 1 else concat(x) for x in items])


__all__ = ["Line", "Word", "written"]
