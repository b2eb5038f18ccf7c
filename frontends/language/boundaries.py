"""Which delays of a system the clause `where h[-1] = ...` can state: those whose boundary values agree for one variable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ...compiler.graph import BATCH, Expr, Input, Ref, Shift, broadcast
from ...compiler.moves import Broadcast
from ...compiler.node import length, shown
from ...compiler.system import System

Key = tuple[str, bool, int]                              # (axis, before the start?, index: -1, ... before, 0, ... counted from T)


class Boundaries:
    """The boundary values of each variable (an equation or an input)."""

    def __init__(self, called: dict[Expr, str]) -> None:
        self.called = called
        self.values: dict[str, dict[Key, Expr]] = {}

    def variable(self, e: Shift) -> str | None:
        """The variable that a delay reads."""
        a = e.args[0]
        return a.name if isinstance(a, Ref | Input) else self.called.get(a)

    @staticmethod
    def keys(e: Shift) -> list[Key]:
        """What stands at each of the delay's boundary values."""
        return [(e.axis, e.s < 0, e.s + k if e.s < 0 else k) for k in range(abs(e.s))]

    def enter(self, e: Shift) -> None:
        """State a delay's values, unless one of them contradicts what is stated already."""
        name = self.variable(e)
        if name is None:
            return
        own = self.values.get(name, {})
        if all(own.get(k, i) is i for k, i in zip(self.keys(e), e.inits, strict=True)):
            self.values.setdefault(name, {}).update(zip(self.keys(e), e.inits, strict=True))

    def states(self, e: Shift) -> bool:
        """Whether `v[t-1]` means exactly this delay."""
        own = self.values.get(self.variable(e) or "", {})
        return all(own.get(k) is i for k, i in zip(self.keys(e), e.inits, strict=True))

    def of(self, name: str) -> Iterator[tuple[Key, Expr]]:
        """(place, value) of a variable, values as they are written."""
        for key, init in self.values.get(name, {}).items():
            yield key, bare(init)

    @staticmethod
    def place(key: Key, axes: Sequence[str], called: Callable[[str], str] = shown) -> str:
        """`-1`, `T`, `T+1`; `s, -1` of a variable that runs along s, too."""
        axis, before, k = key
        spot = str(k) if before else str(length(axis)) + (f"+{k}" if k else "")
        return ", ".join(spot if a == axis else called(a) for a in axes if a != BATCH)


def bare(init: Expr) -> Expr:
    """A boundary value without the repetition that a delay adds by itself."""
    if isinstance(init, Broadcast):
        a = init.args[0]
        if (not a.shape or a.shape == init.shape) and broadcast(a, init.axes, init.shape) is init:
            return a
    return init


def boundaries_of(system: System) -> Boundaries:
    """The boundary values that a system's text states."""
    called = {e: n for n, e in reversed(system.equations.items())}
    out = Boundaries(called)
    for e in system.nodes():
        if isinstance(e, Shift):
            out.enter(e)
    return out


def cycles(system: System, order: Sequence[str], bounds: Boundaries) -> dict[str, int]:
    """The equations that read each other, as far as names say so -> the number of their cycle."""
    import networkx as nx
    place = {n: k for k, n in enumerate(order)}
    g = nx.DiGraph()
    for n in order:
        root = system.equations[n]
        stack, seen = [root], set[Expr]()
        while stack:
            e = stack.pop()
            if e in seen:
                continue
            seen.add(e)
            a = e.args[0] if isinstance(e, Shift) else e
            if isinstance(e, Shift) and isinstance(a, Ref) and bounds.states(e) and place[a.name] >= place[n]:
                g.add_edge(n, a.name)
            if e is not root and e in bounds.called:
                g.add_edge(n, bounds.called[e])
            else:
                stack.extend(e.args)
    found = [c for c in nx.strongly_connected_components(g) if len(c) > 1 or any(g.has_edge(n, n) for n in c)]
    return {n: k for k, c in enumerate(sorted(found, key=lambda c: min(place[n] for n in c))) for n in c}


def batched(system: System) -> dict[str, None]:
    """The equations that have a batch axis even if every closing edge is taken to have none: what can be seen from the text."""
    known: dict[str, None] = {}
    while True:
        has: dict[Expr, bool] = {}
        for e in system.nodes():
            if isinstance(e, Ref):
                has[e] = e.name in known
            elif not e.args:
                has[e] = BATCH in e.axes
            else:
                has[e] = (BATCH in e.axes) and any(has[a] for a in e.args)
        found = {n: None for n, e in system.equations.items() if has[e]}
        if found == known:
            return known
        known = found
