"""A cell that no framework has: an LSTM with peepholes and layer-normalised gates (Gers and Schmidhuber 2000; Ba et al. 2016)."""

from __future__ import annotations

from typing import Any

from tests.bench.recurrent import characters
from tests.bench.work import Arrays, JaxLoss, TorchLoss, Work

TEXT = """
model custom(V = 65, H = 256)
input x[t] : class(V)
target y[t] : class(V)
param W_i, W_f, W_o, W_g [H, V] ~ xavier
param U_i, U_f, U_o, U_g [H, H] ~ xavier
param s_i, s_f, s_o, s_g [H] = 1
param b_i, b_f, b_o, b_g [H] = 0
param p_i, p_f, p_o [H] ~ normal(0.1)
param W_y[V, H] ~ xavier;  b_y[V] = 0
def unit(a, m, v) = (a - m) / sqrt(v + 1e-5)
a_i[t] = W_i @ onehot(x[t]) + U_i @ h[t-1]
a_f[t] = W_f @ onehot(x[t]) + U_f @ h[t-1]
a_o[t] = W_o @ onehot(x[t]) + U_o @ h[t-1]
a_g[t] = W_g @ onehot(x[t]) + U_g @ h[t-1]
i[t] = sigmoid(s_i * unit(a_i[t], mean(a_i[t]), var(a_i[t])) + b_i + p_i * c[t-1])
f[t] = sigmoid(s_f * unit(a_f[t], mean(a_f[t]), var(a_f[t])) + b_f + p_f * c[t-1])
g[t] = tanh(s_g * unit(a_g[t], mean(a_g[t]), var(a_g[t])) + b_g)
c[t] = f[t] * c[t-1] + i[t] * g[t]                                                  where c[-1] = 0
o[t] = sigmoid(s_o * unit(a_o[t], mean(a_o[t]), var(a_o[t])) + b_o + p_o * c[t])
h[t] = o[t] * tanh(c[t])                                                            where h[-1] = 0
s[t] = W_y @ h[t] + b_y
loss = mean[batch, t] cross_entropy(softmax(s[t]), y[t])
train {train}
"""

GATES = "ifog"


def torch_loop(params: Arrays, data: dict[str, Any]) -> TorchLoss:
    """A loop in Python; the four gates' products are one, the input's is a lookup before the loop."""
    import torch
    from torch.nn import functional as F
    p = {k: torch.tensor(v, requires_grad=True) for k, v in params.items()}
    H = params["b_i"].size

    def loss() -> Any:
        U = torch.cat([p[f"U_{k}"] for k in GATES])
        u = torch.cat([p[f"W_{k}"] for k in GATES]).T[data["x"].T]
        h = c = u.new_zeros(u.shape[1], H)
        out = []

        def unit(a: Any, k: str) -> Any:
            return F.layer_norm(a, (H,), p[f"s_{k}"], p[f"b_{k}"], 1e-5)
        for u_t in u.unbind(0):
            i, f, o, g = (u_t + h @ U.T).chunk(4, -1)
            i = torch.sigmoid(unit(i, "i") + p["p_i"] * c)
            f = torch.sigmoid(unit(f, "f") + p["p_f"] * c)
            c = f * c + i * torch.tanh(unit(g, "g"))
            h = torch.sigmoid(unit(o, "o") + p["p_o"] * c) * torch.tanh(c)
            out.append(h)
        s = F.linear(torch.stack(out, 1), p["W_y"], p["b_y"])
        return F.cross_entropy(s.flatten(0, 1), data["y"].flatten())
    return p, loss


def jax_scan() -> JaxLoss:
    """The same as a scan."""
    import jax
    import jax.numpy as jnp
    sigmoid = jax.nn.sigmoid

    def loss(p: dict[str, Any], data: dict[str, Any]) -> Any:
        U = jnp.concatenate([p[f"U_{k}"] for k in GATES])
        u = jnp.concatenate([p[f"W_{k}"] for k in GATES]).T[data["x"].T]

        def unit(a: Any, k: str) -> Any:
            return p[f"s_{k}"] * (a - a.mean(-1, keepdims=True)) / jnp.sqrt(a.var(-1, keepdims=True) + 1e-5) + p[f"b_{k}"]

        def cell(state: Any, u: Any) -> Any:
            h, c = state
            i, f, o, g = jnp.split(u + h @ U.T, 4, axis=-1)
            i = sigmoid(unit(i, "i") + p["p_i"] * c)
            f = sigmoid(unit(f, "f") + p["p_f"] * c)
            c = f * c + i * jnp.tanh(unit(g, "g"))
            h = sigmoid(unit(o, "o") + p["p_o"] * c) * jnp.tanh(c)
            return (h, c), h
        zero = jnp.zeros((u.shape[1], p["b_i"].size))
        _, h = jax.lax.scan(cell, (zero, zero), u)
        score = jax.nn.log_softmax(h @ p["W_y"].T + p["b_y"])
        return -jnp.take_along_axis(score, data["y"].T[..., None], -1).mean()
    return loss


TITLE = "LSTM with peepholes and layer normalisation, H 256, T 64, batch 32"
ROWS = {"custom": Work(TITLE, TEXT, characters(32), torch_loop, jax_scan, optimisers=("sgd",), rates=(0.1, 0.001), target=0.5)}
