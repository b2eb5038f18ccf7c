"""`pretrain`: blocks that train a part of the model before `train` trains all of it, and parameters set from others.

    pretrain layer1:                              a model over the model's values: equations, a loss, penalties, a train line
        z = sigmoid(W1 @ (x * bernoulli(0.7, x)) + b1)
        loss = binary_cross_entropy(sigmoid(W1.T @ z + a1), x)
        train sgd(lr = 0.1), epochs = 15
    pretrain machine:                             an energy over units, the visible ones fed by values of the model
        visible v[H] : binary(mean) = h1
        hidden  u[H] : binary
        E = - u @ W2 @ v - a2 @ v - b2 @ u
        train contrastive_divergence(k = 1, lr = 0.1)
    pretrain V1 = W1.T                            from here on V1 starts from what W1 has become

A block reads every name of the model; its own equations and parameters (`layer1.V`) are its own. What is trained by which
block, and what is a constant to it, `compiler.recipe` says.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from dataclasses import replace

from ...compiler.graph import BATCH, Expr, Input, Param, Ref
from ...compiler.reach import reached
from ...compiler.recipe import Pretraining, Setting, cut_out
from ...compiler.system import System
from ...compiler.units import Units
from . import energies, semantics
from . import syntax as s
from .arithmetic import declared
from .declarations import Collected, collect
from .diagnostics import listing
from .equations import elaborate
from .functions import probable
from .inputs import RESERVED_INPUTS
from .outputs import default_outputs
from .scope import Binding, Context, Equation, Family, Frame, Lost, Poisoned, Scope, Unknown, Value, suggest, text_of
from .targets import declare_target, legal

BELONGS = (s.Item, s.Loss, s.Penalty, s.Train, s.Repeat, s.Define, s.Output)      # what a block may hold


def block(ctx: Context, scope: Scope, x: s.Pretrain) -> None:
    """Elaborates a block and enters it into the recipe."""
    if ctx.energy:
        ctx.fail(scope, x.target, "an energy model has no pretrain blocks: its units have no layers below to be fed by",
                 hint="stack machines in a `model`: each block of it has units and an energy of its own")
    legal(ctx, scope, x.target)
    name = declare_target(ctx, scope, x.target, Binding(scope.source, x.target, "a pretrain block"))
    inner = Scope(scope.source, name, name, outer=scope)
    for statement in _inside(x.body):
        _belongs(ctx, inner, statement, name)
    main, known = ctx.system, len(ctx.diagnostics)
    body, given = _sources(ctx, scope, x.body)
    sub = Context(System(f"{main.name}.{name}", sizes=main.sizes, params=main.params), ctx.diagnostics, ctx.quiet,
                  places=ctx.places, assumed=ctx.assumed, domains=dict(ctx.domains),
                  header=s.Header(x.target.start, x.target.end, "energy" if _is_energy(body) else "model", name, ()))
    found = collect(sub, inner, body)
    for q in found.equations:
        if q.state == "todo":
            _one(sub, q)
    _around(sub, main, found, inner)
    feeds = {u.name: _feed(ctx, sub, scope, u, given) for u in sub.layers if u.visible}
    if len(ctx.diagnostics) > known:
        raise Poisoned
    own = sub.system
    _worth_it(ctx, scope, x, own, name)
    if own.loss is not None:
        whole = own.copy(equations={**main.equations, **own.equations})
        own.outputs = own.outputs or default_outputs(whole, inner, found)
    own.domains = {k: d for k, d in sub.domains.items() if k in own.inputs}
    part = cut_out(main, name, _local(own, name), lambda n: _input_name(main, own, n), probable(ctx), feeds)
    _trains_something(ctx, scope, x, part, own)
    main.pretraining = (*main.pretraining, part)


# ---------------------------------------------------------------- units and what they are fed

def _is_energy(body: tuple[s.Statement, ...]) -> bool:
    return any(isinstance(x, s.Item) and x.keyword in ("visible", "hidden") for x in body)


def _sources(ctx: Context, scope: Scope, body: tuple[s.Statement, ...]) -> tuple[tuple[s.Statement, ...], dict[str, s.Expr]]:
    """The body without what its visible units are fed, and that: `visible v[D] : binary = x`."""
    given: dict[str, s.Expr] = {}
    plain: list[s.Statement] = []
    for x in body:
        if isinstance(x, s.Item) and x.keyword == "visible":
            text = text_of(scope, x.targets[0])
            if x.value is None or len(x.targets) > 1:
                ctx.fail(scope, x, f"the visible units `{text}` of a pretrain block are fed by a value of the model",
                         hint=f"visible {text} : binary(mean) = h; each layer on a line of its own")
            given[x.targets[0].name] = x.value
            x = replace(x, value=None)
        plain.append(x)
    return tuple(plain), given


def _feed(ctx: Context, sub: Context, scope: Scope, units: Units, given: dict[str, s.Expr]) -> Expr:
    """What the model computes for visible units: one value for each, for every example."""
    from .expressions import evaluate
    node = given[units.name]
    ctx.frames.append(Frame(units.name))
    try:
        e = semantics.numeric(evaluate(ctx, node, scope))
    finally:
        ctx.frames.pop()
    text = text_of(scope, node)
    if e.axes != (BATCH,) or e.shape != units.node.shape:
        ctx.fail(scope, node, f"the units `{units.name}` are {ctx.shape_text(units.node)}, and `{text}` is {ctx.shape_text(e)}"
                 + ("" if BATCH in e.axes else ", the same for every example"), *declared(ctx, scope, [(node, e)]))
    drawn = units.kind == "binary" and sub.domains.get(units.name) == "binary"
    if drawn and ctx.domains.get(e.name if isinstance(e, Input) else "") != "binary" and probable(ctx)(e):
        ctx.fail(scope, node, f"the units `{units.name}` are 0 or 1, and `{text}` lies between",
                 *declared(ctx, scope, [(node, e)]),
                 hint=f"units that take means are declared so: visible {units.name}[...] : binary(mean) = {text}")
    return e


def _inside(body: tuple[s.Statement, ...]) -> Iterator[s.Statement]:
    for x in body:
        yield x
        if isinstance(x, s.Repeat):
            yield from _inside(x.body)


def _belongs(ctx: Context, scope: Scope, x: s.Statement, name: str) -> None:
    """Refuses what only a whole model has, and a second meaning of one of the model's names."""
    if isinstance(x, s.Item) and x.keyword in ("input", "target"):
        ctx.fail(scope, x, f"a pretrain block has no `{x.keyword}` of its own",
                 hint="it reads the model's inputs, targets and equations by their names")
    if isinstance(x, s.Item) and x.keyword == "stat":
        ctx.fail(scope, x, "a pretrain block has no `stat` of its own", hint="declare it in the model")
    if not isinstance(x, BELONGS):
        word = "pretrain" if isinstance(x, s.Pretrain) else text_of(scope, x).split()[0].split("(")[0]
        ctx.fail(scope, x, f"this stands in a model, not in a pretrain block: `{word}`",
                 hint="a block holds equations, param, loss or units and E, penalty, metric, output, train, def and repeat")
    for t in x.targets if isinstance(x, s.Item) and x.keyword != "metric" else ():
        taken = scope.outer.find(t.name) if scope.outer is not None else None
        if isinstance(taken, Equation | Value | Family):
            ctx.fail(scope, t, f"`{t.name}` is {taken.what} of the model, which `{name}` reads by this name",
                     (taken, "it is declared here"), hint="choose another name for the block's own")


