"""Stepping: what the systems of `start`, `step` and the draw are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from chainrule.compiler.graph import BATCH, Input, Shift
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes.evaluation import evaluation
from chainrule.compiler.passes.stepping import NoSteps, Stepping, axis_of, stepping
from chainrule.compiler.steps import single, stepped
from chainrule.compiler.system import System
from chainrule.frontends.language import parse
from zoo.build import LENGTHS, values
from zoo.catalogue import TIMED

STEPPED = [k for k in TIMED if k not in ("birnn", "masked", "attention")]
DECODER = """
model decoder(W = 7, H = 4)
input  src[s] : class(W)
input  x[t, H]
input  z[H]
param  E[W, H], U[H, H], A[H, H], b[H], g ~ normal(0.5)
e[s] = tanh(E[src[s]] + U @ e[s-1])                            where e[-1] = 0
d[t] = tanh(U @ d[t-2] + k[t] + z + t * exp(g) * x[t-1] + b)   where d[-1] = e[last], d[-2] = tanh(z), x[-1] = 0
w[t] = softmax(freeze(A @ e[s], s) @ d[t-1])
k[t, H] = contract("i,ij->j", w[t], freeze(e[s], s))
q[t] = A @ d[t] + x[t]
output q
feedback x[t+1] ~ normal(rate * q[t] + d[t-1], width)
"""


def along(system: System) -> System:
    return evaluation(system.copy(outputs=tuple(k for k, e in system.equations.items() if "t" in e.axes)))


def run(plan: Stepping, system: System, found: dict[str, Any], steps: int) -> list[dict[str, Any]]:
    """Steps by the interpreter."""
    first = evaluate(plan.start, [plan.start.equations[k] for k in plan.before.values()], found, {"B": LENGTHS["B"]})
    carry = dict(zip(plan.before, first, strict=True))
    out = []
    for t in range(steps):
        now = {k: np.asarray(found[k])[t] for k in plan.given}
        kept = {k: v for k, v in found.items() if k in (*system.params, *system.stats)}
        results = evaluate(plan.step, [*plan.step.equations.values()], {**kept, **carry, **now}, {"B": LENGTHS["B"]})
        step = dict(zip(plan.step.equations, results, strict=True))
        carry = {**carry, **{k: step[e] for k, e in plan.after.items()}}
        if plan.axis in carry:
            carry[plan.axis] = carry[plan.axis] + 1
        out.append(step)
    return out


@pytest.mark.parametrize("name", STEPPED)
def test_steps_are_the_sequence(name: str) -> None:
    """Step after step is all steps at once, by the meaning of both."""
    system = along(TIMED[name]())
    found = values(system)
    plan = stepping(system)
    assert plan.axis == "t" and not any(isinstance(n, Shift) or "t" in n.axes for n in plan.step.nodes())
    whole = dict(zip(system.outputs, evaluate(system, [system.equations[k] for k in system.outputs], found), strict=True))
    for t, step in enumerate(run(plan, system, found, LENGTHS["T"])):
        for k in system.outputs:
            np.testing.assert_allclose(step[k], whole[k][t], rtol=1e-12, atol=1e-12)


def test_what_is_computed_once() -> None:
    """The carry: slots by the language's words, the index, and what does not run along t, encoder included."""
    system = evaluation(parse(DECODER))
    plan = stepping(system)
    assert {*plan.carry} == {"d[-1]", "d[-2]", "x[-1]", "e", "A_e", "z", "exp_g", "t"}
    assert plan.given == ("x",) and plan.fixed == ("src", "z")
    assert plan.after["d[-2]"] == "next d[-2]" and plan.step.equations["next d[-2]"] is plan.carry["d[-1]"]
    assert "t" not in plan.after and "e" not in plan.after
    assert not any("s" in n.axes for n in plan.step.nodes())              # the encoder is a feature here
    assert [k for k, i in plan.carry.items() if BATCH not in i.axes] == ["exp_g", "t"]
    found = values(system)
    (whole,) = evaluate(system, [system.equations["q"]], found)
    for t, step in enumerate(run(plan, system, found, LENGTHS["T"])):
        np.testing.assert_allclose(step["q"], whole[t], rtol=1e-12, atol=1e-12)


def test_the_draw_reads_equations() -> None:
    """What the feedback names is read by name; a state of the step before, which it does not name, is an output more."""
    plan = stepping(evaluation(parse(DECODER)))
    assert plan.outputs == ("q", "fed") and plan.draw is not None
    read = {n.name for n in plan.draw.nodes() if isinstance(n, Input)}
    assert read == {"q", "fed", "rate", "width"}


def test_softmax_is_left_to_the_draw() -> None:
    text = ("model m(V = 3)\ninput x[t] : class(V)\nparam P[V, V] = 0\ns[t] = P[x[t]]\noutput s\n"
            "feedback x[t+1] ~ categorical({})\n")
    assert stepping(parse(text.format("softmax(s[t] / a)"))).softmax
    assert not stepping(parse(text.format("assume_probability(s[t])"))).softmax


def test_the_axis() -> None:
    assert axis_of(parse(DECODER)) == "t"
    with pytest.raises(NoSteps, match="runs along s and t"):
        axis_of(parse(DECODER[:DECODER.index("feedback")]))


def test_lengths_of_the_steps_are_dropped() -> None:
    text = DECODER.replace("param  E", "lengths s\nlengths t\nparam  E")
    system = single(parse(text))
    assert system.lengths == ("s",) and "lengths_s" in system.inputs and "lengths_t" not in system.inputs
    steps = stepped(parse(text))
    assert steps.plan.fixed == ("src", "z", "lengths_s")


def test_two_boundaries() -> None:
    """One value with two boundary values has no single state before the first step."""
    system = parse("model m\ninput x[t]\na[t] = shift(x[t], t, -1, 0) + shift(x[t], t, -1, 1)\noutput a\n")
    with pytest.raises(NoSteps, match=r"x\[-1\] has two boundary values"):
        stepping(system)
