"""A layered drawing of a directed graph: longest-path layers, few crossings, neighbours above each other.

Only edges that read at the same step (`direct`) make layers; a delay may point anywhere. An edge over several layers
passes through a slot of its own in each, so that it runs around the boxes and not through them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx

GAP, SLOT, ROW = 26.0, 14.0, 92.0


@dataclass
class Slots:
    """Layers of slots: a slot is a box, or the passage of an edge through a layer."""

    layers: list[list[str]] = field(default_factory=list)
    width: dict[str, float] = field(default_factory=dict)
    above: dict[str, list[str]] = field(default_factory=dict)
    below: dict[str, list[str]] = field(default_factory=dict)
    routes: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    x: dict[str, float] = field(default_factory=dict)

    def y(self, layer: int) -> float:
        return layer * ROW


def arrange(g: nx.DiGraph, widths: Mapping[str, float]) -> Slots:
    """Where every box and every passage stands: x by slot, y by layer."""
    depth = depths(g)
    slots = Slots([[] for _ in range(max(depth.values(), default=0) + 1)])
    for name in g.nodes:
        _open(slots, name, depth[name], widths[name])
    for a, b, data in g.edges(data=True):
        if data["direct"] and depth[a] < depth[b]:
            _route(slots, a, b, depth)
    for _ in range(6):
        for layer in slots.layers[1:]:
            _sort(layer, slots.above, slots)
        for layer in reversed(slots.layers[:-1]):
            _sort(layer, slots.below, slots)
    _place(slots)
    return slots


def depths(g: nx.DiGraph) -> dict[str, int]:
    """The layer of each node: the longest way from a source; what reads nothing stands just above its first reader."""
    import networkx as nx
    direct = nx.DiGraph()
    direct.add_nodes_from(g.nodes)
    direct.add_edges_from((a, b) for a, b, d in g.edges(data=True) if d["direct"] and not d["update"])
    depth = dict.fromkeys(g.nodes, 0)
    order = list(nx.lexicographical_topological_sort(direct, key=list(g.nodes).index))
    for b in order:
        depth[b] = max((depth[a] + 1 for a in direct.predecessors(b)), default=0)
    for a in reversed(order):
        readers = [depth[b] for b in direct.successors(a)]
        if not any(True for _ in direct.predecessors(a)) and readers:
            depth[a] = min(readers) - 1
    return depth


def _open(slots: Slots, name: str, layer: int, width: float) -> None:
    slots.layers[layer].append(name)
    slots.width[name] = width
    slots.above[name], slots.below[name] = [], []


def _route(slots: Slots, a: str, b: str, depth: Mapping[str, int]) -> None:
    way = [a]
    for layer in range(depth[a] + 1, depth[b]):
        passage = f"{a}\0{b}\0{layer}"
        _open(slots, passage, layer, SLOT)
        way.append(passage)
    way.append(b)
    slots.routes[a, b] = way
    for upper, lower in pairwise(way):
        slots.below[upper].append(lower)
        slots.above[lower].append(upper)


def _sort(layer: list[str], neighbours: Mapping[str, Sequence[str]], slots: Slots) -> None:
    """Each slot towards the mean place of its neighbours; ties keep their order."""
    rank = {name: k for row in slots.layers for k, name in enumerate(row)}
    layer.sort(key=lambda n: sum(rank[m] for m in neighbours[n]) / len(neighbours[n]) if neighbours[n] else rank[n])


def _place(slots: Slots) -> None:
    for layer in slots.layers:
        _spread(layer, slots, {n: k * 1.0 for k, n in enumerate(layer)})
    for sweep in range(8):
        rows = slots.layers if sweep % 2 == 0 else slots.layers[::-1]
        for layer in rows:
            wanted = {}
            for n in layer:
                near = [slots.x[m] for m in (*slots.above[n], *slots.below[n])]
                wanted[n] = sum(near) / len(near) if near else slots.x[n]
            _spread(layer, slots, wanted)
    left = min((slots.x[n] - slots.width[n] / 2 for n in slots.x), default=0.0)
    for n in slots.x:
        slots.x[n] -= left


def _spread(layer: Sequence[str], slots: Slots, wanted: Mapping[str, float]) -> None:
    """Slots as near to where they want to be as their order and widths allow: pools of slots that touch, at their mean."""
    pools: list[tuple[float, list[str], float]] = []         # (sum of wanted left ends, members, width so far)
    for n in layer:
        pool = (wanted[n] - slots.width[n] / 2, [n], slots.width[n] + GAP)
        while pools and _start(pools[-1]) + pools[-1][2] > _start(pool):
            total, members, width = pools.pop()
            pool = (total + pool[0] - len(pool[1]) * width, members + pool[1], width + pool[2])
        pools.append(pool)
    for pool in pools:
        x = _start(pool)
        for n in pool[1]:
            slots.x[n] = x + slots.width[n] / 2
            x += slots.width[n] + GAP


def _start(pool: tuple[float, list[str], float]) -> float:
    return pool[0] / len(pool[1])
