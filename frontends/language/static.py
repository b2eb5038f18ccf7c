"""Sizes: the integer expressions that stand in shapes, slices and ranges."""

from __future__ import annotations

from ...compiler.graph import Const, Extent
from ...compiler.sizes import Size, size
from . import syntax as s
from .scope import Context, Equation, Lost, Poisoned, Scope, SizeName, Unknown, Value, axis_length, suggest, text_of

LARGEST = 2**40


def static(ctx: Context, node: s.Expr, scope: Scope) -> Size | None:
    """The size that an expression is, or None where it is none; says nothing."""
    match node:
        case s.Number(value=v):
            return size(v) if isinstance(v, int) and v <= LARGEST else None
        case s.Name(name=name):
            binding = scope.find(name)
            if isinstance(binding, SizeName):
                if binding.size is None:
                    raise Unknown
                return binding.size
            if isinstance(binding, Value) and isinstance(binding.expr, Extent | Const):
                return _whole(binding.expr)
            return axis_length(scope, name) if binding is None else None
        case s.Unary(op="()", a=a):
            return static(ctx, a, scope)
        case s.Unary(op="-", a=a):
            inner = static(ctx, a, scope)
            return None if inner is None else -inner
        case s.Binary(op="+" | "-" | "*" | "/" | "//" | "^" as op, a=a, b=b):
            left, right = static(ctx, a, scope), static(ctx, b, scope)
            return None if left is None or right is None else _combine(op, left, right)
    return None


def _whole(e: Extent | Const) -> Size | None:
    if isinstance(e, Extent):
        return e.size
    return size(e.value) if isinstance(e.value, int) else None


def _combine(op: str, a: Size, b: Size) -> Size | None:
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b if len(a.terms) * len(b.terms) <= 64 else None
        case "/" | "//" if b.value is not None and b.value > 0:
            return a // b.value
        case "^" if b.value is not None and 0 <= b.value <= 6:
            out = size(1)
            for _ in range(b.value):
                out = out * a
            return out
    return None


def integer(ctx: Context, node: s.Expr, scope: Scope) -> int | None:
    """The number that an expression is, sizes at their declared values."""
    found = static(ctx, node, scope)
    return None if found is None else ctx.number(found)


def size_of(ctx: Context, node: s.Expr, scope: Scope, role: str = "a size") -> Size:
    """The size that must stand here."""
    found = static(ctx, node, scope)
    if found is not None:
        value = ctx.number(found)
        if value is not None and not 0 < value <= LARGEST:
            ctx.fail(scope, node, f"{role} is at least 1, and `{text_of(scope, node)}` is {value}"
                     if value <= 0 else f"{role} of {value} is too large")
        return found
    for part in s.walk(node):
        if isinstance(part, s.Name):
            binding = scope.find(part.name)
            if isinstance(binding, Lost):
                raise Poisoned
            if binding is None and axis_length(scope, part.name) is None:
                known = [n for n in scope.visible() if isinstance(scope.find(n), SizeName)]
                ctx.fail(scope, part, f"there is no size `{part.name}`",
                         hint=suggest(part.name, Scope(scope.source), known) or _declare_size(part.name, scope))
            if isinstance(binding, Value | Equation):
                ctx.fail(scope, part, f"`{part.name}` is {binding.what} and no size",
                         (binding, f"`{part.name}` is declared here"))
    if isinstance(node, s.Number):
        ctx.fail(scope, node, f"{role} is a whole number up to 2^40, not `{text_of(scope, node)}`")
    ctx.fail(scope, node, f"`{text_of(scope, node)}` is not a size",
             hint="sizes are whole numbers, declared sizes, and + - * // of them")


def _declare_size(name: str, scope: Scope) -> str:
    if scope.hidden:
        return f"add it to the fragment's arguments, or read it off one of them: x[{name}]"
    return f"declare it in the header: model name({name} = 10)"
