"""Pooling: a maximum over windows, and its adjoint, as one statement each.

The algebra writes the adjoint with the position of every window's largest element, as one-hot vectors, and adds the windows back.
All of it is read off the image and its maxima: `max_unpool(g, x, max_pool(x))`. What only those forms needed is not computed.

Input    a `Schedule`
Output   the same, in which such values read their image (and adjoint and maxima) alone; `pools` says with which windows
"""

from __future__ import annotations

from dataclasses import replace

from ..formulas.calls import Line, Word
from ..formulas.images import word
from ..graph import Expr, Fold, Reduce
from .schedule import Schedule, arranged


def pools(plan: Schedule) -> Schedule:
    """Let maxima over windows, and what their adjoints add back, read what they come from."""
    found: dict[Expr, Word] = {}
    best: dict[tuple[Expr, tuple[Line, ...]], Expr] = {}
    for e in plan.order:
        if isinstance(e, (Reduce, Fold)) and plan.loop[e] is None and all(plan.loop[a] is None for a in plan.operands[e]):
            w = word(e, lambda n: False)
            if w is not None and w.name in ("max_pool", "max_unpool") and all(_unpadded(x) for x in w.lines):
                found[e] = w
                if w.name == "max_pool":
                    best[w.operands[0], w.lines] = e
    for e, w in found.items():
        lines = tuple(replace(x, more=0) for x in w.lines)
        if w.name == "max_pool":
            plan.operands[e], plan.pools[e] = w.operands, lines
        elif (w.operands[1], lines) in best and w.operands[1].dims == e.dims:
            plan.operands[e], plan.pools[e] = (*w.operands, best[w.operands[1], lines]), lines
    return arranged(plan) if plan.pools else plan


def _unpadded(x: Line) -> bool:
    return x.lo == x.hi == 0 and x.dilation == 1
