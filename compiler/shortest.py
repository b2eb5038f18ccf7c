"""How long sequences must be: a model that reads `h[7]` is one of sequences of 8 steps or more.

Where `lengths t` is declared an example may end earlier, and its `h[7]` is 0. Steps that rules of differentiation read may lie
outside, too (see `interpret`), so the nodes of a system that nobody has differentiated are asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .graph import At, Expr, length
from .node import base
from .reach import reached
from .system import System


def shortest(system: System, roots: Iterable[Expr], ragged: Collection[str]) -> dict[str, int]:
    """The least lengths of axes, {"T": 8}, but for those of 1 and of axes along which examples end at their own steps."""
    out: dict[str, int] = {}
    for n in reached(system, roots)[0]:
        if isinstance(n, At) and base(n.axis) not in ragged:
            name = str(length(base(n.axis)))
            out[name] = max(out.get(name, 1), n.i + 1 if n.i >= 0 else -n.i)
    return {k: n for k, n in out.items() if n > 1}
