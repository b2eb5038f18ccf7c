"""What an elementwise primitive is, and the table of all of them.

One primitive is one block: its meaning as a SymPy formula in x, y, z (text, read only when a formula is asked for), its
gradient rules, its reference in NumPy, and the domain in which tests may sample it. A rule is mathematics only: given the
adjoint g of the output, the output and the operands, it returns the operand's contribution; being linear in g it
serves forward mode, too. Unbroadcasting and accumulation live in `gradient`. Backends print primitives by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..graph import BOOL, REAL, Expr, Map, Type

Rule = Callable[..., Expr]                               # (g, output, *operands) -> contribution to one operand


@dataclass(frozen=True)
class Primitive:
    """An elementwise function of `len(domain)` operands."""

    name: str
    meaning: str                                         # SymPy text in x, y, z
    rules: tuple[Rule | None, ...]                       # one an operand; None: the derivative is zero or does not exist
    reference: Callable[..., Any]                        # NumPy, in the precision of its operands, stable
    domain: tuple[tuple[float, float], ...]              # where tests sample each operand
    type: Callable[[tuple[Type, ...]], Type]
    kink: str = ""                                       # the choice made where the derivative does not exist
    cost: int = 1                                        # about how many additions one evaluation costs
    commutes: bool = False

    @property
    def arity(self) -> int:
        return len(self.domain)


PRIMITIVES: dict[str, Primitive] = {}


def real(types: tuple[Type, ...]) -> Type:
    return REAL


def truth(types: tuple[Type, ...]) -> Type:
    return BOOL


def second(types: tuple[Type, ...]) -> Type:
    return types[1]


def primitive(name: str, meaning: str, rules: tuple[Rule | None, ...], reference: Callable[..., Any],
              domain: tuple[tuple[float, float], ...], type: Callable[[tuple[Type, ...]], Type] = real, kink: str = "",
              cost: int = 1, commutes: bool = False) -> None:
    """Enter a primitive into the table."""
    PRIMITIVES[name] = Primitive(name, meaning, rules, reference, domain, type, kink, cost, commutes)
    Map.result_types[name] = type
