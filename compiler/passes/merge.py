"""Merge: the same operation on adjacent slices of the same values is a slice of one operation.

    W[:n] @ x, W[n:] @ x             ->  slices of W @ x
    f(a[..., :n]), f(a[..., n:])     ->  slices of f(a)

Input    a system
Output   the system in which no such pair is left; a merged value is called by its parts' names, joined
"""

from __future__ import annotations

import keyword
from dataclasses import dataclass

from ..graph import Broadcast, Contract, Expr, Map, Size, Slice
from ..system import System


@dataclass(frozen=True)
class Member:
    """One operation on slices lo:hi of its bases."""

    node: Expr
    lo: Size
    hi: Size


Key = tuple[object, ...]


def merge(system: System) -> System:
    """Merge to a fixpoint."""
    while True:
        groups: dict[Key, list[Member]] = {}
        for n in system.nodes():
            found = _keyed(n)
            if found:
                groups.setdefault(found[0], []).append(found[1])
        for key, members in groups.items():
            runs = _runs(members)
            if runs:
                system = _merged(system, key, runs)
                break
        else:
            return system


def _cut(e: Expr, at: int) -> tuple[Expr, Size, Size] | None:
    """e as (base, lo, hi) along a feature: a slice, or a repeated slice, of the base."""
    if isinstance(e, Slice) and e.at == at:
        return e.args[0], e.lo, e.hi
    if isinstance(e, Broadcast) and e.places == tuple(range(len(e.shape))):
        cut, inner = e.args[0], e.args[0].args[0] if e.args[0].args else e.args[0]
        if isinstance(cut, Slice) and cut.at == at:
            return Broadcast(inner, e.axes, inner.shape, e.places), cut.lo, cut.hi
    return None


def _keyed(n: Expr) -> tuple[Key, Member] | None:
    """What n must share with another node to be merged with it."""
    if isinstance(n, Contract) and n.la == (0, 1) and n.lo == (0,):
        cut = _cut(n.args[0], 0)
        inner = n.args[0].args[0] if isinstance(n.args[0], Slice) and n.args[0].at == 1 else None
        if cut is None and inner is not None:                    # rows of columns: W[lo:hi, a:b]
            cut = _cut(inner, 0)
            if cut is not None:
                s = n.args[0]
                assert isinstance(s, Slice)
                cut = (Slice(cut[0], 1, s.lo, s.hi), cut[1], cut[2])
        if cut is not None:
            return ("contract", cut[0], n.args[1], n.lb, n.axes), Member(n, cut[1], cut[2])
    if isinstance(n, Map) and n.shape:
        at = len(n.shape) - 1
        cuts = [_cut(a, at) for a in n.args]
        if all(c is not None and (c[1], c[2]) == (cuts[0][1], cuts[0][2]) for c in cuts):  # type: ignore[index]
            bases = tuple(c[0] for c in cuts if c is not None)
            return ("map", n.f, *bases), Member(n, cuts[0][1], cuts[0][2])  # type: ignore[index]
    return None


def _runs(members: list[Member]) -> list[list[Member]]:
    """Chains of members, each beginning where the one before ends."""
    starts = {m.lo: m for m in members}
    ends = {m.hi for m in members}
    chains = []
    for m in members:
        if m.lo not in ends:
            chain = [m]
            while chain[-1].hi in starts:
                chain.append(starts[chain[-1].hi])
            if len(chain) > 1:
                chains.append(chain)
    return chains


def _joined(names: list[str]) -> str:
    """`fio` for f, i, o; `a_fio` for their pre-activations; `h1.fio` in a fragment; longer names keep an underscore between."""
    before = "a_" if all(n.startswith("a_") for n in names) else ""
    parts = [n.removeprefix(before) for n in names]
    paths = {n.rpartition(".")[0] for n in parts}
    if len(paths) == 1 and "" not in paths:                      # the fragment's name stands once
        path = paths.pop()
        before, parts = f"{before}{path}.", [n.rpartition(".")[2] for n in parts]
    short = max(map(len, parts)) == 1 and not keyword.iskeyword("".join(parts))
    return before + ("" if short else "_").join(parts)


def _merged(system: System, key: Key, runs: list[list[Member]]) -> System:
    mapping: dict[Expr, Expr] = {}
    named: dict[Expr, str] = {}
    for run in runs:
        lo, hi = run[0].lo, run[-1].hi
        big: Expr
        if key[0] == "contract":
            base, x = key[1], key[2]
            assert isinstance(base, Expr) and isinstance(x, Expr)
            big = Contract(Slice(base, 0, lo, hi), x, (0, 1), key[3], (0,), key[4])  # type: ignore[arg-type]
            at = 0
        else:
            at = len(run[0].node.shape) - 1
            bases = [b for b in key[2:] if isinstance(b, Expr)]
            big = Map(str(key[1]), tuple(Slice(b, at, lo, hi) for b in bases))
        names = [system.names.get(m.node) for m in run]
        if all(names):
            named[big] = _joined([n for n in names if n])
        mapping.update({m.node: Slice(big, at, m.lo - lo, m.hi - lo) for m in run})
    out = system.rewrite(mapping)
    for big, name in named.items():
        if big in set(out.nodes()) and name not in out.names.values():
            out.names[big] = name
    return out
