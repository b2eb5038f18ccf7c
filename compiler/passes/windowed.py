"""Reductions of windows: what a reduction reads through windows and paddings, and which dims it leaves alone.

Input    a Reduce
Output   a `Windowed`: the image below its windows, and how values of the image's form become values of the result's
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from ..algebra import number
from ..graph import Broadcast, Concat, Expr, Map, Pad, Reduce, Window


@dataclass(frozen=True)
class Windowed:
    """`whole` reduces `image` through `links`, the one next to the image first.

    `places`: feature of the image -> feature of the result. What is not in it, and the axes in `gone`, is reduced, by windows
    or as a whole.
    """

    whole: Reduce
    image: Expr
    links: tuple[Expr, ...]
    places: dict[int, int]
    gone: frozenset[str]

    @property
    def padded(self) -> bool:
        return any(isinstance(x, Concat | Pad) for x in self.links)

    def of(self, a: Expr) -> Expr:
        """The same reduction of another image."""
        for link in self.links:
            a = link.with_args(tuple(a if k == _carries(link) else x for k, x in enumerate(link.args)))
        return Reduce(self.whole.kind, a, self.whole.over)

    def narrow(self, e: Expr) -> Expr | None:
        """A value of the image's form, the same all over a window, in the form of the result; None where it varies."""
        if isinstance(e, Broadcast):
            inner = e.args[0]
            if {*inner.axes} & self.gone or any(p not in self.places for p in e.places):
                return None
            return Broadcast(inner, self.whole.axes, self.whole.shape, tuple(self.places[p] for p in e.places))
        if isinstance(e, Map):
            args = [self.narrow(a) for a in e.args]
            return None if None in args else Map(e.f, tuple(a for a in args if a is not None))
        return None


def windowed(e: Reduce) -> Windowed | None:
    """What a reduction reads through windows; None where a window could hold padding alone, or zeros that may be the maximum."""
    links: list[Expr] = []
    a = e.args[0]
    while isinstance(a, Window) or (isinstance(a, Concat | Pad) and links and _padding(a, links[0])):
        if isinstance(a, Pad if e.kind == "max" else Concat):
            return None
        links.insert(0, a)
        a = a.args[_carries(a)]
    now: list[int | None] = list(range(len(a.shape)))            # feature after the links -> feature of the image; None: elements
    reduced = {o for o in e.over if isinstance(o, str)}
    touched: set[int | None] = set()
    for link in links:
        at = link.at  # type: ignore[attr-defined]
        touched.add(now[at])
        if isinstance(link, Window):
            now.insert(at + 1, None)
    touched |= {now[o] for o in e.over if isinstance(o, int) and now[o] is not None}
    left = [p for k, p in enumerate(now) if k not in e.over]
    if None in touched or None in left:                          # windows of elements, or elements that are kept
        return None
    return Windowed(e, a, tuple(links), {p: k for k, p in enumerate(left) if p is not None and p not in touched},
                    frozenset(reduced))


def _carries(link: Expr) -> int:
    """The operand of a link that is not padding."""
    inside = [k for k, x in enumerate(link.args) if not isinstance(link, Concat) or number(x) != -inf]
    return inside[0] if inside else 0


def _padding(a: Concat | Pad, above: Expr) -> bool:
    """Whether a pads what the windows above it are of, and each of those holds an element that is no padding.

    Windows of k elements, d apart, reach over lo and hi elements of padding where (k - 1)*d >= lo, hi; and they do not step
    over the n elements inside where d <= n.
    """
    if not isinstance(above, Window) or above.at != a.at:
        return False
    inside = [k for k, x in enumerate(a.args) if isinstance(a, Pad) or number(x) != -inf]
    if len(inside) != 1:
        return False
    n = a.args[inside[0]].shape[a.at]
    lo = a.lo if isinstance(a, Pad) else a.offsets[inside[0]]
    reach = (above.k - 1) * above.dilation
    room = [(reach - x).value for x in (lo, a.shape[a.at] - lo - n)]
    steps = above.dilation == 1 or (n.value is not None and n.value >= above.dilation)
    return steps and all(r is not None and r >= 0 for r in room)
