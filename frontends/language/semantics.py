"""What the words of the language mean, as graph: shared by the text and the Python builder.

Every function takes and returns nodes and knows nothing of places in a text; what cannot be is a GraphError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set

from ...compiler.graph import (
    BATCH,
    BOOL,
    At,
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Freeze,
    GraphError,
    Input,
    Intercept,
    Map,
    Move,
    Noise,
    OneHot,
    Param,
    Reduce,
    Ref,
    Shift,
    Stop,
    apply,
    count,
    describe,
    length,
    mean,
    order_axes,
    postorder,
    product,
    total,
)
from ...compiler.system import Average, System

Over = tuple[str | int, ...]


def features(a: Expr) -> Over:
    return tuple(range(len(a.shape)))


def numeric(a: Expr) -> Expr:
    """Truth values as the numbers 0 and 1; anything else as it is."""
    return Map("real", (a,)) if a.type == BOOL else a


def back(r: Expr, a: Expr, over: Over) -> Expr:
    """A reduction of `a` over `over`, repeated to the dims of `a`."""
    return Broadcast(r, a.axes, a.shape, tuple(i for i in range(len(a.shape)) if i not in over))


def log_softmax(a: Expr, over: Over | None = None) -> Expr:
    """a - logsumexp(a), along the last feature or along `over`."""
    if over is None and not a.shape:
        raise GraphError("softmax needs a vector")
    over = (len(a.shape) - 1,) if over is None else over
    return a - back(Reduce("logsumexp", a, over), a, over)


def softmax(a: Expr, over: Over | None = None) -> Expr:
    """exp(a - logsumexp(a)), along the last feature or along `over`."""
    return apply("exp", log_softmax(a, over))


def variance(a: Expr, over: Over) -> Expr:
    """mean((a - mean(a))^2) over axes and features."""
    return mean(apply("square", a - back(mean(a, over), a, over)), over)


def reduce(kind: str, a: Expr, over: Over) -> Expr:
    """A reduction by its name in the language: those of the graph, and mean and var."""
    a = numeric(a)
    if kind == "mean":
        return mean(a, over)
    return variance(a, over) if kind == "var" else Reduce(kind, a, over)


def squares(a: Expr, b: Expr) -> Expr:
    """sum((a - b)^2) / 2 over the features."""
    return total(apply("square", a - b)) / 2


def cross_entropy(p: Expr, y: Expr) -> Expr:
    """-sum(y * log(p)) over the features; a target of classes stands for its one-hot vector."""
    if y.type.kind == "class":
        if not p.shape or y.type.n != p.shape[-1] or y.shape != p.shape[:-1]:
            raise GraphError(f"cross_entropy of {describe(p)} and {describe(y)}")
        y = OneHot(y, p.shape[-1])
    elif y.shape != p.shape or not p.shape:
        raise GraphError(f"cross_entropy of {describe(p)} and {describe(y)}")
    labels = features(p)
    return -Contract(apply("log", p), numeric(y), labels, labels, ())  # type: ignore[arg-type]


def binary_cross_entropy(p: Expr, y: Expr) -> Expr:
    """-sum(y * log(p) + (1 - y) * log(1 - p)) over the features."""
    if y.shape != p.shape:
        raise GraphError(f"binary_cross_entropy of {describe(p)} and {describe(y)}")
    y = Map("real", (y,)) if y.type.kind != "real" else y
    return -total(y * apply("log", p) + (1 - y) * apply("log", 1 - p))


def average(value: Expr, over: tuple[str, ...] = ()) -> Average:
    """What the mean of `value` over axes combines from; `over` are the axes of a mean that stood at the root.

    A value per example is summed over the batch and counted by it; one number of a batch counts as often as the batch is long; a
    number that no batch enters counts once.
    """
    value = numeric(value)
    if over and BATCH in over:
        axes = order_axes(over)
        return Average(Reduce("sum", value, axes), Extent(count(value, axes)))
    if over:
        value = mean(value, over)
    if value.axes == (BATCH,):
        return Average(Reduce("sum", value, (BATCH,)), Extent(length(BATCH)))
    if not any(BATCH in n.axes for n in postorder(value)):
        return Average(value, Const(1))
    return Average(value * Extent(length(BATCH)), Extent(length(BATCH)))


# ---------------------------------------------------------------- what is provably a probability

class Proof:
    """Decides whether every element of a value lies in [0, 1], by its form; `domains` are the inputs' declared ranges."""

    def __init__(self, domains: Mapping[str, str], equation: Callable[[str], Expr | None], assumed: Iterable[Expr] = ()) -> None:
        self.domains, self.equation = domains, equation
        self.known: dict[Expr, bool] = {e: True for e in assumed}

    def __call__(self, e: Expr) -> bool:
        if e not in self.known:
            self.known[e] = True                                  # a cycle of delays keeps what its boundaries are
            self.known[e] = self._holds(e)
        return self.known[e]

    def _holds(self, e: Expr) -> bool:
        match e:
            case Const(value=v):
                return 0 <= v <= 1
            case Input():
                return e.type.kind == "bool" or e.name in self.domains
            case Ref(name=name):
                equation = self.equation(name)
                return equation is not None and self(equation)
            case OneHot():
                return True
            case Noise(kind=kind):
                return kind == "uniform"
            case Shift() | At() | Move() | Freeze() | Stop() | Intercept() | Concat():
                return all(map(self, e.args))
            case Reduce(kind=kind):
                return kind in ("max", "min", "prod") and self(e.args[0])
            case Map():
                return self._map(e.f, e.args)
        return False

    def _map(self, f: str, args: tuple[Expr, ...]) -> bool:
        match f, args:
            case ("sigmoid", _) | ("real", _):
                return f == "sigmoid" or args[0].type == BOOL
            case "exp", (a,):
                return _is_log_softmax(a)
            case "select", (_, a, b):
                return self(a) and self(b)
            case ("mul" | "maximum" | "minimum", (a, b)):
                return self(a) and self(b)
            case ("square", (a,)):
                return self(a)
            case "sub", (a, b):
                return _bare(a) is Const(1) and self(b)
            case "add", (a, b):
                return self._mix(a, b)
            case "div", (a, b):
                return self._quotient(a, b)
        return False

    def _mix(self, a: Expr, b: Expr) -> bool:
        """w * p + (1 - w) * q in any order of its factors."""
        for w, p in _factors(a):
            for v, q in _factors(b):
                if (_complement(w, v) or _complement(v, w)) and all(map(self, (w, v, p, q))):
                    return True
        return False

    def _quotient(self, a: Expr, b: Expr) -> bool:
        """A mean of probabilities, exp(a)/sum(exp(a)), 1/(1 + exp(x))."""
        low = _bare(b)
        if isinstance(a, Reduce) and a.kind == "sum" and isinstance(low, Extent | Const):
            inner = a.args[0]
            size = product(tuple(length(o) if isinstance(o, str) else inner.shape[o] for o in a.over))
            return self(inner) and low is Extent(size)
        if isinstance(low, Reduce) and low.kind == "sum" and low.args[0] is a:
            return self(a) or (isinstance(a, Map) and a.f == "exp")
        if isinstance(low, Map) and low.f == "add" and _bare(a) is Const(1):
            return any(_bare(x) is Const(1) and isinstance(y, Map) and y.f == "exp"
                       for x, y in (low.args, low.args[::-1]))
        return False


