"""Backward surgery: `on_backward h[t]: clip(d_h, -1, 1)` puts an equation into the adjoint of h.

Where a system has surgery on h, the root of the equation h is an `Intercept`: every reader of h reads it, so that all that
arrives going backwards, from later steps too, arrives there as one sum. `System.surgery["h"]` is an input that stands for this
sum, and the expression that goes on in its place as h's adjoint.

The gradient is then no derivative of the loss any more: finite differences differ. Forward mode and evaluation know nothing of
it.
"""

from __future__ import annotations

from collections.abc import Iterable

from .graph import Expr, GraphError, Input, Intercept, Stop, describe, postorder
from .reach import reached
from .system import System


def operated(system: System, n: Intercept, g: Expr) -> Expr:
    """The adjoint that goes on from `n`, where `g` arrived. GraphError where g has axes of its own (several seeds at once)."""
    if n.name not in system.surgery:
        return g
    sum_, e = system.surgery[n.name]
    if (g.axes, g.shape) != (sum_.axes, sum_.shape):
        raise GraphError(f"on_backward of {n.name} takes one gradient of {describe(sum_)}, not {describe(g)}")
    memo: dict[Expr, Expr] = {sum_: g}
    for node in postorder(e):
        if node not in memo:
            memo[node] = node.with_args(tuple(memo[a] for a in node.args))
    return memo[e]


def intercepted(system: System, roots: Iterable[Expr]) -> dict[str, tuple[Input, Expr]]:
    """The surgery on what stands below these roots, and on what that surgery reads."""
    out: dict[str, tuple[Input, Expr]] = {}
    todo = [*roots]
    while todo:
        nodes, _ = reached(system, todo)
        found = [n.name for n in nodes if isinstance(n, Intercept) and n.name in system.surgery and n.name not in out]
        out |= {k: system.surgery[k] for k in found}
        todo = [system.surgery[k][1] for k in found]
    return {k: out[k] for k in system.surgery if k in out}


def without_surgery(system: System) -> System:
    """The same values with the true derivatives: no interception is left."""
    out = _without(system, Intercept)
    return out.copy(surgery={}) if out.surgery else out


def without_stops(system: System) -> System:
    """The same values, once all is differentiated: no stop is left."""
    return _without(system, Stop)


def _without(system: System, kind: type[Expr]) -> System:
    """Nodes of a kind that only matters to gradients, replaced by what stands in them."""
    def inner(n: Expr) -> Expr:
        while isinstance(n, kind):
            n = n.args[0]
        return n
    found = {n: inner(n) for n in system.nodes() if isinstance(n, kind)}
    return system.rewrite(found) if found else system
