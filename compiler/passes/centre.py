"""Centre: what is left of softmax and log-softmax is computed from differences to the largest score.

    m = max(s);  u = s - m;  e = exp(u);  z = sum(e)
    s - logsumexp(s)       ->  u - log(z)
    exp(s - logsumexp(s))  ->  e / z
    a - logsumexp(s)       ->  (a - m) - log(z)          and its negative: the score of one class

`s - logsumexp(s)` is the form in which the algebra thinks, and it differentiates to softmax. As a computation it rounds
logsumexp(s) at the size of the scores: float32 scores of 100 leave 5e-5 in a gradient, scores of 1000 leave 1e-4 in a logarithm.
The centred form is right to a few eps at any size, and takes one exponential for an element where the other takes two. It is not
for before differentiation: max has a derivative there.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Broadcast, Expr, Map, Reduce, apply, postorder
from ..system import System


def centre_memo(roots: Sequence[Expr]) -> dict[Expr, Expr]:
    """Every node below the roots -> the same value with softmaxes centred."""
    nodes = list(postorder(*roots))
    centred = {d[1] for n in nodes if (d := _difference(n))} | {lse for n in nodes if (lse := _normaliser(n))}
    memo: dict[Expr, Expr] = {}
    for n in nodes:
        lse = _normaliser(n.args[0]) if isinstance(n, Map) and n.f == "exp" else None
        own = _normaliser(n)
        if lse is not None:
            _, e, z = _parts(lse, memo)
            memo[n] = e / _spread(z, lse, memo)
        elif own is not None:
            u, _, z = _parts(own, memo)
            memo[n] = u - _spread(apply("log", z), own, memo)
        elif (sides := _difference(n)) is not None:
            a, inner, sign = sides
            m, log_z = Reduce("max", memo[inner.args[0]], inner.over), apply("log", _parts(inner, memo)[2])
            memo[n] = (memo[a] - m) - log_z if sign > 0 else log_z - (memo[a] - m)
        elif isinstance(n, Reduce) and n in centred:
            s = memo[n.args[0]]
            memo[n] = Reduce("max", s, n.over) + apply("log", _parts(n, memo)[2])
        else:
            memo[n] = n.with_args(tuple(memo[a] for a in n.args))
    return memo


def centre(system: System) -> System:
    """The system, differentiated and simplified, with softmaxes centred."""
    return system.mapped(centre_memo(system.roots()))


def _normaliser(n: Expr) -> Reduce | None:
    """L where n = s - L and L = logsumexp(s), repeated along what it reduced."""
    match n:
        case Map("sub", (s, Broadcast(args=(Reduce(kind="logsumexp", args=(t,)) as lse,)) as wide)) if s is t:
            kept = tuple(i for i in range(len(s.shape)) if i not in lse.over)
            return lse if wide.places == kept else None
    return None


def _difference(n: Expr) -> tuple[Expr, Reduce, int] | None:
    """(a, L, 1) where n = a - L, and (a, L, -1) where n = L - a, for L = logsumexp(...) itself."""
    match n:
        case Map("sub", (Reduce(kind="logsumexp") as lse, a)):
            return a, lse, -1
        case Map("sub", (a, Reduce(kind="logsumexp") as lse)):
            return a, lse, 1
    return None


def _parts(lse: Reduce, memo: dict[Expr, Expr]) -> tuple[Expr, Expr, Expr]:
    """(u, e, z) of the head of this file."""
    s = memo[lse.args[0]]
    u = s - _spread(Reduce("max", s, lse.over), lse, memo)
    e = apply("exp", u)
    return u, e, Reduce("sum", e, lse.over)


def _spread(a: Expr, lse: Reduce, memo: dict[Expr, Expr]) -> Expr:
    s = memo[lse.args[0]]
    return Broadcast(a, s.axes, s.shape, tuple(i for i in range(len(s.shape)) if i not in lse.over))
