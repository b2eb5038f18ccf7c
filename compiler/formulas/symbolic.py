"""Expr -> SymPy: elementwise parts by the meaning that each primitive states, all other nodes as functions of their operands.

A named node, and every leaf, is a real symbol that stands for one element; so the result is a formula over the elements,
in which `matmul(W, x)` or `sum(a)` are opaque. SymPy is imported on the first call.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from ..graph import Broadcast, Const, Contract, Expr, Extent, Map, OneHot, Reduce, postorder
from ..ops import PRIMITIVES
from .reading import LEAVES, Reader
from .text import to_text


@cache
def meaning(f: str) -> tuple[Any, tuple[Any, ...]]:
    """The SymPy expression of a primitive, and its arguments x, y, z."""
    import sympy
    arguments = sympy.symbols("x y z", real=True)[:PRIMITIVES[f].arity]
    return sympy.sympify(PRIMITIVES[f].meaning, locals={str(a): a for a in arguments}), arguments


def sympy_of(e: Expr, names: Mapping[Expr, str]) -> Any:
    """e as a SymPy expression; e itself is expanded, named nodes below are symbols."""
    import sympy
    memo: dict[Expr, Any] = {}
    reader = Reader(names)
    for node in postorder(e):
        if isinstance(node, Const):
            memo[node] = sympy.nsimplify(node.value) if not isinstance(node.value, float) else sympy.Float(node.value)
        elif isinstance(node, Extent):
            memo[node] = sympy.Symbol(str(node.size), integer=True, positive=True)
        elif isinstance(node, LEAVES) or (node in names and node is not e):
            memo[node] = sympy.Symbol(to_text(reader.term(node, expand=False)), real=True)
        else:
            memo[node] = _operation(node, [memo[a] for a in node.args])
    return memo[e]


def _operation(node: Expr, args: list[Any]) -> Any:
    import sympy
    if isinstance(node, Map):
        if any(getattr(a, "is_Boolean", False) for a in args) and node.f == "real":
            return sympy.Piecewise((1, args[0]), (0, True))
        body, arguments = meaning(node.f)
        return body.xreplace(dict(zip(arguments, args, strict=True))) if node.f != "select" else _choice(args)
    if isinstance(node, Broadcast):
        return args[0]
    kind = {Contract: "matmul", OneHot: "onehot"}.get(type(node), type(node).__name__.lower())
    if isinstance(node, Reduce):
        kind = node.kind
    return sympy.Function(kind, real=True)(*args)


def _choice(args: list[Any]) -> Any:
    import sympy
    return sympy.Piecewise((args[1], args[0]), (args[2], True))
