"""Scalar factors (numbers, 1/B, 1/(B*T)) are collected and applied once, to the smallest array that they reach.

A factor commutes with everything linear: products, quotients, sums of terms that share it, contractions, moves, delays with
zero boundaries. Every node n is n = factor * core; a linear reader may take the core and carry the factor on. A factor is
applied at a node where some reader is not linear, or where that node is smaller than its readers together.

    d_p = broadcast(1/B) * exp(p - lse) - broadcast(1/B) * onehot(y)   ->   (exp(p - lse) - onehot(y)) / B
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..algebra import number
from ..graph import (
    At,
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Fold,
    Freeze,
    Map,
    Move,
    Number,
    Put,
    Reduce,
    Shift,
    Size,
    Thaw,
    apply,
    broadcast,
    postorder,
    size,
)
from .scalar_rules import moderate

UNIT = size(1)
TYPICAL = 64                                             # assumed for a batch or a sequence when arrays are compared


@dataclass(frozen=True)
class Factor:
    """number * up / down, with up and down products of sizes."""

    number: Number = 1
    up: Size = UNIT
    down: Size = UNIT

    def __mul__(self, other: Factor) -> Factor:
        up, down = _cancel(self.up * other.up, self.down * other.down)
        return Factor(_shortest(self.number * other.number), up, down)

    def inverse(self) -> Factor:
        n = self.number
        return Factor(Fraction(1, n) if isinstance(n, int | Fraction) else 1 / n, self.down, self.up)

    @property
    def sizes(self) -> tuple[Size, Size]:
        return self.up, self.down


ONE = Factor()


def _shortest(n: Number) -> Number:
    return int(n) if isinstance(n, Fraction) and n.denominator == 1 else n


def _cancel(up: Size, down: Size) -> tuple[Size, Size]:
    """Common symbols of two products of sizes drop out."""
    if len(up.terms) != 1 or len(down.terms) != 1:
        return (size(1), size(1)) if up == down else (up, down)
    (above, c), (below, d) = up.terms[0], down.terms[0]
    kept, rest = list(above), list(below)
    for s in above:
        if s in rest:
            kept.remove(s)
            rest.remove(s)
    return Size({tuple(kept): c}), Size({tuple(rest): d})


def factor_of(e: Expr) -> Factor | None:
    """A scalar made of numbers and sizes as a factor; None for any other expression."""
    if isinstance(e, Broadcast) and e.args[0].rank == 0:
        return factor_of(e.args[0])
    match e:
        case Const() if e.value and moderate(e.value):
            return Factor(e.value)
        case Extent():
            return Factor(up=e.size)
        case Map("mul" | "div" as f, (a, b)) if e.rank == 0:
            x, y = factor_of(a), factor_of(b)
            return None if x is None or y is None else x * (y if f == "mul" else y.inverse())
        case Map("neg", (a,)) if e.rank == 0:
            x = factor_of(a)
            return None if x is None else x * Factor(-1)
    return None


def scaled(core: Expr, f: Factor) -> Expr:
    """factor * core as one operation where one suffices."""
    if f == ONE:
        return core
    if f.number == 1 and f.up == 1:
        return apply("div", core, f.down)
    if f.up == 1 and f.down == 1:
        return -core if f.number == -1 else apply("mul", f.number, core)
    top: Expr = Const(f.number)
    if f.up != 1:
        top = Extent(f.up) if f.number == 1 else apply("mul", top, f.up)
    return apply("mul", core, top if f.down == 1 else apply("div", top, f.down))


def scale(roots: Sequence[Expr], sizes: Mapping[str, int]) -> dict[Expr, Expr]:
    """Every node below the roots -> the same value with its scalar factors where they cost least."""
    nodes = list(postorder(*roots))
    readers: dict[Expr, list[Expr]] = {n: [] for n in nodes}
    for n in nodes:
        for a in dict.fromkeys(n.args):
            readers[a].append(n)
    carried = {n: factor_of(n) or ONE for n in nodes}
    for n in nodes:                                              # as if no factor were ever applied
        carried[n] = _outer_factor(n, carried)
    fixed = {*roots}
    forms: dict[Expr, tuple[Factor, Expr]] = {}
    full: dict[Expr, Expr] = {}
    for n in nodes:
        f, core = _split(n, forms, full)
        full[n] = scaled(core, f) if any(forms[a][0] != ONE for a in n.args) else n.with_args(tuple(full[a] for a in n.args))
        keep = f == ONE or n in fixed or _stops_here(n, readers[n], carried, sizes)
        forms[n] = (ONE, full[n]) if keep else (f, core)
    return full


def _stops_here(n: Expr, readers: Iterable[Expr], carried: Mapping[Expr, Factor], sizes: Mapping[str, int]) -> bool:
    """Whether the factor of n is applied at n: a reader cannot carry it, or the readers are more work than n."""
    work = 0
    for r in readers:
        if carried[r] == ONE and not _linear(r, n, carried):
            return True
        others = [a for a in r.args if a is not n]
        if not any(carried[a] != ONE or factor_of(a) for a in others):       # else r has a factor to apply anyway
            work += elements(r, sizes)
    return work > elements(n, sizes) or not _all_linear(n, readers, carried)


def _all_linear(n: Expr, readers: Iterable[Expr], carried: Mapping[Expr, Factor]) -> bool:
    return all(_linear(r, n, carried) for r in readers)


def _linear(r: Expr, n: Expr, carried: Mapping[Expr, Factor]) -> bool:
    """Whether r can carry the factor of its operand n."""
    if isinstance(r, Map) and r.f == "div":
        return r.args[0] is n and r.args[1] is not n
    if isinstance(r, Contract) or (isinstance(r, Map) and r.f == "mul"):
        return r.args[0] is not r.args[1]
    return _outer_factor(r, carried) != ONE


def _outer_factor(n: Expr, known: Mapping[Expr, Factor]) -> Factor:
    """The factor that n has if its operands have those known."""
    def pure(e: Expr) -> Factor:
        return factor_of(e) or known[e]

    match n:
        case Map("mul", (a, b)):
            return pure(a) * pure(b) if n.rank or not factor_of(n) else ONE
        case Map("div", (a, b)) if not factor_of(a):
            return known[a] * pure(b).inverse()
        case Map("neg", (a,)):
            return known[a] * Factor(-1) if known[a] != ONE else ONE
        case Contract():
            return known[n.args[0]] * known[n.args[1]]
        case Map("add" | "sub", _) | Shift() | Concat():
            return _common(n.args, known)
        case Map("select", (_, a, b)):
            return _common((a, b), known)
        case Reduce(kind="sum") | Move() | At() | Put() | Freeze() | Thaw() | Fold():
            return known[n.args[0]] if factor_of(n.args[0]) is None else ONE
    return ONE


def _common(terms: Sequence[Expr], known: Mapping[Expr, Factor]) -> Factor:
    """The factor that all terms share; zeros have any factor; of different numbers before one size the size is shared."""
    factors = [known[t] for t in terms if number(t) != 0]
    if not factors or any(f.sizes != factors[0].sizes for f in factors):
        return ONE
    if all(f.number == factors[0].number for f in factors):
        return factors[0]
    first = factors[0].number
    if all(f.number in (first, -first) for f in factors):       # signs stay with the terms
        return Factor(max(first, -first), *factors[0].sizes)
    return Factor(1, *factors[0].sizes)


def _split(n: Expr, forms: Mapping[Expr, tuple[Factor, Expr]], full: Mapping[Expr, Expr]) -> tuple[Factor, Expr]:
    """n as factor * core, given the forms of its operands."""
    known = {a: forms[a][0] for a in n.args}
    f = _outer_factor(n, known)
    if f == ONE:
        return ONE, n.with_args(tuple(full[a] for a in n.args))
    cores = [forms[a][1] for a in n.args]
    match n:
        case Map("mul", (a, b)):
            left, right = factor_of(a), factor_of(b)
            if left and not right:
                return f, cores[1]
            if right and not left:
                return f, cores[0]
            if left and right:
                return ONE, n.with_args(tuple(full[a] for a in n.args))
        case Map("div", (a, b)) if factor_of(b):
            return f, cores[0]
        case Map("neg", _):
            return f, cores[0]
        case Map("add" | "sub" | "select", _) | Shift() | Concat():
            return f, n.with_args(tuple(_relative(a, f, forms, full) for a in n.args))
    return f, n.with_args(tuple(cores))


def _relative(a: Expr, f: Factor, forms: Mapping[Expr, tuple[Factor, Expr]], full: Mapping[Expr, Expr]) -> Expr:
    """The operand divided by the shared factor: its core times what is left of its number."""
    own, core = forms[a]
    if own == ONE:                                               # a zero, or the condition of a select
        return full[a]
    rest = own * f.inverse()
    return broadcast(scaled(core, rest), a.axes, a.shape)


def elements(e: Expr, sizes: Mapping[str, int]) -> int:
    """About how many elements an array has."""
    total = 1
    for s in e.dims:
        env = {name: sizes.get(name, TYPICAL) for name in s.symbols}
        total *= max(s.evaluate(env), 1)
    return total


__all__ = ["Factor", "elements", "factor_of", "scale", "scaled"]
