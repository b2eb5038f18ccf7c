"""Simplify: exact algebra to a fixpoint, common subexpressions modulo commutation, scalar factors where they cost least.

    x*1 + y  and  y + x                  are one node: the first one met stands for both
    f(broadcast(a), broadcast(b))        is computed small, then repeated
    a*(1/B) - b*(1/B)                    is (a - b)/B, and 1/B goes to the smallest array that it reaches

Boundary values, masks and NaN are respected: 0*x stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..algebra import Rewriter, Table
from ..graph import Expr
from ..system import System
from .scalar_rules import SCALAR_RULES, fold
from .scale import scale
from .structure_rules import STRUCTURE_RULES

SIMPLE = Table((fold, *SCALAR_RULES, *STRUCTURE_RULES))
ROUNDS = 4                                               # rewriting and scaling feed each other; two rounds are the rule


def simplify_memo(roots: Sequence[Expr], sizes: Mapping[str, int] | None = None) -> dict[Expr, Expr]:
    """Every node below the roots -> its simplified form."""
    memo: dict[Expr, Expr] = {}
    current = list(roots)
    total: dict[Expr, Expr] | None = None
    for _ in range(ROUNDS):
        rewriter = Rewriter(SIMPLE)
        rewritten = rewriter.all(current)
        factored = scale(rewritten, sizes or {})
        step = {old: factored.get(new, new) for old, new in rewriter.memo.items()}
        total = step if total is None else {old: step.get(new, new) for old, new in total.items()}
        done = [factored[r] for r in rewritten]
        if done == current:
            break
        current = done
    memo.update(total or {})
    return memo


def simplify_exprs(exprs: Sequence[Expr], sizes: Mapping[str, int] | None = None) -> list[Expr]:
    """Expressions simplified together; `sizes` are declared lengths, which decide where scalar factors are applied."""
    memo = simplify_memo(exprs, sizes)
    return [memo[e] for e in exprs]


def simplify(system: System) -> System:
    """The system with every expression simplified."""
    return system.mapped(simplify_memo(system.roots(), system.sizes))
