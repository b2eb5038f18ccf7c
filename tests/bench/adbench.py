"""The LSTM objective of ADBench (Srajer, Kukelova and Fitzgibbon 2018) and its gradient: float64, one thread, one sequence.

JAX's side is the benchmark's definition as a scan over the steps; PyTorch's users would write a loop of some fifteen calls a
layer and step, which is not measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.work import GRADIENT, Arrays, JaxLoss, Work

D = 14                                                   # bits of a character

HEAD = """
model adbench(D = 14)
input x[t, D] where x[T] = 0
param E0, E1 [D] = 1;  E2[D] = 0

fragment layer(x[t, D], h0, c0) -> h[t]:
    param W_f, W_g, W_o, W_a [D] ~ normal(0.5)
    param b_f, b_g, b_o, b_a [D] = 0
    f[t] = sigmoid(W_f * x[t] + b_f)
    g[t] = sigmoid(W_g * h[t-1] + b_g)
    o[t] = sigmoid(W_o * x[t] + b_o)
    a[t] = tanh(W_a * h[t-1] + b_a)
    c[t] = f[t] * c[t-1] + g[t] * a[t]              where c[-1] = c0
    h[t] = o[t] * tanh(c[t])                        where h[-1] = h0

"""

FOOT = """
y[t] = E1 * h{layers}[t] + E2
n[t] = y[t] - log(2 + sum(exp(y[t])))
loss = -sum[t] (x[t+1] @ n[t]) / ((T - 1) * D)
"""


def model(layers: int) -> str:
    """The text for so many layers: the example's, which has two."""
    calls = [f"input h0_{k}[D], c0_{k}[D]\n" for k in range(1, layers + 1)]
    calls += [f"h{k}[t] = layer({f'h{k - 1}[t]' if k > 1 else 'E0 * x[t]'}, h0_{k}, c0_{k})\n" for k in range(1, layers + 1)]
    return HEAD + "".join(calls) + FOOT.replace("{layers}", str(layers))


def data(layers: int, steps: int) -> Callable[[], Arrays]:
    """Random bits, and states before the start."""
    def make() -> Arrays:
        rng = np.random.default_rng(0)
        states = {f"{v}0_{k}": rng.random((1, D)) for k in range(1, layers + 1) for v in "hc"}
        return {"x": rng.integers(0, 2, (1, steps, D)).astype(np.float64), **states}
    return make


def jax_scan(layers: int) -> Callable[[], JaxLoss]:
    """The definition: one step through all layers, scanned over the characters."""
    def build() -> JaxLoss:
        import jax
        import jax.numpy as jnp
        sigmoid = jax.nn.sigmoid

        def step(p: dict[str, Any], state: Any, x: Any) -> Any:
            out, u = [], p["E0"] * x
            for k, (h, c) in enumerate(state, 1):
                w = {n: p[f"h{k}.{n}"] for n in ("W_f", "W_g", "W_o", "W_a", "b_f", "b_g", "b_o", "b_a")}
                forget, ingate = sigmoid(u * w["W_f"] + w["b_f"]), sigmoid(h * w["W_g"] + w["b_g"])
                outgate, change = sigmoid(u * w["W_o"] + w["b_o"]), jnp.tanh(h * w["W_a"] + w["b_a"])
                c = c * forget + ingate * change
                u = outgate * jnp.tanh(c)
                out.append((u, c))
            y = p["E1"] * u + p["E2"]
            return tuple(out), y - jnp.log(jnp.exp(y).sum() + 2)

        def loss(p: dict[str, Any], data: dict[str, Any]) -> Any:
            x = data["x"][0]
            state = tuple((data[f"h0_{k}"][0], data[f"c0_{k}"][0]) for k in range(1, layers + 1))
            _, n = jax.lax.scan(lambda s, u: step(p, s, u), state, x[:-1])
            return -(x[1:] * n).sum() / n.size
        return loss
    return build


def row(layers: int, steps: int) -> Work:
    return Work(f"ADBench LSTM, {layers} layers, {steps} steps, float64, one thread", model(layers), data(layers, steps), None,
                jax_scan(layers), optimisers=(GRADIENT,), dtype="float64", threads=1, target=0.6)


ROWS = {"adbench_l2_c1024": row(2, 1024), "adbench_l4_c4096": row(4, 4096)}
