"""Growth: whether a recurrence stays finite however long it runs, evident from its form.

A state that passes through tanh or a sigmoid is bounded, whatever it reads. One that reads the states before with factors of at
most 1 in sum (`f*c[t-1] + i*g`, `(1-z)*h[t-1] + z*g`, `0.9*v[t-1] + a`) grows at most linearly. Anything else may grow like
a power of its weights: a recurrence of relu, or a linear one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import BOOL, Broadcast, Concat, Const, Expr, Map, Move, Noise, OneHot, Reduce, Ref, Shift, Stop
from ..system import System

SATURATING = ("tanh", "sigmoid", "erf", "sign", "real")
CONTRACTING = ("neg", "abs", "relu")                     # |f(x)| <= |x|
INFINITE = float("inf")


def grows(system: System, component: Sequence[Expr]) -> bool:
    """Whether a recurrence, given as a strongly connected component, may grow faster than linearly."""
    names = [n.name for n in component if isinstance(n, Ref)]
    gains: dict[Expr, float] = {}
    for n in component:                                          # operands first, so a reference stands before its readers
        gains[n] = 1.0 if isinstance(n, Ref) else _gain(n, gains)
    return any(gains.get(system.equations[name], INFINITE) > 1 for name in names)


def _gain(n: Expr, gains: dict[Expr, float]) -> float:
    """g where |n| is at most g times the largest state before, and a number."""
    parts = [gains.get(a, 0.0) for a in n.args]
    if not any(parts) or n.type == BOOL:
        return 0.0
    match n:
        case Map(f=f) if f in SATURATING:
            return 0.0
        case Map(f=f) if f in CONTRACTING:
            return parts[0]
        case Map("add" | "sub", _):
            return sum(parts)
        case Map("maximum" | "minimum" | "select", _):
            return max(parts)
        case Map("mul", (a, b)):
            return _scaled(parts[0], b) if not parts[1] else _scaled(parts[1], a) if not parts[0] else INFINITE
        case Shift() | Move() | Concat() | Stop() | Reduce(kind="max" | "min"):
            return max(parts)
    return INFINITE


def _scaled(gain: float, factor: Expr) -> float:
    value = _bare(factor)
    if isinstance(value, Const):
        return gain * abs(float(value.value))
    return gain if unit(factor) else INFINITE


def unit(e: Expr) -> bool:
    """Whether |e| <= 1 is evident."""
    match e:
        case Const(value=v):
            return abs(float(v)) <= 1
        case Map("tanh" | "sigmoid" | "erf" | "sign", _) | OneHot() | Noise(kind="uniform"):
            return True
        case Map("real", (a,)):
            return a.type == BOOL
        case Map("sub", (a, b)):
            return _bare(a) is Const(1) and isinstance(_bare(b), Map) and _bare(b).f == "sigmoid"  # type: ignore[attr-defined]
        case Map("mul", (a, b)):
            return unit(a) and unit(b)
        case Map("neg", (a,)):
            return unit(a)
        case Move() | Stop() | Shift() if not isinstance(e, Concat):
            return all(map(unit, e.args))
        case Concat():
            return all(map(unit, e.args))
    return False


def _bare(e: Expr) -> Expr:
    return e.args[0] if isinstance(e, Broadcast) else e
