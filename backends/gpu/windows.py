"""Windows as kernels: each thread does one element. Where windows add up, an element asks which of them reach it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from ...compiler.program import Along, Block, Kernel, Nest, Pool, Refold, Stmt, Tap, Unfold, Unpool, View, Winner
from ...compiler.sizes import Size
from ..native.kernels import length
from ..native.loops import loops
from ..native.nests import RowBody
from ..native.windows import WindowLoops, tapped_places, times, window_number

if TYPE_CHECKING:
    from .statements import Statements

Loops = list[tuple[str, Size]]


def print_windows(s: Unfold | Refold | Pool | Winner | Unpool, print_: Statements) -> Iterator[str]:
    """The body of the statement's kernel."""
    match s:
        case Unfold(out, a, taps) if _by_fours(out, a, taps, print_.known):
            yield from _unfold_fours(out, a, taps, print_)
        case Unfold(out, a, taps):
            places, named, within = _named(_places(print_.indices(out.dims), taps), taps, a)
            value = print_(a, places)
            yield from print_.each(out, [*named, f"{print_(out)} = {f'{within} ? {value} : 0' if within else value};"])
        case Pool():
            yield from print_pooled(Pooled(s.out.dims, [s]), print_)
        case Winner():
            w, last = WindowLoops(s.out, s.a, s.taps, print_), prod(t.k.value or 0 for t in s.taps) - 1
            places, named, within = _named(w.place(), s.taps, s.a)
            told = " && ".join(x for x in (f"won == {last}", within, f"{print_(s.a, places)} == {print_(s.best)}") if x)
            inner = loops(w.elements, [*named, f"if ({told}) won = {window_number(s.taps)};"])
            yield from print_.each(s.out, [f"int won = {last};", *inner, f"{print_(s.out)} = won;"])
        case Refold():
            yield from _refold(s, print_)
        case Unpool():
            yield from _unpool(s, print_)


class Pooled(Nest):
    """What windows give; a maximum's winners, known after the same look; its epilogue, what is computed of it by the element."""

    @property
    def parts(self) -> tuple[Nest, ...]:
        """The epilogue."""
        return (Nest(self.rows, [m for m in self.body if isinstance(m, Kernel)]),)

    @property
    def sums(self) -> list[Pool]:
        return [m for m in self.body if isinstance(m, Pool)]


def pooled(body: list[Stmt]) -> list[Stmt]:
    """The statements, a maximum and its winners together where they follow each other, in one block or in two."""
    out = list[Stmt]()
    for s in body:
        last = out[-1] if out else None
        if isinstance(s, Block):
            s = replace(s, body=pooled(s.body))
            if isinstance(last, Block) and last.section == s.section and _pair(last.body[-1:], s.body):
                inner = [*last.body[:-1], *pooled([last.body[-1], *s.body])]
                out[-1] = Block((*last.values, *s.values), inner, last.section, last.heading)
                continue
        elif isinstance(last, Pool) and isinstance(s, Winner) and _pair([last], [s]):
            out[-1] = Pooled(last.out.dims, [last, s])
            continue
        out.append(s)
    return out


def _pair(one: list[Stmt], other: list[Stmt]) -> bool:
    """Whether these are a maximum and its winners."""
    match one, other:
        case [Pool(best, "max", a, taps)], [Winner(_, b, read, same)]:
            return (best, a, taps) == (read, b, same)
    return False


