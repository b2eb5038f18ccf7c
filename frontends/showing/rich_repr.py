"""How models and formulas look in a notebook and on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from ...compiler.formulas import equations, latex
from ...compiler.graph import Expr
from ...compiler.system import System
from .derivation import formulas_of
from .gradients import latex_text

if TYPE_CHECKING:
    from rich.text import Text


def model_latex(system: System) -> str:
    """The equations and the loss as LaTeX, without dollars."""
    roots = formulas_of(system)
    return latex_text(equations(roots, {**system.names, **{e: n for n, e in roots.items()}}))


def model_html(system: System) -> str:
    """The model's text, and its reading graph under it."""
    from ..language.printing import to_text
    from .drawing import to_svg
    from .network import graph
    return (f'<div><pre style="line-height:1.35">{escape(to_text(system))}</pre>'
            f'<details><summary>who reads whom</summary>{to_svg(graph(system))}</details></div>')


def model_rich(system: System) -> Text:
    """The model's text with its words, names and numbers in colour, for `rich.print`."""
    from rich.text import Text

    from ..language.printing import to_text
    out = Text(to_text(system))
    out.highlight_regex(r"(?m)^(model|input|target|time|param|stat|loss|penalty|metric|output|data|train)\b", "bold cyan")
    out.highlight_regex(r"(?m)^[\w.]+(?=(\[[^\]]*\])? += )", "bold")
    out.highlight_regex(r"(?<![\w.])\d[\d.e+-]*", "green")
    out.highlight_regex(r"\b(where|mean|sum|on|split|class)\b", "magenta")
    return out


def formula_latex(e: Expr, names: Mapping[Expr, str]) -> str:
    """One formula between dollars, as notebooks take it."""
    return f"${latex(e, names)}$"


__all__ = ["formula_latex", "model_html", "model_latex", "model_rich"]
