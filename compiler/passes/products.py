"""Sums of products as contractions: `sum(a * b)` is one inner product, `sum(square(w))` is w with itself.

Input    expressions after simplification
Output   replacements; a product that others read as well stays
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import BOOL, Broadcast, Const, Contract, Expr, Map, OneHot, Reduce, postorder
from ..system import System


def contracted(system: System, roots: Sequence[Expr]) -> dict[Expr, Expr]:
    """Every sum of a product that one contraction computes -> that contraction."""
    readers: dict[Expr, int] = {}
    nodes = list(postorder(*roots))
    for n in nodes:
        for a in set(n.args):
            readers[a] = readers.get(a, 0) + 1
    out: dict[Expr, Expr] = {}
    for n in nodes:
        if isinstance(n, Reduce) and n.kind == "sum" and isinstance(n.args[0], Map) and readers[n.args[0]] == 1:
            m = n.args[0]
            pair = (m.args[0], m.args[0]) if m.f == "square" else m.args if m.f == "mul" else ()
            if len(pair) == 2 and all(map(_array, pair)):
                labels = tuple(range(len(m.shape)))
                kept = tuple(k for k in labels if k not in n.over)
                out[n] = Contract(pair[0], pair[1], labels, labels, kept, n.axes)
    return out


def _array(e: Expr) -> bool:
    """Whether a factor is an array of its own over all its dims, and of numbers."""
    inner = isinstance(e, Map) and e.f == "real" and e.args[0].type == BOOL
    return not isinstance(e, (Broadcast, Const, OneHot)) and not inner
