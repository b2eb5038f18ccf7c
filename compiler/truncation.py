"""Truncated backpropagation through time: a call sees one chunk of a sequence, and starts from the carry of the chunk before.

    along(system)          the axis that is cut: the one along which the loss sums, or of which it reads a step
    truncated(system)      the system of one chunk, and its `Truncation`
    settled(system, it)    after differentiation: a boundary that holds a parameter is the slot, filled at the entry
    ends(system, it, ...)  what a function hands on, for the slots that it reads

A boundary value becomes a slot, an input that is constant to the gradient. Where a parameter or an input of the model reaches it,
`select(first, declared, slot)` stands there, so that the declared value receives its gradient in the first chunk and
none later. The last values of a chunk are equations called `carry h[-1]`. An index that is used as a number goes on from the
chunk's offset, and so does noise along the axis: element k of a draw is element k + offset * (elements of a step).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .graph import (
    BATCH,
    BOOL,
    At,
    Broadcast,
    Const,
    Contract,
    Expr,
    Extent,
    GraphError,
    Index,
    Input,
    Map,
    Noise,
    Param,
    Reduce,
    Ref,
    Shift,
    apply,
    describe,
    length,
    size,
)
from .node import base, shown
from .passes.carry import Slot, carried, final, moved, numbered, offset
from .reach import reached
from .system import System

FIRST = Input("carry is None", (), (), BOOL)             # whether this is a sequence's first chunk
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


@dataclass(frozen=True)
class Truncation:
    """How a system is cut: its axis, the slots, and whether the carry holds the steps that came before."""

    axis: str
    slots: tuple[Slot, ...]
    numbered: bool

    @property
    def offset(self) -> Input:
        return offset(self.axis)


def truncated(system: System) -> tuple[System, Truncation]:
    """The system of one chunk, with the equations `carry h[-1]`. GraphError where a model cannot be cut."""
    try:
        axis = along(system)
        count = numbered(system, axis)
        out, found = carried(system, axis, start=_begins)
        _check(system, axis, found)
    except GraphError as e:
        raise GraphError(f"truncate = {system.training.truncate}: {e}") from None
    out = out.copy()
    own = system.inputs[f"lengths_{axis}"] if axis in system.lengths else None
    out.equations.update((equation(key), end) for key, end in final(found, own).items())
    return moved(out, axis) if count else out, Truncation(axis, tuple(found), count)


def equation(key: str) -> str:
    """What the last value for a slot is called among the equations."""
    return f"carry {key}"


def _begins(declared: Expr, node: Input) -> Expr:
    """What stands before the start: the slot alone where the declared value is a number."""
    if isinstance(_under(declared), (Const, Extent)):
        return node
    return apply("select", FIRST, declared, node)


def _under(e: Expr) -> Expr:
    while isinstance(e, Broadcast):
        e = e.args[0]
    return e


# ---------------------------------------------------------------- which axis, and what cannot be cut

def along(system: System) -> str:
    """The axis along which the loss sums, or of which it reads a step; the only time axis where there is but one."""
    every = {base(x) for n in reached(system, system.roots())[0] for x in n.axes if x != BATCH}
    if not every:
        raise GraphError("the model has no time axis")
    if len(every) == 1:
        return every.pop()
    found = {base(x) for k in system.targets for x in system.inputs[k].axes if x != BATCH}
    if len(found) != 1 and system.loss is not None:
        found = {*_lost(system, system.loss.total)}
    if len(found) != 1:
        names = " and ".join(sorted(found or every))
        raise GraphError(f"the sequence is cut along the axis over which the loss sums, and here these are {names}")
    return found.pop()


def _lost(system: System, loss: Expr) -> Iterator[str]:
    """The time axes that the loss sums over, or takes a step of; what stands below such a sum is not looked at."""
    stack, seen = [loss], set[Expr]()
    while stack:
        n = system.resolve(stack.pop())
        if n in seen:
            continue
        seen.add(n)
        gone = {base(x) for a in n.args for x in a.axes if x not in n.axes and x != BATCH}
        if gone and isinstance(n, (Reduce, Contract, At)):
            yield from gone
        else:
            stack.extend(n.args)


def _check(system: System, axis: str, found: Iterable[Slot]) -> None:
    """Refuse what a chunk cannot know."""
    nodes = reached(system, system.roots())[0]
    other = next((x for n in nodes for x in n.axes if x != axis and base(x) == axis), None)
    if other is not None:
        home = _home(system, next(n for n in nodes if other in n.axes))
        raise GraphError(f"{home} reads all steps of {axis} under its second name {shown(other)}; a chunk does not know them")
    certain = _certain(nodes, axis)
    if certain is not None:
        raise GraphError(f"{_home(system, certain)} needs at every step one certain step of {axis}, which not every chunk knows")
    for x in found:
        if _waits(system, x.init, axis):
            raise GraphError(f"{x.key} starts from what is known after the last step of {axis} only; a chunk does not know it")
        others = [a for a in x.node.axes if a != BATCH]
        if others:
            raise GraphError(f"{x.key} is {describe(x.node)}; what is carried cannot have a time axis of its own")
    for n in nodes:
        if isinstance(n, Noise) and axis in map(base, n.axes[n.axes[:1] == (axis,):]):
            raise GraphError(f"noise along {' and '.join(map(shown, n.axes))} does not go on from chunk to chunk")
        if isinstance(n, Extent) and str(length(axis)) in n.size.symbols and n.size.substitute({str(length(axis)): 0}) != size(0):
            raise GraphError(f"the model uses {n.size}, which counts from the ends of the whole sequence; "
                             "a chunk does not know them")
        if isinstance(n, Map) and n.f in COMPARISONS and _compares(n, axis):
            raise GraphError(f"the model compares {axis} with {length(axis)}, the length of the whole sequence, which a chunk "
                             "does not know")
    if "carry" in (*system.inputs, *system.outputs, *system.metrics):
        raise GraphError("what is called carry needs another name: the functions take and return a carry")


def _home(system: System, n: Expr) -> str:
    """The equation in which a node stands first."""
    return next((k for k, e in system.equations.items() if n in reached(system, [e])[0]), "the loss")


def _certain(nodes: Iterable[Expr], axis: str) -> Expr | None:
    """The first value along the axis that reads one certain step of it, other than as a boundary value."""
    fixed = set[Expr]()
    for n in nodes:
        if isinstance(n, At) and n.axis == axis:
            fixed.add(n)
        elif any(a in fixed for a in (n.args[:1] if isinstance(n, Shift) and n.axis == axis else n.args)):
            if axis in n.axes:
                return n
            fixed.add(n)
    return None


def _waits(system: System, init: Expr, axis: str) -> bool:
    """Whether a boundary value needs other steps of the sequence than the first, which the first chunk knows."""
    stack, seen = [init], set[Expr]()
    while stack:
        n = stack.pop()
        if n in seen or (isinstance(n, At) and n.axis == axis and n.i == 0):
            continue
        seen.add(n)
        if axis in n.axes:
            return True
        stack.extend((system.resolve(n),) if isinstance(n, Ref) else n.args)
    return False


def _compares(n: Map, axis: str) -> bool:
    """Whether one side of a comparison is made of the index, the other of the axis's length."""
    def arithmetic(e: Expr) -> Iterator[Expr]:
        yield e
        if isinstance(e, (Map, Broadcast)):
            for a in e.args:
                yield from arithmetic(a)

    sides = [list(arithmetic(a)) for a in n.args]
    return any(Index(axis) in one and any(isinstance(x, Extent) and str(length(axis)) in x.size.symbols for x in other)
               for one, other in (sides, sides[::-1]))


