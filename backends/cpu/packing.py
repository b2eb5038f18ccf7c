"""Copies that belong together, printed as one call: parts joined into an array, and an array taken apart.

    W[:H] = W_f, W[H:] = W_i                 ->  np.concatenate((W_f, W_i), out=W)
    d_W_f[...] = d_W[:H], d_W_i[...] = ...   ->  unstack(d_W, d_W_f, d_W_i)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from ...compiler.program import Along, Array, Block, Copy, Loop, Stmt, View, flat, reads, writes
from ...compiler.sizes import size
from .views import kept, ranges


def together(body: list[Stmt]) -> list[Stmt]:
    """Neighbouring blocks that each copy a part of one array into a result, as one block."""
    out: list[Stmt] = []
    for s in body:
        last = out[-1] if out else None
        if isinstance(s, Block) and isinstance(last, Block) and _taken(s) is not None and _taken(s) is _taken(last):
            out[-1] = replace(last, values=(*last.values, *s.values), body=[*last.body, *s.body], heading=())
        else:
            out.append(s)
    return out


def gathered(body: list[Stmt], headed: Callable[[Block], bool]) -> list[Stmt]:
    """Steps on the way to a value stand under its equation: blocks without a heading join the next one that has one.

    They do where they have to do with it: where they write what it, or another that joins, reads, or the other way round.
    """
    out: list[Stmt] = []
    for s in body:
        if isinstance(s, Block) and headed(s) and not any(isinstance(x, Loop) for x in s.body):
            touched, run = _arrays(s), list[Block]()
            while out and isinstance(last := out[-1], Block) and last.section == s.section and last.heading is None \
                    and not headed(last) and not any(isinstance(x, Loop) for x in last.body) and touched & _arrays(last):
                touched |= _arrays(last)
                run.insert(0, last)
                out.pop()
            values, steps = (tuple(v for b in (*run, s) for v in b.values), [x for b in (*run, s) for x in b.body])
            out.append(replace(s, values=values, body=steps) if run else s)
        else:
            out.append(s)
    return out


def _arrays(b: Block) -> set[Array]:
    """The values of the workspace that a block computes or reads."""
    views = [v for s in flat(b.body) for v in (*reads(s), writes(s)) if v is not None]
    return {v.array.home for v in views if v.array.role in ("value", "result")}


def _taken(b: Block) -> object:
    """The array of which a block copies parts into results, and nothing else."""
    sources = [s.a.array if isinstance(s, Copy) and _part_of(s) else None for s in b.body]
    return sources[0] if sources and all(x is sources[0] for x in sources) else None


def _part_of(s: Copy) -> bool:
    return s.out.array.role == "result" and s.out.whole and not s.a.whole and _straight(s)


def _straight(s: Copy) -> bool:
    return not s.flip and s.out.dims == s.a.dims and ranges(s.a) is not None and ranges(s.out) is not None \
        and kept(s.a) == list(range(len(s.a.dims)))


def groups(body: list[Stmt]) -> Iterator[tuple[Stmt, ...]]:
    """The statements, those together that one call can do."""
    i = 0
    while i < len(body):
        most = next((n for n, s in enumerate(body[i:]) if not isinstance(s, Copy)), len(body) - i)
        n = next((n for n in range(most, 1, -1) if joined(body[i:i + n]) or split(body[i:i + n])), 1)
        yield tuple(body[i:i + n])
        i += n


def joined(run: list[Stmt]) -> tuple[View, int] | None:
    """The view that a run of copies fills part after part, and the dim of the view along which they stand."""
    copies = [s for s in run if isinstance(s, Copy) and _straight(s)]
    if len(copies) < len(run) or any(s.out.array is not copies[0].out.array for s in copies):
        return None
    first = copies[0].out
    for k, x in enumerate(first.along):
        if isinstance(x, Along) and _tiles([s.out for s in copies], k, first.array.dims[k]):
            dims = (*first.dims[:x.dim], first.array.dims[k], *first.dims[x.dim + 1:])
            return View(first.array, (*first.along[:k], Along(x.dim), *first.along[k + 1:]), dims), x.dim
    return None


def _tiles(views: list[View], k: int, total: object) -> bool:
    """Whether views that differ in dim k only follow each other along all of it."""
    at, others = size(0), (*views[0].along[:k], *views[0].along[k + 1:])
    for v in views:
        x = v.along[k]
        if not isinstance(x, Along) or x.offset != at or (*v.along[:k], *v.along[k + 1:]) != others:
            return False
        at = at + v.dims[x.dim]
    return at == total


def split(run: list[Stmt]) -> list[Copy] | None:
    """A run of copies that takes an array apart along its first dim, in the order of the parts."""
    copies = [s for s in run if isinstance(s, Copy) and _part_of(s)]
    if len(copies) < len(run) or any(s.a.array is not copies[0].a.array for s in copies):
        return None
    nominal = dict.fromkeys((k for s in copies for d in s.a.array.dims for k in d.symbols), 7)
    copies.sort(key=lambda s: (ranges(s.a) or ())[0][0].evaluate(nominal))
    at = size(0)
    for s in copies:
        found, dims = ranges(s.a), s.a.array.dims
        if found is None or found[0][0] != at or any(r != (size(0), n) for r, n in zip(found[1:], dims[1:], strict=True)):
            return None
        at = at + found[0][1]
    return copies
