"""The rewrite engine, and every elementwise rule by machine: equal at random points, gradients equal, error no worse."""

from __future__ import annotations

from itertools import product

import mpmath
import numpy as np
import pytest
from battery.values import MP, evaluate
from chainrule.compiler.algebra import Pattern, Rewriter, Rule, Table, any_of, build, number, rule, structure, term
from chainrule.compiler.gradient import gradient
from chainrule.compiler.graph import BOOL, REAL, Broadcast, Const, Expr, Input, Param, Reduce, apply, symbol
from chainrule.compiler.passes.scalar_rules import ARITHMETIC, CHOICE, DERIVED
from chainrule.compiler.passes.stable_rules import OPAQUE, PATTERNS
from chainrule.compiler.system import System

N = symbol("N")
SIZE = 40
RULES: tuple[Rule, ...] = (*ARITHMETIC, *CHOICE, *DERIVED, *PATTERNS, *OPAQUE)
CONSTANTS = [(2, 1), (3, 2), (-2, 3), (-3, -1.5)]
LIKE = Param("x", (N,))


def variables(pattern: Pattern) -> set[tuple[str, str]]:
    return {(pattern.op, pattern.name)} if pattern.op in ("any", "number") else {v for a in pattern.args for v in variables(a)}


def sides(r: Rule) -> tuple[Expr, Expr, list[Param]] | None:
    """Both sides over parameters, with numbers that meet the rule's condition."""
    assert r.lhs is not None and r.rhs is not None
    for c, d in CONSTANTS:
        bound: dict[str, Expr] = {}
        for op, name in sorted(variables(r.lhs)):
            if op == "number":
                bound[name] = Broadcast(Const(c if name == "c" else d), (), (N,), ())
            else:
                bound[name] = Input(name, (), (N,), BOOL) if name == "p" else Param(name, (N,))
        left = build(r.lhs, bound, LIKE)
        if r.rewrite(left) is not None:
            return left, build(r.rhs, bound, LIKE), [b for b in bound.values() if isinstance(b, Param)]
    return None


def samples(seed: int, sign: int, top: float = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = {n: np.exp(rng.uniform(-3, np.log(top), SIZE)) * (sign or rng.choice([-1, 1], SIZE)) for n in "xyzw"}
    values["w"] = np.ones(SIZE)
    return {**values, "p": rng.random(SIZE) < 0.5}


def finite(*arrays: np.ndarray) -> np.ndarray:
    return np.logical_and.reduce([np.isfinite(a) for a in arrays])


@pytest.mark.parametrize("r", RULES, ids=lambda r: r.text)
def test_a_rule_is_an_identity_and_so_is_its_derivative(r: Rule) -> None:
    found = sides(r)
    assert found is not None, "no numbers meet the condition"
    left, right, params = found
    tried = 0
    for seed, sign in product(range(2), (1, -1, 0)):
        values = samples(seed, sign)
        a, b = evaluate([left, right], values, np.float64, {"N": SIZE})
        if left.type != REAL:
            assert (a == b).all()
            tried += SIZE
            continue
        fine = finite(a)
        tried += int(fine.sum())
        np.testing.assert_allclose(b[fine], a[fine], rtol=1e-9, atol=1e-12)
        for p in params:
            da, db = (gradient(System("rule"), Reduce("sum", e, (0,)), [p]).grads[p] for e in (left, right))
            ga, gb = evaluate([da, db], values, np.float64, {"N": SIZE})
            both = finite(a, ga)
            np.testing.assert_allclose(gb[both], ga[both], rtol=1e-7, atol=1e-9)
    assert tried >= SIZE


@pytest.mark.parametrize("r", [r for r in RULES if r not in DERIVED and r.lhs is not None], ids=lambda r: r.text)
def test_the_error_of_a_rule_is_no_worse(r: Rule) -> None:
    """float32 against 60 digits: at most that of the left side, or 4 eps of the value."""
    found = sides(r)
    assert found is not None
    left, right, _ = found
    if left.type != REAL:
        return
    for seed, sign in product((5, 6), (1, -1, 0)):
        values = {k: v.astype(np.float32) if v.dtype != bool else v for k, v in samples(seed, sign, 60).items()}
        before, after = evaluate([left, right], values, np.float32, {"N": SIZE})
        with mpmath.workdps(60):
            try:
                exact = evaluate([left], values, MP, {"N": SIZE})[0]
            except (TypeError, ZeroDivisionError, ValueError):   # complex logarithms of a wrong sign
                continue
            for i in range(SIZE):
                if isinstance(exact[i], mpmath.mpf) and np.isfinite(before[i]) and mpmath.isfinite(exact[i]):
                    worse = abs(float(after[i]) - exact[i])
                    allowed = max(abs(float(before[i]) - exact[i]), 4 * 1.2e-7 * abs(exact[i]), mpmath.mpf(1.2e-38))
                    assert worse <= allowed, (values["x"][i], before[i], after[i], exact[i])


# ---------------------------------------------------------------- the engine

x, y = any_of("x y")


def test_patterns_match_modulo_commutation_and_print_as_rules() -> None:
    r = rule(term("log", 1 + term("exp", x)), term("softplus", x))
    assert r.text == "log(1 + exp(x)) -> softplus(x)"
    a = Param("a", (N,))
    for e in (apply("log", 1 + apply("exp", a)), apply("log", apply("exp", a) + 1)):
        assert Rewriter(Table((r,)))(e) is apply("softplus", a)


def test_a_rewriter_records_what_fired() -> None:
    a = Param("a", (N,))
    rewriter = Rewriter(Table((rule(x * 1, x),)))
    assert rewriter(a * 1 + a * 1) is a + a
    assert [(f.rule.text, f.before, f.after) for f in rewriter.fired] == [("x*1 -> x", a * 1, a)]


def test_a_long_chain_needs_no_recursion() -> None:
    e: Expr = Param("a")
    for _ in range(5000):
        e = e * 1 + 0 * e
    assert Rewriter(Table((rule(x * 1, x),)))(e).args[0] is not None


def test_rules_that_undo_each_other_are_reported() -> None:
    a, b = Param("a"), Param("b")
    table = Table((rule(x - y, x + (-y)), rule(x + (-y), x - y)))
    with pytest.raises(AssertionError, match="undo each other"):
        Rewriter(table)(a - b)


def test_a_table_that_never_ends_is_reported() -> None:
    with pytest.raises(AssertionError, match=r"for ever|undo"):
        Rewriter(Table((rule(x + y, (x + y) * 1 + y - y),)))(Param("a") + Param("b"))


def test_a_rule_may_not_change_the_shape() -> None:
    @structure("wrong", "add")
    def wrong(e: Expr) -> Expr | None:
        return Const(1)

    with pytest.raises(AssertionError, match="wrong"):
        Rewriter(Table((wrong,)))(Param("a", (N,)) + Param("b", (N,)))


def test_numbers_are_seen_through_repeats() -> None:
    assert number(Broadcast(Const(3), (), (N,), ())) == 3 and number(Param("a")) is None
