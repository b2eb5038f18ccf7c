"""Formulas from Python's operators, of which the builder makes equations: text in the language, and its time axes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..compiler.formulas import terms
from ..compiler.formulas.terms import Term
from ..compiler.formulas.text import to_text
from ..compiler.sizes import Size

NAME = re.compile(r"[^\W\d]\w*(\.(?!T\b)\w+)*")
SIZE = re.compile(r"[\w+\-*/() ]+")
Operand = Any                                            # a Value, or a number


class BuilderError(ValueError):
    """A call that no model text could say."""


def checked_name(text: str) -> str:
    if not isinstance(text, str) or not NAME.fullmatch(text):
        raise BuilderError(f"{text!r} is no name: names are letters, digits and underscores")
    return text


class Value:
    """A formula, and the time axes that it runs along."""

    __slots__ = ("axes", "term")
    __hash__ = object.__hash__
    __array_ufunc__ = None                               # NumPy's numbers leave the operators to us

    def __init__(self, term: Term, axes: tuple[str, ...] = ()) -> None:
        self.term, self.axes = term, axes

    def __repr__(self) -> str:
        return to_text(self.term, exact=True)

    def __bool__(self) -> bool:
        raise BuilderError("a value has no truth while the model is written: use &, |, ~ and select(c, a, b)")

    def __iter__(self) -> Any:
        raise TypeError("a value of a model cannot be iterated over")

    @property
    def T(self) -> Value:
        """The transpose of a matrix."""
        return Plain(terms.transpose(self.term), self.axes)

    def __getitem__(self, items: Any) -> Value:
        """h[t-1], h["last"], v[0:H], h[t-1, 0:H], E[x]: time first, then features."""
        return _indexed(self, items if isinstance(items, tuple) else (items,))

    def __neg__(self) -> Value:
        return Plain(terms.prefix("-", self.term), self.axes)

    def __invert__(self) -> Value:
        return Plain(terms.prefix("not", self.term), self.axes)


def _operator(op: str, swapped: bool = False) -> Callable[[Value, Operand], Value]:
    def build(a: Value, b: Operand) -> Value:
        left, right = (value(b), a) if swapped else (a, value(b))
        return Plain(terms.infix(op, left.term, right.term), _together(left, right))
    return build


for _python, _op in {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "matmul": "@", "pow": "^"}.items():
    setattr(Value, f"__{_python}__", _operator(_op))
    setattr(Value, f"__r{_python}__", _operator(_op, swapped=True))
for _python, _op in {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "and": "and", "or": "or"}.items():
    setattr(Value, f"__{_python}__", _operator(_op))


class Plain(Value):
    """A computed formula. A class beside the declared ones, not above them: else Python would turn comparisons round."""

    __slots__ = ()


class Axis(Value):
    """A time axis; `t - 1` is a step in brackets, and a number elsewhere."""

    __slots__ = ("name",)

    def __init__(self, name: str, term: Term | None = None) -> None:
        super().__init__(term or terms.name(name), (name,))
        self.name = name

    def __add__(self, steps: Operand) -> Value:
        return self._moved("+", steps)

    def __sub__(self, steps: Operand) -> Value:
        return self._moved("-", steps)

    def _moved(self, op: str, steps: Operand) -> Value:
        term = terms.infix(op, self.term, value(steps).term)
        return Axis(self.name, term) if isinstance(steps, int) else Plain(term, self.axes)


class Variable(Value):
    """A declared name: an input, a parameter, an equation."""

    __slots__ = ("name",)

    def __init__(self, name: str, axes: tuple[str, ...] = ()) -> None:
        super().__init__(terms.name(name, axes), axes)
        self.name = name


def value(x: Operand) -> Value:
    """A number, or a size given as text, as a value."""
    if isinstance(x, Value):
        return x
    if isinstance(x, bool):
        return Plain(terms.name("true" if x else "false"))
    if isinstance(x, (str, Size)):
        return Plain(Term("size", size_text(x)))
    if isinstance(x, (list, tuple)):
        parts = [value(p) for p in x]
        return Plain(terms.concat([p.term for p in parts]), _together(*parts))
    try:
        number = x.item() if hasattr(x, "item") else x
        return Plain(terms.number(number if isinstance(number, int) else float(number)))
    except (TypeError, ValueError):
        raise BuilderError(f"{x!r} is neither a value of the model nor a number") from None


def _together(*values: Value) -> tuple[str, ...]:
    return tuple(sorted({a for v in values for a in v.axes}))


def size_text(x: str | int | Size) -> str:
    text = str(x)
    if not SIZE.fullmatch(text):
        raise BuilderError(f"{x!r} is no size: write 10, \"H\" or \"4*H + 1\"")
    return text


def _indexed(a: Value, items: tuple[Any, ...]) -> Value:
    axes, subs, rest = list(a.axes), [], list(items)
    if isinstance(a, Variable) and a.axes and (isinstance(rest[0], Axis | int) or rest[0] == "last" or isinstance(rest[0], str)):
        for axis in a.axes:
            if not rest:
                raise BuilderError(f"{a.name} runs along {' and '.join(a.axes)}: write {a.name}[{', '.join(a.axes)}]")
            item = rest.pop(0)
            subs.append(repr(item) if isinstance(item, Axis) else str(item))
            if not isinstance(item, Axis) or item.name != axis:  # one step of it, or all along its second name
                axes.remove(axis)
                axes += [item.name] if isinstance(item, Axis) else []
    elif isinstance(a, Variable):
        subs = list(a.axes)
    for item in rest:
        if isinstance(item, slice):
            subs.append(":".join("" if end is None else size_text(end) for end in (item.start, item.stop)))
        else:
            subs.append(repr(value(item)))
            axes += [x for x in value(item).axes if x not in axes]
    base = terms.name(a.name) if isinstance(a, Variable) else a.term
    return Plain(terms.index(base, subs) if subs else base, tuple(sorted(axes)))


# ---------------------------------------------------------------- functions

REDUCTIONS = ("sum", "mean", "max", "min", "prod", "logsumexp", "argmax", "norm", "var", "softmax", "log_softmax")


def call(f: str, *args: Operand, over: Any = None, **named: Operand) -> Value:
    """f(args): any function or layer; `over` are axes (Axis, or "batch"), ranges (t < "T-1"), feature positions."""
    given = [value(a) for a in args]
    words = {k: value(v) for k, v in named.items()}
    axes = _together(*given, *words.values())
    parts = [g.term for g in given] + [Term("argument", checked_name(k), (w.term,)) for k, w in words.items()]
    if over is None:
        return Plain(terms.call(checked_name(f), *parts), axes)
    if f not in REDUCTIONS or len(given) != 1:
        raise BuilderError(f"{f} does not run over axes")
    runs = over if isinstance(over, tuple | list) else (over,)
    names = [o.name if isinstance(o, Axis) else repr(o) if isinstance(o, Value) else str(o) for o in runs]
    if f in ("softmax", "log_softmax"):
        return Plain(terms.call(f"{f}[{', '.join(names)}]", *parts), axes)
    gone = [*names, *(to_text(o.term.args[0]) for o in runs if isinstance(o, Plain))]            # the left side of a range
    left = tuple(a for a in axes if a not in gone)
    return Plain(terms.big(f, names, Term("grouped", "", (parts[0],))), left)
