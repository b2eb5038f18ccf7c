"""Declarations: axes, inputs, parameters, stats and equations are entered into a scope before anything is computed."""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from ...compiler.graph import BATCH, BOOL, REAL, Const, Expr, Extent, Input, Param, Type, class_of
from ...compiler.sizes import Size
from ...compiler.system import Initialiser, Parameter
from . import syntax as s
from .diagnostics import listing
from .equations import link
from .scope import (
    AxisName,
    Binding,
    Context,
    Equation,
    Family,
    FragmentName,
    Instance,
    Lost,
    Macro,
    Poisoned,
    Scope,
    SizeName,
    Unknown,
    Value,
    suggest,
    text_of,
)
from .static import integer, size_of, static

RESERVED_INPUTS = ("params", "state", "carry", "seed", "T", "workspace", "self")
MOST_REPEATS = 1000


@dataclass
class Collected:
    """What a body holds besides its names."""

    equations: list[Equation] = field(default_factory=list)
    stats: list[tuple[s.Item, s.Target, str, Scope]] = field(default_factory=list)
    rest: list[tuple[s.Statement, Scope]] = field(default_factory=list)


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
            elif scope.hidden and not isinstance(x, s.Define | s.Axis | s.Fragment):
                ctx.fail(scope, x, "this stands in a model, not in a fragment",
                         hint="a fragment holds param, stat, equations, def and repeat")
            else:
                found.rest.append((x, scope))
        except (Poisoned, Unknown) as e:
            if ctx.quiet and isinstance(e, Unknown):
                raise
            for t in x.targets if isinstance(x, s.Item) else ():
                scope.owner.names.setdefault(t.name, Lost(scope.source, t))


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
    if x.keyword == "lengths":
        ctx.report(scope, x, "`lengths` is not supported yet", hint="until then all examples of a batch are equally long")
    elif x.over is not None:
        ctx.report(scope, x, "a second name of an axis (`u over t`) is not supported yet")
    else:
        axis(ctx, scope, x, x.name)


def axis(ctx: Context, scope: Scope, node: s.Node, name: str) -> None:
    """Declares a time axis; its length is the same letter in upper case."""
    found = scope.find(name)
    if isinstance(found, AxisName):
        return
    taken = scope.find(name.upper())
    if not name[:1].islower() or not name.isidentifier():
        ctx.fail(scope, node, f"a time axis has a lower-case name, not `{name}`")
    if name == BATCH or name.upper() == "B":
        ctx.fail(scope, node, f"`{name}` cannot name a time axis: `batch` and its length B are the batch's")
    if isinstance(taken, SizeName):
        ctx.fail(scope, node, f"`{name}` declares a time axis, whose length is `{name.upper()}`",
                 (taken, f"`{name.upper()}` is declared as a size here"), hint="name one of them otherwise")
    if not ctx.declare(scope, name, AxisName(scope.source, node, "an axis", name)):
        raise Poisoned


# ---------------------------------------------------------------- items

