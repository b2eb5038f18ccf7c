"""One expression with others in the place of its leaves, along whatever axes these have.

    replaced(E, {h: zeros})            E at h = 0: what a zero multiplies is gone
    replaced(F, {v: Stop(sample)})     F at another v; a v along `config` instead of the batch gives an F along `config`

What is replaced keeps its features. Every value gets the axes that its operands have, as if it had been written for them.
A zero that is put in is exact: parameters and units are finite, so 0*w is 0.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..gradient import is_zero
from ..graph import (
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Flip,
    Fold,
    Map,
    Pad,
    Reduce,
    Reshape,
    Slice,
    Transpose,
    Window,
    broadcast,
    order_axes,
    postorder,
)

EVEN = ("square", "abs")
MOVES = (Slice, Transpose, Reshape, Window, Fold, Pad, Flip)


def replaced(e: Expr, values: Mapping[Expr, Expr]) -> Expr:
    """e with nodes replaced by others of the same features."""
    memo: dict[Expr, Expr] = {}
    for n in postorder(e):
        memo[n] = values[n] if n in values else _rebuilt(n, tuple(memo[a] for a in n.args))
    return memo[e]


def without(e: Expr, *units: Expr) -> Expr:
    """e where these units are 0."""
    return replaced(e, {u: zero(u) for u in units})


def zero(like: Expr) -> Expr:
    """0 with the features of `like`, along no axis."""
    return Broadcast(Const(0), (), like.shape, ())


def _rebuilt(n: Expr, args: tuple[Expr, ...]) -> Expr:
    if isinstance(n, Broadcast):                                 # what is repeated along the batch may now be along another axis
        return zero(n) if is_zero(args[0]) else Broadcast(args[0], args[0].axes, n.shape, n.places)
    if args == n.args:
        return n
    match n:
        case Map():
            return _map(n.f, args)
        case Contract():
            return zero(n) if any(map(is_zero, args)) else n.with_args(args)
        case Reduce(kind="sum") if is_zero(args[0]):
            return zero(n)
        case Concat():
            return zero(n) if all(map(is_zero, args)) else n.with_args(_aligned(args))
    if isinstance(n, MOVES) and is_zero(args[0]):
        return zero(n)
    return n.with_args(args)


def _map(f: str, args: tuple[Expr, ...]) -> Expr:
    """An elementwise primitive, without what is zero."""
    zeroes = [is_zero(a) for a in args]
    match f, zeroes:
        case ("add" | "sub"), [False, True]:
            return args[0]
        case "add", [True, _]:
            return args[1]
        case "sub", [True, True]:
            return args[0]
        case "sub", [True, False]:
            return _map("neg", args[1:])
        case "mul", [True, _] | [_, True]:
            return zero(args[0])
        case ("div" | "neg" | "square" | "abs" | "sqrt"), [True, *_]:
            return zero(args[0])
    if f == "div" and isinstance(args[0], Map) and args[0].f == "neg":
        return _map("neg", (_map("div", (args[0].args[0], args[1])),))
    if f in EVEN and isinstance(args[0], Map) and args[0].f == "neg":
        return _map(f, args[0].args)
    return Map(f, _aligned(args))


def _aligned(args: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Operands repeated along the axes of all."""
    axes = order_axes({x for a in args for x in a.axes})
    return tuple(a if a.axes == axes else broadcast(a, axes, a.shape) for a in args)

