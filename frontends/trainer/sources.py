"""The sources that a data line may name, each a function that returns a table of columns.

    digits                      scikit-learn's 1797 images 8x8: image (0..16), label
    mnist                       the four IDX files of a folder: image 28x28 (0..255), label; 60000 and 10000 examples
    csv("f.csv") tsv npz        a file's columns by name; `rest` is every numeric column that no formula names
    text(chars) text(words)     one long sequence, cut into windows of `length`; by default CPython's documentation
    truth(3)                    the truth table of n = 2 variables: input (n), each as a, b, ..., all, any, odd (AND, OR, XOR)
    sinusoid                    n = 50 points x in [0, 1), y = sin(2 pi x) + noise (0.1), clean

The path of a file source may also come from the command line (`--data`). MNIST is looked for there, then under
`$CHAINRULE_DATA/mnist`, then in `data/mnist`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError, did_you_mean
from .formats import find_file, read_idx, read_npz, read_table, read_text

Array = np.ndarray[Any, Any]


@dataclass
class Table:
    """Columns whose first axis counts the examples.

    `primary` is what an input without a formula reads where no column bears its name; `tested` is how many of the last
    rows are the published test part; `stream` says that the rows are one long sequence; `ordered` that they are not to be
    shuffled before they are split.
    """

    name: str
    columns: dict[str, Array]
    primary: str | None = None
    tested: int = 0
    stream: bool = False
    ordered: bool = False
    locate: Callable[[int], str] = field(default=lambda row: f"example {row}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0


@dataclass
class Request:
    """What a source is asked for: the options of the data line, the folder of the model file, `--data`."""

    source: str
    options: Mapping[str, Any]
    folder: Path = Path()
    path: Path | None = None
    taken: set[str] = field(default_factory=set)

    def positional(self) -> list[str]:
        """What is written without a name, and stands under "0", "1", ...: `text(chars)`, `csv("f.csv")`, `truth(3)`."""
        found = []
        for key, value in self.options.items():
            if key.isdigit() or key == "path":
                self.taken.add(key)
                found.append(str(value))
        return found

    def number(self, name: str, default: float, least: float = 0) -> float:
        self.taken.add(name)
        value = self.options.get(name, default)
        if isinstance(value, str) or value < least:
            raise DataError(f"data {self.source}: {name} is a number of at least {least:g}, not {value!r}")
        return float(value)

    def file(self) -> Path:
        """The file to read: `--data`, else the data line's, relative to the model's folder."""
        named = self.positional()
        if self.path is not None:
            inside = self.path / Path(named[0]).name if named and self.path.is_dir() else self.path
            return inside
        if not named:
            raise DataError(f"data {self.source}: which file? write {self.source}(\"file\") or use --data FILE")
        return self.folder / named[0]


def _digits(request: Request) -> Table:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError("data digits needs scikit-learn: pip install scikit-learn") from None
    bunch = load_digits()
    return Table("digits", {"image": bunch.images.astype(np.uint8), "label": bunch.target.astype(np.int64)}, ordered=True)


def _mnist(request: Request) -> Table:
    named = request.positional()
    folder = request.path or (request.folder / named[0] if named else _mnist_folder())
    columns: dict[str, list[Array]] = {"image": [], "label": []}
    for part in ("train", "t10k"):
        for column, kind, rank in (("image", "images", 3), ("label", "labels", 1)):
            path = find_file(folder, f"{part}-{kind}-idx{rank}-ubyte", f"{part}-{kind}.idx{rank}-ubyte")
            array = read_idx(path)
            if array.ndim != rank:
                raise DataError(f"{path}: {column}s of {rank} axes were expected, it has {array.ndim}")
            columns[column].append(array)
        if len(columns["image"][-1]) != len(columns["label"][-1]):
            raise DataError(f"{folder}: {len(columns['image'][-1])} {part} images and {len(columns['label'][-1])} labels")
    return Table("mnist", {k: np.concatenate(v) for k, v in columns.items()}, tested=len(columns["label"][1]), ordered=True)


def _mnist_folder() -> Path:
    root = os.environ.get("CHAINRULE_DATA")
    places = [Path(root) / "mnist"] if root else []
    places.append(Path("data/mnist"))
    for place in places:
        if place.is_dir():
            return place
    raise DataError("data mnist: the IDX files were found neither in " + " nor in ".join(map(str, places)) +
                    "; say where they are with --data DIR")


def _delimited(delimiter: str) -> Callable[[Request], Table]:
    def read(request: Request) -> Table:
        path = request.file()
        return Table(str(path), read_table(path, delimiter), locate=lambda row: f"row {row + 1} of {path}")
    return read


def _npz(request: Request) -> Table:
    path = request.file()
    columns = read_npz(path)
    if not columns:
        raise DataError(f"{path} holds no arrays")
    for name, column in columns.items():
        if not column.ndim:
            raise DataError(f"{path}: {name} is a single number; the first axis of every array counts the examples")
    return Table(str(path), columns, locate=lambda row: f"row {row} of {path}")


def _text(request: Request) -> Table:
    kind, file = "chars", None
    for word in request.positional():
        if word in ("chars", "words"):
            kind = word
        else:
            file = request.folder / word
    path = request.path or file
    text = read_text(path) if path else _documentation()
    name = str(path) if path else "Python's documentation"
    symbols = list(text) if kind == "chars" else text.split()
    if not symbols:
        raise DataError(f"{name} holds no {kind}")
    column = np.array(symbols, dtype=object)
    return Table(name, {kind: column}, kind, stream=True, ordered=True, locate=lambda row: f"{kind[:-1]} {row} of {name}")


def _documentation() -> str:
    from pydoc_data import topics
    return "\n".join(topics.topics[key] for key in sorted(topics.topics))


def _truth(request: Request) -> Table:
    named = request.positional()
    if named and not named[0].isdigit():
        raise DataError(f"data truth: how many variables? write truth(2), not truth({named[0]})")
    n = int(named[0]) if named else 2
    if not 1 <= n <= 16:
        raise DataError(f"data truth: 1 to 16 variables, not {n}")
    rows = (np.arange(2 ** n)[:, None] >> np.arange(n)[::-1]) & 1
    columns: dict[str, Array] = {"input": rows, "all": rows.min(1), "any": rows.max(1), "odd": rows.sum(1) % 2}
    columns.update({chr(ord("a") + i): rows[:, i] for i in range(n)})
    return Table("the truth table", columns, ordered=True)


def _sinusoid(request: Request) -> Table:
    n, noise = int(request.number("n", 50, 1)), request.number("noise", 0.1)
    rng = np.random.default_rng(int(request.number("seed", 0)))
    x = rng.uniform(0.0, 1.0, n)
    clean = np.sin(2 * np.pi * x)
    return Table("the sinusoid", {"x": x, "y": clean + noise * rng.standard_normal(n), "clean": clean}, ordered=True)


def _conll(request: Request) -> Table:
    raise DataError("data conll: sentences differ in length, and this version trains only models whose examples are equally "
                    "long; `chainrule.frontends.trainer.formats.read_conll` reads the file")


SOURCES: dict[str, Callable[[Request], Table]] = {
    "digits": _digits, "mnist": _mnist, "csv": _delimited(","), "tsv": _delimited("\t"), "npz": _npz, "text": _text,
    "truth": _truth, "sinusoid": _sinusoid, "conll": _conll}
COMMON_OPTIONS = ("length", "shuffle")


def read_source(request: Request) -> Table:
    """The table of a data line's source; an unknown source or option is a DataError."""
    if request.source not in SOURCES:
        raise DataError(f"data {request.source}: there is no such source{did_you_mean(request.source, SOURCES)}")
    table = SOURCES[request.source](request)
    known = {*request.taken, *COMMON_OPTIONS}
    for option in request.options:
        if option not in known:
            raise DataError(f"data {request.source}: there is no option {option!r}{did_you_mean(option, sorted(known))}")
    lengths = {name: len(column) for name, column in table.columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise DataError(f"{table.name}: the columns differ in length: {listed}")
    if not len(table):
        raise DataError(f"{table.name} is empty")
    return table


def by_suffix(path: Path) -> str:
    """The source that reads a file of this name, for `--data` without a data line."""
    suffixes = [s for s in path.suffixes if s != ".gz"]
    kinds = {".csv": "csv", ".tsv": "tsv", ".npz": "npz", ".txt": "text"}
    if path.is_dir():
        return "mnist"
    if not suffixes or suffixes[-1] not in kinds:
        raise DataError(f"--data {path}: what is in it? Its name should end in {', '.join(kinds)}; or give the model a data line")
    return kinds[suffixes[-1]]
