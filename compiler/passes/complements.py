"""Complements: where both sigmoid(x) and sigmoid(-x) = 1 - sigmoid(x) are needed, one of them is computed.

`1 - z` is kept as sigmoid(-x) by `stabilise`, because its logarithm or its inverse needs its relative precision. Where it only
weighs a term of a sum, as in h = (1 - z)*h' + z*g, the sum's rounding covers what `1 - z` loses: then it is written so again,
and costs no exponential of its own.
"""

from __future__ import annotations

from ..graph import Const, Contract, Expr, Map, Move, Reduce, Shift, apply
from ..system import System


def complements(system: System) -> System:
    """The system with sigmoid(-x) as 1 - sigmoid(x) wherever sigmoid(x) is there and all readers are sums."""
    users: dict[Expr, list[Expr]] = {}
    nodes = list(system.nodes())
    for n in nodes:
        for a in n.args:
            users.setdefault(a, []).append(n)
    known = {*nodes}
    mapping: dict[Expr, Expr] = {}
    for n in nodes:
        match n:
            case Map("sigmoid", (Map("neg", (x,)),)) if (z := apply("sigmoid", x)) in known and _summed(n, users, system):
                mapping[n] = apply("sub", Const(1), z)
    return system.rewrite(mapping) if mapping else system


def _summed(e: Expr, users: dict[Expr, list[Expr]], system: System) -> bool:
    """Whether e is read, through products and moves, by sums alone."""
    readers = users.get(e, [])
    if not readers or e in system.roots():
        return False
    for u in readers:
        match u:
            case Map("add" | "sub", _):
                continue
            case Map("mul" | "neg", _) | Move() | Shift():
                if not _summed(u, users, system):
                    return False
            case Contract() | Reduce(kind="sum"):
                continue
            case _:
                return False
    return True
