"""Lookups: contractions with one-hot vectors, as what they are.

    W @ onehot(i)                 take       rows of a table; i may have features of its own, as the words of a sentence w[N]
    sum(p * onehot(y))            pick       one element of every row
    sum over batch, time and      scatter    rows added up by class
    features of onehot(i) g^T
"""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Contract, Expr, OneHot
from .schedule import Schedule


@dataclass(frozen=True)
class Lookup:
    """`label` is that of the one-hot vector, `places` are those of the classes; in the `order` of labels the result comes out."""

    kind: str
    index: Expr
    other: Expr
    label: int
    places: tuple[int, ...] = ()
    order: tuple[int, ...] = ()


def lookup(plan: Schedule, e: Contract) -> Lookup | None:
    """What a contraction is, None where it is no lookup."""
    a, b = plan.operands[e]
    for hot, other, lh, lw in ((a, b, e.la, e.lb), (b, a, e.lb, e.la)):
        if not isinstance(hot, OneHot) or isinstance(other, OneHot):
            continue
        *places, k = lh
        index, rest = plan.operands[hot][0], tuple(x for x in lw if x != k and x not in places)
        if k in lw and k not in e.lo and e.axes == hot.axes and {*e.lo} == {*places, *rest}:
            if not other.axes and not {*places} & {*lw}:
                return Lookup("take", index, other, k, tuple(places), (*places, *rest))
            if other.axes == hot.axes and not rest and not places:
                return Lookup("pick", index, other, k)
        if k not in lw and k in e.lo and not e.axes and hot.axes == other.axes and {*e.lo} == {k, *rest} and {*places} <= {*lw}:
            return Lookup("scatter", index, other, k, tuple(places), (k, *rest))
    return None


__all__ = ["Lookup", "lookup"]
