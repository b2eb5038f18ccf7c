"""Emit: the statements of one value.

Input    a `Layout`, a value, and the loop in which it is computed
Output   the statements that write its array; `lookup` says which contractions are lookups by number
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..graph import (
    BATCH,
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Flip,
    Fold,
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
    Slice,
    Window,
    length,
)
from ..program import (
    BOOL,
    Call,
    Copy,
    Draw,
    Fill,
    Fixed,
    Hot,
    Kernel,
    Literal,
    Load,
    Pick,
    Pool,
    Product,
    Reduction,
    Refold,
    Scalar,
    Scatter,
    SizeOf,
    Step,
    Stmt,
    Take,
    Tap,
    Unfold,
    Unpool,
    View,
    Winner,
)
from ..sizes import Size, size
from .convolved import convolved
from .layout import Layout, at, move, remap
from .lookups import lookup
from .orders import chain, matrices, natural, taps, touches, turned
from .schedule import LoopPlan

KIND = {"real": "real", "bool": "bool"}


@dataclass(frozen=True)
class Emitter:
    """Writes statements for the values of one layout."""

    lay: Layout

    def set(self, out: View, e: Expr, loop: LoopPlan | None) -> Stmt:
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
        """What computes one stored value, its dims as they stand in memory."""
        if n in self.lay.plan.convolutions:
            return convolved(self.lay, n)
        found = self._pool(n, self.lay.access(n, loop)) if n in self.lay.plan.pools else self._statements(n, loop)
        return map(natural, found)

    def _statements(self, n: Expr, loop: LoopPlan | None) -> Iterable[Stmt]:
        ops, out = self.lay.plan.operands[n], self.lay.access(n, loop)
        match n:
            case Const() | Extent() | Index():
                yield Kernel(out.dims, out, self.scalar(n, loop))
            case Map():
                args = tuple(self.scalar(a, loop) for a in ops)
                yield Kernel(out.dims, out, Call(n.f, args, KIND.get(n.type.kind, "int")))
            case Contract():
                s = self._contract(n, out, loop)
                yield from matrices(s, self.lay.packed) if loop is None and touches(self.lay.plan, n) else [s]
            case Reduce():
                names = [x for x in ops[0].axes if loop is None or x != loop.axis]
                over = tuple(names.index(o) if isinstance(o, str) else len(names) + o for o in n.over)
                yield Reduction(n.kind, out, self._read(ops[0], loop), over)
            case OneHot():
                yield Kernel(out.dims, out, Hot(self._hot_view(n, n, loop)))
            case Concat():
                yield from self._joined(n, out, loop)
            case Pad():
                yield from self._padded(n, out, loop)
            case Put(i=0 | -1):
                yield Fill(out, 0)
                yield self.set(at(out, n.axes.index(n.axis), n.i), ops[0], loop)
            case Put():
                yield Kernel(out.dims, out, self._put(n, loop))
            case Shift():
                yield from self._shifted(n, out)
            case Reshape():
                yield Copy(out, self._read(ops[0], loop))
            case Window() | Fold():
                yield self._windows(n, out, loop)
            case Flip():
                yield Copy(out, self._read(ops[0], loop), (len(out.dims) - len(n.shape) + n.at,))
            case Noise():
                yield Draw(out, n.kind, n.key, next((x for x in n.axes[:1] if x != BATCH), ""),
                           None if loop is None else Fixed(loop.axis, 0))
            case _:
                raise GraphError(f"{type(n).__name__} has no lowering")

    def _padded(self, n: Pad, out: View, loop: LoopPlan | None) -> Iterable[Stmt]:
        """Zeros, and inside them what is padded; several paddings of one value are one."""
        yield Fill(out, 0)
        base, links = chain(self.lay.plan, n)
        inside, lead = out, len(out.dims) - len(n.shape)
        for link in reversed(links):
            assert isinstance(link, Pad)
            inside = move(inside, lead + link.at, link.lo, _step_dims(link.args[0], loop))
        yield self.set(inside, base, loop)

    def _pool(self, n: Expr, out: View) -> Iterable[Stmt]:
        """Pooling, with its winners where they are read, or the adjoint; lines are of the features after the channels."""
        plan, lead = self.lay.plan, len(n.axes) + 1
        found = tuple(Tap(lead + i, x.k, x.stride, x.dilation, x.lo, x.hi) for i, x in enumerate(plan.pools[n]))
        a, *more = (self.lay.full(x) for x in plan.operands[n])
        if isinstance(n, Fold | Slice):                          # g may stand for all examples, the winners are of each
            g, axes = plan.operands[n][0], len(n.axes)
            places = [*(n.axes.index(x) for x in g.axes), *(axes + i for i in range(len(g.shape)))]
            yield Unpool(out, remap(a, places, (*map(length, n.axes), *g.shape)), more[0] if more else None, found)
        elif isinstance(n, Reduce) and n.kind != "argmax":
            yield Pool(out, n.kind, a, found)
            if n in plan.winners:
                yield Winner(self.lay.full(plan.winners[n]), a, out, found)

    def _windows(self, n: Window | Fold, out: View, loop: LoopPlan | None) -> Stmt:
        """A chain of windows, or of folds, in one statement; its taps name dims of the side without the elements."""
        base, links = chain(self.lay.plan, n)
        lead = len(out.dims) - len(n.shape)
        found = tuple(sorted((Tap(lead + at, k, link.stride, link.dilation) for link, at, k in taps(links)), key=lambda t: t.dim))
        return (Unfold if isinstance(n, Window) else Refold)(out, self._read(base, loop), found)

    def _joined(self, n: Concat, out: View, loop: LoopPlan | None) -> Iterable[Stmt]:
        """The pieces of a concatenation that are not computed in their place."""
        for a, lo in zip(self.lay.plan.operands[n], n.offsets, strict=True):
            there, _, first = self.lay.part.get(a, (None, 0, lo))
            if there is not n or first != lo:                    # a piece may stand twice: it is computed in one of its places
                dims = _step_dims(a, loop)
                yield self.set(move(out, len(dims) - len(a.shape) + n.at, lo, dims), a, loop)

    def _read(self, e: Expr, loop: LoopPlan | None) -> View:
        """A view of e for an array call, which cannot read an inlined value."""
        return self.lay.access(e, loop)

    def _shifted(self, n: Shift, out: View) -> Iterable[Stmt]:
        """A shift with an array of its own: all of the value, boundary values before or after it; `out` is a view of that."""
        a, k = self.lay.plan.operands[n][0], n.axes.index(n.axis)
        source = self.lay.full(a)
        whole = replace(move(out, k, size(-max(n.s, 0)), n.dims), dims=out.array.dims)
        yield Copy(move(whole, k, size(max(-n.s, 0)), n.dims), source)
        for i, init in enumerate(self.lay.plan.operands[n][1:]):
            yield self.set(at(whole, k, i if n.s < 0 else i - n.s), init, None)

    def _put(self, n: Put, loop: LoopPlan | None) -> Scalar:
        """The body of a sequence that is g at a step which short sequences do not have, and zero elsewhere."""
        names = [x for x in n.axes if loop is None or x != loop.axis]
        k, rank = names.index(n.axis), len(_step_dims(n, loop))
        g, index = self.scalar(n.args[0], loop), size(n.i) + length(n.axis) * (n.i < 0)
        if isinstance(g, Load) and g.view.dims:
            g = Load(remap(g.view, [i + (i >= k) for i in range(rank - 1)], _step_dims(n, loop)))
        here = Call("eq", (Step(k, n.axis), SizeOf(index)), BOOL)
        return Call("select", (here, g, Literal(0)))

    def _contract(self, n: Contract, out: View, loop: LoopPlan | None) -> Stmt:
        found = lookup(self.lay.plan, n)
        ops = self.lay.plan.operands[n]
        if found:
            index = self.lay.access(found.index, loop)
            other = self._read(found.other, loop)
            labels = n.lb if ops[1] is found.other else n.la
            if found.kind == "take":
                return Take(_by(out, n.lo, found.order), _front(other, labels.index(found.label)), index)
            if found.kind == "pick":
                return Pick(out, other, index)
            return Scatter(_by(out, n.lo, found.order), _by(other, labels, (*found.places, *found.order[1:])), index)
        a, b = (self._read(x, loop) for x in ops)
        names = [tuple(x for x in axes if loop is None or x != loop.axis) for axes in (ops[0].axes, ops[1].axes, n.axes)]
        return Product(out, a, b, (*names[0], *n.la), (*names[1], *n.lb), (*names[2], *n.lo))


def _step_dims(a: Expr, loop: LoopPlan | None) -> tuple[Size, ...]:
    names = [x for x in a.axes if loop is None or x != loop.axis]
    return (*(length(x) for x in names), *a.shape)


def _by(v: View, labels: tuple[int, ...], wanted: tuple[int, ...]) -> View:
    """v, whose last dims have these labels, with them in another order."""
    lead = len(v.dims) - len(labels)
    order = (*range(lead), *(lead + labels.index(k) for k in wanted))
    return turned(v, order)


def _front(v: View, dim: int) -> View:
    """v with one dim moved to the front."""
    places = [0 if i == dim else i + 1 if i < dim else i for i in range(len(v.dims))]
    return remap(v, places, (v.dims[dim], *(s for i, s in enumerate(v.dims) if i != dim)))
