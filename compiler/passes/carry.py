"""Carry: what a sequence cut into chunks, or run step by step, hands from one piece to the next.

Where a system reads `h[t-2]`, a piece needs the two values of h before its start. Each is a `Slot`: an input that stands in
place of the declared boundary value, called as the language calls it: `h[-1]`, `h[-2]`. A piece also needs to know how many
steps came before it where the index t is used as a number or noise is drawn along t: the carry's entry "t".

    slots(system, axis)       the slots of every delay along an axis
    carried(system, axis)     the system that reads its boundary values from the slots
    final(slots)              what the next piece starts from: the last values of this one, shorter than the delay or not
    offset(axis)              the input that holds the steps before this piece; `numbered` says whether a system needs it
    moved(system, axis)       the system whose index along the axis goes on from the offset
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..graph import At, Expr, GraphError, Index, Input, Map, Noise, Ref, Shift, apply
from ..node import base
from ..reach import reached
from ..system import System


@dataclass(frozen=True)
class Slot:
    """One value before the start: `value` is the sequence, s = -1 its last step before; `init` is the declared boundary.

    `start` is what stands there: `node`, or an expression that chooses between it and `init`.
    """

    key: str
    value: Expr
    s: int
    node: Input
    init: Expr
    axis: str
    start: Expr


def slots(system: System, axis: str, roots: Sequence[Expr] = ()) -> list[Slot]:
    """The slots of all that the system, or only `roots`, reads along an axis, in the order in which they are met.

    GraphError where something reads ahead, or where one step of one value has two boundary values.
    """
    nodes, _ = reached(system, roots or system.roots())
    found: dict[tuple[Expr, int], Slot] = {}
    keys: set[str] = set()
    for n in nodes:
        if not isinstance(n, Shift) or n.axis != axis:
            continue
        value = system.resolve(n.args[0])
        name = _called(system, value)
        refuse_ahead(system, n)
        for s, init in zip(range(n.s, 0), n.inits, strict=True):
            have = found.get((value, s))
            if have is None:
                key = f"{name}[{s}]"
                while key in keys:
                    key = f"{key}'"
                keys.add(key)
                node = Input(key, init.axes, init.shape, value.type)
                found[value, s] = Slot(key, value, s, node, init, axis, node)
            elif have.init is not init:
                raise GraphError(f"{have.key} has two boundary values")
    return list(found.values())


def refuse_ahead(system: System, n: Shift) -> None:
    """GraphError where a delay reads ahead."""
    if n.s > 0:
        name = _called(system, system.resolve(n.args[0]))
        raise GraphError(f"{name}[{n.axis}+{n.s}] reads ahead, so the sequence cannot be computed piece by piece")


def carried(system: System, axis: str, roots: Sequence[Expr] = (),
            start: Callable[[Expr, Input], Expr] | None = None) -> tuple[System, list[Slot]]:
    """The system whose delays along an axis start from slots, which are no inputs of it, and the slots over that system.

    `start(declared, node)` is what stands before the start, by default the slot's node.
    """
    found = slots(system, axis, roots)
    place = {(x.value, x.s): x for x in found}
    memo: dict[Expr, Expr] = {}

    def begins(x: Slot) -> Expr:
        return start(memo[x.init], x.node) if start else x.node

    for n in reached(system, (*system.roots(), *roots))[0]:
        args = tuple(memo[a] for a in n.args)
        if isinstance(n, Shift) and n.axis == axis:
            value = system.resolve(n.args[0])
            args = (args[0], *(begins(place[value, s]) if (value, s) in place else memo[i]
                               for s, i in zip(range(n.s, 0), n.inits, strict=True)))
        memo[n] = n.with_args(args)
    return system.mapped(memo), [Slot(x.key, memo[x.value], x.s, x.node, memo[x.init], axis, begins(x)) for x in found]


def final(found: Sequence[Slot], own: Input | None = None) -> dict[str, Expr]:
    """Slot -> its value after the last step: v[-k] becomes v[T-k], or a slot of this piece where the piece is shorter than k.

    `own` holds each example's length of this piece, where examples have their own: one that ended before keeps its state.
    """
    place = {(x.value, x.s): x.start for x in found}
    out: dict[str, Expr] = {}
    for x in found:
        before = tuple(place[x.value, s] for s in range(x.s + 1, 0))
        end = At(Shift(x.value, x.axis, x.s + 1, before), x.axis, -1)
        out[x.key] = end if own is None else apply("select", apply("le", own, 0), x.start, end)
    return out


# ---------------------------------------------------------------- the steps before this piece

def offset(axis: str) -> Input:
    """How many steps along an axis came before this piece: a number, the carry's entry of the axis's name."""
    return Input(f'carry["{axis}"]', (), ())


def numbered(system: System, axis: str, roots: Sequence[Expr] = ()) -> bool:
    """Whether a system uses the index along an axis as a number, or draws noise along it."""
    return any(isinstance(n, (Index, Noise)) and axis in map(base, n.axes) for n in reached(system, roots or system.roots())[0])


def moved(system: System, axis: str) -> System:
    """The system whose index along an axis is counted from the start of the whole sequence: t becomes t + offset."""
    found = {n: apply("add", n, offset(axis)) for n in system.nodes() if isinstance(n, Index) and base(n.axis) == axis}
    return substituted(system, found)


def substituted(system: System, leaves: Mapping[Any, Expr]) -> System:
    """The system with leaves replaced; what replaces a leaf may hold that leaf."""
    memo: dict[Expr, Expr] = {}
    for n in reached(system, system.roots())[0]:
        memo[n] = leaves.get(n) or n.with_args(tuple(memo[a] for a in n.args))
    return system.mapped(memo)


def _called(system: System, value: Expr) -> str:
    """What a sequence is called: its equation's or input's name, or `value`; a choice (what is no padding) as what it takes."""
    if isinstance(value, (Input, Ref)):
        return value.name
    name = next((k for k, e in system.equations.items() if e is value), system.names.get(value))
    if name is None and isinstance(value, Map) and value.f == "select":
        return next((k for a in value.args[:0:-1] for k in [_called(system, a)] if k != "value"), "value")
    return name or "value"
