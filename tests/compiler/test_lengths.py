"""The pass that makes padded arrays of examples of their own lengths: by the interpreter, unrolled, and what it refuses."""

import numpy as np
import pytest
from chainrule.compiler.derivatives import grad
from chainrule.compiler.graph import BATCH, REAL, At, Const, Flip, Freeze, GraphError, Input, Noise, Shift, Slice, length, total
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes.growth import grows
from chainrule.compiler.passes.lengths import masked
from chainrule.compiler.passes.stabilise import stabilise
from chainrule.compiler.passes.unroll import unroll
from chainrule.compiler.reach import reached
from chainrule.compiler.system import lengths_input
from chainrule.compiler.verify import components, verify
from chainrule.frontends.language import parse
from chainrule.frontends.language.printing import to_text
from zoo.build import Model, delay, squares, values
from zoo.catalogue import TIMED
from zoo.ragged import HEAD, MODELS, OWN, SIZES, model

NAMES = [n for n, build in TIMED.items() if n != "masked"       # which has lengths of its own; draws depend on the batch
         and not any(isinstance(e, Noise) for e in build().nodes())]


def declared(system):
    axes = tuple(a for a in ("s", "t") if any(a in i.axes for i in system.inputs.values()))
    out = system.copy(lengths=axes)
    out.inputs.update((f"lengths_{a}", lengths_input(a)) for a in axes)
    return out


def padded_values(system):
    at = {**values(system, SIZES), **{f"lengths_{a}": OWN[a] for a in system.lengths}}
    for k, i in system.inputs.items():
        for b in range(SIZES["B"]):
            if i.type == REAL and i.axes[0] in system.lengths:
                at[k][OWN[i.axes[0]][b]:, b] = np.nan
    return at


def one(system, at, b):
    return {**at, **{k: at[k][tuple(slice(b, b + 1) if a == BATCH else slice(0, OWN[a][b]) for a in i.axes)]
                     for k, i in system.inputs.items()}}


@pytest.mark.parametrize("name", NAMES)
def test_each_example_is_as_if_it_were_alone(name):
    """Values, sums, counts and gradients of the masked system against those of each example without padding."""
    source = TIMED[name]()
    system = declared(source)
    at = padded_values(system)
    masked_ = verify(masked(stabilise(system)), "lengths")
    nodes = [p.node for p in system.params.values()]
    extended, grads = grad(masked_, masked_.loss.total, nodes)
    found = evaluate(extended, [masked_.loss.total, masked_.loss.count, *grads], at, SIZES)
    extended, grads = grad(source, source.loss.total, nodes)
    expected = [0.0] * len(found)
    for b in range(SIZES["B"]):
        here = {"B": 1, **{a.upper(): int(n[b]) for a, n in OWN.items()}}
        parts = evaluate(extended, [source.loss.total, source.loss.count, *grads], one(source, at, b), here)
        expected = [e + p for e, p in zip(expected, parts, strict=True)]
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["elman", "birnn", "delay2", "neighbours", "over_time", "many_to_one"])
def test_unrolled_and_rolled_agree(name):
    system = declared(TIMED[name]())
    at = padded_values(system)
    rolled = masked(stabilise(system))
    flat, _ = unroll(rolled, "t", SIZES["T"])
    found = []
    for s in (rolled, flat):
        extended, grads = grad(s, s.loss.value, [p.node for p in system.params.values()])
        found.append(evaluate(extended, [s.loss.value, *grads], at, SIZES))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_a_recurrence_that_grows_is_known(name):
    """The cells that everybody uses are bounded or grow linearly; a recurrence of relu may not be."""
    system = stabilise(TIMED[name]())
    assert not any(grows(system, c) for c in components(system, reached(system, system.roots())[0]))


@pytest.mark.parametrize("right", ["relu(W @ h[t-1])", "W @ h[t-1]", "h[t-1] + h[t-1]", "h[t-1] * h[t-1]", "2 * h[t-1]",
                                   "h[t-1] / (1 + h[t-1])", "exp(h[t-1])"])
