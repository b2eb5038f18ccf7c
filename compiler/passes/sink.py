"""Sink: elementwise work between two loops moves into the loop that reads it; parts of several arrays are joined in their loop.

    slope[t] = 1 - h[t]^2, then a loop that reads slope[t]   ->   the loop computes 1 - h[t]^2 from h[t]
    u = [a[t], b[t]] of a loop's values, after it            ->   u[t] = [a[t], b[t]] in that loop, where a stands elsewhere, too
    noise that one loop reads, each step its own             ->   a draw in every step: a long chain keeps no numbers

What a step needs is then computed while it is in the cache, and nothing is kept for all steps. A sum to which no loop belongs,
such as W @ x[t] + b, stays outside: there it is one big product.
"""

from __future__ import annotations

from ..graph import Broadcast, Concat, Const, Expr, Extent, Map, Noise, Slice, Stop, Transpose
from .schedule import LoopPlan, Schedule

SEEN_THROUGH = (Broadcast, Slice, Stop, Transpose)


def sink(plan: Schedule) -> None:
    """Move what belongs into a loop into it; the loops' members stay in the order of the schedule."""
    roots = set(plan.roots.values())
    for e in reversed(plan.order):                               # readers first: an argument follows its reader
        if isinstance(e, Map) and e not in roots:
            loop = _reader(plan, e)
            if loop is not None and loop.axis in e.axes and _elementwise(plan, e, loop):
                _move(plan, e, loop)
        elif isinstance(e, Noise) and e not in roots:
            loop = _reader(plan, e)
            if loop is not None and e.axes[:1] == (loop.axis,):
                _move(plan, e, loop)
    for e in plan.order:
        if isinstance(e, Concat) and plan.loop[e] is None:
            loop = _writer(plan, e)
            if loop is not None:
                plan.loop[e] = loop
    for loop in plan.loops:
        loop.members = tuple(n for n in plan.order if plan.loop[n] is loop)


def _reader(plan: Schedule, e: Expr) -> LoopPlan | None:
    """The one loop in which all readers of a value outside loops stand, each at the value's own step."""
    if plan.loop[e] is not None:
        return None
    found: set[LoopPlan | None] = set()
    for u in plan.users[e]:
        seen = isinstance(u, SEEN_THROUGH) and plan.loop[u] is None
        found.add(_reader(plan, u) if seen and u not in plan.roots.values() else plan.loop[u])
    return found.pop() if len(found) == 1 else None


def _elementwise(plan: Schedule, e: Expr, loop: LoopPlan) -> bool:
    """Whether e is computed from values of other loops, by elementwise work alone."""
    found = False
    for a in plan.operands[e]:
        while isinstance(a, SEEN_THROUGH) and plan.loop[a] is None:
            a = plan.operands[a][0]
        if isinstance(a, (Const, Extent)):
            continue
        below = isinstance(a, Map) and plan.loop[a] is None and len(plan.users[a]) == 1 and _elementwise(plan, a, loop)
        if plan.loop[a] in (None, loop) and not below:
            return False
        found = True
    return found


def _move(plan: Schedule, e: Expr, loop: LoopPlan) -> None:
    plan.loop[e] = loop
    for u in plan.users[e]:
        if isinstance(u, SEEN_THROUGH) and plan.loop[u] is None:
            _move(plan, u, loop)


def _writer(plan: Schedule, e: Concat) -> LoopPlan | None:
    """The loop that computes all parts, where one of them is a part of another array, too."""
    loops = {plan.loop[a] for a in plan.operands[e]}
    shared = any(isinstance(u, Concat) and u is not e for a in plan.operands[e] for u in plan.users[a])
    loop = loops.pop() if len(loops) == 1 else None
    return loop if loop is not None and shared and loop.axis in e.axes else None
