"""The Python builder: a model written with Python's operators.

    m = Builder("mlp", D=784, H=128)
    x, y = m.input("x", "D"), m.target("y", cls=10)
    W, b = m.param("W", "H", "D", init="xavier"), m.param("b", "H")
    h = m.eq("h", relu(W @ x + b))
    s = m.eq("s", m.call("dense", h, 10))
    m.loss(cross_entropy(softmax(s), y))
    system = m.system()

    t = m.time("t")                                                     # recurrences: declare, then define
    h = m.var("h", t, "H")
    m.define(h, tanh(W @ x + U @ h[t-1] + b), where={-1: 0})

It writes the language: each value is a formula, and `system()` elaborates the text of all of them (`text()` shows it), so that a
model means the same from Python as from a file. Every function of the language and of its library is an attribute of
this module (`relu`, `softmax`, `mean(a, over="batch")`, `gelu`, ...). A mistake is a ModelError that names the Python line.
"""

from __future__ import annotations

import contextlib
import linecache
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..compiler.system import Span, System
from .values import Axis, BuilderError, Operand, Value, Variable, call, checked_name, size_text, value


def __getattr__(name: str) -> Callable[..., Value]:
    """Every function of the language by its name."""
    from .language.functions import names_of_functions
    if name.startswith("_") or name not in names_of_functions():
        raise AttributeError(f"the language has no function {name}")

    def function(*args: Operand, over: Any = None, **named: Operand) -> Value:
        return call(name, *args, over=over, **named)

    function.__name__ = name
    return function


# ---------------------------------------------------------------- models

