"""The inputs of one part, from the rows of a table that it holds: formulas, classes, sequences, windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...compiler.node import BATCH
from ...compiler.system import System
from .checks import check_input, fit_input
from .errors import DataError, plural
from .formats import first_word
from .formulas import Evaluation, Fitted, names, parse
from .ragged import Ragged, offsets_of
from .sources import Table
from .vocabulary import encode, learn_vocabulary

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array | Ragged]
Locate = Callable[[int], str]


@dataclass
class Preparation:
    """What is learned from the training part and stored with the weights."""

    fitted: Fitted
    vocabularies: dict[str, list[str]] = field(default_factory=dict)
    spelling: dict[str, str] = field(default_factory=dict)
    least: int = 1                                   # how often a word must occur to be a class of its own


@dataclass
class Maker:
    """One part; `stream` says that the rows are the steps of one sequence, `window` into which pieces it is cut (0: none)."""

    system: System
    table: Table
    rows: Array
    dtype: np.dtype[Any]
    learned: Preparation
    window: int = 0
    empty: int = 0                                   # examples left out because nothing is left of them

    def make(self, formulas: dict[str, str], part: str) -> Arrays:
        trees = {name: parse(text) for name, text in formulas.items()}
        columns = self._columns(self.rows)
        if any("rest" in names(t) for t in trees.values()) and "rest" not in columns:
            columns["rest"] = self._rest(columns, trees)
        out: Arrays = {}
        reach: dict[str, tuple[int, int]] = {}
        for name, tree in trees.items():
            axis = self._axis(name)
            # what an earlier input is called, a later formula may read: `x, y = x[t+1]`
            run = Evaluation({**out, **columns}, self.dtype, self.learned.fitted, name, bool(axis), width=self._width(name))
            value = self._words(name, tree, run, run.run(tree), columns)
            out[name] = self._checked(name, run, value, self._left_out(trees) if "rest" in names(tree) else "")
            low, high = reach.get(axis, (0, 0))
            reach[axis] = (max(low, run.reach[0]), max(high, run.reach[1]))
        if reach.get("", (0, 0)) != (0, 0):
            raise DataError("a formula such as x[t+1] needs an input that runs along time, x[t], and a column of sequences")
        return self._sequences(out, reach, part)

    def _columns(self, rows: Array) -> Arrays:
        """The columns of these rows; a stream is one sequence of them."""
        found = {name: column[rows] for name, column in self.table.columns.items()}
        if not self.table.stream:
            return found
        return {name: Ragged(column, offsets_of([len(column)])) for name, column in found.items()}  # type: ignore[arg-type]

    def _axis(self, name: str) -> str:
        return next((a for a in self.system.inputs[name].axes if a != BATCH), "")

    def _width(self, name: str) -> int | None:
        """How many places an input w[N] has."""
        shape = self.system.inputs[name].shape
        return shape[0].evaluate(self.system.sizes) if len(shape) == 1 and not self._axis(name) else None

    def _rest(self, columns: Mapping[str, Any], trees: Mapping[str, Any]) -> Array:
        rest = [c.reshape(len(c), -1) for c in _unnamed(columns, trees).values() if c.dtype.kind not in "OUS"]
        if not rest:
            raise DataError(f"{self.table.name}: `rest` is every numeric column that no formula names, and there is none "
                            f"among {', '.join(map(repr, columns))}")
        return np.concatenate(rest, axis=1)

    def _left_out(self, trees: Mapping[str, Any]) -> str:
        """The columns that `rest` leaves out because a cell is a word, for the message that it is not as wide as its input."""
        words = {k: (c, i) for k, c in _unnamed(self.table.columns, trees).items()
                 if c.dtype.kind in "OUS" and (i := first_word(c)) is not None}
        found = [f"`{k}`, which holds words: {str(c[i])!r} in {self.table.locate(i)}" for k, (c, i) in words.items()]
        return f"; `rest` leaves out {' and '.join(found)}" if found else ""

    # ------------------------------------------------------------ words

    def _words(self, name: str, tree: Any, run: Evaluation, value: Array, columns: Arrays) -> Array:
        """Words as classes by the vocabulary of the input; the classes of a target, and characters, are those of all parts."""
        if value.dtype.kind not in "OUS":
            return value
        learned, n = self.learned, self.system.inputs[name].type
        if n.kind != "class" or n.n is None:
            raise DataError(f"input {name}: numbers were expected, {self.table.name} holds words such as {str(value.flat[0])!r}")
        read = names(tree)
        source = next((v for v in read if v in learned.vocabularies), name)
        spelling = run.spelling or next((self.table.spelling[c] for c in read if c in self.table.spelling), "")
        if source not in learned.vocabularies:
            unknown = spelling == "words" and name not in self.system.targets
            limit = n.n.evaluate(self.system.sizes)
            seen = value if unknown else self._everywhere(name, tree)
            learned.vocabularies[source] = learn_vocabulary(name, seen, limit, str(n.n), unknown, learned.least)
            plain = bool(run.spelling) if tree[0] == "call" else tree[0] == "name"
            if spelling and plain and name not in self.system.targets:
                learned.spelling[source] = spelling
        each = value.size // max(len(value), 1)
        return encode(name, value, learned.vocabularies[source], lambda i: self._place(run.offsets, "", i // each))

    def _everywhere(self, name: str, tree: Any) -> Array:
        """The formula over all rows: classes that only the test part has are classes, too."""
        every = self._columns(np.arange(len(self.table)))
        return Evaluation(every, self.dtype, self.learned.fitted, name, bool(self._axis(name)), width=self._width(name)).run(tree)

    # ------------------------------------------------------------ checks

    def _checked(self, name: str, run: Evaluation, value: Array, left_out: str) -> Array | Ragged:
        """The value in the type and shape of its input, every element fit to be there."""
        axis = self._axis(name)
        if run.offsets is not None and not axis:
            raise DataError(f"input {name}: {self.table.name} is a sequence; declare it with a time axis, {name}[t]")
        if run.offsets is not None and len(value) != run.offsets[-1]:
            raise DataError(f"input {name}: its formula mixes sequences and values that an example has once")
        if run.offsets is not None and not len(value):
            raise DataError(f"input {name}: the sequences of {self.table.name} have no steps; at least one was expected")

        def locate(i: int) -> str:
            return self._place(run.offsets, axis, i)
        fit = fit_input(self.system, name, value, self.dtype, run.offsets is not None, locate, left_out)
        check_input(self.system, name, fit, locate)
        return fit if run.offsets is None else Ragged(fit, run.offsets, axis)

    def _place(self, offsets: Array | None, axis: str, i: int) -> str:
        """Where a value stands: its example, and its step in it."""
        if offsets is None:
            return self.table.locate(int(self.rows[i]))
        row, step = Ragged(np.zeros(0), offsets).place(i)
        if self.table.stream:
            return self.table.locate(int(self.rows[step]))
        if self.table.locate_step is not None:
            return self.table.locate_step(int(self.rows[row]), step)
        return f"{self.table.locate(int(self.rows[row]))}, {axis + ' = ' if axis else 'step '}{step}"

    # ------------------------------------------------------------ sequences

    def _sequences(self, out: Arrays, reach: Mapping[str, tuple[int, int]], part: str) -> Arrays:
        """Ends that a shifted formula cannot fill cut off; sequences of one axis compared; equal ones as one array."""
        first: dict[str, tuple[str, Ragged]] = {}
        for name, a in out.items():
            if isinstance(a, Ragged):
                out[name] = a = a.cut(*reach[a.axis])
                other, b = first.setdefault(a.axis, (name, a))
                if len(a) == len(b) and not np.array_equal(a.offsets, b.offsets):
                    row = int(np.argmax(a.lengths != b.lengths))
                    raise DataError(f"inputs {other} and {name} differ in length along {a.axis}: {b.lengths[row]} and "
                                    f"{a.lengths[row]} steps at {self.table.locate(int(self.rows[row]))}")
        if self.table.stream:
            return {name: self._windows(a, part) if isinstance(a, Ragged) else a for name, a in out.items()}
        some = [a.lengths > 0 for _, a in first.values()]
        kept = np.logical_and.reduce(some) if some else None
        if kept is not None and not kept.all():
            self.empty = int((~kept).sum())
            self.rows = self.rows[kept]
            out = {name: a[kept] for name, a in out.items()}
        return {name: self._settled(name, a) if isinstance(a, Ragged) else a for name, a in out.items()}

    def _settled(self, name: str, a: Ragged) -> Array | Ragged:
        if a.axis in self.system.lengths:
            return a
        unequal = a.lengths != a.lengths[:1]
        if unequal.any():
            row = int(np.argmax(unequal))
            places = [self.table.locate(int(self.rows[r])) for r in (0, row)]
            raise DataError(f"input {name}: sequences of unequal length, {plural(int(a.lengths[0]), 'step')} at {places[0]} and "
                            f"{int(a.lengths[row])} at {places[1]}: declare `lengths {a.axis}`")
        return a.dense()

    def _windows(self, a: Ragged, part: str) -> Array:
        """A stream as windows of equal length, or whole, as one example."""
        if not self.window:
            return a.values[None]
        count = len(a.values) // self.window
        if not count:
            n = plural(len(self.rows), "symbol")
            raise DataError(f"{self.table.name}: the {part} part has {n}, fewer than one window of {self.window} needs")
        return a.values[:count * self.window].reshape(count, self.window, *a.values.shape[1:])


def _unnamed(columns: Mapping[str, Any], trees: Mapping[str, Any]) -> dict[str, Array]:
    """The columns that no formula names, but for sequences."""
    named = {c for t in trees.values() for c in names(t)}
    return {k: c for k, c in columns.items() if k not in named and not isinstance(c, Ragged)}
