"""From a data line to arrays that fit the model's inputs, checked before a step is taken.

    load_data(system) -> Dataset        parts {"train" | "validation" | "test": {input: array, examples first}}

A split `a / b` is training and test, `a / b / c` training, validation and test; `a / b / 0` has no test part. Where the source
has a published test part (mnist), `a / b` is training and validation, cut from its training part, and `a / b / c` also limits
the test part. A source that brings its parts along (a folder of train, dev and test files, a .mat file of parts) keeps them.
Without a split, a source with 20 rows or more is cut 8:1:1, a smaller one is all training; a published test part stays apart.
Tables from files are shuffled before they are split, always in the same way (`shuffle = 0` keeps the file's order); digits,
MNIST, text, generated data and truth tables are split in their own order. Of a text, the training part comes first. `only
label < 5` leaves out, before all that, the examples of which the formula is not true.

Sequences are `Ragged` where the model declares `lengths t`, and arrays (examples, time, ...) where it does not: then they must
be equally long. A stream, such as text, is cut into windows; with `truncate` it stays whole, and the loop cuts it into chunks.

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
from .batches import count
from .checks import check_input, check_lengths, fit_input
from .errors import DataError, did_you_mean, plural
from .formulas import Fitted
from .prepare import Arrays, Maker, Preparation
from .ragged import Ragged
from .selection import only
from .sources import Request, Table, by_suffix, read_source

Array = np.ndarray[Any, Any]
PARTS = ("train", "validation", "test")


@dataclass
class Dataset:
    """Arrays by part and input, and what was learned from the training part.

    A `stream` is one long sequence a part, as one example (1, N, ...); of it `count` counts the steps. `empty` says how many
    examples of a part were left out because nothing is left of them.
    """

    name: str
    parts: dict[str, Arrays]
    preparation: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    empty: dict[str, int] = field(default_factory=dict)

    def count(self, part: str) -> int:
        """How many examples a part has; of a stream, how many symbols."""
        arrays = self.parts.get(part, {})
        if self.stream and arrays:
            return min(a.shape[1] for a in arrays.values() if isinstance(a, np.ndarray))
        return count(arrays)

    def describe(self) -> str:
        def left_out(part: str) -> str:
            return f" ({self.empty[part]} empty ones left out)" if self.empty.get(part) else ""
        return f"{self.name}: " + ", ".join(f"{self.count(p)} {p}{left_out(p)}" for p in self.parts)


def load_data(system: System, path: str | Path | None = None, *, folder: str | Path = ".", dtype: Any = np.float32,
              preparation: Mapping[str, Any] | None = None) -> Dataset:
    """Reads, splits, prepares and checks the data of a model; every mistake is a DataError."""
    data, file = _data_line(system, path)
    request = Request(data.source, dict(data.options), Path(folder), file)
    table = read_source(request)
    if data.only:
        table = only(table, data.only)
    formulas = _formulas(system, data, table)
    stored = preparation or {}
    learned = Preparation(Fitted(dict(stored.get("scales", {})), learn=preparation is None),
                          dict(stored.get("vocabulary", {})), dict(stored.get("spelling", {})),
                          int(request.number("min_count", 1, 1)))
    window = _window(system, request, table)
    out = Dataset(table.name, {}, stream=table.stream and not window)
    for part, rows in _split(table, data, request).items():
        maker = Maker(system, table, np.asarray(rows), np.dtype(dtype), learned, window)
        out.parts[part] = maker.make(formulas, part)
        _same_length(out.parts[part], part)
        out.empty[part] = maker.empty
        learned.fitted.learn = False
    out.preparation = {"scales": learned.fitted.scales, "vocabulary": learned.vocabularies, "spelling": learned.spelling}
    return out


def from_arrays(system: System, dtype: Any = np.float32, **parts: Mapping[str, Any]) -> Dataset:
    """A dataset of arrays in memory: `from_arrays(system, train={"x": x, "y": y}, test=...)`, checked like any other."""
    if "train" not in parts:
        raise DataError("from_arrays: train={...} is needed")
    checked: dict[str, Arrays] = {}
    for part, arrays in parts.items():
        if part not in PARTS:
            raise DataError(f"from_arrays: there is no part {part!r}{did_you_mean(part, PARTS)}")
        for name in arrays:
            if name not in system.inputs:
                raise DataError(f"the model has no input {name!r}{did_you_mean(name, system.inputs)}")
        checked[part] = {}
        for name in declarable(system):
            if name not in arrays:
                raise DataError(f"input {name}: the {part} part has no array for it")
            checked[part][name] = _in_memory(system, name, arrays, np.dtype(dtype), part)
        _same_length(checked[part], part)
    return Dataset("arrays", {p: checked[p] for p in PARTS if p in checked})


def declarable(system: System) -> list[str]:
    """The inputs that data are given for: not hidden units; the lengths of sequences are the sequences' own."""
    hidden = [u.name for u in system.energy.hidden] if system.energy is not None else []
    return [name for name in system.inputs if name not in [*hidden, *(f"lengths_{axis}" for axis in system.lengths)]]


