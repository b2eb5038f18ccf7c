"""Elementwise operations and products of values from the text: checked, folded where both are constants, explained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from ...compiler.graph import BATCH, Const, Expr, Extent, GraphError, apply, matmul, order_axes
from ...compiler.moves import Broadcast
from ...compiler.node import Number
from ...compiler.sizes import Size
from . import syntax as s
from .scope import Binding, Context, Scope, Unknown, text_of
from .semantics import numeric

OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "^": "pow", "<": "lt", "<=": "le", ">": "gt", ">=": "ge",
             "==": "eq", "!=": "ne", "and": "and", "or": "or"}
Operand = tuple[s.Expr, Expr | None]


def origin(scope: Scope, node: s.Expr) -> tuple[str, Binding] | None:
    """The declaration behind an operand: of W in W, W.T, W[0:H], (W)."""
    while isinstance(node, s.Index | s.Turned | s.Unary):
        node = node.a
    binding = scope.find(node.name) if isinstance(node, s.Name) else None
    return (node.name, binding) if binding is not None and isinstance(node, s.Name) else None


def declared(ctx: Context, scope: Scope, operands: Sequence[Operand]) -> list[tuple[Binding, str]]:
    """Notes that point at the declarations of operands."""
    notes = []
    for node, e in operands:
        found = origin(scope, node)
        if found is not None and e is not None:
            name, binding = found
            plain = isinstance(node, s.Name)
            text = f"`{name}` is {ctx.shape_text(e)}, declared here" if plain else f"`{name}` is declared here"
            notes.append((binding, text))
    return notes


def elementwise(ctx: Context, scope: Scope, node: s.Expr, f: str, operands: Sequence[Operand], fold: bool = True) -> Expr:
    """Map with broadcasting; a clash names both operands, what they have, and where that comes from.

    Constants are computed at once, unless the function is called by its name: `add(1, 2)`.
    """
    known = [(n, e) for n, e in operands if e is not None]
    if len(known) < len(operands):
        return _guess([e for _, e in known])
    args = []
    for n, e in known:
        args.append(_checked(ctx, scope, n, e, f))
    if f == "div" and args[1] is Const(0):
        ctx.fail(scope, node, f"`{text_of(scope, node)}` divides by 0")
    folded = _fold(f, args) if fold else None
    if folded is not None:
        if isinstance(folded, Const) and _overflows(folded, args):
            nan = math.isnan(folded.value)
            ctx.fail(scope, node, f"`{text_of(scope, node)}` is {'no number' if nan else 'too large a number'}")
        return folded
    shapes = [(n, e) for n, e in zip([n for n, _ in known], args, strict=True) if e.shape]
    for n, e in shapes[1:]:
        if e.shape != shapes[0][1].shape:
            _clash(ctx, scope, node, shapes[0], (n, e))
    result = apply(f, *args)
    return result


def _clash(ctx: Context, scope: Scope, node: s.Expr, a: tuple[s.Expr, Expr], b: tuple[s.Expr, Expr]) -> None:
    def has(e: Expr) -> str:
        inside = ", ".join(ctx.size_text(x) for x in e.shape)
        return f"[{inside}]"
    hint = None
    if len(a[1].shape) == len(b[1].shape) == 2 and a[1].shape == b[1].shape[::-1]:
        hint = f"one of them transposed? `{text_of(scope, b[0])}.T`"
    elif {len(a[1].shape), len(b[1].shape)} in ({1, 2}, {1, 3}) and a[1].shape[0] == b[1].shape[0]:
        image, bias = (a, b) if len(a[1].shape) > 1 else (b, a)
        hint = f"one number for every channel of an image: channels({text_of(scope, bias[0])}, {text_of(scope, image[0])})"
    elif len(a[1].shape) != len(b[1].shape) and isinstance(node, s.Binary) and node.op == "*":
        hint = "`*` multiplies element by element; the product of a matrix and a vector is `@`"
    ctx.fail(scope, node, f"`{text_of(scope, a[0])}` has the shape {has(a[1])}, `{text_of(scope, b[0])}` has {has(b[1])}",
             *declared(ctx, scope, [a, b]), hint=hint or _alike(ctx, a[1].shape, b[1].shape))


def _alike(ctx: Context, a: Sequence[Size], b: Sequence[Size]) -> str | None:
    """What to say where sizes differ that have the same value today."""
    if len(a) != len(b) or any(ctx.number(m) is None or ctx.number(m) != ctx.number(n) for m, n in zip(a, b, strict=True)):
        return None
    m, n = next((m, n) for m, n in zip(a, b, strict=True) if m != n)
    kept, other = (n, m) if m.value is not None else (m, n)
    if other.value is not None:
        return f"`{kept}` is {ctx.number(kept)} by default only: write {kept} in both places"
    return f"`{kept}` and `{other}` are equal by default only: write one of them in both places"


def _guess(known: list[Expr]) -> Expr:
    """Inside a cycle: what an elementwise result must look like where one operand is known."""
    shaped = [e for e in known if e.shape]
    if not shaped:
        raise Unknown
    axes = order_axes({x for e in known for x in e.axes})
    return Broadcast(Const(0), axes, shaped[0].shape, ())


def _checked(ctx: Context, scope: Scope, node: s.Expr, e: Expr, f: str) -> Expr:
    if f in ("and", "or", "not"):
        if e.type.kind != "bool":
            ctx.fail(scope, node, f"`{text_of(scope, node)}` is a number, and `{f}` takes truth values",
                     hint="compare it: a > 0")
        return e
    if e.type.kind == "class":
        if f in ("eq", "ne", "real"):
            return e
        notes = declared(ctx, scope, [(node, e)])
        ctx.fail(scope, node, f"`{text_of(scope, node)}` is a class, 0 to {e.type.n} - 1, and no number", *notes,
                 hint=f"onehot({text_of(scope, node)}) makes it a vector")
    return e if f in ("eq", "ne", "real") else numeric(e)


def _overflows(result: Const, args: list[Expr]) -> bool:
    """Whether a constant is no number, or infinite where none of its operands is."""
    if math.isfinite(result.value):
        return False
    return math.isnan(result.value) or all(isinstance(a, Const) and math.isfinite(a.value) for a in args)


def _fold(f: str, args: list[Expr]) -> Expr | None:
    """The constant that an operation on constants is; sizes stay exact polynomials."""
    if f == "neg" and isinstance(args[0], Const):
        return Const(-args[0].value)
    if len(args) != 2:
        return None
    a, b = args
    if isinstance(a, Const) and isinstance(b, Const):
        value = _number(f, a.value, b.value)
        return None if value is None else Const(value)
    if isinstance(a, Extent | Const) and isinstance(b, Extent | Const) and f in ("add", "sub", "mul"):
        left, right = (x.size if isinstance(x, Extent) else x.value for x in (a, b))
        if all(not isinstance(x, float | Fraction) for x in (left, right)):
            return Extent(left + right if f == "add" else left - right if f == "sub" else left * right)  # type: ignore
    return None


def _number(f: str, x: Number, y: Number) -> Number | None:
    try:
        match f:
            case "add":
                return x + y
            case "sub":
                return x - y
            case "mul":
                return x * y
            case "div" if y != 0:
                return Fraction(x) / Fraction(y) if isinstance(x, int | Fraction) and isinstance(y, int | Fraction) else x / y
            case "pow" if float(x) > 0 or (float(y).is_integer() and (x or float(y) >= 0)):
                exact = y == int(y) and -64 <= y <= 64 and -1e18 < x < 1e18
                return x**int(y) if exact else float(x)**float(y)
            case "div" | "pow":
                return math.nan
    except OverflowError:
        return math.inf
    return None


def product(ctx: Context, scope: Scope, node: s.Binary, a: Expr | None, b: Expr | None) -> Expr:
    """a @ b; a clash says how many columns meet how many elements."""
    if a is None or b is None:
        return _guess_product(a, b)
    a, b = _checked(ctx, scope, node.a, a, "mul"), _checked(ctx, scope, node.b, b, "mul")
    for n, e in ((node.a, a), (node.b, b)):
        if not e.shape:
            ctx.fail(scope, n, f"`{text_of(scope, n)}` is one number, and `@` is a product of matrices and vectors",
                     *declared(ctx, scope, [(n, e)]), hint="a number multiplies with `*`")
    if a.shape[-1] != b.shape[0]:
        _clash_product(ctx, scope, node, a, b)
    try:
        return matmul(a, b)
    except GraphError as error:
        ctx.fail(scope, node, str(error))


def _clash_product(ctx: Context, scope: Scope, node: s.Binary, a: Expr, b: Expr) -> None:
    ta, tb = text_of(scope, node.a), text_of(scope, node.b)
    left = "columns" if len(a.shape) > 1 else "elements"
    right = "rows" if len(b.shape) > 1 else "elements"
    hint = None
    if len(a.shape) == 2 and a.shape[0] == b.shape[0]:
        hint = f"did you mean `{ta}.T @ {tb}`?"
    elif len(a.shape) == 1 and len(b.shape) == 2 and a.shape[0] == b.shape[1]:
        hint = f"did you mean `{tb} @ {ta}`?"
    elif len(a.shape) == len(b.shape) == 1:
        hint = "`@` of two vectors is their inner product; element by element it is `*`"
    ctx.fail(scope, node, f"`{ta}` has {ctx.size_text(a.shape[-1])} {left}, `{tb}` has {ctx.size_text(b.shape[0])} {right}",
             *declared(ctx, scope, [(node.a, a), (node.b, b)]), hint=hint or _alike(ctx, a.shape[-1:], b.shape[:1]))


def _guess_product(a: Expr | None, b: Expr | None) -> Expr:
    known = a if a is not None else b
    if known is None or len(known.shape) != 2:
        raise Unknown
    return Broadcast(Const(0), known.axes, known.shape[:1] if known is a else known.shape[1:], ())


def time_axes(e: Expr) -> tuple[str, ...]:
    return tuple(a for a in e.axes if a != BATCH)
