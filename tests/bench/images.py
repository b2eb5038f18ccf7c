"""Rows with images: a small convolutional network on 28x28, a VGG-like stack on 32x32x3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.work import Arrays, JaxLoss, TorchLoss, Work

CNN = """
model cnn(C = 10)
input x[1, 28, 28]
target y : class(C)
param K1[32, 1, 3, 3], K2[64, 32, 3, 3] ~ he
param b1[32], b2[64] = 0
param W3[128, 1600], W4[C, 128] ~ he
param b3[128], b4[C] = 0
h1 = max_pool(relu(conv(x, K1, b1)), 2)
h2 = max_pool(relu(conv(h1, K2, b2)), 2)
h3 = relu(W3 @ flatten(h2) + b3)
s = W4 @ h3 + b4
loss = cross_entropy(softmax(s), y)
train {train}
"""

VGG = """
model vgg(C = 10)
input x[3, 32, 32]
target y : class(C)
param K1[32, 3, 3, 3], K2[32, 32, 3, 3], K3[64, 32, 3, 3], K4[64, 64, 3, 3] ~ he
param b1[32], b2[32], b3[64], b4[64] = 0
param W5[128, 4096], W6[C, 128] ~ he
param b5[128], b6[C] = 0
h1 = relu(conv(x, K1, b1, padding = same))
h2 = max_pool(relu(conv(h1, K2, b2, padding = same)), 2)
h3 = relu(conv(h2, K3, b3, padding = same))
h4 = max_pool(relu(conv(h3, K4, b4, padding = same)), 2)
h5 = relu(W5 @ flatten(h4) + b5)
s = W6 @ h5 + b6
loss = cross_entropy(softmax(s), y)
train {train}
"""

LAYERS = {"cnn": (("K1", True), ("K2", True)), "vgg": (("K1", False), ("K2", True), ("K3", False), ("K4", True))}


def images(batch: int, channels: int, size: int) -> Callable[[], Arrays]:
    """A batch in [0, 1] and its classes."""
    def data() -> Arrays:
        rng = np.random.default_rng(0)
        return {"x": rng.random((batch, channels, size, size), np.float32), "y": rng.integers(0, 10, batch)}
    return data


def torch_stack(name: str) -> Callable[[Arrays, dict[str, Any]], TorchLoss]:
    """Convolutions, relu, pooling, two linear layers."""
    def build(params: Arrays, data: dict[str, Any]) -> TorchLoss:
        import torch
        from torch.nn import functional as F
        p = {k: torch.tensor(v, requires_grad=True) for k, v in params.items()}
        one, two = sorted(k for k in p if k.startswith("W"))

        def loss() -> Any:
            h = data["x"]
            for k, pooled in LAYERS[name]:
                K = p[k]
                h = torch.relu(F.conv2d(h, K, p["b" + k[1:]], padding=1 if name == "vgg" else 0))
                h = F.max_pool2d(h, 2) if pooled else h
            h = torch.relu(F.linear(h.flatten(1), p[one], p["b" + one[1:]]))
            return F.cross_entropy(F.linear(h, p[two], p["b" + two[1:]]), data["y"])
        return p, loss
    return build


def jax_stack(name: str) -> Callable[[], JaxLoss]:
    """The same in JAX."""
    def build() -> JaxLoss:
        import jax
        import jax.numpy as jnp

        def loss(p: dict[str, Any], data: dict[str, Any]) -> Any:
            h = data["x"]
            one, two = sorted(k for k in p if k.startswith("W"))
            for k, pooled in LAYERS[name]:
                h = jax.lax.conv_general_dilated(h, p[k], (1, 1), "SAME" if name == "vgg" else "VALID")
                h = jax.nn.relu(h + p["b" + k[1:]][:, None, None])
                if pooled:
                    h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
            h = jax.nn.relu(h.reshape(h.shape[0], -1) @ p[one].T + p["b" + one[1:]])
            s = h @ p[two].T + p["b" + two[1:]]
            return -jnp.take_along_axis(jax.nn.log_softmax(s), data["y"][:, None], 1).mean()
        return loss
    return build


TITLES = {"cnn": "CNN 28x28, 32@3 pool 64@3 pool 128-10, batch 64",
          "vgg": "VGG-like 3x32x32, 32@3 32@3 pool 64@3 64@3 pool 128-10, batch 32"}


def row(name: str, text: str, data: Callable[[], Arrays], target: float | None) -> Work:
    return Work(TITLES[name], text, data, torch_stack(name), jax_stack(name), optimisers=("sgd",), target=target)


ROWS = {"cnn": row("cnn", CNN, images(64, 1, 28), 0.8), "vgg": row("vgg", VGG, images(32, 3, 32), None)}