# ---------------------------------------------------------------- after differentiation

def settled(system: System, it: Truncation | None) -> System:
    """The system in which `select(first, parameter, slot)` is the slot: the functions' entry fills it from the parameter."""
    if it is None:
        return system
    nodes = {x.node for x in it.slots}
    chosen: dict[Expr, Expr] = {
        n: n.args[2] for n in reached(system, system.roots())[0]
        if isinstance(n, Map) and n.f == "select" and _under(n.args[0]) is FIRST and n.args[2] in nodes
        and isinstance(_under(n.args[1]), Param) and _trailing(n.args[1])}
    return system.rewrite(chosen)


def _trailing(e: Expr) -> bool:
    """Whether a repeated value is repeated over leading dims only, as an array is by itself."""
    while isinstance(e, Broadcast):
        rank, own = len(e.shape), len(e.args[0].shape)
        if e.places != tuple(range(rank - own, rank)):
            return False
        e = e.args[0]
    return True


def ends(system: System, it: Truncation | None, roots: Iterable[Expr]) -> dict[str, Expr]:
    """Slot -> the value that the next chunk starts from, for the slots that the roots read, and those that these values read."""
    if it is None:
        return {}
    out: dict[str, Expr] = {}
    roots = list(roots)
    while True:
        nodes = {*reached(system, [*roots, *out.values()])[0]}
        more = [x.key for x in it.slots if x.node in nodes and x.key not in out]
        if not more:
            return {x.key: out[x.key] for x in it.slots if x.key in out}
        out.update((k, system.equations[equation(k)]) for k in more)
