"""What expressions read: through references, too."""

from __future__ import annotations

from collections.abc import Iterable

from .graph import Expr, GraphError, Ref, postorder
from .system import System


def reached(system: System, roots: Iterable[Expr]) -> tuple[list[Expr], list[str]]:
    """Every node that the roots read, operands first, and the equations that references among them name, in the system's order.

    GraphError where a reference names no equation.
    """
    roots = list(roots)
    names: dict[str, None] = {}
    while True:
        ordered = [n for n in system.equations if n in names]
        nodes = list(postorder(*(system.equations[n] for n in ordered), *roots))
        fresh = [n.name for n in nodes if isinstance(n, Ref) and n.name not in names]
        if not fresh:
            return nodes, ordered
        for name in fresh:
            if name not in system.equations:
                raise GraphError(f"no equation is called {name}")
            names[name] = None
