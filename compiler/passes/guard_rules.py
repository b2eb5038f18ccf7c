"""Rules on choices: what a `select` does not choose must not poison the gradient.

    select(c, log(u), b)   ->  select(c, log(select(c, u, 1)), b)      likewise quotients, roots, powers, exponentials
    x*log(x)               ->  0 where x is 0, which is the limit
"""

from __future__ import annotations

from ..algebra import Rule, constant, number, structure
from ..graph import Expr, Map, Number, apply
from .exponents import not_negative, positive
from .scale import factor_of

NOTE = "stabilised"
# primitive -> (operand that makes it singular, a harmless value of that operand)
SINGULAR: dict[str, tuple[int, Number]] = {
    "log": (0, 1), "sqrt": (0, 1), "div": (1, 1), "pow": (0, 1), "log1p": (0, 0), "log1mexp": (0, -1),
    "exp": (0, 0), "expm1": (0, 0), "exprel": (0, 0),
}
DEEPEST = 12


def harmless(f: str, u: Expr) -> bool:
    """Whether f is finite, with its derivative, at every value that u can have."""
    if f in ("exp", "expm1", "exprel"):
        return isinstance(u, Map) and u.f == "neg" and not_negative(u.args[0])
    if f == "log1p":
        return not_negative(u)
    return number(u) is None and (positive(u) or factor_of(u) is not None)


@structure("select(c, f(u), b) -> select(c, f(select(c, u, 1)), b)", "select", note=NOTE)
def guarded(e: Expr) -> Expr | None:
    """The operands of singular operations inside each branch are replaced where that branch is not taken."""
    c, a, b = e.args
    new = (c, _guard(a, c, True, DEEPEST), _guard(b, c, False, DEEPEST))
    return e.with_args(new)


def _guard(e: Expr, c: Expr, chosen: bool, depth: int) -> Expr:
    if not isinstance(e, Map) or e.f == "select" or not depth:
        return e
    args = [_guard(a, c, chosen, depth - 1) for a in e.args]
    if e.f in SINGULAR:
        k, safe = SINGULAR[e.f]
        whole = e.f == "pow" and isinstance(n := number(e.args[1]), int) and n >= 0
        if number(args[k]) is None and not whole and not harmless(e.f, args[k]) and not _guarded_already(args[k], c, chosen):
            other = constant(safe, args[k])
            args[k] = Map("select", (c, args[k], other) if chosen else (c, other, args[k]))
    return e.with_args(tuple(args))


def _guarded_already(u: Expr, c: Expr, chosen: bool) -> bool:
    match u:
        case Map("select", (d, a, b)) if d is c:
            return number(b if chosen else a) is not None
    return False


@structure("x*log(x) -> 0 at x = 0", "mul", note=NOTE)
def x_log_x(e: Expr) -> Expr | None:
    """x*log(x), x*(log(x) - y): 0 where x is 0. What is NaN otherwise stays NaN."""
    for x, other in (e.args, e.args[::-1]):
        if number(x) is None and not positive(x) and (guarded_log := _guard_log(other, x)) is not None:
            zero = apply("eq", x, 0)
            return apply("select", zero, 0, x * guarded_log)
    return None


def _guard_log(e: Expr, x: Expr) -> Expr | None:
    match e:
        case Map("log", (u,)) if u is x:
            return apply("log", apply("select", apply("eq", x, 0), 1, x))
        case Map("add" | "sub", (a, b)):
            left, right = _guard_log(a, x), _guard_log(b, x)
            return e.with_args((left or a, right or b)) if left or right else None
        case Map("neg", (a,)):
            inner = _guard_log(a, x)
            return None if inner is None else -inner
    return None


GUARD_RULES: tuple[Rule, ...] = (guarded, x_log_x)
