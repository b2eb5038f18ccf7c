"""Windows as kernels: each thread does one element. Where windows add up, an element asks which of them reach it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING

from ...compiler.program import Pool, Refold, Tap, Unfold, Unpool, View, Winner
from ...compiler.sizes import Size
from ..native.kernels import length
from ..native.loops import loops
from ..native.windows import WindowLoops, tapped_places, times, window_number

if TYPE_CHECKING:
    from .statements import Statements

Loops = list[tuple[str, Size]]


def print_windows(s: Unfold | Refold | Pool | Winner | Unpool, print_: Statements) -> Iterator[str]:
    """The body of the statement's kernel."""
    match s:
        case Unfold(out, a, taps):
            value = print_(a, _places(print_.indices(out.dims), taps))
            within = " && ".join(_within(print_.indices(out.dims), taps, a))
            yield from print_.each(out, [f"{print_(out)} = {f'{within} ? {value} : 0' if within else value};"])
        case Pool():
            w = WindowLoops(s.out, s.a, s.taps, print_)
            value, within = print_(s.a, w.place()), w.within()
            step = f"total += {value};" if s.kind == "sum" else f"total = maximum_(total, {value});"
            inner = loops(w.elements, [f"if ({within}) {step}" if within else step])
            first = f"real total = {'0' if s.kind == 'sum' else '-INFINITY'};"
            yield from print_.each(s.out, [first, *inner, f"{print_(s.out)} = total;"])
        case Winner():
            w, last = WindowLoops(s.out, s.a, s.taps, print_), prod(t.k.value or 0 for t in s.taps) - 1
            told = " && ".join(x for x in (f"won == {last}", w.within(), f"{print_(s.a, w.place())} == {print_(s.best)}") if x)
            inner = loops(w.elements, [f"if ({told}) won = {window_number(s.taps)};"])
            yield from print_.each(s.out, [f"int won = {last};", *inner, f"{print_(s.out)} = won;"])
        case Refold():
            yield from _refold(s, print_)
        case Unpool():
            yield from _unpool(s, print_)


def _places(at: list[str], taps: tuple[Tap, ...]) -> list[str]:
    """The places that an index of windows and elements stands for: each tapped dim is two."""
    lo = {t.dim: t.lo for t in taps}
    return [p + (f" - {lo[k]}" if lo.get(k) else "") for k, p in enumerate(tapped_places(at, taps))]


def _within(at: list[str], taps: tuple[Tap, ...], a: View) -> Iterator[str]:
    """What is true of the places inside the array, where there are others."""
    places = _places(at, taps)
    for t in taps:
        if t.lo or t.hi:
            yield from (f"{places[t.dim]} >= 0", f"{places[t.dim]} < {length(a.dims[t.dim])}")


def _refold(s: Refold, print_: Statements) -> Iterator[str]:
    """out[..., p, ...] adds up a[..., i, j, ...] over the elements j of windows i that stand at p."""
    there, over, within = list[str](), Loops(), list[str]()
    by = {t.dim: t for t in s.taps}
    for d, i in enumerate(print_.indices(s.out.dims)):
        if (t := by.get(d)) is None:
            there.append(i)
            continue
        window, more = window_of(i, f"j{d}", t, length(s.a.dims[len(there)]))
        over.append((f"j{d}", t.k))
        there, within = [*there, window, f"j{d}"], [*within, *more]
    yield from _asked(s, over, within, print_(s.a, there), print_)


def _unpool(s: Unpool, print_: Statements) -> Iterator[str]:
    """Each element adds up the windows that reach it, or those of which it is the winner."""
    here = print_.indices(s.out.dims)
    there, over, within = [*here], Loops(), list[str]()
    for k, t in enumerate(s.taps):
        there[t.dim], more = window_of(here[t.dim], f"j{k}", t, length(s.g.dims[t.dim]))
        over.append((f"j{k}", t.k))
        within += more
    if s.won is not None:
        within.append(f"{print_(s.won, there)} == {window_number(s.taps)}")
    yield from _asked(s, over, within, print_(s.g, there), print_)


def _asked(s: Refold | Unpool, over: Loops, within: Sequence[str], value: str, print_: Statements) -> Iterator[str]:
    step = f"if ({' && '.join(within)}) total += {value};"
    yield from print_.each(s.out, ["real total = 0;", *loops(over, [step]), f"{print_(s.out)} = total;"])


def window_of(p: str, j: str, t: Tap, count: str) -> tuple[str, list[str]]:
    """The window whose element j stands at position p, and what is true where there is one of `count`."""
    shifted = p + (f" + {t.lo}" if t.lo else "") + f" - {times(j, t.dilation)}"
    if t.stride == 1:
        return shifted, [f"{shifted} >= 0", f"{shifted} < {count}"]
    window = f"({shifted}) / {t.stride}"
    return window, [f"{shifted} >= 0", f"({shifted}) % {t.stride} == 0", f"{window} < {count}"]


__all__ = ["print_windows"]
