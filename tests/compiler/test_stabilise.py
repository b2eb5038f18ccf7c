"""The stability battery: naive formulas at hard points, values and gradients, both precisions (see battery.judge)."""

from __future__ import annotations

import numpy as np
import pytest
from battery.formulas import CASES, Case, X, Y, Z
from battery.judge import reference, rounded_values, verdict


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_a_naive_formula_is_right_at_hard_points(case: Case) -> None:
    e = case.build(X, Y, Z)
    values = rounded_values(case)
    right = reference(e, values, case.each)
    for kind in (np.float32, np.float64):
        assert verdict(case, e, X, values, right, kind) == [], kind.__name__


def test_the_battery_has_at_least_forty_formulas() -> None:
    assert len(CASES) >= 40
