"""Carry: what a sequence cut into chunks, or run step by step, hands from one piece to the next.

Where a system reads `h[t-2]`, a piece needs the two values of h before its start. Each is a `Slot`: an input that stands in
place of the declared boundary value, called as the language calls it: `h[-1]`, `h[-2]`.

    slots(system, axis)       the slots of every delay along an axis
    carried(system, axis)     the system that reads its boundary values from the slots
    final(slots)              what the next piece starts from: the last values of this one, shorter than the delay or not
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..graph import At, Expr, GraphError, Input, Ref, Shift
from ..reach import reached
from ..system import System


@dataclass(frozen=True)
class Slot:
    """One value before the start: `value` is the sequence, s = -1 its last step before; `init` is the declared boundary."""

    key: str
    value: Expr
    s: int
    node: Input
    init: Expr
    axis: str


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
        if n.s > 0:
            raise GraphError(f"{name}[{axis}+{n.s}] reads ahead, so the sequence cannot be computed piece by piece")
        for s, init in zip(range(n.s, 0), n.inits, strict=True):
            have = found.get((value, s))
            if have is None:
                key = f"{name}[{s}]"
                while key in keys:
                    key = f"{key}'"
                keys.add(key)
                found[value, s] = Slot(key, value, s, Input(key, init.axes, init.shape, value.type), init, axis)
            elif have.init is not init:
                raise GraphError(f"{have.key} has two boundary values")
    return list(found.values())


def carried(system: System, axis: str, roots: Sequence[Expr] = ()) -> tuple[System, list[Slot]]:
    """The system whose delays along an axis start from slots, which are no inputs of it, and the slots over that system."""
    found = slots(system, axis, roots)
    place = {(x.value, x.s): x for x in found}
    memo: dict[Expr, Expr] = {}
    for n in reached(system, (*system.roots(), *roots))[0]:
        args = tuple(memo[a] for a in n.args)
        if isinstance(n, Shift) and n.axis == axis:
            value = system.resolve(n.args[0])
            args = (args[0], *(place[value, s].node if (value, s) in place else memo[i]
                               for s, i in zip(range(n.s, 0), n.inits, strict=True)))
        memo[n] = n.with_args(args)
    return system.mapped(memo), [Slot(x.key, memo[x.value], x.s, x.node, x.init, axis) for x in found]


def final(found: Sequence[Slot]) -> dict[str, Expr]:
    """Slot -> its value after the last step: v[-k] becomes v[T-k], or a slot of this piece where the piece is shorter than k."""
    place = {(x.value, x.s): x.node for x in found}
    out: dict[str, Expr] = {}
    for x in found:
        before = tuple(place[x.value, s] for s in range(x.s + 1, 0))
        out[x.key] = At(Shift(x.value, x.axis, x.s + 1, before), x.axis, -1)
    return out


def _called(system: System, value: Expr) -> str:
    """What a sequence is called: its equation's or input's name, or a number after `value`."""
    if isinstance(value, (Input, Ref)):
        return value.name
    return next((k for k, e in system.equations.items() if e is value), system.names.get(value, "value"))