def print_pooled(s: Pooled, print_: Statements) -> Iterator[str]:
    """The kernel of windows' sums or maxima and of what is computed of them, element by element."""
    (pool,), winner = s.sums, next((m for m in s.body if isinstance(m, Winner)), None)
    w = WindowLoops(pool.out, pool.a, pool.taps, print_)
    places, named, within = _named(w.place(), pool.taps, pool.a)
    value, target = print_(pool.a, places), print_(pool.out)
    if winner is None:
        total = "total"
        step = f"total += {value};" if pool.kind == "sum" else f"total = maximum_(total, {value});"
        inner = loops(w.elements, [*named, f"if ({within}) {step}" if within else step])
        body = [f"real total = {'0' if pool.kind == 'sum' else '-INFINITY'};", *inner]
    else:                                                        # the first one of equals, of windows with a NaN the last
        total, last = "best", prod(t.k.value or 0 for t in pool.taps) - 1
        inner = loops(w.elements, [
            *named, *([f"if (!({within})) continue;"] if within else []), f"const real value = {value};",
            f"if (won < 0 || value > best || isnan(value)) {{ best = value; won = {window_number(pool.taps)}; }}"])
        body = ["real best = -INFINITY;", "int won = -1;", *inner]
    stored = [] if pool.out.array in print_.local else [f"{target} = {total};"]
    stored += [f"{print_(winner.out)} = isnan(best) || won < 0 ? {last} : won;"] if winner is not None else []
    after = RowBody(len(s.rows), False, print_, {target: total})
    yield from print_.each(pool.out, [*body, *stored, *(x for m in s.parts[0].body for x in after.run([m]))])


def _by_fours(out: View, a: View, taps: tuple[Tap, ...], known: Mapping[str, int]) -> bool:
    """Whether threads may copy four numbers each: channels stand last in both arrays, which begin where the workspace says."""
    last = [(v.array.dims[-1], v.along[-1] == Along(len(v.dims) - 1), v.array.home.role) for v in (out, a) if v.array.dims]
    n = out.dims[-1]
    return last == [(n, True, "value")] * 2 and all(t.dim < len(a.dims) - 1 for t in taps) \
        and {*n.symbols} <= {*known} and n.evaluate(known) % 4 == 0


def _unfold_fours(out: View, a: View, taps: tuple[Tap, ...], print_: Statements) -> Iterator[str]:
    """The same as windows of a quarter of the channels, each of 16 bytes."""
    few, names = out.dims[-1] // 4, print_.names
    quarters = {v: replace(v.array, dims=(*v.array.dims[:-1], few), views={}) for v in (out, a)}
    to, source = (View(x, v.along, (*v.dims[:-1], few)) for v, x in quarters.items())
    called = {to.array: f"((float4 *){names(out.array)})", source.array: f"((const float4 *){names(a.array)})"}
    print_.names = lambda x: called.get(x) or names(x)
    places, named, within = _named(_places(print_.indices(to.dims), taps), taps, source)
    value = print_(source, places)
    stored = f"{print_(to)} = {f'{within} ? {value} : make_float4(0, 0, 0, 0)' if within else value};"
    yield from print_.each(to, [*named, stored])
    print_.names = names


def _places(at: list[str], taps: tuple[Tap, ...]) -> list[str]:
    """The places that an index of windows and elements stands for: each tapped dim is two."""
    lo = {t.dim: t.lo for t in taps}
    return [p + (f" - {lo[k]}" if lo.get(k) else "") for k, p in enumerate(tapped_places(at, taps))]


def _named(places: list[str], taps: tuple[Tap, ...], a: View) -> tuple[list[str], list[str], str]:
    """Places with names for those along tapped dims, the line that gives them, and what is true inside the array."""
    words = {t.dim: w for t, w in zip(taps, _words(taps), strict=True)}
    given = ", ".join(f"{w} = {places[d]}" for d, w in words.items())
    within = [x for t in taps if t.lo or t.hi
              for x in (f"{words[t.dim]} >= 0", f"{words[t.dim]} < {length(a.dims[t.dim])}")]
    return [words.get(d, x) for d, x in enumerate(places)], [f"const int {given};"] if words else [], " && ".join(within)


