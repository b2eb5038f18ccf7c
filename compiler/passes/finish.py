"""Finish: what is cheaper to compute once nothing more is differentiated. Runs last on the graph, on values and gradients.

    sum(a * b) -> contract(a, b)                 one inner product instead of a product and a sum
    x*a - x*b -> x*(a - b)                       one product instead of two
    W @ onehot(x[t]) + b -> (W + b) @ onehot(..) a bias is added to the rows of a small table, not at every step (see `tables`)
    a.T @ b, (a @ b).T -> a, b by other labels  a transposition is free where a product reads or writes it
    (1-z)*softplus(x) + z*softplus(-x)           one exponential and one logarithm instead of two each: the cross-entropy of
        -> relu(x) - z*x + log1p(exp(-|x|))      a sigmoid; as exact, since relu(x) - z*x is 0 where a class is certain and right
"""

from __future__ import annotations

from ..algebra import Pattern, Rewriter, Table, any_of, rule, term
from ..graph import BOOL, Broadcast, Const, Contract, Expr, Map, OneHot, Reduce, Transpose
from ..system import System
from .centre import centre
from .quotients import quotients
from .tables import factored, tabled
from .window_rules import WINDOW_RULES

x, z = any_of("x z")


def softplus(p: Pattern) -> Pattern:
    return term("softplus", p)


def inner_product(e: Expr) -> Expr | None:
    """sum(a * b) as a contraction, where a and b stand over all its dims."""
    m = e.args[0] if isinstance(e, Reduce) and e.kind == "sum" else e
    if m is e or not isinstance(m, Map) or m.f not in ("mul", "square"):
        return None
    assert isinstance(e, Reduce)
    a, b = (m.args[0], m.args[0]) if m.f == "square" else m.args
    if isinstance(a, Broadcast) or isinstance(b, Broadcast):
        return _weighted_sum(e, a, b)
    if not (_array(a) and _array(b)):
        return None
    labels = tuple(range(len(m.shape)))
    return Contract(a, b, labels, labels, tuple(k for k in labels if k not in e.over), e.axes)


def _weighted_sum(e: Reduce, a: Expr, b: Expr) -> Expr | None:
    """sum[u] w[t, u] * v[u] as a contraction, where both factors have all that is summed.

    It pays where an axis is summed, or where the product has more axes than either factor: no array of all of them is needed.
    """
    found = []
    for x in (a, b):
        bare = x.args[0] if isinstance(x, Broadcast) else x
        labels = x.places if isinstance(x, Broadcast) else tuple(range(len(x.shape)))
        if not _array(bare) or not {*e.over} <= {*bare.axes, *labels}:
            return None
        found.append((bare, labels))
    (left, la), (right, lb) = found
    lo = tuple(k for k in range(len(a.shape)) if k not in e.over)
    pays = any(isinstance(o, str) for o in e.over) or all({*a.axes} - {*x.axes} for x in (left, right))
    if not pays or {*e.axes} - {*left.axes, *right.axes} or {*lo} - {*la, *lb}:
        return None
    return Contract(left, right, la, lb, lo, e.axes)


def _array(e: Expr) -> bool:
    """Whether a factor is an array of its own over all its dims, and of numbers."""
    mask = isinstance(e, Map) and e.f == "real" and e.args[0].type == BOOL
    return not isinstance(e, (Broadcast, Const, OneHot)) and not mask


FINISH = Table((
    rule((1 - z) * softplus(x) + z * softplus(-x),               # the cross-entropy of sigmoid(x) with z
         term("relu", x) - z * x + term("log1p", term("exp", -term("abs", x)))),
    *WINDOW_RULES,
))


def absorbed(e: Expr) -> Expr:
    """A contraction of transposed operands, or a transposed contraction, as one contraction: only its labels change."""
    if isinstance(e, Contract):
        (a, la), (b, lb) = (_untransposed(x, labels) for x, labels in zip(e.args, (e.la, e.lb), strict=True))
        return e if (a, b) == e.args else Contract(a, b, la, lb, e.lo, e.axes)
    if isinstance(e, Transpose) and isinstance(e.args[0], Contract):
        c = e.args[0]
        return Contract(c.args[0], c.args[1], c.la, c.lb, tuple(c.lo[p] for p in e.perm), c.axes)
    return e


def _untransposed(e: Expr, labels: tuple[int, ...]) -> tuple[Expr, tuple[int, ...]]:
    if not isinstance(e, Transpose):
        return e, labels
    return e.args[0], tuple(labels[e.perm.index(k)] for k in range(len(labels)))


def finish(system: System) -> System:
    """The system in its cheapest form."""
    system = quotients(centre(system))
    rewriter = Rewriter(FINISH)
    rewriter.all(list(system.roots()))
    system = system.mapped(rewriter.memo)
    nodes = list(system.nodes())
    readers: dict[Expr, int] = {}
    for n in nodes:
        for a in dict.fromkeys(n.args):
            readers[a] = readers.get(a, 0) + 1
    memo: dict[Expr, Expr] = {}
    for n in nodes:
        new = n.with_args(tuple(memo[a] for a in n.args))
        alone = tuple(readers[a] == 1 for a in n.args)           # a product that others read is there anyway
        memo[n] = _cheaper(absorbed(new), alone, system) or absorbed(new)
    return system.mapped(memo)


def _cheaper(e: Expr, alone: tuple[bool, ...], system: System) -> Expr | None:
    """One node in a cheaper form; `alone`: whether it is the only reader of each argument."""
    if isinstance(e, Reduce):
        return inner_product(e) if alone[0] else None
    return factored(e, alone) or (tabled(e, system.sizes) if all(alone) else None)
