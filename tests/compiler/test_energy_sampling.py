"""Draws, chains and contrastive divergence: expectations are computed over every outcome, frequencies by a chi-squared test."""

from itertools import product

import numpy as np
import pytest
from chainrule.compiler.derivatives import grad
from chainrule.compiler.energy import conditional, gibbs, objective, sample
from chainrule.compiler.energy.chains import Sides, sweep
from chainrule.compiler.energy.objectives import over_batch
from chainrule.compiler.graph import BATCH, Input, Param, Reduce
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.units import Estimator
from zoo.energies import CASES, D, G, H, W, c, machine, units

PARTS = {"binary": 0.0, "spin": -1.0}


def conditionals(case):
    """p(h|v) and p(v|h) by brute force, (visible, hidden) and (hidden, visible)."""
    p = np.exp(-case.table(case.params))
    return p / p.sum(1, keepdims=True), (p / p.sum(0)).T


def forced(case, visible, values):
    """Uniform numbers that make a draw give these binary or spin values: 0 is below every probability, 1 below none."""
    return np.where(values == PARTS[case.layer(visible).kind], 1.0, 0.0)


def fits(found, wanted):
    """Pearson's chi-squared, four standard deviations above its mean at most."""
    dof = len(wanted) - 1
    return ((found - wanted) ** 2 / wanted).sum() < dof + 4 * np.sqrt(2 * dof)


def outcomes(case, k, last):
    """Every path v_0, h_1, v_1, ..., h_k, v_k (and h where `last`), as indices, and its probability given v_0."""
    up, down = conditionals(case)
    counts = [len(up), *([len(down), len(up)] * k), *([len(down)] if last else [])]
    paths = np.array(list(product(*map(range, counts))))
    p = np.ones(len(paths))
    for i in range(1, paths.shape[1]):
        p *= (up if i % 2 else down)[paths[:, i - 1], paths[:, i]]
    return paths, p


@pytest.mark.parametrize("name, k", [("binary", 1), ("binary", 2), ("spin", 1), ("spin", 2), ("small", 3)])
@pytest.mark.parametrize("statistics", ["probabilities", "samples"])
def test_expected_update_is_the_transition_matrix(name, k, statistics):
    """The mean over all outcomes of the CD-k gradient, against dF/dw at the data less dF/dw after k steps of the Markov chain."""
    case = CASES["binary" if name == "small" else name]()
    case.system.sizes.update({"D": 2, "H": 1} if name == "small" else {"D": 2})
    samples = statistics == "samples"
    noise = {n: Input(f"u_{n}", ("k", BATCH) if k > 1 and n.endswith("_model") else (BATCH,), case.layer(n[0] == "v").node.shape)
             for n in ("h", "v_model", "h_model")}
    system = objective(case.system, Estimator(k=k, statistics=statistics), noise).system
    low, high = (system.equations[n] for n in (("E_data", "E_model") if samples else ("F", "F_model")))
    assert system.loss.value is (over_batch(low) - over_batch(high))
    paths, p = outcomes(case, k, samples)
    v, h = case.points(True)[0], case.points(False)[0]
    weight = Input("weight")
    loss = Reduce("sum", weight * (low - high), (BATCH,))
    nodes = [x.node for x in system.params.values()]
    adjoint, found = grad(system, loss, nodes)
    given = {**case.params, "weight": p / len(v), "v": v[paths[:, 0]]}
    hs = np.stack([forced(case, False, h[paths[:, i]]) for i in range(1, paths.shape[1], 2)])
    vs = np.stack([forced(case, True, v[paths[:, i]]) for i in range(2, paths.shape[1], 2)])
    model = hs[1:] if samples else hs
    given |= {"u_h": hs[0], "u_v_model": vs if k > 1 else vs[0], "u_h_model": model if k > 1 else model[-1]}
    values = evaluate(adjoint, found, given)
    for node, g in zip(nodes, values, strict=True):
        np.testing.assert_allclose(g, expected(case, node.name, k), atol=1e-10)


