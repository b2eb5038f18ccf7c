"""Functions that hardly a model needs by name, and that any system can be printed in: each names one node of the graph.

    transpose(a, 1, 0)                  feature k of the result is feature perm[k] of a
    reshape(a, H, W)                    the features in another shape, row by row
    flip(a, 0)                          the features along a position in reverse order
    pad(a, at, lo, total)               zeros around a along a position
    window(a, at, k, stride, dilation)  windows of k elements along a position, which becomes two
    fold(g, at, n, stride, dilation)    windows added back into n elements
    concat(at, a, b, ...)               side by side along a position
    spread("0 _ 1", a, H)               a repeated along new features: its own stand where the digits are
    along(a, t, batch)                  a repeated along axes
    contract("ij,j->i", a, b)           sum of products; axes to sum after a semicolon: "ij,j->i; t batch"
    freeze(a[t], t), thaw(a, t)         a time axis as the first feature, and back
    put(g, t, i)                        the sequence that is g at step i, zero elsewhere
    shift(a, t, -1, 0)                  any sequence one step back, its boundary values after the step
    at(a, t, -1)                        one step of any sequence, counted from its end where negative
    ref("h", t, batch, H)               the closing edge of a cycle, with the axes and sizes of the equation h
    size((H + 1)/2)                     the number that a size is, divisions rounded down
    uniform("key", batch, t, H)         noise by its key
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...compiler.graph import (
    BATCH,
    At,
    Broadcast,
    Concat,
    Contract,
    Expr,
    Extent,
    Flip,
    Fold,
    Freeze,
    Noise,
    Pad,
    Put,
    Ref,
    Reshape,
    Shift,
    Thaw,
    Transpose,
    Window,
    order_axes,
)
from ...compiler.sizes import Size, product
from . import syntax as s
from .scope import AxisName, Context, Equation, Scope, text_of
from .static import integer, size_of, static

Rare = Callable[[Context, s.Call, Scope], Expr]


def _value(ctx: Context, node: s.Expr, scope: Scope) -> Expr:
    from .expressions import evaluate
    return evaluate(ctx, node, scope)


def _plain(ctx: Context, node: s.Call, scope: Scope, least: int, usage: str) -> list[s.Expr]:
    if len(node.args) < least or any(a.name for a in node.args):
        ctx.fail(scope, node, f"this is no call of `{node.f}`", hint=f"it is {usage}")
    return [a.value for a in node.args]


def _whole(ctx: Context, node: s.Expr, scope: Scope, most: int) -> int:
    """A feature position."""
    k = integer(ctx, node, scope)
    if k is None or not 0 <= k <= most:
        ctx.fail(scope, node, f"`{text_of(scope, node)}` is no position from 0 to {most}")
    return k


def _axis(ctx: Context, node: s.Expr, scope: Scope) -> str | None:
    if isinstance(node, s.Name):
        binding = scope.find(node.name)
        if node.name == BATCH:
            return BATCH
        if isinstance(binding, AxisName):
            return binding.axis
    return None


def _must_be_axis(ctx: Context, node: s.Expr, scope: Scope) -> str:
    axis = _axis(ctx, node, scope)
    if axis is None:
        ctx.fail(scope, node, f"`{text_of(scope, node)}` is no axis")
    return axis


def _text(ctx: Context, node: s.Expr, scope: Scope, pattern: str, usage: str) -> str:
    if not isinstance(node, s.Text) or not re.fullmatch(pattern, node.value):
        ctx.fail(scope, node, "a text of a certain form stands here", hint=f"it is {usage}")
    return node.value


def _transpose(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    a, *perm = _plain(ctx, node, scope, 1, "transpose(a, 1, 0)")
    e = _value(ctx, a, scope)
    return Transpose(e, tuple(_whole(ctx, p, scope, len(e.shape) - 1) for p in perm) if perm else None)


def _reshape(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    a, *sizes = _plain(ctx, node, scope, 1, "reshape(a, H, W)")
    e, shape = _value(ctx, a, scope), tuple(size_of(ctx, x, scope) for x in sizes)
    if product(e.shape) != product(shape):
        ctx.fail(scope, node, f"`{text_of(scope, a)}` has {ctx.size_text(product(e.shape))} elements, the shape "
                 f"[{', '.join(map(str, shape))}] has {ctx.size_text(product(shape))}")
    return Reshape(e, shape)


def _flip(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    a, at = _plain(ctx, node, scope, 2, "flip(a, position)")[:2]
    e = _value(ctx, a, scope)
    return Flip(e, _whole(ctx, at, scope, len(e.shape) - 1))


def _pad(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    a, at, lo, total = _plain(ctx, node, scope, 4, "pad(a, position, start, total)")[:4]
    e = _value(ctx, a, scope)
    start, whole = static(ctx, lo, scope), size_of(ctx, total, scope)
    if start is None:
        ctx.fail(scope, lo, f"`{text_of(scope, lo)}` is not a size")
    position = _whole(ctx, at, scope, len(e.shape) - 1)
    room = ctx.number(whole - start - e.shape[position])
    if (ctx.number(start) or 0) < 0 or (room is not None and room < 0):
        ctx.fail(scope, node, f"`{text_of(scope, a)}` does not fit into {ctx.size_text(whole)} from {ctx.size_text(start)} on")
    return Pad(e, position, start, whole)


def _window(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    a, at, n, *steps = _plain(ctx, node, scope, 3, f"{node.f}(a, position, size, stride, dilation)")
    e = _value(ctx, a, scope)
    position = _whole(ctx, at, scope, len(e.shape) - 1)
    stride, dilation = (*(_whole(ctx, x, scope, 10**6) for x in steps[:2]), 1, 1)[:2]
    kind = Window if node.f == "window" else Fold
    return kind(e, position, size_of(ctx, n, scope), stride, dilation)


def _concat(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    at, *parts = _plain(ctx, node, scope, 2, "concat(position, a, b, ...)")
    found = [_value(ctx, p, scope) for p in parts]
    return Concat(_whole(ctx, at, scope, len(found[0].shape) - 1), tuple(found))


def _spread(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    usage = 'spread("0 _", a, H): feature 0 of a, then a new one of size H'
    layout, a, *sizes = _plain(ctx, node, scope, 2, usage)
    places = _text(ctx, layout, scope, r"[0-9_]( [0-9_])*", usage).split()
    e, new = _value(ctx, a, scope), [size_of(ctx, x, scope) for x in sizes]
    own = [i for i, p in enumerate(places) if p != "_"]
    if [places[i] for i in own] != [str(k) for k in range(len(e.shape))] or len(places) - len(own) != len(new):
        ctx.fail(scope, node, f"the layout does not fit `{text_of(scope, a)}`, which is {ctx.shape_text(e)}",
                 hint=f"it is {usage}")
    features = iter(new)
    shape: list[Size] = [e.shape[int(p)] if p != "_" else next(features) for p in places]
    return Broadcast(e, e.axes, tuple(shape), tuple(own))


def _along(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    a, *axes = _plain(ctx, node, scope, 2, "along(a, t, batch)")
    e = _value(ctx, a, scope)
    more = [_must_be_axis(ctx, x, scope) for x in axes]
    return Broadcast(e, order_axes({*e.axes, *more}), e.shape, tuple(range(len(e.shape))))


def _contract(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    usage = 'contract("ij,j->i", a, b)'
    spec, a, b = _plain(ctx, node, scope, 3, usage)[:3]
    text = _text(ctx, spec, scope, r"[a-zA-Z]*,[a-zA-Z]*->[a-zA-Z]*(;( \w+)*)?", usage)
    labels, _, summed = text.partition(";")
    la, lb, lo = (tuple(map(ord, part)) for part in re.split(",|->", labels))
    left, right = _value(ctx, a, scope), _value(ctx, b, scope)
    lost = [scope.axes().get(x, x) for x in summed.split()]
    axes = tuple(x for x in order_axes({*left.axes, *right.axes}) if x not in lost)
    if not {*lo} <= {*la, *lb} or len({*lo}) != len(lo):
        ctx.fail(scope, spec, "each label of the result stands once, and in an operand", hint=f"it is {usage}")
    return Contract(left, right, la, lb, lo, axes)


def _freeze(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    a, axis = _plain(ctx, node, scope, 2, f"{node.f}(a, t)")[:2]
    kind = Freeze if node.f == "freeze" else Thaw
    return kind(_value(ctx, a, scope), _must_be_axis(ctx, axis, scope))


def _put(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    a, axis, at = _plain(ctx, node, scope, 3, "put(g, t, i)")[:3]
    i = integer(ctx, at, scope)
    if i is None:
        ctx.fail(scope, at, f"`{text_of(scope, at)}` is no whole number")
    return Put(_value(ctx, a, scope), _must_be_axis(ctx, axis, scope), i)


def _noise(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    usage = f'{node.f}("h", batch, t, H)'
    key, *rest = _plain(ctx, node, scope, 1, usage)
    text = _text(ctx, key, scope, r"[\w.]+(#\d+)?", usage)
    axes = [x for x in (_axis(ctx, n, scope) for n in rest) if x is not None]
    shape = tuple(size_of(ctx, n, scope) for n in rest if _axis(ctx, n, scope) is None)
    return Noise(node.f, text, tuple(dict.fromkeys(axes)), shape)


def _shift(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    usage = "shift(a, t, -1, value): one value for each step"
    a, axis, by, *inits = _plain(ctx, node, scope, 3, usage)
    steps = integer(ctx, by, scope)
    if steps is None or abs(steps) != len(inits):
        ctx.fail(scope, node, "a delay has as many boundary values as steps", hint=f"it is {usage}")
    e = _value(ctx, a, scope)
    return Shift(e, _must_be_axis(ctx, axis, scope), steps, tuple(_value(ctx, i, scope) for i in inits))


def _at(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    a, axis, at = _plain(ctx, node, scope, 3, "at(a, t, i)")[:3]
    i = integer(ctx, at, scope)
    if i is None:
        ctx.fail(scope, at, f"`{text_of(scope, at)}` is no whole number")
    return At(_value(ctx, a, scope), _must_be_axis(ctx, axis, scope), i)


def _ref(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    key, *rest = _plain(ctx, node, scope, 1, 'ref("h", t, batch, H)')
    axes = [x for x in (_axis(ctx, n, scope) for n in rest) if x is not None]
    shape = tuple(size_of(ctx, n, scope) for n in rest if _axis(ctx, n, scope) is None)
    text = _text(ctx, key, scope, r"[\w.]+", 'ref("h", t, batch, H)')
    if not isinstance(scope.find(text), Equation):
        ctx.fail(scope, key, f"there is no equation `{text}`")
    return Ref(text, tuple(dict.fromkeys(axes)), shape)


def _size(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    (a,) = _plain(ctx, node, scope, 1, "size((H + 1)/2)")[:1]
    return Extent(size_of(ctx, a, scope))


RARE: dict[str, Rare] = {
    "shift": _shift, "at": _at, "ref": _ref, "size": _size,
    "transpose": _transpose, "reshape": _reshape, "flip": _flip, "pad": _pad, "window": _window, "fold": _window,
    "concat": _concat, "spread": _spread,
    "along": _along,
    "contract": _contract, "freeze": _freeze, "thaw": _freeze, "put": _put, "noise": _noise}