def _item(ctx: Context, scope: Scope, x: s.Item, found: Collected) -> None:
    if x.twice:
        words = {"type": "a type (:)", "init": "an initial value (~)", "value": "a value (=)", "update": "an update (<-)",
                 "where": "a where clause"}
        ctx.fail(scope, x, f"{words[x.twice[0]]} stands here twice", hint="`==` compares" if x.twice[0] == "value" else None)
    allowed = {"": "value where", "input": "type where", "target": "type where", "param": "init value", "stat": "value update",
               "metric": "value"}
    if x.keyword not in allowed:
        ctx.fail(scope, x, f"`{x.keyword}` belongs to energy models, which are not supported yet")
    given = {"type": x.type, "init": x.init, "value": x.value, "update": x.update, "where": x.bounds}
    signs = {"type": ":", "init": "~", "value": "=", "update": "<-", "where": "where"}
    for clause, content in given.items():
        if content and clause not in allowed[x.keyword].split():
            ctx.fail(scope, content if isinstance(content, s.Node) else x, f"`{signs[clause]}` has no meaning "
                     f"{'in an equation' if not x.keyword else f'after `{x.keyword}`'}", hint=_clause_hint(x.keyword, clause, x))
    if scope.hidden and x.keyword in ("input", "target", "metric"):
        ctx.fail(scope, x, f"a fragment has no `{x.keyword}`", hint="what it reads are its arguments: fragment f(x[t]) -> h[t]:")
    for b in x.bounds:
        scope.owner.bounds.setdefault(_family_member(ctx, scope, b), []).append((b, scope))
    {"": _equation, "input": _input, "target": _input, "param": _param, "stat": _stat, "metric": _metric}[x.keyword](
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


def _declare(ctx: Context, scope: Scope, target: s.Target, binding: Binding) -> str:
    """Binds a target; h[l] of a repeat becomes a member of the family h. Returns the name in the scope."""
    owner = scope.owner
    k = member_index(ctx, scope, target)
    _legal(ctx, scope, target)
    if k is None:
        index = next((n for n in scope.names if scope.inner), None)
        hint = f"each round has its own: {target.name}[{index}] = ..., which reads {target.name}[{index}-1]" if index else None
        if not ctx.declare(owner, target.name, binding, hint):
            raise Poisoned
        return target.name
    family = owner.names.setdefault(target.name, Family(scope.source, target, "a family", target.name))
    if not isinstance(family, Family):
        ctx.fail(scope, target, f"`{target.name}` is declared twice", (family, "the first declaration is here"))
    name = f"{target.name}.{k}"
    if not ctx.declare(owner, name, binding):
        raise Poisoned
    family.members[k] = name
    return name


def member_index(ctx: Context, scope: Scope, target: s.Target) -> int | None:
    """k of a target h[k]: a number, or an expression of a repeat's index."""
    if not target.items or isinstance(target.items[0], s.Part):
        return None
    first = target.items[0]
    indices = [n for n in s.walk(first) if isinstance(n, s.Name) and _is_repeat_index(scope, n.name)]
    if (isinstance(first, s.Number) and len(target.items) >= 1 and isinstance(first.value, int)) or indices:
        return integer(ctx, first, scope)
    return None


def _is_repeat_index(scope: Scope, name: str) -> bool:
    return isinstance(scope.find(name), SizeName) and name[:1].islower()


def _legal(ctx: Context, scope: Scope, target: s.Target) -> None:
    from .functions import REDUCING
    if "__" in target.name[:2]:
        ctx.fail(scope, target, f"`{target.name}` cannot be a name: names do not start with two underscores")
    if target.name in (*REDUCING, "softmax", "log_softmax", BATCH, "last", "true", "false"):
        ctx.fail(scope, target, f"`{target.name}` is a word of the language and cannot be a variable", hint="choose another name")
    if len(target.name) > 100:
        ctx.fail(scope, target, "a name has at most 100 letters")


def _input(ctx: Context, scope: Scope, x: s.Item, found: Collected) -> None:
    for target, items in _shared_items(x.targets):
        try:
            _one_input(ctx, scope, x, target, items)
        except Poisoned:
            scope.names.setdefault(target.name, Lost(scope.source, target))


def _shared_items(targets: tuple[s.Target, ...]) -> list[tuple[s.Target, tuple[s.Expr, ...]]]:
    """In `W, V [H, D]` the shape stands for all names before it that have none."""
    out: list[tuple[s.Target, tuple[s.Expr, ...]]] = []
    items: tuple[s.Expr, ...] = ()
    for t in reversed(targets):
        items = t.items if t.items is not None else items
        out.append((t, items))
    return out[::-1]


def _one_input(ctx: Context, scope: Scope, x: s.Item, target: s.Target, items: tuple[s.Expr, ...]) -> None:
    name = target.name
    _legal(ctx, scope, target)
    if name in RESERVED_INPUTS or name.startswith("lengths") or keyword.iskeyword(name) or "." in name:
        why = "a word of Python" if keyword.iskeyword(name) else "the name of an argument of the generated functions"
        ctx.fail(scope, target, f"`{name}` cannot name an input: " + ("it holds a dot" if "." in name else f"it is {why}"),
                 hint="choose another name")
    axes, shape = [], []
    for i, item in enumerate(items):
        known = scope.find(item.name) if isinstance(item, s.Name) else None
        if isinstance(item, s.Name) and item.name[:1].islower() and not isinstance(known, SizeName):
            if len(axes) < i:
                ctx.fail(scope, item, f"time comes first: `{name}[{item.name}, ...]`")
            axis(ctx, scope, item, item.name)
            axes.append(item.name)
        else:
            shape.append(size_of(ctx, item, scope))
    if len(axes) > 1:
        ctx.fail(scope, target, f"`{name}` has two time axes, which is not supported yet")
    type_, domain = _type(ctx, scope, x.type)
    node = Input(name, (*axes, BATCH), tuple(shape), type_)
    if not ctx.declare(scope, name, Value(scope.source, target, f"{_article(x.keyword)} {x.keyword}", node, tuple(axes))):
        raise Poisoned
    ctx.system.inputs[name] = node
    ctx.system.spans[name] = scope.source.span(target.start, target.end)
    if x.keyword == "target":
        ctx.system.targets = (*ctx.system.targets, name)
    if domain:
        ctx.domains[name] = domain


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" else "a"


def _type(ctx: Context, scope: Scope, kind: s.Kind | None) -> tuple[Type, str]:
    """class(n) | binary | unit | real | bool: the type, and the range where it is narrower than the type."""
    if kind is None:
        return REAL, ""
    if kind.name == "class":
        if len(kind.args) != 1:
            ctx.fail(scope, kind, "a class says how many there are: class(10)")
        return class_of(size_of(ctx, kind.args[0].value, scope, "a number of classes")), ""
    simple: dict[str, tuple[Type, str]] = {"real": (REAL, ""), "bool": (BOOL, ""), "binary": (REAL, "binary"), "unit": (REAL, "unit")}
    if kind.name not in simple or kind.args:
        ctx.fail(scope, kind, f"there is no type `{text_of(scope, kind)}`",
                 hint=suggest(kind.name, Scope(scope.source), [*simple, "class"]) or
                 "types: class(n), binary (0 or 1), unit (from 0 to 1), bool, real")
    return simple[kind.name]


# ---------------------------------------------------------------- parameters

INITIALISERS: dict[str, tuple[int, int, tuple[float, ...]]] = {      # least and most arguments, default values
    "xavier": (0, 0, ()), "glorot": (0, 0, ()), "he": (0, 0, ()), "orthogonal": (0, 0, ()), "identity": (0, 1, (1.0,)),
    "normal": (1, 1, ()), "uniform": (1, 2, ()), "constant": (1, 1, ())}
NEEDS_MATRIX = ("orthogonal", "identity")


def _param(ctx: Context, scope: Scope, x: s.Item, found: Collected) -> None:
    init = Initialiser()
    try:
        init = initialiser(ctx, scope, x)
    except Poisoned:
        pass
    for target, items in _shared_items(x.targets):
        try:
            _one_param(ctx, scope, x, target, items, init)
        except Poisoned:
            scope.owner.names.setdefault(target.name, Lost(scope.source, target))


def _one_param(ctx: Context, scope: Scope, x: s.Item, target: s.Target, items: tuple[s.Expr, ...], init: Initialiser) -> None:
    binding = Value(scope.source, target, "a parameter")
    shared = s.Target(target.start, target.end, target.name, items)
    name = _declare(ctx, scope, shared, binding)
    k = member_index(ctx, scope, shared)
    shape = tuple(size_of(ctx, i, scope) for i in items[k is not None:])
    _check_init(ctx, scope, x, target, init, shape)
    full = f"{scope.owner.owned}.{name}" if scope.owner.owned else name
    node = Param(full, shape)
    old = ctx.system.params.get(full)
    if old is not None and old.node is not node:
        ctx.fail(scope, target, f"`{full}` is [{_sizes(ctx, shape)}] in this call and [{_sizes(ctx, old.node.shape)}] in another: "
                 "an instance shares its parameters")
    binding.expr = node
    if not ctx.quiet:
        ctx.system.params[full] = Parameter(node, init)
        ctx.system.spans.setdefault(full, binding.span)


def _sizes(ctx: Context, shape: tuple[Size, ...]) -> str:
    return ", ".join(map(ctx.size_text, shape))


def _check_init(ctx: Context, scope: Scope, x: s.Item, target: s.Target, init: Initialiser, shape: tuple[Size, ...]) -> None:
    if init.kind in NEEDS_MATRIX and len(shape) != 2:
        ctx.report(scope, x.init or target, f"{init.kind} initialises a matrix, and `{target.name}` has {len(shape)} sizes")
    if init.kind in ("xavier", "glorot", "he") and not shape:
        ctx.report(scope, x.init or target, f"{init.kind} depends on the number of inputs, and `{target.name}` is one number",
                   hint=f"param {target.name} = 0, or ~ normal(0.01)")


def initialiser(ctx: Context, scope: Scope, x: s.Item) -> Initialiser:
    """`~ kind(numbers)` or `= number`."""
    names = listing(t.name for t in x.targets)
    if x.init is not None and x.value is not None:
        ctx.fail(scope, x.init, f"`{names}` has two initial values, one after `~` and one after `=`")
    if x.value is not None:
        return Initialiser("constant", (number(ctx, scope, x.value, "the initial value of a parameter"),))
    if x.init is None:
        ctx.fail(scope, x, f"`{names}` has no initial value", hint="add one: ~ xavier, ~ normal(0.01), or = 0")
    kind = x.init
    if kind.name not in INITIALISERS:
        ctx.fail(scope, kind, f"there is no initialiser `{kind.name}`", hint=suggest(kind.name, Scope(scope.source), INITIALISERS)
                 or "initialisers: xavier, glorot, he, normal(sd), uniform(lo, hi), orthogonal, identity, or = number")
    least, most, default = INITIALISERS[kind.name]
    if not least <= len(kind.args) <= most or any(a.name for a in kind.args):
        shown = {"normal": "normal(0.01): the standard deviation", "uniform": "uniform(-0.1, 0.1)", "constant": "constant(0)",
                 "identity": "identity or identity(0.5)"}
        ctx.fail(scope, kind, f"`{kind.name}` takes {least if least == most else f'{least} to {most}'} "
                 f"number{'s' if most != 1 else ''}, not {len(kind.args)}", hint=f"it is {shown.get(kind.name, kind.name)}")
    values = tuple(number(ctx, scope, a.value, f"an argument of {kind.name}") for a in kind.args) or default
    return _checked(ctx, scope, kind, values)


def _checked(ctx: Context, scope: Scope, kind: s.Kind, values: tuple[float, ...]) -> Initialiser:
    if kind.name == "normal" and values[0] < 0:
        ctx.fail(scope, kind, "a standard deviation is not negative")
    if kind.name == "uniform":
        values = (-values[0], values[0]) if len(values) == 1 else values
        if values[0] > values[1]:
            ctx.fail(scope, kind, "uniform(lo, hi) runs from the smaller to the larger number")
    return Initialiser(kind.name, values)


def number(ctx: Context, scope: Scope, node: s.Expr, what: str) -> float:
    """A number that is known now: constants, and sizes at their declared values."""
    from .expressions import evaluate
    e: Expr = evaluate(ctx, node, scope)
    if isinstance(e, Const):
        return float(e.value)
    value = ctx.number(e.size) if isinstance(e, Extent) else _through(ctx, e)
    if value is None:
        ctx.fail(scope, node, f"{what} is a number, and `{text_of(scope, node)}` is computed")
    return float(value)


FOLDED: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b, "neg": lambda a: -a,
    "pow": lambda a, b: a**b, "sqrt": math.sqrt, "exp": math.exp, "log": math.log}


