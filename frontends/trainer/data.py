"""From a data line to arrays that fit the model's inputs, checked before a step is taken.

    load_data(system) -> Dataset        parts {"train" | "validation" | "test": {input: array, examples first}}

A split `a / b` is training and test, `a / b / c` training, validation and test. Where the source has a published test
part (mnist), `a / b` is training and validation, cut from its training part, and `a / b / c` also limits the test part.
Without a split, a source with 20 rows or more is cut 8:1:1, a smaller one is all training; a published test part stays
apart. Tables from files are shuffled before they are split, always in the same way (`shuffle = 0` keeps the file's
order); digits, MNIST, text and truth tables are split in their own order. Of a text, the training part comes first.

What is learned from the training part, means, deviations and vocabularies, is `Dataset.preparation`: it is stored with the
weights, and given to `load_data` it makes other data fit a trained model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...compiler.node import BATCH
from ...compiler.system import Data, System
from .checks import check_input, fit_input
from .errors import DataError, did_you_mean, plural
from .formulas import Evaluation, Fitted, names, parse
from .sources import Request, Table, by_suffix, read_source
from .vocabulary import encode, learn_vocabulary

Array = np.ndarray[Any, Any]
Batch = dict[str, Array]
PARTS = ("train", "validation", "test")


@dataclass
class Dataset:
    """Arrays by part and input, and what was learned from the training part."""

    name: str
    parts: dict[str, Batch]
    preparation: dict[str, Any] = field(default_factory=dict)

    def count(self, part: str) -> int:
        arrays = self.parts.get(part, {})
        return len(next(iter(arrays.values()))) if arrays else 0

    def describe(self) -> str:
        return f"{self.name}: " + ", ".join(f"{self.count(p)} {p}" for p in self.parts)


def load_data(system: System, path: str | Path | None = None, *, folder: str | Path = ".", dtype: Any = np.float32,
              preparation: Mapping[str, Any] | None = None) -> Dataset:
    """Reads, splits, prepares and checks the data of a model; every mistake is a DataError."""
    data, file = _data_line(system, path)
    request = Request(data.source, dict(data.options), Path(folder), file)
    table = read_source(request)
    formulas = _formulas(system, data, table)
    stored = preparation or {}
    fitted = Fitted(dict(stored.get("scales", {})), learn=preparation is None)
    vocabularies: dict[str, list[str]] = dict(stored.get("vocabulary", {}))
    parts: dict[str, Batch] = {}
    for part, rows in _split(table, data, request).items():
        maker = _Part(system, table, np.asarray(rows), np.dtype(dtype), fitted, vocabularies)
        parts[part] = maker.make(formulas, _window(request), part)
        fitted.learn = False
    return Dataset(table.name, parts, {"scales": fitted.scales, "vocabulary": vocabularies})


def from_arrays(system: System, dtype: Any = np.float32, **parts: Mapping[str, Any]) -> Dataset:
    """A dataset of arrays in memory: `from_arrays(system, train={"x": x, "y": y}, test=...)`, checked like any other."""
    if "train" not in parts:
        raise DataError("from_arrays: train={...} is needed")
    checked: dict[str, Batch] = {}
    for part, arrays in parts.items():
        if part not in PARTS:
            raise DataError(f"from_arrays: there is no part {part!r}{did_you_mean(part, PARTS)}")
        for name in arrays:
            if name not in system.inputs:
                raise DataError(f"the model has no input {name!r}{did_you_mean(name, system.inputs)}")
        checked[part] = {}
        for name in system.inputs:
            if name not in arrays:
                raise DataError(f"input {name}: the {part} part has no array for it")
            value = fit_input(system, name, np.asarray(arrays[name]), np.dtype(dtype))
            check_input(system, name, value, lambda row, part=part: f"example {row} of the {part} part")  # type: ignore[misc]
            checked[part][name] = value
        _same_length(checked[part], part)
    return Dataset("arrays", {p: checked[p] for p in PARTS if p in checked})


def _same_length(arrays: Batch, part: str) -> None:
    counts = {name: len(a) for name, a in arrays.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {n}" for name, n in counts.items())
        raise DataError(f"the inputs of the {part} part differ in length: {listed}")
    if arrays and not next(iter(counts.values())):
        raise DataError(f"the {part} part is empty: at least one example was expected")


def _data_line(system: System, path: str | Path | None) -> tuple[Data, Path | None]:
    file = None if path is None else Path(path)
    if file is not None and not file.exists():
        raise DataError(f"--data {file}: there is no such file or folder")
    if system.data is not None:
        return system.data, file
    if file is None:
        raise DataError(f"model {system.name} has no data line: add one, such as `data digits: x = image / 16, y = label`, "
                        f"or use --data FILE")
    return Data(by_suffix(file)), file


def _formulas(system: System, data: Data, table: Table) -> dict[str, str]:
    """Each input's formula; an input that the data line does not name reads the column of its own name."""
    declared = dict(data.columns)
    for name in declared:
        if name not in system.inputs:
            raise DataError(f"data {data.source}: the model has no input {name!r}{did_you_mean(name, system.inputs)}")
    formulas = {}
    for name in system.inputs:
        text = declared.get(name) or name
        if text == name and name not in table.columns and name in declared and table.primary:
            text = table.primary
        if text == name and name not in table.columns:
            raise DataError(f"input {name}: {table.name} has no column {name!r}{did_you_mean(name, table.columns)}")
        formulas[name] = text
    order = [name for name in declared if name in formulas]
    return {name: formulas[name] for name in [*order, *(n for n in formulas if n not in order)]}


