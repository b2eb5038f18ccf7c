"""The front door: a system goes in, the functions of a module come out.

    stabilise      naive forms -> stable primitives                       System -> System
    masked         examples of their own lengths -> padded arrays         System -> System
    simplify       exact algebra, common subexpressions                   System -> System
    folded         factors of a product's channels into its weights       System -> System, for evaluation
    reduce_first   pooling before what is elementwise                     System -> System
    pack           parameters that meet the same operand become one       System -> System
    gradient       the adjoint system, and simplify again                 System, parameters -> roots
    schedule       which expressions form loops; the order                roots -> Schedule
    layout         where each value lives, which are parts of a kernel    Schedule -> Layout
    lower          statements                                             Layout -> Function
    share, plan    which values may share memory                          Function -> Plan, in the backend: it knows its scratch

Every stage's result stays in `Compiled`, for `chainrule show`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

from .checkpointing import Chunked, chunked
from .formulas import arrivals, equations
from .gradient import Adjoint, gradient
from .graph import BATCH, Broadcast, Concat, Const, Expr, Extent, GraphError, Input, Param, length, postorder
from .node import base
from .options import Options
from .passes.evaluation import evaluation, settled_stats
from .passes.finish import finish
from .passes.folding import folded
from .passes.hoist import hoisted
from .passes.layout import Layout, layout
from .passes.lengths import masked
from .passes.lower import lower
from .passes.masks import padded_outputs, unmasked
from .passes.pack import by_members, pack, unpacked
from .passes.preactivations import name_preactivations
from .passes.reduce_first import learnt, reduce_first, shown
from .passes.schedule import schedule
from .passes.simplify import simplify, simplify_memo
from .passes.stabilise import stabilise
from .program import Array, Block, Copy, Fill, Function, Kernel, Literal, SizeOf, Stmt, View, view
from .shortest import shortest
from .steps import NoSteps, Steps, stepped
from .surgery import without_stops, without_surgery
from .system import System
from .truncation import Truncation, ends, equation, settled, truncated


@dataclass
class Compiled:
    """Everything that the stages made, in order."""

    source: System
    stable: System
    trained: tuple[str, ...] = ()
    adjoint: Adjoint | None = None
    differentiated: System | None = None                         # with the simplified adjoint equations and gradients
    gradients: dict[str, Expr] = field(default_factory=dict)     # parameter -> its gradient
    evaluated: System | None = None
    explained: dict[str, System] = field(default_factory=dict)   # before the cheapest forms, as a person reads it
    functions: dict[str, Function] = field(default_factory=dict)
    layouts: dict[str, Layout] = field(default_factory=dict)
    truncation: Truncation | None = None                         # how the model's sequence is cut into chunks
    chunked: Chunked | None = None                               # the gradient in chunks that are computed anew going back
    steps: Steps | None = None                                   # one step at a time; `stepless` says why not
    stepless: str = "this model has no output"
    model: System | None = None                                  # of an energy model: the model (`source`: what it minimises),
    parts: dict[str, Compiled] = field(default_factory=dict)     # its other functions,
    missing: dict[str, str] = field(default_factory=dict)        # why it has not all of them,
    chain: tuple[str, ...] = ()                                  # and the inputs that its persistent chains go on from
    seconds: dict[str, float] = field(default_factory=dict)
    direct: bool = False                                         # whether convolutions read windows where they stand


class _Clock:
    def __init__(self, out: dict[str, float]) -> None:
        self.out, self.start = out, perf_counter()

    def lap(self, name: str) -> None:
        now = perf_counter()
        self.out[name] = self.out.get(name, 0.0) + now - self.start
        self.start = now


def compile_system(system: System, options: Options | None = None, direct: bool = False) -> Compiled:
    """All stages up to statements: the functions `gradients`, `predict` and `evaluate`; with `checkpoint`, those over chunks.

    Of an energy model, the functions that `energy_pipeline` lists. `direct`: the backend's convolutions copy no windows.
    """
    if system.energy is not None:
        from .energy_pipeline import compile_energy
        return compile_energy(system)
    system = settled_stats(system)
    out = Compiled(system, system, direct=direct)
    clock = _Clock(out.seconds)
    if system.training.truncate is not None:
        system, out.truncation = truncated(system)
    stable, told = (masked(stabilise(s)) for s in (system, evaluation(system)))      # stats stand for what is written
    clock.lap("stabilise")
    out.stable = name_preactivations(hoisted(simplify(stable)))
    evaluated = _evaluated(out, told)
    clock.lap("simplify")
    if system.loss is not None:
        differentiate(out)
        clock.lap("differentiate")
        train = out.differentiated
        assert train is not None and train.loss is not None
        roots = {"loss": train.equations["loss*"], **{f"d_{k}": e for k, e in backwards(out).items()}}
        roots |= {k: train.stats[k].update for k in train.stats}
        lower_function(out, "gradients", train, roots, tuple(k for k in roots if k != "loss"), out.trained)
        if options is not None and options.checkpoint is not None:
            out.chunked = _chunked(out)
        lower_function(out, "evaluate", evaluated, _sums(evaluated), ())
    if system.outputs:
        lower_function(out, "predict", evaluated, padded_outputs(evaluated, system.lengths), ())
    _ask_lengths(out, stable, told)
    try:
        out.steps = stepped(out.source) if system.outputs else None
    except NoSteps as why:
        out.stepless = str(why)
    clock.lap("lower")
    return out


def _evaluated(out: Compiled, told: System) -> System:
    """The system of `predict` and `evaluate`: evaluation mode in its cheapest form."""
    system = simplify(name_preactivations(without_stops(told)))
    system = name_preactivations(reduce_first(simplify(folded(system, shown)), shown))
    system, packs = pack(system)
    out.explained["evaluated"] = unmasked(system, out.source.lengths)
    out.evaluated = settled(unpacked(finish(system), packs), out.truncation)
    return out.evaluated


def _ask_lengths(out: Compiled, stable: System, told: System) -> None:
    """How long sequences must be, by what each function computes: `stable` in training, `told` in evaluation."""
    asked = {"predict": (told, [told.equations[k] for k in told.outputs])}
    if told.loss is not None:
        asked["gradients"] = stable, [stable.objective(), *(s.update for s in stable.stats.values())]
        asked["evaluate"] = told, [told.objective(), *(a.value for a in told.metrics.values())]
    for name, (system, roots) in asked.items():
        if name in out.functions:
            out.functions[name].least = shortest(system, out.source.lengths, roots)


def _sums(system: System) -> dict[str, Expr]:
    """What `evaluate` computes: sums and counts of the loss and the metrics, and the penalty."""
    assert system.loss is not None
    penalty = system.penalty()
    out = {"loss": system.loss.total, "loss count": system.loss.count, **({} if penalty is None else {"penalty": penalty})}
    for name, average in system.metrics.items():
        out |= {name: average.total, f"{name} count": average.count}
    return out


def _chunked(out: Compiled) -> Chunked:
    """The gradient once more, in chunks of time."""
    system = out.stable.copy()
    system.equations["loss*"] = system.objective()
    return chunked(system, out.trained, partial(lower_function, out))


def differentiate(out: Compiled, packed: bool = True) -> None:
    """The objective's gradient by every trained parameter, simplified; `packed`: as it is computed best, not as it reads best."""
    system = out.stable
    _names_free(system)
    out.trained = out.source.trained()
    wrt: list[Expr] = [system.params[k].node for k in out.trained]
    system = system.copy()
    system.equations["loss*"] = system.objective()
    system, packs = pack(reduce_first(system, learnt)) if packed else (system, {})
    system = name_preactivations(system)
    adjoint = out.adjoint = gradient(system, system.equations["loss*"], [*wrt, *packs])
    extended = adjoint.system
    grads = by_members(adjoint, dict(zip(out.trained, wrt, strict=True)), packs)
    extended.equations.update({k: e for k, e in grads.items() if k not in extended.equations})
    extended = without_stops(without_surgery(extended))          # done: the adjoint holds what they say
    memo = simplify_memo(extended.roots(), system.sizes)
    extended = _shared_named(hoisted(extended.mapped(memo)), out)
    out.explained["differentiated"] = unmasked(extended, out.source.lengths)
    final = out.differentiated = settled(unpacked(finish(extended), packs), out.truncation)
    out.gradients = {k: final.equations.get(f"d_{k}", Const(0)) for k in out.trained}


