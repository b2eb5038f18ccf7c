"""Masks: where examples of their own lengths have padding, and choices by it; see `lengths`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..graph import (
    BATCH,
    BOOL,
    Broadcast,
    Const,
    Expr,
    Freeze,
    Index,
    Map,
    Number,
    OneHot,
    apply,
    length,
    order_axes,
    postorder,
)
from ..node import base
from ..sequences import Thaw
from ..system import System, lengths_input

LOWEST = -1e30                                           # below every score; finite, so that 0 times it is 0
Key = str | int                                          # an axis, or the position of a feature that is a frozen axis


class Masks:
    """The masks of the axes with lengths, and choices by them."""

    def __init__(self, system: System, axes: Sequence[str]) -> None:
        self.lengths = {a: lengths_input(a) for a in axes}
        self.sizes = {length(a): a for a in axes}
        self.letters = {str(length(a)): a for a in axes}

    def past(self, axis: str, by: int = 0) -> Expr:
        """Whether step t + by is none of the example's own: t + by >= lengths_t."""
        return apply("ge", Index(axis) + by if by else Index(axis), self.lengths[base(axis)])

    def keys(self, e: Expr) -> list[Key]:
        """Where e has padding: its axes with lengths, and its features that are such an axis."""
        axes: list[Key] = [a for a in e.axes if base(a) in self.lengths]
        return axes + [k for k, s in enumerate(e.shape) if s in self.sizes]

    def where(self, e: Expr, keys: Iterable[Key], fill: Number) -> Expr:
        """e inside the sequences, and a number at and after their ends."""
        axes = order_axes({*e.axes, BATCH})
        keys = [k for k in keys if fill or not self.zero(e, k)]
        if not keys:
            return e
        padding = self.joined(e, keys, axes)
        if e.type == BOOL:
            return apply("or", padding, wide(e, axes)) if fill else apply("and", apply("not", padding), wide(e, axes))
        return apply("select", padding, fill, wide(e, axes))

    def joined(self, e: Expr, keys: Sequence[Key], axes: tuple[str, ...]) -> Expr:
        """The padding of several keys, with the shape of e."""
        small = [self.past(k) for k in keys if isinstance(k, str)]
        frozen = [(k, Freeze(self.past(a), a)) for k in keys if isinstance(k, int) for a in [self.sizes[e.shape[k]]]]
        out: Expr | None = None
        for m in small:
            out = m if out is None else apply("or", out, m)
        out = None if out is None else Broadcast(out, axes, e.shape, ())
        for k, m in frozen:
            m = Broadcast(m, axes, e.shape, (k,))
            out = m if out is None else apply("or", out, m)
        assert out is not None
        return out

    def zero(self, e: Expr, key: Key) -> bool:
        """Whether e is evidently 0 in the padding of a key."""
        match e:
            case Map("select", (c, a, b)):
                return (self.zero(b, key) and (number(a) == 0 or self.zero(a, key))) or (number(a) == 0 and self._covers(c, key))
            case Map("exp", (Map("sub", (Map("select", (c, low, _)), _)),)):
                return self._covers(c, key) and number(low) == LOWEST
            case Map("mul", (a, b)):
                return self.zero(a, key) or self.zero(b, key)
            case Map("neg" | "square" | "abs", (a,)):
                return self.zero(a, key)
            case Map("div" | "safe_div", (a, _)):
                return self.zero(a, key)
            case Map("add" | "sub", (a, b)):
                return self.zero(a, key) and self.zero(b, key)
            case Broadcast(args=(a,), places=places):
                inner = key if isinstance(key, str) else places.index(key) if key in places else None
                return inner is not None and (isinstance(inner, int) or inner in a.axes) and self.zero(a, inner)
            case Freeze(args=(a,), axis=axis):
                return self.zero(a, axis if key == 0 else key - 1 if isinstance(key, int) else key)
            case Thaw(args=(a,), axis=axis):
                return self.zero(a, 0 if key == axis else key + 1 if isinstance(key, int) else key)
            case OneHot(n=n):                                    # a step of the example's own
                return key == len(e.shape) - 1 and n in self.sizes
            case Const(value=0):
                return True
        return False

    def tells(self, c: Expr) -> bool:
        """Whether c says no more than that steps lie beyond an end."""
        match c:
            case Map("or", (a, b)):
                return self.tells(a) and self.tells(b)
            case Map("ge", (a, b)):
                return bare(b) in self.lengths.values() and any(isinstance(x, Index) for x in postorder(a))
            case Broadcast(args=(a,)) | Freeze(args=(a,)) | Thaw(args=(a,)):
                return self.tells(a)
        return False

    def _covers(self, c: Expr, key: Key) -> bool:
        """Whether c holds in all the padding of a key."""
        match c:
            case Map("or", (a, b)):
                return self._covers(a, key) or self._covers(b, key)
            case Broadcast(args=(Freeze(args=(m,), axis=axis),), places=(place,)):
                return key == place and m is self.past(axis)
            case Broadcast(args=(m,), places=()):
                return self._covers(m, key)
        return isinstance(key, str) and base(key) in self.lengths and c is self.past(key)


def padded_outputs(system: System, axes: Sequence[str]) -> dict[str, Expr]:
    """The outputs of a masked system, 0 at and after every example's end along `axes`."""
    masks = Masks(system, axes)
    return {k: masks.where(system.equations[k], masks.keys(system.equations[k]), 0) for k in system.outputs}


def unmasked(system: System, axes: Sequence[str]) -> System:
    """A masked system as a person reads it: each equation as it holds inside the sequences."""
    if not axes:
        return system
    masks, memo = Masks(system, axes), dict[Expr, Expr]()
    for n in system.nodes():
        args = tuple(memo[a] for a in n.args)
        memo[n] = args[2] if isinstance(n, Map) and n.f == "select" and masks.tells(n.args[0]) else n.with_args(args)
    out = system.mapped(memo)
    for node in system.inputs.values():                          # what an input is read through is not what it is called
        out.names.pop(node, None)
    return out


def wide(e: Expr, axes: tuple[str, ...]) -> Expr:
    """e along more axes."""
    return Broadcast(e, axes, e.shape, tuple(range(len(e.shape))))


def bare(e: Expr) -> Expr:
    return e.args[0] if isinstance(e, Broadcast) else e


def number(e: Expr) -> Number | None:
    e = bare(e)
    return e.value if isinstance(e, Const) else None