def expected(case, name, k):
    """The sum over v of (1/n - p_k(v)) * dF(v)/dw, with p_k by the power of the transition matrix, dF/dw by complex steps."""
    up, down = conditionals(case)
    n = len(up)
    change = (np.eye(n) - np.linalg.matrix_power(up @ down, k)).mean(0)
    out = np.zeros(case.params[name].shape)
    for at in np.ndindex(out.shape):
        moved = {**case.params, name: case.params[name].astype(complex)}
        moved[name][at] += 1e-30j
        out[at] = change @ (case.free(case.points(True)[0], moved).imag * 1e30)
    return out


@pytest.mark.parametrize("name", ["binary", "spin", "categorical", "binary-gaussian", "semi-restricted", "coupled spins"])
def test_frequencies(name):
    """Draws of the hidden or visible side from fixed other values, against the conditional: chi-squared, fixed seed."""
    case, n = CASES[name](), 20000
    up, down = conditionals(case)
    visible = name in ("categorical", "binary-gaussian")
    side, other = case.points(visible)[0], case.points(not visible)[0]
    row = len(other) // 3
    c = conditional(case.system, "visible" if visible else "hidden")["v" if visible else "h"]
    given = np.broadcast_to(other[row], (n, *other[row].shape))
    drawn = evaluate(case.system, [sample(c, "draw")], {**case.params, "h" if visible else "v": given}, {"B": n}, seed=3)[0]
    found = np.array([(drawn == s).reshape(n, -1).all(1).sum() for s in side])
    assert found.sum() == n
    p = (down if visible else up)[row]
    assert fits(found, n * p)


def test_gaussian_draws():
    """Mean and variance of draws with a learned variance."""
    case, n = CASES["learned variance"](), 40000
    h = np.array([1.0, 0.0])
    p = case.params
    c = conditional(case.system, "visible")["v"]
    drawn = evaluate(case.system, [sample(c, "draw")], {**p, "h": np.broadcast_to(h, (n, 2))}, {"B": n}, seed=1)[0]
    np.testing.assert_allclose(drawn.mean(0), p["b"] + p["s"] * (h @ p["W"]), atol=0.03)
    np.testing.assert_allclose(drawn.std(0), p["s"], atol=0.03)


@pytest.mark.parametrize("name", ["semi-restricted", "coupled", "coupled spins"])
def test_a_sweep_leaves_the_conditional_unchanged(name):
    """Unit by unit: p(v|h) is the fixed point of the sweep's transition matrix, computed over all outcomes."""
    case = CASES[name]()
    v, h = case.points(True)[0], case.points(False)[0]
    down = conditionals(case)[1]
    kind, steps = case.layer(True).kind, v.shape[1]
    out = case.system.copy()
    c = conditional(case.system, "visible")["v"]
    u = Input("u", ("v_model_unit", BATCH))
    new = sweep(out, c, {c.layer.node: c.layer.node}, "v_model", u)
    for row, one in enumerate(h):
        flow = np.zeros(len(v))
        for start, p in zip(v, down[row], strict=True):
            for bits in product((0, 1), repeat=steps):           # which way every unit falls
                target = np.array(bits) * (1 if kind == "binary" else 2) - (kind == "spin")
                weight = p
                for i in range(steps):
                    both = (target[i], other(target[i], kind))
                    options = np.stack([np.concatenate([target[:i], [x], start[i + 1:]]) for x in both])
                    e = case.energy(options, np.broadcast_to(one, (2, *one.shape)), case.params)
                    weight /= 1 + np.exp(e[0] - e[1])
                flow[(v == target).all(1).argmax()] += weight
        np.testing.assert_allclose(flow, down[row], atol=1e-12)  # the reference sweep is right
    rng = np.random.default_rng(5)
    start, uniform = v[rng.integers(len(v), size=200)], rng.random((steps, 200))
    given = h[rng.integers(len(h), size=200)]
    found = evaluate(out, [new], {**case.params, "v": start, "h": given, "u": uniform}, {"B": 200})[0]
    now = start.copy()
    for i in range(steps):                                       # and ours is that sweep, on the same uniforms
        on, off = now.copy(), now.copy()
        on[:, i], off[:, i] = 1, PARTS[kind]
        gap = case.energy(on, given, case.params) - case.energy(off, given, case.params)
        now[:, i] = np.where(uniform[i] < 1 / (1 + np.exp(gap)), 1, PARTS[kind])
    assert (found == now).all()