def _shared_named(system: System, out: Compiled) -> System:
    """What the gradients' formulas share, and nobody has named, as equations t1, t2, ...: the code computes it under these names.

    Where examples have lengths of their own it stays nameless: a person reads those formulas without their masks.
    """
    if system.lengths:
        return system
    known = meanings(system)
    given = {*postorder(*(known[k] for k in ("loss", *out.source.equations) if k in known))}
    roots = {f"d_{k}": system.equations[f"d_{k}"] for k in out.trained if f"d_{k}" in system.equations}
    taken = {*system.inputs, *system.params, *system.stats, *system.sizes}
    found = equations(roots, {e: n for n, e in known.items()}, given, taken, arrivals(system))
    system = system.copy()
    for q in found:
        if q.name not in known and q.name not in roots and q.expr not in given and not isinstance(q.expr, Concat):
            system.equation(q.name, q.expr)
    return system


def _names_free(system: System) -> None:
    """Refuse an equation or a stat that is called like the adjoint of something: d_W beside W."""
    for name in (*system.equations, *system.stats):
        if name.startswith("d_") and name[2:] in (*system.params, *system.stats, *system.inputs, *system.equations):
            raise GraphError(f"{name} is the gradient by {name[2:]}; what is declared under this name needs another one")


def meanings(system: System) -> dict[str, Expr]:
    """Name -> the expression that is called so; the objective is called loss."""
    nodes = set(system.nodes())
    out = {n: e for e, n in system.names.items() if e in nodes}
    if "loss*" in system.equations:
        out["loss"] = system.equations["loss*"]
    return out


