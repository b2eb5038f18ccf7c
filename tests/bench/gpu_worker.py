"""One side of the measurement on a GPU, in a process of its own, so that what breaks one side breaks no other.

python -m tests.bench.gpu_worker SIDE DEVICE, where DEVICE is "cuda" or "cpu"; says what it is, then answers lines of JSON:
    {"do": "prepare", "row": ..., "params": FILE}    builds the row's step, which starts from the parameters
    {"do": "check", "steps": n, "file": FILE}        the losses of n steps; the parameters after them go to the file
    {"do": "run", "steps": n}                        seconds of a step, of n that are waited for at their end
    {"do": "captured"}, {"do": "reached"}            ours: why steps are no graph; operations and bytes a second
An answer {"error": ...} says why not. What libraries print goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Any, TextIO

import numpy as np

from tests.bench import gpu_ours
from tests.bench.gpu_peers import PEERS, Side
from tests.bench.gpu_rows import WORK


class Served:
    """A side, and the row that it has in hand."""

    def __init__(self, name: str, device: str) -> None:
        self.name, self.device = name, device
        self.side: Side | None = None
        self.ours: gpu_ours.Ours | None = None
        self.about = gpu_ours.ready(device) if name in gpu_ours.VARIANTS else PEERS[name][0](device)

    def prepare(self, row: str, params: str) -> dict[str, Any]:
        self.side = self.ours = None
        gc.collect()
        work = WORK[row]
        optimiser = work.optimisers[0]
        with np.load(params) as f:
            given = {k: f[k] for k in f.files}
        if self.name not in gpu_ours.VARIANTS:
            self.side = PEERS[self.name][1](work, optimiser, given, self.device)
            return {}
        self.ours = gpu_ours.built(work, optimiser, given, self.device, **gpu_ours.VARIANTS[self.name])
        self.side = self.ours.side
        return {k: v for k, v in self.ours.said.items() if k != "state"}

    def check(self, steps: int, file: str) -> dict[str, Any]:
        assert self.side is not None
        step, weights, wait = self.side
        losses = [float(step()) for _ in range(steps)]
        wait()
        np.savez(file, **weights())
        return {"losses": losses}

    def captured(self) -> str:
        assert self.ours is not None
        return gpu_ours.not_captured(self.ours)

    def run(self, steps: int) -> float:
        assert self.side is not None
        step, _, wait = self.side
        return gpu_ours.timed(step, wait, steps)

    def reached(self) -> dict[str, float]:
        assert self.ours is not None
        return gpu_ours.reached(self.ours.device, *((64, 1 << 12) if self.device == "cpu" else ()))


def serve(name: str, device: str, answers: TextIO) -> None:
    """Answer until standard input ends."""
    def say(what: Any) -> None:
        print(json.dumps(what), file=answers, flush=True)

    try:
        served = Served(name, device)
    except Exception as e:                               # whatever a library says when it cannot begin
        say({"error": reason(e)})
        return
    say(served.about)
    for line in sys.stdin:
        words = json.loads(line)
        try:
            say(getattr(served, words.pop("do"))(**words))
        except Exception as e:                           # a side may fail in any way, and the others go on
            say({"error": reason(e)})


def reason(e: Exception) -> str:
    """The first line of what went wrong."""
    text = str(e).strip().partition("\n")[0][:300]
    return text if type(e).__name__ in ("Unavailable", "NoDevice", "Wrong") else f"{type(e).__name__}: {text}"


def main(name: str, device: str) -> None:
    """Keep standard output for answers alone."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        serve(name, device, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
