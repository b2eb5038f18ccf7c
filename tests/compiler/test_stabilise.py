"""The stability battery: naive formulas at hard points, values and gradients, both precisions (see battery.judge)."""

from __future__ import annotations

import numpy as np
import pytest
from battery.formulas import CASES, Case, N, X, Y, Z, log, softmax
from battery.judge import reference, rounded_values, verdict
from battery.values import evaluate as values_of
from chainrule.compiler.graph import Const, Param, Ref, Shift, apply, matmul, postorder
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes.stabilise import stabilise
from chainrule.compiler.system import System
from zoo.catalogue import ZOO


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_a_naive_formula_is_right_at_hard_points(case: Case) -> None:
    e = case.build(X, Y, Z)
    values = rounded_values(case)
    right = reference(e, values, case.each)
    for kind in (np.float32, np.float64):
        assert verdict(case, e, X, values, right, kind) == [], kind.__name__


def test_the_battery_has_at_least_forty_formulas() -> None:
    assert len(CASES) >= 40


def test_the_logarithm_of_a_delayed_probability_of_a_cycle() -> None:
    """p[t] = softmax(W @ log(p[t-1])): log(p) becomes an equation of its own; p may underflow."""
    p = Ref("p", ("t",), (N,))
    s = matmul(Param("W", (N, N)), log(Shift(p, "t", -1, (Const(0.5),)))) + X
    system = stabilise(System("cycle", equations={"p": softmax(s)}))
    log_p = system.equations["log_p"]
    delayed = Shift(Ref("log_p", ("t",), (N,)), "t", -1, (apply("log", Const(0.5)),))
    assert delayed in postorder(log_p) and p not in postorder(log_p)
    values = {"x": np.tile([900.0, 0.0, -900.0, 1.0], (3, 1)), "W": np.eye(4)}
    found = evaluate(system, [system.equations["p"], log_p], values)
    assert np.isfinite(found[1]).all() and found[1].min() < -1800 and found[0].min() == 0


def test_what_was_replaced_stands_in_the_notes() -> None:
    system = stabilise(System("notes", equations={"p": softmax(X), "q": log(softmax(X))}))
    notes = [text for n in (system.equations["p"], system.equations["q"]) for text in system.notes.get(n, ())]
    assert notes and all(text.startswith("stabilised: ") for text in notes)


def test_a_user_equation_of_that_name_is_left_alone() -> None:
    p = Ref("p", ("t",), (N,))
    s = log(Shift(p, "t", -1, (Const(0.5),))) + X
    system = stabilise(System("taken", equations={"p": softmax(s), "log_p": X * 2}))
    assert system.equations["log_p"] is X * 2


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_small_system_keeps_its_meaning_and_is_stable_after_one_round(name: str) -> None:
    first = stabilise(ZOO[name]())
    assert stabilise(first).equations == first.equations


def test_no_value_at_zero_is_hidden() -> None:
    """x*log(x) is 0 at 0 and NaN where it was."""
    e = stabilise(System("s", equations={"e": X * log(X)})).equations["e"]
    got = values_of([e], {"x": np.array([[0.0, 1.0, -1.0, np.nan]])}, np.float64)[0]
    np.testing.assert_array_equal(got, [[0.0, 0.0, np.nan, np.nan]])
