"""Declarations: axes, inputs, parameters, stats and equations are entered into a scope before anything is computed."""

from __future__ import annotations

from ...compiler.graph import Param
from ...compiler.sizes import Size
from . import syntax as s
from .energies import declare_units, refused
from .equations import link
from .inputs import RESERVED_INPUTS, axis, declare_input, second_name
from .lengths import declare_lengths
from .parameters import declare_param
from .scope import (
    AxisName,
    Context,
    Equation,
    FragmentName,
    Instance,
    Lost,
    Macro,
    Poisoned,
    Scope,
    SizeName,
    Unknown,
    Value,
    legal_word,
    suggest,
    text_of,
)
from .static import integer, size_of, static
from .targets import Collected, declare_target, member_index

MOST_REPEATS = 1000


def collect(ctx: Context, scope: Scope, statements: tuple[s.Statement, ...]) -> Collected:
    """Enters the declarations of a body into its scope and finds which equations read each other."""
    found = Collected()
    for x in statements:
        if isinstance(x, s.Define):
            _define(ctx, scope, x)
        elif isinstance(x, s.Fragment):
            ctx.declare(scope, x.name, FragmentName(scope.source, x, "a fragment", x, scope))
        elif isinstance(x, s.Axis):
            _axis(ctx, scope, x)
    _inside(ctx, scope, statements, found)
    declare_lengths(ctx, scope, statements)
    link(ctx, found.equations)
    if scope.hidden:
        from .training import stat
        for item, target, full, where in found.stats:
            stat(ctx, where, item, target, full)
    return found


def _inside(ctx: Context, scope: Scope, statements: tuple[s.Statement, ...], found: Collected) -> None:
    for x in statements:
        try:
            if isinstance(x, s.Item):
                _item(ctx, scope, x, found)
            elif isinstance(x, s.Repeat):
                _repeat(ctx, scope, x, found)
            elif isinstance(x, s.Axis) and x.over is not None:
                second_name(ctx, scope, x, x.name, x.over)
            elif scope.hidden and not isinstance(x, s.Define | s.Axis | s.Fragment):
                ctx.fail(scope, x, "this stands in a model, not in a fragment",
                         hint="a fragment holds param, stat, equations, def and repeat")
            else:
                found.rest.append((x, scope))
        except (Poisoned, Unknown) as e:
            if ctx.quiet and isinstance(e, Unknown):
                raise
            for name in [t.name for t in x.targets] if isinstance(x, s.Item) else [x.name] if isinstance(x, s.Axis) else []:
                scope.owner.names.setdefault(name, Lost(scope.source, x))


def _define(ctx: Context, scope: Scope, x: s.Define) -> None:
    from .functions import BUILTINS
    if x.name in BUILTINS:
        ctx.report(scope, x, f"`{x.name}` is a function of the language", hint="choose another name")
    elif ctx.declare(scope, x.name, Macro(scope.source, x, "a function", x, scope)):
        names = [f.name for f in x.formals]
        for f in x.formals:
            if names.count(f.name) > 1 or f.items is not None:
                ctx.report(scope, f, "the arguments of a def are names, each standing once: def f(x, a = 1) = ...")
                break


def _axis(ctx: Context, scope: Scope, x: s.Axis) -> None:
    if x.keyword == "time" and x.over is None:                   # a second name waits for the first
        axis(ctx, scope, x, x.name)


# ---------------------------------------------------------------- items