def _one(ctx: Context, q: Equation) -> None:
    try:
        elaborate(ctx, q)
    except (Poisoned, Unknown):
        pass


def _around(ctx: Context, main: System, found: Collected, scope: Scope) -> None:
    """The energy, or the loss and the metrics; then penalties and the train line, which name parameters that those read."""
    from .elaborate import surround
    if ctx.energy:
        try:
            energies.energy(ctx, scope)
            energies.derivable(ctx, scope)
        except (Poisoned, Unknown):
            pass
    first: list[tuple[s.Statement, Scope]] = [(x, where) for x, where in found.rest if isinstance(x, s.Loss | s.Item)]
    surround(ctx, replace(found, rest=first))
    whole = ctx.system.copy(equations={**main.equations, **ctx.system.equations})
    nodes, _ = reached(whole, ctx.system.roots())
    read = {n.name for n in nodes if isinstance(n, Param)} - {*earlier(main)}
    ctx.system.params = {k: p for k, p in main.params.items() if k in read}
    surround(ctx, Collected(rest=[(x, where) for x, where in found.rest if not isinstance(x, s.Loss | s.Item)]))


def _worth_it(ctx: Context, scope: Scope, x: s.Pretrain, system: System, name: str) -> None:
    if system.loss is None and system.energy is None:
        ctx.fail(scope, x.target, f"the pretrain block `{name}` has no loss and no energy",
                 hint="loss = ... is what it minimises; or visible and hidden units, and E = ...")
    if system.training.truncate is not None:
        ctx.fail(scope, x.target, f"`{name}` has `truncate`, and a pretrain block sees its sequences whole")


