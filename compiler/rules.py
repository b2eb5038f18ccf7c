"""The derivative of every kind of node: mathematics only, reverse and forward. Summing contributions is `gradient`'s affair.

    reverse(n, g)             (operand, its contribution) for the adjoint g of n
    forward(n, tangents)      the tangent of n, given those of its operands (None: zero)
    passes(n)                 the operands through which a derivative passes; nothing passes through types other than real

Most kinds are linear: their tangent is the same node on tangents, their adjoint the node that undoes it. Both Map and Reduce read
one table each (`PRIMITIVES[f].rules`, `slope`) for both modes. An adjoint or tangent may have axes that its node lacks
(a batch of seeds, see `derivatives`); every rule carries these along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .graph import (
    REAL,
    At,
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Flip,
    Fold,
    Freeze,
    GraphError,
    Index,
    Input,
    Intercept,
    Map,
    Noise,
    OneHot,
    Pad,
    Param,
    Put,
    Reduce,
    Ref,
    Reshape,
    Shift,
    Slice,
    Stop,
    Thaw,
    Transpose,
    Window,
    apply,
    order_axes,
    zeros,
)
from .ops import PRIMITIVES

Contributions = Iterator[tuple[Expr, Expr]]


def passes(n: Expr) -> tuple[Expr, ...]:
    """The operands through which a derivative passes."""
    if n.type != REAL or isinstance(n, (Stop, OneHot)):
        return ()
    if isinstance(n, Map):
        rules = PRIMITIVES[n.f].rules
        return tuple(a for a, rule in zip(n.args, rules, strict=True) if rule is not None and a.type == REAL)
    return n.args


def reverse(n: Expr, g: Expr) -> Contributions:
    """The contributions of n's adjoint g to its operands; an operand may come twice."""
    return REVERSE[type(n)](n, g)


def forward(n: Expr, tangents: Sequence[Expr | None]) -> Expr:
    """The tangent of n; at least one operand's tangent is given."""
    return FORWARD[type(n)](n, tangents)


# ---------------------------------------------------------------- elementwise

def _map_reverse(n: Map, g: Expr) -> Contributions:
    for a, rule in zip(n.args, PRIMITIVES[n.f].rules, strict=True):
        if rule is not None and a.type == REAL:
            yield a, rule(g, n, *n.args)


def _map_forward(n: Map, tangents: Sequence[Expr | None]) -> Expr:
    """The rules are linear in g: they serve tangents, too."""
    rules = PRIMITIVES[n.f].rules
    return _add(rule(t, n, *n.args) for rule, t in zip(rules, tangents, strict=True) if rule is not None and t is not None)


# ---------------------------------------------------------------- products and reductions

def _contract_reverse(n: Contract, g: Expr) -> Contributions:
    """The adjoint of a contraction is a contraction: out = sum a*b gives d_a = sum g*b."""
    a, b = n.args
    seeds = {*g.axes} - {*n.axes}
    yield a, Contract(g, b, n.lo, n.lb, n.la, order_axes({*a.axes} | seeds))
    yield b, Contract(g, a, n.lo, n.la, n.lb, order_axes({*b.axes} | seeds))


def _contract_forward(n: Contract, tangents: Sequence[Expr | None]) -> Expr:
    a, b = n.args
    ta, tb = tangents
    terms = [n.with_args((ta, b))] if ta is not None else []
    return _add(iter(terms + ([n.with_args((a, tb))] if tb is not None else [])))


def _reduce_reverse(n: Reduce, g: Expr) -> Contributions:
    a = n.args[0]
    out = spread(g, a, n.over)
    if n.kind != "argmax":
        yield a, out if n.kind == "sum" else out * slope(n.kind, a, n, n.over)


def _reduce_forward(n: Reduce, tangents: Sequence[Expr | None]) -> Expr:
    (t,) = tangents
    assert t is not None
    return Reduce("sum", t if n.kind == "sum" else t * slope(n.kind, n.args[0], n, n.over), n.over)


def spread(g: Expr, a: Expr, over: Sequence[str | int]) -> Expr:
    """A reduction's result, or its adjoint, repeated over what was reduced."""
    places = tuple(p for p in range(len(a.shape)) if p not in over)
    return Broadcast(g, order_axes({*a.axes, *g.axes}), a.shape, places)


def slope(kind: str, a: Expr, out: Expr, over: tuple[str | int, ...]) -> Expr:
    """w, with d out = sum over `over` of w * da.

    logsumexp: exp(a - out). norm: a/out, 0 where out is 0. max, min: 1 at the first extremum in row-major order, else 0.
    prod: the product of the others, without dividing by zero: let z be the first factor of least magnitude and R the product
    of all but z, then w = R at z and z*R/a elsewhere, where 0/0 is 0. It is exact in every order where at most
    one factor is 0; with several zeros the first derivative is exact, and what higher ones miss is taken as 0.
    Several axes are reduced one after the other, the last first.
    """
    if kind == "logsumexp":
        return apply("exp", a - spread(out, a, over))
    if kind == "norm":
        return apply("safe_div", a, spread(out, a, over))
    if kind not in ("max", "min", "prod"):
        raise GraphError(f"the reduction {kind} has no derivative")
    if len(over) > 1:
        last, rest = over[-1:], over[:-1]
        inner = Reduce(kind, a, last)
        return spread(slope(kind, inner, out, rest), a, last) * slope(kind, a, inner, last)
    if kind != "prod":
        return first_maximum(a if kind == "max" else -a, over[0])
    least = apply("gt", first_maximum(-apply("abs", a), over[0]), 0)
    z = Reduce("sum", apply("select", least, a, 0), over)
    rest_product = Reduce("prod", apply("select", least, 1, a), over)
    others = apply("safe_div", spread(z * rest_product, a, over), a)
    return apply("select", least, spread(rest_product, a, over), others)


