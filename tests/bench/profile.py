"""Where a native step spends its time: clocks in the C text of the gradient, between the equations that it prints as comments.

    python -m tests.bench.profile ROW [OPTIMISER [STEPS]]

A part is what stands below one group of comments, and is called by the first of them; what comes before is "preparation", what
`train_step` does after the gradient "update", and what Python does around it "call".
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

CLOCK = """
#include <time.h>
static double part_seconds[%d], part_since;
static int part_now;
void part(int next)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double seconds = now.tv_sec + 1e-9 * now.tv_nsec;
    part_seconds[part_now] += seconds - part_since;
    part_since = seconds, part_now = next;
}
const double *parts(void) { return part_seconds; }

"""
COMMENT = re.compile(r"    +/\* .* \*/")
FUNCTIONS = re.compile(r"^(?:static )?(?:APART )?(?:void|int) ((?:part_\d+_of_)?(?:gradients|chunk_\w+)|train_step)(?:_share)?"
                       r"\([^;{]*\)\n\{\n.*?^\}\n", re.M | re.S)


def instrumented(text: str) -> tuple[str, list[str]]:
    """The C text with clocks, and the names of its parts; the first counts what happens outside of C."""
    names = ["call", "preparation", "update"]
    changed = FUNCTIONS.sub(lambda function: clocked(function[1], function[0], names), text)
    at = changed.index("#include <stdint.h>")
    return f"#define _POSIX_C_SOURCE 199309L\n{changed[:at]}{CLOCK % len(names)}{changed[at:]}", names


def clocked(name: str, function: str, names: list[str]) -> str:
    """A function that says which part begins at every group of comments; of several threads the first one says it."""
    out, group = list[str](), 0
    begins = "    if (!me) part({});" if "int me," in function else "    part({});"
    for line in function.splitlines():
        if COMMENT.fullmatch(line) is None:
            group = 0
        elif group == 0:
            names.append(heading(line))
            out.append(begins.format(len(names) - 1))
            group = 1
        else:
            group += 1
            names[-1] = re.sub(r"( \(and \d+ more\))?$", f" (and {group - 1} more)", names[-1], count=1)
        if line in ("    return 0;", "}"):
            out.append(begins.format(0))
        out.append(line)
        if line == "{" and name != "train_step":
            out.append(begins.format(1))
        elif name == "train_step" and re.match(r"    gradients\w*\(", line):
            out.append(begins.format(2))
    return "\n".join(out) + "\n"


def heading(line: str) -> str:
    """The equation of a comment, without where it stands in the model."""
    return re.split(r"  +", line.strip().removeprefix("/* ").removesuffix(" */").strip())[0]


def read_profile(library: Any, dtype: str, names: list[str], step: Callable[[], Any], n: int) -> list[tuple[str, float]]:
    """Seconds a step by parts, the longest first; equal names are one part."""
    for _ in range(3):
        step()
    parts = library.function("parts", dtype)
    parts.restype = ctypes.POINTER(ctypes.c_double)
    library.function("part", dtype)(0)
    before, start = parts()[:len(names)], perf_counter()
    for _ in range(n):
        step()
    total = perf_counter() - start
    found = dict[str, float]()
    for k, (name, a, b) in enumerate(zip(names, before, parts()[:len(names)], strict=True)):
        found[name] = found.get(name, 0) + ((b - a) / n if k else 0)
    found["call"] = max(0.0, total / n - sum(found.values()))
    return sorted(found.items(), key=lambda part: -part[1])


def main(row: str, optimiser: str = "", steps: str = "50") -> None:
    """Print the parts of a row's step."""
    from tests.bench.sides import profile_of
    found = profile_of(row, optimiser, int(steps))
    total = sum(s for _, s in found)
    for name, seconds in found:
        print(f"{1e3 * seconds:>9.3f} ms {100 * seconds / total:>5.1f} %  {name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
