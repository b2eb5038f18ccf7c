"""The peers of a training step on a GPU: PyTorch as its users write it, the same as one CUDA graph, compiled, and JAX.

Each gives a step that waits for nothing, and returns its loss; the parameters by our names, as NumPy's arrays; and the wait.
`device` is "cuda", or "cpu" for a trial. Products are float32 everywhere: TF32 is off.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.bench.work import Arrays, Work
from tests.bench.worker import ours, torch_noise

Side = tuple[Callable[[], Any], Callable[[], Arrays], Callable[[], None]]


class Unavailable(RuntimeError):
    """Why a side cannot be measured here."""


def torch_ready(device: str) -> dict[str, str]:
    """PyTorch, products in float32, cuDNN's algorithms by measurement; versions."""
    try:
        import torch
    except ImportError:
        raise Unavailable("torch is not installed") from None
    if device == "cuda" and not torch.cuda.is_available():
        raise Unavailable("torch finds no GPU")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return {"torch": torch.__version__, "cuDNN of torch": str(torch.backends.cudnn.version())}


def torch_side(work: Work, optimiser: str, params: Arrays, device: str, compiled: bool = False) -> Side:
    """New tensors stand on the device while the loss is built; its steps name theirs, for a default device slows every call."""
    import torch
    if work.torch is None or (compiled and not work.compiled):
        raise Unavailable("there is no such row")
    if compiled:
        torch.compiler.reset()                                   # after some rows the compiler would give up on their one text
    with torch.device(device):
        data = {k: torch.tensor(v) for k, v in work.data().items()}
        p, loss_of = work.torch(params, {**data, "noise": torch_noise(work, device)})
        rule = torch.optim.SGD if optimiser == "sgd" else torch.optim.Adam
        update = rule(list(p.values()), lr=work.rate(optimiser), fused=True)
    forward = torch.compile(loss_of, mode="reduce-overhead") if compiled else loss_of

    def step() -> Any:
        if compiled:
            torch.compiler.cudagraph_mark_step_begin()
        update.zero_grad(set_to_none=True)
        value = forward()
        value.backward()
        update.step()
        return value.detach()

    return (step, lambda: {k: v.detach().cpu().numpy() for k, v in p.items()},
            torch.cuda.synchronize if device == "cuda" else lambda: None)


def torch_graph(work: Work, optimiser: str, params: Arrays, device: str) -> Side:
    """The whole eager step as one CUDA graph, as PyTorch's manual has it: the first in another stream, the second recorded."""
    import torch
    eager, weights, wait = torch_side(work, optimiser, params, device)
    if device != "cuda":
        return eager, weights, wait
    graph, losses, stream = torch.cuda.CUDAGraph(), list[Any](), torch.cuda.Stream()

    def first() -> Any:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            losses.append(eager())
        torch.cuda.current_stream().wait_stream(stream)
        return losses[0]

    def step() -> Any:
        if not losses:
            return first()
        if len(losses) == 1:
            with torch.cuda.graph(graph):
                losses.append(eager())
        graph.replay()
        return losses[1]

    return step, weights, wait


def jax_ready(device: str) -> dict[str, str]:
    """JAX, products in float32; memory is taken as it is needed, for others use the device, too."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        import jax
        import jaxlib
    except ImportError:
        raise Unavailable("jax is not installed") from None
    if device == "cuda" and jax.default_backend() != "gpu":
        raise Unavailable("jax finds no GPU")
    jax.config.update("jax_default_matmul_precision", "highest")
    return {"jax": jax.__version__, "jaxlib": jaxlib.__version__}


def jax_side(work: Work, optimiser: str, params: Arrays, device: str) -> Side:
    """The whole step in one function, the number of the step on the device, too."""
    import jax
    import jax.numpy as jnp
    if optimiser != "sgd":
        raise Unavailable(f"its side here has no {optimiser}")
    jax.clear_caches()
    objective, lr = work.jax(), work.rate(optimiser)
    data = {k: jnp.asarray(v) for k, v in work.data().items()}

    def drawn(n: Any) -> Any:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0, impl="unsafe_rbg"), n), max(len(work.noise), 1))
        return {k: jax.random.uniform(key, shape) for key, (k, shape) in zip(keys, work.noise.items(), strict=False)}

    def update(p: Any, n: Any, data: Any, given: Any) -> Any:
        value, g = jax.value_and_grad(objective)(p, {**data, **(given or drawn(n))})
        return value, {k: p[k] - lr * g[k] for k in p}, n + 1

    jitted, now = jax.jit(update, donate_argnums=(0, 1)), [{k: jnp.array(v) for k, v in params.items()}, jnp.int32(0)]
    first = [{k: jnp.asarray(u) for k, u in ours(work).items()}]

    def step() -> Any:
        value, *now[:] = jitted(*now, data, first.pop() if first else {})
        return value

    return step, lambda: {k: np.asarray(v) for k, v in now[0].items()}, lambda: jax.block_until_ready(now)


Ready = Callable[[str], dict[str, str]]
Build = Callable[[Work, str, Arrays, str], Side]
PEERS: dict[str, tuple[Ready, Build]] = {
    "torch": (torch_ready, torch_side), "torch.graph": (torch_ready, torch_graph),
    "torch.compile": (torch_ready, partial(torch_side, compiled=True)),
    "jax": (jax_ready, jax_side)}
