"""The table of stable forms: naive formulas of exponentials and logarithms, and what they become.

Each rule is an identity wherever its left side is computed exactly; where that overflows, underflows or cancels, the right
side is right. What they share is `exponents`: a positive expression is kept as the exponential of something.
"""

from __future__ import annotations

import math

from ..algebra import Rule, any_of, constant, number, numbers, rule, structure, term
from ..graph import At, Broadcast, Contract, Expr, Map, Move, Reduce, Shift, Stop, apply
from .exponents import Exponents, Term, bounded, normalised
from .moment_rules import joined, linear_terms

STABLE = "stabilised"
x, y, z, w = any_of("x y z w")
c, d = numbers("c d")


def _fn(name: str):  # type: ignore[no-untyped-def]
    return lambda *args: term(name, *args)


exp, log, log1p, expm1, sqrt = _fn("exp"), _fn("log"), _fn("log1p"), _fn("expm1"), _fn("sqrt")
sigmoid, softplus, tanh, absolute, maximum = _fn("sigmoid"), _fn("softplus"), _fn("tanh"), _fn("abs"), _fn("maximum")

PATTERNS: tuple[Rule, ...] = tuple(rule(left, right, when, STABLE) for left, right, when in (
    (exp(x) - 1, expm1(x), None),                                # exp(x) - 1 -> expm1(x)
    (exp(x) + -1, expm1(x), None),                               # exp(x) + -1 -> expm1(x)
    (1 - exp(x), -expm1(x), None),                               # 1 - exp(x) -> -expm1(x)
    (1 + expm1(x), exp(x), None),                                # 1 + expm1(x) -> exp(x)
    (1 - sigmoid(x), sigmoid(-x), None),                         # 1 - sigmoid(x) -> sigmoid(-x)
    (1 - tanh(x), 2 * sigmoid(-2 * x), None),                    # 1 - tanh(x) -> 2*sigmoid(-2*x)
    (1 + tanh(x), 2 * sigmoid(2 * x), None),                     # 1 + tanh(x) -> 2*sigmoid(2*x)
    (1 - tanh(x) ** 2, 4 * (sigmoid(2 * x) * sigmoid(-2 * x)), None),    # 1 - tanh(x)**2 -> 4*sigmoid(2*x)*sigmoid(-2*x)
    (2 * sigmoid(x) - 1, tanh(0.5 * x), None),                   # 2*sigmoid(x) - 1 -> tanh(0.5*x)
    (1 - 2 * sigmoid(x), -tanh(0.5 * x), None),                  # 1 - 2*sigmoid(x) -> -tanh(0.5*x)
    (expm1(x) * sigmoid(-x), tanh(0.5 * x), None),               # expm1(x)*sigmoid(-x) -> tanh(0.5*x)
    (sigmoid(x) / sigmoid(-x), exp(x), None),                    # sigmoid(x)/sigmoid(-x) -> exp(x)
    (exp(x) * sigmoid(-x), sigmoid(x), None),                    # exp(x)*sigmoid(-x) -> sigmoid(x)
    (exp(-x) * sigmoid(x), sigmoid(-x), None),                   # exp(-x)*sigmoid(x) -> sigmoid(-x)
    (sigmoid(-x) / sigmoid(x), exp(-x), None),                   # sigmoid(-x)/sigmoid(x) -> exp(-x)
    (softplus(-x) - softplus(x), -x, None),                      # softplus(-x) - softplus(x) -> -x
    (exp(-softplus(x)), sigmoid(-x), None),                      # exp(-softplus(x)) -> sigmoid(-x)
    (exp(x - softplus(x)), sigmoid(x), None),                    # exp(x - softplus(x)) -> sigmoid(x)
    (log1p(exp(x)), softplus(x), None),                          # log1p(exp(x)) -> softplus(x)
    (log1p(-exp(x)), term("log1mexp", x), None),                 # log1p(-exp(x)) -> log1mexp(x)
    (log1p(expm1(x)), x, None),                                  # log1p(expm1(x)) -> x
    (expm1(log1p(x)), x, None),                                  # expm1(log1p(x)) -> x
    (log1p(-sigmoid(x)), -softplus(x), None),                    # log1p(-sigmoid(x)) -> -softplus(x)
    (softplus(x) - x, softplus(-x), None),                       # softplus(x) - x -> softplus(-x)
    (x - softplus(x), -softplus(-x), None),                      # x - softplus(x) -> -softplus(-x)
    (softplus(-x) + x, softplus(x), None),                       # softplus(-x) + x -> softplus(x)
    (softplus(x) - softplus(-x), x, None),                       # softplus(x) - softplus(-x) -> x
    (maximum(x, 0) + softplus(-absolute(x)), softplus(x), None),         # max(x, 0) + softplus(-|x|) -> softplus(x)
    (term("relu", x) + softplus(-absolute(x)), softplus(x), None),       # relu(x) + softplus(-|x|) -> softplus(x)
    # with a term between, the same value with the right derivative at 0, where max and |x| have a kink each
    ((maximum(x, 0) - y) + softplus(-absolute(x)), (0.5 * (x + absolute(x)) - y) + softplus(-absolute(x)), None),
    ((term("relu", x) - y) + softplus(-absolute(x)), (0.5 * (x + absolute(x)) - y) + softplus(-absolute(x)), None),
    (maximum(x, y) + softplus(-absolute(x - y)), term("logaddexp", x, y), None),     # max(x, y) + softplus(-|x - y|)
    (expm1(x) / x, term("exprel", x), None),                     # expm1(x)/x -> exprel(x)
    (x / expm1(x), 1 / term("exprel", x), None),                 # x/expm1(x) -> 1/exprel(x)
    (expm1(-x) / x, -term("exprel", -x), None),                  # expm1(-x)/x -> -exprel(-x)
    (sqrt(x ** 2), absolute(x), None),                           # sqrt(x**2) -> abs(x)
    (log(x ** 2), 2 * log(absolute(x)), None),                   # log(x**2) -> 2*log(abs(x))
    (log(sqrt(x)), 0.5 * log(x), None),                          # log(sqrt(x)) -> 0.5*log(x)
    (log(1 / x), -log(x), None),                                 # log(1/x) -> -log(x)
    (log(absolute(absolute(x))), log(absolute(x)), None),        # log(abs(abs(x))) -> log(abs(x))
))

