"""Rows with time: character language models on one-hot inputs, 65 characters, 64 steps (32 in a batch of one).

PyTorch's side is `nn.RNN`, `nn.LSTM`, `nn.GRU`, as its users write it; JAX's is a scan with the input's products before it. Our
models take PyTorch's parametrisation (all gates in one array, two bias vectors), so that the parameters are the same arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.work import Arrays, JaxLoss, TorchLoss, Work

V, STEPS = 65, 64

HEAD = """
model {name}(V = 65, H = {hidden})
input x[t] : class(V)
target y[t] : class(V)
param weight_ih[G, V], weight_hh[G, H] ~ xavier
param bias_ih[G], bias_hh[G] = 0
param W_y[V, H] ~ xavier;  b_y[V] = 0
"""

FOOT = """
s[t] = W_y @ h[t] + b_y
loss = mean[batch, t] cross_entropy(softmax(s[t]), y[t])
train {train}
"""

RNN = """
h[t] = tanh(weight_ih @ onehot(x[t]) + bias_ih + weight_hh @ h[t-1] + bias_hh)      where h[-1] = 0
"""

LSTM = """
a[t] = weight_ih @ onehot(x[t]) + bias_ih + weight_hh @ h[t-1] + bias_hh
i[t] = sigmoid(a[t, 0:H])
f[t] = sigmoid(a[t, H:2*H])
g[t] = tanh(a[t, 2*H:3*H])
o[t] = sigmoid(a[t, 3*H:4*H])
c[t] = f[t] * c[t-1] + i[t] * g[t]          where c[-1] = 0
h[t] = o[t] * tanh(c[t])                    where h[-1] = 0
"""

GRU = """
u[t] = weight_ih @ onehot(x[t]) + bias_ih
w[t] = weight_hh @ h[t-1] + bias_hh
r[t] = sigmoid(u[t, 0:H] + w[t, 0:H])
z[t] = sigmoid(u[t, H:2*H] + w[t, H:2*H])
n[t] = tanh(u[t, 2*H:3*H] + r[t] * w[t, 2*H:3*H])
h[t] = (1 - z[t]) * n[t] + z[t] * h[t-1]    where h[-1] = 0
"""


def model(name: str, cell: str, hidden: int, gates: int) -> str:
    head = HEAD.replace("{name}", name).replace("{hidden}", str(hidden))
    return head.replace("[G", "[H" if gates == 1 else f"[{gates}*H") + cell + FOOT


def characters(batch: int, steps: int = STEPS) -> Callable[[], Arrays]:
    """Random characters."""
    def data() -> Arrays:
        text = np.random.default_rng(0).integers(0, V, (batch, steps + 1))
        return {"x": text[:, :-1].copy(), "y": text[:, 1:].copy()}
    return data


def torch_module(kind: str) -> Callable[[Arrays, dict[str, Any]], TorchLoss]:
    """nn.RNN, nn.LSTM or nn.GRU with a linear layer on top."""
    def build(params: Arrays, data: dict[str, Any]) -> TorchLoss:
        import torch
        from torch.nn import functional as F
        cell = getattr(torch.nn, kind)(V, params["W_y"].shape[1], batch_first=True)
        p = {k: torch.tensor(v, requires_grad=True) for k, v in params.items() if k.endswith("_y")}
        with torch.no_grad():
            for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                p[k] = getattr(cell, f"{k}_l0")
                p[k].copy_(torch.tensor(params[k]))

        def loss() -> Any:
            h, _ = cell(F.one_hot(data["x"], V).float())
            return F.cross_entropy(F.linear(h, p["W_y"], p["b_y"]).flatten(0, 1), data["y"].flatten())
        return p, loss
    return build


def jax_cell(kind: str) -> Callable[[], JaxLoss]:
    """A scan over the time axis; the input's product is a lookup of rows before it."""
    def build() -> JaxLoss:
        import jax
        import jax.numpy as jnp
        sigmoid = jax.nn.sigmoid

        def rnn(p: Any, h: Any, u: Any) -> Any:
            h = jnp.tanh(u + h @ p["weight_hh"].T + p["bias_hh"])
            return h, h

        def lstm(p: Any, state: Any, u: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(u + h @ p["weight_hh"].T + p["bias_hh"], 4, axis=-1)
            c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
            h = sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        def gru(p: Any, h: Any, u: Any) -> Any:
            ur, uz, un = jnp.split(u, 3, axis=-1)
            wr, wz, wn = jnp.split(h @ p["weight_hh"].T + p["bias_hh"], 3, axis=-1)
            z = sigmoid(uz + wz)
            h = (1 - z) * jnp.tanh(un + sigmoid(ur + wr) * wn) + z * h
            return h, h
        cell = {"RNN": rnn, "LSTM": lstm, "GRU": gru}[kind]

        def loss(p: dict[str, Any], data: dict[str, Any]) -> Any:
            u = p["weight_ih"].T[data["x"].T] + p["bias_ih"]
            zero = jnp.zeros((u.shape[1], p["W_y"].shape[1]))
            _, h = jax.lax.scan(lambda s, u: cell(p, s, u), (zero, zero) if kind == "LSTM" else zero, u)
            score = jax.nn.log_softmax(h @ p["W_y"].T + p["b_y"])
            return -jnp.take_along_axis(score, data["y"].T[..., None], -1).mean()
        return loss
    return build


def row(name: str, kind: str, cell: str, hidden: int, gates: int, batch: int, steps: int, target: float) -> Work:
    return Work(f"{kind} H {hidden}, T {steps}, batch {batch}, V 65", model(name, cell, hidden, gates), characters(batch, steps),
                torch_module(kind), jax_cell(kind), optimisers=("sgd",), rates=(0.1, 0.001), target=target)


ROWS = {"rnn": row("rnn", "RNN", RNN, 128, 1, 32, STEPS, 0.8),
        "lstm": row("lstm", "LSTM", LSTM, 256, 4, 32, STEPS, 0.95),
        "gru": row("gru", "GRU", GRU, 256, 3, 32, STEPS, 0.5),
        "lstm_one": row("lstm_one", "LSTM", LSTM, 64, 4, 1, 32, 0.5)}
