"""Unrolling along either axis, where the other recurrence stays a loop."""

import numpy as np
import pytest
from chainrule.compiler.derivatives import grad
from chainrule.compiler.graph import BATCH, GraphError, Ref, Shift, matmul, postorder
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes.unroll import unroll
from chainrule.compiler.verify import verify
from zoo.build import LENGTHS, Model, delay, squares, tanh, values
from zoo.recurrent import attention, over_time


def two_axes():
    """A recurrence along s at every t, under a recurrence along t at every s."""
    m = Model("two_axes", H=2)
    x, y = m.input("x", "H", time="st"), m.input("y", "H", time="st")
    U, V = m.params("U V", "H", "H")
    axes = ("s", "t", BATCH)
    g = m.eq("g", tanh(x + matmul(U, delay(m.ref("g", "H", axes=axes), -1, axis="s"))))
    h = m.eq("h", tanh(g + matmul(V, delay(m.ref("h", "H", axes=axes), 1))))
    return m.loss(squares(h, y))


@pytest.mark.parametrize("axis", ["s", "t"])
@pytest.mark.parametrize("build", [attention, two_axes])
def test_one_axis_unrolled_the_other_rolled(build, axis):
    system = build()
    wrt = [p.node for p in system.params.values()]
    adjoint, grads = grad(system, system.objective(), wrt)
    goals = [system.objective(), *grads]
    flat, roots = unroll(adjoint, axis, LENGTHS[axis.upper()], goals)
    verify(flat, "unroll", roots)
    shifts = {n.axis for n in postorder(*flat.roots(), *roots) if isinstance(n, Shift)}
    assert shifts == {"s", "t"} - {axis}
    for a, b in zip(evaluate(adjoint, goals, values(system)), evaluate(flat, roots, values(system), LENGTHS), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_equations_keep_their_names_and_steps_are_numbered():
    system = two_axes()
    flat, _ = unroll(system, "t", 2)
    assert list(flat.equations) == ["g", "h", "g_0", "g_1"]
    assert flat.equations["h"].dims == system.equations["h"].dims
    assert {n.name for n in flat.nodes() if isinstance(n, Ref)} == {"g_0", "g_1"}
    assert {"h_0", "h_1"} <= set(flat.names.values())


def test_a_single_step():
    system = over_time()
    flat, (loss,) = unroll(system, "t", 1, [system.objective()])
    at = values(system, {"T": 1})
    np.testing.assert_allclose(evaluate(flat, [loss], at), evaluate(system, [system.objective()], at), rtol=1e-13)


def test_no_steps_are_refused():
    with pytest.raises(GraphError, match="no 0 steps"):
        unroll(two_axes(), "t", 0)
