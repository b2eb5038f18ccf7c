"""The reading graph of a model: who reads whom, and how many steps back or ahead.

    nodes   inputs, targets, params, stats, equations, loss, metrics, and visible, hidden, E of an energy model; attributes kind,
            shape, axes, formula
    edges   from what is read to its reader; attribute delays: {(axis, steps), ...} as a tuple, () where nothing is shifted

An equation is one node; its expression is walked down to the next named node, so an edge is one reading in the formula.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...compiler.formulas import formula
from ...compiler.graph import At, Expr, Input, Noise, Param, Ref, Shift
from ...compiler.node import describe
from ...compiler.system import System

if TYPE_CHECKING:
    import networkx as nx

Delay = tuple[str, int]
Reading = tuple[str, tuple[Delay, ...]]


def readings(system: System, e: Expr) -> Iterator[Reading]:
    """What an expression reads: the name and the delays (axis, steps), each pair once, in the order of the formula."""
    called = {value: name for name, value in system.equations.items()}
    seen: set[tuple[Expr, tuple[Delay, ...]]] = set()
    stack: list[tuple[Expr, tuple[Delay, ...]]] = [(e, ())]
    while stack:
        node, delays = stack.pop()
        if (node, delays) in seen:
            continue
        seen.add((node, delays))
        if isinstance(node, Param | Input | Ref):
            yield node.name, delays
        elif node in called and node is not e:
            yield called[node], delays
        elif not isinstance(node, Noise):
            moved = delays
            if isinstance(node, Shift):
                moved = _add(delays, node.axis, node.s)
            elif isinstance(node, At):
                moved = tuple(d for d in delays if d[0] != node.axis)
            stack.extend((a, moved if k == 0 else delays) for k, a in reversed(list(enumerate(node.args))))


def _add(delays: tuple[Delay, ...], axis: str, steps: int) -> tuple[Delay, ...]:
    total = dict(delays)
    total[axis] = total.get(axis, 0) + steps
    return tuple(sorted((a, s) for a, s in total.items() if s))


def graph(system: System) -> nx.DiGraph:
    """The reading graph as a networkx DiGraph; see the head of this file."""
    import networkx as nx
    g = nx.DiGraph(name=system.name)
    layers = system.energy.layers if system.energy else ()
    units = {u.name: "visible" if u.visible else "hidden" for u in layers}
    for name, node in system.inputs.items():
        kind = units.get(name) or ("target" if name in system.targets else "input")
        g.add_node(name, **_attributes(kind, node, ""))
    for name, parameter in system.params.items():
        g.add_node(name, **_attributes("param", parameter.node, ""))
    for name, stat in system.stats.items():
        g.add_node(name, **_attributes("stat", stat.node, formula(stat.update, system.names, limit=60)))
    named = [(name, "equation", e) for name, e in system.equations.items()]
    if system.loss:
        named.append(("loss", "loss", system.loss.value))
    if system.energy:
        named.append(("E", "energy", system.energy.value))
    named += [(name, "metric", a.value) for name, a in system.metrics.items()]
    for name, kind, e in named:
        g.add_node(name, **_attributes(kind, e, formula(e, system.names, limit=60)))
    for name, _, e in named:
        _connect(g, system, name, e)
    for name, stat in system.stats.items():
        _connect(g, system, name, stat.update, update=True)
    return g


def _connect(g: nx.DiGraph, system: System, name: str, e: Expr, update: bool = False) -> None:
    read: dict[str, list[tuple[Delay, ...]]] = {}
    for source, delays in readings(system, e):
        read.setdefault(source, []).append(delays)
    for source, found in read.items():
        if source in g and not (update and source == name):
            shifted = tuple(sorted({d for delays in found for d in delays}))
            g.add_edge(source, name, delays=shifted, direct=() in found, update=update)


def _attributes(kind: str, e: Expr, text: str) -> dict[str, object]:
    return {"kind": kind, "shape": tuple(map(str, e.shape)), "axes": e.axes, "value": describe(e), "formula": text}
