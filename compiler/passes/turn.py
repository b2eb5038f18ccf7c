"""Turn: a matrix that a loop reads transposed at every step is transposed once before it.

    for t: a[t] = h[t-1] @ W.T      ->      W_T = W.T;  for t: a[t] = h[t-1] @ W_T

The product then runs over rows of W_T that lie in memory one after the other, which is a quarter faster where the other factor
has few rows, as a step of a batch has.
"""

from __future__ import annotations

from dataclasses import replace

from ..program import Along, Array, Block, Copy, Loop, Product, Stmt, View, flat, view, writes

Labels = tuple[str | int, ...]
Turned = dict[View, Array]                                       # what was read, and its transposed copy


def turned(body: list[Stmt], done: Turned) -> tuple[list[Stmt], list[Stmt]]:
    """The copies to make before a loop, and the loop's body that reads them; `done` are those of the loops before."""
    written = {v.array for s in flat(body) if not isinstance(s, Loop) and (v := writes(s)) is not None}
    before: list[Stmt] = []

    def one(s: Stmt) -> Stmt:
        if isinstance(s, Block):
            return replace(s, body=[one(x) for x in s.body])
        if not isinstance(s, Product):
            return s
        if _crosswise(s.a, s.la, s.lb, s.lo) and s.a.array not in written:
            return replace(s, a=copy(s.a), la=s.la[::-1])
        if _crosswise(s.b, s.lb, s.la, s.lo) and s.b.array not in written:
            return replace(s, b=copy(s.b), lb=s.lb[::-1])
        return s

    def copy(v: View) -> View:
        if v not in done:
            done[v] = Array(v.dims[::-1], v.array.kind)
            flipped = tuple(Along(1 - x.dim, x.offset) for x in v.along if isinstance(x, Along))
            before.append(Copy(view(done[v]), View(v.array, flipped, done[v].dims)))
        return view(done[v])

    return before, [one(s) for s in body]


def _crosswise(w: View, lw: Labels, lx: Labels, lo: Labels) -> bool:
    """Whether w is a matrix whose rows are the columns of the product: out[..., n] = sum over k of x[..., k] * w[n, k]."""
    if [x.dim for x in w.along if isinstance(x, Along)] != [0, 1] or len(w.along) > 2:
        return False
    n, k = lw
    return lo[-1:] == (n,) and n not in lx and k not in lo and lx[-1:] == (k,) and len(lx) > 1


def turns(s: Stmt) -> bool:
    """Whether a statement is the transposed copy of a matrix."""
    return isinstance(s, Copy) and len(s.a.dims) == 2 and [x.dim for x in s.a.along if isinstance(x, Along)] == [1, 0]
