"""The formulas of a data line: `image / 255 - 0.5`, `standardise(rest)`, `x[t+1]`, `chars(name)`, `income == ">50K"`.

    choice   = both ("or" both)*                        both     = negation ("and" negation)*
    negation = "not" negation | comparison              comparison = sum [("<" | "<=" | ">" | ">=" | "==" | "!=") sum]
    sum      = product (("+" | "-") product)*
    product  = unary (("*" | "/") unary)*               unary      = "-" unary | power
    power    = postfix ["^" unary]                      postfix    = atom ("[" (index | slice | t+k) "]")*
    atom     = number | "string" | name | name "(" formula, ... ")" | "(" formula ")" | "[" formula, ... "]"

A formula is a choice. It is parsed into tuples and evaluated over whole columns, the first axis being the examples, or the
steps of all sequences one after the other; Python's own `eval` never sees it. Brackets with commas put columns side by side as
features; `x[t+1]` reads the sequence one step later; `x[0]` and `x[0:3]` take features. Functions: see `numeric`, `spelling`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import DataError, did_you_mean
from .numeric import FUNCTIONS
from .ragged import Ragged
from .spelling import PER_WORD, SPELLINGS, per_word, spelled

Array = np.ndarray[Any, Any]
Tree = tuple[Any, ...]

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)|(\"[^\"\n]*\"|'[^'\n]*')|([^\W\d]\w*(?:\.\w+)*)"
                    r"|(\*\*|<=|>=|==|!=|[-+*/^()\[\],:<>]))")
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal}
_WORDS = ("and", "or", "not")
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "^": np.power,
    "and": lambda a, b: np.logical_and(a != 0, b != 0), "or": lambda a, b: np.logical_or(a != 0, b != 0), **_COMPARE}
_MAX_DEPTH = 60


def parse(text: str) -> Tree:
    """The formula as nested tuples; a mistake is a DataError that quotes the formula."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.tokens, self.at, self.depth = text, _tokens(text), 0, 0

    def parse(self) -> Tree:
        tree = self.choice()
        if self.kind != "end":
            raise self.error()
        return tree

    @property
    def kind(self) -> str:
        return self.tokens[self.at][0]

    def error(self) -> DataError:
        kind, value = self.tokens[self.at]
        found = "it ends too early" if kind == "end" else f"{value!r} was not expected"
        return DataError(f"the formula `{self.text}` cannot be read: {found}")

    def take(self, kind: str) -> bool:
        if self.kind == kind:
            self.at += 1
            return True
        return False

    def need(self, kind: str) -> str:
        value = self.tokens[self.at][1]
        if not self.take(kind):
            raise self.error()
        return value

    def choice(self) -> Tree:
        self.deeper()
        tree = self.chain(("or",), lambda: self.chain(("and",), self.negation))
        self.depth -= 1
        return tree

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise DataError(f"the formula `{self.text[:40]}...` is nested too deeply")

    def negation(self) -> Tree:
        times = 0
        while self.take("not"):
            times += 1
        tree = self.comparison()
        return ("binary", "!=" if times % 2 == 0 else "==", tree, ("number", 0.0)) if times else tree

    def comparison(self) -> Tree:
        left = self.sum()
        if self.kind in _COMPARE:
            op = self.need(self.kind)
            left = ("binary", op, left, self.sum())
        return left

    def sum(self) -> Tree:
        return self.chain(("+", "-"), lambda: self.chain(("*", "/"), self.unary))

    def chain(self, ops: tuple[str, ...], operand: Callable[[], Tree]) -> Tree:
        left = operand()
        while self.kind in ops:
            op = self.need(self.kind)
            left = ("binary", op, left, operand())
        return left

    def unary(self) -> Tree:
        signs = 0
        while self.take("-"):
            signs += 1
        tree = self.power()
        return ("negative", tree) if signs % 2 else tree

    def power(self) -> Tree:
        base = self.postfix()
        if self.take("^") or self.take("**"):
            self.deeper()
            base = ("binary", "^", base, self.unary())
            self.depth -= 1
        return base

    def postfix(self) -> Tree:
        tree = self.atom()
        while self.take("["):
            tree = self.index(tree)
            self.need("]")
        return tree

    def index(self, tree: Tree) -> Tree:
        if self.kind == "name":
            self.need("name")
            if self.kind == "]":
                return tree
            sign = 1 if self.take("+") else -1
            if sign < 0:
                self.need("-")
            return ("shift", tree, sign * self.integer())
        low = self.integer()
        if self.take(":"):
            return ("slice", tree, low, self.integer())
        return ("item", tree, low)

    def integer(self) -> int:
        value = self.need("number")
        if not value.isdigit():
            raise DataError(f"the formula `{self.text}` cannot be read: an index is an integer, not {value}")
        return int(value)

    def atom(self) -> Tree:
        kind, value = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return ("number", float(value))
        if kind == "string":
            return ("string", value[1:-1])
        if kind == "name":
            if self.take("("):
                return ("call", value, self.items(")"))
            return ("name", value)
        if kind == "(":
            tree = self.choice()
            self.need(")")
            return tree
        if kind == "[":
            return ("beside", self.items("]"))
        self.at -= 1
        raise self.error()

    def items(self, close: str) -> tuple[Tree, ...]:
        found = [self.choice()]
        while self.take(","):
            found.append(self.choice())
        self.need(close)
        return tuple(found)