def _in_memory(system: System, name: str, arrays: Mapping[str, Any], dtype: np.dtype[Any], part: str) -> Array | Ragged:
    """One input as an array, or as sequences: a list of them, or an array and `lengths_t`."""
    given, axis = arrays[name], next((a for a in system.inputs[name].axes if a != BATCH), "")
    where = f"of the {part} part"
    if not axis or (axis not in system.lengths and not _unequal(given)):
        value = fit_input(system, name, np.asarray(given), dtype, locate=f"example {{}} {where}".format)
        check_input(system, name, value, f"example {{}} {where}".format)
        return value
    if axis not in system.lengths:
        row = next(i for i, a in enumerate(given) if len(a) != len(given[0]))
        raise DataError(f"input {name}: sequences of unequal length, {plural(len(given[0]), 'step')} at example 0 {where} and "
                        f"{len(given[row])} at example {row}: declare `lengths {axis}`")
    own = arrays.get(f"lengths_{axis}")
    if own is None:
        found = Ragged.of(given, axis)
    else:
        array = np.asarray(given)
        check_lengths(f"lengths_{axis}", np.asarray(own), array, name, where)
        found = Ragged.of_dense(array, np.asarray(own), axis)
    if not len(found.values) or not found.lengths.all():
        raise DataError(f"input {name}: example {int(np.argmin(found.lengths))} {where} is an empty sequence")
    value = fit_input(system, name, found.values, dtype, True)
    check_input(system, name, value, lambda i: f"example {found.place(i)[0]}, {axis} = {found.place(i)[1]} {where}")
    return Ragged(value, found.offsets, axis)


def _unequal(given: Any) -> bool:
    return isinstance(given, (list, tuple)) and len({len(a) for a in given if hasattr(a, "__len__")}) > 1


def _same_length(arrays: Arrays, part: str) -> None:
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
    for name in declarable(system):
        text = declared.get(name) or name
        if text == name and name not in table.columns and name in declared and table.primary:
            text = table.primary
        if text == name and name not in table.columns:
            raise DataError(f"input {name}: {table.name} has no column {name!r}{did_you_mean(name, table.columns)}")
        formulas[name] = text
    order = [name for name in declared if name in formulas]
    return {name: formulas[name] for name in [*order, *(n for n in formulas if n not in order)]}


def _window(system: System, request: Request, table: Table) -> int:
    """How long the windows are into which a stream is cut; 0 for none, where its chunks carry their state along."""
    length = int(request.number("length", 64, 1))
    if system.training.truncate is None or not table.stream:
        return length
    if "length" in request.options:
        raise DataError(f"data {request.source}: length = {length} cuts the text into windows, and truncate = "
                        f"{system.training.truncate} into chunks that carry their state along: leave one of them out")
    return 0


def _split(table: Table, data: Data, request: Request) -> dict[str, Array]:
    """The rows of each part that is there."""
    n, split = len(table) - table.tested, tuple(data.split)
    if any(s <= 0 for s in split[:2]) or any(s < 0 for s in split) or len(split) > 3:
        raise DataError(f"data {data.source}: a split is two or three counts above 0, not {' / '.join(map(str, split))}")
    if table.own:
        return _own_parts(table, split)
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
    for part, size in counts.items():
        if size:
            parts[part] = order[start:start + size]
        start += size
    if table.tested:
        parts["test"] = n + np.arange(tested)
    return parts


def _own_parts(table: Table, split: tuple[int, ...]) -> dict[str, Array]:
    """The parts that a source brings along; a split takes so many of the first of each."""
    if split and len(split) != len(table.own):
        raise DataError(f"{table.name} has parts of its own, {', '.join(table.own)}: a split limits each, "
                        f"and {plural(len(split), 'count')} cannot")
    parts, start = {}, 0
    for (part, there), wanted in zip(table.own.items(), split or table.own.values()):
        if wanted > there:
            raise DataError(f"{table.name}: the split asks for {wanted} {part} examples, {there} are there")
        parts[part] = start + np.arange(wanted)
        start += there
    return parts
