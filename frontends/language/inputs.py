"""Inputs, targets and the axes that they declare."""

from __future__ import annotations

import keyword

from ...compiler.graph import BATCH, BOOL, REAL, Input, Type, class_of
from ...compiler.node import base
from ...compiler.sizes import Size
from . import syntax as s
from .scope import AxisName, Context, Lost, Poisoned, Scope, SizeName, Value, suggest, text_of
from .static import size_of
from .targets import Collected, legal, shared_items

RESERVED_INPUTS = (
    "params", "state", "carry", "seed", "T", "workspace", "self", "grads", "np", "int", "float", "getattr", "State", "Workspace",
    "PARAMS", "TRAINED", "blocks", "clip_by_norm", "clip_by_value", "decay_l1", "limit_norms", "project_l1",
)


def axis(ctx: Context, scope: Scope, node: s.Node, name: str) -> None:
    """Declares a time axis; its length is the same letter in upper case."""
    found = scope.find(name)
    if isinstance(found, AxisName):
        return
    if ctx.energy:
        ctx.fail(scope, node, f"`{name}` would be a time axis, and an energy model has none",
                 hint="a size has an upper-case name: v[D]")
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


def second_name(ctx: Context, scope: Scope, node: s.Node, name: str, over: str) -> None:
    """`time u over t`: u runs through the steps of t independently of t. In the graph it is the axis `t.u`."""
    first = scope.find(over)
    if not isinstance(first, AxisName):
        ctx.fail(scope, node, f"there is no time axis `{over}`", hint=suggest(over, Scope(scope.source), scope.axes())
                 or f"an input declares it: input x[{over}, D], or time {over}")
    if base(first.axis) != first.axis:
        ctx.fail(scope, node, f"`{over}` is itself a second name of {base(first.axis)}",
                 (first, "it is declared here"), hint=f"write time {name} over {base(first.axis)}")
    plain = name.removeprefix(f"{first.axis}.")                  # `time t.u over t` where u names something else
    if not plain[:1].islower() or not plain.isidentifier() or plain == BATCH or plain.upper() == "B":
        ctx.fail(scope, node, f"`{name}` cannot name a time axis", hint="a time axis has a lower-case name")
    if not ctx.declare(scope, name, AxisName(scope.source, node, "an axis", f"{first.axis}.{plain}")):
        raise Poisoned


def declare_input(ctx: Context, scope: Scope, x: s.Item, found: Collected) -> None:
    for target, items in shared_items(x.targets):
        try:
            _one_input(ctx, scope, x, target, items)
        except Poisoned:
            scope.names.setdefault(target.name, Lost(scope.source, target))


def _one_input(ctx: Context, scope: Scope, x: s.Item, target: s.Target, items: tuple[s.Expr, ...]) -> None:
    check_input_name(ctx, scope, target)
    axes, shape = dims_of(ctx, scope, target, items)
    type_, domain = _type(ctx, scope, x.type)
    enter_input(ctx, scope, x, target, Input(target.name, (*axes, BATCH), shape, type_))
    if x.keyword == "target":
        ctx.system.targets = (*ctx.system.targets, target.name)
    if domain:
        ctx.domains[target.name] = domain


def check_input_name(ctx: Context, scope: Scope, target: s.Target) -> None:
    """Refuses names that cannot be arguments of the generated functions."""
    name = target.name
    legal(ctx, scope, target)
    if name in RESERVED_INPUTS or name.startswith(("lengths", "_")) or keyword.iskeyword(name) or "." in name:
        why = "a word of Python" if keyword.iskeyword(name) else "a name that the generated functions use themselves"
        ctx.fail(scope, target, f"`{name}` cannot name an input: " + ("it holds a dot" if "." in name else f"it is {why}"),
                 hint="choose another name")


def dims_of(ctx: Context, scope: Scope, target: s.Target, items: tuple[s.Expr, ...]) -> tuple[tuple[str, ...], tuple[Size, ...]]:
    """The time axes and the sizes in a declaration's brackets; declares axes that are new."""
    name = target.name
    axes: list[str] = []
    shape: list[Size] = []
    for i, item in enumerate(items):
        known = scope.find(item.name) if isinstance(item, s.Name) else None
        if isinstance(item, s.Name) and item.name[:1].islower() and not isinstance(known, SizeName):
            if len(axes) < i:
                ctx.fail(scope, item, f"time comes first: `{name}[{item.name}, ...]`")
            axis(ctx, scope, item, item.name)
            own = known.axis if isinstance(known, AxisName) else item.name
            if base(own) != own:
                ctx.fail(scope, item, f"`{item.name}` is a second name of {base(own)}: an input runs along {base(own)} itself")
            axes.append(own)
        else:
            shape.append(size_of(ctx, item, scope))
    if len({*axes}) < len(axes):
        ctx.fail(scope, target, f"`{name}` runs along {next(a for a in axes if axes.count(a) > 1)} twice",
                 hint="two axes have two names")
    return tuple(axes), tuple(shape)


def enter_input(ctx: Context, scope: Scope, x: s.Item, target: s.Target, node: Input, what: str = "") -> None:
    """Binds the name and makes the node an input of the system."""
    axes = tuple(a for a in node.axes if a != BATCH)
    if not ctx.declare(scope, node.name, Value(scope.source, target, what or f"{_article(x.keyword)} {x.keyword}", node, axes)):
        raise Poisoned
    ctx.system.inputs[node.name] = node
    ctx.system.spans[node.name] = scope.source.span(target.start, target.end)


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
    simple: dict[str, tuple[Type, str]] = {"real": (REAL, ""), "bool": (BOOL, ""), "binary": (REAL, "binary"),
                                           "unit": (REAL, "unit")}
    if kind.name not in simple or kind.args:
        ctx.fail(scope, kind, f"there is no type `{text_of(scope, kind)}`",
                 hint=suggest(kind.name, Scope(scope.source), [*simple, "class"]) or
                 "types: class(n), binary (0 or 1), unit (from 0 to 1), bool, real")
    return simple[kind.name]
