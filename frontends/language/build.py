"""The grammar's rules -> syntax nodes, without recursion, so that no text is too deep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lark import Token, v_args
from lark.visitors import Transformer_NonRecursive

from . import syntax as s
from .precedence import Prefix, climb


def _number(text: str) -> int | float:
    """An integer where it is written as one, else a float; too large a number is infinity, which is refused later."""
    if text.isdigit() and len(text) < 400:
        return int(text)
    return float(text)


def _some(values: list[Any]) -> list[Any]:
    return [v for v in values if v is not None]


def _items(items: Any) -> tuple[s.Expr, ...] | None:
    return tuple(items) if items is not None else None


@v_args(meta=True)
class Builder(Transformer_NonRecursive[Any, Any]):
    """One method a rule of the grammar."""

    def start(self, meta: Any, lines: list[Any]) -> tuple[s.Statement, ...]:
        return tuple(x for line in lines if line is not None and not isinstance(line, Token)
                     for x in (line if isinstance(line, tuple) else (line,)))

    block = start

    def line(self, meta: Any, statements: list[Any]) -> tuple[s.Statement, ...]:
        """In `param W[H] ~ he; b[H] = 0` the second declares a parameter, too."""
        out: list[s.Statement] = []
        keyword = ""
        for x in _some(statements):
            if isinstance(x, s.Item):
                keyword = x.keyword or keyword
                x = replace(x, keyword=keyword)
            else:
                keyword = ""
            out.append(x)
        return tuple(out)

    def fragment(self, m: Any, c: list[Any]) -> s.Fragment:
        name, *formals, results, body = c
        return s.Fragment(name.start_pos, name.end_pos, str(name), tuple(_some(formals)), results, body)

    def repeat(self, m: Any, c: list[Any]) -> s.Repeat:
        index, first, last, body = c
        return s.Repeat(index.start_pos, index.end_pos, str(index), first, last, body)

    def pretrain(self, m: Any, c: list[Any]) -> s.Pretrain:
        target, body = c
        return s.Pretrain(target.start, target.end, target, body)

    def pretrain_value(self, m: Any, c: list[Any]) -> s.PretrainValue:
        return s.PretrainValue(m.start_pos, m.end_pos, c[0], c[1])

    def formal(self, m: Any, c: list[Any]) -> s.Formal:
        return s.Formal(m.start_pos, m.end_pos, str(c[0]), _items(c[1]), c[2])

    def results(self, m: Any, c: list[Any]) -> tuple[s.Target, ...]:
        return tuple(c)

    def result(self, m: Any, c: list[Any]) -> s.Target:
        return s.Target(m.start_pos, m.end_pos, str(c[0]), _items(c[1]))

    target = result

    # ---- statements

    def model(self, m: Any, c: list[Any]) -> s.Header:
        return s.Header(c[0].start_pos, c[0].end_pos, "model", str(c[0]), tuple(_some(c[1:])))

    def energy(self, m: Any, c: list[Any]) -> s.Header:
        return s.Header(c[0].start_pos, c[0].end_pos, "energy", str(c[0]), tuple(_some(c[1:])))

    def default(self, m: Any, c: list[Any]) -> s.Formal:
        return s.Formal(m.start_pos, m.end_pos, str(c[0]), None, c[1])

    def declarator(self, m: Any, c: list[Any]) -> str:
        return str(c[0])

    def declare(self, m: Any, c: list[Any]) -> Any:
        return replace(c[1], keyword=c[0])

    def bare(self, m: Any, c: list[Any]) -> Any:
        return c[0]

    def item(self, m: Any, c: list[Any]) -> s.Item:
        (targets, is_tuple), *clauses = c
        got = dict(clauses)
        twice = tuple(k for i, (k, _) in enumerate(clauses) if k in [x for x, _ in clauses[:i]])
        return s.Item(m.start_pos, m.end_pos, "", targets, got.get("type"), got.get("init"), got.get("value"),
                      got.get("update"), got.get("where", ()), is_tuple, twice)

    def of_type(self, m: Any, c: list[Any]) -> tuple[str, Any]:
        return "type", c[0]

    def initial(self, m: Any, c: list[Any]) -> tuple[str, Any]:
        return "init", c[0]

    def value(self, m: Any, c: list[Any]) -> tuple[str, Any]:
        return "value", c[0]

    def update(self, m: Any, c: list[Any]) -> tuple[str, Any]:
        return "update", c[1]

    def where(self, m: Any, c: list[Any]) -> tuple[str, Any]:
        return "where", tuple(c)

    def targets(self, m: Any, c: list[Any]) -> tuple[tuple[s.Target, ...], bool]:
        return tuple(c), False

    def together(self, m: Any, c: list[Any]) -> tuple[tuple[s.Target, ...], bool]:
        return tuple(c), True

    def kind(self, m: Any, c: list[Any]) -> s.Kind:
        return s.Kind(m.start_pos, m.end_pos, str(c[0]), c[1] or ())

    def bound(self, m: Any, c: list[Any]) -> s.Bound:
        name, *edges, value = c
        relation = next((r for r, _ in edges if r), "")
        return s.Bound(m.start_pos, m.end_pos, str(name), tuple(e for _, e in edges), relation, value)

    def edge(self, m: Any, c: list[Any]) -> tuple[str, s.Expr]:
        return ("", c[0]) if len(c) == 1 else (str(c[0]), c[1])

    def loss(self, m: Any, c: list[Any]) -> s.Loss:
        return s.Loss(m.start_pos, m.end_pos, c[0])

    def output(self, m: Any, c: list[Any]) -> s.Output:
        return s.Output(m.start_pos, m.end_pos, tuple(s.Name(x.start_pos, x.end_pos, str(x)) for x in c))

    def define(self, m: Any, c: list[Any]) -> s.Define:
        name, *formals, value = c
        return s.Define(name.start_pos, name.end_pos, str(name), tuple(_some(formals)), value)

    def penalty(self, m: Any, c: list[Any]) -> s.Penalty:
        return s.Penalty(m.start_pos, m.end_pos, str(c[0]), c[1], _patterns(c[2:]))

    def time(self, m: Any, c: list[Any]) -> s.Axis:
        return s.Axis(c[0].start_pos, c[0].end_pos, "time", str(c[0]), str(c[1]) if c[1] else None)

    def lengths(self, m: Any, c: list[Any]) -> s.Axis:
        return s.Axis(c[0].start_pos, c[0].end_pos, "lengths", str(c[0]))

    def feedback(self, m: Any, c: list[Any]) -> s.Feedback:
        return s.Feedback(m.start_pos, m.end_pos, c[0], c[1])

    def feedback_value(self, m: Any, c: list[Any]) -> s.Feedback:
        return s.Feedback(m.start_pos, m.end_pos, c[0], c[1], equals=True)

    def on_backward(self, m: Any, c: list[Any]) -> s.Surgery:
        return s.Surgery(m.start_pos, m.end_pos, c[0], c[1])

    def data(self, m: Any, c: list[Any]) -> s.Data:
        columns, split, only, labelled = c[2] or ((), (), None, None)
        return s.Data(m.start_pos, m.end_pos, str(c[0]), c[1] or (), columns, split, only, labelled)

    def columns(self, m: Any, c: list[Any]) -> tuple[tuple[s.Column, ...], tuple[str, ...], str | None, s.Number | None]:
        split = next((x for x in c if isinstance(x, tuple)), ())
        only = next((x for x in c if isinstance(x, str)), None)
        labelled = next((x for x in c if isinstance(x, s.Number)), None)
        return tuple(x for x in c if isinstance(x, s.Column)), split, only, labelled

    def column(self, m: Any, c: list[Any]) -> s.Column:
        if len(c) == 1:
            return s.Column(m.start_pos, m.end_pos, str(c[0]), None)
        return s.Column(c[0].start_pos, c[0].end_pos, str(c[0]), f"{c[1].start}:{c[1].end}")

    def split(self, m: Any, c: list[Any]) -> tuple[str, ...]:
        return tuple(map(str, c))

    def only(self, m: Any, c: list[Any]) -> str:
        return f"{c[0].start}:{c[0].end}"

    def labelled(self, m: Any, c: list[Any]) -> s.Number:
        return s.Number(c[0].start_pos, c[0].end_pos, _number(str(c[0])))

    def train(self, m: Any, c: list[Any]) -> s.Train:
        return s.Train(m.start_pos, m.end_pos, tuple(c))

    def optimiser(self, m: Any, c: list[Any]) -> s.Option:
        return s.Option(m.start_pos, m.end_pos, "optimiser", c[0])

    def setting(self, m: Any, c: list[Any]) -> s.Option:
        return s.Option(m.start_pos, m.end_pos, "setting", s.Kind(c[0].start_pos, c[0].end_pos, str(c[0])), c[1])

    def checkpoint(self, m: Any, c: list[Any]) -> s.Option:
        words = str(c[0]).partition("=")[2].split()
        return s.Option(m.start_pos, m.end_pos, "checkpoint", s.Kind(c[0].start_pos, c[0].end_pos, " ".join(words)))

    def schedule(self, m: Any, c: list[Any]) -> s.Option:
        return s.Option(m.start_pos, m.end_pos, "schedule", c[0])

    def freeze(self, m: Any, c: list[Any]) -> s.Option:
        return s.Option(m.start_pos, m.end_pos, "freeze", s.Kind(m.start_pos, m.end_pos, "freeze"), None, _patterns(c))

    def rate(self, m: Any, c: list[Any]) -> s.Option:
        return s.Option(m.start_pos, m.end_pos, "rate", s.Kind(m.start_pos, m.end_pos, "rate"), c[1], _patterns(c[:1]))

    def constraint(self, m: Any, c: list[Any]) -> s.Option:
        return s.Option(m.start_pos, m.end_pos, "constraint", c[0], None, _patterns(c[1:]))

    # ---- expressions

    def expr(self, m: Any, c: list[Any]) -> s.Expr:
        return climb(c)

    def over(self, m: Any, c: list[Any]) -> Prefix:
        return Prefix(m.start_pos, str(c[0]), tuple(c[1]))

    def parenthesis(self, m: Any, c: list[Any]) -> s.Unary:
        return s.Unary(m.start_pos, m.end_pos, "()", c[0])

    def along(self, m: Any, c: list[Any]) -> s.Along:
        return s.Along(m.start_pos, m.end_pos, str(c[0]), tuple(c[1]), c[2])

    def index(self, m: Any, c: list[Any]) -> s.Index:
        return s.Index(m.start_pos, m.end_pos, c[0], tuple(c[1]))

    def transposed(self, m: Any, c: list[Any]) -> s.Turned:
        return s.Turned(m.start_pos, m.end_pos, c[0])

    def number(self, m: Any, c: list[Any]) -> s.Number:
        return s.Number(m.start_pos, m.end_pos, _number(str(c[0])))

    def string(self, m: Any, c: list[Any]) -> s.Text:
        return s.Text(m.start_pos, m.end_pos, str(c[0])[1:-1])

    def name(self, m: Any, c: list[Any]) -> s.Name:
        return s.Name(m.start_pos, m.end_pos, str(c[0]))

    def call(self, m: Any, c: list[Any]) -> s.Call:
        return s.Call(m.start_pos, m.end_pos, str(c[0]), c[1] or ())

    def concat(self, m: Any, c: list[Any]) -> s.Row:
        return s.Row(m.start_pos, m.end_pos, tuple(c))

    def slice(self, m: Any, c: list[Any]) -> s.Part:
        return s.Part(m.start_pos, m.end_pos, c[0], c[1])

    def arguments(self, m: Any, c: list[Any]) -> tuple[s.Argument, ...]:
        return tuple(c)

    def argument(self, m: Any, c: list[Any]) -> s.Argument:
        return s.Argument(m.start_pos, m.end_pos, str(c[0]) if c[0] else None, c[1])

    def items(self, m: Any, c: list[Any]) -> list[s.Expr]:
        return list(c)


def _patterns(tokens: list[Any]) -> tuple[s.Pattern, ...]:
    return tuple(s.Pattern(t.start_pos or 0, t.end_pos or 0, str(t)) for t in tokens if isinstance(t, Token))