def backwards(out: Compiled) -> dict[str, Expr]:
    """Gradients, those of the last parameters used first: the order in which backpropagation meets them."""
    system = out.differentiated
    assert system is not None
    first: dict[str, int] = {}
    for i, n in enumerate(postorder(*(e for k, e in system.equations.items() if k in out.source.equations))):
        if isinstance(n, Param):
            first.setdefault(n.name, i)
    order = sorted(out.gradients, key=lambda k: -first.get(k, -1))
    return {k: out.gradients[k] for k in order}


def lower_function(out: Compiled, name: str, system: System, roots: dict[str, Expr], results: tuple[str, ...],
                   trained: tuple[str, ...] = ()) -> None:
    """Schedule, lay out and lower one function; `results` are arrays that the caller owns."""
    carry = ends(system, out.truncation, roots.values())
    lay = layout(schedule(system, {**roots, **{equation(k): e for k, e in carry.items()}}), out.direct)
    names = {**system.names, **{lay.plan.roots[k]: k for k in ("loss",) if k in roots}}
    body: list[Stmt] = list(lower(lay, names))
    function = Function(name, body=body, trained=trained)
    owned: set[Array] = set()
    for key, root in roots.items():
        e = system.resolve(root)
        array = lay.arrays.get(e)
        if key in results:
            if array is not None and lay.kind[e] == "whole" and array not in owned and e.dims:
                array.role = "result"
            else:                                                # a view, a parameter, or another result's value: a copy
                array = Array(e.dims, role="result")
                body.append(Block((e,), [_copied(lay, e, array)]))
            array.name = key if key.startswith("d_") else f"new_{key}"
            owned.add(array)
            function.results[key] = view(array)
        elif isinstance(e, (Const, Extent)) and name != "predict":
            function.numbers[key] = e
        else:
            function.results[key] = _last(lay, e, body)
    function.carry = {k: _last(lay, system.resolve(e), body) for k, e in carry.items()}
    read = {n.name for n in lay.plan.order if isinstance(n, Input)}
    function.inputs = tuple(k for k in system.inputs if k in read)
    function.axes = tuple(sorted({base(x) for n in lay.plan.order for x in n.axes if x != BATCH}))
    function.free = _free(system, lay.plan.order)
    _sections(function, lay)
    out.functions[name], out.layouts[name] = function, lay


def _free(system: System, order: Sequence[Expr]) -> tuple[str, ...]:
    """The lengths of axes that these nodes depend on and no input among them carries."""
    told = {str(length(x)) for n in order if isinstance(n, Input) for x in n.axes}
    every = {str(length(x)) for n in (*order, *system.inputs.values()) for x in n.axes}
    used = {s for n in order for d in (*n.dims, *([n.size] if isinstance(n, Extent) else [])) for s in d.symbols}
    return tuple(sorted((used & every) - told - {*system.sizes}))


def _last(lay: Layout, e: Expr, body: list[Stmt]) -> View:
    """What the next chunk starts from, where it stands; a number gets an array."""
    base = e.args[0] if isinstance(e, Broadcast) else e
    if lay.kind[base] != "inline":
        return lay.access(e, None)
    array = Array(e.dims)
    body.append(Block((e,), [_copied(lay, e, array)]))
    return view(array)


def _copied(lay: Layout, e: Expr, array: Array) -> Stmt:
    base = e.args[0] if isinstance(e, Broadcast) else e
    if isinstance(base, Extent) or (isinstance(base, Const) and not e.dims):
        return Kernel(e.dims, view(array), Literal(base.value) if isinstance(base, Const) else SizeOf(base.size))
    if lay.kind[base] == "inline" or lay.kind[e] == "inline":
        return Fill(view(array), getattr(base, "value", 0))
    return Copy(view(array), lay.access(e, None))


def _sections(function: Function, lay: Layout) -> None:
    """Mark where the backward pass begins: what the loss does not need."""
    if not function.trained or "loss" not in lay.plan.roots:
        return
    operands, forward = lay.plan.operands, set()
    stack = [lay.plan.roots["loss"]]
    while stack:
        n = stack.pop()
        if n not in forward:
            forward.add(n)
            stack.extend(operands[n])
    for b in function.body:
        if isinstance(b, Block) and b.values:
            b.section = "forward" if any(v in forward for v in b.values) else "backward"
