"""Reduce first: what is computed element by element, and then reduced over windows, is computed on what is left of it.

    max_pool(relu(a + channels(b)))  ->  relu(max_pool(a) + channels(b))       a function that never falls, on fewer elements
    avg_pool(a + channels(b))        ->  avg_pool(a) + channels(b)             likewise c*a, a/c; b and c the same in a window

Runs before differentiation, so the backward pass gets smaller arrays, too. Only where nobody else reads what stands between `a`
and the reduction, and where the reduction leaves fewer elements than it reads.

Why it is exact. For f that never falls and is defined everywhere, the maximum of f(a) is f of the maximum of a, NaN included.
The bits are the same for relu, for sums with a bias and for products with a positive number, since rounding never falls either;
for tanh, sigmoid and the like as far as their computation never falls: to rounding. The gradient goes to the first maximum of a
instead of f(a). The two differ only where f takes different a to one number: there f' is 0 (relu below 0, a saturated tanh), or
they differ by less than rounding.
Padding holds -inf, on which f is not computed: every window must hold an element that is no padding. An average is linear;
beside padding with zeros that leaves factors only, no terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..algebra import number
from ..graph import Expr, Map, Reduce, Window, apply, count
from ..ops import PRIMITIVES
from ..reach import reached
from ..system import System
from .scale import elements
from .windowed import Windowed, windowed

RISING = ("relu", "tanh", "sigmoid", "softplus", "exp", "expm1", "arctan", "erf", "add", "maximum", "minimum", "logaddexp")
NOTES = {"max": "fewer elements: max(f(a)) -> f(max(a)), f never falling",
         "sum": "fewer elements: sum(c*a + b) -> c*sum(a) + n*b"}
ROUNDS = 4                                               # reductions of reductions, one round each
Readers = Mapping[Expr, set[Expr]]


def learnt(system: System) -> list[Expr]:
    """What a training step computes of a system."""
    return [system.equations["loss*"], *(s.update for s in system.stats.values()), *(e for _, e in system.surgery.values())]


def shown(system: System) -> list[Expr]:
    """What `predict` and `evaluate` compute of a system."""
    averages = [*([system.loss] if system.loss else []), *system.metrics.values()]
    return [*(system.equations[k] for k in system.outputs), *(e for a in averages for e in (a.total, a.count))]


def reduce_first(system: System, wanted: Callable[[System], Iterable[Expr]]) -> System:
    """The system with such reductions rewritten; `wanted` is what of a system is computed."""
    for _ in range(ROUNDS):
        goals, nodes, readers = read(system, wanted)
        found = [w for e in nodes if isinstance(e, Reduce) and e.kind in NOTES and (w := windowed(e)) is not None]
        mapping: dict[Expr, Expr] = {w.whole: new for w in found if (new := _after(w, readers, goals, system)) is not None}
        if not mapping:
            break
        told: dict[Expr, tuple[str, ...]] = {
            e: (*system.notes.get(e, ()), NOTES[e.kind]) for e in mapping if isinstance(e, Reduce)}
        system = system.copy(notes={**system.notes, **told})
        system = system.rewrite(mapping)
    return system


def read(system: System, wanted: Callable[[System], Iterable[Expr]]) -> tuple[set[Expr], list[Expr], Readers]:
    """What is wanted of a system, every node that it reads, operands first, and who reads each."""
    goals = {system.resolve(e): None for e in wanted(system)}
    nodes, _ = reached(system, goals)
    readers: dict[Expr, set[Expr]] = {n: set() for n in nodes}
    for n in nodes:
        for a in n.args:
            readers.setdefault(system.resolve(a), set()).add(n)
    return {*goals}, nodes, readers


def _after(w: Windowed, readers: Readers, goals: set[Expr], system: System) -> Expr | None:
    """The elementwise operations below a reduction after it, or None where there are none that may go there."""
    below = [w.image, *w.links]                                  # what only this reduction may read
    fewer = elements(w.whole, system.sizes) < elements(w.image, system.sizes)
    if not fewer or any(x in goals or len(readers[x]) != 1 for x in below):
        return None
    if w.whole.kind == "sum" and not any(isinstance(x, Window) for x in w.links):
        return None
    core = w.image
    for a in _path(w, w.image):
        inside = _between(w.image, a)
        if any(x is not w.image and (x in goals or not readers[x] <= inside) for x in inside):
            break
        if w.whole.kind == "sum" or _slope(w, w.image, a) == 1:
            core = a
    if core is w.image:
        return None
    return _summed(w, w.image, core) if w.whole.kind == "sum" else _built(w, w.image, core)


def _path(w: Windowed, e: Expr) -> Iterable[Expr]:
    """What varies in a window, from the reduction's operand down, as long as it is all that varies there."""
    while isinstance(e, Map):
        varying = [a for a in dict.fromkeys(e.args) if w.narrow(a) is None]
        if e.f == "select" and w.whole.kind == "max" and (piece := _piece(e)) is not None:
            varying = [piece]
        if len(varying) != 1 or (w.whole.kind == "sum" and not _linear(w, e)):
            return
        e = varying[0]
        yield e


