"""Every small system: legal, its derivatives right in first and second order, and the same rolled and unrolled."""

import numpy as np
import pytest
from chainrule.compiler.check import check_gradients
from chainrule.compiler.derivatives import grad, hvp
from chainrule.compiler.graph import Input, Shift, postorder
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes.unroll import unroll
from chainrule.compiler.verify import verify
from zoo.build import LENGTHS, values
from zoo.catalogue import TIMED, ZOO


@pytest.mark.parametrize("name", ZOO)
def test_derivatives_agree_with_differences(name):
    system = verify(ZOO[name]())
    check_gradients(system, values(system), lengths=LENGTHS).require()


@pytest.mark.parametrize("name", ZOO)
def test_reverse_over_reverse_agrees_with_forward_over_reverse(name):
    system = ZOO[name]()
    wrt = [p.node for p in system.params.values()]
    along = [Input(f"along_{w.name}", w.axes, w.shape) for w in wrt]
    inputs = {**values(system), **{f"along_{w.name}": v for w, v in zip(wrt, values(system, seed=1).values(), strict=False)}}
    found = []
    for mode in ("forward", "reverse"):
        extended, products = hvp(system, system.objective(), wrt, along, mode)
        extended.inputs.update({a.name: a for a in along})
        verify(extended, f"hvp, {mode}", products)
        found.append(evaluate(extended, products, inputs, LENGTHS))
    for forward, reverse in zip(*found, strict=True):
        np.testing.assert_allclose(forward, reverse, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", TIMED)
def test_rolled_equals_unrolled(name):
    """The gradient of the rolled system unrolled, and the gradient of the unrolled one, against the rolled."""
    system = TIMED[name]()
    wrt = [p.node for p in system.params.values()]
    at = values(system)
    adjoint, grads = grad(system, system.objective(), wrt)
    rolled = evaluate(adjoint, [system.objective(), *grads], at, LENGTHS)
    steps, roots = unroll(adjoint, "t", LENGTHS["T"], [system.objective(), *grads])
    flat, (loss,) = unroll(system, "t", LENGTHS["T"], [system.objective()])
    flat, slopes = grad(flat, loss, wrt)
    for after, goals in ((steps, roots), (flat, [loss, *slopes])):
        verify(after, "unroll", goals)
        assert not any(isinstance(n, Shift) and n.axis == "t" for n in postorder(*goals, *after.equations.values()))
        for a, b in zip(rolled, evaluate(after, goals, at, LENGTHS), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
