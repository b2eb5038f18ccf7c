"""`feedback x[t+1] ~ categorical(softmax(p[t] / temperature))`: what `generate` feeds back, read and written.

    categorical(p)      a class, drawn with the probabilities p
    bernoulli(p)        0 or 1, each element drawn with its probability
    normal(mean, sd)    a number, each element drawn
    x[t+1] = e          no draw: the value itself

A name that the model does not declare is an argument of `generate`, 1 by default.
"""

from __future__ import annotations

import keyword
from typing import NoReturn

from ...compiler.graph import BATCH, REAL, Expr, Input
from ...compiler.system import Feedback, System
from . import syntax as s
from .arithmetic import declared
from .exact import ExactReader
from .expressions import CONSTANTS, evaluate
from .functions import names_of_functions, probable
from .inputs import RESERVED_INPUTS
from .scope import AxisName, Binding, Context, Frame, Scope, Value, axis_length, legal_word, suggest, text_of

KINDS = {"categorical": ("p",), "bernoulli": ("p",), "normal": ("mean", "sd")}
OWN = ("length", BATCH, "start", "step", "outputs", "softmax", "categorical", "uniform", "normal")     # words of `generate`


def feedback(ctx: Context, scope: Scope, x: s.Feedback) -> None:
    """The statement as a `Feedback` of the system."""
    if ctx.system.feedback is not None:
        ctx.fail(scope, x, "a model has one feedback", hint="one input is drawn; give `generate` the others")
    node, axis, binding = _fed(ctx, scope, x.target)
    kind, arguments = _distribution(ctx, scope, x)
    inner = Scope(scope.source, scope.path, scope.owned, scope, inner=True)
    free = _free(ctx, scope, arguments)
    for name, place in free.items():
        inner.names[name] = Value(scope.source, place, "an argument of generate", Input(name, ()))
    ctx.frames.append(Frame(f"feedback {node.name}"))
    try:
        args = tuple(evaluate(ctx, a, inner) for a in arguments)
    finally:
        ctx.frames.pop()
    for a, e in zip(arguments, args, strict=True):
        other = [t for t in e.axes if t not in (axis, BATCH)]
        if other:
            ctx.fail(scope, a, f"`{text_of(scope, a)}` runs along {other[0]}, and the feedback along {axis}")
    _fits(ctx, scope, node, binding, kind, list(zip(arguments, args, strict=True)))
    ctx.system.feedback = Feedback(node.name, axis, kind, args, tuple(free))


def _fed(ctx: Context, scope: Scope, target: s.Target) -> tuple[Input, str, Binding]:
    """The input that is fed, and its axis."""
    name, binding = target.name, scope.find(target.name)
    if not isinstance(binding, Value) or not isinstance(binding.expr, Input) or name in ctx.system.targets:
        what = f"`{name}` is {binding.what}" if isinstance(binding, Value) or binding else f"there is no `{name}`"
        ctx.fail(scope, target, f"a feedback gives an input its next value, and {what}",
                 *([(binding, "it is declared here")] if binding else []),
                 hint=suggest(name, Scope(scope.source), [k for k in ctx.system.inputs if k not in ctx.system.targets]))
    for taken in OWN:
        if taken in ctx.system.inputs:
            ctx.fail(scope, target, f"`generate` uses the name `{taken}` itself, and an input of this model has it",
                     (scope.find(taken), "the input is declared here"), hint="call the input otherwise")
    if len(binding.axes) != 1:
        many = f"two sequences in one: {', '.join(binding.axes)}" if binding.axes else "no sequence"
        ctx.fail(scope, target, f"a feedback gives an input its next step, and `{name}` is {many}",
                 (binding, "it is declared here"))
    (axis,) = binding.axes
    items = target.items or ()
    if len(items) != 1 or not _next(scope, items[0], axis):
        ctx.fail(scope, target, f"a feedback gives `{name}` its next step", hint=f"write feedback {name}[{axis}+1] ~ ...")
    return binding.expr, axis, binding


def _next(scope: Scope, item: s.Expr, axis: str) -> bool:
    """Whether a place in brackets is t+1."""
    if not isinstance(item, s.Binary) or item.op != "+" or not isinstance(item.a, s.Name):
        return False
    found = scope.find(item.a.name)
    return isinstance(found, AxisName) and found.axis == axis and isinstance(item.b, s.Number) and item.b.value == 1