def _refold(s: Refold, print_: Statements) -> Iterator[str]:
    """out[..., p, ...] adds up a[..., i, j, ...] over the elements j of windows i that stand at p."""
    number, there, counts = {t.dim: k for k, t in enumerate(s.taps)}, list[str](), list[str]()
    reach = [_Reach(f"j{k}", w, t, _apart(s.taps)) for k, (w, t) in enumerate(zip(_words(s.taps), s.taps, strict=True))]
    for d, i in enumerate(print_.indices(s.out.dims)):
        k = number.get(d)
        counts += [] if k is None else [length(s.a.dims[len(there)])]
        there += [i] if k is None else [reach[k].window, f"j{k}"]
    yield from _asked(s, reach, counts, "", print_(s.a, there), print_)


def _unpool(s: Unpool, print_: Statements) -> Iterator[str]:
    """Each element adds up the windows that reach it, or those of which it is the winner."""
    there = [*print_.indices(s.out.dims)]
    reach = [_Reach(f"j{k}", w, t, _apart(s.taps)) for k, (w, t) in enumerate(zip(_words(s.taps), s.taps, strict=True))]
    for r in reach:
        there[r.tap.dim] = r.window
    told = f"{print_(s.won, there)} == {window_number(s.taps)}" if s.won is not None else ""
    yield from _asked(s, reach, [length(s.g.dims[t.dim]) for t in s.taps], told, print_(s.g, there), print_)


def _asked(s: Refold | Unpool, reach: Sequence[_Reach], counts: Sequence[str], told: str, value: str,
           print_: Statements) -> Iterator[str]:
    """What comes to an element: from the one window that may reach it, or from several."""
    at = print_.indices(s.out.dims)
    named = f"const int {', '.join(x for r in reach for x in r.named(at[r.tap.dim]))};"
    within = " && ".join([*(x for r, n in zip(reach, counts, strict=True) for x in r.within(n)), *([told] if told else [])])
    if reach[0].apart:
        yield from print_.each(s.out, [named, f"{print_(s.out)} = {within} ? {value} : 0;"])
        return
    inner = loops([(r.element, r.tap.k) for r in reach], [named, f"if ({within}) total += {value};"])
    yield from print_.each(s.out, ["real total = 0;", *inner, f"{print_(s.out)} = total;"])


def _words(taps: Sequence[Tap]) -> Sequence[str]:
    """What places along tapped dims are called."""
    return ("row", "column") if len(taps) == 2 else ("place", *(f"place{k}" for k in range(2, len(taps) + 1)))[:len(taps)]


def _apart(taps: Sequence[Tap]) -> bool:
    """Whether no two windows have an element in common."""
    return all((t.k.value or t.stride + 1) <= t.stride and t.dilation == 1 for t in taps)


@dataclass(frozen=True)
class _Reach:
    """The windows that reach a position along one dim, one for each element; where windows are `apart`, one at most."""

    element: str
    word: str
    tap: Tap
    apart: bool

    @property
    def window(self) -> str:
        """The number of the window."""
        return self.word if self.apart or self.tap.stride == 1 else f"{self.word} / {self.tap.stride}"

    def named(self, p: str) -> list[str]:
        """Variables: the window and its element, or the place where the window would begin."""
        t = self.tap
        p = f"{p} + {t.lo}" if t.lo else p
        if not self.apart:
            return [f"{self.word} = {p} - {times(self.element, t.dilation)}"]
        p = f"({p})" if t.lo else p
        return [f"{self.word} = {p} / {t.stride}", f"{self.element} = {p} % {t.stride}"]

    def within(self, count: str) -> list[str]:
        """What is true where there is such a window, of `count`."""
        t = self.tap
        if self.apart:
            return [f"{self.word} < {count}", *([f"{self.element} < {t.k}"] if t.k.value != t.stride else [])]
        steps = [f"{self.word} % {t.stride} == 0"] if t.stride > 1 else []
        return [f"{self.word} >= 0", *steps, f"{self.window} < {count}"]


__all__ = ["Pooled", "pooled", "print_pooled", "print_windows"]
