"""What the parser hands to the elaborator: statements and expressions, each with its place in the text.

    Expr       Number | Text | Name | Binary | Unary | Call | Along | Over | Index | Turned | Row
    Statement  Header | Declare | Equation | Loss | Output | Define | Penalty | Fragment | Repeat | Option ... (below)

Nodes are compared by identity. `start` and `end` are offsets into the text; `depth` is how deep an expression nests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields


@dataclass(frozen=True, eq=False)
class Node:
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Expr(Node):
    pass


@dataclass(frozen=True, eq=False)
class Number(Expr):
    value: int | float


@dataclass(frozen=True, eq=False)
class Text(Expr):
    value: str


@dataclass(frozen=True, eq=False)
class Name(Expr):
    name: str


@dataclass(frozen=True, eq=False)
class Binary(Expr):
    """a op b; op is one of + - * / @ ^ == != < <= > >= and or."""

    op: str
    a: Expr
    b: Expr


@dataclass(frozen=True, eq=False)
class Unary(Expr):
    """-a | not a | (a); parentheses are kept, since they matter after a reduction."""

    op: str
    a: Expr


@dataclass(frozen=True, eq=False)
class Argument(Node):
    name: str | None
    value: Expr


@dataclass(frozen=True, eq=False)
class Call(Expr):
    f: str
    args: tuple[Argument, ...]


@dataclass(frozen=True, eq=False)
class Part(Expr):
    """lo:hi between brackets."""

    lo: Expr | None
    hi: Expr | None


@dataclass(frozen=True, eq=False)
class Along(Expr):
    """softmax[s](a): a function along named axes."""

    f: str
    items: tuple[Expr, ...]
    args: tuple[Argument, ...]


@dataclass(frozen=True, eq=False)
class Over(Expr):
    """sum[t] a: a reduction over named axes of the product that follows."""

    f: str
    items: tuple[Expr, ...]
    a: Expr


@dataclass(frozen=True, eq=False)
class Index(Expr):
    a: Expr
    items: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class Turned(Expr):
    """a.T"""

    a: Expr


@dataclass(frozen=True, eq=False)
class Row(Expr):
    """[a, b, ...]: side by side."""

    items: tuple[Expr, ...]


# ---------------------------------------------------------------- statements

@dataclass(frozen=True, eq=False)
class Kind(Node):
    """name or name(arguments): a type, an initialiser, an optimiser, a constraint."""

    name: str
    args: tuple[Argument, ...] = ()


@dataclass(frozen=True, eq=False)
class Target(Node):
    """What a declaration or an equation declares: a name and what stands in its brackets (None: no brackets)."""

    name: str
    items: tuple[Expr, ...] | None = None


@dataclass(frozen=True, eq=False)
class Formal(Node):
    name: str
    items: tuple[Expr, ...] | None
    default: Expr | None


@dataclass(frozen=True, eq=False)
class Bound(Node):
    """h[-1] = 0; `relation` is "", "<" or ">=" of the last item."""

    name: str
    items: tuple[Expr, ...]
    relation: str
    value: Expr


@dataclass(frozen=True, eq=False)
class Statement(Node):
    pass


@dataclass(frozen=True, eq=False)
class Header(Statement):
    keyword: str                                         # model | energy
    name: str
    sizes: tuple[Formal, ...]


@dataclass(frozen=True, eq=False)
class Item(Statement):
    """targets : type ~ init = value <- update where bounds, under a keyword ("" for an equation)."""

    keyword: str
    targets: tuple[Target, ...]
    type: Kind | None
    init: Kind | None
    value: Expr | None
    update: Expr | None
    bounds: tuple[Bound, ...]
    together: bool = False                               # several targets in parentheses: one call's results
    twice: tuple[str, ...] = ()                          # clauses that stand there twice


@dataclass(frozen=True, eq=False)
class Loss(Statement):
    value: Expr


@dataclass(frozen=True, eq=False)
class Output(Statement):
    names: tuple[Name, ...]


@dataclass(frozen=True, eq=False)
class Define(Statement):
    name: str
    formals: tuple[Formal, ...]
    value: Expr


@dataclass(frozen=True, eq=False)
class Pattern(Node):
    text: str


@dataclass(frozen=True, eq=False)
class Penalty(Statement):
    kind: str
    weight: Expr
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, eq=False)
class Axis(Statement):
    """time t | time u over t | lengths t"""

    keyword: str
    name: str
    over: str | None = None


@dataclass(frozen=True, eq=False)
class Feedback(Statement):
    """feedback target ~ value, or target = value."""

    target: Target
    value: Expr
    equals: bool = False


@dataclass(frozen=True, eq=False)
class Surgery(Statement):
    """on_backward target: value"""

    target: Target
    value: Expr


@dataclass(frozen=True, eq=False)
class Column(Node):
    name: str
    text: str | None


@dataclass(frozen=True, eq=False)
class Data(Statement):
    source: str
    args: tuple[Argument, ...]
    columns: tuple[Column, ...]
    split: tuple[str, ...]
    only: str | None
    labelled: Number | None = None


@dataclass(frozen=True, eq=False)
class Option(Node):
    """One part of a train line: what it is, its kind or name, its value, its patterns."""

    what: str                                            # optimiser | setting | checkpoint | schedule | freeze | rate | ...
    kind: Kind
    value: Expr | None = None
    patterns: tuple[Pattern, ...] = ()


@dataclass(frozen=True, eq=False)
class Train(Statement):
    options: tuple[Option, ...]


@dataclass(frozen=True, eq=False)
class Fragment(Statement):
    name: str
    formals: tuple[Formal, ...]
    results: tuple[Target, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True, eq=False)
class Repeat(Statement):
    index: str
    first: Expr
    last: Expr
    body: tuple[Statement, ...]


@dataclass(frozen=True, eq=False)
class Pretrain(Statement):
    """pretrain name: and the statements of a block"""

    target: Target
    body: tuple[Statement, ...]


@dataclass(frozen=True, eq=False)
class PretrainValue(Statement):
    """pretrain V = W.T"""

    target: Target
    value: Expr


def children(node: Node) -> Iterator[Node]:
    """The nodes directly inside, in the order of the text."""
    for f in fields(node):
        value = getattr(node, f.name)
        for v in value if isinstance(value, tuple) else (value,):
            if isinstance(v, Node):
                yield v


def depth(node: Node) -> int:
    """How many nodes stand on the longest way down; a chain `a + b + ...` counts once."""
    deepest, stack = 0, [(node, 1)]
    while stack:
        n, d = stack.pop()
        deepest = max(deepest, d)
        for c in children(n):
            spine = isinstance(n, Binary) and c is n.a and isinstance(c, Binary)
            stack.append((c, d + (not spine)))
    return deepest


def walk(node: Node) -> Iterator[Node]:
    """The node and everything inside it."""
    stack = [node]
    while stack:
        n = stack.pop()
        yield n
        stack.extend(reversed(list(children(n))))