def _distribution(ctx: Context, scope: Scope, x: s.Feedback) -> tuple[str, list[s.Expr]]:
    """The kind of a draw and its arguments."""
    if x.equals:
        return "value", [x.value]
    value, name = x.value, x.target.name
    if not isinstance(value, s.Call) or value.f not in KINDS:
        known = ", ".join(f"{k}({', '.join(names)})" for k, names in KINDS.items())
        hint = suggest(value.f, Scope(scope.source), KINDS) if isinstance(value, s.Call) else None
        ctx.fail(scope, value, f"`{text_of(scope, value)}` is no distribution; there is {known}",
                 hint=hint or f"without a draw: feedback {name}[...] = ...")
    names = KINDS[value.f]
    if len(value.args) != len(names) or any(a.name is not None for a in value.args):
        ctx.fail(scope, value, f"`{value.f}` takes {len(names)} argument{'s' if names[1:] else ''}: "
                               f"{value.f}({', '.join(names)})")
    return value.f, [a.value for a in value.args]


def _free(ctx: Context, scope: Scope, arguments: list[s.Expr]) -> dict[str, s.Name]:
    """The names that nothing declares, in the order of their first use."""
    found: dict[str, s.Name] = {}
    for a in arguments:
        indexed = {n.a for n in s.walk(a) if isinstance(n, s.Index)}
        for n in s.walk(a):
            if not isinstance(n, s.Name) or n in indexed or scope.find(n.name) is not None or n.name in (*CONSTANTS, BATCH):
                continue
            if axis_length(scope, n.name) is None and n.name not in names_of_functions():
                _argument(ctx, scope, n)
                found.setdefault(n.name, n)
    return found


def _argument(ctx: Context, scope: Scope, n: s.Name) -> None:
    """Refuse a name that cannot be an argument of `generate`."""
    legal_word(ctx, scope, n, n.name)
    if n.name[:1].isupper() or "." in n.name:
        ctx.fail(scope, n, f"there is no `{n.name}`",
                 hint=suggest(n.name, scope) or "an argument of generate has a lower-case name")
    if n.name in (*RESERVED_INPUTS, *OWN) or n.name.startswith(("lengths", "_")) or keyword.iskeyword(n.name):
        ctx.fail(scope, n, f"`{n.name}` cannot name an argument of generate: it has another meaning there",
                 hint="choose another name")


def _fits(ctx: Context, scope: Scope, x: Input, binding: Binding, kind: str, args: list[tuple[s.Expr, Expr]]) -> None:
    """What is drawn must be what the input holds."""
    here = (binding, f"`{x.name}` is declared here")
    (node, e), text = args[0], text_of(scope, args[0][0])

    def refuse(message: str, hint: str | None = None) -> NoReturn:
        ctx.fail(scope, node, message, *declared(ctx, scope, [(node, e)]), here, hint=hint)

    if kind == "categorical":
        if x.type.kind != "class":
            refuse(f"categorical draws a class, and `{x.name}` is declared {ctx.shape_text(x)}",
                   f"input {x.name}[...] : class(n)")
        assert x.type.n is not None
        if e.shape != (*x.shape, x.type.n):
            refuse(f"`{text}` is {ctx.shape_text(e)}, and a draw of `{x.name}` needs {ctx.size_text(x.type.n)} probabilities")
    elif kind == "value":
        if (e.type, e.shape) != (x.type, x.shape):
            refuse(f"`{text}` is {ctx.shape_text(e)}, and `{x.name}` is {ctx.shape_text(x)}")
    else:
        if x.type.kind == "class" or (kind == "normal" and (x.type != REAL or ctx.domains.get(x.name) == "binary")):
            refuse(f"{kind} draws {'0 or 1' if kind == 'bernoulli' else 'a number'}, "
                   f"and `{x.name}` is {ctx.domains.get(x.name) or x.type}")
        for node, e in args:
            if e.type != REAL or e.shape not in ((), x.shape) or (kind == "bernoulli" and e.shape != x.shape):
                refuse(f"`{text_of(scope, node)}` is {ctx.shape_text(e)}, and `{x.name}` is {ctx.shape_text(x)}")
    if kind in ("categorical", "bernoulli") and not probable(ctx)(e):
        f = "softmax" if kind == "categorical" else "sigmoid"
        refuse(f"{kind} takes probabilities, and `{text}` need not be one",
               f"write {kind}({f}({text})), or assume_probability({text})")


# ---------------------------------------------------------------- back to text

def feedback_text(system: System, reader: ExactReader, write: object) -> str:
    """The statement of a system's feedback; `write` makes text of an expression."""
    assert system.feedback is not None and callable(write)
    f = system.feedback
    texts = []
    for e in f.args:
        text = write(e, f"feedback {f.input}")
        sure = f.kind not in ("categorical", "bernoulli") or reader.proof(e)
        texts.append(text if sure else f"assume_probability({text})")
    target = f"feedback {f.input}[{f.axis}+1]"
    return f"{target} = {texts[0]}" if f.kind == "value" else f"{target} ~ {f.kind}({', '.join(texts)})"
