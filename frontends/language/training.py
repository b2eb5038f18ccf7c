"""What stands around the equations: loss, metrics, penalties, stats, outputs, the lines `data` and `train`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import fields

from ...compiler.graph import BATCH, Expr, Param, Reduce, apply, broadcast
from ...compiler.optimisers import OPTIMISERS
from ...compiler.options import BadOption, read_checkpoint
from ...compiler.passes.evaluation import batch_reductions
from ...compiler.system import Average, Data, Initialiser, Penalty, Stat, Training
from . import ranges, semantics
from . import syntax as s
from .arithmetic import declared
from .estimators import ESTIMATORS, descent, read_estimator
from .expressions import check_axes, evaluate, over_items
from .options import named_options, positive, rate, whole
from .parameters import number
from .scope import Context, Equation, Family, Frame, Poisoned, Scope, Value, suggest, text_of

WORD_OPTIONS = ("eps_inside",)
Once = Callable[[str, object], None]
COUNTS = ("epochs", "batch", "truncate", "patience")
SETTINGS = ("clip_norm", "clip_value", *COUNTS)
SCHEDULES = {"constant": (), "cosine": ("floor",), "linear": ("floor",), "step": ("every", "factor"), "exponential": ("factor",),
             "warmup": ("steps",)}


# ---------------------------------------------------------------- loss and metrics

def average(ctx: Context, scope: Scope, node: s.Expr, what: str) -> Average:
    """The loss or a metric as a total and a count; a mean over the batch at the root is split."""
    ctx.frames.append(Frame(what))
    try:
        inner = node
        while isinstance(inner, s.Unary) and inner.op == "()":
            inner = inner.a
        over: tuple[str, ...] = ()
        if isinstance(inner, s.Call) and inner.f == "average" and len(inner.args) == 2:
            total, count = (evaluate(ctx, a.value, scope) for a in inner.args)
            for a, e in zip(inner.args, (total, count)):
                one_number(ctx, scope, a.value, e, (), "total and the count of an average")
            return Average(total, count)
        if isinstance(inner, s.Over) and inner.f == "mean":
            found = over_items(ctx, inner.items, scope, inner, "mean")
            if BATCH in found and all(isinstance(o, str) for o in found):
                over, node = tuple(o for o in found if isinstance(o, str)), inner.a
        within = ranges.inside(ctx, inner.items, scope) if over and isinstance(inner, s.Over) else scope
        e = semantics.numeric(evaluate(ctx, node, within))
        check_axes(ctx, scope, inner, e, over, "mean[...]", node)
        one_number(ctx, scope, node, e, over, what)
        kept = ranges.condition(ctx, inner.items, scope) if over and isinstance(inner, s.Over) else None
        if kept is not None and isinstance(inner, s.Over):
            count = ranges.counted(ctx, kept, e, over, inner.items, scope)
            return Average(Reduce("sum", apply("select", kept, e, 0), over), count)
        return semantics.average(e, over)
    finally:
        ctx.frames.pop()


def one_number(ctx: Context, scope: Scope, node: s.Expr, e: Expr, over: tuple[str, ...], what: str) -> None:
    notes = declared(ctx, scope, [(node, e)])
    if e.type.kind == "class":
        ctx.fail(scope, node, f"the {what} is a class and no number", *notes, hint="compare it: argmax(p) != y")
    if e.shape:
        ctx.fail(scope, node,
                 f"the {what} must be one number for each example, and `{text_of(scope, node)}` is {ctx.shape_text(e)}",
                 *notes, hint="sum it over its features: sum(...), mean(...)")
    left = [a for a in e.axes if a != BATCH and a not in over]
    if left:
        ctx.fail(scope, node,
                 f"the {what} must be one number for each example, and `{text_of(scope, node)}` runs along {left[0]}",
                 *notes, hint=f"take its mean over both: mean[batch, {left[0]}] ..., or its sum over time: sum[{left[0]}] ...")


def loss(ctx: Context, scope: Scope, x: s.Loss) -> None:
    found = average(ctx, scope, x.value, "loss")
    bad = semantics.not_differentiable(found.total, ctx.system, ctx.choices)
    if bad is not None:
        source, node = ctx.places.get(bad[0], (scope.source, x.value))
        if isinstance(node, s.Node):
            where = Scope(source)
            ctx.fail(where, node, f"no gradient passes through {bad[1]}, and the loss reads it",
                     hint="report it as a metric; in the loss only the condition of a select may hold it")
    ctx.system.loss = found


def metric(ctx: Context, scope: Scope, x: s.Item) -> None:
    assert x.value is not None
    name = x.targets[0].name
    if name in ctx.system.metrics or name in ("loss", "penalty"):
        ctx.fail(scope, x.targets[0], f"the metric `{name}` is declared already", hint="choose another name")
    ctx.system.metrics[name] = average(ctx, scope, x.value, "metric")
    ctx.system.spans.setdefault(f"metric {name}", scope.source.span(x.targets[0].start, x.targets[0].end))


# ---------------------------------------------------------------- stats

def stat(ctx: Context, scope: Scope, x: s.Item, target: s.Target, full: str) -> None:
    """`stat mu[C] = 0 <- update`; the update holds one reduction over the batch."""
    assert x.value is not None and x.update is not None
    node = scope.owner.find(target.name)
    if isinstance(node, Family):
        from .static import integer
        node = scope.find(node.members[integer(ctx, target.items[0], scope) or 0]) if target.items else None
    if not isinstance(node, Value) or not isinstance(node.expr, Param):
        raise Poisoned
    init = Initialiser("constant", (number(ctx, scope, x.value, "the start of a stat"),))
    update, is_average = x.update, False
    if isinstance(update, s.Over) and update.f == "average":
        names = [i.name for i in update.items if isinstance(i, s.Name)]
        if names != ["batches"]:
            ctx.fail(scope, update, "an average runs over the training batches", hint="average[batches](...)")
        update, is_average = update.a, True
    ctx.frames.append(Frame(full))
    try:
        e = evaluate(ctx, update, scope)
    finally:
        ctx.frames.pop()
    _check_stat(ctx, scope, update, node, e)
    if not ctx.quiet:
        if full in ctx.system.stats and ctx.system.stats[full].update is not e:
            ctx.fail(scope, target, f"`{full}` is updated by two calls of one instance", hint="give each its own instance")
        ctx.system.stats[full] = Stat(node.expr, init, broadcast(e, e.axes, node.expr.shape), is_average)
        ctx.system.spans.setdefault(full, node.span)


def _check_stat(ctx: Context, scope: Scope, update: s.Expr, node: Value, e: Expr) -> None:
    assert node.expr is not None
    if e.axes:
        axes = [a for a in e.axes if a != BATCH] or ["batch"]
        ctx.fail(scope, update, f"a stat is one value for all examples, and its update runs along {axes[0]}",
                 hint=f"reduce it: mean[{', '.join(dict.fromkeys([*axes, 'batch']))}](...)")
    if e.shape not in ((), node.expr.shape):
        ctx.fail(scope, update, f"the stat is {ctx.shape_text(node.expr)}, its update {ctx.shape_text(e)}",
                 (node, "the stat is declared here"))
    found = batch_reductions(e)
    if len(found) != 1:
        ctx.fail(scope, update, f"the update of a stat holds one reduction over the batch, and this holds {len(found) or 'none'}",
                 hint="in evaluation the stat stands for it: 0.9 * mu + 0.1 * mean[batch](a)")
    if found[0].shape != node.expr.shape:
        ctx.fail(scope, update, f"the stat is {ctx.shape_text(node.expr)}, the reduction over the batch that it stands for in "
                 f"evaluation {ctx.shape_text(found[0])}", (node, "the stat is declared here"))
    for name, other in ctx.system.stats.items():
        if other.node is not node.expr and batch_reductions(other.update) == found:
            ctx.fail(scope, update, f"`{name}` stands for the same reduction over the batch: evaluation could read either",
                     hint="one of them is enough")


# ---------------------------------------------------------------- penalties, outputs

def matching(ctx: Context, scope: Scope, patterns: tuple[s.Pattern, ...], more: Iterable[str] = ()) -> tuple[str, ...]:
    """The parameters, and those `more`, that patterns name (`*` any letters, `?` one), in the order of their declaration."""
    chosen: dict[str, None] = {}
    known = [*ctx.system.params, *more]
    for p in patterns:
        rule = re.compile("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in p.text))
        fits = [n for n in known if rule.fullmatch(n)]
        if not fits:
            hint = suggest(p.text, Scope(scope.source), known)
            ctx.report(scope, p,
                       f"no parameter is called `{p.text}`" if "*" not in p.text else f"no parameter matches `{p.text}`",
                       hint=hint or f"the parameters: {', '.join(list(ctx.system.params)[:8]) or 'none'}")
        chosen.update(dict.fromkeys(fits))
    if not chosen:
        raise Poisoned
    return tuple(n for n in known if n in chosen)


def penalty(ctx: Context, scope: Scope, x: s.Penalty) -> None:
    if x.kind not in ("l1", "l2"):
        ctx.fail(scope, x, f"there is no penalty `{x.kind}`", hint="penalties: l2(weight) and l1(weight)")
    weight = number(ctx, scope, x.weight, "the weight of a penalty")
    if weight < 0:
        ctx.fail(scope, x.weight, "the weight of a penalty is not negative")
    ctx.system.penalties = (*ctx.system.penalties, Penalty(x.kind, weight, matching(ctx, scope, x.patterns)))


def output(ctx: Context, scope: Scope, x: s.Output) -> None:
    names = []
    for n in x.names:
        found = scope.find(n.name)
        if isinstance(found, Family):
            names += [scope.names[m].full for m in found.members.values() if isinstance(scope.names[m], Equation)]  # type: ignore
        elif isinstance(found, Equation):
            names.append(found.full)
        elif n.name in ctx.system.equations:
            names.append(n.name)
        else:
            known = [k for k in scope.names if isinstance(scope.names[k], Equation)]
            ctx.report(scope, n, f"an output is the name of an equation, and `{n.name}` is "
                       + (found.what if found is not None else "none"), hint=suggest(n.name, Scope(scope.source), known))
    ctx.system.outputs = tuple(dict.fromkeys((*ctx.system.outputs, *names)))


# ---------------------------------------------------------------- data and train

def data(ctx: Context, scope: Scope, x: s.Data) -> None:
    options: list[tuple[str, float | str]] = []
    for i, a in enumerate(x.args):
        options.append((a.name or str(i), _plain(ctx, scope, a.value)))
    columns = []
    hidden = {u.name for u in ctx.layers if not u.visible}
    for c in x.columns:
        if c.name in hidden:
            ctx.report(scope, c, f"`{c.name}` is hidden: its values are sampled, and no data gives them",
                       hint=f"data gives: {', '.join(n for n in ctx.system.inputs if n not in hidden) or 'nothing'}")
        elif c.name not in ctx.system.inputs:
            ctx.report(scope, c, f"the model has no input `{c.name}`",
                       hint=suggest(c.name, Scope(scope.source), ctx.system.inputs)
                       or f"the inputs: {', '.join(ctx.system.inputs) or 'none'}")
        if c.text is None:
            columns.append((c.name, c.name))
        else:
            columns.append((c.name, _formula(scope, c.text)))
    split = tuple(int(n) if n.isdigit() and len(n) < 16 else -1 for n in x.split)
    if any(n <= 0 for n in split[:2]) or any(n < 0 for n in split) or (split and not 2 <= len(split) <= 3):
        ctx.report(scope, x, f"a split is two or three counts of examples, not {' / '.join(x.split)}",
                   hint="split 1400 / 397 (training, test), or split 50000 / 10000 / 10000; a third count of 0 is no test part")
    if x.labelled is not None and (not isinstance(x.labelled.value, int) or x.labelled.value < 1):
        ctx.fail(scope, x.labelled, "labelled says how many examples are trained on: a whole number of at least 1")
    ctx.system.data = Data(x.source, tuple(options), tuple(columns), split, "" if x.only is None else _formula(scope, x.only),
                           0 if x.labelled is None else int(x.labelled.value))


def _formula(scope: Scope, place: str) -> str:
    """The text between two places, on one line."""
    lo, hi = map(int, place.split(":"))
    return " ".join(scope.source.text[lo:hi].split("#")[0].split())


def _plain(ctx: Context, scope: Scope, node: s.Expr) -> float | str:
    """An option's value: a word, a text or a number."""
    if isinstance(node, s.Text):
        return node.value
    if isinstance(node, s.Name) and scope.find(node.name) is None:
        return node.name
    value = number(ctx, scope, node, "an option")
    return int(value) if value == int(value) else value


