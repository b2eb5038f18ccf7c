"""Folding: in evaluation, what follows a product channel by channel goes into its weights.

    (W @ x - mu) / s * g + b   ->   (W * g/s) @ x + (b - mu * g/s)             convolutions likewise, grouped and transposed too
                               ->   g/s * (W @ x) + (b - mu * g/s)             where W has more elements than that saves

So batch normalisation with stored statistics costs no pass over the activations but the bias's. General: any chain of sums,
differences, products and quotients with values that have no axes, on a product that is linear in weights without axes; only
where nobody else reads what stands between. For evaluation only: in training mu and s have a gradient of their own.

The result is the same up to rounding at the size of W @ x and mu, at which W @ x is rounded anyway. What is exact before it is
shifted, an input say, is left as it stands: there x - mu may be exact where x*a - mu*a is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..algebra import number
from ..graph import Broadcast, Const, Contract, Expr, Fold, Map, Pad, Reshape, Slice, Transpose, apply
from ..system import System
from .reduce_first import Readers, read
from .scale import elements

NOTE = "its factors go into the weights: (W @ x)*a + b -> (W*a) @ x + b"


@dataclass
class Chain:
    """e = factor * (core + shift) + term along the features `places`, in so many elementwise steps; None: 1, or 0."""

    core: Expr
    places: tuple[int, ...] = ()
    shift: Expr | None = None
    factor: Expr | None = None
    term: Expr | None = None
    steps: int = 0
    numbers: bool = True                                         # whether all factors are numbers
    inside: list[Expr] = field(default_factory=list)

    @property
    def offset(self) -> Expr | None:
        """What is added to factor * core."""
        moved = self.shift if self.shift is None or self.factor is None else self.shift * self.factor
        return self.term if moved is None else moved if self.term is None else moved + self.term


def folded(system: System, wanted: Callable[[System], Iterable[Expr]]) -> System:
    """The system as it is evaluated, with such chains folded; `wanted` is what of a system is computed."""
    goals, nodes, readers = read(system, wanted)
    mapping: dict[Expr, Expr] = {}
    parts: dict[Expr, str] = {}
    done: set[Expr] = set()
    for e in reversed(nodes):
        if isinstance(e, Map) and e not in done:
            chain = _chain(e, readers, goals)
            if chain.steps:
                done.update(chain.inside)
                new = _folded(e, chain, readers, goals, system)
                if new is not None:
                    mapping[e] = new
                    parts |= _named(system.names.get(e), chain)
    if not mapping:
        return system
    taken = {*system.names.values(), *system.params, *system.inputs, *system.stats}
    names = {**{e: n for e, n in parts.items() if n not in taken}, **system.names}
    return system.copy(names=names, notes={**system.notes, **{e: (NOTE,) for e in mapping}}).rewrite(mapping)


def _named(name: str | None, c: Chain) -> dict[Expr, str]:
    """What the factor and the term of a named value are called."""
    found = {"scale": c.factor, "shift": c.offset}
    return {e: f"{name}.{word}" for word, e in found.items() if isinstance(e, Map) and name}


def _folded(e: Expr, c: Chain, readers: Readers, goals: set[Expr], system: System) -> Expr | None:
    """The chain in its cheapest form, or None where that is what it is."""
    if c.numbers or c.factor is None or not _linear(c.core):
        return None
    term = None if c.offset is None else Broadcast(c.offset, e.axes, e.shape, c.places)
    inner, weights = _scaled(c.core, c.factor, c.places, readers, goals)
    if inner is not None and elements(weights, system.sizes) <= (c.steps - (term is not None)) * elements(e, system.sizes):
        return inner if term is None else Map("add", (inner, term))
    if c.steps <= 1 + (term is not None):
        return None
    scaled = Map("mul", (Broadcast(c.factor, e.axes, e.shape, c.places), c.core))
    return scaled if term is None else Map("add", (scaled, term))


# ---------------------------------------------------------------- the chain

def _chain(e: Expr, readers: Readers, goals: set[Expr]) -> Chain:
    """The steps from e down to what they are taken on, put together from there up."""
    steps: list[tuple[str, Expr | None, bool]] = []              # operation, constant, whether that comes second
    inside = [e]
    core = e
    while isinstance(core, Map) and (core is e or (core not in goals and len(readers[core]) == 1)):
        found = _step(core)
        if found is None:
            break
        inside.append(core)
        steps.append(found[0])
        core = found[1]
    small = [c for _, c, _ in steps if c is not None]
    places = tuple(sorted({p for c in small if isinstance(c, Broadcast) for p in c.places}))
    out = Chain(core, places, steps=len(steps), inside=inside)
    shape = tuple(core.shape[p] for p in places)
    for f, constant, second in reversed(steps):
        value = None if constant is None else _narrow(constant, places, shape)
        _extend(out, f, value, second)
        out.numbers &= f not in ("mul", "div") or constant is None or number(constant) is not None
    return out


def _step(e: Map) -> tuple[tuple[str, Expr | None, bool], Expr] | None:
    """One step: its operation and constant, and what it is taken on."""
    if e.f == "neg":
        return ("neg", None, True), e.args[0]
    if e.f in ("add", "sub", "mul", "div"):
        a, b = e.args
        if _constant(b):
            return (e.f, b, True), a
        if _constant(a) and e.f != "div":
            return (e.f, a, False), b
    return None


def _constant(e: Expr) -> bool:
    return isinstance(e, Broadcast) and not e.args[0].axes


def _narrow(e: Expr, places: tuple[int, ...], shape: tuple[object, ...]) -> Expr:
    """A constant along `places` alone."""
    assert isinstance(e, Broadcast)
    return Broadcast(e.args[0], (), shape, tuple(places.index(p) for p in e.places))  # type: ignore[arg-type]


def _extend(c: Chain, f: str, value: Expr | None, second: bool) -> None:
    """One more step at the end of the chain."""
    if f == "neg" or (f == "sub" and not second):                # c - x is -x, and c more
        c.factor = -(Broadcast(Const(1), (), tuple(c.core.shape[p] for p in c.places), ()) if c.factor is None else c.factor)
        c.term = None if c.term is None else -c.term
        f = "add"
    if value is None:
        return
    if f in ("mul", "div"):
        c.factor = value if c.factor is None and f == "mul" else apply(f, 1 if c.factor is None else c.factor, value)
        c.term = None if c.term is None else apply(f, c.term, value)
        return
    value = value if f == "add" else -value
    if c.factor is None:
        c.shift = value if c.shift is None else c.shift + value
    else:
        c.term = value if c.term is None else c.term + value


# ---------------------------------------------------------------- the product

def _linear(e: Expr) -> bool:
    """Whether e is a product, seen through what only moves it."""
    while isinstance(e, Fold | Slice | Pad | Reshape):
        e = e.args[0]
    return isinstance(e, Contract)


def _scaled(e: Expr, factor: Expr, places: tuple[int, ...], readers: Readers, goals: set[Expr]) -> tuple[Expr | None, Expr]:
    """e times a factor along some features, which its weights take; and those weights. None where they cannot."""
    nowhere = None, e
    if e in goals or len(readers[e]) != 1:
        return nowhere
    if isinstance(e, Contract):
        for k, labels in enumerate((e.la, e.lb)):
            at = [labels.index(e.lo[p]) if e.lo[p] in labels else -1 for p in places]
            w = e.args[k]
            if not w.axes and -1 not in at:
                order = tuple(sorted(range(len(at)), key=at.__getitem__))
                wide = Broadcast(Transpose(factor, order), (), w.shape, tuple(sorted(at)))
                return e.with_args(tuple(Map("mul", (w, wide)) if i == k else a for i, a in enumerate(e.args))), w
        return nowhere
    below = _below(e, places)
    if below is None:
        return nowhere
    a = e.args[0]
    inner, w = _scaled(a, Reshape(factor, tuple(a.shape[p] for p in below)), below, readers, goals)
    return (None if inner is None else e.with_args((inner,))), w


def _below(e: Expr, places: tuple[int, ...]) -> tuple[int, ...] | None:
    """Where features of a moved value stand before the move; None where it takes them apart."""
    match e:
        case Fold(at=at) if at not in places:
            return tuple(p + (p > at) for p in places)
        case Slice(at=at) | Pad(at=at) if at not in places:
            return places
        case Reshape() if places == (0,):
            a = e.args[0]
            return (0, 1) if len(a.shape) > 1 and e.shape == (a.shape[0] * a.shape[1], *a.shape[2:]) else None
    return None
