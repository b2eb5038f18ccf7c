"""Statements -> System: header, declarations, equations, loss and the rest, every mistake collected."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...compiler.graph import GraphError, Ref, postorder
from ...compiler.sizes import symbol
from ...compiler.system import System
from . import energies, pretraining, surgery, training
from . import syntax as s
from .complaints import KEYWORDS
from .declarations import Collected, collect
from .diagnostics import Diagnostic, ModelError, Source, did_you_mean
from .equations import elaborate
from .outputs import default_outputs
from .scope import Context, Equation, Lost, Poisoned, Scope, SizeName, Unknown, legal_word, suggest
from .static import LARGEST, integer


def elaborate_model(source: Source, statements: tuple[s.Statement, ...], mistakes: list[Diagnostic],
                    lost: Mapping[str, tuple[int, int]], sizes: Mapping[str, int] | None = None) -> System:
    """The system that the statements describe; ModelError with all mistakes found, those of the parser included.

    `lost` are the words of statements that could not be read: reading them is no further mistake.
    """
    ctx = Context(System(""), list(mistakes))
    scope = Scope(source)
    scope.names.update({name: Lost(source, s.Node(*place)) for name, place in lost.items() if name not in KEYWORDS})
    _header(ctx, scope, statements, bool(mistakes), dict(sizes or {}))
    surgery.watch(ctx, statements)
    found = collect(ctx, scope, tuple(x for x in statements if not isinstance(x, s.Header)))
    for q in found.equations:
        if q.state == "todo":
            _one(ctx, q)
    ctx.system.domains.update(ctx.domains)
    if ctx.energy:
        _guarded(ctx, scope, ctx.header or s.Node(0, 1), lambda: energies.energy(ctx, scope))
    surround(ctx, found)
    for q in found.equations:
        if q.state == "lost" and not ctx.diagnostics:
            ctx.report(scope, q.node, f"the shape of `{q.name}` cannot be found", hint=f"declare it: {q.name}[t, H] = ...")
    if ctx.energy and not ctx.diagnostics:
        energies.derivable(ctx, scope)
    if ctx.diagnostics:
        raise ModelError(ctx.diagnostics)
    _order(ctx.system, found)
    if not ctx.system.outputs and not ctx.energy:
        ctx.system.outputs = default_outputs(ctx.system, scope, found)
    _verified(ctx, scope, found)
    return ctx.system


def _verified(ctx: Context, scope: Scope, found: Collected) -> None:
    """What only the whole graph shows: delays of both signs in one cycle, a sum over time inside one."""
    from ...compiler.verify import verify
    if not any(isinstance(e, Ref) for e in ctx.system.nodes()):
        return                                                    # without a recurrence nothing is left to check
    try:
        verify(ctx.system)
    except GraphError as error:
        message = str(error).removeprefix("after construction: ")
        words = set(re.findall(r"[\w.]+", message))
        q = next((q for q in found.equations if q.full in words), None)
        if "has no such axis" in message and q is not None:
            path = message.rsplit(": ", 1)[-1]
            message = f"`{q.name}` needs a sum over all steps, or one certain step, to compute its own steps: {path}"
        ctx.report(scope, q.node if q is not None else s.Node(0, 1), message)
        raise ModelError(ctx.diagnostics) from None


def _one(ctx: Context, q: Equation) -> None:
    try:
        elaborate(ctx, q)
    except (Poisoned, Unknown):
        pass


def _header(ctx: Context, scope: Scope, statements: tuple[s.Statement, ...], broken: bool, given: dict[str, int]) -> None:
    headers = [x for x in statements if isinstance(x, s.Header)]
    if not headers:
        if not broken:
            where = s.Node(0, 1)
            ctx.report(scope, where, "a model starts with its name and sizes", hint="model name(D = 784, H = 128)")
        return
    header = headers[0]
    ctx.header = header
    if statements[0] is not header and not broken:
        ctx.report(scope, header, "the header of a model is its first line")
    for other in headers[1:]:
        ctx.report(scope, other, "a file holds one model")
    ctx.system.name = header.name
    _guarded(ctx, scope, header, lambda: legal_word(ctx, scope, header, header.name))
    for f in header.sizes:
        try:
            _size(ctx, scope, f, given)
        except Poisoned:
            scope.names.setdefault(f.name, SizeName(scope.source, f, "a size", symbol(f.name)))
    for name in given:
        if name not in ctx.system.sizes:
            ctx.report(scope, header, f"the model has no size `{name}` to set", hint=did_you_mean(name, ctx.system.sizes))


def _size(ctx: Context, scope: Scope, f: s.Formal, given: dict[str, int]) -> None:
    legal_word(ctx, scope, f, f.name)
    if not f.name[:1].isupper() or "." in f.name:
        ctx.report(scope, f, f"a size has an upper-case name, not `{f.name}`", hint=f"{f.name.split('.')[0].capitalize()} = ...")
    if f.name == "B":
        ctx.report(scope, f, "`B` is the size of the batch and cannot be declared", hint="choose another name")
    if f.default is None:
        ctx.fail(scope, f, f"the size `{f.name}` has no value", hint=f"give it one: {f.name} = 128")
    value = given.get(f.name, integer(ctx, f.default, scope))
    if value is None or not 0 < value <= LARGEST:
        ctx.fail(scope, f.default, "a size is a whole number from 1 up to 2^40", hint=f"{f.name} = 128")
    if ctx.declare(scope, f.name, SizeName(scope.source, f, "a size", symbol(f.name))):
        ctx.system.sizes[f.name] = value


def surround(ctx: Context, found: Collected) -> None:
    """Everything but equations, in the order in which the parts need each other."""
    for owner in dict.fromkeys(q.scope.owner for q in found.equations if q.scope is not None):
        _bounds(ctx, owner)
    for item, target, full, scope in found.stats:
        _guarded(ctx, scope, item, lambda: training.stat(ctx, scope, item, target, full))  # noqa: B023
    loss: s.Loss | None = None
    for x, scope in found.rest:
        if ctx.energy and energies.refused(ctx, scope, x):
            continue
        if isinstance(x, s.Loss):
            if loss is not None:
                ctx.report(scope, x, "a model has one loss", hint="add the terms: loss = a + b")
            loss = loss or x
        _guarded(ctx, scope, x, lambda: _statement(ctx, scope, x))  # noqa: B023


def _bounds(ctx: Context, owner: Scope) -> None:
    """Refuses boundary values of what does not exist."""
    for name, bounds in owner.bounds.items():
        for bound, scope in bounds:
            if scope.find(name) is None and scope.find(bound.name) is None:
                ctx.report(scope, bound, f"there is no `{bound.name}` to have a boundary value", hint=suggest(bound.name, scope))


def _guarded(ctx: Context, scope: Scope, node: s.Node, act: object) -> None:
    try:
        act()  # type: ignore[operator]
    except (Poisoned, Unknown):
        pass
    except GraphError as error:
        ctx.report(scope, node, f"this has no meaning: {error}")


def _statement(ctx: Context, scope: Scope, x: s.Statement) -> None:
    match x:
        case s.Loss():
            training.loss(ctx, scope, x)
        case s.Item():
            training.metric(ctx, scope, x)
        case s.Penalty():
            training.penalty(ctx, scope, x)
        case s.Output():
            training.output(ctx, scope, x)
        case s.Data():
            training.data(ctx, scope, x)
        case s.Train():
            training.train(ctx, scope, x)
        case s.Surgery():
            surgery.surgery(ctx, scope, x)
        case s.Pretrain():
            pretraining.block(ctx, scope, x)
        case s.PretrainValue():
            pretraining.setting(ctx, scope, x)
        case s.Feedback():
            from .feedback import feedback
            feedback(ctx, scope, x)


def _order(system: System, found: Collected) -> None:
    """Equations in an order in which each stands after what it reads at the same step, as near to the text as that allows."""
    place = {e: i for i, e in enumerate(postorder(*system.equations.values()))}
    names = sorted(system.equations, key=lambda n: place[system.equations[n]])
    system.equations = {n: system.equations[n] for n in names}
