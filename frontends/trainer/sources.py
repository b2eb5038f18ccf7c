"""The sources that a data line may name, each a function that returns a table of columns.

    digits                      scikit-learn's 1797 images 8x8: image (0..16), label
    mnist                       the four IDX files of a folder: image 28x28 (0..255), label; 60000 and 10000 examples
    csv("f.csv") tsv npz        a file's columns by name; `rest` is every numeric column that no formula names
    truth(3)                    the truth table of n = 2 variables: input (n), each as a, b, ..., all, any, odd (AND, OR, XOR)
    sinusoid                    n = 50 points x in [0, 1), y = sin(2 pi x) + noise (0.1), clean
    text conll lines mat addition dates    sequences: see `sequences`

The path of a file source may also come from the command line (`--data`). MNIST is looked for there, then under
`$CHAINRULE_DATA/mnist`, then in `data/mnist`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .checks import check_lengths
from .errors import DataError, did_you_mean
from .formats import find_file, read_idx, read_npz, read_table
from .ragged import Ragged
from .sequences import SEQUENCES
from .table import Request, Table

Array = np.ndarray[Any, Any]


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
    return Table(str(path), _sequences(path, columns), locate=lambda row: f"row {row} of {path}")


def _sequences(path: Path, columns: dict[str, Array]) -> dict[str, Array | Ragged]:
    """Padded arrays as sequences where the archive says how long they are: `lengths`, or `lengths_x` for x alone."""
    out: dict[str, Array | Ragged] = {}
    for name, a in columns.items():
        key = next((k for k in (f"lengths_{name}", "lengths") if k in columns), "")
        if not key or name.startswith("lengths") or a.ndim < 2:
            out[name] = a
        else:
            check_lengths(key, columns[key], a, name, f"of {path}")
            out[name] = Ragged.of_dense(a, columns[key])
    return out


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


SOURCES: dict[str, Callable[[Request], Table]] = {
    "digits": _digits, "mnist": _mnist, "csv": _delimited(","), "tsv": _delimited("\t"), "npz": _npz, "truth": _truth,
    "sinusoid": _sinusoid, **SEQUENCES}
COMMON_OPTIONS = ("length", "shuffle", "min_count")


def read_source(request: Request) -> Table:
    """The table of a data line's source; an unknown source or option is a DataError."""
    if request.source not in SOURCES:
        raise DataError(f"data {request.source}: there is no such source{did_you_mean(request.source, SOURCES)}")
    table = SOURCES[request.source](request)
    known = {*request.taken, *COMMON_OPTIONS}
    for option in request.options:
        if option not in known:
            raise DataError(f"data {request.source}: there is no option {option!r}{did_you_mean(option, sorted(known))}")
    counts = {name: len(column) for name, column in table.columns.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {n}" for name, n in counts.items())
        raise DataError(f"{table.name}: the columns differ in length: {listed}")
    if not len(table):
        raise DataError(f"{table.name} is empty")
    return table


def by_suffix(path: Path) -> str:
    """The source that reads a file of this name, for `--data` without a data line."""
    suffixes = [s for s in path.suffixes if s != ".gz"]
    kinds = {".csv": "csv", ".tsv": "tsv", ".npz": "npz", ".txt": "text", ".mat": "mat", ".conllu": "conll", ".conll": "conll"}
    if path.is_dir():
        return "mnist"
    if not suffixes or suffixes[-1] not in kinds:
        raise DataError(f"--data {path}: what is in it? Its name should end in {', '.join(kinds)}; or give the model a data line")
    return kinds[suffixes[-1]]
