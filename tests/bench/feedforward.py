"""Rows without time: a classifier and an autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.work import Arrays, JaxLoss, TorchLoss, Work

MLP = """
model mlp(D = 784, H1 = 512, H2 = 256, C = 10)
input x[D]
target y : class(C)
param W1[H1, D], W2[H2, H1], W3[C, H2] ~ he
param b1[H1], b2[H2], b3[C] = 0
h1 = relu(W1 @ x + b1)
h2 = relu(W2 @ h1 + b2)
s = W3 @ h2 + b3
loss = cross_entropy(softmax(s), y)
train {train}
"""

AUTOENCODER = """
model autoencoder(D = 784, H1 = 256, H2 = 64)
input x[D]
param W1[H1, D], W2[H2, H1], W3[H1, H2], W4[D, H1] ~ glorot
param b1[H1], b2[H2], b3[H1], b4[D] = 0
h1 = sigmoid(W1 @ x + b1)
h2 = sigmoid(W2 @ h1 + b2)
h3 = sigmoid(W3 @ h2 + b3)
r = sigmoid(W4 @ h3 + b4)
loss = binary_cross_entropy(r, x)
train {train}
"""

BATCH = 128


def images(classes: int, batch: int = BATCH) -> Callable[[], Arrays]:
    """A batch in [0, 1], and classes where the model has a target."""
    def data() -> Arrays:
        rng = np.random.default_rng(0)
        out: Arrays = {"x": rng.random((batch, 784), np.float32)}
        if classes:
            out["y"] = rng.integers(0, classes, batch)
        return out
    return data


def torch_layers(classes: int) -> Callable[[Arrays, dict[str, Any]], TorchLoss]:
    """Linear layers with relu and a cross-entropy, or sigmoid and the binary one from logits."""
    def build(params: Arrays, data: dict[str, Any]) -> TorchLoss:
        import torch
        from torch.nn import functional as F
        p = {k: torch.tensor(v, requires_grad=True) for k, v in params.items()}
        n = len(p) // 2

        def loss() -> Any:
            h = data["x"]
            for i in range(1, n):
                h = F.linear(h, p[f"W{i}"], p[f"b{i}"])
                h = torch.relu(h) if classes else torch.sigmoid(h)
            s = F.linear(h, p[f"W{n}"], p[f"b{n}"])
            if classes:
                return F.cross_entropy(s, data["y"])
            return F.binary_cross_entropy_with_logits(s, data["x"], reduction="sum") / len(s)
        return p, loss
    return build


def jax_layers(classes: int) -> Callable[[], JaxLoss]:
    """The same in JAX."""
    def build() -> JaxLoss:
        import jax
        import jax.numpy as jnp

        def loss(p: dict[str, Any], data: dict[str, Any]) -> Any:
            h, n = data["x"], len(p) // 2
            for i in range(1, n):
                h = h @ p[f"W{i}"].T + p[f"b{i}"]
                h = jax.nn.relu(h) if classes else jax.nn.sigmoid(h)
            s = h @ p[f"W{n}"].T + p[f"b{n}"]
            if classes:
                return -jnp.take_along_axis(jax.nn.log_softmax(s), data["y"][:, None], 1).mean()
            return (jax.nn.softplus(s) - s * data["x"]).sum() / len(s)
        return loss
    return build


ROWS = {"mlp": Work("MLP 784-512-256-10, batch 128", MLP, images(10), torch_layers(10), jax_layers(10), target=0.95),
        "autoencoder": Work("autoencoder 784-256-64-256-784, batch 128", AUTOENCODER, images(0), torch_layers(0), jax_layers(0),
                            target=0.5)}
