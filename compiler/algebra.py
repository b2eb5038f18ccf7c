"""The rewrite engine: rules as tables, applied bottom-up to a fixpoint over the interned graph.

A rule of elementwise mathematics is a pair of patterns, `rule(log(1 + exp(x)), softplus(x))`; its text is made from the
patterns, and a test checks each one at random points. A rule of structure is a function from a node to its replacement, or
None. `Rewriter` carries them out: operands first, every node once, without recursion, recording what fired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from .graph import Broadcast, Const, Expr, Map, Number, describe
from .ops import PRIMITIVES

Bindings = dict[str, Expr]
Condition = Callable[[Bindings], bool]

# ---------------------------------------------------------------- patterns

PRECEDENCE = {"add": 1, "sub": 1, "mul": 2, "div": 2, "neg": 3, "pow": 4, "square": 4}
SIGNS = {"add": " + ", "sub": " - ", "mul": "*", "div": "/"}


@dataclass(frozen=True)
class Pattern:
    """A shape of elementwise expressions: a variable, a variable for numbers, a number, or a primitive of patterns."""

    op: str                                              # "any", "number", "literal", or the name of a primitive
    args: tuple[Pattern, ...] = ()
    name: str = ""
    value: Number = 0

    def __add__(self, other: Pattern | Number) -> Pattern:
        return term("add", self, other)

    def __radd__(self, other: Pattern | Number) -> Pattern:
        return term("add", other, self)

    def __sub__(self, other: Pattern | Number) -> Pattern:
        return term("sub", self, other)

    def __rsub__(self, other: Pattern | Number) -> Pattern:
        return term("sub", other, self)

    def __mul__(self, other: Pattern | Number) -> Pattern:
        return term("mul", self, other)

    def __rmul__(self, other: Pattern | Number) -> Pattern:
        return term("mul", other, self)

    def __truediv__(self, other: Pattern | Number) -> Pattern:
        return term("div", self, other)

    def __rtruediv__(self, other: Pattern | Number) -> Pattern:
        return term("div", other, self)

    def __pow__(self, other: Pattern | Number) -> Pattern:
        return term("square", self) if other == 2 else term("pow", self, other)

    def __neg__(self) -> Pattern:
        return term("neg", self)

    def __str__(self) -> str:
        match self.op:
            case "any" | "number":
                return self.name
            case "literal":
                return str(self.value)
            case "square":
                return f"{self._inside(0, 5)}**2"
            case "pow":
                return f"{self._inside(0, 5)}**{self._inside(1, 5)}"
            case "neg":
                return f"-{self._inside(0, 3)}"
            case op if op in SIGNS:
                level = PRECEDENCE[op]
                return self._inside(0, level) + SIGNS[op] + self._inside(1, level + (op in ("sub", "div")))
        return f"{self.op}({', '.join(map(str, self.args))})"

    def _inside(self, k: int, level: int) -> str:
        text = str(self.args[k])
        return text if PRECEDENCE.get(self.args[k].op, 9) >= level else f"({text})"

    @property
    def variables(self) -> tuple[str, ...]:
        """The names in it, in order of first use."""
        if self.op in ("any", "number"):
            return (self.name,)
        return tuple(dict.fromkeys(v for a in self.args for v in a.variables))


def term(op: str, *args: Pattern | Number) -> Pattern:
    """A primitive of patterns; numbers become literals."""
    return Pattern(op, tuple(a if isinstance(a, Pattern) else Pattern("literal", value=a) for a in args))


def any_of(names: str) -> tuple[Pattern, ...]:
    """Variables that match any node: `x, y = any_of("x y")`."""
    return tuple(Pattern("any", name=n) for n in names.split())


def numbers(names: str) -> tuple[Pattern, ...]:
    """Variables that match numbers only."""
    return tuple(Pattern("number", name=n) for n in names.split())


def number(e: Expr) -> Number | None:
    """The number that a node is, repeated or not; None where it is no constant."""
    if isinstance(e, Broadcast):
        e = e.args[0]
    return e.value if isinstance(e, Const) else None


def matches(pattern: Pattern, e: Expr, bound: Bindings) -> Iterator[Bindings]:
    """Every way to bind the pattern's variables so that it is `e`, modulo commutation."""
    match pattern.op:
        case "any":
            if bound.get(pattern.name, e) is e:
                yield {**bound, pattern.name: e}
        case "number":
            if number(e) is not None and bound.get(pattern.name, e) is e:
                yield {**bound, pattern.name: e}
        case "literal":
            if number(e) == pattern.value:
                yield bound
        case "neg" if pattern.args[0].name in bound:
            if opposite(bound[pattern.args[0].name], e):
                yield bound
        case op if isinstance(e, Map) and e.f == op:
            orders = [e.args]
            if PRIMITIVES[op].commutes and e.args[0] is not e.args[1]:
                orders.append((e.args[1], e.args[0]))
            for args in orders:
                yield from _match_all(pattern.args, args, bound)
        case op if isinstance(e, Broadcast) and isinstance(inner := e.args[0], Map) and inner.f == op:
            repeated = tuple(Broadcast(a, e.axes, e.shape, e.places) for a in inner.args)
            for args in (repeated, repeated[::-1]) if PRIMITIVES[op].commutes else (repeated,):
                yield from _match_all(pattern.args, args, bound)


