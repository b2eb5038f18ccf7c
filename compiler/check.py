"""Gradients against finite differences, in float64, by the reference interpreter.

For every parameter w and a random direction v, d loss(w + s*v)/ds by central differences of fourth order against <d_w, v>; in the
second order, the gradient's change along a random direction u of all parameters against the Hessian times u.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .derivatives import grad, jvp
from .graph import Expr, Input
from .interpret import evaluate
from .passes.lengths import masked
from .surgery import without_surgery
from .system import System

Values = Mapping[str, Any]
Function = Callable[[Values], list[NDArray[Any]]]
STEPS = (2e-4, 1e-5, 1e-6)                               # truncation and rounding are near 1e-12 at the first; kinks need less


class GradientError(AssertionError):
    """A gradient that differs from finite differences."""


@dataclass(frozen=True)
class Row:
    """One comparison: the projections of one parameter's derivative."""

    name: str
    order: int
    differences: float
    derived: float
    error: float


@dataclass
class Report:
    """All comparisons of one system."""

    rows: list[Row] = field(default_factory=list)
    tolerance: float = 1e-6
    entry: str = ""                                      # where one fails: the worst entry, and both numbers

    @property
    def worst(self) -> Row:
        return max(self.rows, key=_error)

    @property
    def ok(self) -> bool:
        return all(r.error < self.tolerance for r in self.rows)

    def __str__(self) -> str:
        lines = [f"{'parameter':20} order {'differences':>22} {'derived':>22} error"]
        lines += [f"{r.name:20} {r.order:5} {r.differences:22.15g} {r.derived:22.15g} {r.error:.1e}" for r in self.rows]
        return "\n".join([*lines, *([self.entry] if self.entry else [])])

    def require(self) -> Report:
        """The report itself, if all agrees. GradientError with the table and the worst entry otherwise."""
        if not self.ok:
            raise GradientError("\n" + str(self))
        return self


def check_gradients(system: System, values: Values, loss: Expr | None = None, wrt: Sequence[Expr] | None = None, order: int = 2,
                    lengths: Mapping[str, int] | None = None, seed: int = 0, tolerance: float = 1e-6) -> Report:
    """Compare the derivatives of a scalar (the system's objective) by params or real inputs (all params), at `values`.

    Of the objective, backward surgery is left out: it changes the gradient on purpose.
    """
    if loss is None:
        system = without_surgery(system)
    if loss is None:
        system = masked(system)
        loss = system.objective()
    wrt = [p.node for p in system.params.values()] if wrt is None else list(wrt)
    rng = np.random.default_rng(seed)
    here = {**values, **{_name(w): np.asarray(values[_name(w)], float) for w in wrt}}
    adjoint, grads = grad(system, loss, wrt)

    def value(at: Values) -> list[NDArray[Any]]:
        return evaluate(system, [loss], at, lengths)

    def slopes(at: Values) -> list[NDArray[Any]]:
        return evaluate(adjoint, grads, at, lengths)

    report, size = Report(tolerance=tolerance), max(1.0, abs(float(value(here)[0])))
    derived = slopes(here)
    along = [rng.standard_normal(d.shape) for d in derived]
    for w, d, v in zip(wrt, derived, along, strict=True):
        rows = (_row(_name(w), 1, float(differentiate(value, here, {_name(w): v}, step)[0]), float((d * v).sum()), size)
                for step in STEPS)
        report.rows.append(_first_good(rows, tolerance))
    if order > 1:
        report.rows += _second(adjoint, grads, wrt, here, slopes, rng, lengths, tolerance)
    if not report.ok:
        report.entry = _worst_entry(report.worst.name, wrt, derived, value, here)
    return report


def _second(system: System, grads: Sequence[Expr], wrt: Sequence[Expr], here: dict[str, Any],
            slopes: Function, rng: np.random.Generator, lengths: Mapping[str, int] | None, tolerance: float) -> list[Row]:
    """The Hessian times a direction, projected parameter by parameter."""
    moves = [Input(f"along_{_name(w)}", w.axes, w.shape) for w in wrt]
    u = {_name(w): rng.standard_normal(here[_name(w)].shape) for w in wrt}
    extended, values = jvp(system, grads, dict(zip(wrt, moves, strict=True)))
    derived = evaluate(extended, values, {**here, **{f"along_{k}": d for k, d in u.items()}}, lengths)
    along = [rng.standard_normal(d.shape) for d in derived]

    def rows(step: float) -> Iterator[Row]:
        for w, num, ana, v in zip(wrt, differentiate(slopes, here, u, step), derived, along, strict=True):
            size = max(1.0, float(np.abs(num * v).sum()))
            yield _row(_name(w), 2, float((num * v).sum()), float((ana * v).sum()), size)

    best = list(rows(STEPS[0]))
    for step in STEPS[1:]:
        if all(r.error < tolerance for r in best):
            break
        best = [min(pair, key=_error) for pair in zip(best, rows(step), strict=True)]
    return best


def _first_good(rows: Iterator[Row], tolerance: float) -> Row:
    """The first comparison that holds, else the best: differences across a kink are wrong until the step is small enough."""
    tried: list[Row] = []
    for row in rows:
        tried.append(row)
        if row.error < tolerance:
            break
    return min(tried, key=_error)


def _error(row: Row) -> float:
    return float("inf") if np.isnan(row.error) else row.error


def differentiate(f: Function, here: Values, along: Mapping[str, NDArray[Any]], step: float = STEPS[0]) -> list[NDArray[Any]]:
    """d f(here + s*along)/ds at s = 0, by central differences: (8*(f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h."""
    def moved(s: float) -> list[NDArray[Any]]:
        return f({**here, **{k: here[k] + s * v for k, v in along.items()}})

    near, back, far, farther = moved(step), moved(-step), moved(2 * step), moved(-2 * step)
    return [np.asarray((8 * (a - b) - (c - d)) / (12 * step)) for a, b, c, d in zip(near, back, far, farther, strict=True)]


def _row(name: str, order: int, differences: float, derived: float, size: float) -> Row:
    scale = max(abs(differences), abs(derived), 1e-5 * size)
    return Row(name, order, differences, derived, abs(differences - derived) / scale)


def _worst_entry(name: str, wrt: Sequence[Expr], derived: Sequence[NDArray[Any]], value: Function,
                 here: dict[str, Any]) -> str:
    """The entry of one parameter whose first derivative differs most, among at most 200."""
    d = next(d for w, d in zip(wrt, derived, strict=True) if _name(w) == name)
    found: list[tuple[float, str]] = []
    for index in list(np.ndindex(d.shape))[:200]:
        unit = np.zeros(d.shape)
        unit[index] = 1
        differences = float(differentiate(value, here, {name: unit})[0])
        gap = abs(differences - float(d[index]))
        found.append((np.inf if np.isnan(gap) else gap,
                      f"worst entry, first order: {name}{list(index)}: differences {differences:.15g}, derived {d[index]:.15g}"))
    return max(found)[1]


def _name(w: Expr) -> str:
    name: str = w.name  # type: ignore[attr-defined]
    return name
