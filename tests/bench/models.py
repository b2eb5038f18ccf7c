"""The work that is measured: models as text, their data, and the same step written for each peer as its users write it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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

RATES = {"sgd": 0.01, "adam": 0.001}


@dataclass(frozen=True)
class Work:
    """One row of the table: a model, its layers, its batch."""

    text: str
    layers: int
    batch: int
    classes: int

    def data(self) -> dict[str, np.ndarray]:
        """A batch in [0, 1], and classes where the model has a target."""
        rng = np.random.default_rng(0)
        out = {"x": rng.random((self.batch, 784), np.float32)}
        if self.classes:
            out["y"] = rng.integers(0, self.classes, self.batch)
        return out


WORK = {"mlp": Work(MLP, 3, 128, 10), "autoencoder": Work(AUTOENCODER, 4, 128, 0)}


def text(name: str, optimiser: str) -> str:
    """The model's text with its optimiser."""
    return WORK[name].text.format(train=f"{optimiser}(lr = {RATES[optimiser]})")
