"""Which equation is the first whose value is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...compiler.graph import Const
from ...compiler.interpret import evaluate
from ...compiler.node import BATCH, Expr
from ...compiler.passes.carry import carried
from ...compiler.system import System

Array = np.ndarray[Any, Any]


def diagnose(system: System, params: Mapping[str, Array], inputs: Mapping[str, Array], seed: int = 0, step: int = 0,
             carry: Mapping[str, Any] | None = None, axis: str = "") -> str:
    """`the first equation whose value is not finite is a2 = ... (model.nn:9), at example 3: nan`, or where it is not one.

    The reference interpreter evaluates the equations in the order in which they read each other; `seed` and `step` make
    the noise that of the training step. `carry` is the state that a chunk along `axis` starts from.
    """
    if carry:
        system, _ = carried(system, axis)
    named = _ordered(system)
    given = {name: _graph_order(system, name, a) for name, a in inputs.items()}
    values = evaluate(system, [e for _, e in named], {**params, **given, **(carry or {})}, seed=seed, step=step)
    for (name, e), value in zip(named, values):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return _sentence(system, name, e, value)
    return ("every equation is finite in float64, so the numbers overflow the precision of the training: "
            "--dtype float64, a smaller learning rate or clip_norm may help")


def _ordered(system: System) -> list[tuple[str, Expr]]:
    """Equations, operands first, then the loss."""
    names: dict[Expr, str] = {}
    for name, e in system.equations.items():
        names.setdefault(e, name)
    out = [(names[e], e) for e in system.nodes() if e in names]
    if system.loss is not None:
        out.append(("loss", system.loss.value))
    return [(name, e) for name, e in out if not isinstance(e, Const)]


def _graph_order(system: System, name: str, array: Array) -> Array:
    """Batch-first arrays in the graph's own order: time axes, batch, features."""
    axes = system.inputs[name].axes
    if BATCH not in axes:
        return array
    return np.moveaxis(array, 0, axes.index(BATCH))


def _sentence(system: System, name: str, e: Expr, value: Array) -> str:
    bad = np.argwhere(~np.isfinite(value))[0]
    places = [f"{'example' if axis == BATCH else axis} {int(i)}" for axis, i in zip(e.axes, bad)]
    features = bad[len(e.axes):]
    if len(features):
        places.append(f"position {', '.join(str(int(i)) for i in features)}")
    where = f" at {', '.join(places)}" if places else ""
    span = f" ({system.spans[name]})" if name in system.spans else ""
    return f"the first equation whose value is not finite is {name}{span}: {value[tuple(bad)]}{where}"
