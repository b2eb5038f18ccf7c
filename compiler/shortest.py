"""How long sequences must be: a model that reads `h[7]` is one of sequences of 8 steps or more, and so is `mean[t >= 7] h[t]`.

Where `lengths t` is declared an example may end earlier, and its `h[7]` is 0, as is its mean. Steps that rules of differentiation
read may lie outside, too (see `interpret`), so the nodes of a system that nobody has differentiated are asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from .graph import At, Expr, Extent, Map, Reduce, Size, length
from .node import BATCH, base
from .passes.masks import bare
from .reach import reached
from .system import System


def shortest(system: System, ragged: Collection[str] = (), roots: Iterable[Expr] | None = None) -> dict[str, int]:
    """The least lengths of axes, {"T": 8}, but for those of 1 and of axes along which examples end at their own steps.

    `roots` are what is computed, by default all that the system holds.
    """
    if roots is None:
        averages = [*([system.loss] if system.loss else []), *system.metrics.values()]
        roots = [*system.roots(), *(a.value for a in averages)]
    out: dict[str, int] = {}
    for n in reached(system, roots)[0]:
        for axis, least in _asked(n):
            name = str(length(base(axis)))
            if base(axis) not in ragged and least > out.get(name, 1):
                out[name] = least
    return out


def _asked(n: Expr) -> Iterator[tuple[str, int]]:
    """The axes of which a node reads a step by its number, or a mean over a range; from which length on these are there."""
    match n:
        case At():
            yield n.axis, n.i + 1 if n.i >= 0 else -n.i
        case Map(f="div", args=args):
            total, count = map(bare, args)
            if isinstance(total, Reduce) and isinstance(count, Extent):
                for x in total.over:
                    if isinstance(x, str) and x != BATCH:
                        yield x, _some(count.size, str(length(base(x))))


def _some(n: Size, x: str) -> int:
    """The length x from which on a size is above 0, those of other axes being long: 3 for B*T - 2*B; 1 where none is."""
    least = 1 + sum(abs(c) for _, c in n.terms)                  # beyond every root
    others = dict.fromkeys(n.symbols, least)
    if n.evaluate(others) <= 0:
        return 1
    while least > 1 and n.evaluate({**others, x: least - 1}) > 0:
        least -= 1
    return least