def opposite(a: Expr, b: Expr) -> bool:
    """Whether a = -b in simplified forms: -b, y - x for x - y, -2*x for 2*x, -(x/y) for x/y."""
    match a, b:
        case (Map("neg", (c,)), _) if c is b:
            return True
        case (_, Map("neg", (c,))) if c is a:
            return True
        case Map("sub", (p, q)), Map("sub", (r, s)):
            return p is s and q is r
        case Map("mul", (p, q)), Map("mul", (r, s)):
            return (q is s and opposite(p, r)) or (p is r and opposite(q, s)) or (p is s and opposite(q, r)) or (
                q is r and opposite(p, s))
        case Map("div", (p, q)), Map("div", (r, s)):
            return q is s and opposite(p, r)
        case Broadcast(), Broadcast() if a.rank and a.places == b.places and a.args[0].axes == b.args[0].axes:
            return opposite(a.args[0], b.args[0])
        case Const(), Const():
            return a.value == -b.value
    return False


def _match_all(patterns: Sequence[Pattern], args: Sequence[Expr], bound: Bindings) -> Iterator[Bindings]:
    if not patterns:
        yield bound
        return
    for first in matches(patterns[0], args[0], bound):
        yield from _match_all(patterns[1:], args[1:], first)


def build(pattern: Pattern, bound: Bindings, like: Expr) -> Expr:
    """The pattern with its variables replaced; numbers are repeated to the dims of `like`."""
    match pattern.op:
        case "any" | "number":
            return bound[pattern.name]
        case "literal":
            return constant(pattern.value, like)
        case op:
            return Map(op, tuple(build(a, bound, like) for a in pattern.args))


def constant(value: Number, like: Expr) -> Expr:
    """A number with the dims of `like`."""
    return Broadcast(Const(value), like.axes, like.shape, ())


# ---------------------------------------------------------------- rules

@dataclass(frozen=True, eq=False)
class Rule:
    """`rewrite` returns the replacement of a node whose operands are in normal form, or None. `heads` are the kinds that
    it may fire on: names of primitives, of other node classes, or `Map` for every primitive."""

    text: str
    heads: tuple[str, ...]
    rewrite: Callable[[Expr], Expr | None]
    lhs: Pattern | None = None
    rhs: Pattern | None = None
    note: str = ""                                       # what precedes the text in comments; empty: not worth a comment


def rule(lhs: Pattern, rhs: Pattern | Number, when: Condition | None = None, note: str = "") -> Rule:
    """The rule lhs -> rhs on elementwise expressions, under a condition on what the variables are bound to."""
    right = rhs if isinstance(rhs, Pattern) else Pattern("literal", value=rhs)

    def rewrite(e: Expr) -> Expr | None:
        for bound in matches(lhs, e, {}):
            if when is None or when(bound):
                return build(right, bound, e)
        return None

    return Rule(f"{lhs} -> {right}", (lhs.op,), rewrite, lhs, right, note)


