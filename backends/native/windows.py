"""Windows as C: copied (unfold), added back (refold), pooled, with their winners and adjoints.

What stands last in memory is the innermost loop, over all channels of one place; the elements of a window are loops around it,
or stand written out in it where they are few and all inside the array.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product as every
from math import prod
from typing import TYPE_CHECKING

from ...compiler.passes.orders import own
from ...compiler.program import Fill, Pool, Refold, Tap, Unfold, Unpool, View, Winner
from ...compiler.sizes import Size
from .kernels import length
from .loops import loops

if TYPE_CHECKING:
    from .statements import Statements

WRITTEN_OUT = 9                                                  # elements of a window that stand in one expression
Loops = list[tuple[str, Size]]


def print_windows(s: Unfold | Refold | Pool | Winner | Unpool, print_: Statements) -> Iterator[str]:
    """The statement's lines."""
    match s:
        case Unfold(out, a, taps):
            yield from print_.each(out, [f"{print_(out)} = {print_(a, tapped_places(print_.indices(out.dims), taps))};"])
        case Refold():
            yield from _refold(s, print_)
        case Pool():
            yield from _pool(s, print_)
        case Winner():
            yield from _winner(s, print_)
        case Unpool():
            yield from _unpool(s, print_)


def _refold(s: Refold, print_: Statements) -> Iterator[str]:
    """Windows added up: one element of a window after the other, for all channels that stand side by side."""
    at = print_.indices(s.a.dims)
    dims, d = list[int](), 0                                         # of a: its windows' elements
    for k in range(len(s.out.dims)):
        if any(t.dim == k for t in s.taps):
            dims, d = [*dims, d + 1], d + 1
        d += 1
    order = own(s.a) if len(own(s.a)) == len(s.a.dims) else tuple(range(len(s.a.dims)))
    order = tuple(k for k in order if k not in dims)
    step = [f"{print_(s.out, tapped_places(at, s.taps))} += {print_(s.a)};"]
    over = [(at[k], s.a.dims[k]) for k in (*order[:-1], *dims, order[-1])]
    yield from print_.lines(Fill(s.out, 0))
    yield from loops(over, step, "SIMD ")                            # one element of different windows: different places


class WindowLoops:
    """The places of the windows `v` that stand for each element of an array `whole`."""

    def __init__(self, v: View, whole: View, taps: tuple[Tap, ...], print_: Statements) -> None:
        self.whole, self.taps, self.print = whole, taps, print_
        self.at = print_.indices(v.dims)
        order = own(v) if sorted(own(v)) == [*range(len(v.dims))] else tuple(range(len(v.dims)))
        last = order[-1] if order else 0
        self.outer: Loops = [(self.at[d], v.dims[d]) for d in order[:-1]]
        self.inner: Loops = [(self.at[d], v.dims[d]) for d in order[-1:]]
        self.rows = last not in [t.dim for t in taps]                # whether neighbours in memory are of different windows
        counts = [t.k.value for t in taps]
        self.few = None not in counts and prod(n or 0 for n in counts) <= WRITTEN_OUT and not any(t.lo or t.hi for t in taps)
        self.elements = [(f"j{k}", t.k) for k, t in enumerate(taps)]

    def place(self, element: tuple[str, ...] | None = None) -> list[str]:
        """Where an element of the window stands in the array."""
        out = [*self.at]
        for k, t in enumerate(self.taps):
            j = element[k] if element else f"j{k}"
            more = str(int(j) * t.dilation) if j.isdigit() else times(j, t.dilation)
            out[t.dim] = times(self.at[t.dim], t.stride) + (f" + {more}" if more != "0" else "") + (f" - {t.lo}" if t.lo else "")
        return out

    def written(self) -> list[list[str]]:
        """The places of all elements, row by row."""
        return [self.place(tuple(map(str, e))) for e in every(*(range(t.k.value or 0) for t in self.taps))]

    def within(self) -> str:
        """What is true of the elements inside the array, where there are others."""
        places, out = self.place(), list[str]()
        for t in self.taps:
            out += [f"{places[t.dim]} >= 0"] if t.lo else []
            out += [f"{places[t.dim]} < {length(self.whole.dims[t.dim])}"] if t.lo or t.hi else []
        return " && ".join(out)

    def passing(self, first: list[str], step: str, after: list[str]) -> Iterator[str]:
        """`first` at every window, a step at each of its elements inside the array, `after`: by rows, or window by window."""
        within = self.within()
        if not self.rows:
            body = [*first, *loops(self.elements, [f"if ({within}) {step}" if within else step]), *after]
            yield from loops([*self.outer, *self.inner], body)
            return

        def row(lines: list[str]) -> list[str]:
            return list(loops(self.inner, lines, "SIMD ")) if lines else []
        inside = row([step])
        inside = [f"if ({within}) {{", *("    " + x for x in inside), "}"] if within else inside
        yield from loops(self.outer, [*row(first), *loops(self.elements, inside), *row(after)])


