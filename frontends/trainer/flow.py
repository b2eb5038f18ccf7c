"""Where gradients vanish or explode: the norm of the loss's gradient by every equation, step by step.

    ||d_v[t]|| = sqrt(sum over batch and features of (d loss / d v[t])^2)

A loss that sums over time is taken at its last step, so that what reaches step t has come T - 1 - t steps back; `at = "all"`
takes the loss as it is. The adjoint system is evaluated by the reference interpreter, in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...compiler.gradient import gradient
from ...compiler.graph import At, Broadcast, Contract, Expr, Extent, Map, Reduce, apply
from ...compiler.interpret import evaluate, time_axes
from ...compiler.node import BATCH, length
from ...compiler.system import System
from ...compiler.truncation import along
from .errors import OptionError

Array = np.ndarray[Any, Any]
_LINEAR = ("add", "sub", "mul", "div", "neg")
AT = ("last", "all")


@dataclass(frozen=True)
class Flow:
    """One equation: the norm of its adjoint at every step along `axis`, or one number where it has no time axis ("")."""

    name: str
    axis: str
    norms: Array


def flows(system: System, params: Mapping[str, Array], inputs: Mapping[str, Array], at: str = "last", steps: int = 0,
          seed: int = 0) -> list[Flow]:
    """A row for every equation that the gradient passes through, in the order of the model.

    `inputs` come batch first; `steps` is the length of an axis that no input has.
    """
    if system.loss is None:
        raise OptionError(f"model {system.name} has no loss, so there is no gradient to follow")
    loss = at_last(system) if at == "last" else system.loss.value
    adjoint = gradient(system, loss, [p.node for p in system.params.values()])
    found = {k: adjoint.adjoints[system.resolve(e)] for k, e in system.equations.items() if system.resolve(e) in adjoint.adjoints}
    given = {name: time_first(system, name, a) for name, a in inputs.items()}
    axes = {x for e in system.nodes() for x in time_axes(e)}
    lengths = {str(length(x)): steps for x in axes - {x for name in inputs for x in system.inputs[name].axes}}
    values = evaluate(adjoint.system, list(found.values()), {**params, **given}, lengths, seed=seed)
    return [_flow(k, g, v) for (k, g), v in zip(found.items(), values)]


def _flow(name: str, g: Expr, value: Array) -> Flow:
    axes = time_axes(g)
    rest = tuple(range(1 if axes else 0, value.ndim))
    return Flow(name, axes[0] if axes else "", np.sqrt(np.square(value).sum(axis=rest)))


def time_first(system: System, name: str, array: Array) -> Array:
    """A batch-first array in the graph's own order: time axes, batch, features."""
    axes = system.inputs[name].axes
    return np.moveaxis(array, 0, axes.index(BATCH)) if BATCH in axes else array


def at_last(system: System) -> Expr:
    """The loss of the last step alone, its mean over the batch; the loss itself where it does not sum over time."""
    assert system.loss is not None
    total = system.loss.total
    if not any(time_axes(n) for n in system.nodes()):
        return system.loss.value
    last = _last(total, along(system))
    return system.loss.value if last is total else apply("div", last, Extent(length(BATCH)))


def _last(e: Expr, axis: str) -> Expr:
    """The expression with sums over the axis at its top taken at the last step; sums below what is not linear stay."""
    if isinstance(e, Reduce) and e.kind == "sum" and axis in e.over:
        return Reduce("sum", At(e.args[0], axis, -1), tuple(o for o in e.over if o != axis))
    if isinstance(e, Contract) and axis in {x for a in e.args for x in a.axes} - {*e.axes}:
        a, b = (At(x, axis, -1) for x in e.args)
        return Contract(a, b, e.la, e.lb, e.lo, e.axes)
    if isinstance(e, (Broadcast, Reduce)) or (isinstance(e, Map) and e.f in _LINEAR):
        return e.with_args(tuple(_last(a, axis) for a in e.args))
    return e


def bars(norms: Sequence[float], low: float, high: float, width: int = 24) -> str:
    """Norms as a row of bars on a logarithmic scale from `low` to `high`; `.` is below it or 0."""
    shown = np.asarray(norms, float)
    if len(shown) > width:
        shown = shown[np.linspace(0, len(shown) - 1, width).round().astype(int)]
    span = max(np.log10(high / low), 1e-9) if high > 0 else 1.0
    with np.errstate(divide="ignore"):
        levels = (np.log10(shown) - np.log10(low)) / span * 7
    return "".join("." if not level >= 0 else "▁▂▃▄▅▆▇█"[min(int(level + 0.5), 7)] for level in levels)


def scale(found: Sequence[Flow]) -> tuple[float, float]:
    """The range of the bars: at most 16 powers of ten below the largest norm."""
    norms = np.concatenate([np.atleast_1d(f.norms) for f in found]) if found else np.ones(1)
    positive = norms[np.isfinite(norms) & (norms > 0)]
    if not positive.size:
        return 1.0, 1.0
    high = float(10 ** np.ceil(np.log10(positive.max())))
    return max(float(10 ** np.floor(np.log10(positive.min()))), high * 1e-16), high
