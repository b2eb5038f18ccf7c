"""What energies of several forms come to, as text; what cannot be derived, and the term that is at fault."""

import chainrule as cr
import numpy as np
import pytest
from chainrule.compiler.derivatives import grad
from chainrule.compiler.energy import EnergyError, conditional, free_energy, objective
from chainrule.compiler.formulas import formula
from chainrule.compiler.graph import Const, Contract, Input, Param, apply, total
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.units import Estimator
from zoo.energies import CASES, D, H, W, b, c, machine, units

TEXTS = {                                                # name -> p(h|v), p(v|h), F(v)
    "binary": ("sigmoid(W @ v + c)", "sigmoid(W.T @ h + b)", "-b @ v - sum(softplus(W @ v + c))"),
    "rewritten": ("sigmoid(W @ v + c)", "sigmoid(W.T @ h + b)", "-b @ v - sum(softplus(W @ v + c))"),
    "spin": ("tanh(W @ v + c)", "tanh(W.T @ h + b)", "-b @ v - sum(softplus(2 * (W @ v + c)) - (W @ v + c))"),
    "gaussian": ("sigmoid(W @ v + c)", "W.T @ h + b", "sum((v - b)^2) / 2 - sum(softplus(W @ v + c))"),
    "binary-gaussian": ("W @ v + c", "sigmoid(W.T @ h + b)",
                        "sum(c^2) / 2 - b @ v - sum((W @ v + c)^2) / 2 - 0.918939 * H"),
    "learned variance": ("sigmoid(W @ (v / s) + c)", "(W.T @ h) * s + b",
                         "sum((v - b)^2 / (2 * s^2)) - sum(softplus(W @ (v / s) + c))"),
}

FORMS = {                                                # lines of a model -> natural parameters, F
    "several layers": ("""visible v[D] : binary
visible y[P] : categorical
hidden h[H] : binary
hidden g[G] : spin
param W[H, D], U[H, P], R[G, D] ~ normal(1);  c[H] = 0
E = -h @ W @ v - h @ U @ y - g @ R @ v - c @ h""",
                       {"h": "W @ v + U @ y + c", "g": "R @ v", "v": "W.T @ h + R.T @ g", "y": "U.T @ h"},
                       "-sum(softplus(W @ v + U @ y + c)) - sum(softplus(2 * (R @ v)) - R @ v)"),
    "conditional": ("""visible v[D] : binary
hidden h[H] : binary
input x[X]
param W[H, D], A[D, X], K[H, X] ~ normal(1);  b[D] = 0
E = -h @ W @ v - (b + A @ x) @ v - (K @ x) @ h""",
                    {"h": "W @ v + K @ x", "v": "W.T @ h + b + A @ x"}, "-(b + A @ x) @ v - sum(softplus(W @ v + K @ x))"),
    "matrices": ("""visible v[P, D] : binary
hidden h[G, H] : binary
param A[G, P], W[H, D] ~ normal(1);  b[P, D] = 0
E = -sum((A @ v @ W.T) * h) - sum(b * v)""",
                 {"h": "A @ v @ W.T", "v": "A.T @ (h @ W) + b"}, "-sum(b * v) - sum(softplus(A @ v @ W.T))"),
    "a helper": ("""visible v[D] : binary
hidden h[H] : binary
param W[H, D] ~ normal(1);  b[D] = 0;  c[H] = 0
a = W @ v + c
E = -a @ h - b @ v""", {"h": "W @ v + c", "v": "W.T @ h + b"}, "-b @ v - sum(softplus(a))"),
    "precision": ("""visible v[D] : gaussian
hidden h[H] : binary
param W[H, D] ~ normal(1);  b[D] = 0;  z[D] = 0
E = sum((v - b)^2 * exp(z))/2 - h @ W @ v""", {"h": "W @ v", "v": "W.T @ h + b * exp(z)"},
                  "sum((v - b)^2 * exp(z)) / 2 - sum(softplus(W @ v))"),
    "categorical, flattened": ("""visible v[D, C] : categorical
hidden h[H] : binary
param W[H, D*C] ~ normal(1);  b[D, C] = 0
E = -h @ W @ flatten(v) - sum(b * v)""", {"h": "W @ flatten(v)", "v": "reshape(W.T @ h, D, C) + b"},
                               "-sum(b * v) - sum(softplus(W @ flatten(v)))"),
    "variance": ("""visible v[D] : gaussian
hidden h[H] : binary
param W[H, D] ~ normal(1);  b[D] = 0;  s[D] = 1
E = sum((v - b)^2 / s^2)/2 - h @ W @ (v / s)""", {"h": "W @ (v / s)", "v": "W.T @ h / s + b / s^2"},
                 "sum((v - b)^2 / s^2) / 2 - sum(softplus(W @ (v / s)))"),
    "joined visible units": ("""visible v[D] : binary
hidden h[H] : binary
param W[H, D], L[D, D] ~ normal(1)
E = -h @ W @ v - v @ L @ v""", {"h": "W @ v", "v": "W.T @ h + L.T @ v + L @ v"},
                             "-v @ L @ v - sum(softplus(W @ v))"),
    "convolution": ("""visible v[1, 4, 4] : binary
hidden h[1, 3, 3] : binary
param K[1, 1, 2, 2] ~ normal(1);  c[1] = 0;  b = 0
E = -sum(h * conv(v, K)) - sum(h * channels(c, h)) - b * sum(v)""",
                    {"h": "conv(v, K, c)", "v": "conv_transpose(h, K) + b"}, "-b * sum(v) - sum(softplus(conv(v, K, c)))"),
}