def other(x, kind):
    return 1 - x if kind == "binary" else -x


@pytest.mark.parametrize("name", ["binary", "categorical", "semi-restricted"])
def test_gibbs_reaches_the_model(name):
    """After many steps the visible layer has the model's distribution, from any start."""
    case, n = CASES[name](), 4000
    v = case.points(True)[0]
    k = 3 if name == "semi-restricted" else 12
    system = gibbs(case.system, k)
    p = np.exp(-case.free(v, case.params))
    p /= p.sum()
    start = v[np.random.default_rng(2).choice(len(v), p=p, size=n)] if k == 3 else np.broadcast_to(v[0], (n, *v[0].shape))
    drawn = evaluate(system, [system.equations["v_end"]], {**case.params, "v": start}, {"B": n}, seed=11)[0]
    found = np.array([(drawn == s).reshape(n, -1).all(1).sum() for s in v])
    assert fits(found, n * p)


def test_visible_layers_that_interact_are_drawn_one_after_the_other():
    """E has v @ J @ y: after a few steps from the model's own distribution, it is still that."""
    v, y, h = units("v", (D,), "binary", True), units("y", (G,), "spin", True), units("h", (H,), "binary", False)
    j = Param("J", (D, G))
    system = machine(-(h.node @ W @ v.node) - v.node @ j @ y.node - c @ h.node, [v, y, h], [W, j, c])
    found = conditional(system, "visible")
    assert (found["v"].beside, found["y"].beside, found["v"].interacting) == (("y",), ("v",), False)
    rng, n = np.random.default_rng(3), 4000
    values = {"W": rng.standard_normal((2, 3)), "J": rng.standard_normal((3, 2)), "c": rng.standard_normal(2)}
    vs = np.array(list(product((0.0, 1.0), repeat=3)))
    ys = np.array(list(product((-1.0, 1.0), repeat=2)))
    both = {"v": np.repeat(vs, 4, 0), "y": np.tile(ys, (8, 1))}
    joined = np.einsum("ni,ij,nj->n", both["v"], values["J"], both["y"])
    p = np.exp(np.logaddexp(0, both["v"] @ values["W"].T + values["c"]).sum(1) + joined)
    p /= p.sum()
    rows = rng.choice(len(p), p=p, size=n)
    out = gibbs(system, 2)
    ends = [out.equations["v_end"], out.equations["y_end"]]
    new_v, new_y = evaluate(out, ends, {**values, "v": both["v"][rows], "y": both["y"][rows]}, {"B": n}, seed=7)
    counts = np.array([((new_v == a).all(1) & (new_y == b).all(1)).sum() for a, b in zip(both["v"], both["y"], strict=True)])
    assert fits(counts, n * p) and (new_v != both["v"][rows]).any()


def test_samples_are_keyed_by_their_equation():
    case = CASES["binary"]()
    sides = Sides(conditional(case.system, "hidden"), conditional(case.system, "visible"), {})
    assert not sides.one_by_one
    a, b = sample(sides.hidden["h"], "h"), sample(sides.hidden["h"], "h_model")
    v = np.zeros((50, 3))
    first, second, again = evaluate(case.system, [a, b, a], {**case.params, "v": v}, seed=4)
    assert (first == again).all() and (first != second).any()
