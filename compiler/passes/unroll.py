"""Full unrolling: a system at one length of one axis, as explicit expressions, a copy of every equation for every step.

It is the referee of loops: the unrolled system and its gradient equal the rolled ones to rounding. Where a whole sequence is
needed (an output, a frozen sequence, a maximum over time), it is the sum of its steps, `Put(v_0, 0) + Put(v_1, 1) + ...`; no
Shift along the axis is left, and no reference. Recurrences along other axes stay rolled, one for every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..demand import demand
from ..graph import (
    At,
    Broadcast,
    Const,
    Contract,
    Expr,
    Freeze,
    GraphError,
    Index,
    Input,
    Intercept,
    Noise,
    Put,
    Reduce,
    Ref,
    Shift,
    Thaw,
    postorder,
    zeros,
)
from ..reach import reached
from ..system import Average, System
from ..verify import components

Key = tuple[Expr, int | None]                            # a node, and its step along the axis if it has the axis


def unroll(system: System, axis: str, steps: int, roots: Sequence[Expr] = (), first: int = 0) -> tuple[System, list[Expr]]:
    """The system at the length `steps` of `axis`, and the roots over it. It means the same at this length, nothing at any other.

    The steps of h are called h_0, h_1, ..., or from another `first` number on.

    GraphError where `steps` is not positive.
    """
    if steps < 1:
        raise GraphError(f"no {steps} steps to unroll")
    return _Unroller(system, axis, steps, roots, first).run(roots)


class _Unroller:
    def __init__(self, system: System, axis: str, steps: int, roots: Sequence[Expr], first: int = 0) -> None:
        self.system, self.axis, self.count, self.first = system, axis, steps, first
        self.nodes, _ = reached(system, (*system.roots(), *roots))
        self.memo: dict[Key, Expr] = {}
        self.rolled = {n.name for c in components(system, self.nodes) for n in c if isinstance(n, Ref)
                       and not any(isinstance(m, Shift) and m.axis == axis for m in c)}

    def run(self, roots: Sequence[Expr]) -> tuple[System, list[Expr]]:
        s = self.system
        demand([k for e in (*s.roots(), *roots) for k in self.keys(e)], self.needs, self.make, self.memo)
        out = s.copy(
            equations={name: self.whole(e) for name, e in s.equations.items()},
            loss=self.average(s.loss) if s.loss else None,
            metrics={k: self.average(a) for k, a in s.metrics.items()},
            stats={k: replace(v, update=self.whole(v.update)) for k, v in s.stats.items()},
            surgery={k: v for k, v in s.surgery.items() if not axis_in(v[0], self.axis)},
        )
        for name in s.equations:                                 # in the system's order
            e = s.equations[name]
            if name in s.surgery and axis_in(e, self.axis):
                out.surgery |= self.surgery(name)
            if name in self.rolled and axis_in(e, self.axis):
                out.equations.update((self.step_name(name, k), self.memo[e, k]) for k in range(self.count))
        for (n, k), value in self.memo.items():
            if n in s.names and k is not None and value.args:
                out.names.setdefault(value, self.step_name(s.names[n], k))
        return out, [self.whole(e) for e in roots]

    def surgery(self, name: str) -> dict[str, tuple[Input, Expr]]:
        """What becomes of the adjoint that arrives, at every step."""
        arrives, e = self.system.surgery[name]
        out: dict[str, tuple[Input, Expr]] = {}
        for k in range(self.count):
            here = Input(f"d_{self.step_name(name, k)}", tuple(x for x in arrives.axes if x != self.axis), arrives.shape)
            memo: dict[Expr, Expr] = {self.memo[arrives, k]: here}
            for n in postorder(self.memo[e, k]):
                if n not in memo:
                    memo[n] = n.with_args(tuple(memo[a] for a in n.args))
            out[self.step_name(name, k)] = here, memo[self.memo[e, k]]
        return out

    def average(self, a: Average) -> Average:
        return Average(self.whole(a.total), self.whole(a.count))

    def step_name(self, name: str, k: int | None) -> str:
        return f"{name}_{k + self.first if k is not None else k}"

    def keys(self, e: Expr) -> list[Key]:
        """All steps of e, or e itself where it has not the axis."""
        return [(e, k) for k in range(self.count)] if axis_in(e, self.axis) else [(e, None)]

    def whole(self, e: Expr) -> Expr:
        return self.sequence([self.memo[k] for k in self.keys(e)]) if axis_in(e, self.axis) else self.memo[e, None]

    def sequence(self, steps: Sequence[Expr]) -> Expr:
        """The sequence of these steps."""
        return _sum([Put(v, self.axis, k) for k, v in enumerate(steps)])

    def place(self, i: int) -> int:
        return i if i >= 0 else self.count + i

    def sums(self, n: Expr) -> bool:
        """Whether n is summed, reduced or frozen over the axis: it reads every step."""
        if isinstance(n, Freeze):
            return n.axis == self.axis
        return isinstance(n, (Reduce, Contract)) and not axis_in(n, self.axis) and any(axis_in(a, self.axis) for a in n.args)

    def needs(self, key: Key) -> list[Key]:
        n, k = key
        match n:
            case Ref() if n.name not in self.rolled:
                return [(self.system.equations[n.name], k)]
            case Shift(axis=self.axis, s=s):
                assert k is not None
                at = k + s
                if 0 <= at < self.count:
                    return [(n.args[0], at)]
                return [(n.inits[at - s if s < 0 else at - self.count], None)]
            case At(axis=self.axis, i=i):
                return [(n.args[0], self.place(i))] if 0 <= self.place(i) < self.count else []
            case Put(axis=self.axis, i=i):
                return [(n.args[0], None)] if k == self.place(i) else []
        if self.sums(n):
            return [key for step in range(self.count) for a in n.args for key in [(a, step if axis_in(a, self.axis) else None)]]
        return [(a, k if axis_in(a, self.axis) else None) for a in n.args]

    def make(self, key: Key, args: list[Expr]) -> Expr:
        n, k = key
        axes = tuple(x for x in n.axes if x != self.axis)
        match n:
            case Index(axis=self.axis):
                return Const(k if k is not None else 0)
            case Input() | Noise():
                return n if k is None else At(n, self.axis, k)
            case Ref() if n.name in self.rolled:
                return n if k is None else Ref(self.step_name(n.name, k), axes, n.shape, n.type)
            case Shift(axis=self.axis) if args[0].type != n.type:
                return At(n, self.axis, k or 0)                  # a number that stands for a class: only a delay says so
            case Ref() | Shift(axis=self.axis):
                return args[0]
            case At(axis=self.axis) | Put(axis=self.axis):
                return args[0] if args else zeros(At(n, self.axis, 0) if k is not None else n)
            case Intercept():
                return Intercept(args[0], n.name if k is None else self.step_name(n.name, k))
            case Thaw(axis=self.axis):
                assert k is not None
                return At(n.with_args(tuple(args)), self.axis, k)
            case Broadcast():
                return Broadcast(args[0], axes, n.shape, n.places)
        if self.sums(n):
            return self.over_steps(n, args)
        return n.with_args(tuple(args))

    def over_steps(self, n: Expr, args: list[Expr]) -> Expr:
        """What reads every step: a sum is written out, all else reduces the sequence of its steps."""
        match n:
            case Contract():
                return _sum([Contract(a, b, n.la, n.lb, n.lo, n.axes) for a, b in zip(args[::2], args[1::2], strict=True)])
            case Reduce(kind="sum"):
                over = tuple(o for o in n.over if o != self.axis)
                return _sum([Reduce("sum", a, over) for a in args])
        return n.with_args((self.sequence(args),))


def axis_in(e: Expr, axis: str) -> bool:
    return axis in e.axes


def _sum(terms: Sequence[Expr]) -> Expr:
    out = terms[0]
    for t in terms[1:]:
        out = out + t
    return out