def train(ctx: Context, scope: Scope, x: s.Train) -> None:
    chosen: dict[str, object] = {}
    for option in x.options:
        try:
            _option(ctx, scope, option, chosen)
        except Poisoned:
            pass
    if ctx.energy and "estimator" not in chosen and not ctx.diagnostics:
        ctx.fail(scope, x, "an energy model is trained by an estimator of the likelihood's gradient, and none is named",
                 hint="train contrastive_divergence(k = 1, lr = 0.1); another optimiser stands beside it: ..., adam(lr = 0.001)")
    if {"truncate", "checkpoint"} <= {*chosen}:
        ctx.fail(scope, next(o for o in x.options if o.what == "checkpoint"), "checkpoint and truncate exclude each other",
                 hint="leave checkpoint out: a chunk of `truncate` is as short as one likes")
    known = {f.name for f in fields(Training)}
    ctx.system.training = Training(**{k: v for k, v in chosen.items() if k in known})  # type: ignore[arg-type]


def _option(ctx: Context, scope: Scope, o: s.Option, chosen: dict[str, object]) -> None:
    def once(key: str, value: object) -> None:
        if key in chosen:
            hint = "lr and momentum stand in the estimator's parentheses, or in an optimiser's beside it"
            ctx.fail(scope, o, f"`{key}` stands twice in the train line",
                     hint=hint if key == "optimiser" and "estimator" in chosen else None)
        chosen[key] = value

    name = o.kind.name
    match o.what:
        case "optimiser":
            _optimiser(ctx, scope, o, once)
        case "setting":
            once(name, _setting(ctx, scope, o))
        case "checkpoint":
            try:
                once("checkpoint", str(read_checkpoint(name)))
            except BadOption as e:
                ctx.fail(scope, o, str(e))
        case "schedule":
            if name not in SCHEDULES:
                ctx.fail(scope, o.kind, f"there is no schedule `{name}`", hint=suggest(name, Scope(scope.source), SCHEDULES)
                         or f"schedules: {', '.join(SCHEDULES)}")
            once("schedule", name)
            chosen["schedule_options"] = _options(ctx, scope, o.kind, (*SCHEDULES[name], "warmup"))
        case "freeze":
            chosen["freeze"] = (*chosen.get("freeze", ()),  # type: ignore[misc]
                                *matching(ctx, scope, o.patterns, ctx.system.stats))
        case "rate":
            assert o.value is not None
            rate = number(ctx, scope, o.value, "a rate")
            chosen["rates"] = (*chosen.get("rates", ()), *((n, rate) for n in matching(ctx, scope, o.patterns)))  # type: ignore
        case _:
            _constraint(ctx, scope, o, chosen, once)