OPAQUE: tuple[Rule, ...] = tuple(rule(left, right, when, STABLE) for left, right, when in (
    (log(1 + x), log1p(x), None),                                # log(1 + x) -> log1p(x)
    (log(1 - x), log1p(-x), None),                               # log(1 - x) -> log1p(-x)
    (log(x - -1), log1p(x), None),
))


def exponential_rules(ex: Exponents) -> tuple[Rule, ...]:
    """The rules that ask for exponents."""

    @structure("log(exp(u)) -> u", "log", note=STABLE)
    def log_of(e: Expr) -> Expr | None:
        return _log(e.args[0], ex)

    @structure("log1p(a) -> log(1 + a)", "log1p", note=STABLE)
    def log1p_of(e: Expr) -> Expr | None:
        """log(1 + exp(u)) and log(1 - exp(u)) where the exponential is hidden in a product or a quotient."""
        a = e.args[0]
        if isinstance(a, Map) and a.f == "neg":
            u = ex.of(a.args[0])
            return None if u is None else apply("log1mexp", u)
        u = ex.of(a)
        return None if u is None else apply("softplus", u)

    @structure("exp(u)/(exp(u) + exp(v)) -> sigmoid(u - v)", "div", note=STABLE)
    def quotient_of(e: Expr) -> Expr | None:
        return quotient(e.args[0], e.args[1], ex)

    @structure("exp(u)*exp(v) -> exp(u + v)", "mul", note=STABLE)
    def product_of(e: Expr) -> Expr | None:
        return _product(e.args[0], e.args[1], ex)

    @structure("sqrt(exp(u)) -> exp(u/2), exp(u)**c -> exp(c*u)", "sqrt", "pow", "square", note=STABLE)
    def power_of(e: Expr) -> Expr | None:
        assert isinstance(e, Map)
        return _power(e, ex)

    return (log_of, log1p_of, quotient_of, product_of, power_of)


