"""Expressions -> graph nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...compiler.graph import BATCH, Concat, Const, Expr, Extent, GraphError, Index, Transpose
from ...compiler.node import shown
from . import ranges
from . import syntax as s
from .arithmetic import OPERATORS, Operand, declared, elementwise, product
from .equations import read
from .indexing import indexed
from .scope import (
    AxisName,
    Context,
    Equation,
    Family,
    Lost,
    Poisoned,
    Scope,
    SizeName,
    Unknown,
    Value,
    axis_length,
    suggest,
    text_of,
)
from .semantics import numeric

CONSTANTS = {"pi": math.pi, "inf": math.inf}
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
LINEAR = ("sum", "mean")


def evaluate(ctx: Context, node: s.Expr, scope: Scope) -> Expr:
    """The node that an expression means; Poisoned where it has a mistake, which is then reported."""
    try:
        out = _evaluate(ctx, node, scope)
    except GraphError as error:
        ctx.fail(scope, node, f"this has no meaning: {error}")
    ctx.place(out, scope, node)
    return out


def _evaluate(ctx: Context, node: s.Expr, scope: Scope) -> Expr:
    match node:
        case s.Number(value=v):
            if not math.isfinite(v) or abs(v) > 1e300:
                ctx.fail(scope, node, f"`{text_of(scope, node)}` is too large a number")
            return Const(v)
        case s.Name():
            return _name(ctx, node, scope)
        case s.Binary():
            return _binary(ctx, node, scope)
        case s.Unary(op=op, a=a):
            if op == "()":
                return evaluate(ctx, a, scope)
            (operand,) = operands(ctx, [a], scope)
            return elementwise(ctx, scope, node, "neg" if op == "-" else "not", [operand])
        case s.Index():
            return indexed(ctx, node, scope)
        case s.Turned(a=a):
            e = evaluate(ctx, a, scope)
            if len(e.shape) != 2:
                ctx.fail(scope, node, f"`.T` is the transpose of a matrix, and `{text_of(scope, a)}` is {ctx.shape_text(e)}",
                         *declared(ctx, scope, [(a, e)]))
            return Transpose(e)
        case s.Row(items=items):
            return _row(ctx, node, items, scope)
        case s.Over():
            return _over(ctx, node, scope)
        case s.Call() | s.Along():
            from .functions import call
            return call(ctx, node, scope)
        case s.Text():
            ctx.fail(scope, node, "a text is not a value here")
        case s.Part():
            ctx.fail(scope, node, "a range stands in brackets after a name: v[0:H]")
    raise AssertionError(node)


def operands(ctx: Context, nodes: Sequence[s.Expr], scope: Scope) -> list[Operand]:
    """Every operand's value, so that each may report its own mistake; None inside a cycle where it is not known yet."""
    out: list[Operand] = []
    poisoned = False
    for node in nodes:
        try:
            out.append((node, evaluate(ctx, node, scope)))
        except Poisoned:
            poisoned = True
        except Unknown:
            out.append((node, None))
    if poisoned:
        raise Poisoned
    return out


def _name(ctx: Context, node: s.Name, scope: Scope) -> Expr:
    binding = scope.find(node.name)
    match binding:
        case SizeName(size=size):
            if size is None:
                raise Unknown
            return Extent(size)
        case AxisName(axis=axis):
            return ranges.index(axis, scope)
        case Lost():
            raise Poisoned
        case Value() | Equation():
            if binding.axes:
                local = [next((k for k, v in scope.axes().items() if v == x), shown(x)) for x in binding.axes]
                ctx.fail(scope, node, f"`{node.name}` is a sequence: write {node.name}[{', '.join(local)}]",
                         (binding, f"`{node.name}` is declared here"))
            if isinstance(binding, Value):
                if binding.expr is None:
                    raise Unknown
                return binding.expr
            return read(ctx, binding, scope, node)
        case Family():
            members = ", ".join(f"{node.name}[{k}]" for k in list(binding.members)[:4])
            ctx.fail(scope, node, f"`{node.name}` has members: write {members}", (binding, "the first is declared here"))
        case None:
            length = axis_length(scope, node.name)
            if length is not None:
                return Extent(length)
            if node.name == BATCH:
                return Index(BATCH)
            if node.name in CONSTANTS:
                return Const(CONSTANTS[node.name])
            return _missing(ctx, node, scope)
    ctx.fail(scope, node, f"`{node.name}` is {binding.what} and no value", (binding, "it is declared here"),
             hint=f"call it: {node.name}(...)")


