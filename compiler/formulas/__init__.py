"""Formulas: an expression as text in the language's own notation, as LaTeX, and as SymPy.

    formula(e, names)      `W2 @ h + b2`: the node itself is expanded, named nodes below print as their names
    equations(roots, names)  the same for several, with what they share and has no name as `t1`, `t2`, ...
    latex(e, names)        the same as LaTeX
    sympy_of(e, names)     elementwise parts by the primitives' meanings, the rest as functions

How the batch and time are written: see `reading`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..graph import Expr
from ..system import System
from .equations import Equation, equations, indexed
from .latex import to_latex
from .reading import Reader
from .symbolic import sympy_of
from .text import to_text


def formula(e: Expr, names: Mapping[Expr, str], *, top: bool = True, index: bool = True, limit: int | None = 400,
            inline: Mapping[str, Expr] | None = None) -> str:
    """e as text: `top` expands e itself though it has a name, `index` writes `[t]` where nothing is shifted.

    A part that would print as a tree of more than `limit` terms reads `...` (None: never). `inline`: references that read as
    what they stand for, `{"d_h": equation}`, in the node of the same name.
    """
    return to_text(Reader(names, index, inline).term(e, top), limit=limit)


def arrivals(system: System) -> dict[str, Expr]:
    """What `inline` is for a differentiated system: `Ref(d_h)` in the node called d_h reads as what arrives from other times."""
    called = {*system.names.values()}
    return {k: e for k, e in system.equations.items() if k in called and system.names.get(e) != k}


def latex(e: Expr, names: Mapping[Expr, str], *, top: bool = True, index: bool = True) -> str:
    """e as LaTeX without dollars; an adjoint `d_v` is v with a bar."""
    return to_latex(Reader(names, index).term(e, top))


__all__ = ["Equation", "Reader", "arrivals", "equations", "formula", "indexed", "latex", "sympy_of"]