def _optimiser(ctx: Context, scope: Scope, o: s.Option, once: Once) -> None:
    name = o.kind.name
    if name in ESTIMATORS:
        _estimator(ctx, scope, o, once)
        return
    if name not in OPTIMISERS:
        if name in SETTINGS:
            ctx.fail(scope, o, f"`{name}` needs a value: {name} = 10")
        known = (*ESTIMATORS, *OPTIMISERS) if ctx.energy else tuple(OPTIMISERS)
        ctx.fail(scope, o.kind, f"there is no {'estimator or ' if ctx.energy else ''}optimiser `{name}`",
                 hint=suggest(name, Scope(scope.source), known)
                 or (f"estimators: {', '.join(ESTIMATORS)}; " if ctx.energy else "") + f"optimisers: {', '.join(OPTIMISERS)}")
    defaults = OPTIMISERS[name][0]
    options = _options(ctx, scope, o.kind, tuple(defaults))
    once("optimiser", name)
    once("options", tuple({"lr": defaults["lr"], **dict(options)}.items()))


def _estimator(ctx: Context, scope: Scope, o: s.Option, once: Once) -> None:
    found, rates = read_estimator(ctx, scope, o)
    ctx.estimator = (scope.source, o)
    once("estimator", found)
    optimiser = descent(rates, float(OPTIMISERS["sgd"][0]["lr"]))
    if optimiser is not None:
        once("optimiser", optimiser[0])
        once("options", optimiser[1])


