"""Schedule: which expressions form loops over time, in which order everything is computed.

Input    a system and the roots to compute
Output   a `Schedule`: every expression below the roots (references replaced by what they stand for), operands first; for each
         its readers, and the loop that it belongs to

A vertex is a distinct expression. A strongly connected component of more than one vertex is a loop; the sign of its shifts
is its direction. What lies outside a component is computed for all steps at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import networkx as nx

from ..graph import Expr, GraphError, Shift, below
from ..system import System

if TYPE_CHECKING:
    from ..formulas.calls import Line
    from .convolution import Choice, Convolution


@dataclass(eq=False)
class LoopPlan:
    """One loop: its axis, its direction (+1 runs forward), its members."""

    axis: str
    direction: int
    members: tuple[Expr, ...] = ()


@dataclass
class Schedule:
    roots: dict[str, Expr]
    order: list[Expr] = field(default_factory=list)
    operands: dict[Expr, tuple[Expr, ...]] = field(default_factory=dict)
    users: dict[Expr, list[Expr]] = field(default_factory=dict)
    loop: dict[Expr, LoopPlan | None] = field(default_factory=dict)
    loops: list[LoopPlan] = field(default_factory=list)
    pools: dict[Expr, tuple[Line, ...]] = field(default_factory=dict)    # pooling, its winners, its adjoint: see `pooling`
    like: dict[Expr, Expr] = field(default_factory=dict)         # of those: in which value's order of dims they stand in memory
    winners: dict[Expr, Expr] = field(default_factory=dict)      # maxima over windows -> which element each is
    convolutions: dict[Expr, Convolution] = field(default_factory=dict)  # what reads image and kernel alone: see `convolution`
    choices: dict[Expr, Choice] = field(default_factory=dict)            # the costs of the ways of every convolution
    sizes: Mapping[str, int] = field(default_factory=dict)               # declared sizes


def schedule(system: System, roots: dict[str, Expr]) -> Schedule:
    """Order the expressions below `roots`, and find the loops."""
    plan = Schedule({k: system.resolve(e) for k, e in roots.items()}, sizes=system.sizes)

    def resolved(n: Expr) -> tuple[Expr, ...]:                   # a reference stands for its equation, so a cycle is passed by
        return plan.operands.setdefault(n, tuple(system.resolve(a) for a in n.args))

    plan.order = list(below(plan.roots.values(), resolved))
    _read(plan)
    plan.loop = dict.fromkeys(plan.order)
    place = {n: i for i, n in enumerate(plan.order)}
    for members in sorted(components(plan), key=lambda c: place[c[0]]):
        found = _loop_of(members, system)
        plan.loops.append(found)
        plan.loop.update((n, found) for n in members)
    return plan


def arranged(plan: Schedule) -> Schedule:
    """The plan in order again after some operands have changed; what nobody needs any more is left out."""
    plan.order = list(below(plan.roots.values(), plan.operands.__getitem__))
    _read(plan)
    return plan


def _read(plan: Schedule) -> None:
    """Who reads what."""
    plan.users = {n: [] for n in plan.order}
    for n in plan.order:
        for a in dict.fromkeys(plan.operands[n]):
            plan.users[a].append(n)


def components(plan: Schedule) -> list[tuple[Expr, ...]]:
    """The cycles' members, each component in visiting order."""
    graph = nx.DiGraph()
    graph.add_nodes_from(plan.order)
    graph.add_edges_from((a, n) for n in plan.order for a in plan.operands[n])
    found = []
    for c in nx.strongly_connected_components(graph):
        if len(c) > 1:
            found.append(tuple(n for n in plan.order if n in c))
    return found


def _loop_of(members: tuple[Expr, ...], system: System) -> LoopPlan:
    shifts = [n for n in members if isinstance(n, Shift)]
    axes = {n.axis for n in shifts}
    signs = {n.s > 0 for n in shifts}
    path = " -> ".join(dict.fromkeys(system.names[n] for n in members if n in system.names))
    if not shifts:
        raise GraphError(f"the cycle {path} has no delay")
    if len(axes) > 1:
        raise GraphError(f"the cycle {path} shifts along {' and '.join(sorted(axes))}; a recurrence runs along one axis")
    if len(signs) > 1:
        raise GraphError(f"the cycle {path} reads both the past and the future")
    axis = shifts[0].axis
    for n in members:
        if axis not in n.axes:
            raise GraphError(f"the cycle {path} reads {n!r}, which has no axis {axis}")
    return LoopPlan(axis, -1 if shifts[0].s > 0 else 1, members)