@pytest.mark.parametrize("name", list(TEXTS))
def test_texts(name):
    system = CASES[name]().system
    found = [formula(conditional(system, side)[u].mean, system.names) for side, u in (("hidden", "h"), ("visible", "v"))]
    assert (*found, formula(free_energy(system), system.names)) == TEXTS[name]


@pytest.mark.parametrize("name", list(FORMS))
def test_forms(name):
    """The texts, and the free energy against the sum over all hidden configurations."""
    lines, natural, free = FORMS[name]
    head, train = "energy m(D = 3, H = 2, P = 2, G = 2, X = 2, C = 2)", "train contrastive_divergence(k = 1, lr = 0.1)"
    system = cr.parse(f"{head}\n{lines}\n{train}\n").system
    found = {**conditional(system, "hidden"), **conditional(system, "visible")}
    assert {k: formula(x.natural, system.names) for k, x in found.items()} == natural
    assert formula(free_energy(system), system.names) == free
    rng = np.random.default_rng(0)
    sizes = {k: [s.evaluate(system.sizes) for s in i.shape] for k, i in system.inputs.items()}
    hidden = [u for u in system.energy.hidden]
    count = sum(int(np.prod(sizes[u.name])) for u in hidden)
    keep = min(2 ** count, 2 ** 18)
    values = {k: rng.standard_normal([s.evaluate(system.sizes) for s in p.node.shape]) for k, p in system.params.items()}
    one = {k: rng.integers(2, size=(1, *n)).astype(float) for k, n in sizes.items()}
    bits = (np.arange(keep)[:, None] >> np.arange(count) & 1).astype(float)
    given, at = {k: np.repeat(x, keep, 0) for k, x in one.items()}, 0
    for u in hidden:
        n = int(np.prod(sizes[u.name]))
        given[u.name] = bits[:, at:at + n].reshape(-1, *sizes[u.name]) * (2 if u.kind == "spin" else 1) - (u.kind == "spin")
        at += n
    e = evaluate(system, [system.energy.value], {**values, **given})[0]
    expected = -np.logaddexp.reduce(-e)
    np.testing.assert_allclose(evaluate(system, [free_energy(system)], {**values, **one})[0], expected, atol=1e-9)


def failing(term, kinds=("binary", "binary"), params=()):
    """A machine with one more term, and that term."""
    v, h = units("v", (D,), kinds[0], True), units("h", (H,), kinds[1], False)
    base = -(h.node @ W @ v.node) - b @ v.node - c @ h.node
    found = term(v.node, h.node)
    return machine(base + found, [v, h], [W, b, c, *params]), found


L, a, A3 = Param("L", (H, H)), Param("a", (D,)), Param("A", (H, D, D))
BINARY, GAUSSIAN, SPIN = ("binary", "binary"), ("gaussian", "binary"), ("spin", "binary")
MISTAKES = {
    "square": (lambda v, h: total(apply("square", h)), BINARY, "not affine in the binary units h: the derivative of sum(h^2)"),
    "exponential": (lambda v, h: total(apply("exp", v)), SPIN, "not affine in the spin units v: the derivative of sum(exp(v))"),
    "saturated": (lambda v, h: total(apply("tanh", h @ W @ v)), BINARY, "the binary units h: the derivative of tanh("),
    "bent": (lambda v, h: -total(apply("maximum", h @ W @ v, Const(0))), BINARY, "not affine in the binary units h"),
    "steps": (lambda v, h: total(apply("floor", h @ W @ v)), BINARY, "not affine in the binary units h"),
    "hidden interact": (lambda v, h: h @ L @ h, BINARY, "h cannot be summed out"),
    "curvature": (lambda v, h: -total(apply("square", v)), GAUSSIAN, "by the Gaussian units v is -2, which is not positive"),
    "flat": (lambda v, h: total(v), GAUSSIAN, "does not grow with the square of the Gaussian units v"),
    "unknown sign": (lambda v, h: total(a * apply("square", v)), GAUSSIAN, "is 2 * a, which may be negative"),
    "quartic": (lambda v, h: total(apply("square", apply("square", v))), GAUSSIAN, "not quadratic in the Gaussian units v"),
}


