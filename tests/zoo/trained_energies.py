"""Energy models as text, with every kind of units and of training, and a few steps of it."""

import chainrule as cr
import numpy as np

RBM = """
energy rbm(D = 12, H = 7)
visible v[D] : binary
hidden  h[H] : binary
param W[H, D] ~ normal(0.3);  b[D] = 0.1;  c[H] = -0.2
E = - h @ W @ v - b @ v - c @ h
train {}, batch = 5
"""
SPIN = RBM.replace("binary", "spin")
CATEGORICAL = """
energy groups(M = 4, C = 3, H = 5)
visible v[M, C] : categorical
hidden  h[H] : binary
param W[H, M*C] ~ normal(0.3);  b[M, C] = 0.1;  c[H] = 0
E = - h @ W @ flatten(v) - sum(b * v) - c @ h
train {}
"""
GAUSSIAN = """
energy gaussian(D = 6, H = 5)
visible v[D] : gaussian
hidden  h[H] : binary
param W[H, D] ~ normal(0.3);  b[D], z[D] = 0.1;  c[H] = 0
E = sum((v - b)^2 * exp(-z)) / 2 - h @ W @ (v * exp(-z)) - c @ h
train {}
"""
TWO = """
energy two(D = 6, H = 5, G = 3, K = 2)
visible v[D] : binary
hidden  h[H] : binary
hidden  g[G] : gaussian
input   x[K]
param W[H, D], U[G, D], A[H, K] ~ normal(0.3);  b[D] = 0.1
E = - h @ W @ v - b @ v - h @ A @ x + g @ g / 2 - g @ U @ v
train {}
"""
CHAIN = """
energy chain(D = 6, H = 5)
visible v[D] : binary
hidden  h[H] : binary
param W[H, D] ~ normal(0.3);  a[D-1] = 0.5;  b[D] = 0.1
E = - h @ W @ v - b @ v - sum(a * v[0:D-1] * v[1:D])
train {}
"""
CD = "contrastive_divergence(k = {}, lr = 0.1, statistics = {})"
PCD = "persistent_contrastive_divergence(k = {}, lr = {})"
TRAINED = {
    "cd1": RBM.format(CD.format(1, "probabilities")), "cd1 samples": RBM.format(CD.format(1, "samples")),
    "cd3": RBM.format(CD.format(3, "probabilities")), "cd3 samples": RBM.format(CD.format(3, "samples")),
    "pcd": RBM.format(PCD.format(2, 0.1)), "spin": SPIN.format(CD.format(2, "samples")),
    "categorical": CATEGORICAL.format(PCD.format(2, 0.1)), "gaussian": GAUSSIAN.format(PCD.format(3, 0.01)),
    "two layers, an input": TWO.format(CD.format(2, "probabilities")),
    "units that interact": CHAIN.format(CD.format(1, "samples")),
    "likelihood": RBM.format("likelihood(lr = 0.1, momentum = 0.9, sparsity = 0.2)"),
}


def program(text, dtype="float64", **options):
    return cr.compile(cr.parse(text), dtype=dtype, **options)


def data(system, n=5, seed=3):
    """Values of the visible units, and of other inputs."""
    rng, kinds, out = np.random.default_rng(seed), {u.name: u.kind for u in system.energy.layers}, {}
    for name, node in system.inputs.items():
        shape = (n, *(s.evaluate(system.sizes) for s in node.shape))
        kind = kinds.get(name, "gaussian")
        hot = np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]
        ones = (rng.random(shape) < 0.4).astype(float)
        out[name] = {"binary": ones, "spin": 2 * ones - 1, "categorical": hot, "gaussian": rng.standard_normal(shape)}[kind]
    return {k: x for k, x in out.items() if k not in {u.name for u in system.energy.hidden}}


def trained(text, steps=3, **options):
    """Parameters, state and losses after some steps."""
    p = program(text, **options)
    params, inputs = p.init(seed=1), data(p.system)
    state = p.init_state(params, seed=4)
    losses = [float(p.train_step(params, state, **inputs)) for _ in range(steps)]
    return {**params, **{k: a for k, a in state.items() if k.startswith("chain")}, "losses": np.array(losses)}
