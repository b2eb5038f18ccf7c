"""Warnings that generated functions do without."""

from __future__ import annotations

import re

GUARD = '@np.errstate(over="ignore")                                      # of exp(-x) in a sigmoid, which is 0 there'


def quiet(text: str) -> str:
    """Functions under a guard where they call `sigmoid`: set once, not at every step of a loop."""
    parts = re.split(r"(?m)^(?=def )", text)
    return "".join(f"{GUARD}\n{p}" if p.startswith("def ") and re.search(r"(?<![\w.])sigmoid\(", p) else p for p in parts)
