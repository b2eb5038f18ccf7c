"""Gibbs chains: the sides of a machine sampled in turn, each given the other.

    one step        h ~ p(h | v), v_model ~ p(v | h)                          written out
    k steps         h_model[k] ~ p(h | v_model[k-1]),  v_model[k] ~ p(v | h_model[k])     a recurrence along an axis of its own

A layer whose units interact is sampled unit by unit: a recurrence along its units, each step of which draws one of them given all
others as they are by then. That leaves p(layer | rest) unchanged, which is all that a chain needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from ..graph import At, Broadcast, Const, Expr, Index, Noise, Ref, Shift, Stop, apply, length, order_axes
from ..system import System, size_value
from .conditionals import Conditional
from .errors import EnergyError
from .indices import indices
from .sampling import sample

Values = Mapping[Expr, Expr]
MIDDLE = {"binary": 0.5, "spin": 0.0}                    # where the slope of a quadratic is the difference of its two values


@dataclass(frozen=True)
class Sides:
    """The conditionals of both sides; `noise` replaces draws by other numbers, by the draw's key."""

    hidden: Mapping[str, Conditional]
    visible: Mapping[str, Conditional]
    noise: Mapping[str, Expr]

    @property
    def one_by_one(self) -> bool:
        """Whether some layer's units are sampled one by one."""
        return any(c.interacting or c.beside for c in (*self.hidden.values(), *self.visible.values()))


def draw(out: System, side: Mapping[str, Conditional], given: Values, suffix: str, sides: Sides,
         before: Values | None = None) -> dict[Expr, Expr]:
    """Samples of one side's layers as equations `h` + suffix; `before` holds what interacting layers were."""
    drawn: dict[Expr, Expr] = {}
    for name, c in side.items():
        key = name + suffix
        there = {**given, **(before or {}), **drawn} if c.interacting or c.beside else given
        if c.interacting:
            drawn[c.layer.node] = sweep(out, c, there, key, sides.noise.get(key))
        else:
            drawn[c.layer.node] = out.equation(key, sample(c.given(there), key, sides.noise.get(key)))
    return drawn


def axis_of(out: System, *wanted: str) -> str:
    """A name for a new axis: neither it nor its length means something else."""
    candidates = [*wanted, *(f"{wanted[-1]}{n}" for n in range(2, 100))]
    return next(a for a in candidates if str(length(a)) not in (*out.sizes, *out.params, *out.inputs) and a not in (
        *out.params, *out.inputs, *out.equations) and a != "batch")


def looped(out: System, sides: Sides, start: Values, k: int | None, first: str, suffix: str = "_model") -> dict[Expr, Expr]:
    """k steps of the chain along a new axis: the last values of both sides, as equations of `out`.

    `first` is the side that is drawn first, `start` holds the other one's values. k None: the length is an argument.
    """
    axis = axis_of(out, "k", "steps")
    if k is not None:
        out.sizes[str(length(axis))] = k
    one, two = (sides.hidden, sides.visible) if first == "hidden" else (sides.visible, sides.hidden)
    old: dict[Expr, Expr] = {}
    for name, c in two.items():
        old[c.layer.node] = _delayed(c.layer.node, name + suffix, axis, start[c.layer.node])
    drawn = draw(out, one, old, suffix, sides)
    drawn |= draw(out, two, drawn, suffix, sides)
    return {node: At(e, axis, -1) for node, e in drawn.items()}


def _delayed(node: Expr, name: str, axis: str, start: Expr) -> Expr:
    return Shift(Ref(name, order_axes({axis, *start.axes}), node.shape), axis, -1, (start,))


def written_out(out: System, sides: Sides, start: Values, k: int, first: str, suffix: str = "_model") -> dict[Expr, Expr]:
    """k steps of the chain, each as equations of its own; `start` holds both sides where units are sampled one by one."""
    one, two = (sides.hidden, sides.visible) if first == "hidden" else (sides.visible, sides.hidden)
    now = dict(start)
    for step in range(k):
        name = suffix if step == k - 1 else f"{suffix}{step + 1}"
        now |= draw(out, one, now, name, sides, now)
        now |= draw(out, two, now, name, sides, now)
    return now


def chain(out: System, sides: Sides, start: Values, k: int | None, first: str, suffix: str = "_model") -> dict[Expr, Expr]:
    """The end of a chain of k steps: one step and sweeps written out, others as a loop."""
    if k == 1 or (k is not None and sides.one_by_one):
        return written_out(out, sides, start, k, first, suffix)
    if sides.one_by_one:
        raise EnergyError("a chain whose units are sampled one by one needs its number of steps as a number")
    return looped(out, sides, start, k, first, suffix)


# ---------------------------------------------------------------- unit by unit

def sweep(out: System, c: Conditional, given: Values, key: str, noise: Expr | None = None) -> Expr:
    """Every unit of an interacting layer drawn once, in order, given the others as they are: the layer's new value.

    A unit's own square (u^2 is u, s^2 is 1) is weighed right because theta is taken at the middle of its two values.
    """
    node, last = c.layer.node, c.layer.kind == "categorical"
    groups = node.shape[:-1] if last else node.shape
    counts = [size_value(out, s) for s in groups]
    if any(n is None for n in counts):
        raise EnergyError(f"{c.layer.name} is sampled unit by unit, which needs the number of its units", None, c.layer.name)
    axis = axis_of(out, f"{key}_unit")
    out.sizes[str(length(axis))] = prod(n or 0 for n in counts)
    start = given[node]
    axes = order_axes({axis, *start.axes})
    old = Shift(Ref(key, axes, node.shape), axis, -1, (start,))
    turn = apply("eq", Broadcast(indices(out, groups), (axis,), groups, tuple(range(len(groups)))), Index(axis))
    turn = Broadcast(turn, axes, node.shape, tuple(range(len(groups))))
    own = apply("select", turn, Const(MIDDLE[c.layer.kind]), old) if c.layer.kind in MIDDLE else old
    there = c.given({**given, node: own})
    one = Noise("uniform", key, axes) if noise is None else noise            # a step draws one unit: one number for all
    value = out.equation(key, Stop(apply("select", turn, sample(there, key, one), old)))
    return At(value, axis, -1)
