"""What stands in the parentheses of an option of the train line: which option each argument is, and numbers in range."""

from __future__ import annotations

from collections.abc import Iterator

from . import syntax as s
from .parameters import number
from .scope import Context, Scope, suggest, text_of

KEPT = ("momentum", "rho", "beta1", "beta2")


def named_options(ctx: Context, scope: Scope, kind: s.Kind, known: tuple[str, ...]) -> Iterator[tuple[str, s.Argument]]:
    """Each argument with the name of its option, which may be given by its place."""
    for i, a in enumerate(kind.args):
        name = a.name or (known[i] if i < len(known) else "")
        if name not in known:
            ctx.fail(scope, a, f"`{kind.name}` has no option `{a.name or text_of(scope, a)}`",
                     hint=suggest(a.name or "", Scope(scope.source), known) or f"its options: {', '.join(known) or 'none'}")
        yield name, a


def positive(ctx: Context, scope: Scope, node: s.Expr, what: str, strictly: bool) -> float:
    """A number that is not negative; with `strictly` it is above 0."""
    value = number(ctx, scope, node, what)
    if value < 0 or (strictly and value == 0):
        ctx.fail(scope, node, f"{what} is {'above 0' if strictly else 'not negative'}, not {text_of(scope, node)}")
    return value


def rate(ctx: Context, scope: Scope, node: s.Expr, what: str) -> float:
    """The number of an optimiser's option: above 0, or not negative, and below 1 where it is what is kept of the past."""
    value = positive(ctx, scope, node, what, what in ("lr", "eps"))
    if what in KEPT and value >= 1:
        ctx.fail(scope, node, f"{what} is what each step keeps of those before it, from 0 to below 1, not {text_of(scope, node)}")
    return value


def whole(ctx: Context, scope: Scope, node: s.Expr, what: str) -> int:
    """A whole number from 1 on."""
    value = positive(ctx, scope, node, what, True)
    if value != int(value):
        ctx.fail(scope, node, f"{what} is a whole number, not {text_of(scope, node)}")
    return int(value)
