"""The peers of a training step on a GPU: PyTorch as its users write it, compiled with CUDA graphs, and JAX.

Each is built with the loss that its first step must have, and gives a step that waits for nothing, and the wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.bench.work import Arrays, Work
from tests.bench.worker import ours, torch_noise

Side = tuple[Callable[[], Any], Callable[[], None]]


class Unavailable(RuntimeError):
    """Why a side cannot be measured here."""


def same(found: float, loss: float) -> None:
    """Refuse a first loss that is not ours."""
    if not abs(found - loss) <= 2e-3 * abs(loss):
        raise Unavailable(f"its first loss is {found:.6g}, ours is {loss:.6g}")


def torch_side(work: Work, optimiser: str, params: Arrays, loss: float, compiled: bool = False) -> Side:
    """PyTorch in float32, TF32 off as ours is; new tensors stand on the device."""
    try:
        import torch
    except ImportError:
        raise Unavailable("torch is not installed") from None
    if work.torch is None or not torch.cuda.is_available():
        raise Unavailable("torch finds no GPU" if work.torch else "there is no such row")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.set_default_device("cuda")
    p, loss_of = work.torch(params, {**{k: torch.tensor(v) for k, v in work.data().items()}, "noise": torch_noise(work)})
    rule = torch.optim.SGD if optimiser == "sgd" else torch.optim.Adam
    update = rule(list(p.values()), lr=work.rate(optimiser))
    same(float(loss_of().detach()), loss)                        # in a row with noise, this takes our numbers
    forward = torch.compile(loss_of, mode="reduce-overhead") if compiled else loss_of

    def step() -> Any:
        value = forward()
        update.zero_grad(set_to_none=True)
        value.backward()
        update.step()
        return value

    return step, torch.cuda.synchronize


def jax_side(work: Work, optimiser: str, params: Arrays, loss: float) -> Side:
    """JAX, the whole step in one function."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        raise Unavailable("jax is not installed") from None
    if jax.default_backend() != "gpu":
        raise Unavailable("jax finds no GPU")
    if optimiser != "sgd":
        raise Unavailable(f"its side here has no {optimiser}")
    jax.config.update("jax_default_matmul_precision", "highest")
    objective, lr = work.jax(), work.rate(optimiser)
    data = {k: jnp.asarray(v) for k, v in work.data().items()}
    same(float(objective({k: jnp.asarray(v) for k, v in params.items()}, {**data, **ours(work)})), loss)

    def update(p: Any, n: Any) -> Any:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0, impl="unsafe_rbg"), n), max(len(work.noise), 1))
        noise = {k: jax.random.uniform(key, shape) for key, (k, shape) in zip(keys, work.noise.items(), strict=False)}
        value, g = jax.value_and_grad(objective)(p, {**data, **noise})
        return value, {k: p[k] - lr * g[k] for k in p}

    jitted, now, count = jax.jit(update, donate_argnums=0), [{k: jnp.array(v) for k, v in params.items()}], [0]

    def step() -> Any:
        value, now[0] = jitted(now[0], np.int32(count[0]))
        count[0] += 1
        return value

    return step, lambda: jax.block_until_ready(now[0])


PEERS: dict[str, Callable[[Work, str, Arrays, float], Side]] = {
    "torch": torch_side, "torch.compile": partial(torch_side, compiled=True), "jax": jax_side}
