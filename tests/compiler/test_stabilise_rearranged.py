"""500 generated rearrangements of the battery's formulas: the same verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from battery.formulas import CASES
from battery.judge import reference, rounded_values, verdict
from battery.rearrange import rearrange

COUNT, BATCHES = 500, 20


@pytest.mark.parametrize("batch", [k if k < 4 else pytest.param(k, marks=pytest.mark.full) for k in range(BATCHES)])
def test_a_rearranged_formula_is_as_right_as_the_formula(batch: int) -> None:
    for seed in range(batch, COUNT, BATCHES):
        case = CASES[seed % len(CASES)]
        r = rearrange(case, rounded_values(case), seed)
        right = reference(r.e, r.values, False)
        for kind in (np.float32, np.float64):
            assert verdict(case, r.e, r.x, r.values, right, kind, False, r.named) == [], (seed, r.text, kind.__name__)


def test_rearranging_is_deterministic() -> None:
    case = CASES[0]
    first, second = (rearrange(case, rounded_values(case), 7) for _ in range(2))
    assert first.e is second.e and first.text == second.text
