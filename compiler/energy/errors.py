"""What is wrong with an energy, and where."""

from __future__ import annotations

from ..graph import Expr


class EnergyError(ValueError):
    """An energy from which something cannot be derived.

    `term` is the summand of E that is at fault (a node of E as it was written), None where it is the energy as a whole;
    `layer` names the layer in question. What stands after the message's last `; ` is a way out.
    """

    def __init__(self, message: str, term: Expr | None = None, layer: str | None = None) -> None:
        super().__init__(message)
        self.term, self.layer = term, layer
