"""Pooling: reductions of windows, and their adjoints, as one statement each; no windows are copied.

    max_pool(x), sum_pool(x)               read the image; an average is a sum, divided on what is left
    which element won, in the forward pass read the image and its maxima, where the adjoint is needed: one byte a window
    max_unpool(g, which won)               needs neither the image nor its maxima
    sum_unpool(g)

The algebra writes the adjoint of a maximum with the position of every window's largest element, as one-hot vectors, and adds
the windows back. What only those forms needed is not computed.

Input    a `Schedule`
Output   the same, in which such values read the above alone; `pools` says with which windows, `winners` which element won
"""

from __future__ import annotations

from dataclasses import replace

from ..formulas.calls import Line, Word
from ..formulas.images import windows_reduced, word
from ..graph import Expr, Fold, Reduce, Reshape, Slice, Transpose, product
from .schedule import Schedule, arranged

Image = tuple[Expr, tuple[Line, ...]]


def pools(plan: Schedule) -> Schedule:
    """Let reductions of windows, and what their adjoints add back, read what they come from."""
    reduced: dict[Image, Expr] = {}
    found: dict[Expr, Word] = {}
    for e in plan.order:
        if not isinstance(e, Reduce | Fold | Slice) or plan.loop[e] is not None or any(plan.loop[a] for a in plan.operands[e]):
            continue
        w = windows_reduced(e) if isinstance(e, Reduce) else word(e, lambda n: False)
        if w is not None and w.name in ("max_pool", "sum_pool", "unpool", "max_unpool"):
            found[e] = replace(w, lines=tuple(replace(x, more=0) for x in w.lines))
    for e, w in found.items():
        if isinstance(e, Reduce):
            reduced.setdefault((w.operands[0], w.lines), e)
            plan.operands[e], plan.pools[e], plan.like[e] = w.operands, w.lines, w.operands[0]
    for e, w in found.items():
        if w.name == "unpool":
            plan.operands[e], plan.pools[e], plan.like[e] = w.operands, w.lines, w.operands[0]
        elif w.name == "max_unpool":
            best = reduced.get((w.operands[1], w.lines))
            if isinstance(best, Reduce) and best.kind == "max" and w.operands[1].dims == e.dims:
                won = _winner(plan, best)
                plan.operands[e], plan.pools[e], plan.like[e] = (w.operands[0], won), w.lines, won
    return arranged(plan) if plan.pools else plan


def _winner(plan: Schedule, best: Reduce) -> Expr:
    """The number of each window's first maximum, row by row: (C, m1, k1, m2, k2) -> (C, m1, m2), classes of k1*k2."""
    if best not in plan.winners:
        a = best.args[0]
        over = [o for o in best.over if isinstance(o, int)]
        rest = [k for k in range(len(a.shape)) if k not in over]
        rows = Transpose(a, (*rest, *over))
        won = Reduce("argmax", Reshape(rows, (*best.shape, product(tuple(a.shape[o] for o in over)))), (len(rest),))
        plan.winners[best] = won
        plan.operands[won], plan.loop[won], plan.like[won] = (*plan.operands[best], best), None, plan.like[best]
        plan.pools[won] = plan.pools[best]
    return plan.winners[best]
