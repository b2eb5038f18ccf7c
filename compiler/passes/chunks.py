"""Chunks: a system cut along time into pieces that can be computed one after the other, forwards and again backwards.

Input    a system, the roots that matter (the objective, what statistics become), and the axis
Output   `Chunks`: four kinds of value, and the systems between them

    shared     has no axis t, and no step is needed for it (an encoder): computed once, by the system `start`
    slots      what a chunk starts from: the values before its first step (see `carry`); those of the first chunk are in `start`
    steps      has the axis t: computed chunk by chunk, by the system `chunk`; backwards it is computed again
    sums       has no axis t and needs steps: sums over t, which add up over chunks, and last steps; then, by the system `top`,
               whatever is made of them, the objective included

Anything else that crosses from steps to what all steps share (a maximum over time, attention to the whole axis), and a step that
needs such a value itself, is refused with the equation in which it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..graph import (
    REAL,
    At,
    Broadcast,
    Const,
    Contract,
    Expr,
    Extent,
    GraphError,
    Index,
    Input,
    Move,
    Noise,
    Put,
    Reduce,
    Ref,
    Shift,
    Stop,
    Thaw,
    apply,
    length,
)
from ..node import base
from ..reach import reached
from ..sizes import Size
from ..surgery import intercepted
from ..system import System
from .carry import Slot, carried, final, moved, numbered, refuse_ahead, substituted


@dataclass
class Chunks:
    """What a cut makes. `shared`, `sums` and `lasts` are called by the keys of the dictionaries that hold them at run time."""

    axis: str
    start: System
    chunk: System
    top: System
    slots: tuple[Slot, ...] = ()
    shared: dict[str, Input] = field(default_factory=dict)
    sums: dict[str, Input] = field(default_factory=dict)
    lasts: dict[str, Input] = field(default_factory=dict)
    numbered: bool = False                               # whether a chunk needs to know how many steps came before

    @property
    def crossings(self) -> dict[str, Input]:
        """What `top` reads of the chunks."""
        return {**self.sums, **self.lasts}

    @property
    def whole(self) -> Input:
        """The length of the whole sequence, as chunks read it."""
        return Input(f"the length of {self.axis}", (), ())


def cut(system: System, axis: str, roots: Sequence[Expr]) -> Chunks:
    """The systems of a chunk and of what stands around it. GraphError names the equation that cannot be computed in chunks."""
    return _Cut(system, axis, roots).run()


def place(kind: str, key: str) -> str:
    """What a value that passes between the systems is called among their equations."""
    return f"{kind} {key}"


class _Cut:
    def __init__(self, system: System, axis: str, roots: Sequence[Expr]) -> None:
        self.system, self.axis, self.roots = system, axis, roots
        self.nodes, _ = reached(system, [*roots, *(e for _, e in intercepted(system, roots).values())])
        self.args = {n: (system.equations[n.name],) if isinstance(n, Ref) else n.args for n in self.nodes}
        self.stepped = {n for n in self.nodes if axis in n.axes}
        self.crossing = [n for n in self.nodes if n not in self.stepped and any(a in self.stepped for a in n.args)]
        self.late = self._late()

    def run(self) -> Chunks:
        self._refuse()
        shared = self._shared()
        keys = self._keys([*shared, *self.crossing])
        inputs = {n: Input(keys[n] if n in shared else self._called(n, keys[n]), n.axes, n.shape, n.type)
                  for n in (*shared, *self.crossing)}
        chunk, slots = self._chunk({n: inputs[n] for n in shared}, keys)
        out = Chunks(self.axis, self._start(shared, slots, keys), chunk, self._top(inputs), tuple(slots),
                     {keys[n]: inputs[n] for n in shared},
                     {keys[n]: inputs[n] for n in self.crossing if not self._last(n)},
                     {keys[n]: inputs[n] for n in self.crossing if self._last(n)})
        out.numbered = numbered(self._holding({place("sum", keys[n]): self._summed(n) for n in self.crossing}), self.axis)
        return out

    # ------------------------------------------------------------ kinds of value

    def _late(self) -> set[Expr]:
        """What is known after the last step only. For membership."""
        readers: dict[Expr, list[Expr]] = {n: [] for n in self.nodes}
        for n in self.nodes:
            for a in self.args[n]:
                readers[a].append(n)
        out, stack = {*self.crossing}, list(self.crossing)
        while stack:
            for r in readers[stack.pop()]:
                if r not in out:
                    out.add(r)
                    stack.append(r)
        return out

    def _last(self, n: Expr) -> bool:
        return isinstance(n, At) and n.i == -1

    def _shared(self) -> list[Expr]:
        """What steps, sums and the top read of what no step is needed for, where it is worth being computed once."""
        inside = {n for n in self.nodes if n in self.stepped or n in self.late}
        read = {a for n in inside for a in (n.args[:1] if isinstance(n, Shift) and n.axis == self.axis else self.args[n])
                if a not in inside}
        return [n for n in self.nodes if n in read and n.axes and not self._plain(n)]

    def _plain(self, n: Expr) -> bool:
        """What has no axis, a leaf, or these moved about: little or nothing is computed twice."""
        return not n.axes or isinstance(n, (Input, Noise)) or \
            (isinstance(n, (Move, Stop)) and all(self._plain(a) for a in n.args))

    def _keys(self, nodes: Iterable[Expr]) -> dict[Expr, str]:
        """A name for every value that passes between the systems: its own, the loss's, or one by number."""
        out: dict[Expr, str] = {}
        taken: set[str] = set()
        for n in nodes:
            loss = self.system.loss is not None and n is self.system.loss.total
            wanted = next((name for e in (n, *n.args[:1]) for name in [self._name(e)] if name), "")
            wanted = "loss" if loss else wanted or ("last" if self._last(n) else "sum" if n in self.late else "value")
            key, k = wanted, 2
            while key in taken:
                key, k = f"{wanted}{k}", k + 1
            taken.add(key)
            out[n] = key
        return out

    def _called(self, n: Expr, key: str) -> str:
        """What a value that chunks add up is called in formulas."""
        return f"last_{key}" if self._last(n) else f"sum_{key}".replace("sum_sum", "sum")

    def _name(self, n: Expr) -> str:
        return self.system.names.get(n) or next((k for k, e in self.system.equations.items() if e is n), "")

    # ------------------------------------------------------------ refusals

    def _refuse(self) -> None:
        t = self.axis
        if any(x != t and base(x) == t for n in self.nodes for x in n.axes):
            raise GraphError(f"the model gives {t} a second name, so every step may need all others")
        for n in self.nodes:
            if isinstance(n, Shift) and n.axis == t:
                refuse_ahead(self.system, n)
        for n in self.crossing:
            sums = isinstance(n, Contract) or (isinstance(n, Reduce) and n.kind == "sum")
            if not sums and not (isinstance(n, At) and n.type == REAL):
                what = f"takes the {n.kind} over {t}" if isinstance(n, Reduce) else f"needs all steps of {t} at once"
                raise GraphError(f"{self._home(n)} {what}, so it cannot be computed in chunks of steps")
        for n in self.nodes:
            if n in self.stepped and n in self.late:
                raise GraphError(f"{self._home(n)} needs at every step what is known after the last one only")
            if n in self.stepped and isinstance(n, (Put, Thaw)) and n.axis == t:
                raise GraphError(f"{self._home(n)} spreads a value over the steps of {t}")
            if isinstance(n, Noise) and t in n.axes and n.axes[0] != t:
                raise GraphError(f"noise along {' and '.join(n.axes)} does not go on from chunk to chunk")

    def _home(self, n: Expr) -> str:
        """The equation in which a node stands first."""
        for name, root in self.system.equations.items():
            if n in reached(self.system, [root])[0]:
                return name.rstrip("*")
        return "the loss"

    # ------------------------------------------------------------ systems

    def _holding(self, equations: dict[str, Expr]) -> System:
        """A system of these equations and of those that references below them name."""
        changes = [e for _, e in intercepted(self.system, equations.values()).values()]
        _, names = reached(self.system, [*equations.values(), *changes])
        kept = {k: self.system.equations[k] for k in self.system.equations if k in names}
        return self.system.copy(equations={**kept, **equations}, loss=None, metrics={}, stats={}, penalties=(), outputs=(),
                                feedback=None, surgery=intercepted(self.system, equations.values()))

    def _chunk(self, shared: dict[Expr, Expr], keys: dict[Expr, str]) -> tuple[System, list[Slot]]:
        t = self.axis
        system = self._holding({place("sum", keys[n]): self._summed(n) for n in self.crossing})
        for e in reached(self.system, [e for k, e in system.equations.items() if k not in self.system.equations])[0]:
            name = self.system.names.get(e)
            if name is not None and self.system.equations.get(name) is e and t in e.axes:
                system.equations.setdefault(name, e)             # comments name what stands among the equations
        system, slots = carried(system, t)
        system = system.copy()
        system.equations.update({place("after", k): e for k, e in final(slots).items()})
        whole = {n: self._extent(n) for n in reached(system, system.roots())[0]
                 if isinstance(n, Extent) and str(length(t)) in n.size.symbols}
        return substituted(moved(system, t), {**shared, **whole}), slots

    def _summed(self, n: Expr) -> Expr:
        """A crossing as a sum over t: a single step is the sum of what is zero elsewhere; the last is the last chunk's."""
        if not isinstance(n, At) or self._last(n):
            return n
        a = n.args[0]
        step = Const(n.i) if n.i >= 0 else apply("add", Extent(length(self.axis)), n.i)
        return Reduce("sum", apply("select", apply("eq", Index(self.axis), step), a, 0), (self.axis,))

    def _extent(self, n: Extent) -> Expr:
        """A number made of the whole sequence's length, which a chunk is told."""
        t = length(self.axis)
        whole = Input(f"the length of {self.axis}", (), ())
        if n.size == t:
            return whole
        rest = _without(n.size, str(t))
        if rest is None:
            raise GraphError(f"{n.size} is computed at every step, and a chunk does not know {t}")
        return apply("mul", Extent(rest), whole)

    def _top(self, inputs: dict[Expr, Input]) -> System:
        roots = {k: e for k, e in self.system.equations.items() if e in self.roots}
        system = self._holding(roots).copy(stats=dict(self.system.stats))
        return substituted(system, inputs)

    def _start(self, shared: Sequence[Expr], slots: Sequence[Slot], keys: dict[Expr, str]) -> System:
        """What is shared, and boundary values that are no plain numbers."""
        declared = {place("slot", x.key): x.init for x in slots if not isinstance(under(x.init), Const)}
        return self._holding({**{place("value", keys[n]): n for n in shared}, **declared})


def _without(s: Size, symbol: str) -> Size | None:
    """s / symbol, where every term of s has it once."""
    if any(term.count(symbol) != 1 for term, _ in s.terms):
        return None
    return Size({tuple(x for x in term if x != symbol): k for term, k in s.terms})


def under(e: Expr) -> Expr:
    """What is repeated."""
    while isinstance(e, Broadcast):
        e = e.args[0]
    return e
