"""Signs that follow from the form of an expression: what makes the curvature of a Gaussian unit's energy positive."""

from __future__ import annotations

from collections.abc import Collection

from ..algebra import number
from ..graph import Broadcast, Concat, Contract, Expr, Map, OneHot, Reduce, Reshape, Slice, Stop, Transpose, Window

POSITIVE = ("exp", "softplus", "sigmoid", "square", "abs", "sqrt", "relu")    # 0 at points only, or where nothing is learnt
MOVES = (Broadcast, Concat, Reshape, Slice, Transpose, Window, Stop)


def sign(e: Expr, positive: Collection[Expr] = ()) -> int:
    """1: e > 0 by its form (squares are taken as not 0), -1: e < 0, 0: it cannot be told. `positive`: leaves that are."""
    value = number(e)
    if value is not None:
        return (value > 0) - (value < 0)
    if e in positive or isinstance(e, OneHot):
        return 1
    match e:
        case Map(f, args):
            return _map(f, [sign(a, positive) for a in args])
        case Contract(args=(a, b)):
            return sign(a, positive) * sign(b, positive)
        case Reduce(kind="sum" | "max" | "min" | "prod", args=(a,)):
            found = sign(a, positive)
            return found if e.kind != "prod" or found > 0 else 0
    if isinstance(e, MOVES):
        signs = {sign(a, positive) for a in e.args}
        return signs.pop() if len(signs) == 1 else 0
    return 0


def _map(f: str, signs: list[int]) -> int:
    if f in POSITIVE:
        return 1
    match f, signs:
        case ("add" | "maximum" | "minimum" | "logaddexp"), [a, b]:
            if f == "maximum" and 1 in (a, b):
                return 1
            return a if a == b else 0
        case "sub", [a, b]:
            return a if a == -b else 0
        case "neg", [a]:
            return -a
        case ("mul" | "div"), [a, b]:
            return a * b
        case "pow", [1, _]:
            return 1
        case "select", [_, a, b]:
            return a if a == b else 0
    return 0
