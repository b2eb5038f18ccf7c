"""A training step of ours, native and NumPy, against PyTorch (eager, and compiled with --compiled) and JAX (jit).

    python -m tests.bench.steps [ROW ...] [--rounds N] [--seconds S] [--compiled] [--without SIDE ...] [--json FILE]
    python -m tests.bench.steps --table FILE

Every side runs in a process of its own with the row's number of threads, two for all but ADBench's; all do the same work from the
same parameters, and must reach the same loss and change every parameter in the same way before anything is timed. Rounds go from
side to side in turn, so that a busy machine is busy for all. Printed: the median step of every side, its quartiles, and the ratio
of ours to the fastest other. `--json` writes every sample, row by row; where rows are named, the others that stand in the file
stay. `--table` makes the README's table of it.

Of the limit: the part of a step that its matrix products would take at the rate which large products reach in the same run; see
`limits.py`. Peak memory: the most that a side's process held in memory (VmHWM) during all its steps, beyond what it held before
the first one, when its model was compiled and its parameters and data were there: activations, gradients, temporaries, moments
that are made in the first step (PyTorch's), compiling (JAX's in a row with noise), and what a library or its allocator keeps for
itself. `plan`, ours alone: what the memory plan and the gradients take; the rest of our peak is the linear algebra's own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

from tests.bench.models import WORK
from tests.bench.report import HEAD, LABELS, lines, machine, row_of, table
from tests.bench.sides import measure


def given() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("rows", nargs="*", choices=[*WORK, []], default=[], metavar="ROW", help=", ".join(WORK))
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--seconds", type=float, default=0.5, help="of one side's turn, about")
    options.add_argument("--compiled", action="store_true", help="torch.compile, too; compiling takes minutes for some rows")
    options.add_argument("--without", nargs="+", choices=[*LABELS], default=[], metavar="SIDE", help=", ".join(LABELS))
    options.add_argument("--json", type=Path, metavar="FILE")
    options.add_argument("--table", type=Path, metavar="FILE")
    return options.parse_args()


def sides(row: str, options: argparse.Namespace) -> list[str]:
    """Those that are wanted and installed."""
    wanted = [n for n in WORK[row].peers if n not in options.without and (options.compiled or n != "torch.compile")]
    return [n for n in wanted if n in ("native", "numpy") or importlib.util.find_spec(n.partition(".")[0])]


def kept(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Where rows are named: the others of a file that is already there."""
    if not options.rows or options.json is None or not options.json.is_file():
        return []
    return [r for r in json.loads(options.json.read_text(encoding="utf-8"))["rows"] if r["row"] not in options.rows]


def write(path: Path | None, rows: list[dict[str, Any]]) -> None:
    """What there is so far, in the order of the rows of the benchmark."""
    if path is not None:
        names = [*WORK]
        found = {"machine": machine(), "rows": sorted(rows, key=lambda r: names.index(r["row"]))}
        path.write_text(json.dumps(found, separators=(",", ":")).replace('{"row"', '\n{"row"') + "\n", encoding="utf-8")


def main() -> None:
    """Measure every row and print the lines, or print the table of a measurement."""
    options = given()
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))), end="")
        return
    for n in ("torch", "jax"):
        if importlib.util.find_spec(n) is None:
            print(f"{n} is not installed: not measured")
    print(HEAD)
    rows = kept(options)
    for row in options.rows or WORK:
        for optimiser in WORK[row].optimisers:
            found = row_of(measure(row, optimiser, sides(row, options), options.rounds, options.seconds))
            print("\n".join(lines(found)), flush=True)
            rows.append(found)
        write(options.json, rows)


if __name__ == "__main__":
    main()
