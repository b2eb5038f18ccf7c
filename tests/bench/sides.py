"""Sides of a measurement: worker processes that are asked in turn, checked against each other, and timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.bench.limits import operations
from tests.bench.models import WORK
from tests.bench.work import GRADIENT, Work

SETTLE = 0.3                                             # seconds: the threads of the side before spin on after its last product
TOLERANCE = {"float32": 1e-2, "float64": 1e-8}           # of a step's change, by its norm; rounding alone is a tenth of that


class Failed(RuntimeError):
    """A side that cannot run, or that computes something else."""


class Side:
    """A worker process."""

    def __init__(self, name: str, row: str, optimiser: str, path: str) -> None:
        n, work = str(WORK[row].threads), WORK[row]
        xla = f"--xla_cpu_multi_thread_eigen={str(work.threads > 1).lower()} intra_op_parallelism_threads={n}"
        env = {**os.environ, "OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n, "MKL_NUM_THREADS": n, "CHAINRULE_THREADS": n,
               "XLA_FLAGS": xla, "JAX_ENABLE_X64": str(int(work.dtype == "float64"))}
        self.name = name
        words = [sys.executable, "-m", "tests.bench.worker", name, row, optimiser, path]
        self.process = subprocess.Popen(words, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        self.times: list[list[float]] = []                       # by rounds
        self.peak: int | None = None
        self.plan: int | None = None
        self.said = self.read()

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "it ended"}
        if isinstance(answer, dict) and "error" in answer:
            self.process.wait()
            raise Failed(f"{self.name}: {answer['error']}")
        return answer

    def ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.read()

    def run(self, n: int) -> list[float]:
        return list(self.ask(f"run {n}"))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@dataclass
class Measured:
    """All sides of one row, and the large products beside them; `failed`: sides that are not there, and why."""

    row: str
    optimiser: str
    sides: list[Side]
    products: Side
    failed: dict[str, str]
    operations: int
    profile: list[tuple[str, float]]


def measure(row: str, optimiser: str, names: list[str], rounds: int, seconds: float) -> Measured:
    """All sides on one row, checked and timed: `rounds` turns of about so many seconds each."""
    work, failed = WORK[row], dict[str, str]()
    with tempfile.TemporaryDirectory() as folder:
        path, count = prepared(row, optimiser, folder)
        sides = [s for name in names if (s := started(name, row, optimiser, path, failed))]
        if not sides:
            raise SystemExit(f"{row}: no side can run: {'; '.join(failed.values())}")
        check(sides, path, work, optimiser)
        meter = Side("products", row, optimiser, path)
        turns = [(s, turn(s, seconds)) for s in sides] + [(meter, turn(meter, seconds / 4))]
        for _ in range(rounds):
            for s, n in turns:
                time.sleep(SETTLE)
                s.times.append(s.run(n))
        for s in sides:
            s.peak, s.plan = s.ask("memory"), s.ask("plan")
        parts = profile(sides, failed)
        for s, _ in turns:
            s.close()
    return Measured(row, optimiser, sides, meter, failed, count, parts)


def prepared(row: str, optimiser: str, folder: str) -> tuple[str, int]:
    """The file of the parameters from which all sides start, and the operations of a step's matrix products."""
    import chainrule as cr
    work = WORK[row]
    program = cr.compile(cr.parse(work.text(optimiser)), dtype=work.dtype)
    path = str(Path(folder) / "params.npz")
    np.savez(path, **{k: v.astype(work.dtype) for k, v in program.init(seed=1).items()})
    return path, operations(program.compiled, work.data())


def started(name: str, row: str, optimiser: str, path: str, failed: dict[str, str]) -> Side | None:
    """A side that has made its first step, which is checked later; None where it cannot."""
    try:
        side = Side(name, row, optimiser, path)
        side.said["loss"] = side.ask("check")
    except Failed as e:
        failed[name] = str(e)
        return None
    return side


def turn(side: Side, seconds: float) -> int:
    """How many steps make a turn, after some to warm up."""
    side.run(3)
    return max(2, min(20, round(seconds / median(side.run(3)))))


def profile(sides: list[Side], failed: dict[str, str]) -> list[tuple[str, float]]:
    """Where the native side spends its time."""
    native = next((s for s in sides if s.name == "native"), None)
    try:
        return [] if native is None else [(name, s) for name, s in native.ask("profile 30")]
    except Failed as e:
        failed["profile"] = str(e)
        return []


def profile_of(row: str, optimiser: str, n: int) -> list[tuple[str, float]]:
    """The same of a row by itself."""
    with tempfile.TemporaryDirectory() as folder:
        optimiser = optimiser or WORK[row].optimisers[0]
        side = Side("native", row, optimiser, prepared(row, optimiser, folder)[0])
        found = side.ask(f"profile {n}")
        side.close()
    return [(name, seconds) for name, seconds in found]


def check(sides: list[Side], path: str, work: Work, optimiser: str) -> None:
    """The same loss and the same change of every parameter in one step (or gradient) as the first side, or no figure."""
    with np.load(path) as f:
        before = {k: f[k] * (optimiser != GRADIENT) for k in f.files}
    after = []
    for s in sides:
        with np.load(path.replace(".npz", f".{s.name}.npz")) as f:
            after.append({k: f[k] - before[k] for k in f.files})
    eps = float(np.finfo(work.dtype).eps)
    loss = sides[0].said["loss"]
    for s, found in zip(sides, after, strict=True):
        if not np.isclose(s.said["loss"], loss, rtol=100 * eps):
            raise SystemExit(f"{work.title}: {s.name} computes the loss {s.said['loss']}, {sides[0].name} {loss}")
        for k, change in after[0].items():
            if otherwise(before[k], found[k], change, work.dtype):
                raise SystemExit(f"{work.title}: {s.name} changes {k} otherwise than {sides[0].name}")


def otherwise(before: Any, found: Any, change: Any, dtype: str) -> bool:
    """Whether a parameter changes otherwise than it should, by more than rounding."""
    rounding = 4 * float(np.finfo(dtype).eps) * (np.linalg.norm(before) + np.sqrt(change.size) * 1e-3)
    return not np.linalg.norm(found - change) <= TOLERANCE[dtype] * np.linalg.norm(change) + rounding
