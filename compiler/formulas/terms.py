"""Terms: what a formula looks like, before it is text, LaTeX or SymPy.

    Term    name(text) | number(value) | call(f, args) | infix(op, a, b) | prefix(op, a) | index(a, [t-1, 0:H]) | transpose(a)
            big(sum | mean | ..., over, a)      a reduction that names what it runs over
            concat(args)

A term is a node of a DAG as an expression is; `weight` is the size of the tree that it prints as.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

from ..graph import Expr, Number


class Term:
    """One piece of a formula; `source` is the node that it was read from, `delayed` a name read at another time than t."""

    __slots__ = ("args", "delayed", "head", "kind", "source", "subs", "value", "weight")

    def __init__(self, kind: str, head: str, args: tuple[Term, ...] = (), subs: tuple[str, ...] = (),
                 value: Number = 0) -> None:
        self.kind, self.head, self.args, self.subs, self.value = kind, head, args, subs, value
        self.weight: int = 1 + sum(a.weight for a in args)
        self.source: Expr | None = None
        self.delayed = False

    def __repr__(self) -> str:
        return f"Term({self.kind!r}, {self.head!r}, {self.args!r})"

    @property
    def scalar(self) -> bool:
        """Whether the value has no features."""
        return self.kind == "number" or (self.source is not None and not self.source.shape)


def name(text: str, subs: Sequence[str] = ()) -> Term:
    base = Term("name", text)
    return Term("index", "", (base,), tuple(subs)) if subs else base


def number(value: Number) -> Term:
    return Term("number", str(value), value=value)


def call(f: str, *args: Term) -> Term:
    return Term("call", f, args)


def infix(op: str, a: Term, b: Term) -> Term:
    return Term("infix", op, (a, b))


def prefix(op: str, a: Term) -> Term:
    return Term("prefix", op, (a,))


def index(a: Term, subs: Sequence[str]) -> Term:
    """a[subs]; the subscripts of one value stand in one bracket."""
    if a.kind == "index":
        return Term("index", "", a.args, (*a.subs, *subs))
    return Term("index", "", (a,), tuple(subs))


def transpose(a: Term) -> Term:
    return a.args[0] if a.kind == "transpose" else Term("transpose", "T", (a,))


def big(kind: str, over: Sequence[str], a: Term) -> Term:
    return Term("big", kind, (a,), tuple(over))


def concat(args: Sequence[Term]) -> Term:
    return Term("concat", "", tuple(args))


def terms_below(root: Term) -> Iterator[Term]:
    """Every term of the DAG once, operands first."""
    seen: set[Term] = set()
    stack = [(root, False)]
    while stack:
        term, done = stack.pop()
        if done:
            yield term
        elif term not in seen:
            seen.add(term)
            stack.append((term, True))
            stack.extend((a, False) for a in reversed(term.args))


Key = TypeVar("Key", bound=Hashable)


def trampoline(root: Key, visit: Callable[[Key], Any]) -> Any:
    """The value of `visit(root)`, a generator that yields the keys that it needs and receives their values; no recursion."""
    memo: dict[Key, Any] = {}
    stack: list[tuple[Key, Any]] = [(root, visit(root))]
    answer: Any = None
    while stack:
        key, routine = stack[-1]
        try:
            wanted = routine.send(answer)
        except StopIteration as stop:
            memo[key] = answer = stop.value
            stack.pop()
            continue
        if wanted in memo:
            answer = memo[wanted]
        else:
            stack.append((wanted, visit(wanted)))
            answer = None
    return memo[root]


# How tightly what a term prints as binds, in text and in LaTeX.
OR, AND, NOT, COMPARE, SUM, BIG, PRODUCT, NEGATIVE, POWER, POSTFIX, ATOM = range(11)
BINDING = {"or": OR, "and": AND, "<": COMPARE, "<=": COMPARE, ">": COMPARE, ">=": COMPARE, "==": COMPARE, "!=": COMPARE,
           "+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "@": PRODUCT, "^": POWER}
