"""Showing: gradients, explanations, stages and graphs as text and pictures."""

from .derivation import ShowingError
from .explanation import explain_text
from .gradients import grad_text
from .network import graph
from .stages import STAGES, stage_text

__all__ = ["STAGES", "ShowingError", "explain_text", "grad_text", "graph", "stage_text"]