def _options(ctx: Context, scope: Scope, kind: s.Kind, known: tuple[str, ...]) -> tuple[tuple[str, float | str | bool], ...]:
    out: list[tuple[str, float | str | bool]] = []
    for name, a in named_options(ctx, scope, kind, known):
        if name in WORD_OPTIONS:
            word = a.value.name if isinstance(a.value, s.Name) else ""
            if word not in ("true", "false"):
                ctx.fail(scope, a, f"{name} is true or false")
            out.append((name, word == "true"))
        else:
            out.append((name, rate(ctx, scope, a.value, name)))
    return tuple(out)


def _setting(ctx: Context, scope: Scope, o: s.Option) -> float | int:
    name = o.kind.name
    assert o.value is not None
    if name not in SETTINGS:
        hint = "it is an option of the optimiser: adam(lr = 0.001)" if any(name in v[0] for v in OPTIMISERS.values()) else None
        ctx.fail(scope, o.kind, f"the train line knows no `{name}`", hint=hint or suggest(name, Scope(scope.source), SETTINGS)
                 or f"it knows: {', '.join(SETTINGS)}, checkpoint, schedule, freeze, rate")
    return whole(ctx, scope, o.value, name) if name in COUNTS else positive(ctx, scope, o.value, name, True)


def _constraint(ctx: Context, scope: Scope, o: s.Option, chosen: dict[str, object], once: Once) -> None:
    """max_norm(3) on W*, l1_ball(10) on V, l2(1e-4) on W*: constraints and decoupled decay."""
    name, args = o.kind.name, o.kind.args
    if name not in ("max_norm", "l1_ball", "l1", "l2"):
        ctx.fail(scope, o.kind, f"there is no constraint `{name}`", hint="there are max_norm(bound), l1_ball(bound), and the "
                 "decoupled decay l2(weight), l1(weight)")
    if len(args) != 1:
        ctx.fail(scope, o.kind, f"`{name}` takes one number")
    bound = positive(ctx, scope, args[0].value, name, True)
    names = matching(ctx, scope, o.patterns)
    if name in ("l1", "l2"):
        chosen["decay"] = (*chosen.get("decay", ()), (name, bound, names))  # type: ignore[misc]
    else:
        once(name, (bound, names))


__all__ = ["average", "data", "loss", "metric", "one_number", "output", "penalty", "stat", "train"]