def _pool(s: Pool, print_: Statements) -> Iterator[str]:
    w, target = WindowLoops(s.out, s.a, s.taps, print_), print_(s.out)
    values = [print_(s.a, at) for at in w.written()] if w.few else []
    if values:
        total = " + ".join(values) if s.kind == "sum" else _nested([*values])
        yield from loops([*w.outer, *w.inner], [f"{target} = {total};"], "SIMD ")
        return
    value = print_(s.a, w.place())
    step = f"{target} += {value};" if s.kind == "sum" else f"{target} = maximum_({target}, {value});"
    yield from w.passing([f"{target} = {'0' if s.kind == 'sum' else '-INFINITY'};"], step, [])


def _nested(values: list[str]) -> str:
    """The largest of some values, pairs of pairs."""
    while len(values) > 1:
        pairs = [values[k:k + 2] for k in range(0, len(values), 2)]
        values = [f"maximum_({', '.join(p)})" if len(p) > 1 else p[0] for p in pairs]
    return values[0]


def _winner(s: Winner, print_: Statements) -> Iterator[str]:
    """The number of the first element that is the maximum; of windows with a NaN the last number."""
    w, target, best = WindowLoops(s.out, s.a, s.taps, print_), print_(s.out), print_(s.best)
    if w.few:
        places = w.written()
        tests = [f"{print_(s.a, at)} == {best} ? {k} : " for k, at in enumerate(places[:-1])]
        yield from loops([*w.outer, *w.inner], [f"{target} = {''.join(tests)}{len(places) - 1};"], "SIMD ")
        return
    last = prod(t.k.value or 0 for t in s.taps) - 1
    number = window_number(s.taps)
    step = f"if ({target} == {last} && {print_(s.a, w.place())} == {best}) {target} = {number};"
    yield from w.passing([f"{target} = {last};"], step, [])


def window_number(taps: tuple[Tap, ...]) -> str:
    """The number of an element of a window, counted row by row."""
    text = "j0"
    for k, t in enumerate(taps[1:], 1):
        text = f"({text}) * {length(t.k)} + j{k}" if k > 1 else f"{text} * {length(t.k)} + j{k}"
    return text


def _unpool(s: Unpool, print_: Statements) -> Iterator[str]:
    w, g = WindowLoops(s.g, s.out, s.taps, print_), print_(s.g)
    apart = all((t.k.value or 1 << 30) <= t.stride and t.dilation == 1 for t in s.taps)
    tiles = apart and all(s.g.dims[t.dim] * t.k == s.out.dims[t.dim] and t.k == t.stride for t in s.taps) and w.few
    won = print_(s.won) if s.won is not None else ""
    if not tiles:
        yield from print_.lines(Fill(s.out, 0))
    if apart and w.few:
        values = [f"{won} == {k} ? {g} : 0" if won else g for k in range(len(w.written()))]
        yield from loops([*w.outer, *w.inner], [f"{print_(s.out, at)} = {v};" for at, v in zip(w.written(), values, strict=True)],
                         "SIMD ")
        return
    target = print_(s.out, w.place())
    yield from w.passing([], f"if ({window_number(s.taps)} == {won}) {target} += {g};" if won else f"{target} += {g};", [])


def times(i: str, n: int) -> str:
    return i if n == 1 else f"{i}*{n}"


def tapped_places(at: list[str], taps: tuple[Tap, ...]) -> list[str]:
    """The places that the index of windows and elements stands for: each tapped dim is two."""
    places, d, k = list[str](), 0, 0
    by = {t.dim: t for t in taps}
    while d < len(at):
        t = by.get(k)
        places.append(f"{times(at[d], t.stride)} + {times(at[d + 1], t.dilation)}" if t else at[d])
        d, k = d + (2 if t else 1), k + 1
    return places


__all__ = ["print_windows"]
