"""What is derived from an energy against brute-force sums over all configurations (Gaussian units: fine grids)."""

import numpy as np
import pytest
from chainrule.compiler.derivatives import grad
from chainrule.compiler.energy import conditional, free_energy, objective, partition
from chainrule.compiler.graph import length
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.units import Estimator
from zoo.energies import CASES

NAMES = list(CASES)
INTERACT = ("semi-restricted", "coupled", "coupled spins")


def numbers(case, e, values, count, sizes=None):
    """The value of an expression for a batch of `count`."""
    return evaluate(case.system, [e], {**case.params, **values}, {"B": count, **(sizes or {})})[0]


def moments(case, given):
    """E[side | other] by sums over the side's values, for every value of the other side."""
    weights = np.exp(-case.table(case.params))               # (visible, hidden)
    side = case.points(not given)[0]
    weights = weights if given else weights.T
    return np.tensordot(weights / weights.sum(1, keepdims=True), side, axes=(1, 0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("visible", [False, True])
def test_conditionals(name, visible):
    case = CASES[name]()
    if visible and name in INTERACT:
        assert conditional(case.system, "visible")["v"].interacting
        return
    c = conditional(case.system, "visible" if visible else "hidden")["v" if visible else "h"]
    values, other = case.points(not visible)[0], "h" if visible else "v"
    keep = slice(None) if case.layer(not visible).kind != "gaussian" else slice(0, None, 37)
    expected = moments(case, not visible)[keep]
    found = numbers(case, c.mean, {other: values[keep]}, len(values[keep]))
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_free_energy_and_log_z(name):
    case = CASES[name]()
    v = case.points(True)[0][:: 1 + 36 * (case.layer(True).kind == "gaussian")]
    np.testing.assert_allclose(numbers(case, free_energy(case.system), {"v": v}, len(v)), case.free(v, case.params), atol=1e-10)
    p = partition(case.system)
    np.testing.assert_allclose(numbers(case, p.value, {}, 1, {str(length(p.axis)): p.count}), case.log_z(case.params), atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_exact_likelihood_gradient(name):
    """Against the derivative of the brute-force log-likelihood, by complex steps."""
    case = CASES[name]()
    v = case.points(True)[0]
    v = v[np.random.default_rng(0).integers(len(v), size=5)]
    system = objective(case.system, Estimator("likelihood")).system
    nodes = [p.node for p in system.params.values()]
    adjoint, grads = grad(system, system.objective(), nodes)
    found = evaluate(adjoint, [system.objective(), *grads], {**case.params, "v": v})

    def likelihood(params):
        return case.free(v, params).mean() + case.log_z(params)

    np.testing.assert_allclose(found[0], likelihood(case.params), atol=1e-10)
    for node, g in zip(nodes, found[1:], strict=True):
        for k in np.ndindex(g.shape):
            moved = {n: x.astype(complex) for n, x in case.params.items()}
            moved[node.name][k] += 1e-30j
            assert abs(likelihood(moved).imag * 1e30 - g[k]) < 1e-10, (node.name, k)
