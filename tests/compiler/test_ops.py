"""The registry of primitives: every rule against SymPy's derivative of its meaning, and against central differences."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
from battery.values import evaluate
from chainrule.compiler.gradient import gradient
from chainrule.compiler.graph import BOOL, REAL, Broadcast, Const, Expr, Input, Map, Param, apply, postorder, symbol, total
from chainrule.compiler.ops import PRIMITIVES, Primitive
from chainrule.compiler.ops.base import real
from chainrule.compiler.system import System

SYMBOLS = sympy.symbols("x y z", real=True)
N = 6
DIFFERENTIABLE = [n for n, p in PRIMITIVES.items() if any(r is not None for r in p.rules)]


def meaning(p: Primitive, operands: Sequence[Any] = SYMBOLS) -> sympy.Expr:
    return sympy.sympify(p.meaning, locals=dict(zip("xyz", operands, strict=False)))


def operands(p: Primitive) -> list[Expr]:
    """Leaves, a condition where the primitive takes one, a number where it takes an order."""
    out: list[Expr] = []
    for k, (lo, hi) in enumerate(p.domain):
        if p.name == "select" and k == 0:
            out.append(Input("c", (), (symbol("N"),), BOOL))
        elif lo == hi:
            out.append(Broadcast(Const(int(lo)), (), (symbol("N"),), ()))
        else:
            out.append(Param("xyz"[k], (symbol("N"),)))
    return out


def points(p: Primitive, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {"xyz"[k]: rng.uniform(lo, hi, N) for k, (lo, hi) in enumerate(p.domain) if lo < hi}
    return {**values, "c": np.array([True, False] * (N // 2))}


def as_sympy(e: Expr, leaves: dict[Expr, sympy.Expr]) -> sympy.Expr:
    """A graph of primitives by their meanings."""
    memo = dict(leaves)
    for n in postorder(e):
        if n in memo:
            continue
        if isinstance(n, Broadcast):
            memo[n] = memo[n.args[0]]
        elif isinstance(n, Const):
            memo[n] = sympy.Rational(n.value)
        else:
            assert isinstance(n, Map)
            values = [memo[a] for a in n.args]
            truth = n.f == "real" and n.args[0].type == BOOL
            memo[n] = sympy.Integer(bool(values[0])) if truth else meaning(PRIMITIVES[n.f], values)
    return memo[e]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_rule_is_the_derivative_of_the_meaning(name: str) -> None:
    """30 digits at points of the domain."""
    p = PRIMITIVES[name]
    args = operands(p)
    out = Map(name, tuple(args))
    g = Broadcast(Const(1), (), (symbol("N"),), ())
    where = points(p, 1)
    for k, r in enumerate(p.rules):
        if r is None:
            continue
        expected = sympy.diff(meaning(p), SYMBOLS[k])
        for j in range(3):
            at = {s: sympy.Rational(float(where[n][j])) for s, n in zip(SYMBOLS, "xyz", strict=True) if n in where}
            if name == "select":
                at[SYMBOLS[0]] = sympy.true if where["c"][j] else sympy.false
            for s, a in zip(SYMBOLS, args, strict=False):
                if isinstance(a, Broadcast):
                    at[s] = sympy.Integer(int(p.domain[0][0]))
            found = as_sympy(r(g, out, *args), {a: at[s] for a, s in zip(args, SYMBOLS, strict=False)})
            want, got = expected.subs(at).doit().evalf(40), found.doit().evalf(40)
            digits = 1e-15 if name == "erf" else 1e-30               # its 2/sqrt(pi) is a float64
            assert abs(want - got) <= digits * (1 + abs(want)), (name, k, at, want, got)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_are_those_of_central_differences(name: str, order: int) -> None:
    """d/de f(x + e*v) by random projection in float64; second order on the projected gradient."""
    p = PRIMITIVES[name]
    args = operands(p)
    leaves = [a for a in args if isinstance(a, Param)]
    values = points(p, 2)
    rng = np.random.default_rng(3)
    weights = Param("w", (symbol("N"),))
    values["w"] = rng.uniform(0.5, 1.5, N)
    f = total(Map(name, tuple(args)) * weights)
    along = {leaf.name: rng.uniform(-1, 1, N) for leaf in leaves}
    for _ in range(order - 1):
        grads = gradient(System("s"), f, leaves).grads
        f = total(apply("add", *[grads[leaf] * Param(f"v_{leaf.name}", (symbol("N"),)) for leaf in leaves])
                  if len(leaves) == 2 else grads[leaves[0]] * Param(f"v_{leaves[0].name}", (symbol("N"),)))
        for leaf in leaves:
            values[f"v_{leaf.name}"] = rng.uniform(-1, 1, N)
    grads = gradient(System("s"), f, leaves).grads
    analytic = sum(float(evaluate([grads[leaf]], values, np.float64, {"N": N})[0] @ along[leaf.name]) for leaf in leaves)

    def at(h: float) -> float:
        moved = {**values, **{k: values[k] + h * along[k] for k in along}}
        return float(evaluate([f], moved, np.float64, {"N": N})[0])

    h = 1e-3                                                     # fourth order: 1e-12 from truncation, 1e-13 from rounding
    numeric = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    assert abs(analytic - numeric) <= 1e-6 * max(abs(analytic), 1e-3), (name, analytic, numeric)


@pytest.mark.parametrize("name", sorted(PRIMITIVES))
def test_a_reference_keeps_the_precision_of_its_operands(name: str) -> None:
    p = PRIMITIVES[name]
    args = [np.linspace(lo, hi, 5).astype(np.float32) for lo, hi in p.domain]
    if name in ("and", "or", "not", "real", "select"):
        args[0] = args[0] > 0
    if name in ("and", "or"):
        args[1] = args[1] > 0
    out = np.asarray(p.reference(*args))
    assert out.dtype == (np.float32 if p.type is not real or name != "real" else float) or p.type((REAL, REAL)) == BOOL
    assert len(inspect.signature(p.rules[0]).parameters) == 2 + p.arity if p.rules[0] else True


def test_moments_of_the_exponential() -> None:
    """The integral of s**n * exp(s*x), both sides of where the series ends."""
    def integral(n: int, x: float) -> mpmath.mpf:
        return mpmath.quad(lambda s: s**n * mpmath.exp(s * mpmath.mpf(x)), [0, 0.05, 0.2, 0.5, 0.8, 0.95, 1])

    moment = PRIMITIVES["expmoment"].reference
    for n, bound in ((0, 4), (1, 16), (2, 32), (3, 300)):
        for x in (-200.0, -n - 1.001, -n - 0.999, -0.5, 0.0, 1e-8, 0.7, n + 0.999, n + 1.001, 30.0):
            for kind in (np.float32, np.float64):
                got, want = float(moment(n, np.array([x], kind))[0]), integral(n, float(kind(x)))
                assert abs(got - want) <= bound * np.finfo(kind).eps * abs(want), (n, x, kind, got, want)
