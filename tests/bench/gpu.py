"""A training step on a GPU: ours, captured as a graph, against PyTorch (eager, and compiled with CUDA graphs) and JAX.

    python -m tests.bench.gpu [ROW ...] [--rounds N] [--seconds S] [--without SIDE ...] [--json FILE]

Verified first, row by row: the loss, the gradients and the parameters after three steps of ours are those of the NumPy module,
and the first loss of every peer is ours. Then rounds go from side to side in turn; a turn launches steps one after the other and
waits for the device once, at its end, so that a figure is what a training loop sees that does not read every loss. Printed: the
median step of every side with its quartiles, the ratio of ours to the fastest peer beside the ratio that is aimed at, and two
floors: the step's matrix operations over the rate that a large float32 product reaches here, and the bytes that any step moves
(inputs once; parameters, gradients and slots read and written) over the bandwidth that a large copy reaches. `--json` keeps all.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tests.bench import custom, energies, feedforward, images, recurrent
from tests.bench.gpu_peers import PEERS, Side, Unavailable
from tests.bench.limits import operations
from tests.bench.work import Arrays, Work

SIDE, COPIED = 8192, 1 << 28                                     # rows of the product, floats of the copy that are timed
SIDES = ("ours", *PEERS)
HEAD = f"{'row':<18}{'side':<16}{'median':>12}{'quartiles':>24}"


def feed(name: str, classes: int, batch: int) -> Work:
    work = feedforward.ROWS[name]
    return replace(work, title=f"{name}, batch {batch}", data=feedforward.images(classes, batch), optimisers=("sgd",), target=0.7)


def cells() -> Iterable[tuple[str, Work]]:
    """LSTM and GRU by their sizes."""
    for kind, cell, gates in (("LSTM", recurrent.LSTM, 4), ("GRU", recurrent.GRU, 3)):
        for hidden in (256, 512, 1024):
            for steps in (64, 512):
                for batch in (32, 128):
                    name = f"{kind.lower()}_{hidden}_{steps}_{batch}"
                    yield name, recurrent.row(kind.lower(), kind, cell, hidden, gates, batch, steps, 0.9)


WORK: dict[str, Work] = {
    **{f"{name}_{batch}": feed(name, classes, batch) for name, classes in (("mlp", 10), ("autoencoder", 0))
       for batch in (128, 4096)},
    **dict(cells()), "custom": replace(custom.ROWS["custom"], target=0.3), "cnn": replace(images.ROWS["cnn"], target=1.0),
    "rbm": replace(energies.ROWS["rbm"], target=0.7)}


class Wrong(AssertionError):
    """What a side computes is not what NumPy computes."""


# ---------------------------------------------------------------- ours

def verified(device: Any, numpy: Any, params: Arrays, data: Arrays, steps: int = 3) -> float:
    """The first loss, where our module agrees with NumPy's. Wrong says in what it does not."""
    there, here = device.to_device(params), {k: v.copy() for k, v in params.items()}
    if hasattr(numpy, "loss_and_grads"):
        (loss, grads), (wanted, known) = (m.loss_and_grads(p, **data) for m, p in ((device, there), (numpy, here)))
        agree("the loss", device.to_host(loss), wanted)
        for k, v in device.to_host(grads).items():
            agree(f"the gradient of {k}", v, known[k])
    states = device.init_state(there), numpy.init_state(here)
    losses = []
    for k in range(steps):
        losses.append(float(numpy.train_step(here, states[1], **data)))
        agree(f"the loss of step {k}", device.to_host(device.train_step(there, states[0], **data)), losses[-1])
    for k, v in device.to_host(there).items():
        agree(f"{k} after {steps} steps", v, here[k])
    return losses[0]


def agree(what: str, found: Any, wanted: Any) -> None:
    """Refuse numbers that differ by more than float32 products of other orders do."""
    scale = max(float(np.abs(wanted).max()), 1e-6)
    off = float(np.abs(np.asarray(found, np.float64) - wanted).max()) / scale
    if not off < 2e-3:
        raise Wrong(f"{what} is off by {off:.1e} of its size")


def our_side(device: Any, params: Arrays, data: Arrays) -> Side:
    """A step that waits for nothing, and the wait. Steps are captured, or the reason is raised."""
    there, given = device.to_device(params), device.to_device(data)
    state = device.init_state(there)
    for _ in range(3):
        device.train_step(there, state, **given)
    if state.workspace.views["step"].graph is None:
        raise Unavailable(state.workspace.views["step"].reason)
    return lambda: device.train_step(there, state, **given), device.cp.cuda.Device().synchronize


# ---------------------------------------------------------------- times

def timed(step: Callable[[], Any], wait: Callable[[], None], n: int) -> float:
    """Seconds of a step, of n that are waited for at their end."""
    wait()
    start = perf_counter()
    for _ in range(n):
        step()
    wait()
    return (perf_counter() - start) / n


