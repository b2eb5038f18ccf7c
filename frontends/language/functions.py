"""The functions of the language: primitives, reductions, losses, noise; calls of them and of what a model defines."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ...compiler.graph import BATCH, BOOL, Expr, OneHot, Stop, apply, total
from ...compiler.ops import PRIMITIVES
from . import libraries, ranges, semantics
from . import syntax as s
from .arithmetic import declared, elementwise
from .convolution import IMAGES
from .noise import NOISE
from .rarely import RARE
from .scope import (
    Alias,
    Binding,
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
    suggest,
    text_of,
)

REDUCING = ("sum", "mean", "max", "min", "prod", "logsumexp", "argmax", "norm", "var")


# ---------------------------------------------------------------- which function a name is

def lookup(name: str, scope: Scope) -> Binding | None:
    """The def, fragment, instance or function argument of that name: the model's own, else the library's."""
    found = scope.find(name)
    if isinstance(found, Macro | FragmentName | Instance | Alias | Lost):
        return found
    return libraries.find(name) if name not in BUILTINS else None


def is_function(name: str, scope: Scope) -> bool:
    found = scope.find(name)
    if found is not None:
        return isinstance(found, Macro | FragmentName | Alias)
    return name in BUILTINS or lookup(name, scope) is not None


def names_of_functions() -> list[str]:
    return [*BUILTINS, *libraries.names()]


def call(ctx: Context, node: s.Call | s.Along, scope: Scope) -> Expr:
    """The value of f(...)."""
    from .fragments import call_fragment, call_macro
    if isinstance(node, s.Along):
        return _along(ctx, node, scope)
    found = lookup(node.f, scope)
    match found:
        case Lost():
            raise Poisoned
        case Alias(f=f, scope=home):
            assert home is not None
            return call(ctx, s.Call(node.start, node.end, f, node.args), _arguments_from(scope, home, f))
        case Macro():
            return call_macro(ctx, node, scope, found)
        case FragmentName() | Instance():
            return call_fragment(ctx, node, scope, found)
    if node.f not in BUILTINS:
        _no_function(ctx, node, scope)
    return BUILTINS[node.f](ctx, node, scope)


def _arguments_from(scope: Scope, home: Scope, f: str) -> Scope:
    """The scope of the call, in which a passed function keeps the meaning that it has where it was passed."""
    found = home.find(f)
    names = {f: found} if isinstance(found, Macro | FragmentName | Instance | Alias) else {}
    return Scope(scope.source, scope.path, scope.owned, scope, dict(names), reverse=scope.reverse, hidden=scope.hidden,
                 calls=scope.calls, inner=True)


CHOICE = "the elementwise choice is select(condition, a, b)"
FOREIGN = {"where": CHOICE, "if": CHOICE,
           "concat": "values stand side by side in brackets: [a, b]", "matmul": "a product is written a @ b",
           "dot": "a product is written a @ b", "transpose": "the transpose of W is W.T"}


def _no_function(ctx: Context, node: s.Call, scope: Scope) -> None:
    found = scope.find(node.f)
    if isinstance(found, Value | Equation | SizeName):
        inside = text_of(scope, node)
        axes = () if isinstance(found, SizeName) else found.axes
        hint = f"a step of it is {node.f}[{', '.join(axes)}]" if axes else \
            f"a product is written {node.f} @ x or {node.f} * x"
        ctx.fail(scope, node, f"`{node.f}` is {found.what}, and `{inside}` calls it", (found, "it is declared here"), hint=hint)
    ctx.fail(scope, node, f"there is no function `{node.f}`",
             hint=FOREIGN.get(node.f) or suggest(node.f, Scope(scope.source), [*names_of_functions(), *_callables(scope)])
             or f"define it: def {node.f}(x) = ...")


def _callables(scope: Scope) -> list[str]:
    return [n for n in scope.visible() if isinstance(scope.find(n), Macro | FragmentName | Instance)]


# ---------------------------------------------------------------- helpers of the functions below

Builtin = Callable[[Context, s.Call, Scope], Expr]


def arguments(ctx: Context, node: s.Call, scope: Scope, least: int, most: int | None = None, usage: str = "") -> list[s.Expr]:
    """The positional arguments, as many as the function takes."""
    most = least if most is None else most
    for a in node.args:
        if a.name is not None:
            ctx.fail(scope, a, f"`{node.f}` takes no argument by name", hint=usage and f"it is {usage}")
    if not least <= len(node.args) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        ctx.fail(scope, node, f"`{node.f}` takes {wanted} argument{'s' if most != 1 else ''}, not {len(node.args)}",
                 hint=usage and f"it is {usage}")
    return [a.value for a in node.args]


def values(ctx: Context, nodes: list[s.Expr], scope: Scope) -> list[Expr]:
    """The values, all of which must be known."""
    from .expressions import operands
    found = operands(ctx, nodes, scope)
    if any(e is None for _, e in found):
        raise Unknown
    return [e for _, e in found if e is not None]


def real_values(ctx: Context, nodes: list[s.Expr], scope: Scope) -> list[Expr]:
    out = []
    for n, e in zip(nodes, values(ctx, nodes, scope)):
        if e.type.kind == "class":
            ctx.fail(scope, n, f"`{text_of(scope, n)}` is a class and no number", *declared(ctx, scope, [(n, e)]),
                     hint=f"onehot({text_of(scope, n)}) makes it a vector")
        out.append(semantics.numeric(e))
    return out


def _primitive(f: str) -> Builtin:
    def build(ctx: Context, node: s.Call, scope: Scope) -> Expr:
        from .expressions import operands
        nodes = arguments(ctx, node, scope, PRIMITIVES[f].arity)
        return elementwise(ctx, scope, node, f, operands(ctx, nodes, scope), fold=False)
    return build


def _extreme(kind: str, f: str) -> Builtin:
    """max(a) over the features, max(a, b, ...) elementwise."""
    def build(ctx: Context, node: s.Call, scope: Scope) -> Expr:
        from .expressions import operands
        nodes = arguments(ctx, node, scope, 1, 8)
        if len(nodes) == 1:
            return _reduction(kind)(ctx, node, scope)
        found = operands(ctx, nodes, scope)
        out = found[0]
        for other in found[1:]:
            out = (node, elementwise(ctx, scope, node, f, [out, other]))
        assert out[1] is not None
        return out[1]
    return build


def _reduction(kind: str) -> Builtin:
    """Over the features, never over batch or time."""
    def build(ctx: Context, node: s.Call, scope: Scope) -> Expr:
        nodes = arguments(ctx, node, scope, 1)
        (e,) = real_values(ctx, nodes, scope)
        if not e.shape:
            inside = text_of(scope, nodes[0])
            own = [n for n, a in scope.axes().items() if a in e.axes]
            over = own[0] if own else "batch" if BATCH in e.axes else None
            hint = f"over {'the batch' if over == BATCH else over} it is {kind}[{over}]" if over else None
            ctx.fail(scope, node, f"`{inside}` has no features to take the {kind} of", *declared(ctx, scope, [(nodes[0], e)]),
                     hint=hint)
        if kind == "argmax" and len(e.shape) != 1:
            ctx.fail(scope, node, f"argmax takes a vector, and `{text_of(scope, nodes[0])}` is {ctx.shape_text(e)}")
        return semantics.reduce(kind, e, semantics.features(e))
    return build


def _soft(make: Callable[..., Expr]) -> Builtin:
    def build(ctx: Context, node: s.Call, scope: Scope) -> Expr:
        nodes = arguments(ctx, node, scope, 1)
        (e,) = real_values(ctx, nodes, scope)
        if not e.shape:
            ctx.fail(scope, node, f"{node.f} runs over a vector, and `{text_of(scope, nodes[0])}` is one number for each example",
                     *declared(ctx, scope, [(nodes[0], e)]), hint=_soft_hint(scope, node.f, text_of(scope, nodes[0]), e))
        return make(e)
    return build


def _soft_hint(scope: Scope, f: str, inside: str, e: Expr) -> str:
    """What was meant: over the steps of a sequence, or of one score."""
    own = [f"{f}[{n}]({inside})" for n, a in scope.axes().items() if a in e.axes and a != BATCH]
    return f"over the steps of a sequence: {' or '.join(own)}" if own else f"of one score: sigmoid({inside})"


def _along(ctx: Context, node: s.Along, scope: Scope) -> Expr:
    """softmax[s](a): along named axes."""
    from .expressions import check_axes, over_items
    over = over_items(ctx, node.items, scope, node, node.f)
    if len(node.args) != 1:
        ctx.fail(scope, node, f"{node.f}[...] takes 1 argument, not {len(node.args)}")
    (e,) = real_values(ctx, [node.args[0].value], ranges.inside(ctx, node.items, scope))
    check_axes(ctx, scope, node, e, over, f"{node.f}[...]", node.args[0].value)
    return ranges.soft(ctx, node.f == "log_softmax", e, over, node.items, scope)


def _select(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    from .expressions import operands
    nodes = arguments(ctx, node, scope, 3, usage="select(condition, then, else)")
    found = operands(ctx, nodes, scope)
    c = found[0][1]
    if c is not None and c.type != BOOL:
        ctx.fail(scope, nodes[0], f"the condition `{text_of(scope, nodes[0])}` is no truth value", hint="compare it: a > 0")
    return elementwise(ctx, scope, node, "select", found) if c is None else _choose(ctx, scope, node, found)


def _choose(ctx: Context, scope: Scope, node: s.Call, found: list[Any]) -> Expr:
    """The branches may be classes of one kind; the condition keeps its type."""
    (_, c), (_, a), (_, b) = found
    if a is None or b is None:
        return elementwise(ctx, scope, node, "add", found[1:])
    if a.type.kind == b.type.kind == "class" and a.type == b.type and a.shape == b.shape == c.shape:
        return apply("select", c, a, b)
    both = [(n, semantics.numeric(e)) for n, e in found[1:]]
    elementwise(ctx, scope, node, "add", both)                   # the two must fit each other
    if c.shape:
        elementwise(ctx, scope, node, "add", [(found[0][0], semantics.numeric(c)), max(both, key=lambda x: len(x[1].shape))])
    return apply("select", c, both[0][1], both[1][1])


def _onehot(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    from .static import size_of
    nodes = arguments(ctx, node, scope, 1, 2, "onehot(x), where x is declared as class(n)")
    (e,) = values(ctx, nodes[:1], scope)
    if e.type.kind != "class":
        ctx.fail(scope, nodes[0], f"onehot takes a class, and `{text_of(scope, nodes[0])}` is a number",
                 *declared(ctx, scope, [(nodes[0], e)]), hint="declare it so: input x : class(10)")
    assert e.type.n is not None
    return OneHot(e, size_of(ctx, nodes[1], scope) if len(nodes) == 2 else e.type.n)


# ---------------------------------------------------------------- losses

def _pair(ctx: Context, node: s.Call, scope: Scope) -> tuple[list[s.Expr], Expr, Expr]:
    nodes = arguments(ctx, node, scope, 2, usage=f"{node.f}(prediction, target)")
    a, b = values(ctx, nodes, scope)
    return nodes, a, b


def _squares(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    from .expressions import operands
    nodes = arguments(ctx, node, scope, 2, usage="squares(prediction, target)")
    difference = elementwise(ctx, scope, node, "sub", operands(ctx, nodes, scope))
    return total(apply("square", difference)) / 2


def probable(ctx: Context) -> semantics.Proof:
    return semantics.Proof(ctx.domains, ctx.system.equations.get, ctx.assumed)


def _cross_entropy(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    nodes, p, y = _pair(ctx, node, scope)
    tp, ty, notes = text_of(scope, nodes[0]), text_of(scope, nodes[1]), declared(ctx, scope, [(nodes[0], p), (nodes[1], y)])
    if not p.shape:
        ctx.fail(scope, node, f"cross_entropy takes a vector of probabilities, and `{tp}` is one number for each example", *notes,
                 hint=f"of one probability: binary_cross_entropy({tp}, {ty})")
    if y.type.kind == "class" and y.type.n != p.shape[-1]:
        assert y.type.n is not None
        ctx.fail(scope, node,
                 f"`{tp}` has {ctx.size_text(p.shape[-1])} probabilities, `{ty}` is one of {ctx.size_text(y.type.n)} classes",
                 *notes)
    if y.type.kind != "class" and y.shape != p.shape:
        ctx.fail(scope, node, f"`{tp}` is {ctx.shape_text(p)}, `{ty}` is {ctx.shape_text(y)}", *notes,
                 hint="a target is a vector like the probabilities, or a class: target y : class(10)")
    if not probable(ctx)(p):
        ctx.fail(scope, nodes[0], f"cross_entropy takes probabilities, and `{tp}` need not be one",
                 hint=f"write cross_entropy(softmax({tp}), {ty}), or assume_probability({tp})")
    return semantics.cross_entropy(p, y)


def _binary_cross_entropy(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    nodes, p, y = _pair(ctx, node, scope)
    tp, ty = text_of(scope, nodes[0]), text_of(scope, nodes[1])
    notes = declared(ctx, scope, [(nodes[0], p), (nodes[1], y)])
    if y.type.kind == "class" and y.type.n != 2:
        ctx.fail(scope, nodes[1], f"`{ty}` is one of {y.type.n} classes, and binary_cross_entropy knows two", *notes,
                 hint=f"write cross_entropy(softmax(...), {ty}), or declare it binary")
    if p.shape != y.shape:
        ctx.fail(scope, node, f"`{tp}` is {ctx.shape_text(p)}, `{ty}` is {ctx.shape_text(y)}", *notes,
                 hint="one number out of a vector of weights: w @ x, with param w[D]" if p.shape and not y.shape else None)
    if not probable(ctx)(p):
        ctx.fail(scope, nodes[0], f"binary_cross_entropy takes probabilities, and `{tp}` need not be one",
                 hint=f"write binary_cross_entropy(sigmoid({tp}), {ty}), or assume_probability({tp})")
    return semantics.binary_cross_entropy(p, y)


def _assume(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    (e,) = real_values(ctx, arguments(ctx, node, scope, 1), scope)
    ctx.assumed[e] = None
    return e


def _stop(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    (e,) = values(ctx, arguments(ctx, node, scope, 1), scope)
    return Stop(e)


def _rare(name: str) -> Builtin:
    return lambda ctx, node, scope: RARE[name](ctx, node, scope)


@lru_cache(maxsize=1)
def _table() -> dict[str, Builtin]:
    plain = {f: _primitive(f) for f in PRIMITIVES if f not in ("select", "and", "or", "not")}
    return {
        **plain, **{f: _reduction(f) for f in REDUCING}, "max": _extreme("max", "maximum"), "min": _extreme("min", "minimum"),
        "softmax": _soft(semantics.softmax), "log_softmax": _soft(semantics.log_softmax), "select": _select, "onehot": _onehot,
        "squares": _squares, "cross_entropy": _cross_entropy, "binary_cross_entropy": _binary_cross_entropy,
        "assume_probability": _assume, "stop": _stop, **NOISE,
        **{name: _rare(name) for name in RARE if name != "noise"}, **IMAGES,
    }


BUILTINS: dict[str, Builtin] = _table()

__all__ = ["BUILTINS", "call", "is_function", "lookup", "names_of_functions"]