def _missing(ctx: Context, node: s.Name, scope: Scope) -> Expr:
    from .functions import names_of_functions
    if node.name in names_of_functions():
        ctx.fail(scope, node, f"`{node.name}` is a function: write {node.name}(...)")
    head = node.name.split(".")[0]
    hint = suggest(node.name, scope)
    if hint is None and "." in node.name and head in scope.names:
        hint = f"`{head}` has no part of that name"
    axis = node.name.removeprefix("lengths_")
    if axis != node.name and axis in scope.axes():
        hint = f"inside an equation, an example's own length is {axis.upper()}"
    ctx.fail(scope, node, f"there is no `{node.name}`", hint=hint or "declare it: an input, a param, or an equation of its own")


def _binary(ctx: Context, node: s.Binary, scope: Scope) -> Expr:
    """A chain a + b + c ... is walked down its left side without recursion."""
    if node.op in COMPARISONS and isinstance(node.a, s.Binary) and node.a.op in COMPARISONS:
        ctx.fail(scope, node, "comparisons do not chain", hint="write a < b and b < c")
    chain = [node]
    while isinstance(chain[-1].a, s.Binary):
        chain.append(chain[-1].a)
    (left,) = operands_lenient(ctx, [chain[-1].a], scope)
    for link in reversed(chain):
        (right,) = operands_lenient(ctx, [link.b], scope)
        left = _link(ctx, link, left, right, scope)
    result, poisoned = left
    if poisoned:
        raise Poisoned
    if result is None:
        raise Unknown
    return result


Lenient = tuple[Expr | None, bool]                       # a value, or None; and whether a mistake was reported


def operands_lenient(ctx: Context, nodes: Sequence[s.Expr], scope: Scope) -> list[Lenient]:
    out: list[Lenient] = []
    for node in nodes:
        try:
            out.append((evaluate(ctx, node, scope), False))
        except Poisoned:
            out.append((None, True))
        except Unknown:
            out.append((None, False))
    return out


def _link(ctx: Context, node: s.Binary, left: Lenient, right: Lenient, scope: Scope) -> Lenient:
    if left[1] or right[1]:
        return None, True
    try:
        if node.op == "@":
            result = product(ctx, scope, node, left[0], right[0])
        elif node.op == "//":
            result = _rounded(ctx, node, left[0], right[0], scope)
        else:
            result = elementwise(ctx, scope, node, OPERATORS[node.op], [(node.a, left[0]), (node.b, right[0])])
    except Poisoned:
        return None, True
    except Unknown:
        return None, False
    ctx.place(result, scope, node)
    return result, False