def _between(e: Expr, core: Expr) -> set[Expr]:
    """The nodes from e down to what reads the core."""
    found: set[Expr] = set()
    stack = [e]
    while stack:
        n = stack.pop()
        if isinstance(n, Map) and n is not core and n not in found and n.rank:
            found.add(n)
            stack.extend(n.args)
    return {n for n in found if _reads(n, core)}


def _reads(e: Expr, core: Expr) -> bool:
    return e is core or (isinstance(e, Map) and any(_reads(a, core) for a in e.args))


# ---------------------------------------------------------------- maxima

def _slope(w: Windowed, e: Expr, core: Expr) -> int | None:
    """1 where e never falls as the core grows, -1 where it never rises, 0 where it does not depend on it; None: unknown."""
    if e is core:
        return 1
    if w.narrow(e) is not None:
        return 0
    if not isinstance(e, Map):
        return None
    slopes = [_slope(w, a, core) for a in e.args]
    match e.f, slopes:
        case ("neg", [int(s)]):
            return -s
        case ("sub", [int(s), int(t)]):
            return _both(s, -t)
        case ("mul", [int(s), 0]):
            return _signed(s, e.args[1])
        case ("mul", [0, int(s)]):
            return _signed(s, e.args[0])
        case ("div", [int(s), 0]):
            return _signed(s, e.args[1])
        case ("select", _):
            return _pieces(w, e, core)
        case (f, [int(s)]) if f in RISING:
            return s
        case (f, [int(s), int(t)]) if f in RISING:
            return _both(s, t)
    return None


def _both(s: int, t: int) -> int | None:
    return None if s * t < 0 else s or t


def _signed(s: int, factor: Expr) -> int | None:
    """The slope s times that of a factor, which must be a number other than 0."""
    n = number(factor)
    return None if n is None or not n else s if n > 0 else -s


def _piece(e: Map) -> Expr | None:
    """What a choice `select(u > c, y, z)` compares with a number."""
    test = e.args[0]
    return test.args[0] if isinstance(test, Map) and test.f in ("gt", "ge") and number(test.args[1]) is not None else None


def _pieces(w: Windowed, e: Map, core: Expr) -> int | None:
    """A choice between two functions that never fall, which does not fall where one takes over from the other."""
    u = _piece(e)
    _, y, z = e.args
    if u is None or _slope(w, u, core) != 1 or not {_slope(w, y, core), _slope(w, z, core)} <= {0, 1}:
        return None
    c = number(e.args[0].args[1])
    above, below = (_value(x, u, c) for x in (y, z))
    return 1 if above is not None and below is not None and below <= above else None


def _value(e: Expr, u: Expr, c: Any) -> Any:
    """e where u is c; None where it depends on more."""
    if e is u:
        return float(c)
    if number(e) is not None:
        return float(number(e))  # type: ignore[arg-type]
    args = [_value(a, u, c) for a in e.args] if isinstance(e, Map) else [None]
    return None if None in args else PRIMITIVES[e.f].reference(*args)  # type: ignore[attr-defined]


def _built(w: Windowed, e: Expr, core: Expr) -> Expr:
    """e on the reduction of the core."""
    if e is core:
        return w.of(core)
    small = w.narrow(e)
    if small is not None:
        return small
    assert isinstance(e, Map)
    return Map(e.f, tuple(_built(w, a, core) for a in e.args))


# ---------------------------------------------------------------- sums

def _linear(w: Windowed, e: Map) -> bool:
    """Whether e is linear in its one operand that varies; terms beside it need windows without padding."""
    match e.f, e.args:
        case ("add" | "sub", (a, b)):
            return not w.padded and a is not b
        case ("mul", (a, b)):
            return a is not b
        case ("div", (_, b)):
            return w.narrow(b) is not None
    return e.f == "neg"


def _summed(w: Windowed, e: Expr, core: Expr) -> Expr:
    """The sum of e over windows, from that of the core."""
    if e is core:
        return w.of(core)
    small = w.narrow(e)
    if small is not None:
        return apply("mul", count(w.whole.args[0], w.whole.over), small)
    assert isinstance(e, Map)
    terms = e.f in ("add", "sub", "neg")
    return Map(e.f, tuple(_summed(w, a, core) if terms or w.narrow(a) is None else _built(w, a, core) for a in e.args))