def _product(a: Expr, b: Expr, ex: Exponents) -> Expr | None:
    """One exponential for a product of two; what an exponential with a minus divides as a quotient."""
    if not (_is_exp(a) or _is_exp(b)) or (normalised(a) and normalised(b)):
        return None
    u, v = ex.of(a), ex.of(b)
    if u is not None and v is not None:
        return apply("exp", u + v)
    for top, divisor in ((a, v), (b, u)):                        # (exp(u) - exp(v)) * exp(-w), sum(w * exp(u)) * exp(-v)
        if divisor is not None and _reciprocal(divisor):
            return over_exponential(top, -divisor, ex)
    return None


def _power(e: Map, ex: Exponents) -> Expr | None:
    """Every power of an exponential; a power below 1 of what may have underflowed."""
    a = e.args[0]
    u = ex.of(a)
    if u is None or normalised(a) or (e.f == "square" and not _is_exp(a)):
        return None
    if e.f != "pow":
        return apply("exp", (2 if e.f == "square" else 0.5) * u)
    power = number(e.args[1])
    small = power is not None and power < 1
    return apply("exp", e.args[1] * u) if small or _is_exp(a) else None



def _reciprocal(u: Expr) -> bool:
    while isinstance(u, Move | Shift | At):
        u = u.args[0]
    return isinstance(u, Map) and u.f == "neg"


def over_exponential(a: Expr, v: Expr, ex: Exponents) -> Expr | None:
    """a/exp(v), where exp(v) is itself a sum of two, or a is a weighted sum of exponentials."""
    if isinstance(v, Map) and v.f == "neg" and isinstance(v.args[0], Map) and v.args[0].f == "neg":
        v = v.args[0].args[0]
    if isinstance(v, Map) and v.f == "logaddexp" and (above := ex.terms(a)) is not None and len(above) == 2:
        return _two_terms(a, above, [(1.0, v.args[0]), (1.0, v.args[1])])
    return weighted_quotient(a, v, ex)


def difference(u: Expr, v: Expr) -> Expr:
    """u - v without the terms that both have: exp(x)/(n*exp(x)) is exp(-log(n)), at any x."""
    left, right = linear_terms(u, 1, 4), linear_terms(v, -1, 4)
    common = [t for sign, t in left if (-sign, t) in right]
    if not common:
        return u - v
    for t in common:
        sign = next(s for s, n in left if n is t)
        if (-sign, t) in right:
            left.remove((sign, t))
            right.remove((-sign, t))
    return joined([*left, *right]) or constant(0, u)


def _is_exp(e: Expr) -> bool:
    while isinstance(e, Move | Shift | At):
        e = e.args[0]
    return isinstance(e, Map) and e.f == "exp"


# ---------------------------------------------------------------- logarithms

def _log(a: Expr, ex: Exponents) -> Expr | None:
    """log(a) in a stable form, or None where there is nothing to gain."""
    if number(a) is not None:
        return None
    if (u := ex.of(a)) is not None:
        return u
    match a:
        case Map("mul", (p, q)):
            u, v = ex.or_log(p), ex.or_log(q)
            if ex.of(p) is not None or ex.of(q) is not None:
                return (apply("log", p) if u is None else u) + (apply("log", q) if v is None else v)
        case Map("div", (p, q)):
            u, v = ex.or_log(p), ex.or_log(q)
            if ex.of(p) is not None or ex.of(q) is not None:
                return (apply("log", p) if u is None else u) - (apply("log", q) if v is None else v)
        case Map("neg", (Map("expm1", (u,)),)):
            return apply("log1mexp", u)
        case Map("expm1", (u,)):
            return u + apply("log1mexp", -u)
        case Map("sub", (p, q)) if ex.of(p) is not None and number(q) is None and ex.of(q) is not None:
            u, v = ex.of(p), ex.of(q)
            return None if u is None or v is None else u + apply("log1mexp", v - u)
        case Map("sub", (p, q)) if (number(p) or 0) > 0 and (v := ex.of(q)) is not None:
            shift = math.log(number(p) or 1)
            return shift + apply("log1mexp", v - shift)
        case Map("pow", (p, n)) if isinstance(k := number(n), int):
            return apply("mul", n, apply("log", p if k % 2 else apply("abs", p)))
        case Reduce(kind="sum") | Contract():
            return weighted_sum(a, ex)
    return None


