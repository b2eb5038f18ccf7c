"""The left sides of declarations: names, members of families, shapes that several names share."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...compiler.graph import BATCH
from . import syntax as s
from .scope import Binding, Context, Equation, Family, Poisoned, Scope, SizeName, legal_word
from .static import integer


@dataclass
class Collected:
    """What a body holds besides its names."""

    equations: list[Equation] = field(default_factory=list)
    stats: list[tuple[s.Item, s.Target, str, Scope]] = field(default_factory=list)
    rest: list[tuple[s.Statement, Scope]] = field(default_factory=list)


def declare_target(ctx: Context, scope: Scope, target: s.Target, binding: Binding, numbers: bool = True) -> str:
    """Binds a target; h[l] of a repeat becomes a member of the family h. Returns the name in the scope."""
    owner = scope.owner
    k = member_index(ctx, scope, target, numbers)
    legal(ctx, scope, target)
    if k is None:
        index = next((n for n in scope.names if scope.inner), None)
        hint = f"each round has its own: {target.name}[{index}] = ..., which reads {target.name}[{index}-1]" if index else None
        if ctx.energy and target.name == "E":
            hint = "an energy model has one E: add the terms"
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


def member_index(ctx: Context, scope: Scope, target: s.Target, numbers: bool = True) -> int | None:
    """k of a target h[k]: an expression of a repeat's index, or a number where `numbers` are no sizes (in equations)."""
    if not target.items or isinstance(target.items[0], s.Part):
        return None
    first = target.items[0]
    indices = [n for n in s.walk(first) if isinstance(n, s.Name) and _is_repeat_index(scope, n.name)]
    if (numbers and isinstance(first, s.Number) and isinstance(first.value, int)) or indices:
        return integer(ctx, first, scope)
    return None


def _is_repeat_index(scope: Scope, name: str) -> bool:
    return isinstance(scope.find(name), SizeName) and name[:1].islower()


def legal(ctx: Context, scope: Scope, target: s.Target) -> None:
    from .functions import REDUCING
    legal_word(ctx, scope, target, target.name)
    if target.name in (*REDUCING, "softmax", "log_softmax", BATCH, "last", "true", "false"):
        ctx.fail(scope, target, f"`{target.name}` is a word of the language and cannot be a variable", hint="choose another name")


def shared_items(targets: tuple[s.Target, ...]) -> list[tuple[s.Target, tuple[s.Expr, ...]]]:
    """In `W, V [H, D]` the shape stands for all names before it that have none."""
    out: list[tuple[s.Target, tuple[s.Expr, ...]]] = []
    items: tuple[s.Expr, ...] = ()
    for t in reversed(targets):
        items = t.items if t.items is not None else items
        out.append((t, items))
    return out[::-1]