def _through(ctx: Context, e: Expr) -> float | None:
    """The value of sqrt(6 / (H + D)) and the like."""
    from ...compiler.graph import Map
    if isinstance(e, Const):
        return float(e.value)
    if isinstance(e, Extent):
        return ctx.number(e.size)
    if isinstance(e, Map) and e.f in FOLDED:
        parts = [_through(ctx, a) for a in e.args]
        try:
            out = FOLDED[e.f](*parts) if None not in parts else None
        except (ArithmeticError, ValueError):
            return None
        return float(out) if isinstance(out, int | float) else None
    return None


# ---------------------------------------------------------------- stats, metrics, equations

def _stat(ctx: Context, scope: Scope, x: s.Item, found: Collected) -> None:
    if x.value is None or x.update is None:
        ctx.fail(scope, x, "a stat has a start and an update", hint="stat mu[C] = 0 <- 0.9 * mu + 0.1 * mean[batch](a)")
    if len(x.targets) != 1:
        ctx.fail(scope, x, "each stat is declared by itself")
    (target,) = x.targets
    binding = Value(scope.source, target, "a stat")
    name = _declare(ctx, scope, target, binding)
    k = member_index(ctx, scope, target)
    shape = tuple(size_of(ctx, i, scope) for i in (target.items or ())[k is not None:])
    full = f"{scope.owner.owned}.{name}" if scope.owner.owned else name
    binding.expr = Param(full, shape)
    found.stats.append((x, target, full, scope))


def _metric(ctx: Context, scope: Scope, x: s.Item, found: Collected) -> None:
    if x.value is None or len(x.targets) != 1 or x.targets[0].items is not None:
        ctx.fail(scope, x, "a metric is one name and its value", hint="metric error = argmax(p) != y")
    found.rest.append((x, scope))


def _equation(ctx: Context, scope: Scope, x: s.Item, found: Collected) -> None:
    if x.value is None:
        name = x.targets[0].name
        ctx.fail(scope, x, f"`{name}` is not a statement", hint=f"an equation is written {name} = ..., a parameter param {name} = 0")
    if len(x.targets) > 1 and not x.together:
        names = ", ".join(t.name for t in x.targets)
        ctx.fail(scope, x, "an equation has one name on its left", hint=f"several results of a fragment: ({names}) = ...")
    if _instance(ctx, scope, x):
        return
    group: list[Equation] = []
    for target in x.targets:
        q = Equation(scope.source, target, "an equation", item=x, scope=scope, group=group)
        q.name = _declare(ctx, scope, target, q)
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
    binding.full = scope.owner.member(_declare(ctx, scope, target, binding))
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


__all__ = ["Collected", "collect", "number"]
