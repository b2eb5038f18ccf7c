"""One side of a measurement, in a process of its own: reads commands, runs steps, prints times.

python -m tests.bench.worker PEER MODEL OPTIMISER PARAMS.npz; then on standard input
    check        one step from the given parameters: the loss, and the parameters after it go to PARAMS.PEER.npz
    run N        N steps; the seconds of each
    memory       the most bytes that the process held since it was ready, beyond what it held then; null where Linux does not tell
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tests.bench.models import WORK
from tests.bench.work import Arrays, Work

Step = Callable[[], float]
Weights = Callable[[], dict[str, np.ndarray]]


def chainrule_side(work: Work, optimiser: str, params: Arrays) -> tuple[Step, Weights]:
    import chainrule as cr
    program = cr.compile(cr.parse(work.text(optimiser)))
    p = {k: v.copy() for k, v in params.items()}
    state = program.init_state(p)
    data, step = work.data(), program.module.train_step
    return lambda: step(p, state, **data), lambda: p


def ours(work: Work) -> dict[str, np.ndarray]:
    """The uniform numbers of our first step."""
    from chainrule.compiler.random import draw
    return {k: draw("uniform", k, shape, dtype=np.float32) for k, shape in work.noise.items()}


def torch_noise(work: Work) -> Callable[[], dict[str, Any]]:
    """Ours in the first step, which is checked; then its own."""
    import torch
    first = [{k: torch.tensor(u) for k, u in ours(work).items()}]
    return lambda: first.pop() if first else {k: torch.rand(shape) for k, shape in work.noise.items()}


def torch_side(work: Work, optimiser: str, params: Arrays, compiled: bool = False) -> tuple[Step, Weights]:
    import torch
    torch.set_num_threads(2)
    p, loss_of = work.torch(params, {**{k: torch.tensor(v) for k, v in work.data().items()}, "noise": torch_noise(work)})
    rule = torch.optim.SGD if optimiser == "sgd" else torch.optim.Adam
    update = rule(list(p.values()), lr=work.rate(optimiser))
    forward = torch.compile(loss_of) if compiled else loss_of

    def step() -> float:
        loss = forward()
        update.zero_grad(set_to_none=True)
        loss.backward()
        update.step()
        return float(loss.detach())

    return step, lambda: {k: v.detach().numpy() for k, v in p.items()}


def jax_side(work: Work, optimiser: str, params: Arrays) -> tuple[Step, Weights]:
    import jax
    import jax.numpy as jnp
    objective, lr = work.jax(), work.rate(optimiser)
    data = {k: jnp.asarray(v) for k, v in work.data().items()}

    def update(p: Any, m: Any, v: Any, n: Any, u: Any) -> Any:
        if not isinstance(u, dict):                              # the number of a step, which draws its own
            keys = jax.random.split(jax.random.fold_in(jax.random.key(0, impl="unsafe_rbg"), u), len(work.noise))
            u = {k: jax.random.uniform(key, shape) for key, (k, shape) in zip(keys, work.noise.items(), strict=True)}
        loss, g = jax.value_and_grad(objective)(p, {**data, **u})
        if optimiser == "sgd":
            return loss, {k: p[k] - lr * g[k] for k in p}, m, v, n
        n = n + 1
        m = {k: 0.9 * m[k] + 0.1 * g[k] for k in p}
        v = {k: 0.999 * v[k] + 0.001 * g[k] ** 2 for k in p}
        p = {k: p[k] - lr * (m[k] / (1 - 0.9**n)) / (jnp.sqrt(v[k] / (1 - 0.999**n)) + 1e-8) for k in p}
        return loss, p, m, v, n

    jitted = jax.jit(update, donate_argnums=(0, 1, 2))
    zeros = {k: jnp.zeros_like(v) for k, v in params.items()}
    now = [{k: jnp.array(v) for k, v in params.items()}, zeros, {k: jnp.zeros_like(v) for k, v in params.items()}, jnp.float32(0)]
    compiled = jitted if work.noise else jitted.lower(*now, {}).compile()          # with noise, the first step is another

    first, steps = [{k: jnp.asarray(u) for k, u in ours(work).items()}], iter(range(10**9))

    def step() -> float:
        u = {} if not work.noise else first.pop() if first else np.int32(next(steps))
        loss, *now[:] = compiled(*now, u)
        return float(loss)

    return step, lambda: {k: np.asarray(v) for k, v in now[0].items()}


SIDES: dict[str, Callable[[Work, str, Arrays], tuple[Step, Weights]]] = {
    "chainrule": chainrule_side, "torch": torch_side, "jax": jax_side,
    "torch.compile": partial(torch_side, compiled=True)}


def forget_peak() -> bool:
    """Let the process's peak start from what it holds now; False where there is no such file, or it may not be written."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def held(what: str) -> int:
    """VmRSS, what the process holds in memory, or VmHWM, the most that it held, in bytes."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.partition(f"{what}:")[2].split()[0])


def main(peer: str, model: str, optimiser: str, path: str) -> None:
    """Answer commands until standard input ends."""
    with np.load(path) as f:
        params = {k: f[k] for k in f.files}
    step, weights = SIDES[peer](WORK[model], optimiser, params)
    gc.collect()
    before = held("VmRSS") if forget_peak() else None
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        command, *args = line.split()
        if command == "check":
            loss = float(step())
            np.savez(path.replace(".npz", f".{peer}.npz"), **weights())
            print(json.dumps(loss), flush=True)
        elif command == "memory":
            print(json.dumps(None if before is None else held("VmHWM") - before), flush=True)
        else:
            times = []
            for _ in range(int(args[0])):
                start = perf_counter()
                step()
                times.append(perf_counter() - start)
            print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