def _rounded(ctx: Context, node: s.Binary, a: Expr | None, b: Expr | None, scope: Scope) -> Expr:
    """A quotient of sizes, rounded down."""
    if a is None or b is None:
        raise Unknown
    if not isinstance(a, Extent | Const) or not isinstance(b, Const) or not isinstance(b.value, int) or b.value < 1 or (
            isinstance(a, Const) and not isinstance(a.value, int)):
        ctx.fail(scope, node, f"`{text_of(scope, node)}` is no size by a whole number: `//` rounds sizes down",
                 hint="of values: floor(a / b)")
    return Extent(a.size // b.value) if isinstance(a, Extent) else Const(a.value // b.value)


def _row(ctx: Context, node: s.Expr, items: tuple[s.Expr, ...], scope: Scope) -> Expr:
    """[a, b, ...]: vectors side by side along the last feature; numbers count as vectors of one."""
    parts = []
    for n, e in operands(ctx, items, scope):
        if e is None:
            raise Unknown
        if e.type.kind == "class":
            ctx.fail(scope, n, f"`{text_of(scope, n)}` is a class and cannot stand beside numbers",
                     *declared(ctx, scope, [(n, e)]), hint=f"onehot({text_of(scope, n)}) makes it a vector")
        parts.append((n, numeric(e)))
    rank = max(len(e.shape) for _, e in parts)
    if rank > 1:
        first = parts[0]
        for n, e in parts[1:]:
            if e.shape[:-1] != first[1].shape[:-1]:
                ctx.fail(scope, node, f"`{text_of(scope, first[0])}` is {ctx.shape_text(first[1])}, `{text_of(scope, n)}` is "
                         f"{ctx.shape_text(e)}: side by side all but the last size must agree",
                         *declared(ctx, scope, [first, (n, e)]))
        return Concat(rank - 1, tuple(e for _, e in parts))
    return Concat(0, tuple(e if e.shape else vector(e) for _, e in parts))


def vector(e: Expr) -> Expr:
    """A number as a vector of one."""
    from ...compiler.graph import Reshape
    return Reshape(e, (1,))


def over_items(ctx: Context, items: tuple[s.Expr, ...], scope: Scope, node: s.Node, f: str) -> tuple[str | int, ...]:
    """The axes (and feature positions) that stand in the brackets of a reduction."""
    over: list[str | int] = []
    for item in items:
        name = item.name if isinstance(item, s.Name) else ""
        binding = scope.find(name)
        if name == BATCH:
            over.append(BATCH)
        elif isinstance(binding, AxisName):
            over.append(binding.axis)
        elif isinstance(item, s.Number) and isinstance(item.value, int):
            over.append(item.value)
        elif isinstance(binding, Lost):
            raise Poisoned
        elif (bounded := ranges.axis_of(item, scope)) is not None:
            over.append(bounded.axis)
        elif isinstance(item, s.Binary) and item.op in ranges.COMPARING:
            ctx.fail(scope, item, f"the range `{text_of(scope, item)}` bounds no axis",
                     hint="an axis stands on its left: t < T - 1")
        elif isinstance(binding, SizeName):
            ctx.fail(scope, item, f"`{name}` is a size; {f}[...] runs over an axis", (binding, "it is declared here"),
                     hint=f"over the features it is {f}(a), over the batch {f}[batch](a)")
        else:
            known = [*scope.axes(), BATCH]
            ctx.fail(scope, item, f"there is no axis `{text_of(scope, item)}`", hint=suggest(name, Scope(scope.source), known)
                     or f"the axes here: {', '.join(known)}")
    return tuple(dict.fromkeys(over))


def check_axes(ctx: Context, scope: Scope, node: s.Node, e: Expr, over: tuple[str | int, ...], f: str, what: s.Node) -> None:
    for o in over:
        if isinstance(o, str) and o not in e.axes:
            ctx.fail(scope, node, f"{f} runs over {shown(o)}, and `{text_of(scope, what)}` does not depend on {shown(o)}",
                     hint=None if o != BATCH else "only inputs, targets, noise and what is computed from them have a batch")
        if isinstance(o, int) and o >= len(e.shape):
            ctx.fail(scope, node, f"`{text_of(scope, what)}` has no feature {o}: it is {ctx.shape_text(e)}")


def _over(ctx: Context, node: s.Over, scope: Scope) -> Expr:
    over = over_items(ctx, node.items, scope, node, node.f)
    if node.f == "average":
        ctx.fail(scope, node, "average[batches](...) is the whole update of a stat", hint="stat m[C] = 0 <- average[batches](a)")
    _no_double_reading(ctx, node, scope)
    e = evaluate(ctx, node.a, ranges.inside(ctx, node.items, scope))
    check_axes(ctx, scope, node, e, over, f"{node.f}[...]", node.a)
    if e.type.kind == "class":
        ctx.fail(scope, node.a, f"`{text_of(scope, node.a)}` is a class and no number", *declared(ctx, scope, [(node.a, e)]))
    if node.f == "argmax" and len(over) != 1:
        ctx.fail(scope, node, "argmax runs over one axis")
    return ranges.reduced(ctx, node.f, e, over, node.items, scope)


def _no_double_reading(ctx: Context, node: s.Over, scope: Scope) -> None:
    """`max[t](a) * b` reads as a call and binds as a sum sign: refused where the two differ."""
    first: s.Expr = node.a
    while isinstance(first, s.Binary) and first.op in ("*", "/", "@", "^"):
        power = first.op == "^"
        inner = first.a
        if isinstance(inner, s.Unary) and inner.op == "()" and (power or node.f not in LINEAR):
            head = " ".join(scope.source.text[node.start:inner.end].split())
            ctx.fail(scope, node, f"`{head}` reaches over the whole product that follows, as a sum sign does",
                     hint=f"write ({head}){'^' if power else f' {first.op} '}..., "
                          "or parentheses around all that it is to run over")
        first = inner


__all__ = ["check_axes", "evaluate", "operands", "over_items", "vector"]
