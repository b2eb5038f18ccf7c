"""Loops over time as they are printed: the index is a number like any other, boundary values stand where they belong."""

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.graph import At, GraphError, Index, Ref, Shift, apply, length, matmul, total
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.pipeline import compile_system
from zoo.build import Model, delay, squares, tanh, values

LENGTHS = {"B": 2, "T": 3}


def agrees(system, dtype="float64", lengths=LENGTHS):
    """The loss of the module is that of the interpreter, at both levels; gradients keep the type."""
    at = values(system, lengths)
    expected = float(evaluate(system, [system.objective()], at, lengths)[0])
    for level in (0, 1):
        module = Program(system, dtype, level).module
        params = {k: at[k].astype(dtype) for k in system.params}
        loss, grads = module.loss_and_grads(params, **{k: np.swapaxes(at[k], 0, 1) for k in system.inputs})
        assert np.isclose(float(loss), expected, rtol=1e-5 if dtype == "float32" else 1e-12)
        assert all(g.dtype == dtype for g in grads.values())
    return loss


def counted(f):
    """A state that reads f(t) in its loop."""
    m = Model("counted", H=3)
    x, U = m.input("x", "H", time="t"), m.param("U", "H", "H")
    h = m.eq("h", tanh(x + matmul(U, delay(m.ref("h", "H"), -1)) * apply("exp", -f(Index("t")))))
    return m.loss(squares(h, x))


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("f", [lambda t: 1 / t, lambda t: apply("log", t), lambda t: apply("pow", t, -1),
                               lambda t: apply("sqrt", t) / (1 + t)], ids=["1/t", "log", "pow", "sqrt"])
def test_the_index_of_a_loop_follows_the_rules_of_floats(f, dtype):
    if f(Index("t")) is apply("log", Index("t")):
        agrees(counted(lambda t: -f(t)), dtype)
    else:
        agrees(counted(f), dtype)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_boundary_value_that_needs_the_loop(steps):
    """h[t+1] outside the loop, where the step after the end repeats the last one; and another read with another boundary."""
    m = Model("ends", H=3)
    x, U = m.input("x", "H", time="t"), m.param("U", "H", "H")
    h = m.eq("h", tanh(x + matmul(U, delay(m.ref("h", "H"), -1))))
    ahead, other = delay(h, 1, At(h, "t", -1)), delay(h, 1, m.param("e", "H"))
    before = Shift(h, "t", -1, (m.param("b", "H"),))             # the loop itself starts from zero
    agrees(m.loss(squares(ahead * other, x) + total(before * h)), lengths={"B": 2, "T": steps})


@pytest.mark.parametrize("i", [1, -2])
@pytest.mark.parametrize("steps", [2, 3])
def test_a_step_that_is_read_by_its_number(i, steps):
    m = Model("second", H=3)
    x, U = m.input("x", "H", time="t"), m.param("U", "H", "H")
    h = m.eq("h", tanh(x + matmul(U, delay(m.ref("h", "H"), -1))))
    agrees(m.loss(total(apply("square", At(h, "t", i))) + total(At(h * h, "t", -1))), lengths={"B": 2, "T": steps})


def test_a_recurrence_along_two_axes_is_refused():
    """A decoder's step that contains a recurrence along the encoder's axis."""
    m = Model("grid", H=3)
    x, U = m.input("x", "H", time="s"), m.param("U", "H", "H")
    inner = Ref("k", ("s", "t", "batch"), (length("t") * 0 + m.param("b", "H").shape[0],))
    h = m.ref("h", "H")
    k = m.eq("k", tanh(x + matmul(U, delay(inner, -1, axis="s")) + delay(h, -1)))
    m.eq("h", At(k, "s", -1))
    system = m.loss(squares(m.system.equations["h"], m.input("y", "H", time="t")))
    with pytest.raises(GraphError, match="shifts along s and t; a recurrence runs along one axis"):
        compile_system(system)


def test_what_every_step_adds_is_added_up_once():
    """Two biases of one sum in a loop are one vector before they meet the steps; each has its gradient."""
    m = Model("biases", H=3)
    x, U, b, c = m.input("x", "H", time="t"), m.param("U", "H", "H"), m.param("b", "H"), m.param("c", "H")
    h = m.eq("h", tanh(x + matmul(U, delay(m.ref("h", "H"), -1)) + b + c))
    system = m.loss(squares(h, x))
    agrees(system)
    module = Program(system, "float64").module
    assert module.check() < 1e-5
    assert "b + c" in Program(system, "float64", 0).source or "np.add(b, c" in Program(system, "float64").source


@pytest.mark.parametrize("classes", [7, 300])
def test_scattered_rows_are_added_up(classes):
    """Few classes by a product, many by sorting: the sums of the rows of each class, zero for a class that has none."""
    from chainrule.backends.cpu.runtime import scatter
    rng = np.random.default_rng(0)
    a, i = rng.standard_normal((5, 4, 3)), rng.integers(0, classes, (5, 4))
    out, expected = np.full((classes, 3), np.nan), np.zeros((classes, 3))
    np.add.at(expected, i.reshape(-1), a.reshape(-1, 3))
    np.testing.assert_allclose(scatter(a, i, out), expected, atol=1e-12)
    turned = np.full((3, classes), np.nan)
    scatter(a, i, turned.T)
    np.testing.assert_allclose(turned.T, expected, atol=1e-12)
