"""How an energy model is trained: `contrastive_divergence(k = 1, lr = 0.1)` and the other estimators of a train line.

    contrastive_divergence(k, lr, momentum, statistics, sparsity, sparsity_weight)
    persistent_contrastive_divergence(k, ..., chains)        chains: how many there are; by default as many as examples in a batch
    likelihood(lr, momentum, sparsity, sparsity_weight)      exact, by enumeration of the smaller layer

`lr` and `momentum` make gradient descent; another optimiser stands beside: `contrastive_divergence(k = 1), adam(lr = 0.001)`.
`statistics` are `probabilities` where that leaves the expectation as it is, or `samples`, as textbooks print it. `sparsity` is
the mean activation that the hidden units are drawn to, `sparsity_weight` (0.1) how much that counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...compiler.system import Training
from ...compiler.units import ESTIMATORS, Estimator
from . import syntax as s
from .options import named_options, positive, rate, whole
from .scope import Context, Scope, suggest, text_of

RATES = ("lr", "momentum")
STATISTICS = ("probabilities", "samples")
CHAIN = ("k", *RATES, "statistics", "sparsity", "sparsity_weight")
OPTIONS = {"contrastive_divergence": CHAIN, "persistent_contrastive_divergence": (*CHAIN, "chains"),
           "likelihood": (*RATES, "sparsity", "sparsity_weight")}
WEIGHT = 0.1


def read_estimator(ctx: Context, scope: Scope, o: s.Option) -> tuple[Estimator, dict[str, float]]:
    """The estimator, and the options of gradient descent that stand in its parentheses."""
    kind = o.kind
    if not ctx.energy:
        ctx.fail(scope, kind, f"`{kind.name}` trains energy models, and this is a model with a loss",
                 hint="an optimiser minimises a loss: train sgd(lr = 0.1)")
    found, rates = Estimator(kind.name), dict[str, float]()
    weight: tuple[float, s.Argument] | None = None
    for name, a in named_options(ctx, scope, kind, OPTIONS[kind.name]):
        match name:
            case "lr" | "momentum":
                rates[name] = rate(ctx, scope, a.value, name)
            case "k":
                found = replace(found, k=whole(ctx, scope, a.value, name))
            case "chains":
                found = replace(found, chains=whole(ctx, scope, a.value, name))
            case "statistics":
                found = replace(found, statistics=_statistics(ctx, scope, a))
            case "sparsity":
                found = replace(found, sparsity=(_share(ctx, scope, a), WEIGHT))
            case "sparsity_weight":
                weight = (positive(ctx, scope, a.value, name, True), a)
    if weight is not None:
        if found.sparsity is None:
            ctx.fail(scope, weight[1], "`sparsity_weight` weighs a sparsity, and none is given", hint="sparsity = 0.1")
        found = replace(found, sparsity=(found.sparsity[0], weight[0]))
    return found, rates


def _statistics(ctx: Context, scope: Scope, a: s.Argument) -> str:
    word = a.value.name if isinstance(a.value, s.Name) else a.value.value if isinstance(a.value, s.Text) else ""
    if word not in STATISTICS:
        ctx.fail(scope, a.value, f"statistics are {' or '.join(STATISTICS)}, not {text_of(scope, a.value)}",
                 hint=suggest(word, Scope(scope.source), STATISTICS))
    return word


def _share(ctx: Context, scope: Scope, a: s.Argument) -> float:
    value = positive(ctx, scope, a.value, "a sparsity", True)
    if value >= 1:
        ctx.fail(scope, a.value, f"a sparsity is the share of the time that a unit is on, between 0 and 1, not "
                 f"{text_of(scope, a.value)}")
    return value


def descent(rates: dict[str, float], lr: float) -> tuple[str, tuple[tuple[str, float], ...]] | None:
    """The optimiser that `lr` and `momentum` mean; None without them."""
    if not rates:
        return None
    given = {"lr": lr, **rates}
    return "momentum" if "momentum" in rates else "sgd", tuple((k, given[k]) for k in RATES if k in given)


def estimator_text(t: Training) -> str:
    """The estimator and its options, those of plain descent included, as a train line names them."""
    assert t.estimator is not None
    options = ", ".join(f"{k} = {v}" for k, v in _options(t, t.estimator))
    return t.estimator.kind + (f"({options})" if options else "")


def _options(t: Training, e: Estimator) -> Iterator[tuple[str, str]]:
    if e.kind != "likelihood":
        yield "k", str(e.k)
    if inside(t):
        yield from ((k, repr(v)) for k, v in t.options)
    if e.statistics != Estimator().statistics:
        yield "statistics", e.statistics
    if e.sparsity is not None:
        yield "sparsity", repr(e.sparsity[0])
        if e.sparsity[1] != WEIGHT:
            yield "sparsity_weight", repr(e.sparsity[1])
    if e.chains is not None:
        yield "chains", str(e.chains)


def inside(t: Training) -> bool:
    """Whether the optimiser stands in the estimator's parentheses."""
    keys = tuple(k for k, _ in t.options)
    return (t.optimiser, keys) in (("sgd", ("lr",)), ("momentum", RATES))


__all__ = ["ESTIMATORS", "descent", "estimator_text", "inside", "read_estimator"]