def weighted_sum(a: Reduce | Contract, ex: Exponents) -> Expr | None:
    """log(sum(w * exp(u))) = m + log(sum(w * exp(u - m))), m = max(u): for weights of unknown sign."""
    exps = [k for k, p in enumerate(a.args) if _is_exp(p)] if isinstance(a, Contract) else []
    if isinstance(a, Contract) and len(exps) == 1 and not isinstance(a.args[1 - exps[0]], Stop):
        k = exps[0]
        p, labels = a.args[k], (a.la, a.lb)[k]
        u = ex.of(p)
        if u is None:
            return None
        over: tuple[str | int, ...] = (*(x for x in p.axes if x not in a.axes),
                                       *(i for i, m in enumerate(labels) if m not in a.lo))
        return _shifted(a, u, over, lambda v: a.with_args(tuple(v if i == k else q for i, q in enumerate(a.args))), labels)
    if isinstance(a, Reduce) and (parts := _weight(a.args[0], ex)) is not None:
        weight, u = parts
        return _shifted(a, u, a.over, lambda v: Reduce("sum", weight(v), a.over), None)
    return None


def _shifted(a: Reduce | Contract, u: Expr, over: tuple[str | int, ...], remake, labels) -> Expr | None:  # type: ignore[no-untyped-def]
    """m + log(remake(exp(u - m))) with m the maximum of u over what is summed."""
    if _is_shifted(u) or not over:
        return None
    m = Stop(Reduce("max", u, over))
    kept = tuple(i for i in range(len(u.shape)) if i not in over)
    inner = remake(apply("exp", u - Broadcast(m, u.axes, u.shape, kept)))
    if labels is None:
        return m + apply("log", inner)
    assert isinstance(a, Contract)
    places = tuple(a.lo.index(labels[i]) for i in kept)
    if list(places) != sorted(places):
        return None
    return Broadcast(m, a.axes, a.shape, places) + apply("log", inner)


def _is_shifted(u: Expr) -> bool:
    """Whether a maximum has been subtracted already."""
    return any(isinstance(t, Broadcast) and isinstance(t.args[0], Stop) for _, t in linear_terms(u, 1, 4))


def _weight(e: Expr, ex: Exponents):  # type: ignore[no-untyped-def]
    """e = w * exp(u) as (v -> w * v, u): one exponential in a tree of products and quotients."""
    if _is_exp(e) and (whole := ex.of(e)) is not None:
        return (lambda v: v), whole
    match e:
        case Map("mul", (a, b)):
            for first, second, swap in ((a, b, False), (b, a, True)):
                if (found := _weight(first, ex)) is not None:
                    inner, u = found
                    return (lambda v, i=inner, o=second, s=swap: o * i(v) if s else i(v) * o), u
        case Map("div", (a, b)):
            if (found := _weight(a, ex)) is not None:
                inner, u = found
                return (lambda v, i=inner: i(v) / b), u
        case Map("neg", (a,)):
            if (found := _weight(a, ex)) is not None:
                inner, u = found
                return (lambda v, i=inner: -i(v)), u
    return None


# ---------------------------------------------------------------- quotients

def quotient(a: Expr, b: Expr, ex: Exponents) -> Expr | None:
    """a/b where b is a sum of exponentials: sigmoid, tanh, softmax, and what stays finite in their place."""
    below = ex.terms(b)
    if below and len(below) == 2 and all(t[0] > 0 for t in below) and not _bounded(b):
        above = ex.terms(a)
        if above is not None and 1 <= len(above) <= 2 and (found := _two_terms(a, above, below)) is not None:
            return found
        return _over_two(a, below, ex)
    v = ex.of(b)
    if v is None or (isinstance(b, Map) and b.f == "sigmoid"):
        return None
    u = ex.or_log(a)
    if u is not None:
        return apply("exp", difference(u, v))
    return apply("mul", a, apply("exp", -v)) if _is_exp(b) else weighted_quotient(a, v, ex)


