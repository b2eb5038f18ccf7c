"""Tables: a bias that is added to looked-up rows at every step is added to the rows of a small table once.

    W @ onehot(x[t]) + b      ->      (W + b) @ onehot(x[t]), b repeated over the columns of W, which are the classes

It pays where the table has fewer rows than there are lookups: a declared number of classes, at most LARGEST, over time.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..graph import BATCH, Broadcast, Contract, Expr, Map, OneHot

LARGEST = 256


def tabled(e: Expr, sizes: Mapping[str, int]) -> Expr | None:
    """A sum of a lookup, which nobody else reads, and a bias as one lookup."""
    if not isinstance(e, Map) or e.f != "add" or not any(x != BATCH for x in e.axes):
        return None
    for c, b in (e.args, e.args[::-1]):
        if isinstance(c, Contract) and isinstance(b, Broadcast) and not b.args[0].axes:
            for k in (0, 1):
                table, lt = c.args[k], (c.la, c.lb)[k]
                hot, lh = c.args[1 - k], (c.la, c.lb)[1 - k]
                rows = isinstance(hot, OneHot) and not table.axes and {*lt} - {*c.lo} == {*lh} and {*c.lo} < {*lt}
                if rows and hot.axes == c.axes and _small(table, lt.index(lh[0]), sizes):
                    places = tuple(lt.index(c.lo[p]) for p in b.places)
                    total = Map("add", (table, Broadcast(b.args[0], (), table.shape, places)))
                    left, right = (total, hot) if k == 0 else (hot, total)
                    return Contract(left, right, c.la, c.lb, c.lo, c.axes)
    return None


def _small(table: Expr, at: int, sizes: Mapping[str, int]) -> bool:
    """Whether a table has a declared number of rows that is small."""
    rows = table.shape[at]
    return all(s in sizes for s in rows.symbols) and rows.evaluate({**sizes}) <= LARGEST


def factored(e: Expr, alone: tuple[bool, ...]) -> Expr | None:
    """x*a - x*b as x*(a - b), and the same of a sum, where nobody else reads the products; `alone`: which ones."""
    if not isinstance(e, Map) or e.f not in ("add", "sub") or not all(alone):
        return None
    p, q = e.args
    if not (isinstance(p, Map) and isinstance(q, Map) and p.f == q.f == "mul"):
        return None
    for x, a in (p.args, p.args[::-1]):
        for y, b in (q.args, q.args[::-1]):
            if x is y and not isinstance(x, Broadcast) and not isinstance(a, Broadcast) and not isinstance(b, Broadcast):
                return Map("mul", (x, Map(e.f, (a, b))))
    return None
