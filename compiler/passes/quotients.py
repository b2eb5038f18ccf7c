"""Quotients: what is divided already is not divided again.

    y = c / r, and elsewhere (s / r) * c      ->      s * y            r and s hold one number a row, c and y a row

Behind a normalisation c = x - mean(x), r = its standard deviation, the gradient needs c / r^2 times a number: it then reads the
normalised row, and nobody keeps c for all steps.
"""

from __future__ import annotations

from ..graph import Broadcast, Expr, Map
from ..system import System


def quotients(system: System) -> System:
    """The system with s/r * c as s * (c/r) wherever c/r is there."""
    nodes = list(system.nodes())
    divided: dict[Expr, list[tuple[Broadcast, Expr]]] = {}       # c -> (r, repeated as c is, c / r)
    for n in nodes:
        match n:
            case Map("div", (c, Broadcast() as r)):
                divided.setdefault(c, []).append((r, n))
    mapping: dict[Expr, Expr] = {}
    for n in nodes if divided else ():
        if not isinstance(n, Map) or n.f != "mul":
            continue
        for s, c in (n.args, n.args[::-1]):
            for r, y in divided.get(c, ()) if isinstance(s, Broadcast) else ():
                assert isinstance(s, Broadcast)
                whole = _without(s.args[0], r.args[0]) if s.places == r.places else None
                if whole is not None and n not in mapping:
                    mapping[n] = Map("mul", (Broadcast(whole, s.axes, s.shape, s.places), y))
    return system.rewrite(mapping) if mapping else system


def _without(s: Expr, r: Expr) -> Expr | None:
    """s * r, where s is made by products and quotients of which one divides by r."""
    match s:
        case Map("div", (u, d)) if d is r:
            return u
        case Map("div" | "mul" as f, (u, d)):
            inner = _without(u, r)
            if inner is not None:
                return Map(f, (inner, d))
            other = _without(d, r) if f == "mul" else None
            return None if other is None else Map(f, (u, other))
    return None