def first_maximum(a: Expr, along: str | int) -> Expr:
    """1 where a's first maximum along one axis or feature stands, else 0."""
    best = Reduce("argmax", a, (along,))
    if isinstance(along, str):
        return apply("real", apply("eq", Index(along), apply("real", best)))
    last = len(a.shape) - 1
    return Transpose(OneHot(best, a.shape[along]), (*range(along), last, *range(along, last)))


# ---------------------------------------------------------------- what is linear in one operand

def _broadcast(n: Broadcast, g: Expr) -> Contributions:
    """The one place of unbroadcasting: repeating sums up in reverse."""
    a = n.args[0]
    axes: tuple[str | int, ...] = tuple(x for x in n.axes if x not in a.axes)
    yield a, Reduce("sum", g, axes + tuple(p for p in range(len(n.shape)) if p not in n.places))


def _transpose(n: Transpose, g: Expr) -> Contributions:
    yield n.args[0], Transpose(g, tuple(n.perm.index(k) for k in range(len(n.perm))))


def _reshape(n: Reshape, g: Expr) -> Contributions:
    yield n.args[0], Reshape(g, n.args[0].shape)


def _slice(n: Slice, g: Expr) -> Contributions:
    yield n.args[0], Pad(g, n.at, n.lo, n.args[0].shape[n.at])


def _pad(n: Pad, g: Expr) -> Contributions:
    a = n.args[0]
    yield a, Slice(g, n.at, n.lo, n.lo + a.shape[n.at])


def _concat(n: Concat, g: Expr) -> Contributions:
    for a, lo in zip(n.args, n.offsets, strict=True):
        yield a, Slice(g, n.at, lo, lo + a.shape[n.at])


def _flip(n: Flip, g: Expr) -> Contributions:
    yield n.args[0], Flip(g, n.at)


def _window(n: Window, g: Expr) -> Contributions:
    yield n.args[0], Fold(g, n.at, n.args[0].shape[n.at], n.stride, n.dilation)


def _fold(n: Fold, g: Expr) -> Contributions:
    yield n.args[0], Window(g, n.at, n.args[0].shape[n.at + 1], n.stride, n.dilation)


def _shift(n: Shift, g: Expr) -> Contributions:
    """Reading t+s receives from t-s; a boundary value receives what flows out at the end where it stands."""
    a, *inits = n.args
    yield a, Shift(g, n.axis, -n.s, (Const(0),) * abs(n.s))
    for k, init in enumerate(inits):
        yield init, At(g, n.axis, k if n.s < 0 else k - n.s)


def _at(n: At, g: Expr) -> Contributions:
    yield n.args[0], Put(g, n.axis, n.i)


def _put(n: Put, g: Expr) -> Contributions:
    yield n.args[0], At(g, n.axis, n.i)


def _intercept(n: Intercept, g: Expr) -> Contributions:
    """As the identity: the engine has changed the sum that arrived."""
    yield n.args[0], g


def _freeze(n: Freeze, g: Expr) -> Contributions:
    yield n.args[0], Thaw(g, n.axis)


def _thaw(n: Thaw, g: Expr) -> Contributions:
    yield n.args[0], Freeze(g, n.axis)


def _nothing(n: Expr, g: Expr) -> Contributions:
    yield from ()


def _linear(n: Expr, tangents: Sequence[Expr | None]) -> Expr:
    """The same node on the tangents."""
    seeds = {x for t, a in zip(tangents, n.args, strict=True) if t is not None for x in t.axes if x not in a.axes}
    zero = (Broadcast(zeros(a), order_axes({*a.axes} | seeds), a.shape, tuple(range(len(a.shape)))) for a in n.args)
    return n.with_args(tuple(z if t is None else t for t, z in zip(tangents, zero, strict=True)))


def _still(n: Expr, tangents: Sequence[Expr | None]) -> Expr:
    raise GraphError(f"{type(n).__name__} has no tangent")


def _add(terms: Iterator[Expr]) -> Expr:
    out = next(terms)
    for t in terms:
        out = out + t
    return out


LINEAR: dict[type[Expr], Callable[..., Contributions]] = {
    Broadcast: _broadcast, Transpose: _transpose, Reshape: _reshape, Slice: _slice, Pad: _pad, Concat: _concat, Flip: _flip,
    Window: _window, Fold: _fold,
    Shift: _shift, At: _at, Put: _put, Freeze: _freeze, Thaw: _thaw, Intercept: _intercept,
}
STILL: tuple[type[Expr], ...] = (Const, Extent, Index, Param, Input, Ref, Noise, OneHot, Stop)       # leaves, and what stops
REVERSE: dict[type[Expr], Callable[..., Contributions]] = {
    **LINEAR, **dict.fromkeys(STILL, _nothing), Map: _map_reverse, Contract: _contract_reverse, Reduce: _reduce_reverse,
}
FORWARD: dict[type[Expr], Callable[..., Expr]] = {
    **dict.fromkeys(LINEAR, _linear), Intercept: lambda n, tangents: tangents[0], **dict.fromkeys(STILL, _still),
    Map: _map_forward, Contract: _contract_forward, Reduce: _reduce_forward,
}
