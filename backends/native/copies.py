"""Copies as C: elements in their order in memory, reversed along some dims, or as an array of another form.

A reshape walks through the finer of both forms, group by group: of (B, 64, 5, 5) -> (B, 1600) the loops are over B, 64, 5 and 5,
and the 1600 places are i*25 + j*5 + k.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...compiler.passes.orders import own
from ...compiler.program import Copy
from ...compiler.sizes import Size, product
from .kernels import length
from .loops import loops

if TYPE_CHECKING:
    from .statements import Statements

Dims = tuple[Size, ...]
Group = tuple[list[int], list[int]]


def print_copy(s: Copy, print_: Statements) -> Iterator[str]:
    """The statement's lines."""
    out, a = s.out, s.a
    if out.dims == a.dims:
        at = flipped(s, print_.indices(out.dims))
        yield from print_.each(out, [f"{print_(out)} = {print_(a, at)};"])
        return
    found = groups(out.dims, a.dims)
    if found is None:
        source = print_(a, flipped(s, unravelled(print_.indices(out.dims), out.dims, a.dims)))
        yield from print_.each(out, [f"{print_(out)} = {source};"])
        return
    to, at = ["0"] * len(out.dims), ["0"] * len(a.dims)
    finer = [(y, a.dims, at, x, to) if len(y) > len(x) else (x, out.dims, to, y, at) for x, y in found]
    names = iter(print_.indices([dims[k] for group, dims, *_ in finer for k in group]))
    walked: dict[int, list[tuple[str, Size]]] = {}                   # dim of out -> the loops that walk along it
    for (x, _), (group, dims, mine, coarse, theirs) in zip(found, finer, strict=True):
        for k in group:
            mine[k] = next(names)
        theirs[coarse[0]] = _raveled([mine[k] for k in group], tuple(dims[k] for k in group))
        for k in group:
            walked.setdefault(k if group is x else x[0], []).append((mine[k], dims[k]))
    order = own(out) if sorted(own(out)) == [*range(len(out.dims))] else range(len(out.dims))
    over = [loop for k in order for loop in walked.get(k, [])]
    yield from loops(over, [f"{print_(out, to)} = {print_(a, flipped(s, at))};"], "SIMD ")


def groups(out: Dims, a: Dims) -> list[Group] | None:
    """Dims of two forms of the same elements in the order of the elements, in groups of as many: one dim of one form each.

    Dims of one element are left out. None where a group would need several dims of both.
    """
    found, x, y = list[Group](), [k for k, n in enumerate(out) if n != 1], [k for k, n in enumerate(a) if n != 1]
    while x or y:
        for one, other, mine, theirs in ((x, y, out, a), (y, x, a, out)):
            taken = next((n for n in range(1, len(other) + 1)
                          if one and product(tuple(theirs[k] for k in other[:n])) == mine[one[0]]), 0)
            if taken:
                pair = [one.pop(0)], [other.pop(0) for _ in range(taken)]
                found.append(pair if one is x else (pair[1], pair[0]))
                break
        else:
            return None
    return found


def flipped(s: Copy, at: list[str]) -> list[str]:
    """The index of a, reversed along some of its dims."""
    return [f"{length(s.a.dims[k])} - 1 - {i if i.isalnum() else f'({i})'}" if k in s.flip else i for k, i in enumerate(at)]


def _raveled(at: list[str], dims: Dims) -> str:
    """The number of an element in row-major order."""
    terms = []
    for k, i in enumerate(at):
        step = product(dims[k + 1:])
        terms.append(i if step == 1 else f"{i}*{length(step)}" if length(step).isalnum() else f"{i}*({length(step)})")
    return " + ".join(terms)


def unravelled(at: list[str], dims: Dims, into: Dims) -> list[str]:
    """The index into another form of the element whose number in row-major order is that of an index."""
    flat = " + ".join(f"{i}*({length(product(dims[d + 1:]))})" for d, i in enumerate(at)) or "0"
    return [f"({flat}) / ({length(product(into[k + 1:]))}) % ({length(n)})" for k, n in enumerate(into)]


__all__ = ["print_copy"]