def structure(text: str, *heads: str, note: str = "") -> Callable[[Callable[[Expr], Expr | None]], Rule]:
    """A decorator: a function from node to replacement as a rule with this text."""
    return lambda f: Rule(text, heads, f, note=note)


@dataclass(frozen=True)
class Table:
    """Rules in the order in which they are tried."""

    rules: tuple[Rule, ...]

    @cached_property
    def by_head(self) -> dict[str, tuple[Rule, ...]]:
        table: dict[str, list[Rule]] = {}
        for r in self.rules:
            heads = PRIMITIVES if "Map" in r.heads else r.heads
            for h in heads:
                table.setdefault(h, []).append(r)
        return {h: tuple(rs) for h, rs in table.items()}

    def of(self, e: Expr) -> tuple[Rule, ...]:
        return self.by_head.get(e.f if isinstance(e, Map) else type(e).__name__, ())


@dataclass(frozen=True)
class Firing:
    """One application of a rule."""

    rule: Rule
    before: Expr
    after: Expr


# ---------------------------------------------------------------- the engine

NESTED = 500                                             # rewritings inside rewritings; more is a table that never ends

def brief(e: Expr) -> str:
    """The kind and shape of a node; its whole text may be exponentially long."""
    return f"{e.f if isinstance(e, Map) else type(e).__name__} {describe(e)}"


@dataclass
class Rewriter:
    """Normal forms under a table of rules; `memo` maps every node met to its normal form.

    Of two nodes that differ by the order of a commuting primitive's operands the first one met stands for both.
    """

    table: Table
    memo: dict[Expr, Expr] = field(default_factory=dict)
    fired: list[Firing] = field(default_factory=list)
    _steps: dict[Expr, Expr] = field(default_factory=dict)        # nodes that wait for the normal form of another
    _first: dict[tuple[str, frozenset[Expr]], Expr] = field(default_factory=dict)

    def all(self, roots: Iterable[Expr]) -> list[Expr]:
        return [self(r) for r in roots]

    def __call__(self, root: Expr) -> Expr:
        """The normal form of `root`."""
        memo, stack, steps = self.memo, [root], self._steps
        while stack:
            e = stack[-1]
            if e in memo:
                steps.pop(e, None)
                stack.pop()
            elif missing := [a for a in e.args if a not in memo]:
                stack.extend(reversed(missing))
            elif (step := steps.get(e) or self._step(e)) is e:
                memo[e] = self._commuted(e)
            elif step in memo:
                memo[e] = memo[step]
            elif e in steps or step in steps:                    # e is needed for what it is to become
                raise AssertionError(f"rules undo each other at {brief(e)} and {brief(step)}, last {self.fired[-1].rule.text}")
            else:
                steps[e] = step
                stack.append(step)
                if len(steps) > NESTED:
                    raise AssertionError(f"rules go on for ever, last {self.fired[-1].rule.text}")
        return memo[root]

    def _step(self, e: Expr) -> Expr:
        """One rewriting step at the root of e, whose operands have normal forms; e itself where none applies."""
        rebuilt = e.with_args(tuple(self.memo[a] for a in e.args))
        if rebuilt is not e:
            return rebuilt
        for r in self.table.of(e):
            new = r.rewrite(e)
            if new is not None and new is not e:
                if (new.axes, new.shape, new.type) != (e.axes, e.shape, e.type):
                    raise AssertionError(f"the rule {r.text} turned {brief(e)} into {brief(new)}")
                self.fired.append(Firing(r, e, new))
                return new
        return e

    def _commuted(self, e: Expr) -> Expr:
        if isinstance(e, Map) and PRIMITIVES[e.f].commutes:
            return self._first.setdefault((e.f, frozenset(e.args)), e)
        return e
