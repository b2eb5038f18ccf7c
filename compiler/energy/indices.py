"""The numbers 0, 1, 2, ... along features, and configurations of units counted by them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..graph import Broadcast, Concat, Const, Expr, Freeze, Index, Size, apply, size
from ..system import System, size_value
from ..units import Units
from .errors import EnergyError


def numbers(n: Size) -> Expr:
    """0, ..., n-1 as a vector of n features: the index of an axis that is n long."""
    if n.value is not None:
        return Concat(0, tuple(Broadcast(Const(k), (), (size(1),), ()) for k in range(n.value)))
    if str(n) != n.symbols[0] or not n.symbols[0].isupper():
        raise EnergyError(f"units are counted along {n}: give this size a name of its own in the header")
    return Freeze(Index(n.symbols[0].lower()), n.symbols[0].lower())


def indices(system: System, shape: Sequence[Size]) -> Expr:
    """0, ..., n-1 in row-major order, in this shape."""
    out: Expr = Broadcast(Const(0), (), tuple(shape), ())
    stride = 1
    for p in reversed(range(len(shape))):
        part = Broadcast(numbers(shape[p]), (), tuple(shape), (p,))
        part = part if stride == 1 else stride * part
        out = part if p == len(shape) - 1 else out + part
        count = size_value(system, shape[p])
        if count is None:
            raise EnergyError(f"the number of units along {shape[p]} is not known")
        stride *= count
    return out


def states(system: System, layer: Units) -> tuple[int, int]:
    """How many units a layer has, and how many values each."""
    counts = [size_value(system, s) for s in layer.node.shape]
    if any(n is None for n in counts):
        raise EnergyError(f"the number of units of {layer.name} is not known", None, layer.name)
    shape = [n or 0 for n in counts]
    return (prod(shape[:-1]), shape[-1]) if layer.kind == "categorical" else (prod(shape), 2)


def configurations(system: System, layers: Sequence[Units], axis: str) -> dict[Expr, Expr]:
    """Every configuration of some layers along an axis: number n of it has unit j in state n // r^j % r, layer after layer."""
    out: dict[Expr, Expr] = {}
    before = 1
    for u in layers:
        count, radix = states(system, u)
        groups = u.node.shape[:-1] if u.kind == "categorical" else u.node.shape
        place = apply("pow", float(radix), indices(system, groups)) * before
        digit = apply("floor", (Index(axis) + 0.5) / place)
        digit = digit - radix * apply("floor", (digit + 0.5) / radix)
        out[u.node] = _values(u, digit)
        before *= radix ** count
    return out


def _values(u: Units, digit: Expr) -> Expr:
    """A unit's value by its state."""
    if u.kind == "binary":
        return digit
    if u.kind == "spin":
        return 2 * digit - 1
    at = len(u.node.shape) - 1
    classes = Broadcast(numbers(u.node.shape[at]), digit.axes, u.node.shape, (at,))
    return apply("real", apply("eq", Broadcast(digit, digit.axes, u.node.shape, tuple(range(at))), classes))