def measured(sides: dict[str, Side], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of a step of each side, one of each round."""
    counts = {}
    for name, (step, wait) in sides.items():
        timed(step, wait, 5)                                     # compiles, makes buffers
        counts[name] = max(3, int(seconds / timed(step, wait, 5)))
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, (step, wait) in sides.items():
            found[name].append(timed(step, wait, counts[name]))
    return found


def limits(device: Any) -> dict[str, float]:
    """What this device reaches: operations a second of a large float32 product, bytes a second of a large copy."""
    cp = device.cp
    a, b, c = (cp.zeros((SIDE, SIDE), np.float32) for _ in range(3))
    x, y = (cp.zeros(COPIED, np.float32) for _ in range(2))

    def copy() -> None:
        y[...] = x

    wait = cp.cuda.Device().synchronize
    product, moved = (min(timed(f, wait, 5) for _ in range(5)) for f in (lambda: device.gemm(a, b, c), copy))
    return {"operations": 2 * SIDE**3 / product, "bytes": 2 * x.nbytes / moved}


def floors(program: Any, params: Arrays, data: Arrays, reached: dict[str, float]) -> dict[str, float]:
    """Seconds that a step takes at least by its products, and by the bytes that it moves."""
    held, slots = (sum(v.nbytes for v in x) for x in (params.values(), (
        a for k, a in program.module.init_state(params).items() if k.partition(".")[2] in params)))
    moved = sum(v.nbytes for v in data.values()) + 4 * held + 2 * slots
    return {"operations": operations(program.compiled, data) / reached["operations"], "bytes": moved / reached["bytes"]}


def one_row(name: str, options: argparse.Namespace, reached: dict[str, float] | None) -> dict[str, Any]:
    """Everything about one row."""
    import chainrule as cr
    work = WORK[name]
    system, optimiser, data = cr.parse(work.text(work.optimisers[0])), work.optimisers[0], work.data()
    device, numpy = cr.compile(system, backend="cupy").module, cr.compile(system)
    params = {k: np.asarray(v, np.float32) for k, v in numpy.init(seed=1).items()}
    loss = verified(device, numpy.module, params, data)
    sides, missing = {"ours": our_side(device, params, data)}, {}
    for peer, build in PEERS.items():
        if peer in options.without:
            continue
        try:
            sides[peer] = build(work, optimiser, params, loss)
        except Unavailable as e:
            missing[peer] = str(e)
    reached = reached or limits(device)
    return {"row": name, "title": work.title, "target": work.target, "reached": reached, "missing": missing,
            "floor": floors(numpy, params, data, reached), "seconds": measured(sides, options.rounds, options.seconds)}


# ---------------------------------------------------------------- what is printed

def lines(found: dict[str, Any]) -> Iterable[str]:
    """A row of the table."""
    middle = {k: statistics.median(v) for k, v in found["seconds"].items()}
    for k, v in found["seconds"].items():
        low, _, high = statistics.quantiles(v, n=4) if len(v) > 1 else (v[0], v[0], v[0])
        yield f"{found['row']:<18}{k:<16}{1e6 * middle[k]:>9.1f} us{f'{1e6 * low:.1f} - {1e6 * high:.1f} us':>24}"
    for k, why in found["missing"].items():
        yield f"{'':<18}{k:<16}{'not measured: ' + why}"
    peers = [v for k, v in middle.items() if k != "ours"]
    ratio = f"{middle['ours'] / min(peers):.2f}" if peers else "not yet measured"
    floor = found["floor"]
    yield (f"{'':<18}ratio {ratio} (wanted: <= {found['target']}); floors: products {1e6 * floor['operations']:.1f} us, bytes "
           f"{1e6 * floor['bytes']:.1f} us")


def given() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("rows", nargs="*", choices=[*WORK, []], default=[], metavar="ROW", help=", ".join(WORK))
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--seconds", type=float, default=0.2, help="of one side's turn, about")
    options.add_argument("--without", nargs="+", choices=[*PEERS], default=[], metavar="SIDE", help=", ".join(PEERS))
    options.add_argument("--json", type=Path, metavar="FILE")
    return options.parse_args()


def main() -> None:
    """Verify and measure every row; what fails is said, and the other rows go on."""
    options, rows, reached = given(), [], None
    from chainrule.backends.gpu.program import NoDevice
    print(HEAD)
    for name in options.rows or WORK:
        try:
            found = one_row(name, options, reached)
        except NoDevice as e:
            raise SystemExit(f"not measured: {e}") from None
        except (Wrong, Unavailable, RuntimeError) as e:
            print(f"{name:<18}not measured: {e}", flush=True)
            continue
        reached = found["reached"]
        print("\n".join(lines(found)), flush=True)
        rows.append(found)
        if options.json:
            options.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