def _tokens(text: str) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        m = _TOKEN.match(text, at)
        if not m:
            raise DataError(f"the formula `{text}` cannot be read: {text[at:].strip()[:1]!r} was not expected")
        number, string, name, sign = m.groups()
        if number is not None:
            out.append(("number", number))
        elif string is not None:
            out.append(("string", string))
        elif name is not None:
            out.append((name if name in _WORDS else "name", name))
        else:
            out.append((sign, sign))
        at = m.end()
    return [*out, ("end", "")]


def names(tree: Tree) -> tuple[str, ...]:
    """The columns that a formula reads, in order of first appearance."""
    found: dict[str, None] = {}

    def visit(t: Any) -> None:
        if isinstance(t, tuple):
            if t and t[0] == "name":
                found[t[1]] = None
            for part in t:
                visit(part)
    visit(tree)
    return tuple(found)


@dataclass
class Fitted:
    """What was learned from the training part and is stored with the weights: means and standard deviations by place."""

    scales: dict[str, dict[str, Any]] = field(default_factory=dict)
    learn: bool = True


@dataclass
class Evaluation:
    """One input's formula over the columns of one part.

    For an input that runs along time (`sequence`), the columns' steps stand one after the other, and `offsets` says where each
    sequence begins. `reach` is how far the formula reads to either side, so that the ends can be cut off; `spelling` how text
    became symbols, by which a prompt is read and a sample written.
    """

    columns: Mapping[str, Array | Ragged]
    dtype: Any
    fitted: Fitted
    place: str                                       # the input's name, under which scales are stored
    sequence: bool = False
    offsets: Array | None = None
    reach: tuple[int, int] = (0, 0)
    spelling: str = ""
    width: int | None = None                         # of an input w[N], how many places `padded` fills
    _count: int = 0

    def run(self, tree: Tree) -> Array:
        with np.errstate(all="ignore"):              # what is not finite is reported afterwards, with its place
            return np.asarray(self._value(tree))

    def _value(self, tree: Tree) -> Any:
        kind = tree[0]
        if kind == "number":
            return tree[1]
        if kind == "string":
            return np.asarray(tree[1])
        if kind == "name":
            return self._column(tree[1])
        if kind == "negative":
            return np.negative(self._number(tree[1]))
        if kind == "binary":
            return self._binary(tree[1], tree[2], tree[3])
        if kind == "call":
            return self._call(tree[1], tree[2])
        if kind == "beside":
            return self._beside(tree[1])
        if kind == "shift":
            return self._shift(self._value(tree[1]), tree[2])
        return self._feature(tree)

    def _column(self, name: str) -> Array:
        if name not in self.columns:
            raise DataError(f"input {self.place}: there is no column {name!r}{did_you_mean(name, self.columns)}")
        column = self.columns[name]
        if not isinstance(column, Ragged):
            if not self.sequence or column.ndim < 2:
                return column
            column = Ragged.of_dense(column)
        return self._steps(column)

    def _steps(self, column: Ragged) -> Array:
        """The steps of all sequences, which must be as long as those that the formula has read before."""
        if self.offsets is not None and not np.array_equal(self.offsets, column.offsets):
            raise DataError(f"input {self.place}: its formula reads sequences that differ in length")
        self.offsets = column.offsets
        return column.values

    def _number(self, tree: Tree) -> Any:
        value = self._value(tree)
        if isinstance(value, float):
            return value
        if value.dtype.kind in "OUS":
            raise DataError(f"input {self.place}: `{_text(tree)}` holds words, where numbers are needed")
        # the arithmetic is the model's: small integers and float32 stay float32, long integers become float64
        return value.astype(np.result_type(value.dtype, self.dtype), copy=False)

    def _binary(self, op: str, left: Tree, right: Tree) -> Any:
        if op in ("==", "!="):
            a, b = self._value(left), self._value(right)
            return _BINARY[op](*_fit(a, b))
        return _BINARY[op](*_fit(self._number(left), self._number(right)))

    def _call(self, name: str, args: tuple[Tree, ...]) -> Any:
        if name == "standardise" and len(args) == 1:
            return self._standardise(np.asarray(self._number(args[0])))
        if name in SPELLINGS and len(args) == 1:
            self.spelling = name
            return self._steps(spelled(self.place, name, self._value(args[0])))
        if name == "padded" and len(args) == 1:
            return self._padded(args[0])
        if name in PER_WORD and 1 <= len(args) <= 2:
            k = int(args[1][1]) if len(args) == 2 and args[1][0] == "number" else 3
            return per_word(self.place, name, self._value(args[0]), k)
        if name not in FUNCTIONS:
            known = ["standardise", "padded", *SPELLINGS, *PER_WORD, *FUNCTIONS]
            raise DataError(f"input {self.place}: there is no function {name!r}{did_you_mean(name, known)}")
        wanted, function = FUNCTIONS[name]
        if len(args) != wanted:
            raise DataError(f"input {self.place}: {name} takes {wanted} argument{'s' * (wanted > 1)}, not {len(args)}")
        return function(*_fit(*(self._number(a) for a in args)))

    def _padded(self, tree: Tree) -> Array:
        """(examples, width): each sequence, and empty symbols or zeros after it, for an input without a time axis."""
        steps = np.asarray(self._value(tree))
        if self.offsets is None or self.width is None:
            raise DataError(f"input {self.place}: padded(...) makes an input of a fixed width, such as {self.place}[40], of a "
                            "sequence: padded(words(line))")
        found, self.offsets = Ragged(steps, self.offsets), None
        longest = int(found.lengths.max(initial=0))
        if longest > self.width:
            raise DataError(f"input {self.place}: a sequence has {longest} symbols, {self.place} has {self.width} places; "
                            "--set gives it more, or `only` leaves long ones out")
        out = found.padded(self.width)
        if steps.dtype.kind in "OUS":
            out[np.arange(self.width) >= found.lengths[:, None]] = ""
        return out

    def _standardise(self, value: Array) -> Array:
        """(x - mean) / deviation of each feature over the training part; a constant feature is only centred."""
        key = f"{self.place}.{self._count}"
        self._count += 1
        if self.fitted.learn:
            # what is not finite is left out, so that it alone is reported, and not its whole column
            known = np.isfinite(value)
            count = np.maximum(known.sum(axis=0), 1)
            mean = value.sum(axis=0, dtype=np.float64, where=known) / count
            deviation = np.sqrt(np.square(value - mean, dtype=np.float64).sum(axis=0, where=known) / count)
            deviation = np.where(deviation > 0, deviation, 1.0)
            self.fitted.scales[key] = {"mean": mean.tolist(), "deviation": deviation.tolist()}
        if key not in self.fitted.scales:
            raise DataError(f"input {self.place}: the stored weights hold no mean for `standardise`")
        scale = self.fitted.scales[key]
        mean, deviation = (np.asarray(scale[k], value.dtype) for k in ("mean", "deviation"))
        if mean.shape != value.shape[1:]:
            raise DataError(f"input {self.place}: standardised over shape {mean.shape} in training, now {value.shape[1:]}")
        return np.asarray((value - mean) / deviation)

    def _beside(self, trees: tuple[Tree, ...]) -> Array:
        parts = [np.asarray(self._number(t)) for t in trees]
        return np.concatenate([p.reshape(len(p), -1) for p in parts], axis=1)

    def _shift(self, value: Any, k: int) -> Array:
        """out[i] = value[i + k]; what the ends hold is cut off afterwards (`reach`)."""
        low, high = self.reach
        self.reach = (max(low, -k), max(high, k))
        return np.roll(np.asarray(value), -k, axis=0)

    def _feature(self, tree: Tree) -> Array:
        value = np.asarray(self._number(tree[1]))
        width = value.shape[1] if value.ndim > 1 else 0
        low, high = (tree[2], tree[3]) if tree[0] == "slice" else (tree[2], tree[2] + 1)
        if not 0 <= low < high <= width:
            raise DataError(f"input {self.place}: `{_text(tree)}` reads beyond the {width} features of `{_text(tree[1])}`")
        return value[:, low:high] if tree[0] == "slice" else value[:, low]


def _fit(*values: Any) -> tuple[Any, ...]:
    """Columns of different rank lined up by their first axis, the examples."""
    rank = max((v.ndim for v in values if not isinstance(v, float)), default=0)
    return tuple(v if isinstance(v, float) or not v.ndim else v.reshape(v.shape + (1,) * (rank - v.ndim)) for v in values)


def _text(tree: Tree) -> str:
    match tree:
        case ("name", name):
            return str(name)
        case ("item", inner, i):
            return f"{_text(inner)}[{i}]"
        case ("slice", inner, i, j):
            return f"{_text(inner)}[{i}:{j}]"
    return "the formula"
