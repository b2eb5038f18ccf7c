"""What was measured: lines while it runs, JSON with every sample, and the README's table, which is made of the JSON."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from tests.bench.limits import rate
from tests.bench.models import WORK
from tests.bench.sides import Measured, Side
from tests.bench.work import GRADIENT

OURS = ("native", "numpy")
LABELS = {"native": "native", "numpy": "NumPy", "torch": "PyTorch", "torch.compile": "torch.compile", "jax": "JAX"}
Row = dict[str, Any]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    import chainrule
    from chainrule.backends.native.build import NoCompiler, compiler_command
    try:
        compiler = subprocess.run([*compiler_command(), "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    except NoCompiler as e:
        compiler = str(e)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]        # type: ignore[call-overload, index]
    return {"cpu": processor(), "cores": cores, "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(), "blas": f"{blas['name']} {blas['version']}", "compiler": compiler,
            "versions": {p: v for p in ("numpy", "torch", "jax", "jaxlib") if (v := version(p))},
            "chainrule": getattr(chainrule, "__version__", "")}


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def processor() -> str:
    """The model of the CPU, and its family's numbers, where the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    found = {k.strip(): v.strip() for k, _, v in (s.partition(":") for s in lines)}
    numbers = ", ".join(f"{k} {found[k]}" for k in ("cpu family", "model", "stepping") if k in found)
    return f"{found.get('model name', platform.processor())} ({numbers})"


def row_of(m: Measured) -> Row:
    """A measurement as JSON: seconds of every step by rounds, and what follows from them."""
    work, best = WORK[m.row], min(t for part in m.products.times for t in part)
    return {"row": m.row, "title": work.title, "optimiser": m.optimiser, "dtype": work.dtype, "threads": work.threads,
            "target": work.target, "operations": m.operations, "rate": rate(work.dtype, best),
            "sides": {s.name: side_of(s) for s in m.sides}, "failed": m.failed,
            "profile": [[name, round(seconds, 9)] for name, seconds in m.profile],
            "products": side_of(m.products)}


def side_of(s: Side) -> Row:
    low, _, high = quantiles([t for part in s.times for t in part])
    return {**s.said, "median": middle(s), "quartiles": [low, high], "peak": s.peak, "plan": s.plan,
            "times": [[float(f"{t:.4g}") for t in part] for part in s.times]}


def middle(s: Side) -> float:
    return median([t for part in s.times for t in part])


def fastest(row: Row) -> float | None:
    """The median of the fastest side that is not ours."""
    return min((s["median"] for name, s in row["sides"].items() if name not in OURS), default=None)


def ratio(row: Row, name: str) -> float | None:
    """A side of ours over the fastest of the others."""
    other, ours = fastest(row), row["sides"].get(name)
    return ours["median"] / other if other and ours else None


def of_limit(row: Row, name: str) -> float | None:
    """Which part of a side's time the step's matrix products would take at the machine's rate; None where they are no matter."""
    side = row["sides"].get(name)
    part = row["operations"] / row["rate"] / side["median"] if side else 0.0
    return part if part > 0.02 else None


HEAD = f"{'step':<26}{'side':<15}{'median ms':>10}{'quartiles':>18}{'ratio':>8}{'of limit':>9}{'peak MB':>9}{'plan':>7}"


def lines(row: Row) -> Iterable[str]:
    """One line for each side."""
    for name, s in row["sides"].items():
        found, part = ratio(row, name) if name in OURS else None, of_limit(row, name)
        low, high = (f"{1e3 * q:.2f}" for q in s["quartiles"])
        yield (f"{row['row'] + ' ' + row['optimiser']:<26}{name:<15}{1e3 * s['median']:>10.2f}{f'{low} - {high}':>18}"
               f"{'' if found is None else f'{found:.2f}':>8}{'' if part is None else f'{100 * part:.0f} %':>9}"
               f"{megabytes(s['peak']):>9}{megabytes(s['plan']):>7}")
    yield from (f"{row['row']}: not measured: {why}" for why in row["failed"].values())


def megabytes(n: int | None) -> str:
    return "" if n is None else f"{n / 1e6:.1f}"


def table(found: dict[str, Any]) -> str:
    """The Markdown of a whole measurement: the machine, the rows, the profiles of those that miss their target."""
    about, rows = found["machine"], found["rows"]
    versions = ", ".join(f"{LABELS.get(k, k)} {v}" for k, v in about["versions"].items())
    names = [n for n in LABELS if any(n in r["sides"] for r in rows)]
    out = [f"{about['cpu']}, {about['cores']} cores; Python {about['python']}, {versions},",
           f"{about['blas']}; {about['compiler']}.", "",
           f"| step | {' | '.join(LABELS[n] for n in names)} | ratio | target | of the limit | peak memory |",
           "|---" * (len(names) + 5) + "|"]
    out += [table_row(r, names) for r in rows]
    missed = [r for r in rows if r["profile"] and missing(r)]
    if missed:
        out += ["", "Where a target is missed, this is where a step's time goes; an equation stands for what goes with it, too.",
                "", "| step | parts of at least 4 % |", "|---|---|", *map(profile_row, missed)]
    return "\n".join(out) + "\n"


def table_row(row: Row, names: list[str]) -> str:
    def time_of(name: str) -> str:
        side = row["sides"].get(name)
        return f"{1e3 * side['median']:.{2 if side['median'] < 0.1 else 0}f} ms" if side else ""
    native, numpy = (f"{v:.2f}" if (v := ratio(row, n)) else "" for n in OURS)
    ratios = " ".join((native, f"(NumPy {numpy})" * bool(numpy))).strip()
    aim = "" if row["target"] is None else f"{row['target']}{' missed' if missing(row) else ''}"
    part = of_limit(row, "native")
    cells = [step_name(row), *map(time_of, names), ratios, aim, f"{100 * part:.0f} %" if part else "", peaks(row)]
    return "| " + " | ".join(cells) + " |"


def peaks(row: Row) -> str:
    """Peak memory beside that of the peers."""
    found = {LABELS[n]: s["peak"] for n, s in row["sides"].items() if n in ("native", "torch", "jax") and s["peak"] is not None}
    return ", ".join(f"{label} {bytes_ / 1e6:.0f}" for label, bytes_ in found.items()) + " MB" * bool(found)


def step_name(row: Row) -> str:
    label = {"sgd": "SGD", "adam": "Adam", GRADIENT: "gradient"}[row["optimiser"]]
    return f"{row['title']}, {label}"


def missing(row: Row) -> bool:
    """Whether a row misses its target."""
    found = ratio(row, "native")
    return row["target"] is not None and found is not None and round(found, 2) > row["target"]


def profile_row(row: Row) -> str:
    total = sum(s for _, s in row["profile"])
    parts = [f"{100 * s / total:.0f} % `{name if len(name) < 64 else name[:60] + '...'}`"
             for name, s in row["profile"] if s >= 0.04 * total]
    return f"| {step_name(row)} | {', '.join(parts)} |"
