"""The summands of an energy as they were written: what messages name and point at."""

from __future__ import annotations

from collections.abc import Sequence

from ..gradient import pullback
from ..graph import Broadcast, Const, Expr, Input, Map
from ..passes.simplify import simplify_exprs
from ..system import System
from ..units import Units
from .probe import reading
from .sums import reads


def summands(e: Expr) -> list[Expr]:
    """The terms of a sum; each is a node of it."""
    return [term for _, term in signed_summands(e)]


def signed_summands(e: Expr, sign: int = 1) -> list[tuple[int, Expr]]:
    """The terms of a sum, each with the sign, 1 or -1, with which it enters."""
    match e:
        case Map("add" | "sub", (a, b)):
            return signed_summands(a, sign) + signed_summands(b, sign if e.f == "add" else -sign)
        case Map("neg", (a,)):
            return signed_summands(a, -sign)
        case Broadcast(args=(a,)) if not e.shape:
            return signed_summands(a, sign)
    return [(sign, e)]


def slope_of(system: System, e: Expr, units: Input, seed: int = -1) -> Expr:
    """`seed` times the derivative, by each unit of a layer, of the sum of e; simplified. Of the energy: theta = -dE/du."""
    seeds = Broadcast(Const(seed), e.axes, e.shape, ())
    return simplify_exprs([pullback(system, {e: seeds}, [units]).grads[units]], system.sizes)[0]


def blame(system: System, energy: Expr, layer: Units, others: bool = False, beside: Sequence[Units] = ()) -> Expr | None:
    """The first term whose derivative by a unit depends on that unit, on `others` of its layer, or on the layers `beside`."""
    terms = [t for t in summands(energy) if reads([t], [layer.node])]
    for t in terms:
        slope = slope_of(system, t, layer.node)
        if beside:
            if reads([slope], [u.node for u in beside]):
                return t
        elif reads([slope], [layer.node]):
            found = reading(system, slope, layer.node, layer.kind == "categorical")
            if found.others if others else found.own:
                return t
    return terms[0] if terms else None
