"""Derivatives of systems, of any order: the extended system and expressions over it, which may be differentiated again.

    grad(system, loss, wrt)              d loss / d w for every w
    jvp(system, outputs, directions)     how the outputs change along directions
    vjp(system, outputs, wrt)            outputs maps each output to a cotangent
    hvp(system, loss, wrt, directions)   the Hessian times a direction
    jacobian(system, out, w)             shape out.shape + w.shape
    hessian(system, loss, v, w)          shape v.shape + w.shape

Prefixes are chosen per order (`d_`, `d2_`, ...; `t_`, `t2_`, ...), so that names never clash. A Jacobian is one derivative along
all unit vectors at once: these stand along a fresh axis j, whose length J is a size of the extended system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from .gradient import fresh_prefix, gradient, pullback, tangent
from .graph import (
    BATCH,
    Contract,
    Expr,
    Freeze,
    GraphError,
    Index,
    OneHot,
    Reduce,
    Reshape,
    Stop,
    apply,
    describe,
    length,
    product,
    total,
)
from .reach import reached
from .system import System, size_value

Derived = tuple[System, list[Expr]]
Mode = Literal["auto", "forward", "reverse"]


def grad(system: System, loss: Expr, wrt: Sequence[Expr]) -> Derived:
    """d loss / d w for every w; loss is a scalar without axes."""
    result = gradient(system, loss, wrt, fresh_prefix(system, "d"))
    return result.system, [result.grads[w] for w in wrt]


def vjp(system: System, outputs: Mapping[Expr, Expr], wrt: Sequence[Expr]) -> Derived:
    """sum over outputs of cotangent * d out / d w for every w."""
    result = pullback(system, outputs, wrt, fresh_prefix(system, "d"))
    return result.system, [result.grads[w] for w in wrt]


def jvp(system: System, outputs: Sequence[Expr], directions: Mapping[Expr, Expr]) -> Derived:
    """sum over w of d out / d w * directions[w], for every output."""
    result = tangent(system, outputs, directions, fresh_prefix(system, "t"))
    return result.system, result.values


def hvp(system: System, loss: Expr, wrt: Sequence[Expr], directions: Sequence[Expr],
        mode: Literal["forward", "reverse"] = "forward") -> Derived:
    """sum over v of d2 loss / dw dv * direction of v, for every w: forward over reverse, or reverse over reverse."""
    system, grads = grad(system, loss, wrt)
    if mode == "forward":
        return jvp(system, grads, dict(zip(wrt, directions, strict=True)))
    return grad(system, inner(grads, [Stop(d) for d in directions]), wrt)


def inner(values: Sequence[Expr], directions: Sequence[Expr]) -> Expr:
    """The sum of products of two lists of arrays without axes, a scalar."""
    terms = [total(v * d) for v, d in zip(values, directions, strict=True)]
    out = terms[0]
    for t in terms[1:]:
        out = out + t
    return out


def jacobian(system: System, out: Expr, w: Expr, mode: Mode = "auto") -> tuple[System, Expr]:
    """J[i, k] = d out[i] / d w[k], with out's axes and the shape out.shape + w.shape.

    Forward mode costs as much as w has elements, reverse mode as out has; reverse needs an output without axes. `w` has no
    time axis; where it has a batch axis, all its examples move together, which is each example's own Jacobian
    unless examples meet in between. GraphError otherwise.
    """
    out, w = system.resolve(out), system.resolve(w)
    if {*w.axes} - {BATCH}:
        raise GraphError(f"a Jacobian by {describe(w)}: it has a time axis; freeze it first")
    if mode == "auto":
        mode = "reverse" if not out.axes and not w.axes and _fewer(system, out, w) else "forward"
    if mode == "reverse" and (out.axes or w.axes):
        raise GraphError(f"reverse mode needs values without axes, not {describe(out)} by {describe(w)}")
    side = out if mode == "reverse" else w
    axis = fresh_axis(system, out, w)
    unit = unit_vectors(axis, side)
    rows, columns = tuple(range(len(out.shape))), tuple(range(len(out.shape), len(out.shape) + len(w.shape)))
    if mode == "reverse":
        extended, (value,) = vjp(system, {out: unit}, [w])
        result = Contract(unit, value, rows, columns, rows + columns, w.axes)
    else:
        extended, (value,) = jvp(system, [out], {w: unit})
        result = Contract(value, unit, rows, columns, rows + columns, out.axes)
    count = size_value(system, product(side.shape))
    if count is not None:
        extended.sizes[str(length(axis))] = count
    return extended, result


def hessian(system: System, loss: Expr, v: Expr, w: Expr | None = None) -> tuple[System, Expr]:
    """H[i, k] = d2 loss / dv[i] dw[k], shape v.shape + w.shape: forward over reverse."""
    system, (g,) = grad(system, loss, [v])
    return jacobian(system, g, v if w is None else w, "forward")


def unit_vectors(axis: str, like: Expr) -> Expr:
    """out[j] is 1 at the j-th element of `like`'s features, in row-major order, else 0."""
    index = Index(axis)
    same = apply("real", apply("eq", Freeze(index, axis), index))
    return Reshape(OneHot(Reduce("argmax", same, (0,)), product(like.shape)), like.shape)


def fresh_axis(system: System, *roots: Expr) -> str:
    """A time axis that nothing here uses, nor any size its length."""
    nodes, _ = reached(system, (*system.roots(), *roots))
    taken = {*system.sizes, *(s for n in nodes for d in n.dims for s in d.symbols)}
    n = 1
    while True:
        axis = "j" if n == 1 else f"j{n}"
        if str(length(axis)) not in taken:
            return axis
        n += 1


def _fewer(system: System, a: Expr, b: Expr) -> bool:
    few, many = (size_value(system, product(x.shape)) for x in (a, b))
    return few is not None and (many is None or few < many)
