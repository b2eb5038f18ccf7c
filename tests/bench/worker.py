"""One side of a measurement, in a process of its own: reads commands, runs steps, prints times.

python -m tests.bench.worker SIDE ROW OPTIMISER PARAMS.npz; says "ready" with its version, then on standard input
    check        one step from the given parameters: the loss; the parameters after it, or the gradients of a row without
                 updates, go to PARAMS.SIDE.npz
    run N        N steps; the seconds of each
    memory       the most bytes that the process held since it was ready, beyond what it held then; null where Linux does not tell
    plan         ours: the bytes of the workspace after a step
    profile N    native, instead of all others: the seconds of each part of N steps
An answer {"error": ...} ends it. The side "products" multiplies large matrices, for the rate that the machine reaches.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tests.bench.limits import SIDE
from tests.bench.models import WORK
from tests.bench.profile import instrumented, read_profile
from tests.bench.work import GRADIENT, Arrays, Work

Step = Callable[[], float]
Weights = Callable[[], dict[str, np.ndarray]]
Said = dict[str, Any]                                    # what a side adds to "ready"
Built = tuple[Step, Weights, Said]


def our_side(backend: str, work: Work, optimiser: str, params: Arrays) -> Built:
    """The generated module. Native: how long compiling took, from nothing and from the cache."""
    import chainrule as cr
    start = perf_counter()
    program = cr.compile(cr.parse(work.text(optimiser)), backend=backend, dtype=work.dtype)
    module, said = program.module, {"derived": perf_counter() - start}
    if backend == "native":
        with tempfile.TemporaryDirectory() as os.environ["CHAINRULE_CACHE"]:
            for name in ("compiled", "loaded"):
                start = perf_counter()
                program.build()
                said[name] = perf_counter() - start
                module.LIBRARY.loaded.clear()
            program.build()
    return (*our_steps(module, work, optimiser, params), said)


def our_steps(module: Any, work: Work, optimiser: str, params: Arrays) -> tuple[Step, Weights]:
    """Steps of a module; of a row without updates, its gradients."""
    data, p = work.data(), {k: v.copy() for k, v in params.items()}
    if optimiser == GRADIENT:
        workspace, last = module.Workspace(), dict[str, np.ndarray]()

        def gradient() -> float:
            loss, grads = module.loss_and_grads(p, workspace=workspace, **data)
            last.update(grads)
            return float(loss)
        return gradient, lambda: last
    state = module.init_state(p)
    PLANS.append(state.workspace)
    return lambda: module.train_step(p, state, **data), lambda: p


PLANS: list[Any] = []                                    # our workspace


def planned() -> int | None:
    """The bytes of our workspace: its slots, and the arrays of the gradients."""
    return sum(a.nbytes for kept in PLANS for a in (*(a for part in kept.memory.values() for a in part),
                                                    *kept.views.get("d", {}).values())) or None


def ours(work: Work) -> dict[str, np.ndarray]:
    """The uniform numbers of our first step."""
    from chainrule.compiler.random import draw
    return {k: draw("uniform", k, shape, dtype=np.float32) for k, shape in work.noise.items()}


def torch_noise(work: Work, device: str = "cpu") -> Callable[[], dict[str, Any]]:
    """Ours in the first step, which is checked; then its own."""
    import torch
    first = [{k: torch.tensor(u) for k, u in ours(work).items()}]
    return lambda: first.pop() if first else {k: torch.rand(shape, device=device) for k, shape in work.noise.items()}


def torch_side(work: Work, optimiser: str, params: Arrays, compiled: bool = False) -> Built:
    import torch
    torch.set_num_threads(work.threads)
    assert work.torch is not None
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

    return step, lambda: {k: v.detach().numpy() for k, v in p.items()}, {}


def jax_side(work: Work, optimiser: str, params: Arrays) -> Built:
    import jax
    import jax.numpy as jnp
    objective, lr = work.jax(), work.rate(optimiser)
    data = {k: jnp.asarray(v) for k, v in work.data().items()}
    if optimiser == GRADIENT:
        return jax_gradient(objective, {k: jnp.asarray(v) for k, v in params.items()}, data)

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

    return step, lambda: {k: np.asarray(v) for k, v in now[0].items()}, {}


def jax_gradient(objective: Any, p: Any, data: Any) -> Built:
    """The loss and its gradients, and no update. The data is an argument, so that nothing is computed beforehand."""
    import jax
    compiled, last = jax.jit(jax.value_and_grad(objective)).lower(p, data).compile(), dict[str, Any]()

    def step() -> float:
        loss, grads = jax.block_until_ready(compiled(p, data))
        last.update(grads)
        return float(loss)
    return step, lambda: {k: np.asarray(v) for k, v in last.items()}, {}


def products(work: Work, *_: Any) -> Built:
    """A product of large square matrices."""
    a, b = np.random.default_rng(0).random((2, SIDE[work.dtype], SIDE[work.dtype])).astype(work.dtype)
    out = np.empty_like(a)
    return lambda: float(np.matmul(a, b, out=out)[0, 0]), dict, {}


SIDES: dict[str, Callable[[Work, str, Arrays], Built]] = {
    "native": partial(our_side, "native"), "numpy": partial(our_side, "numpy"), "products": products,
    "torch": torch_side, "jax": jax_side, "torch.compile": partial(torch_side, compiled=True)}
PACKAGES = {"native": "numpy", "products": "numpy", "torch.compile": "torch"}


def profiled(work: Work, optimiser: str, params: Arrays, n: int) -> list[tuple[str, float]]:
    """The native side with clocks between the parts of its gradient: seconds a step by their equations."""
    import chainrule as cr
    module = cr.compile(cr.parse(work.text(optimiser)), backend="native", dtype=work.dtype).module
    module.LIBRARY.text, parts = instrumented(module.LIBRARY.text)
    module.processors = lambda: 1                                # one text has all clocks
    step, _ = our_steps(module, work, optimiser, params)
    return read_profile(module.LIBRARY, work.dtype, parts, step, n)


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


def timed(step: Step, n: int) -> list[float]:
    """The seconds of each of n steps."""
    times = []
    for _ in range(n):
        start = perf_counter()
        step()
        times.append(perf_counter() - start)
    return times


def serve(side: str, model: str, optimiser: str, path: str) -> None:
    """Answer commands until standard input ends."""
    work = WORK[model]
    if hasattr(os, "sched_setaffinity"):                         # JAX takes all cores that it sees
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:work.threads])
    with np.load(path) as f:
        params = {k: f[k] for k in f.files}
    step, weights, said = SIDES[side](work, optimiser, params)
    gc.collect()
    before = held("VmRSS") if forget_peak() else None
    say({"version": importlib.metadata.version(PACKAGES.get(side, side)), **said})
    for line in sys.stdin:
        command, *args = line.split()
        if command == "check":
            loss = float(step())
            np.savez(path.replace(".npz", f".{side}.npz"), **weights())
            say(loss)
        elif command == "memory":
            say(None if before is None else held("VmHWM") - before)
        elif command == "plan":
            say(planned())
        elif command == "profile":
            say(profiled(work, optimiser, params, int(args[0])))
        else:
            say(timed(step, int(args[0])))


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


def main(*arguments: str) -> None:
    """Serve; whatever goes wrong is an answer."""
    try:
        serve(*arguments)
    except Exception as e:                                       # a side may fail in any way, and the others go on
        say({"error": f"{type(e).__name__}: {str(e).strip().partition(chr(10))[0][:200]}"})
        raise SystemExit(1) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
