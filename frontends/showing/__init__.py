"""Showing: gradients, explanations, stages and graphs as text and pictures."""

from .derivation import ShowingError
from .explanation import explain_text
from .gradients import grad_text
from .network import graph
from .rich_repr import formula_latex, model_html, model_latex, model_rich
from .stages import STAGES, stage_text
from .terms import terms_text

__all__ = ["STAGES", "ShowingError", "explain_text", "formula_latex", "grad_text", "graph", "model_html",
           "model_latex", "model_rich", "stage_text", "terms_text"]
