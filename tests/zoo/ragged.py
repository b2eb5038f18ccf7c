"""Models whose examples have their own lengths, as text, and how each is run alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from chainrule.compiler.graph import BATCH, REAL
from chainrule.compiler.system import System
from chainrule.frontends.language import parse

OWN = {"t": np.array([5, 2, 3, 1]), "s": np.array([1, 4, 2, 3])}
SIZES = {"B": 4, "T": 5, "S": 4}
HEAD = """model m(D = 2, H = 3, C = 4, V = 6)
"""
PLAIN = """input x[t, D]
target y[t, H]
lengths t
param W[H, D] ~ normal(0.7); U, Q, K [H, H] ~ normal(0.7); b[H] = 0.1
"""
STEP = "h[t] = tanh(W @ x[t] + U @ h[t-1] + b)   where h[-1] = 0\n"
TOKENS = "loss = mean[batch, t] squares(h[t], y[t])\n"
ONE = """input x[t, D]
target y[H]
lengths t
param W[H, D] ~ normal(0.7); U, Q, K [H, H] ~ normal(0.7); q[H] ~ normal(0.7)
"""
CLASSES = """input x[t] : class(V)
target y[t] : class(C)
lengths t
param L[V, H] ~ normal(0.7)
"""

MODELS = {
    "elman": PLAIN + STEP + TOKENS,
    "lstm": CLASSES + """h[t] = lstm(L[x[t]], H)
p[t] = dense(h[t], C)
loss = mean[batch, t] cross_entropy(softmax(p[t]), y[t])
metric error = mean[batch, t] (argmax(p[t]) != y[t])
""",
    "gru": PLAIN + "h[t] = gru(x[t], H)\n" + TOKENS,
    "bidirectional": CLASSES + """f[t] = lstm(L[x[t]], H)
b[t] = lstm(L[x[t]], H, reverse = true)
p[t] = dense([f[t], b[t]], C)
loss = mean[batch, t] cross_entropy(softmax(p[t]), y[t])
""",
    "stacked_bidirectional": PLAIN + """f[t] = gru(x[t], H)
r[t] = gru(x[t], H, reverse = true)
f2[t] = gru([f[t], r[t]], H)
r2[t] = gru([f[t], r[t]], H, reverse = true)
h[t] = f2[t] + r2[t]
""" + TOKENS,
    "learned_end": PLAIN + """param e[H] ~ normal(1)
h[t] = tanh(W @ x[t] + U @ h[t+1] + b)   where h[T] = e
""" + TOKENS,
    "two_steps_back": PLAIN + "h[t] = tanh(W @ x[t] + U @ h[t-1] + Q @ h[t-2])   where h[-1] = 0, h[-2] = b\n" + TOKENS,
    "window": PLAIN + """param e, g [H] ~ normal(1)
a[t] = tanh(W @ x[t])   where a[-1] = 0, a[T] = e, a[T+1] = g
h[t] = U @ a[t-1] + a[t] * a[t+1] + Q @ a[t+2]
""" + TOKENS,
    "relu_that_grows": PLAIN + "h[t] = relu(W @ x[t] + 9 * U @ h[t-1] + 3)   where h[-1] = 0\n" + TOKENS,
    "singular": PLAIN + """a[t] = x[t, 0:1] * x[t, 0:1]   where a[T] = 1, a[-1] = 1
r[t] = sqrt(a[t]) + log(sum(a[t])) + 1 / a[t-1] + a[t+1]^(-0.5)
h[t] = tanh(W @ x[t] + U @ h[t-1] + b * sum(r[t]))   where h[-1] = 0
""" + TOKENS,
    "last": ONE + """h[t] = tanh(W @ x[t] + U @ h[t-1])   where h[-1] = 0
loss = squares(h[last] + Q @ h[T-1] + K @ h[0], y)
""",
    "last_class": """input x[t] : class(V)
