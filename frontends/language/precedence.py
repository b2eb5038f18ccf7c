"""How tightly operators bind: a row of operands and operators -> an expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lark import Token

from . import syntax as s

BINARY = {"or": 1, "and": 2, "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "+": 5, "-": 5,
          "*": 7, "/": 7, "//": 7, "@": 7, "^": 9}
PREFIX = {"not": 3, "sum": 6, "-": 8}                    # sum stands for every reduction with brackets


@dataclass(frozen=True)
class Prefix:
    """- or not, or a reduction with its brackets, which waits for its operand."""

    start: int
    op: str
    items: tuple[s.Expr, ...] | None = None

    @property
    def level(self) -> int:
        return PREFIX["sum"] if self.items is not None else PREFIX[self.op]


def climb(row: list[Any]) -> s.Expr:
    """The expression of a row of prefixes, operands and operators, by two stacks; no recursion, however long the row."""
    values: list[s.Expr] = []
    waiting: list[Prefix | Token] = []
    after_operand = False
    for x in row:
        if isinstance(x, s.Expr):
            values.append(x)
            after_operand = True
        elif isinstance(x, Token) and after_operand:
            while waiting and _binds_first(waiting[-1], str(x)):
                _apply(values, waiting.pop())
            waiting.append(x)
            after_operand = False
        else:
            waiting.append(x if isinstance(x, Prefix) else Prefix(x.start_pos or 0, str(x)))
    while waiting:
        _apply(values, waiting.pop())
    return values[0]


def _binds_first(left: Prefix | Token, op: str) -> bool:
    """Is what waits on the left to be done before the operator on the right?"""
    level = left.level if isinstance(left, Prefix) else BINARY[str(left)]
    return level > BINARY[op] or (level == BINARY[op] and op != "^")


def _apply(values: list[s.Expr], op: Prefix | Token) -> None:
    a = values.pop()
    if isinstance(op, Token):
        left = values.pop()
        values.append(s.Binary(left.start, a.end, str(op), left, a))
    elif op.items is not None:
        values.append(s.Over(op.start, a.end, op.op, op.items, a))
    else:
        values.append(s.Unary(op.start, a.end, op.op, a))
