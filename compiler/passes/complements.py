"""Complements: where both sigmoid(x) and sigmoid(-x) = 1 - sigmoid(x) are needed, one of them is computed.

`1 - z` is kept as sigmoid(-x) by `stabilise`, because its logarithm or its inverse needs its relative precision. Where it only
weighs a term of a sum, as in h = (1 - z)*h' + z*g, the sum's rounding covers what `1 - z` loses: then it is written so again,
and costs no exponential of its own.
"""

from __future__ import annotations

from ..graph import Broadcast, Const, Contract, Expr, Map, Move, Reduce, Shift, Slice, apply
from ..system import System
from .structure_rules import move_of_repeats


def complements(system: System) -> System:
    """The system with sigmoid(-x) as 1 - sigmoid(x) wherever sigmoid(x) is there and all readers are sums."""
    users: dict[Expr, list[Expr]] = {}
    gates: dict[Expr, Expr] = {}                                 # argument, slices at the operands -> its sigmoid
    nodes = list(system.nodes())
    for n in nodes:
        for a in n.args:
            users.setdefault(a, []).append(n)
        if isinstance(n, Map) and n.f == "sigmoid":
            gates.setdefault(_spread(n.args[0]), n)
    mapping: dict[Expr, Expr] = {}
    for n in nodes:
        match n:
            case Map("sigmoid", (Map("neg", (x,)),)):
                z = gates.get(_spread(x))
            case Slice((Map("sigmoid", (Map("neg", (x,)),)),), at, lo, hi):
                z = gates.get(_spread(Slice(x, at, lo, hi)))
            case _:
                continue
        if z is not None and _summed(n, users, system):
            mapping[n] = apply("sub", Const(1), z)
    if not mapping:
        return system
    notes = {n: v for n, v in system.notes.items() if n not in mapping}          # what is undone here has shaped nothing
    return system.copy(notes=notes).rewrite(mapping)


def _spread(e: Expr) -> Expr:
    """Elementwise work with its slices at the operands: `(u + w)[:H]` and `u[:H] + w[:H]` are one."""
    if isinstance(e, Map):
        return e.with_args(tuple(_spread(a) for a in e.args))
    if isinstance(e, Slice) and isinstance(e.args[0], Map):
        return e.args[0].with_args(tuple(_spread(Slice(a, e.at, e.lo, e.hi)) for a in e.args[0].args))
    return (move_of_repeats.rewrite(e) or e) if isinstance(e, Slice) and isinstance(e.args[0], Broadcast) else e


def _summed(e: Expr, users: dict[Expr, list[Expr]], system: System) -> bool:
    """Whether e is read, through products and moves, by sums alone."""
    readers = users.get(e, [])
    if not readers or e in system.roots():
        return False
    for u in readers:
        match u:
            case Map("add" | "sub", _) | Contract() | Reduce(kind="sum"):
                continue
            case Map("mul" | "neg", _) | Move() | Shift():
                if not _summed(u, users, system):
                    return False
            case _:
                return False
    return True