target y[t] : class(C)
lengths t
param L, K [V, C] ~ normal(0.7)
p[t] = L[x[t]] + K[x[t-1]]   where x[-1] = x[last]
q = p[last] + K[x[last]] + L[x[0]]
loss = cross_entropy(softmax(q), y[last])
metric error = mean[batch, t] (y[t] != y[last])
""",
    "means": ONE + """h[t] = tanh(W @ x[t] + U @ h[t-1])   where h[-1] = 0
loss = squares(mean[t](h[t]), y) + sum(var[t](h[t])) + mean[t] sum(h[t]^2)
""",
    "extrema": ONE + """h[t] = tanh(W @ x[t] + U @ h[t-1])   where h[-1] = 0
loss = squares(max[t](h[t]) + min[t](h[t]) + prod[t](h[t]) + norm[t](h[t]) + logsumexp[t](h[t]), y)
""",
    "pooling": ONE + """h[t] = tanh(W @ x[t] + U @ h[t-1])   where h[-1] = 0
w[t] = softmax[t](q @ h[t])
u[t] = exp(q @ h[t]) / sum[t](exp(q @ h[t]))
loss = squares(sum[t](w[t] * h[t]) + sum[t](u[t] * h[t]), y) - sum[t] w[t] * log_softmax[t](q @ h[t])
output w, h
""",
    "length_as_number": ONE + """h[t] = tanh(W @ x[t] + U @ h[t-1])   where h[-1] = 0
loss = squares(sum[t](h[t] * (t + 1)) / T, y)
""",
    "per_example": PLAIN + STEP + "loss = mean[t] squares(h[t], y[t])\n",
    "batch_of_steps": PLAIN + STEP + "loss = sum[t] squares(h[t], y[t])\n",
    "self_attention": PLAIN + """time u over t
h[t] = W @ x[t]
k[t] = K @ h[t]
a[t, u] = softmax[u]((Q @ h[t]) @ k[u])
z[t] = sum[u] a[t, u] * h[u]
loss = mean[batch, t] squares(z[t], y[t])
output z
""",
    "encoder_decoder": """input x[s, D]
input y[t, H]
target z[t] : class(C)
lengths s
lengths t
param W[H, D] ~ normal(0.7); U, R, Q, K [H, H] ~ normal(0.7)
e[s] = tanh(W @ x[s] + U @ e[s-1])   where e[-1] = 0
a[t, s] = softmax[s]((Q @ h[t-1]) @ e[s])
k[t] = sum[s] a[t, s] * e[s]
h[t] = tanh(K @ h[t-1] + k[t] + R @ y[t])   where h[-1] = e[last]
p[t] = dense(h[t], C)
loss = mean[batch, t] cross_entropy(softmax(p[t]), z[t])
""",
}


def model(name: str) -> tuple[System, System]:
    """A model, and the same one without lengths."""
    text = HEAD + MODELS[name]
    return parse(text), parse("\n".join(x for x in text.split("\n") if not x.startswith("lengths")))


def ragged_values(system: System, seed: int = 0) -> dict[str, Any]:
    """Inputs as a caller holds them, batch first; the padding of real ones is NaN, of classes any class."""
    rng, out = np.random.default_rng(seed), {}
    for name, node in system.inputs.items():
        if name.startswith("lengths_"):
            out[name] = OWN[name[8:]]
            continue
        times = [a for a in node.axes if a != BATCH]
        shape = (SIZES["B"], *(SIZES[a.upper()] for a in times), *(s.evaluate(system.sizes) for s in node.shape))
        if node.type == REAL:
            out[name] = rng.standard_normal(shape)
            for b in range(SIZES["B"]):
                for axis in times[:1]:
                    out[name][b, OWN[axis][b]:] = np.nan
        else:
            assert node.type.n is not None
            out[name] = rng.integers(0, node.type.n.evaluate(system.sizes), shape)
    return out


def alone(system: System, values: dict[str, Any], b: int) -> dict[str, Any]:
    """The inputs of one example, without padding."""
    out = {}
    for name, node in system.inputs.items():
        times = [a for a in node.axes if a != BATCH]
        out[name] = values[name][(slice(b, b + 1), *(slice(0, OWN[a][b]) for a in times))]
    return out
