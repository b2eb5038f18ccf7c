"""Time in the language: every construct elaborates, prints as text that parses to the identical system, has right gradients, and
means the same unrolled. The generated modules are tested in tests/backends/cpu/test_language_time.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from chainrule.compiler.derivatives import grad
from chainrule.compiler.graph import BATCH, At, Const, Extent, Index, Input, Intercept, Reduce, Shift, Stop, apply, length, symbol
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes.unroll import unroll
from chainrule.compiler.sequences import renamed
from chainrule.compiler.surgery import without_surgery
from chainrule.compiler.system import System
from chainrule.compiler.verify import verify
from chainrule.frontends.language import parse
from chainrule.frontends.language.printing import to_text
from zoo.build import values
from zoo.language_time import MODELS

LENGTHS = {"B": 2, "T": 4, "S": 3}
PARTS = ("name", "sizes", "inputs", "targets", "domains", "params", "stats", "outputs", "loss", "penalties", "metrics",
         "training", "data", "lengths", "feedback", "surgery")


def expected(system: System, at: dict[str, Any]) -> list[Any]:
    """Objective, gradients, outputs, by the reference interpreter."""
    extended, grads = grad(system, system.objective(), [p.node for p in system.params.values()])
    return evaluate(extended, [system.objective(), *grads, *(system.equations[o] for o in system.outputs)], at, LENGTHS)


@pytest.mark.parametrize("name", MODELS)
def test_text_comes_back_identical(name: str) -> None:
    system = verify(parse(MODELS[name]))
    text = to_text(system)
    again = parse(text)
    for part in PARTS:
        assert getattr(again, part) == getattr(system, part), text
    assert again.equations.keys() == system.equations.keys()
    assert all(again.equations[k] is e for k, e in system.equations.items()), text


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_right(name: str) -> None:
    system = without_surgery(parse(MODELS[name]))
    at, rng = values(system, LENGTHS), np.random.default_rng(1)
    for (k, _), derived in zip(system.params.items(), expected(system, at)[1:], strict=False):
        v, h = rng.standard_normal(derived.shape), 1e-4
        f = [float(evaluate(system, [system.objective()], {**at, k: at[k] + c * h * v}, LENGTHS)[0]) for c in (1, -1, 2, -2)]
        measured, slope = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * h), float((derived * v).sum())
        assert abs(measured - slope) < 1e-7 * max(abs(slope), 1e-3), k


@pytest.mark.parametrize("name", MODELS)
def test_unrolled_is_the_same(name: str) -> None:
    system = parse(MODELS[name])
    at = values(system, {**LENGTHS, "T": 3})
    params = [p.node for p in system.params.values()]
    rolled, grads = grad(system, system.objective(), params)
    wanted = evaluate(rolled, [system.objective(), *grads], at, {**LENGTHS, "T": 3})
    flat, (loss,) = unroll(system, "t", 3, [system.objective()])
    flat, grads = grad(verify(flat), loss, params)
    for a, b in zip(evaluate(flat, [loss, *grads], at, {**LENGTHS, "T": 3}), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------- what single lines mean

HEAD = "model m(D = 2)\ninput x[t, D]\ntime u over t\n"
x, t, u = Input("x", ("t", BATCH), (symbol("D"),)), Index("t"), Index("t.u")
xu = renamed(x, {"t": "t.u"})


@pytest.mark.parametrize(("text", "meaning"), [
    ("q[u] = x[u]", xu),
    ("q[t, u] = x[t] * x[u]", x * xu),
    ("q = sum[t < T-1] x[t]", Reduce("sum", apply("select", t < Extent(length("t") - 1), x, 0), ("t",))),
    ("q = mean[t >= 2] x[t]", Reduce("sum", apply("select", apply("ge", t, Const(2)), x, 0), ("t",)) / Extent(length("t") - 2)),
    ("q[t] = sum[u <= t] x[u]", Reduce("sum", apply("select", u <= t, xu, 0), ("t.u",))),
    ("q = sum[t < T-1] x[t+1]", Reduce("sum", apply("select", t < Extent(length("t") - 1),
                                                   Shift(x, "t", 1, (Stop(At(x, "t", -1)),)), 0), ("t",))),
    ("q[t, u] = select(u <= t, 0, -inf)", apply("select", u <= t, 0, float("-inf"))),
])
def test_meaning(text: str, meaning: Any) -> None:
    assert parse(HEAD + text + "\n").equations["q"] is meaning


def test_a_softmax_over_no_step_is_zero() -> None:
    system = parse(HEAD + "w[t, u] = softmax[u < t](sum(x[t] * x[u]))\n")
    (w,) = evaluate(system, [system.equations["w"]], {"x": np.ones((3, 1, 2))})
    np.testing.assert_allclose(w[:, :, 0], [[0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]])


def test_a_second_name_whose_word_is_taken() -> None:
    text = "model m(D = 2)\ninput x[t, D]\ninput z[s, D]\nfragment att(x[t, D]) -> o[t]:\n  time u over t\n" \
           "  o[t] = sum[u] softmax[u](x[t] @ x[u]) * x[u]\nu[t] = att(x[t])\nv[s] = att(z[s])\n"
    system = parse(text)
    printed = to_text(system)
    assert "time s.u over s" in printed and "time t.u over t" in printed
    assert all(parse(printed).equations[k] is e for k, e in system.equations.items())


def test_a_reversed_fragment_counts_from_the_end() -> None:
    text = "model m(D = 2)\ninput x[t, D]\nfragment f(x[t, D]) -> o[t]:\n  o[t] = x[t] * t\nq[t] = f(x[t], reverse = true)\n"
    assert parse(text).equations["q"] is x * (Extent(length("t") - 1) - t)


def test_surgery_stands_at_the_root_and_changes_the_gradient() -> None:
    system = parse(MODELS["clipped"])
    h = system.equations["h"]
    assert isinstance(h, Intercept) and system.surgery["h"][0] is Input("d_h", ("t", BATCH), (symbol("H"),))
    at = values(system, LENGTHS)
    changed, true = expected(system, at), expected(without_surgery(system), at)
    assert changed[0] == true[0] and not np.allclose(changed[1], true[1])
