"""Lower: a layout becomes statements.

Input    a `Layout`
Output   a list of `Block`s, each under the named values that it computes, loops over time as `Loop`s
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import networkx as nx

from ..graph import (
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Flip,
    GraphError,
    Index,
    Map,
    Noise,
    OneHot,
    Pad,
    Put,
    Reduce,
    Reshape,
    Shift,
    length,
)
from ..program import (
    Block,
    Call,
    Copy,
    Draw,
    Fill,
    Hot,
    Kernel,
    Literal,
    Load,
    Loop,
    Pick,
    Product,
    Reduction,
    Scalar,
    Scatter,
    SizeOf,
    Step,
    Stmt,
    Take,
    View,
)
from ..sizes import Size
from .layout import Layout, at, move
from .schedule import LoopPlan, Schedule

KIND = {"real": "real", "bool": "bool"}


@dataclass(frozen=True)
class Lookup:
    """A contraction with a one-hot vector, as what it is: take, pick or scatter."""

    kind: str
    index: Expr
    other: Expr
    label: int                                           # the label over which the one-hot vector runs


def lookup(plan: Schedule, e: Contract) -> Lookup | None:
    """Recognise W @ onehot(i) (take rows), sum(p * onehot(y)) (pick), sum over t and batch of onehot(i) g^T (scatter)."""
    a, b = plan.operands[e]
    for hot, other, lh, lw in ((a, b, e.la, e.lb), (b, a, e.lb, e.la)):
        if not isinstance(hot, OneHot) or len(lh) != 1 or isinstance(other, OneHot):
            continue
        k, index = lh[0], plan.operands[hot][0]
        rest = tuple(x for x in lw if x != k)
        if k in lw and k not in e.lo and rest == e.lo and e.axes == hot.axes:
            if not other.axes:
                return Lookup("take", index, other, k)
            if other.axes == hot.axes and not rest:
                return Lookup("pick", index, other, k)
        if k not in lw and k in e.lo and not e.axes and hot.axes == other.axes and {*e.lo} == {k, *rest}:
            if tuple(x for x in e.lo if x != k) == rest:
                return Lookup("scatter", index, other, k)
    return None


@dataclass
class Lowering:
    lay: Layout
    names: dict[Expr, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

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
        for u in nx.lexicographical_topological_sort(graph, key=lambda u: first[u]):
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
            if len(users) != 1:
                break
            n = users[0] if isinstance(users[0], Map) else self.lay.plan.users[users[0]][0]
        return n

    def _emit(self, n: Expr, loop: LoopPlan | None) -> None:
        body = list(self.statements(n, loop))
        if body:
            self.blocks.append(Block((n, *self._inlined(n)), body))

    def _inlined(self, n: Expr) -> Iterable[Expr]:
        """What n's kernel computes on the way."""
        for a in self.lay.plan.operands[n]:
            if self.lay.kind[a] == "inline" and isinstance(a, Map):
                yield a
                yield from self._inlined(a)

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
                    before.append(self._set(slot, init, None))
        for n in plan.order:                                     # shifted reads from outside fill slots, too
            if isinstance(n, Shift) and plan.loop[n] is None and lay.kind[n] == "view":
                for slot, init in self._boundaries(n):
                    base = slot.array
                    if any(base is lay.arrays.get(m) for m in loop.members) and slot not in written:
                        written[slot] = init
                        before.append(self._set(slot, init, None))
        saved, self.blocks = self.blocks, []
        for n in self._steps(loop):
            self._emit(n, loop)
        body: list[Stmt] = list(self.blocks)
        self.blocks = saved
        if before:
            self.blocks.append(Block((), list(dict.fromkeys(before))))
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
        return list(nx.lexicographical_topological_sort(graph, key=place.__getitem__))

    # ------------------------------------------------------------ one value

    def _set(self, out: View, e: Expr, loop: LoopPlan | None) -> Stmt:
        """out[...] = e, for a boundary value or a part."""
        base = e
        while isinstance(base, Broadcast):
            base = self.lay.plan.operands[base][0]
        if isinstance(base, Const):
            return Fill(out, base.value)
        if self.lay.kind[base] == "inline":
            return Kernel(out.dims, out, self.scalar(e, loop))
        return Copy(out, self.lay.access(e, loop))

    def scalar(self, e: Expr, loop: LoopPlan | None) -> Scalar:
        """The scalar body of e at one index of its reader's kernel."""
        base = e
        while isinstance(base, Broadcast):
            base = self.lay.plan.operands[base][0]
        match base:
            case Const(value):
                return Literal(value)
            case Extent():
                return SizeOf(base.size)
            case Index(axis):
                inside = loop is not None and loop.axis == axis
                axes = [x for x in e.axes if loop is None or x != loop.axis]
                return Step(None if inside else axes.index(axis), axis)
            case OneHot() if self.lay.kind[base] == "inline":
                return Hot(self._hot_view(base, e, loop))
            case Map() if self.lay.kind[base] == "inline" and (base is e or not base.dims):
                args = tuple(self.scalar(a, loop) for a in self.lay.plan.operands[base])
                return Call(base.f, args, KIND.get(base.type.kind, "int"))
        return Load(self.lay.access(e, loop))

    def _hot_view(self, hot: Expr, reader: Expr, loop: LoopPlan | None) -> View:
        """The class that a one-hot vector is built from, repeated along the vector."""
        index = self.lay.plan.operands[hot][0]
        v = self.lay.access(index, loop)
        return View(v.array, v.along, (*v.dims, hot.shape[-1]))

    def statements(self, n: Expr, loop: LoopPlan | None) -> Iterable[Stmt]:
        """What computes one stored value."""
        lay, ops = self.lay, self.lay.plan.operands[n]
        out = lay.access(n, loop)
        match n:
            case Const() | Extent() | Index():
                yield Kernel(out.dims, out, self.scalar(n, loop))
            case Map():
                args = tuple(self.scalar(a, loop) for a in ops)
                yield Kernel(out.dims, out, Call(n.f, args, KIND.get(n.type.kind, "int")))
            case Contract():
                yield self._contract(n, out, loop)
            case Reduce():
                names = [x for x in ops[0].axes if loop is None or x != loop.axis]
                over = tuple(names.index(o) if isinstance(o, str) else len(names) + o for o in n.over)
                yield Reduction(n.kind, out, self._read(ops[0], loop), over)
            case OneHot():
                yield Kernel(out.dims, out, Hot(self._hot_view(n, n, loop)))
            case Concat():
                for a, lo in zip(ops, n.offsets, strict=True):
                    if lay.part.get(a, (None,))[0] is not n:
                        dims = _step_dims(a, loop)
                        yield self._set(move(out, len(dims) - len(a.shape) + n.at, lo, dims), a, loop)
            case Pad():
                yield Fill(out, 0)
                dims = _step_dims(ops[0], loop)
                yield self._set(move(out, len(dims) - len(n.shape) + n.at, n.lo, dims), ops[0], loop)
            case Put():
                yield Fill(out, 0)
                yield self._set(at(out, n.axes.index(n.axis), n.i), ops[0], loop)
            case Shift():
                yield from self._shifted(n, out)
            case Reshape():
                yield Copy(out, self._read(ops[0], loop))
            case Flip():
                yield Copy(out, self._read(ops[0], loop), len(out.dims) - len(n.shape) + n.at)
            case Noise():
                yield Draw(out, n.kind, n.key)
            case _:
                raise GraphError(f"{type(n).__name__} has no lowering")

    def _read(self, e: Expr, loop: LoopPlan | None) -> View:
        """A view of e for an array call, which cannot read an inlined value."""
        return self.lay.access(e, loop)

    def _shifted(self, n: Shift, out: View) -> Iterable[Stmt]:
        """A shift of a value that no loop computes: its own array, boundary values first or last."""
        a, k = self.lay.plan.operands[n][0], n.axes.index(n.axis)
        source = self.lay.full(a)
        dims = (*n.dims[:k], length(n.axis) - abs(n.s), *n.dims[k + 1:])
        inner, outer = (0, -n.s) if n.s < 0 else (n.s, 0)
        yield Copy(move(out, k, length(n.axis) * 0 + outer, dims), move(source, k, length(n.axis) * 0 + inner, dims))
        for i, init in enumerate(self.lay.plan.operands[n][1:]):
            yield self._set(at(out, k, i if n.s < 0 else i - n.s), init, None)

    def _contract(self, n: Contract, out: View, loop: LoopPlan | None) -> Stmt:
        found = lookup(self.lay.plan, n)
        ops = self.lay.plan.operands[n]
        if found:
            index = self.lay.access(found.index, loop)
            other = self._read(found.other, loop)
            labels = n.lb if ops[1] is found.other else n.la
            if found.kind == "take":
                return Take(out, _front(other, labels.index(found.label)), index)
            if found.kind == "pick":
                return Pick(out, other, index)
            return Scatter(_front(out, n.lo.index(found.label)), other, index)
        a, b = (self._read(x, loop) for x in ops)
        names = [tuple(x for x in axes if loop is None or x != loop.axis) for axes in (ops[0].axes, ops[1].axes, n.axes)]
        return Product(out, a, b, (*names[0], *n.la), (*names[1], *n.lb), (*names[2], *n.lo))


def _slot(v: View, dim: int) -> View:
    """The single index at which a shifted view starts: one boundary slot."""
    from ..program import Along, Fixed
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


def _step_dims(a: Expr, loop: LoopPlan | None) -> tuple[Size, ...]:
    names = [x for x in a.axes if loop is None or x != loop.axis]
    return (*(length(x) for x in names), *a.shape)


def _front(v: View, dim: int) -> View:
    """v with one dim moved to the front."""
    from .layout import remap
    places = [0 if i == dim else i + 1 if i < dim else i for i in range(len(v.dims))]
    return remap(v, places, (v.dims[dim], *(s for i, s in enumerate(v.dims) if i != dim)))


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