def _bare(e: Expr) -> Expr:
    return e.args[0] if isinstance(e, Broadcast) else e


def _factors(e: Expr) -> list[tuple[Expr, Expr]]:
    """The ways in which e is a product of two, itself times 1 included."""
    pairs = [(e, Const(1))]
    return [*pairs, *([e.args, e.args[::-1]] if isinstance(e, Map) and e.f == "mul" else [])]  # type: ignore[list-item]


def _complement(w: Expr, v: Expr) -> bool:
    """v = 1 - w."""
    w, v = _bare(w), _bare(v)
    if isinstance(w, Const) and isinstance(v, Const):
        return abs(float(w.value) + float(v.value) - 1) < 1e-12
    return isinstance(v, Map) and v.f == "sub" and _bare(v.args[0]) is Const(1) and _bare(v.args[1]) is w


def _is_log_softmax(e: Expr) -> bool:
    """a - logsumexp(a), repeated along what was summed."""
    e = _bare(e)
    if isinstance(e, Move | Shift) and len(e.args) == 1:
        return _is_log_softmax(e.args[0])
    if not (isinstance(e, Map) and e.f == "sub"):
        return False
    a, b = e.args
    b = _bare(b)
    return isinstance(b, Reduce) and b.kind == "logsumexp" and b.args[0] is a


# ---------------------------------------------------------------- what a whole model must be

NOT_DIFFERENTIABLE = {"floor": "rounding", "round": "rounding", "sign": "the sign", "real": "a comparison"}


def not_differentiable(root: Expr, system: System, choices: Set[Expr] = frozenset()) -> tuple[Expr, str] | None:
    """A node between trained parameters and the root through which no gradient passes, and what it is; or None.

    The condition of a `select`, and what stands under `stop`, may hold one; so may `choices`.
    """
    depends: dict[Expr, bool] = {}
    roots = (root, *system.equations.values())
    for e in postorder(*roots):
        depends[e] = isinstance(e, Ref) or (isinstance(e, Param) and e.name in system.params) or any(
            depends[a] for a in e.args)
    seen, stack = set[Expr](), [root]
    while stack:
        e = stack.pop()
        if e in seen or not depends[e] or isinstance(e, Stop) or e in choices:
            continue
        seen.add(e)
        if isinstance(e, Map) and e.f in NOT_DIFFERENTIABLE:
            return e, NOT_DIFFERENTIABLE[e.f]
        if isinstance(e, Map) and e.type == BOOL:
            return e, "a comparison"
        if isinstance(e, Reduce) and e.kind == "argmax":
            return e, "argmax"
        if isinstance(e, Ref) and e.name in system.equations:    # not there: it is wrong, and reported
            stack.append(system.equations[e.name])
        stack.extend(reversed(e.args[1:] if isinstance(e, Map) and e.f == "select" else e.args))
    return None