def _item(ctx: Context, scope: Scope, x: s.Item, found: Collected) -> None:
    if x.twice:
        words = {"type": "a type (:)", "init": "an initial value (~)", "value": "a value (=)", "update": "an update (<-)",
                 "where": "a where clause"}
        ctx.fail(scope, x, f"{words[x.twice[0]]} stands here twice", hint="`==` compares" if x.twice[0] == "value" else None)
    allowed = {"": "value where", "input": "type where", "target": "type where", "param": "init value", "stat": "value update",
               "metric": "value", "visible": "type", "hidden": "type"}
    if ctx.energy and refused(ctx, scope, x):
        raise Poisoned
    given = {"type": x.type, "init": x.init, "value": x.value, "update": x.update, "where": x.bounds}
    signs = {"type": ":", "init": "~", "value": "=", "update": "<-", "where": "where"}
    for clause, content in given.items():
        if content and clause not in allowed[x.keyword].split():
            ctx.fail(scope, content if isinstance(content, s.Node) else x, f"`{signs[clause]}` has no meaning "
                     f"{'in an equation' if not x.keyword else f'after `{x.keyword}`'}", hint=_clause_hint(x.keyword, clause, x))
    if scope.hidden and x.keyword in ("input", "target", "metric", "visible", "hidden"):
        ctx.fail(scope, x, f"a fragment has no `{x.keyword}`", hint="what it reads are its arguments: fragment f(x[t]) -> h[t]:")
    for b in x.bounds:
        scope.owner.bounds.setdefault(_family_member(ctx, scope, b), []).append((b, scope))
    {"": _equation, "input": declare_input, "target": declare_input, "param": declare_param, "stat": _stat,
     "metric": _metric, "visible": declare_units, "hidden": declare_units}[x.keyword](
        ctx, scope, x, found)


def _clause_hint(keyword_: str, clause: str, x: s.Item) -> str | None:
    name = x.targets[0].name
    if not keyword_ and clause == "init":
        return f"a trained array is declared: param {name} ~ ..."
    if not keyword_ and clause == "type":
        return f"declare it: input {name} : ..."
    if keyword_ == "param" and clause == "type":
        return "parameters are numbers and have no type"
    return None


def _family_member(ctx: Context, scope: Scope, b: s.Bound) -> str:
    """The name that a where-clause speaks of; h[l, -1] speaks of the member h[l]."""
    if len(b.items) > 1:
        k = integer(ctx, b.items[0], scope)
        if k is not None and k >= 0:
            return f"{b.name}.{k}"
    return b.name


# ---------------------------------------------------------------- stats, metrics, equations

def _stat(ctx: Context, scope: Scope, x: s.Item, found: Collected) -> None:
    if x.value is None or x.update is None:
        ctx.fail(scope, x, "a stat has a start and an update", hint="stat mu[C] = 0 <- 0.9 * mu + 0.1 * mean[batch](a)")
    if len(x.targets) != 1:
        ctx.fail(scope, x, "each stat is declared by itself")
    (target,) = x.targets
    binding = Value(scope.source, target, "a stat")
    name = declare_target(ctx, scope, target, binding, numbers=False)
    k = member_index(ctx, scope, target, numbers=False)
    shape = tuple(size_of(ctx, i, scope) for i in (target.items or ())[k is not None:])
    full = f"{scope.owner.owned}.{name}" if scope.owner.owned else name
    binding.expr = Param(full, shape)
    found.stats.append((x, target, full, scope))


def _metric(ctx: Context, scope: Scope, x: s.Item, found: Collected) -> None:
    if x.value is None or len(x.targets) != 1 or x.targets[0].items is not None:
        ctx.fail(scope, x, "a metric is one name and its value", hint="metric error = argmax(p) != y")
    legal_word(ctx, scope, x.targets[0], x.targets[0].name)
    found.rest.append((x, scope))


def _equation(ctx: Context, scope: Scope, x: s.Item, found: Collected) -> None:
    if x.value is None:
        name = x.targets[0].name
        ctx.fail(scope, x, f"`{name}` is not a statement",
                 hint=f"an equation is written {name} = ..., a parameter param {name} = 0")
    if len(x.targets) > 1 and not x.together:
        names = ", ".join(t.name for t in x.targets)
        ctx.fail(scope, x, "an equation has one name on its left", hint=f"several results of a fragment: ({names}) = ...")
    if _instance(ctx, scope, x):
        return
    group: list[Equation] = []
    for target in x.targets:
        q = Equation(scope.source, target, "an equation", item=x, scope=scope, group=group)
        q.name = declare_target(ctx, scope, target, q)
        q.full = scope.owner.results.get(q.name, scope.owner.member(q.name))
        group.append(q)
        try:
            _left_side(ctx, scope, q, target)
        except Poisoned:
            q.state = "lost"
    found.equations.extend(group)