class Builder:
    """A model under construction. Shapes are sizes by name or number; a lower-case name, or an Axis, is a time axis.

    With `energy=True` it is an energy model: `visible`, `hidden` and `E` stand for inputs, targets and the loss.
    """

    def __init__(self, name: str, *, energy: bool = False, **sizes: int) -> None:
        self.name = checked_name(name)
        self._lines: list[tuple[str, tuple[str, int]]] = []
        self._equations: dict[str, int] = {}
        self._indent = ""
        head = ", ".join(f"{checked_name(k)} = {int(v)}" for k, v in sizes.items())
        self._add(f"{'energy' if energy else 'model'} {name}" + (f"({head})" if head else ""))

    # ---- declarations

    def time(self, name: str, over: str | Axis | None = None) -> Axis:
        """A time axis, or a second name of another: `u = m.time("u", over=t)`."""
        first = f" over {over.name if isinstance(over, Axis) else checked_name(over)}" if over is not None else ""
        self._add(f"time {checked_name(name)}{first}")
        return Axis(name)

    def lengths(self, axis: str | Axis) -> None:
        """Examples have their own lengths along an axis: the functions then take `lengths_t`."""
        self._add(f"lengths {axis.name if isinstance(axis, Axis) else checked_name(axis)}")

    def input(self, name: str, *shape: Any, cls: Any = None, type: str | None = None) -> Variable:
        """input name[shape]; `cls=n` is one of n classes, `type` is unit, binary or bool."""
        return self._declared("input", name, shape, cls, type)

    def target(self, name: str, *shape: Any, cls: Any = None, type: str | None = None) -> Variable:
        """As `input`, for what the loss compares with."""
        return self._declared("target", name, shape, cls, type)

    def visible(self, name: str, *shape: Any, units: str = "binary", fed: Operand | None = None) -> Variable:
        """A layer of an energy model that data give; units: binary, binary(mean), spin, categorical or gaussian.

        In a pretrain block it is `fed` by a value of the model.
        """
        return self._units("visible", name, shape, units, "" if fed is None else f" = {value(fed)!r}")

    def hidden(self, name: str, *shape: Any, units: str = "binary") -> Variable:
        """A layer of an energy model that is sampled, of the kinds of `visible`."""
        return self._units("hidden", name, shape, units)

    def _units(self, keyword: str, name: str, shape: tuple[Any, ...], units: str, fed: str = "") -> Variable:
        kind, mark, rest = units.partition("(mean)")
        if rest:
            raise BuilderError(f"{units!r} is no kind of units")
        self._add(f"{keyword} {_target(name, *_split(shape))} : {checked_name(kind)}{mark}{fed}")
        return Variable(name)

    def E(self, right: Operand) -> Variable:
        """The energy of an energy model."""
        return self.eq("E", right)

    def _declared(self, keyword: str, name: str, shape: tuple[Any, ...], cls: Any, type_: str | None) -> Variable:
        axes, sizes = _split(shape)
        kind = f" : class({size_text(cls)})" if cls is not None else f" : {checked_name(type_)}" if type_ else ""
        self._add(f"{keyword} {_target(name, axes, sizes)}{kind}")
        return Variable(name, axes)

    def param(self, name: str, *shape: Any, init: Any = 0) -> Variable:
        """A trained array: init is a number, "xavier", ("normal", 0.01), ..."""
        _, sizes = _split(shape)
        if sizes and sizes[0].isdigit():
            sizes = (f"({sizes[0]})", *sizes[1:])                # else the member of a family
        if isinstance(init, int | float):
            text = f"= {_number(init)}"
        else:
            kind, *numbers = (init,) if isinstance(init, str) else init
            text = f"~ {checked_name(kind)}" + (f"({', '.join(map(_number, numbers))})" if numbers else "")
        self._add(f"param {_target(name, (), sizes)} {text}")
        return Variable(name)

    def stat(self, name: str, *shape: Any, start: float = 0, update: Callable[[Variable], Value] | Value,
             average: bool = False) -> Variable:
        """State that is not trained: `update` is a value, or a function of the stat's old value."""
        out = Variable(checked_name(name))
        new = update if isinstance(update, Value) else update(out)
        text = f"average[batches]({new!r})" if average else repr(new)
        self._add(f"stat {_target(name, (), _split(shape)[1])} = {_number(start)} <- {text}")
        return out

    # ---- equations

    def eq(self, name: str, right: Operand, where: Mapping[Any, Operand] | None = None) -> Variable:
        """name = right; the time axes on the left are those of the right side."""
        right = value(right)
        self._add(f"{_target(name, right.axes, ())} = {right!r}{_where(name, where)}")
        return Variable(name, right.axes)

    def eqs(self, names: Iterable[str], right: Value) -> tuple[Variable, ...]:
        """(h, c) = ...: the results of a layer that has several."""
        found = tuple(Variable(checked_name(n), right.axes) for n in names)
        self._add(f"({', '.join(repr(v) for v in found)}) = {right!r}")
        return found

    def var(self, name: str, *shape: Any) -> Variable:
        """A variable that is read before it is defined."""
        axes, sizes = _split(shape)
        out = Variable(checked_name(name), axes)
        self._equations[name] = len(self._lines)
        self._add(f"{_target(name, axes, sizes if axes else ())} = ")
        return out

    def define(self, variable: Variable, right: Operand, where: Mapping[Any, Operand] | None = None) -> Variable:
        """The equation of a variable; `where={-1: 0, "T": 1}` are its boundary values; of h[s, t], `{(s, -1): 0}`."""
        if variable.name not in self._equations:
            raise BuilderError(f"{variable.name} was not declared by var(...)")
        at = self._equations.pop(variable.name)
        left = self._lines[at][0]
        self._lines[at] = (f"{left}{value(right)!r}{_where(variable.name, where)}", _caller())
        return variable

    def call(self, f: str, *args: Operand, **named: Operand) -> Value:
        """A function or layer: m.call("lstm", x, "H", reverse=True)."""
        return call(f, *args, **named)

    # ---- what stands around

    def loss(self, right: Operand) -> None:
        self._add(f"loss = {value(right)!r}")

    def metric(self, name: str, right: Operand) -> None:
        self._add(f"metric {checked_name(name)} = {value(right)!r}")

    def penalty(self, kind: str, weight: float, *params: str | Variable) -> None:
        """penalty l2(weight) on params, by name or pattern."""
        self._add(f"penalty {checked_name(kind)}({_number(weight)}) on {', '.join(map(_pattern, params))}")

    def feedback(self, target: Value, kind: str, *args: Operand) -> None:
        """feedback(x[t+1], "categorical", softmax(p / m.free("temperature"))); kind "value" draws nothing."""
        texts = ", ".join(repr(value(a)) for a in args)
        right = f"= {texts}" if kind == "value" else f"~ {checked_name(kind)}({texts})"
        self._add(f"feedback {target!r} {right}")

    def on_backward(self, variable: Variable, change: Callable[[Variable], Value]) -> None:
        """on_backward(h, lambda d: clip(d, -1, 1)): what becomes of the gradient that arrives at h."""
        arrives = Variable(f"d_{variable.name}")
        self._add(f"on_backward {variable!r}: {change(arrives)!r}")

    def free(self, name: str) -> Variable:
        """An argument of `generate`, 1 by default, for `feedback`."""
        return Variable(checked_name(name))

    def output(self, *values: str | Variable) -> None:
        self._add(f"output {', '.join(v.name if isinstance(v, Variable) else checked_name(v) for v in values)}")

    def train(self, optimiser: str, *, freeze: Iterable[str] = (), rates: Mapping[str, float] | None = None,
              schedule: Any = None, settings: Mapping[str, float] | None = None, beside: Any = None, **options: Any) -> None:
        """train("adam", lr=0.002, settings={"epochs": 20, "clip_norm": 5}, schedule=("cosine", {"floor": 0.1})).

        Of an energy model: train("contrastive_divergence", k=1, lr=0.1), or with beside=("adam", {"lr": 0.001}).
        """
        parts = [checked_name(optimiser) + _options(options)]
        if beside is not None:
            kind, given = (beside, {}) if isinstance(beside, str) else beside
            parts.append(checked_name(kind) + _options(given))
        parts += [f"{checked_name(k)} = {_number(v)}" for k, v in (settings or {}).items()]
        if schedule is not None:
            kind, given = (schedule, {}) if isinstance(schedule, str) else schedule
            parts.append(f"schedule {checked_name(kind)}{_options(given)}")
        parts += [f"freeze {_pattern(p)}" for p in freeze]
        parts += [f"rate {_pattern(p)} = {_number(r)}" for p, r in (rates or {}).items()]
        self._add(f"train {', '.join(parts)}")

    @contextlib.contextmanager
    def pretrain(self, name: str) -> Iterator[None]:
        """A pretrain block: what is said inside `with m.pretrain("layer1"):`, equations, a loss or units and E, is its own."""
        self._add(f"pretrain {checked_name(name)}:")
        self._indent = "    "
        try:
            yield
        finally:
            self._indent = ""

    def set(self, param: Variable, right: Operand) -> None:
        """pretrain V = W.T: the parameter becomes this at this point of the recipe."""
        self._add(f"pretrain {param!r} = {value(right)!r}")

    def data(self, source: str, split: Iterable[int] = (), options: Mapping[str, Any] | None = None, **columns: str) -> None:
        """data("digits", x="image / 16", y="label", split=(1400, 397))."""
        parts = [f"{checked_name(k)} = {v}" for k, v in columns.items()]
        parts += [f"split {' / '.join(str(int(n)) for n in split)}"] if split else []
        self._add(f"data {checked_name(source)}{_options(options or {})}" + (f": {', '.join(parts)}" if parts else ""))

    # ---- results

    def text(self) -> str:
        """The model in the language."""
        return "\n".join(line for line, _ in self._lines) + "\n"

    def system(self) -> System:
        """The elaborated system; ModelError shows each mistake and the Python line that made it."""
        from .language import ModelError, parse
        if self._equations:
            raise BuilderError(f"declared and not defined: {', '.join(self._equations)}")
        try:
            system = parse(self.text(), f"<{self.name}>")
        except ModelError as error:
            raise ModelError([self._placed(d) for d in error.diagnostics]) from None
        system.spans = {k: self._python(s) for k, s in system.spans.items()}
        return system

    def _placed(self, diagnostic: Any) -> Any:
        """A diagnostic with the Python line that wrote the statement."""
        from .language import Note
        if not 0 < diagnostic.span.line <= len(self._lines):
            return diagnostic
        file, line = self._lines[diagnostic.span.line - 1][1]
        note = Note(Span(file, line, 1), "it was written here", linecache.getline(file, line).rstrip())
        return replace(diagnostic, notes=(*diagnostic.notes, note))

    def _python(self, span: Span) -> Span:
        if span.file != f"<{self.name}>" or not 0 < span.line <= len(self._lines):
            return span
        file, line = self._lines[span.line - 1][1]
        return Span(Path(file).name, line, 1)

    def _add(self, line: str) -> None:
        if "\n" in line or "\r" in line or "#" in line:
            raise BuilderError("a line of a model holds no line break and no #")
        self._lines.append((self._indent + line, _caller()))


