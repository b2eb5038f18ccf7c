"""What `predict` returns where the model does not say: the named equations that the loss reads and no target enters."""

from __future__ import annotations

from ...compiler.graph import Expr, Input, Ref
from ...compiler.system import System
from .declarations import Collected
from .scope import Scope


def default_outputs(system: System, scope: Scope, found: Collected) -> tuple[str, ...]:
    """Downwards from the loss to the first named equations without a target; without a loss, what no equation reads."""
    own = {q.full: q.expr for q in found.equations if q.expr is not None}
    named = {e: n for n, e in reversed(own.items())}
    if system.loss is None:
        read = {a for e in own.values() for a in _below(system, e) if a is not e}
        return tuple(n for n, e in own.items() if e not in read)
    tainted: dict[Expr, bool] = {}
    chosen: dict[str, None] = {}
    stack, seen = [system.loss.total], set[Expr]()
    while stack:
        e = stack.pop()
        if e in seen:
            continue
        seen.add(e)
        if e in named and not _has_target(system, e, tainted):
            chosen[named[e]] = None
        else:
            stack.extend(reversed(e.args))
    return tuple(n for n in own if n in chosen)


def _below(system: System, root: Expr) -> set[Expr]:
    """Every node that a root reads, through references too."""
    seen, stack = set[Expr](), [root]
    while stack:
        e = stack.pop()
        for a in (*e.args, *((system.equations[e.name],) if isinstance(e, Ref) else ())):
            if a not in seen:
                seen.add(a)
                stack.append(a)
    return seen


def _has_target(system: System, e: Expr, memo: dict[Expr, bool]) -> bool:
    if e not in memo:
        memo[e] = any(isinstance(a, Input) and a.name in system.targets for a in (e, *_below(system, e)))
    return memo[e]
