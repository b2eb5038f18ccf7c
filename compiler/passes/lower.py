"""Lower: a layout becomes statements.

Input    a `Layout`
Output   a list of `Block`s, each under the named values that it computes, loops over time as `Loop`s
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

from ..graph import Broadcast, Concat, Expr, GraphError, Map, Noise, Param, Shift, Slice, length
from ..program import Along, Block, Fixed, Loop, Stmt, View
from .emit import Emitter
from .layout import Layout, at, move
from .schedule import LoopPlan
from .turn import Turned, turned


@dataclass
class Lowering:
    """Orders a layout's values into blocks; `emit` writes the statements of each."""

    lay: Layout
    names: dict[Expr, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    turned: Turned = field(default_factory=dict)

    @property
    def emit(self) -> Emitter:
        return Emitter(self.lay)

    # ------------------------------------------------------------ order

    def run(self) -> list[Block]:
        """Blocks in an order that respects every read; a loop is one unit."""
        plan, lay = self.lay.plan, self.lay
        unit: dict[Expr, object] = {n: plan.loop[self._root(n)] or self._root(n) for n in plan.order}
        first: dict[object, int] = {}
        graph = nx.DiGraph()
        for i, n in enumerate(plan.order):
            first.setdefault(unit[n], i)
            graph.add_node(unit[n])
        for n in plan.order:
            graph.add_edges_from((unit[a], unit[n]) for a in plan.operands[n] if unit[a] is not unit[n])
        for u in drawn_late(graph, lambda u: (not packs(u), first[u])):
            if isinstance(u, LoopPlan):
                self._loop(u)
            elif isinstance(u, Expr) and lay.kind[u] not in ("view", "inline", "leaf"):
                self._emit(u, None)
        return self.blocks

    def _root(self, n: Expr) -> Expr:
        """The value whose kernel n is part of, a repeat of an inlined number included."""
        if isinstance(n, Broadcast) and self.lay.kind[self.lay.plan.operands[n][0]] == "inline":
            n = self.lay.plan.operands[n][0]
        while self.lay.kind[n] == "inline" and self.lay.plan.users[n] and isinstance(n, Map):
            users = self.lay.plan.users[n]
            if len(users) == 1 and not isinstance(users[0], Map):
                users = self.lay.plan.users[users[0]]            # those of a repeat
            if len(users) != 1:
                break
            n = users[0]
        return n

    def _emit(self, n: Expr, loop: LoopPlan | None) -> None:
        body = list(self.emit.statements(n, loop))
        if body:
            self.blocks.append(Block((n, *self._inlined(n), *(self._cut(n) if loop is None else ())), body))

    def _inlined(self, n: Expr) -> Iterable[Expr]:
        """What n's kernel computes on the way."""
        for a in self.lay.plan.operands[n]:
            if self.lay.kind[a] == "inline" and isinstance(a, Map):
                yield a
                yield from self._inlined(a)

    def _cut(self, n: Expr) -> list[Expr]:
        """The named values that are cut from n, which has no name: what stands within a padding."""
        if n in self.names:
            return []
        cuts = [u for u in self.lay.plan.users[n] if isinstance(u, Slice) and self.lay.kind[u] == "view"]
        return [v for u in cuts for v in ([u] if u in self.names else self._cut(u))]

    # ------------------------------------------------------------ loops

    def _loop(self, loop: LoopPlan) -> None:
        lay, plan = self.lay, self.lay.plan
        before: list[Stmt] = []
        written: dict[View, Expr] = {}
        for n in loop.members:
            if isinstance(n, Shift):
                for slot, init in self._boundaries(n):
                    if written.setdefault(slot, init) is not init:
                        raise GraphError("two boundary values for one step of one value")
                    before.append(self.emit.set(slot, init, None))
        for n in plan.order:                                     # shifted reads from outside fill slots, too
            if isinstance(n, Shift) and plan.loop[n] is None and lay.kind[n] == "view":
                for slot, init in self._boundaries(n):
                    base = slot.array
                    if any(base is lay.arrays.get(m) for m in loop.members) and slot not in written:
                        written[slot] = init
                        before.append(self.emit.set(slot, init, None))
        saved, self.blocks = self.blocks, []
        for n in self._steps(loop):
            self._emit(n, loop)
        copies, body = turned(list(self.blocks), self.turned)
        self.blocks = saved
        for s in (copies, list(dict.fromkeys(before))):
            if s:
                self.blocks.append(Block((), s))
        named = tuple(x for b in body if isinstance(b, Block) for x in b.values)
        body = list(group([b for b in body if isinstance(b, Block)], lay, self.names))
        self.blocks.append(Block(named, [Loop(loop.axis, loop.direction < 0, body)]))

    def _boundaries(self, n: Shift) -> list[tuple[View, Expr]]:
        """Where the boundary values of a shift stand, and what they are."""
        a = self.lay.plan.operands[n][0]
        full, k = self.lay.full(a), a.axes.index(n.axis)
        out = []
        for i, init in enumerate(self.lay.plan.operands[n][1:]):
            index = i + n.s if n.s < 0 else i
            shifted = move(full, k, length(n.axis) * (n.s > 0) + index, full.dims)
            slot = at(full, k, -1) if not any(getattr(x, "dim", None) == k for x in full.along) else _slot(shifted, k)
            out.append((slot, init))
        return out

    def _steps(self, loop: LoopPlan) -> list[Expr]:
        """The loop's stored values in an order in which a carry's old value is read before it is overwritten."""
        lay, plan = self.lay, self.lay.plan
        members = [n for n in loop.members if lay.kind[n] not in ("view", "inline")]
        place = {n: i for i, n in enumerate(members)}
        graph = nx.DiGraph()
        graph.add_nodes_from(members)

        def link(reader: Expr, a: Expr, shifted: bool) -> None:
            if plan.loop[a] is not loop:
                return
            if isinstance(a, Shift):
                link(reader, plan.operands[a][0], True)
            elif lay.kind[a] in ("view", "inline"):
                for x in plan.operands[a]:
                    link(reader, x, shifted)
            elif not shifted and reader is not a:
                graph.add_edge(a, reader)
            elif shifted and lay.kind[a] == "carry" and reader is not a:
                graph.add_edge(reader, a)

        for n in members:
            for a in plan.operands[n]:
                link(n, a, False)
        return drawn_late(graph, place.__getitem__)


def _slot(v: View, dim: int) -> View:
    """The single index at which a shifted view starts: one boundary slot."""
    along: list[Along | Fixed] = []
    for k, x in enumerate(v.along):
        if isinstance(x, Along) and x.dim == dim:
            fixed = x.offset.value
            if fixed is None:                                    # counted from the end of the array
                back = (x.offset - v.array.dims[k]).value
                assert back is not None
                along.append(Fixed(None, back, end=True))
            else:
                along.append(Fixed(None, fixed))
        else:
            along.append(x if isinstance(x, Fixed) or x.dim < dim else Along(x.dim - 1, x.offset))
    return View(v.array, tuple(along), (*v.dims[:dim], *v.dims[dim + 1:]))


def drawn_late(graph: nx.DiGraph, key: Callable[[Any], Any]) -> list[Any]:
    """An order that respects every read, as `key` wants it otherwise; numbers are drawn right before they are read first."""
    place = {n: float(i) for i, n in enumerate(nx.lexicographical_topological_sort(graph, key=key))}
    for n in place:
        if isinstance(n, Noise) and graph.out_degree(n):
            place[n] = min(place[u] for u in graph.successors(n)) - 0.5
    return sorted(place, key=place.__getitem__)


def packs(u: object) -> bool:
    """Whether a unit puts parameters side by side: that comes first."""
    return isinstance(u, Concat) and all(isinstance(a, Param) for a in u.args)


def group(blocks: list[Block], lay: Layout, names: dict[Expr, str]) -> list[Block]:
    """Statements that serve the named value right after them stand in its block, under its equation."""
    out: list[Block] = []
    waiting: list[Block] = []
    for b in blocks:
        for w in waiting:
            if not any(_serves(lay, v, b) for v in w.values[:1]):
                out += waiting
                waiting = []
                break
        if b.values and not any(v in names for v in b.values) and not any(isinstance(s, Loop) for s in b.body):
            merged = [s for w in waiting for s in w.body] + b.body
            waiting = [Block((*b.values, *(v for w in waiting for v in w.values)), merged)]
            continue
        named = any(v in names for v in b.values) and not any(isinstance(s, Loop) for s in b.body)
        if waiting and named:
            b = Block((*b.values, *(v for w in waiting for v in w.values)), [s for w in waiting for s in w.body] + b.body)
        else:
            out += waiting
        waiting = []
        out.append(b)
    return out + waiting


def _serves(lay: Layout, v: Expr, b: Block) -> bool:
    """Whether every reader of v stands in the block b, through views."""
    users, inside = list(lay.plan.users[v]), {*b.values}
    for u in users:
        if lay.kind[u] == "view":
            users += lay.plan.users[u]
        elif u not in inside:
            return False
    return bool(users)


def lower(lay: Layout, names: dict[Expr, str] | None = None) -> list[Block]:
    """Statements for a whole layout; statements that serve a named value stand in its block."""
    names = names or {}
    return group(Lowering(lay, names).run(), lay, names)
