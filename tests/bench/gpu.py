"""A training step on a GPU: ours, captured as a graph, against PyTorch (eager, the same as one graph, compiled) and JAX.

    python -m tests.bench.gpu [ROW ...] [--minutes M] [--rounds N] [--seconds S] [--sides SIDE ...] [--json FILE]
    python -m tests.bench.gpu --trial               tiny rows on the CPU, ours on the stand-in for CuPy: no figure means anything
    python -m tests.bench.gpu --table FILE          the README's table of a measurement
    python -m tests.bench.gpu --calibrate           the rates that the choice of loops in one launch goes by, beside the source's

Verified first, row by row: the loss, the gradients and the parameters after three steps of ours are those of the NumPy module (of
sequences, on their first 64 steps); then every side computes the same loss and changes every parameter as the first, in three
steps on all of the row's data. These steps go by side, for in them libraries time the algorithms that they choose from. Then
rounds go from side to side, each round from another one; a turn launches steps one after the other and waits for the device once,
at its end: what a training loop sees that does not read every loss. All inputs stand on the device; products are float32, without
TF32. Printed: the median step of every side with its quartiles, the ratio of ours to the fastest peer by rounds, beside the ratio
that is aimed at, and two floors: the step's matrix operations over the rate that a large float32 product reaches in this run, and
the bytes that any step moves (inputs once; parameters, gradients and slots read and written) over the bandwidth that a large copy
reaches, which small arrays in the device's cache may exceed.

Every side is a process: one that fails, or does not answer within --patience seconds, says so, is begun anew for the next row,
and the others go on. Rows come in the order of what they tell; --minutes ends the run in time and names those that are left.
--json is written after every row; a second run with the same file on the same device measures the rows that are missing in it,
then those of which a side is missing that can run now, or rows that are named.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tests.bench.gpu_calibrate import calibrate
from tests.bench.gpu_ours import STEPS, VARIANTS
from tests.bench.gpu_peers import PEERS
from tests.bench.gpu_report import HEAD, lines, machine, table
from tests.bench.gpu_rows import BOTH, ORDER, ROWS, TRIAL, WORK
from tests.bench.gpu_sides import Failed, Remote
from tests.bench.sides import otherwise

SIDES = ("ours", *PEERS)
STEPWISE = "ours, step by step"                          # of rows in BOTH: whose loop over time no peer has in one launch
MARGIN = 20                                              # seconds that a row takes at least
Found = dict[str, Any]


def given(words: list[str] | None = None) -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("rows", nargs="*", choices=[*WORK, []], default=[], metavar="ROW", help=", ".join(ROWS))
    options.add_argument("--sides", nargs="+", choices=[*VARIANTS, *PEERS], metavar="SIDE",
                         help=", ".join([*VARIANTS, *PEERS]))
    options.add_argument("--minutes", type=float, default=60, help="when to stop")
    options.add_argument("--patience", type=float, default=150, help="seconds that a side may take to build its step")
    options.add_argument("--rounds", type=int, default=11)
    options.add_argument("--seconds", type=float, default=0.1, help="of one side's turn, about")
    options.add_argument("--json", type=Path, metavar="FILE")
    options.add_argument("--table", type=Path, metavar="FILE")
    options.add_argument("--trial", action="store_true")
    options.add_argument("--calibrate", action="store_true")
    return options.parse_args(words)


class Run:
    """A measurement: the sides' processes, the time that is left, what has been found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, tempfile.TemporaryDirectory()
        self.end = perf_counter() + 60 * options.minutes
        self.log = Path(self.folder.name, "errors").open("wb")
        device = "cpu" if options.trial else "cuda"
        self.names = options.rows or [*(TRIAL if options.trial else ORDER)]
        sides = dict.fromkeys(k for r in self.names for k in self.sides(r))
        self.remotes = {k: Remote(k, device, self.log) for k in sides}
        self.found: Found = {"machine": {}, "reached": {}, "rows": []}
        if options.json and options.json.is_file():
            self.found = json.loads(options.json.read_text(encoding="utf-8"))

    def sides(self, row: str) -> Sequence[str]:
        """Who measures a row, ours first."""
        return self.options.sides or (*SIDES, *([STEPWISE] if row in BOTH else []))

    def left(self) -> float:
        return self.end - perf_counter()

    def each(self, sides: Iterable[str], missing: dict[str, str], seconds: float, *, tell: Callable[[str], Found]) -> Found:
        """The answers of sides that are asked at the same time. Who fails is missing."""
        out, sides, deadline = {}, [*sides], perf_counter() + min(seconds, self.left())
        for name in sides:
            self.remotes[name].tell(**tell(name))
        for name in sides:
            try:
                out[name] = self.remotes[name].said(max(deadline - perf_counter(), 1))
            except Failed as e:
                missing[name] = str(e)
        return out

    def file(self, name: str) -> str:
        return str(Path(self.folder.name, f"{name}.npz"))

    def row(self, name: str) -> Found:
        """Everything about one row."""
        import chainrule as cr
        work, start, patience = WORK[name], perf_counter(), self.options.patience
        begun = cr.compile(cr.parse(work.text(work.optimisers[0]))).init(seed=1)
        params = {k: np.asarray(v, np.float32) for k, v in begun.items()}
        np.savez(self.file("params"), **params)              # type: ignore[arg-type]
        missing = {k: self.remotes[k].missing for k in self.sides(name) if self.remotes[k].missing}
        sides: Found = self.each((k for k in self.sides(name) if k not in missing), missing, patience,
                                 tell=lambda k: {"do": "prepare", "row": name, "params": self.file("params")})
        steps = 1 if work.noise else STEPS                       # in the first step, all are given our random numbers
        losses: Found = {}
        for side in sides:                                       # alone on the device: libraries time their algorithms now
            losses |= self.each([side], missing, patience, tell=lambda k: {"do": "check", "steps": steps, "file": self.file(k)})
        sides = {k: v | losses[k] for k, v in sides.items() if k in losses}
        for k, why in self.different([*sides], losses, params).items():
            del sides[k]
            missing[k] = why
        self.reach(sides)
        seconds = self.measured([*sides], missing)
        ours = [k for k in sides if k in VARIANTS and k not in missing]
        for k, why in self.each(ours, missing, patience, tell=lambda k: {"do": "captured"}).items():
            sides[k]["not captured"] = why
        return {"row": name, "title": work.title, "target": work.target, "missing": missing, "took": perf_counter() - start,
                "sides": {k: v | {"seconds": seconds[k]} for k, v in sides.items() if seconds.get(k)}}

    def different(self, names: list[str], losses: Found, params: dict[str, np.ndarray[Any, Any]]) -> dict[str, str]:
        """Sides that compute something else than the first one does."""
        out, first = {}, dict[str, Any]()
        for name in names:
            with np.load(self.file(name)) as f:
                change = {k: f[k] - params[k] for k in params}
            first = first or change
            wanted, loss = losses[names[0]]["losses"][0], losses[name]["losses"][0]
            if "tf32" in name:
                continue                                         # compared with NumPy alone
            other = [k for k in params if otherwise(params[k], change[k], first[k], "float32")]
            if not np.isclose(loss, wanted, rtol=1e-4):
                out[name] = f"its first loss is {loss:.6g}, that of {names[0]} is {wanted:.6g}"
            elif other:
                out[name] = f"it changes {other[0]} otherwise than {names[0]}"
        return out

    def begin(self) -> None:
        """Wait for all sides, and note the machine. SystemExit where the file is of another device."""
        for r in self.remotes.values():
            with suppress(Failed):
                r.greet(self.options.patience)
        here = {k: v for r in self.remotes.values() for k, v in r.about.items()}
        there = self.found["machine"].get("device")
        if there not in (None, device := here.get("device", there)):
            raise SystemExit(f"{self.options.json} holds figures of {there}, and this is {device}: name another file")
        self.found["machine"] |= machine() | here

    def reach(self, sides: Found) -> None:
        """What the device reaches: with the first row of ours."""
        ours = next((k for k in sides if k in VARIANTS and "tf32" not in k), None)
        if ours and not self.found["reached"]:
            self.found["reached"] = self.each([ours], {}, 60, tell=lambda k: {"do": "reached"}).get(ours, {})

    def measured(self, names: list[str], missing: dict[str, str]) -> dict[str, list[float]]:
        """Seconds of a step of each side, one of each round."""
        def turn(name: str, steps: int) -> float | None:
            if name not in missing:
                return self.each([name], missing, 60, tell=lambda k: {"do": "run", "steps": steps}).get(name)
            return None

        counts, found = {}, {name: list[float]() for name in names}
        for name in names:
            turn(name, 5)                                        # the last of what a first step does: compiling, buffers, graphs
            counts[name] = max(3, min(2000, int(self.options.seconds / (turn(name, 5) or 1))))
        for k in range(self.options.rounds):
            if k >= 3 and self.left() < 0:
                break
            names = [*names[1:], *names[:1]]                     # each round begins with another one
            for name in names:
                if (seconds := turn(name, counts[name])) is not None:
                    found[name].append(seconds)
        return {k: v for k, v in found.items() if k not in missing}

    def wanted(self, known: Found) -> list[str]:
        """Rows that were named; or those that are not known, then those that lack a side which can run."""
        def lacking(row: str) -> set[str]:
            return {k for k in self.sides(row) if not self.remotes[k].missing} - {*known.get(row, {"sides": {}})["sides"]}

        return self.names if self.options.rows else sorted(filter(lacking, self.names), key=known.__contains__)

    def rows(self) -> None:
        """Row after row, as long as there is time."""
        if self.left() > MARGIN:
            self.begin()
        known = {r["row"]: r for r in self.found["rows"]}
        wanted = self.wanted(known)
        for k, name in enumerate(wanted):
            if self.left() < MARGIN:
                print(f"not measured, for the time is over: {', '.join(wanted[k:])}")
                break
            found = self.row(name)
            print("\n".join(lines(found, self.found["reached"])), flush=True)
            if (ours := self.sides(name)[0]) in VARIANTS and (why := self.remotes[ours].missing):
                print(f"nothing of ours can be measured: {why}")
                break
            if {*known.get(name, found)["sides"]} <= {*found["sides"]}:      # else time ran out in it
                known[name] = found
            self.found["rows"] = [known[r] for r in WORK if r in known]
            if self.options.json:
                self.options.json.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")

    def close(self) -> None:
        for r in self.remotes.values():
            r.stop()
        self.log.close()
        self.folder.cleanup()


def main(words: list[str] | None = None) -> int:
    """Measure, or print the table of a measurement; 1 where something of ours is missing."""
    options = given(words)
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8")) if options.table.is_file() else {"rows": []}), end="")
        return 0
    if options.calibrate:
        calibrate("cpu" if options.trial else "cuda")
        return 0
    run = Run(options)
    try:
        print(HEAD, flush=True)
        run.rows()
    finally:
        run.close()
    return int(not run.found["rows"] or any(k in r["missing"] for r in run.found["rows"] for k in VARIANTS))


if __name__ == "__main__":
    raise SystemExit(main())