@pytest.mark.parametrize("name", list(MISTAKES))
def test_mistakes_name_their_term(name):
    term, kinds, message = MISTAKES[name]
    system, at_fault = failing(term, kinds)
    with pytest.raises(EnergyError) as raised:
        free_energy(system)
        conditional(system, "visible")
    assert message in str(raised.value).replace("`", "")
    if name != "flat":
        assert raised.value.term in (at_fault, *at_fault.args)   # a minus belongs to the sum, not to its term


def test_deep_machines_are_refused():
    v, h, g = units("v", (D,), "binary", True), units("h", (H,), "binary", False), units("g", (H,), "binary", False)
    join = h.node @ L @ g.node
    system = machine(-(h.node @ W @ v.node) - join, [v, h, g], [W, L])
    with pytest.raises(EnergyError, match=r"hidden layers `h` and `g` meet in .*: hidden layers above each other") as raised:
        free_energy(system)
    assert raised.value.term is join


def test_a_layer_in_no_term():
    v, h, g = units("v", (D,), "binary", True), units("h", (H,), "binary", False), units("g", (H,), "binary", False)
    with pytest.raises(EnergyError, match="`g` stands in no term of the energy"):
        free_energy(machine(-(h.node @ W @ v.node), [v, h, g], [W]))


def test_third_order_terms_are_affine():
    """h_j v_i x_k: gated machines have conditionals like any other."""
    x = Input("x", ("batch",), (D,))
    v, h = units("v", (D,), "binary", True), units("h", (H,), "binary", False)
    three = total(h.node * Contract(Contract(A3, v.node, (0, 1, 2), (1,), (0, 2)), x, (0, 1), (1,), (0,)))
    system = machine(-three, [v, h], [A3])
    system.inputs["x"] = x
    assert not conditional(system, "visible")["v"].interacting
    assert formula(free_energy(system), system.names).startswith("-sum(softplus(")


def test_persistent_step_is_scikit_learns():
    """One update of BernoulliRBM on the same uniforms."""
    learn = pytest.importorskip("sklearn.neural_network")
    case = CASES["binary"]()
    p, v = case.params, case.points(True)[0][[1, 3, 5, 6]]
    start = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    rbm = learn.BernoulliRBM(2, learning_rate=0.3)
    rbm.components_, rbm.intercept_hidden_, rbm.intercept_visible_ = p["W"].copy(), p["c"].copy(), p["b"].copy()
    rbm.h_samples_ = start.copy()
    rbm._fit(v, np.random.RandomState(8))
    rng = np.random.RandomState(8)
    uniforms = {"v_model": rng.uniform(size=(4, 3)), "h_model": rng.uniform(size=(4, 2))}
    noise = {k: Input(f"u_{k}", ("particles",), (D if k[0] == "v" else H,))
             for k in uniforms}
    found = objective(case.system, Estimator("persistent_contrastive_divergence"), noise)
    nodes = [x.node for x in found.system.params.values()]
    adjoint, grads = grad(found.system, found.system.objective(), nodes)
    given = {**p, "v": v, "chain_h": start, **{f"u_{k}": u for k, u in uniforms.items()}}
    *values, chain = evaluate(adjoint, [*grads, found.chain["chain_h"]], given)
    for node, g in zip(nodes, values, strict=True):
        ours = p[node.name] - 0.3 * g
        theirs = {"W": rbm.components_, "b": rbm.intercept_visible_, "c": rbm.intercept_hidden_}[node.name]
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert (chain == rbm.h_samples_).all()


def test_a_unit_in_no_term():
    """Of a layer that stands in the energy, too."""
    text = """energy m(D = 3, H = 2)
visible v[D] : binary
hidden h[H] : binary
param W[H, D] ~ normal(1)
E = -h[0:1] @ W[0:1] @ v
"""
    with pytest.raises(cr.frontends.language.ModelError, match=r"the unit `h\[1\]` stands in no term of the energy"):
        cr.parse(text)