def _bounded(b: Expr) -> bool:
    """c + sigmoid(x) is exact as it stands."""
    return isinstance(b, Map) and b.f == "add" and any(bounded(a) for a in b.args)


def _two_terms(a: Expr, above: list[Term], below: list[Term]) -> Expr | None:
    """(n1*exp(u) + n2*exp(v)) / (d1*exp(u) + d2*exp(v)) = r1*sigmoid(w) + r2*sigmoid(-w), w = u - v + log(d1/d2)."""
    (d1, u), (d2, v) = below
    tops = {t[1]: t[0] for t in above}
    if any(t not in (u, v) for t in tops):
        return None
    r1, r2 = tops.get(u, 0.0) / d1, tops.get(v, 0.0) / d2
    if v is None and u is not None:
        w = u
    elif u is None and v is not None:
        w = -v
    elif u is not None and v is not None:
        w = u - v
    else:
        return None
    if d1 != d2:
        w = w + math.log(d1 / d2)
    if r1 == -r2:                                                # r*(2*sigmoid(w) - 1)
        return r1 * apply("tanh", 0.5 * w)
    if r2 == 0:
        return r1 * apply("sigmoid", w)
    if r1 == 0:
        return r2 * apply("sigmoid", -w)
    return constant(r1, a) if r1 == r2 else r2 + (r1 - r2) * apply("sigmoid", w)


def _over_two(a: Expr, below: list[Term], ex: Exponents) -> Expr | None:
    """Any numerator over c + d*exp(u), and over c*exp(u) + d*exp(v), which may overflow."""
    (d1, u), (d2, v) = below
    if u is not None and v is not None:
        top = ex.of(a)
        total = apply("logaddexp", u + math.log(d1), v + math.log(d2))
        return apply("exp", top - total) if top is not None else a * apply("exp", -total)
    if u is None:
        (d1, u), (d2, v) = (d2, v), (d1, u)
    if u is None:
        return None
    top = ex.of(a)
    if top is not None:                                          # exp(t)/(c + d*exp(u))
        return apply("exp", top - apply("softplus", u + math.log(d1 / d2)) - math.log(d2))
    return (1 / d2) * (a * apply("sigmoid", -(u + math.log(d1 / d2))))


def weighted_quotient(a: Expr, v: Expr, ex: Exponents) -> Expr | None:
    """sum(a * exp(u)) / exp(v) = sum(a * exp(u - v)): an average with the weights of a softmax, the sums apart."""
    if isinstance(a, Reduce) and a.kind == "sum" and (parts := _weight(a.args[0], ex)) is not None:
        weight, u = parts
        kept = tuple(i for i in range(len(u.shape)) if i not in a.over)
        return Reduce("sum", weight(apply("exp", u - Broadcast(v, u.axes, u.shape, kept))), a.over)
    if isinstance(a, Contract):
        exps = [k for k, p in enumerate(a.args) if _is_exp(p)]
        if len(exps) == 1 and (u := ex.of(a.args[exps[0]])) is not None:
            k = exps[0]
            p, labels = a.args[k], (a.la, a.lb)[k]
            inner, places = (v.args[0], v.places) if isinstance(v, Broadcast) else (v, tuple(range(len(v.shape))))
            wanted = [a.lo[i] for i in places]
            spots = tuple(labels.index(m) for m in wanted if m in labels)
            if len(spots) == len(wanted) and list(spots) == sorted(spots) and {*inner.axes} <= {*p.axes}:
                moved = apply("exp", u - Broadcast(inner, p.axes, p.shape, spots))
                return a.with_args(tuple(moved if i == k else q for i, q in enumerate(a.args)))
    return None
