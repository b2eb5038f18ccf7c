"""What the printed kernels call: device functions in CUDA C++, only those that a text names."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
UPDATES = (HERE / "updates.cu").read_text(encoding="utf-8")
KERNEL = re.compile(r'^extern "C" __global__ void \S+\s(\w+)\(.*?^\}\n', re.M | re.S)
KERNELS = {m[1]: m[0] for m in KERNEL.finditer(UPDATES)}         # those that are the same in every module
HEAD, END, REST = (HERE / "prelude.cu").read_text(encoding="utf-8").partition("#endif\n")
HEAD, PRELUDE = HEAD + END, REST + "\n" + KERNEL.sub("", UPDATES)
PART = re.compile(r"^(?:struct (\w+) \{[^\n]*\};\n|(?:template <[^\n]*?> )?static __device__ inline \w+ (\w+)\("
                  r"(?:[^\n]*\}\n|[^\n]*\n.*?^\}\n))", re.M | re.S)


@cache
def found() -> dict[str, str]:
    """The prelude's functions by name."""
    return {m[1] or m[2]: m[0] for m in PART.finditer(PRELUDE)}


def called(text: str) -> set[str]:
    """The prelude's functions that `text` calls, and those that they call."""
    every, used = found(), set[str]()
    wanted = set(re.findall(r"\w+", text)) & every.keys()
    while wanted:
        name = wanted.pop()
        used.add(name)
        wanted |= (set(re.findall(r"\w+", every[name])) & every.keys()) - used
    return used


def functions(names: Collection[str]) -> str:
    """These functions of the prelude in their order, under their headings."""
    kept = PART.sub(lambda m: m[0] if (m[1] or m[2]) in names else "", PRELUDE)
    kept = re.sub(r"(?m)^/\*[^\n]*\*/\n(?=\n|/\*|\Z)", "", kept)  # headings of what is left out
    return re.sub(r"\n{3,}", "\n\n", f"\n{kept.strip()}\n") if names else ""


def prelude(text: str) -> str:
    """The prelude with no function that neither `text` nor another one of these calls."""
    return HEAD + functions(called(text))


__all__ = ["HEAD", "KERNELS", "called", "found", "functions", "prelude"]
