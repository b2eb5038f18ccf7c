"""Our side of a training step on a GPU: verified against the NumPy module, captured as a graph, and what the device reaches."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tests.bench.gpu_peers import Side
from tests.bench.limits import operations
from tests.bench.work import Arrays, Work

SIDE, COPIED = 8192, 1 << 28                             # rows of the product, floats of the copy that are timed
STEPS, SHORT = 3, 64                                     # steps that are compared; as many time steps as NumPy takes seconds for
VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {}, "ours, step by step": {"persistent": False}, "ours, tf32": {"products": "tf32"}}
FINER = {"float32": 2e-3, "tf32": 2e-2}                  # of a result's size


class Wrong(AssertionError):
    """What a side computes is not what NumPy computes."""


@dataclass
class Ours:
    """A row's module, what a step of it needs, and what is known of it."""

    device: Any
    side: Side
    said: dict[str, Any]


def ready(device: str) -> dict[str, str]:
    """CuPy, or on the CPU the stand-in for it in the tests; versions."""
    if device == "cpu":
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backends"))
        from gpu import standin  # type: ignore[import-not-found]
        sys.modules["cupy"] = standin.cupy()
        return {"device": "no GPU: CuPy's stand-in on the CPU"}
    import chainrule as cr
    module = cr.compile(cr.parse("model m(D = 2)\ninput x[D]\nparam w[D] = 1\nloss = sum(w * x)"), backend="cupy").module
    runtime = module.cp.cuda.runtime                     # NoDevice, where there is none
    return {"device": runtime.getDeviceProperties(0)["name"].decode(), "CUDA of the driver": version(runtime.driverGetVersion()),
            "CUDA of CuPy": version(runtime.runtimeGetVersion()), "cupy": module.cp.__version__, "numpy": np.__version__}


def version(number: int) -> str:
    """CUDA's numbers as they are written."""
    return f"{number // 1000}.{number % 1000 // 10}"


def loaded(program: Any, device: str) -> Any:
    """The module of a program, on the CPU with the stand-in's libraries."""
    module = program.module
    if device == "cpu":
        from gpu import standin
        module.ctypes = standin.Ctypes()
    return module


def built(work: Work, optimiser: str, params: Arrays, device: str, **options: Any) -> Ours:
    """The row, verified; the first step compiles and makes buffers, the second is captured."""
    import chainrule as cr
    start = perf_counter()
    system, data = cr.parse(work.text(optimiser)), work.data()
    module, numpy = loaded(cr.compile(system, backend="cupy", **options), device), cr.compile(system)
    model = numpy.compiled.model or numpy.compiled.source
    short = {k: v[:, :SHORT] if len(model.inputs[k].axes) > 1 else v for k, v in data.items()}
    printed = perf_counter()
    verified(module, numpy.module, params, short, FINER[options.get("products", "float32")])
    there, given = module.to_device(params), module.to_device(data)
    state = module.init_state(there)
    held, slots = (sum(v.nbytes for v in x) for x in (params.values(), (
        a for k, a in numpy.module.init_state(params).items() if k.partition(".")[2] in params)))
    said = {"printed": printed - start, "verified": perf_counter() - printed, "operations": operations(numpy.compiled, data),
            "bytes": sum(v.nbytes for v in data.values()) + 4 * held + 2 * slots}
    side = (lambda: module.train_step(there, state, **given), lambda: module.to_host(there),
            module.cp.cuda.Device().synchronize)
    return Ours(module, side, said | {"state": state})


def not_captured(ours: Ours) -> str:
    """Why the steps are no graph; empty where they are one."""
    step = ours.said["state"].workspace.views["steps"][0]
    return "" if step.graph is not None else step.reason or "there were fewer than two steps"


def verified(device: Any, numpy: Any, params: Arrays, data: Arrays, finer: float = FINER["float32"]) -> float:
    """The first loss, where our module agrees with NumPy's. Wrong says in what it does not."""
    there, here = device.to_device(params), {k: v.copy() for k, v in params.items()}
    if hasattr(numpy, "loss_and_grads"):
        (loss, grads), (wanted, known) = (m.loss_and_grads(p, **data) for m, p in ((device, there), (numpy, here)))
        agree("the loss", device.to_host(loss), wanted, finer)
        for k, v in device.to_host(grads).items():
            agree(f"the gradient of {k}", v, known[k], finer)
    states, losses = (device.init_state(there), numpy.init_state(here)), []
    for k in range(STEPS):
        losses.append(float(numpy.train_step(here, states[1], **data)))
        agree(f"the loss of step {k}", device.to_host(device.train_step(there, states[0], **data)), losses[-1], finer)
    for k, v in device.to_host(there).items():
        agree(f"{k} after {STEPS} steps", v, here[k], finer)
    return losses[0]


def agree(what: str, found: Any, wanted: Any, finer: float) -> None:
    """Refuse numbers that differ by more than products of other orders do."""
    scale = max(float(np.abs(wanted).max()), 1e-6)
    off = float(np.abs(np.asarray(found, np.float64) - wanted).max()) / scale
    if not off < finer:
        raise Wrong(f"{what} is off by {off:.1e} of its size")


def timed(step: Callable[[], Any], wait: Callable[[], Any], n: int) -> float:
    """Seconds of a step, of n that are waited for at their end."""
    wait()
    start = perf_counter()
    for _ in range(n):
        step()
    wait()
    return (perf_counter() - start) / n


def reached(device: Any, side: int = SIDE, copied: int = COPIED) -> dict[str, float]:
    """What this device reaches: operations a second of a large float32 product, bytes a second of a large copy."""
    cp, rng = device.cp, np.random.default_rng(0)
    a, b = (device.to_device(rng.random((side, side), np.float32) - np.float32(0.5)) for _ in range(2))    # zeros are faster
    c, x, y = cp.empty((side, side), np.float32), cp.empty(copied, np.float32), cp.empty(copied, np.float32)
    x.fill(0.5)

    def copy() -> None:
        y[...] = x

    wait = cp.cuda.Device().synchronize
    product, moved = (min(timed(f, wait, 5) for _ in range(5)) for f in (lambda: device.gemm(a, b, c), copy))
    return {"operations": 2 * side**3 / product, "bytes": 2 * x.nbytes / moved}
