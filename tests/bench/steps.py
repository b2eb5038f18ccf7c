"""A training step against PyTorch (eager, and compiled with --compiled) and JAX (jit).

    python -m tests.bench.steps [ROW ...] [--rounds N] [--steps N] [--compiled]

Every side runs in a process of its own with two threads; all do the same work from the same parameters, and must reach the
same loss and the same parameters before anything is timed. Rounds go from side to side in turn, so that a busy
machine is busy for all. Printed: the median step of every side, its quartiles, and the ratio of ours to the fastest other.

Peak memory: the most that a side's process held in memory (VmHWM) during all its steps, beyond what it held before the first
one, when its model was compiled and its parameters and data were there: activations, gradients, temporaries, moments that are
made in the first step (PyTorch's), compiling (JAX's in a row with noise), and what a library or its allocator keeps for itself.
`plan`, ours alone: what the memory plan and the gradients take; the rest of our peak is the linear algebra's own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from tests.bench.models import WORK

PEERS = ("chainrule", "torch", "jax", "torch.compile")
SETTLE = 0.3                                             # seconds: the threads of the side before spin on after its last product


class Side:
    """A worker process."""

    def __init__(self, peer: str, model: str, optimiser: str, path: str) -> None:
        self.peer = peer
        env = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2",
               "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=true intra_op_parallelism_threads=2"}
        self.process = subprocess.Popen([sys.executable, "-m", "tests.bench.worker", peer, model, optimiser, path],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.times: list[float] = []
        self.peak: int | None = None
        self.read()

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.peer} failed")
        return json.loads(line)

    def ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(model: str, optimiser: str, peers: list[str], rounds: int, steps: int) -> list[Side]:
    """All sides on one row, checked and timed."""
    import chainrule as cr
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "params.npz")
        np.savez(path, **cr.compile(cr.parse(WORK[model].text(optimiser))).init(seed=1))
        sides = [Side(p, model, optimiser, path) for p in peers]
        check(sides, path)
        for s in sides:
            s.ask(f"run {steps}")                                # warm up
        for _ in range(rounds):
            for s in sides:
                time.sleep(SETTLE)
                s.times += s.ask(f"run {steps}")
        for s in sides:
            s.peak = s.ask("memory")
            s.close()
    return sides


def check(sides: list[Side], path: str) -> None:
    """The same loss and the same parameters after one step, or no figure."""
    losses = [s.ask("check") for s in sides]
    after = []
    for s in sides:
        with np.load(path.replace(".npz", f".{s.peer}.npz")) as f:
            after.append({k: f[k] for k in f.files})
    for s, loss, p in zip(sides, losses, after, strict=True):
        worst = max(float(np.abs(p[k] - after[0][k]).max()) for k in p)
        if not np.isclose(loss, losses[0], rtol=1e-4) or worst > 1e-3:
            raise SystemExit(f"{s.peer} computes something else: loss {loss} against {losses[0]}, parameters off by {worst:.1e}")


def main() -> None:
    """Measure every row and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("rows", nargs="*", choices=[*WORK, []], default=[*WORK], metavar="ROW", help=", ".join(WORK))
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--compiled", action="store_true", help="torch.compile, too; compiling takes minutes")
    given = options.parse_args()
    installed = [p for p in PEERS if p == "chainrule" or importlib.util.find_spec(p.partition(".")[0])]
    for p in PEERS:
        if p not in installed:
            print(f"{p} is not installed: not measured")
    print(f"{'step':<22}{'side':<15}{'median ms':>10}{'quartiles':>18}{'ratio':>8}{'peak MB':>9}{'plan':>7}")
    for row in given.rows:
        peers = [p for p in installed if p != "torch.compile" or (given.compiled and WORK[row].compiled)]
        for optimiser in WORK[row].optimisers:
            report(row, optimiser, measure(row, optimiser, peers, given.rounds, given.steps))


def report(row: str, optimiser: str, sides: list[Side]) -> None:
    """One line for each side."""
    medians = {s.peer: median(s.times) * 1e3 for s in sides}
    fastest = min((m for p, m in medians.items() if p != "chainrule"), default=None)
    for s in sides:
        low, _, high = (1e3 * q for q in quantiles(s.times))
        ours = s.peer == "chainrule"
        ratio = f"{medians['chainrule'] / fastest:.2f}" if ours and fastest else ""
        spread, peak = f"{low:.2f} - {high:.2f}", "-" if s.peak is None else f"{s.peak / 1e6:.1f}"
        plan = f"{planned(row, optimiser) / 1e6:.1f}" if ours else ""
        times = f"{medians[s.peer]:>10.2f}{spread:>18}{ratio:>8}"
        print(f"{f'{row} {optimiser}':<22}{s.peer:<15}{times}{peak:>9}{plan:>7}", flush=True)


def planned(row: str, optimiser: str) -> int:
    """The bytes of our workspace after a step: its slots, and the arrays of the gradients."""
    import chainrule as cr
    program = cr.compile(cr.parse(WORK[row].text(optimiser)))
    params = program.init()
    state = program.init_state(params)
    program.module.train_step(params, state, **WORK[row].data())
    kept = state.workspace
    return sum(a.nbytes for part in kept.memory.values() for a in part) + sum(a.nbytes for a in kept.views["d"].values())


if __name__ == "__main__":
    main()