def test_a_recurrence_that_may_explode_is_known(right):
    head = "model m(H = 2)\ninput x[t, H]\nparam W[H, H] ~ normal(1)\n"
    system = stabilise(parse(f"{head}h[t, H] = {right} + x[t]   where h[-1] = 0\nloss = mean[batch, t] sum(h[t])"))
    assert all(grows(system, c) for c in components(system, reached(system, system.roots())[0]))


def test_a_system_without_lengths_is_itself():
    system = TIMED["elman"]()
    assert masked(system) is system


def test_a_forward_recurrence_has_no_choice_in_its_cycle():
    system = masked(stabilise(declared(TIMED["lstm_stacked"]())))
    cyclic = [n for c in components(system, reached(system, system.roots())[0]) for n in c]
    assert not any(getattr(n, "f", "") == "select" for n in cyclic)


# ---------------------------------------------------------------- what has no meaning

def sequence():
    m = Model("m", H=2)
    return m, m.input("x", "H", time="t")


def test_a_part_of_a_frozen_sequence_cannot_be_summed():
    m, x = sequence()
    part = Slice(Freeze(x, "t"), 0, 1, length("t"))
    system = declared(m.loss(total(part)))
    with pytest.raises(GraphError, match="a part of axis t, where examples end at their own steps"):
        masked(system)


def test_a_flipped_sequence_has_its_padding_in_front():
    m, x = sequence()
    system = declared(m.loss(total(Flip(Freeze(x, "t"), 0))))
    with pytest.raises(GraphError, match="is flipped along t"):
        masked(system)


def test_a_step_of_classes_is_that_of_each_examples_own_end():
    m = Model("m", V=4)
    x = m.classes("x", "V", "t")
    for k, i in (("last", -1), ("second", 1)):
        m.eq(k, At(x, "t", i))
    m.system.outputs = ("last", "second")
    system = masked(declared(m.system))
    values = {"x": np.array([[3, 1, 2], [2, 3, 1], [1, 1, 1]]), "lengths_t": np.array([3, 1, 2])}
    found = evaluate(system, [system.equations[k] for k in system.outputs], values, {"B": 3, "T": 3})
    assert found[0].tolist() == [1, 1, 1] and found[1].tolist() == [2, 0, 1]       # a step that is not there is class 0


def test_a_recurrence_without_examples_cannot_end_with_them():
    m, x = sequence()
    w = m.param("w", "H")
    h = m.eq("h", delay(m.ref("h", "H", axes=("t",)), 1, Const(1)) * 0.5 + w)
    assert not isinstance(x, Shift)
    system = declared(m.loss(squares(h, x)))
    with pytest.raises(GraphError, match="h is the same for all examples"):
        masked(system)


# ---------------------------------------------------------------- text

@pytest.mark.parametrize("name", MODELS)
def test_the_text_says_lengths_and_no_input(name):
    system, _ = model(name)
    text = to_text(system)
    again = parse(text)
    assert to_text(again) == text
    assert again.lengths == system.lengths
    assert {k: v for k, v in again.inputs.items()} == system.inputs
    assert list(again.equations.values()) == list(system.equations.values())
    for axis in system.lengths:
        assert f"\nlengths {axis}\n" in text
        assert isinstance(system.inputs[f"lengths_{axis}"], Input)


def test_lengths_may_stand_before_the_axis_and_in_the_builder():
    from chainrule.frontends.builder import Builder
    first = parse(HEAD + "lengths t\ninput x[t, D]\nloss = mean[batch, t] sum(x[t])\n")
    m = Builder("m", D=2, H=3, C=4, V=6)
    t = m.time("t")
    x = m.input("x", t, "D")
    m.lengths(t)
    m.loss(m.call("mean", m.call("sum", x[t]), over=["batch", "t"]))
    assert first.lengths == m.system().lengths == ("t",)
    assert to_text(first) == to_text(m.system())
