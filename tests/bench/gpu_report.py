"""What was measured on a GPU: lines while it runs, and the README's table, which is made of the JSON."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterable
from statistics import median, quantiles
from typing import Any

from tests.bench.gpu_rows import GROUPS, WORK

HEAD = f"{'row':<18}{'side':<22}{'median':>13}{'quartiles':>26}"
OURS, NOT_YET = "ours", "not yet measured"
LABELS = {OURS: "chainrule", "torch": "PyTorch", "torch.graph": "the same, one graph", "torch.compile": "torch.compile",
          "jax": "JAX"}
Found = dict[str, Any]


def machine() -> dict[str, str]:
    """The driver, as its own program tells it, and Python."""
    about = {"python": platform.python_version()}
    if program := shutil.which("nvidia-smi"):
        command = [program, "--query-gpu=name,driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        except subprocess.TimeoutExpired:
            return about
        about["nvidia-smi"] = done.stdout.strip().partition("\n")[0]
    return about


def spread(values: list[float]) -> tuple[float, float, float]:
    """The lower quartile, the median, the upper quartile."""
    low, _, high = quantiles(values, n=4) if len(values) > 2 else (min(values), 0, max(values))
    return low, median(values), high


def middle(row: Found, side: str) -> float:
    return median(row["sides"][side]["seconds"])


def ratio(row: Found) -> tuple[float, float, float] | None:
    """Ours over the fastest peer, round by round."""
    peers = [k for k in row["sides"] if k in LABELS and k != OURS]
    if not peers or OURS not in row["sides"]:
        return None
    other = row["sides"][min(peers, key=lambda k: middle(row, k))]["seconds"]
    return spread([a / b for a, b in zip(row["sides"][OURS]["seconds"], other, strict=False)])


def floors(row: Found, reached: Found) -> tuple[float, float] | None:
    """Seconds that a step takes at least by its products, and by the bytes that it moves."""
    side = next((s for s in row["sides"].values() if "operations" in s), None)
    return (side["operations"] / reached["operations"], side["bytes"] / reached["bytes"]) if side and reached else None


def lines(row: Found, reached: Found) -> Iterable[str]:
    """What is printed of a row."""
    for k, side in row["sides"].items():
        low, half, high = (1e6 * s for s in spread(side["seconds"]))
        why = f"  not captured: {side['not captured']}" if side.get("not captured") else ""
        yield f"{row['row']:<18}{k:<22}{half:>10.1f} us{f'{low:.1f} - {high:.1f} us':>26}{why}"
    yield from (f"{row['row']:<18}{k:<22}not measured: {why}" for k, why in row["missing"].items())
    parts = []
    if found := ratio(row):
        parts.append(f"ratio {found[1]:.2f} ({found[0]:.2f} - {found[2]:.2f}), wanted: <= {row['target']}")
    if least := floors(row, reached):
        parts.append(f"floors: products {1e6 * least[0]:.1f} us, bytes {1e6 * least[1]:.1f} us")
    yield " " * 18 + "; ".join([*parts, f"{row['took']:.0f} s in all"])


def table(found: Found) -> str:
    """The Markdown of a measurement; rows that it does not have are not yet measured."""
    known, out = {r["row"]: r for r in found["rows"]}, list[str]()
    if known:
        about, reached = found["machine"], found["reached"]
        out += ["; ".join(f"{k} {v}" for k, v in about.items()) + ".",
                f"A large float32 product reaches {reached['operations'] / 1e12:.1f} TFLOP/s, "
                f"a large copy {reached['bytes'] / 1e12:.2f} TB/s." if reached else "", ""]
    out += ["| step | " + " | ".join(LABELS.values()) + " | ratio | target | floor: products, bytes |",
            "|---" * (len(LABELS) + 4) + "|"]
    for title, works in GROUPS.items():
        if any(name in known for name in works):
            out += [table_row(name, known.get(name), found["reached"]) for name in works]
        else:
            work = next(iter(works.values()))
            out.append(cells(title if len(works) > 1 else work.title, [NOT_YET] * (len(LABELS) + 1), work.target, NOT_YET))
    return "\n".join(out) + "\n"


def cells(title: str, middle_ones: list[str], target: float | None, floor: str) -> str:
    return "| " + " | ".join([title, *middle_ones, str(target), floor]) + " |"


def table_row(name: str, row: Found | None, reached: Found) -> str:
    work = WORK[name]
    if row is None:
        return cells(work.title, [NOT_YET] * (len(LABELS) + 1), work.target, NOT_YET)
    times = [time(row["sides"][k]["seconds"]) if k in row["sides"] else NOT_YET for k in LABELS]
    found, least = ratio(row), floors(row, reached)
    return cells(work.title, [*times, f"{found[1]:.2f} ({found[0]:.2f} to {found[2]:.2f})" if found else NOT_YET], work.target,
                 f"{1e6 * least[0]:.1f}, {1e6 * least[1]:.1f} us" if least else NOT_YET)


def time(seconds: list[float]) -> str:
    """The median and the quartiles, in microseconds."""
    low, half, high = (f"{1e6 * s:.{1 if s < 1e-3 else 0}f}" for s in spread(seconds))
    return f"{half} us ({low} to {high})"
