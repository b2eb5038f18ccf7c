"""A row with samples: one step of contrastive divergence of a restricted Boltzmann machine, written by hand for the peers.

All sides do the same: p(h | v), a sample of h, a sample of v, the free energies of data and sample (softplus), and the
difference of two products as the gradient. In the checked step the peers are given our uniform numbers; afterwards each draws
its own, in the way that is fastest for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.bench.work import Arrays, JaxLoss, TorchLoss, Work

B, D, H = 128, 784, 500

RBM = """
energy rbm(D = 784, H = 500)
visible v[D] : binary
hidden  h[H] : binary
param W[H, D] ~ normal(0.01);  b[D] = 0;  c[H] = 0
E = - h @ W @ v - b @ v - c @ h
train contrastive_divergence(k = 1), {train}
"""


def data() -> Arrays:
    """A binary batch with as many ones as MNIST has."""
    return {"v": (np.random.default_rng(0).random((B, D)) < 0.13).astype(np.float32)}


class ByHand:
    """A loss whose gradient is known: what `backward` would find."""

    def __init__(self, loss: Any, params: dict[str, Any], grads: dict[str, Any]) -> None:
        self.loss, self.params, self.grads = loss, params, grads

    def backward(self) -> None:
        for k, g in self.grads.items():
            self.params[k].grad = g

    def detach(self) -> Any:
        return self.loss


def torch_cd(params: Arrays, data: dict[str, Any]) -> TorchLoss:
    """Without autograd: the update is written out."""
    import torch
    from torch.nn import functional as F
    p = {k: torch.tensor(v, requires_grad=True) for k, v in params.items()}
    W, b, c = (p[k].detach() for k in ("W", "b", "c"))
    v = data["v"]

    def loss() -> Any:
        with torch.no_grad():
            noise = data["noise"]()
            a = torch.addmm(c, v, W.T)
            p_h = torch.sigmoid(a)
            h = (noise["h"] < p_h).float()
            v_model = (noise["v_model"] < torch.sigmoid(torch.addmm(b, h, W))).float()
            a_model = torch.addmm(c, v_model, W.T)
            p_model = torch.sigmoid(a_model)
            value = (F.softplus(a_model).sum() + (v_model @ b).sum() - F.softplus(a).sum() - (v @ b).sum()) / B
            d_W = torch.addmm(p_model.T @ v_model, p_h.T, v, alpha=-1)
            grads = {"W": d_W.div_(B), "b": (v_model.sum(0) - v.sum(0)) / B, "c": (p_model.sum(0) - p_h.sum(0)) / B}
        return ByHand(value, p, grads)
    return p, loss


def jax_cd() -> JaxLoss:
    """The difference of free energies: XLA finds the same two products."""
    import jax
    import jax.numpy as jnp

    def loss(p: dict[str, Any], data: dict[str, Any]) -> Any:
        v = data["v"]
        a = v @ p["W"].T + p["c"]
        h = (data["h"] < jax.nn.sigmoid(a)).astype(v.dtype)
        v_model = jax.lax.stop_gradient((data["v_model"] < jax.nn.sigmoid(h @ p["W"] + p["b"])).astype(v.dtype))

        def minus_free_energy(v: Any, a: Any) -> Any:
            return (v @ p["b"]).sum() + jnp.logaddexp(a, 0).sum()
        return (minus_free_energy(v_model, v_model @ p["W"].T + p["c"]) - minus_free_energy(v, a)) / B
    return loss


TITLE = "RBM 784-500, CD-1 with samples, batch 128"
NOISE = {"h": (B, H), "v_model": (B, D)}
ROWS = {"rbm": Work(TITLE, RBM, data, torch_cd, jax_cd, optimisers=("sgd",), rates=(0.1, 0.001), noise=NOISE, target=0.8)}