def _caller() -> tuple[str, int]:
    """The file and line that called the builder."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename in (__file__, contextlib.__file__):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _split(shape: tuple[Any, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Time axes and sizes; a tuple may stand for all."""
    if len(shape) == 1 and isinstance(shape[0], tuple | list):
        shape = tuple(shape[0])
    axes, sizes = [], []
    for s in shape:
        if isinstance(s, Axis) or (isinstance(s, str) and s[:1].islower()):
            axes.append(checked_name(s.name if isinstance(s, Axis) else s))
        else:
            sizes.append(size_text(s))
    return tuple(axes), tuple(sizes)


def _target(name: str, axes: tuple[str, ...], sizes: tuple[str, ...]) -> str:
    inside = [*axes, *sizes]
    return checked_name(name) + (f"[{', '.join(inside)}]" if inside else "")


def _where(name: str, where: Mapping[Any, Operand] | None) -> str:
    found = []
    for at, init in (where or {}).items():
        places = at if isinstance(at, tuple) else (at,)
        for place in places:
            axis = isinstance(place, Axis) and len(places) > 1
            if not axis and not re.fullmatch(r"-?\d+|(<|>=)\s*\w+|[A-Z](\s*\+\s*\d+)?", str(place)):
                raise BuilderError(f"{place!r} is no place beyond the ends: write -1, \"<0\" or \"T\"")
        found.append(f"{name}[{', '.join(map(str, places))}] = {value(init)!r}")
    return f" where {', '.join(found)}" if found else ""


def _number(x: Any) -> str:
    return repr(value(x)) if not isinstance(x, str) else size_text(x)


def _pattern(p: str | Variable) -> str:
    text = p.name if isinstance(p, Variable) else str(p)
    if not re.fullmatch(r"[\w*?][\w.*?]*", text):
        raise BuilderError(f"{text!r} is neither a parameter nor a pattern of names")
    return text


def _options(options: Mapping[str, Any]) -> str:
    words = []
    for k, v in options.items():
        text = str(v).lower() if isinstance(v, bool) else f'"{v}"' if isinstance(v, str) else _number(v)
        if isinstance(v, str) and '"' in v:
            raise BuilderError("a text holds no quotation mark")
        words.append(f"{checked_name(k)} = {text}")
    return f"({', '.join(words)})" if words else ""


__all__ = ["Axis", "Builder", "BuilderError", "Value", "Variable", "call", "value"]