def _left_side(ctx: Context, scope: Scope, q: Equation, target: s.Target) -> None:
    """h[t, H]: the axes that the equation runs along, and the sizes that it is checked against."""
    items = (target.items or ())[member_index(ctx, scope, target) is not None:]
    axes, shape = [], []
    for item in items:
        found = scope.find(item.name) if isinstance(item, s.Name) else None
        if isinstance(found, AxisName):
            axes.append(found.axis)
            continue
        inner = [n.name for n in s.walk(item) if isinstance(n, s.Name) and isinstance(scope.find(n.name), AxisName)]
        if inner:
            ctx.fail(scope, item, f"an equation defines {target.name}[{inner[0]}], not {target.name}[{text_of(scope, item)}]",
                     hint="shift the right side instead")
        if isinstance(item, s.Name) and item.name[:1].islower() and found is None:
            known = [*scope.axes()]
            ctx.fail(scope, item, f"there is no time axis `{item.name}`", hint=suggest(item.name, Scope(scope.source), known)
                     or f"an input declares it: input x[{item.name}, D], or time {item.name}")
        shape.append(size_of(ctx, item, scope))
    q.axes, q.shape = tuple(axes), tuple(shape) if shape else None


def _instance(ctx: Context, scope: Scope, x: s.Item) -> bool:
    """`cell = lstm(H)`: a fragment with its sizes and without its inputs."""
    from .fragments import fragment_of, is_size, match
    if not isinstance(x.value, s.Call) or len(x.targets) != 1 or x.targets[0].items is not None:
        return False
    found = fragment_of(scope, x.value.f)
    if not isinstance(found, FragmentName) or found.fragment is None:
        return False
    formals = found.fragment.formals
    needed = [f.name for f in formals if f.default is None and not is_size(f)]
    named = [a.name for a in x.value.args if a.name]
    positional = [a for a in x.value.args if a.name is None]
    if not needed or any(n in named for n in needed) or any(static(ctx, a.value, scope) is None for a in positional):
        return False
    target = x.targets[0]
    given = match(ctx, scope, x.value, formals, {}, only_sizes=True)
    arguments = {k: s.Argument(v.node.start, v.node.end, k, v.node) for k, v in given.items()}
    binding = Instance(scope.source, target, "an instance of a fragment", found, arguments, scope)
    binding.full = scope.owner.member(declare_target(ctx, scope, target, binding))
    return True


def _repeat(ctx: Context, scope: Scope, x: s.Repeat, found: Collected) -> None:
    first, last = (integer(ctx, e, scope) for e in (x.first, x.last))
    for e, value in ((x.first, first), (x.last, last)):
        if value is None:
            size_of(ctx, e, scope)
            ctx.fail(scope, e, "a repeat runs between whole numbers and sizes")
    assert first is not None and last is not None
    if last - first >= MOST_REPEATS:
        ctx.fail(scope, x, f"a repeat of {last - first + 1} is too long: at most {MOST_REPEATS}")
    if scope.find(x.index) is not None:
        ctx.fail(scope, x, f"`{x.index}` is declared already", (scope.find(x.index), "the first declaration is here"))
    for k in range(first, last + 1):
        inner = Scope(scope.source, scope.path, scope.owned, scope, reverse=scope.reverse, hidden=scope.hidden, calls=scope.calls,
                      inner=True)
        inner.names[x.index] = SizeName(scope.source, x, "the index of a repeat", Size({(): k}))
        before = len(ctx.diagnostics)
        _inside(ctx, inner, x.body, found)
        if len(ctx.diagnostics) > before:                         # one round shows the mistake
            raise Poisoned


__all__ = ["RESERVED_INPUTS", "Collected", "collect"]
