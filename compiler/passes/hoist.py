"""Hoist: of a sum inside a loop, the terms that the loop does not need are added outside it, for all steps at once.

Input    a system and its roots; a sum of sums of one cycle is read as one sum where nobody else reads its parts
Output   replacements: the sum as (terms of the cycle) + (one sum of the other terms)

`W @ x[t] + U @ h[t-1] + b` becomes `(W @ x[t] + b) + U @ h[t-1]`, and the bracket leaves the loop by itself, because no cycle
runs through it.
"""

from __future__ import annotations

from ..graph import Broadcast, Expr, Map, Ref
from ..system import System
from .schedule import LoopPlan, Schedule, schedule

SUMS = ("add", "sub", "neg")


def hoist(system: System, roots: dict[str, Expr]) -> dict[Expr, Expr]:
    """Every sum to be split -> the split sum."""
    plan = schedule(system, roots)
    out: dict[Expr, Expr] = {}
    for e in plan.order:
        loop = plan.loop[e]
        if loop is not None and _is_sum(e) and not _inner(plan, e, loop):
            terms = list(_terms(plan, e, loop, 1))
            inside = [(a, s) for a, s in terms if plan.loop[system.resolve(a)] is loop]
            outside = [(a, s) for a, s in terms if plan.loop[system.resolve(a)] is not loop]
            if inside and len(outside) > 1:
                out[e] = _sum([(_sum(outside), 1), *inside])
    return out


def _is_sum(e: Expr) -> bool:
    return isinstance(e, Map) and e.f in SUMS


def _inner(plan: Schedule, e: Expr, loop: LoopPlan) -> bool:
    """Whether e is a part of a longer sum."""
    users = plan.users[e]
    return len(users) == 1 and plan.loop[users[0]] is loop and _is_sum(users[0])


def _terms(plan: Schedule, e: Expr, loop: LoopPlan, sign: int) -> list[tuple[Expr, int]]:
    """The terms of a sum with their signs, sums that only this one reads opened."""
    if not (_is_sum(e) and plan.loop[e] is loop):
        return [(e, sign)]
    signs = {"add": (1, 1), "sub": (1, -1), "neg": (-1,)}[e.f]  # type: ignore[attr-defined]
    out = []
    for a, s in zip(e.args, signs, strict=True):                 # a reference stays one: it closes the cycle
        opened = _is_sum(a) and plan.loop[a] is loop and plan.users[a] == [e]
        out += _terms(plan, a, loop, sign * s) if opened else [(a, sign * s)]
    return out


def _sum(terms: list[tuple[Expr, int]]) -> Expr:
    """The sum of signed terms, a positive one first where there is one; what is repeated over all steps is added up before."""
    small = [e for e, s in terms if s > 0 and isinstance(e, Broadcast) and not e.args[0].axes]
    like = [e for e in small if isinstance(e, Broadcast) and (e.dims, e.places, e.args[0].shape) == _form(small[0])]
    if len(like) > 1:
        once = like[0].args[0]
        for e in like[1:]:
            once = Map("add", (once, e.args[0]))
        both = Broadcast(once, like[0].axes, like[0].shape, like[0].places)
        terms = [t for t in terms if t[1] < 0 or t[0] not in like] + [(both, 1)]
    ordered = sorted(terms, key=lambda t: t[1] < 0)
    first, sign = ordered[0]
    total = first if sign > 0 else Map("neg", (first,))
    for a, s in ordered[1:]:
        total = Map("add" if s > 0 else "sub", (total, a))
    return total


def _form(e: Expr) -> tuple[object, ...]:
    assert isinstance(e, Broadcast)
    return e.dims, e.places, e.args[0].shape


def hoisted(system: System) -> System:
    """The system with the sums of its loops split into what needs the loop and what does not."""
    if not any(isinstance(n, Ref) for n in system.nodes()):
        return system
    return system.rewrite(hoist(system, {str(i): r for i, r in enumerate(system.roots())}))
