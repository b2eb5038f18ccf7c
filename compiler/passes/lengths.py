"""Lengths: examples of their own lengths in one padded array. What an axis declared by `lengths t` means, as expressions.

Input    a stabilised system: equations that hold for every example alone, at its own length
Output   a system over padded arrays with the same values, losses and gradients, and no declared lengths

    sum[t] a                      ->  sum[t] select(padding, 0, a)           likewise max, logsumexp, products over t, ...
    T                             ->  lengths_t                              so that mean[t] divides by an example's own length
    B*T                           ->  sum[batch] lengths_t                   the token average, over at least one step
    h[t+1]                        ->  select(t + 1 >= lengths_t, h[T], h[t+1])
    h[last]                       ->  sum[t] select(t + 1 == lengths_t, h, 0)

with `padding = t >= lengths_t`. What is computed at and after an example's end is arbitrary but finite, and never read: a delay
into the past reads what stands before, so a forward recurrence has no mask in its loop. Three things keep it finite. Inputs are
replaced by 0, so that their padding may hold NaN; operands of logarithms, roots and quotients by a harmless number; and a
state is reset to 0 unless its equation evidently keeps it from growing (see `growth`). A mask is a choice, never a product.

An example of length 0 has sums, means and last steps that are 0, and so has a batch in which all are of length 0; a maximum or a
softmax over no step is finite and means nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..graph import (
    BATCH,
    BOOL,
    REAL,
    At,
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Flip,
    GraphError,
    Index,
    Input,
    Map,
    Number,
    OneHot,
    Reduce,
    Ref,
    Shift,
    Size,
    apply,
    describe,
    length,
    mean,
    order_axes,
)
from ..node import base
from ..reach import reached
from ..system import Average, System
from ..verify import components
from .growth import grows
from .guard_rules import SINGULAR, harmless
from .masks import LOWEST, Key, Masks, bare, wide

FILL: dict[str, Number] = {"sum": 0, "norm": 0, "prod": 1, "max": LOWEST, "argmax": LOWEST, "logsumexp": LOWEST, "min": -LOWEST}
GUARDED = ("log", "log1p", "log1mexp", "sqrt", "div", "pow")


def masked(system: System) -> System:
    """The system over padded arrays; a system without declared lengths is returned as it is.

    GraphError where an equation that is the same for all examples would have to end with each of them.
    """
    return _Masker(system).run() if system.lengths else system


class _Masker(Masks):
    """One run of the pass."""

    def __init__(self, system: System) -> None:
        super().__init__(system, system.lengths)
        self.system = system
        self.nodes, _ = reached(system, system.roots())
        self.memo: dict[Expr, Expr] = {}
        self.reset = {system.equations[name]: axis for name, axis in self._growing()}

    def run(self) -> System:
        system = self.system
        for n in self.nodes:
            new = self.node(n)
            self.memo[n] = self.where(new, [self.reset[n]], 0) if n in self.reset else new
        for n in self.nodes:
            if isinstance(n, Ref) and self.memo[system.equations[n.name]].axes != n.axes:
                raise GraphError(f"{n.name} is the same for all examples, and would have to end with each of them: "
                                 f"it reads ahead, or sums, along {' and '.join(system.lengths)}")
        out = replace(system.mapped(self.memo), lengths=())
        out.loss = out.loss and self.average(system.loss, out.loss)
        out.metrics = {k: self.average(system.metrics[k], a) for k, a in out.metrics.items()}
        taken = {*out.names.values(), *out.equations, *out.params, *out.inputs, *out.sizes, *out.stats}
        for axis in system.lengths:
            self._name(out, self.past(axis), "padding", axis, taken)
            self._name(out, self.past(axis, 1), "end", axis, taken)
            self._name(out, apply("maximum", self.count(length(axis) * length(BATCH)), 1), "steps", axis, taken)
        return out

    def _name(self, out: System, mask: Expr, word: str, axis: str, taken: set[str]) -> None:
        name = word if len(self.lengths) == 1 and word not in taken else f"{word}_{axis}"
        if name not in taken:
            out.names[mask] = name

    def _growing(self) -> Iterable[tuple[str, str]]:
        """The states that are reset after the end, since nothing evident keeps them finite there."""
        for component in components(self.system, self.nodes):
            delays = [n for n in component if isinstance(n, Shift) and base(n.axis) in self.lengths]
            names = list(dict.fromkeys(n.name for n in component if isinstance(n, Ref)))
            if delays and delays[0].s < 0 and grows(self.system, component):
                yield from ((name, delays[0].axis) for name in names if BATCH in self.system.equations[name].axes)

    # ------------------------------------------------------------ nodes

    def node(self, n: Expr) -> Expr:
        """What stands for one node, over what stands for its operands."""
        args = tuple(self.memo[a] for a in n.args)
        match n:
            case Extent():
                return self.count(n.size)
            case Input() if self.system.inputs.get(n.name) is n and n.type == REAL:
                return self.where(n, self.keys(n), 0)
            case Shift() if base(n.axis) in self.lengths and n.s > 0:
                return self.ahead(n, args)
            case At() if base(n.axis) in self.lengths:
                return self.step(args[0], n.axis, n.i)
            case OneHot(args=(At(args=(x,), axis=axis, i=i),)) if base(axis) in self.lengths:
                return self.step(OneHot(self.memo[x], n.n), axis, i)
            case Reduce():
                return self.reduce(n, args[0])
            case Contract():
                return self.contract(n, *args)
            case Map():
                return self.map(n, args)
            case Flip() if n.shape[n.at] in self.sizes:
                axis = self.sizes[n.shape[n.at]]
                raise GraphError(f"{describe(n.args[0])} is flipped along {axis}, where examples end at their own steps")
        return _rebuilt(n, args)

    def count(self, s: Size) -> Expr:
        """A size as a number: the length of an axis is an example's own, the size of a batch of sequences the sum of these."""
        terms: list[Expr] = []
        for monomial, c in s.terms:
            own = [self.letters[x] for x in monomial if x in self.letters]
            if not own:
                terms.append(Extent(Size({monomial: c})))
                continue
            value: Expr = Const(1)
            for k, axis in enumerate(own):
                n = Map("real", (self.lengths[axis],))
                value = n if k == 0 else value * n
            rest = tuple(x for x in monomial if x not in self.letters)
            if "B" in rest:
                value = Reduce("sum", value, (BATCH,))
                rest = tuple(x for x in rest if x != "B")
            terms.append(value if not rest and c == 1 else value * Extent(Size({rest: c})))
        out = terms[0] if terms else Const(0)
        for t in terms[1:]:
            out = out + t
        return out

    def kept(self, s: Size) -> Expr:
        """The size of what a mean is over: an example that ends before its range begins has nothing there."""
        if all(c > 0 for _, c in s.terms):
            return self.count(s)
        own = self.count(Size({tuple(x for x in monomial if x != "B"): c for monomial, c in s.terms}))
        some = apply("maximum", own, 0)
        return Reduce("sum", some, (BATCH,)) if "B" in s.symbols else some

    def average(self, a: Average | None, out: Average) -> Average:
        """The average that stands for `a`, its count that of the steps that there are.

        A number of the batch that sums over steps, sum[t] mean[batch] f, is each example's own, and its mean over the batch is
        taken, as that of every loss: mean[batch] sum[t] f.
        """
        total = mean(out.total, (BATCH,)) if a and BATCH in out.total.axes and BATCH not in a.total.axes else out.total
        return Average(total, self.kept(a.count.size)) if a and isinstance(a.count, Extent) else Average(total, out.count)

    def ahead(self, n: Shift, args: tuple[Expr, ...]) -> Expr:
        """v[t+s]: where it lies beyond the example's own end, the boundary value that stands there."""
        a, *inits = args
        out = Shift(wide(a, order_axes({*a.axes, BATCH})), n.axis, n.s, (Const(0),) * n.s)
        for k, init in enumerate(inits):
            if not k or init is not inits[k - 1]:
                out = apply("select", self.past(n.axis, n.s - k), init, out)
        return out

    def step(self, a: Expr, axis: str, i: int) -> Expr:
        """Step i of every example; from its own end where i < 0; 0 where it has no such step."""
        if a.type.n is not None:                                 # the one class whose vector is left
            return Reduce("argmax", self.step(OneHot(a, a.type.n), axis, i), (0,))
        if i >= 0:
            return apply("select", apply("le", self.lengths[base(axis)], i), 0, At(a, axis, i))
        here = apply("eq", Index(axis) - i, self.lengths[base(axis)])
        if a.type == BOOL:
            return apply("gt", Reduce("sum", apply("real", apply("and", here, a)), (axis,)), 0)
        return Reduce("sum", apply("select", here, a, 0), (axis,))

    # ------------------------------------------------------------ what reads every step

    def over(self, a: Expr, over: Iterable[Key]) -> list[Key]:
        """The keys that a sum over `over` must mask in a; a sum over the batch meets examples that have ended."""
        over = [*over]
        for k in over:
            if isinstance(k, int) and a.shape[k] not in self.sizes:
                part = next((x for x in a.shape[k].symbols if x in self.letters), None)
                if part is not None:
                    raise GraphError(f"a sum over {a.shape[k]} features, a part of axis {self.letters[part]}, "
                                     "where examples end at their own steps")
        return [k for k in self.keys(a) if k in over or BATCH in over]

    def reduce(self, n: Reduce, a: Expr) -> Expr:
        return Reduce(n.kind, self.where(a, self.over(a, n.over), FILL[n.kind]), n.over)

    def contract(self, n: Contract, a: Expr, b: Expr) -> Expr:
        """A sum of products: one factor is 0 in the padding."""
        lost = {*n.args[0].axes, *n.args[1].axes} - {*n.axes}
        sides, found = [a, b], []
        for e, labels in ((a, n.la), (b, n.lb)):
            summed: list[Key] = [x for x in e.axes if x in lost]
            summed += [k for k, label in enumerate(labels) if label not in n.lo]
            found.append({_meeting(k, labels): k for k in self.over(e, summed)})
        order = sorted((0, 1), key=lambda k: len(sides[k].shape))        # the smaller factor first
        for key in dict.fromkeys(k for f in found for k in f):
            holders = [k for k in order if key in found[k]]
            if not any(self.zero(sides[k], found[k][key]) for k in holders):
                k = holders[0]
                sides[k] = self.where(sides[k], [found[k][key]], 0)
        axes = order_axes(({*sides[0].axes, *sides[1].axes} - lost) | {*n.axes})
        return Contract(sides[0], sides[1], n.la, n.lb, n.lo, axes)

    # ------------------------------------------------------------ elementwise

    def map(self, n: Map, args: tuple[Expr, ...]) -> Expr:
        if n.f == "div" and (count := self.counted(*n.args)) is not None:
            return apply("div", args[0], count)
        if n.f == "sub" and (scores := self.scores(*n.args)) is not None:
            return apply("sub", scores, args[1])
        if n.f in GUARDED:
            k, safe = SINGULAR[n.f]
            args = (*args[:k], self.guarded(n.f, args[k], safe), *args[k + 1:])
        return apply(n.f, *args)

    def counted(self, a: Expr, b: Expr) -> Expr | None:
        """The count that a mean divides by: at least 1, and for a mean over the batch the examples that have not ended."""
        a, b = bare(a), bare(b)
        if not isinstance(b, Extent):
            return None
        own = [x for x in b.size.symbols if x in self.letters]
        if own:
            return apply("maximum", self.kept(b.size), 1)
        if isinstance(a, Reduce) and BATCH in a.over and "B" in b.size.symbols and len(b.size.terms) == 1:
            left = [x for x in a.axes if base(x) in self.lengths]
            if left:
                alive = apply("not", self.joined(Const(0), left, order_axes((*left, BATCH))))
                here = Reduce("sum", apply("real", alive), (BATCH,))
                ((monomial, c),) = b.size.terms
                rest = Extent(Size({tuple(x for x in monomial if x != "B"): c}))
                return apply("maximum", here if rest is Const(1) else here * rest, 1)
        return None

    def scores(self, s: Expr, b: Expr) -> Expr | None:
        """s of s - logsumexp[t](s), lowest in the padding as in the sum, so that a softmax is 0 there."""
        lse = bare(b)
        if isinstance(lse, Reduce) and lse.kind == "logsumexp" and lse.args[0] is s:
            return self.memo[lse].args[0]
        return None

    def guarded(self, f: str, u: Expr, safe: Number) -> Expr:
        """An operand that makes f singular, harmless in the padding."""
        inner = bare(u)
        keys = self.keys(inner)
        if not keys or BATCH not in inner.axes or harmless(f, u):
            return u
        kept = self.where(inner, keys, safe)
        return Broadcast(kept, u.axes, u.shape, u.places) if isinstance(u, Broadcast) else kept


def _meeting(key: Key, labels: tuple[int, ...]) -> Key:
    """What an axis or a feature is called where two factors meet."""
    return key if isinstance(key, str) else labels[key]


def _rebuilt(n: Expr, args: tuple[Expr, ...]) -> Expr:
    """The node on operands that may have a batch axis where they had none."""
    if args == n.args:
        return n
    if isinstance(n, (Shift, Concat)):
        axes = order_axes({x for a in args for x in a.axes} | ({n.axis} if isinstance(n, Shift) else set()))
        args = (wide(args[0], axes), *args[1:]) if isinstance(n, Shift) else tuple(wide(a, axes) for a in args)
    return n.with_args(args)
