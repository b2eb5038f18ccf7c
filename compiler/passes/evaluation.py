"""Training system -> evaluation system: noise off, stored statistics in place of the batch's. Runs before anything is rewritten.

    real(u < p), u a uniform draw     its mean: p, clipped to [0, 1]; likewise <=, >, >=, and p on the left
    any other uniform draw            1/2
    a normal draw                     0
    a stat's batch reduction          the stat, wherever it stands: as it is written, or in a form that algebra makes the same

`settled_stats` does the last of it for the stats that are frozen, in training, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..algebra import Rewriter
from ..graph import (
    BATCH,
    Broadcast,
    Const,
    Contract,
    Expr,
    Extent,
    GraphError,
    Intercept,
    Map,
    Noise,
    Param,
    Reduce,
    apply,
    describe,
)
from ..node import length
from ..reach import reached
from ..system import Parameter, Stat, System
from .simplify import SIMPLE

BELOW = {"lt": 0, "le": 0, "gt": 1, "ge": 1}             # where the smaller side of a comparison stands
UNIT = ("sigmoid",)                                      # primitives whose values need no clipping to [0, 1]


def evaluation(system: System) -> System:
    """The system as `predict` and `evaluate` compute it. GraphError where a stat's update has not exactly one batch reduction."""
    nodes, _ = reached(system, system.roots())
    memo = _stored(system.stats, nodes)
    for n in nodes:
        if n not in memo:
            memo[n] = _quiet(n, memo)
    out = _nameless(system.mapped(memo), system)
    return replace(out, surgery={}, stats={k: replace(s, update=s.node) for k, s in system.stats.items()})


def settled_stats(system: System) -> System:
    """The system whose frozen stats are parameters that nothing writes: training, too, reads them in place of the batch's.

    A frozen normalisation is then one and the same function in training and in evaluation.
    """
    frozen = {k: s for k, s in system.stats.items() if k in system.training.freeze}
    if not frozen:
        return system
    kept = system.copy(params={**system.params, **{k: Parameter(s.node, s.init) for k, s in frozen.items()}},
                       stats={k: s for k, s in system.stats.items() if k not in frozen})
    return _nameless(kept.rewrite(_stored(frozen, reached(system, system.roots())[0])), system)


def _nameless(out: System, before: System) -> System:
    """What replaced a draw or a reduction is not called after it."""
    for n in [n for n in out.names if n not in before.names and (isinstance(n, Param) or _plain(n))]:
        del out.names[n]
    return out


def _stored(stats: Mapping[str, Stat], nodes: Iterable[Expr]) -> dict[Expr, Expr]:
    """What the stats stand for: each one's batch reduction, and what among `nodes` has its normal form -> the stat."""
    form = Rewriter(SIMPLE)
    forms: dict[Expr, Param] = {}
    found: dict[Expr, Expr] = {}
    for name, stat in stats.items():
        reduction = _reduction_of(name, stat)
        normal = form(reduction)
        if normal in forms:
            raise GraphError(f"the stats {forms[normal].name} and {name} store one and the same batch reduction: "
                             "evaluation could read either")
        found[reduction] = stat.node
        if batch_reductions(normal):                             # not what is one number whatever the batch
            forms[normal] = stat.node
    return found | {n: forms[x] for n in nodes if (x := form(n)) in forms} if forms else found


def _quiet(n: Expr, memo: dict[Expr, Expr]) -> Expr:
    """The node on what its operands became, draws replaced by their means."""
    if isinstance(n, Intercept):
        return memo[n.args[0]]
    if isinstance(n, Noise):
        return Broadcast(Const(0) if n.kind == "normal" else Const(0.5), n.axes, n.shape, ())
    if isinstance(n, Map) and n.f == "real" and isinstance(n.args[0], Map) and n.args[0].f in BELOW:
        test = n.args[0]
        for side in (0, 1):
            if _uniform(test.args[side]):
                p = _clip(memo[test.args[1 - side]])
                return p if BELOW[test.f] == side else 1 - p
    return n.with_args(tuple(memo[a] for a in n.args))


def _uniform(e: Expr) -> bool:
    while isinstance(e, Broadcast):
        e = e.args[0]
    return isinstance(e, Noise) and e.kind == "uniform"


def _clip(p: Expr) -> Expr:
    """A threshold as a probability."""
    inner = p
    while isinstance(inner, Broadcast):
        inner = inner.args[0]
    if (isinstance(inner, Const) and 0 <= inner.value <= 1) or (isinstance(inner, Map) and inner.f in UNIT):
        return p
    return apply("minimum", apply("maximum", p, 0), 1)


# ---------------------------------------------------------------- statistics

def _reduction_of(name: str, stat: Stat) -> Expr:
    """The one batch reduction in a stat's update."""
    found = batch_reductions(stat.update)
    if len(found) != 1:
        many = "no reduction over the batch" if not found else f"{len(found)} reductions over the batch"
        raise GraphError(f"the update of the stat {name} has {many}; it needs exactly one, which the stat replaces in evaluation")
    if (found[0].axes, found[0].shape) != (stat.node.axes, stat.node.shape):
        raise GraphError(f"the stat {name} is {describe(stat.node)}, and the batch reduction in its update {describe(found[0])}")
    return found[0]


def batch_reductions(e: Expr) -> list[Expr]:
    """The outermost reductions over the batch in e; a mean (the sum divided by its count) is one."""
    found: dict[Expr, None] = {}
    seen: set[Expr] = set()
    stack = [e]
    while stack:
        n = stack.pop()
        if n in seen:
            continue
        seen.add(n)
        if _reduces(n) or _is_mean(n):
            found[n] = None
        else:
            stack.extend(reversed(n.args))
    return list(found)


def _reduces(n: Expr) -> bool:
    if isinstance(n, Reduce):
        return BATCH in n.over
    return isinstance(n, Contract) and BATCH not in n.axes and any(BATCH in a.axes for a in n.args)


def _is_mean(n: Expr) -> bool:
    """A batch sum divided by a count that depends on the batch: its size, or a sum over it; or by 1, where that is less."""
    if not (isinstance(n, Map) and n.f == "div"):
        return False
    top, count = map(_bare, n.args)
    if isinstance(count, Map) and count.f == "maximum":
        count = next(_bare(a) for a in count.args if not _plain(a))
    return _reduces(top) and (_reduces(count) or (isinstance(count, Extent) and str(length(BATCH)) in count.size.symbols))


def _bare(e: Expr) -> Expr:
    while isinstance(e, Broadcast):
        e = e.args[0]
    return e


def _plain(e: Expr) -> bool:
    return isinstance(_bare(e), Const)