def _trains_something(ctx: Context, scope: Scope, x: s.Pretrain, part: Pretraining, own: System) -> None:
    if not part.system.inputs:
        ctx.fail(scope, x.target, f"the pretrain block `{part.name}` reads no input of the model, and no value of it")
    if part.params:
        return
    before = earlier(ctx.system)
    nodes, _ = reached(ctx.system.copy(equations={**ctx.system.equations, **own.equations}), own.roots())
    read = [k for k in ctx.system.params if any(isinstance(n, Param) and n.name == k for n in nodes)]
    if not read:
        ctx.fail(scope, x.target, f"the pretrain block `{part.name}` trains nothing: it reads no parameter")
    groups = {b: [k for k in read if before.get(k) == b] for b in dict.fromkeys(map(before.get, read))}
    why = [f"{listing(names)} {'are' if len(names) > 1 else 'is'} frozen" if block is None else
           f"`{block}` has trained {listing(names)}" for block, names in groups.items()]
    ctx.fail(scope, x.target, f"the pretrain block `{part.name}` trains nothing: {'; '.join(why)}",
             hint="a block trains what it reads and no earlier block has trained")


def earlier(main: System) -> dict[str, str]:
    """The parameters that the blocks so far train, and by which."""
    return {k: p.name for p in main.pretraining if isinstance(p, Pretraining) for k in p.params}


# ---------------------------------------------------------------- names

def _local(system: System, name: str) -> System:
    """The block's equations under the names that the block itself has for them: z, not layer1.z."""
    def short(n: str) -> str:
        return n.removeprefix(f"{name}.")
    closing: dict[Expr, Expr] = {n: Ref(short(n.name), n.axes, n.shape, n.type) for n in system.nodes()
               if isinstance(n, Ref) and n.name in system.equations}
    out = system.rewrite(closing)
    return replace(out, equations={short(k): e for k, e in out.equations.items()}, outputs=tuple(map(short, system.outputs)),
                   names={e: short(n) for e, n in out.names.items()}, spans={short(k): p for k, p in out.spans.items()})


def _input_name(main: System, own: System, value: str) -> str:
    """An argument's name for a value of the model: h.1 is h_1."""
    name = value.replace(".", "_")
    taken = {*main.inputs, *main.params, *own.equations, *main.sizes, *(n for n in main.equations if n != value)}
    while name in RESERVED_INPUTS or name in taken or name.startswith(("lengths", "_")) or keyword.iskeyword(name):
        name = f"value_{name.lstrip('_')}"
    return name


# ---------------------------------------------------------------- parameters set from others

def setting(ctx: Context, scope: Scope, x: s.PretrainValue) -> None:
    """`pretrain V = W.T`: a parameter, and an expression of parameters."""
    from .expressions import evaluate
    read = _as_read(x.target)
    target = evaluate(ctx, read, scope)
    text = text_of(scope, x.target)
    if not isinstance(target, Param) or target.name not in ctx.system.params:
        found = scope.find(x.target.name)
        if isinstance(found, Lost):
            raise Poisoned
        what = found.what if found is not None else "nothing"
        ctx.fail(scope, x.target, f"`{text}` is {what}, and pretraining sets parameters", (found, "it is declared here"),
                 hint=suggest(text, Scope(scope.source), ctx.system.params))
    e = evaluate(ctx, x.value, scope)
    data = next((n for n in reached(ctx.system, [e])[0] if isinstance(n, Input)), None)
    notes = declared(ctx, scope, [(read, target), (x.value, e)])
    if data is not None or e.axes:
        ctx.fail(scope, x.value, f"`{text_of(scope, x.value)}` depends on the data, and a parameter is set before there are any",
                 *notes, hint="only parameters, sizes and numbers may stand here")
    if e.shape not in ((), target.shape):
        hint = f"did you mean `{text_of(scope, x.value)}.T`?" if e.shape == target.shape[::-1] else None
        ctx.fail(scope, x.value, f"`{text}` is {ctx.shape_text(target)}, and `{text_of(scope, x.value)}` is {ctx.shape_text(e)}",
                 *notes, hint=hint)
    ctx.system.pretraining = (*ctx.system.pretraining, Setting(target.name, e))


def _as_read(t: s.Target) -> s.Expr:
    name = s.Name(t.start, t.end, t.name)
    return s.Index(t.start, t.end, name, t.items) if t.items else name


__all__ = ["block", "setting"]