def _window(request: Request) -> int:
    """How long the windows are into which a stream is cut."""
    return int(request.number("length", 64, 1))


def _split(table: Table, data: Data, request: Request) -> dict[str, Array]:
    """The rows of each part that is there."""
    n, split = len(table) - table.tested, tuple(data.split)
    if any(s <= 0 for s in split) or len(split) > 3:
        raise DataError(f"data {data.source}: a split is two or three counts above 0, not {' / '.join(map(str, split))}")
    if table.tested:
        counts = dict(zip(("train", "validation"), split or (n,)))
        tested = split[2] if len(split) == 3 else table.tested
        if tested > table.tested:
            raise DataError(f"{table.name}: the split asks for {tested} test examples, {table.tested} are there")
    else:
        tested = 0
        if not split:
            split = (n,) if n < 20 else (n - 2 * (n // 10), n // 10, n // 10)
        counts = dict(zip(("train", "test") if len(split) == 2 else PARTS, split))
    if sum(counts.values()) > n:
        raise DataError(f"{table.name}: the split asks for {sum(counts.values())} examples, {n} are there")
    shuffle = request.number("shuffle", 0 if table.ordered else 1)
    order = np.random.default_rng(0).permutation(n) if shuffle else np.arange(n)
    parts, start = {}, 0
    for part, count in counts.items():
        parts[part] = order[start:start + count]
        start += count
    if table.tested:
        parts["test"] = n + np.arange(tested)
    return parts


@dataclass
class _Part:
    """The inputs of one part, from the rows that it holds."""

    system: System
    table: Table
    rows: Array
    dtype: np.dtype[Any]
    fitted: Fitted
    vocabularies: dict[str, list[str]]

    def make(self, formulas: dict[str, str], window: int, part: str) -> Batch:
        columns = {name: column[self.rows] for name, column in self.table.columns.items()}
        trees = {name: parse(text) for name, text in formulas.items()}
        if any("rest" in names(t) for t in trees.values()) and "rest" not in columns:
            columns["rest"] = self._rest(columns, trees)
        out: Batch = {}
        reach = (0, 0)
        for name, tree in trees.items():
            # what an earlier input is called, a later formula may read: `x, y = x[t+1]`
            run = Evaluation({**out, **columns}, self.dtype, self.fitted, name)
            value = run.run(tree)
            source = next((v for v in names(tree) if v in self.vocabularies), name)
            out[name] = self._words(name, source, value)
            reach = (max(reach[0], run.reach[0]), max(reach[1], run.reach[1]))
        out, first, step = self._cut(out, reach, window, part)
        for name, value in out.items():
            out[name] = fit_input(self.system, name, value, self.dtype)
            check_input(self.system, name, out[name], lambda i: self.table.locate(int(self.rows[first + i * step])))
        _same_length(out, part)
        return out

    def _rest(self, columns: Mapping[str, Array], trees: Mapping[str, Any]) -> Array:
        named = {c for t in trees.values() for c in names(t)}
        rest = [c.reshape(len(c), -1) for k, c in columns.items() if k not in named and c.dtype.kind not in "OUS"]
        if not rest:
            raise DataError(f"{self.table.name}: `rest` is every numeric column that no formula names, and there is none")
        return np.concatenate(rest, axis=1)

    def _words(self, name: str, source: str, value: Array) -> Array:
        """Words as classes by the vocabulary of the input, which the whole table (of words, the training part) makes."""
        if value.dtype.kind not in "OUS":
            return value
        n = self.system.inputs[name].type
        if n.kind != "class" or n.n is None:
            raise DataError(f"input {name}: numbers were expected, {self.table.name} holds words such as {str(value[0])!r}")
        if source not in self.vocabularies:
            limit = n.n.evaluate(self.system.sizes)
            words = self.table.primary == "words"
            seen = value if words else self._everything(value)
            self.vocabularies[source] = learn_vocabulary(name, seen, limit, str(n.n), words)
        return encode(name, value, self.vocabularies[source], lambda i: self.table.locate(int(self.rows[i])))

    def _everything(self, value: Array) -> Array:
        """The column of which `value` is this part's: classes that only the test part has are classes, too."""
        for column in self.table.columns.values():
            if column.dtype.kind in "OUS" and len(value) == len(self.rows) and bool(np.all(column[self.rows] == value)):
                return column
        return value

    def _cut(self, arrays: Batch, reach: tuple[int, int], window: int, part: str) -> tuple[Batch, int, int]:
        """A stream's ends that a shifted formula cannot fill are cut off, and the rest is cut into windows."""
        if not self.table.stream:
            if reach != (0, 0):
                raise DataError("a formula such as x[t+1] needs a source that is one long sequence, such as text")
            return arrays, 0, 1
        low, high = reach
        arrays = {k: v[low:len(v) - high] for k, v in arrays.items()}
        count = min(len(v) for v in arrays.values()) // window
        if not count:
            n = plural(len(self.rows), "symbol")
            raise DataError(f"{self.table.name}: the {part} part has {n}, fewer than one window of {window} needs")
        sequential = {k: bool(set(self.system.inputs[k].axes) - {BATCH}) for k in arrays}
        for k, is_sequence in sequential.items():
            if not is_sequence:
                raise DataError(f"input {k}: {self.table.name} is a sequence; declare it with a time axis, {k}[t]")
        return {k: v[:count * window].reshape(count, window, *v.shape[1:]) for k, v in arrays.items()}, low, window
