"""Verdicts: values and derivatives of a stabilised system against 50 digits of the naive formula.

The reference evaluates the naive graph with 500 digits, at x (at a removable singularity, 1e-160 beside it) and at x + h, x - h,
h = 1e-80, whose difference gives the derivative: all to far more than 50 digits.

What "right" means, for a true value v in a type with machine eps:
    |got - v| <= rtol * |v| + floor * eps            rtol = 1e-5 in float32, 1e-12 in float64; floor is 0 unless a case says why
    |v| below the smallest normal number             any |got| below it, too: the true value underflows
    |v| beyond the largest                           got is infinite with its sign
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from battery.formulas import Case
from battery.values import MP, as_kind, evaluate
from chainrule.compiler.gradient import gradient
from chainrule.compiler.graph import Expr, Input, Reduce, apply
from chainrule.compiler.passes.centre import centre_memo
from chainrule.compiler.passes.simplify import simplify_exprs
from chainrule.compiler.passes.stabilise import stabilise
from chainrule.compiler.system import System

RTOL = {np.float32: 1e-5, np.float64: 1e-12}
DIGITS = 500
H = mpmath.mpf(10) ** -80


@dataclass(frozen=True)
class Reference:
    """50 digits and more of the value, and of the derivative of the weighted sum of all values in x."""

    value: np.ndarray
    slope: np.ndarray


def lengths_of(values: Mapping[str, np.ndarray]) -> dict[str, int]:
    """T, and N where x is a slice or a transpose of what the formula sees."""
    return {"T": values["x"].shape[0], "N": 4, "M": 2}


def weights(shape: tuple[int, ...]) -> np.ndarray:
    """Unequal, so that a softmax's outputs do not sum to a constant."""
    return (1 + np.arange(int(np.prod(shape)), dtype=float).reshape(shape) % 3)


def reference(e: Expr, values: Mapping[str, np.ndarray], each: bool) -> Reference:
    """The naive formula in 500 digits."""
    with mpmath.workdps(DIGITS):
        x = as_kind(values["x"], MP)

        def at(moved: np.ndarray) -> np.ndarray:
            return np.array(evaluate([e], {**values, "x": moved}, MP, lengths_of(values))[0])

        value, near = at(x), x + H**2                            # beside a removable singularity, not in it
        value = np.where(np.frompyfunc(mpmath.isnan, 1, 1)(value).astype(bool), at(near), value)
        if each:
            return Reference(value, (at(near + H) - at(near - H)) / (2 * H))
        slope, w = np.empty_like(x), as_kind(weights(value.shape), MP)
        for i in np.ndindex(*x.shape):
            step = np.zeros(x.shape, object)
            step[i] = H
            slope[i] = ((at(near + step) - at(near - step)) * w).sum() / (2 * H)
        return Reference(value, slope)


def compiled(e: Expr, x: Input, each: bool, named: Sequence[Expr] = ()) -> tuple[Expr, Expr, Expr]:
    """(value, weights, derivative) after stabilise, gradient, simplify and centre, as the compiler goes."""
    stable = stabilise(System("battery", equations={**{f"q{k}": n for k, n in enumerate(named)}, "out": e}))
    out = stable.equations["out"]
    w = Input("w", out.axes, out.shape)
    seeded = out if each else out * w
    loss = Reduce("sum", seeded, (*seeded.axes, *range(len(seeded.shape))))
    slope = gradient(stable, loss, [x]).grads[x]
    final = simplify_exprs([out, slope])
    centred = centre_memo(final)
    return centred[final[0]], w, centred[final[1]]


def computed(e: Expr, x: Input, values: Mapping[str, np.ndarray], each: bool, kind: Any,
             named: Sequence[Expr] = ()) -> tuple[np.ndarray, np.ndarray]:
    out, _, slope = compiled(e, x, each, named)
    lengths = lengths_of(values)
    shape = tuple(s.evaluate(lengths) for s in out.dims)
    got = evaluate([out, slope], {**values, "w": weights(shape)}, kind, lengths)
    return got[0], got[1]


def wrong(got: np.ndarray, want: np.ndarray, kind: Any, floor: float, noise: float, unread: bool = False) -> list[str]:
    """What is not right, entry by entry."""
    info = np.finfo(kind)
    out = []
    for i in np.ndindex(*want.shape):
        g, v = float(got[i]), want[i]
        if v == 0 and unread:                                    # exp(710) at a step that a delay drops: 0 * inf
            fine = abs(g) <= floor * info.eps or np.isnan(g)
        elif abs(v) > info.max:
            fine = g == np.inf * float(mpmath.sign(v))
        elif abs(v) < info.tiny:
            fine = abs(g) <= info.tiny + noise + floor * info.eps
        else:
            fine = bool(abs(g - v) <= RTOL[kind] * abs(v) + floor * info.eps + noise)
        if not fine:
            out.append(f"at {i}: {g!r}, not {mpmath.nstr(v, 17)}")
    return out


def verdict(case: Case, e: Expr, x: Input, values: Mapping[str, np.ndarray], right: Reference, kind: Any,
            each: bool | None = None, named: Sequence[Expr] = ()) -> list[str]:
    """Everything wrong with value and derivative of `e` in one type."""
    rounded = {k: v if v.dtype.kind == "i" else v.astype(kind) for k, v in values.items()}
    single = case.each if each is None else each                 # else slopes are of sums with weights up to 3
    value, slope = computed(e, x, rounded, single, kind, named)
    floor = case.slope_floor * (1 if single else 3)
    return ([f"value {m}" for m in wrong(value, right.value, kind, case.floor, case.noise)]
            + [f"slope {m}" for m in wrong(slope, right.slope, kind, floor, case.noise, each is not None)])


def rounded_values(case: Case) -> dict[str, np.ndarray]:
    """The case's points as numbers that both types hold exactly."""
    return {k: v if v.dtype.kind == "i" else v.astype(np.float32).astype(np.float64) for k, v in case.values().items()}


__all__ = ["Reference", "apply", "computed", "reference", "rounded_values", "verdict"]
