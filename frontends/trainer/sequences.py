"""Sources of sequences.

    text(chars) text(words)     one long sequence, cut into windows of `length`, or into the chunks of `truncate`; by default
                                CPython's documentation
    conll(words, upos)          a sentence is an example: tab-separated columns under these names (`_` leaves one out), a blank
                                line between sentences
    lines("f.txt")              a line is an example: line; of a folder, also label, the name of the line's file
    mat("f.mat")                cell arrays traindata, validdata, testdata: data; or the file's variables by name
    addition(digits = 3)        n = 5000 sums of two numbers: question ("27+415"), answer ("442")
    dates                       n = 5000 dates as people write them: written ("3 May 2021"), iso ("2021-05-03"), style

A folder with train, dev (or valid) and test files brings its own parts. An input named like a source's main column may leave it
out: `data text(chars): x`. A question or an answer is a string: `chars(question)`, `framed(answer)` make it a sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError
from .formats import conll_sentences, read_mat, read_text
from .ragged import Ragged, offsets_of
from .table import Request, Table

Array = np.ndarray[Any, Any]
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
           "December")


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
    return Table(name, {kind: _column(symbols)}, kind, stream=True, ordered=True, spelling={kind: kind},
                 locate=lambda row: f"{kind[:-1]} {row} of {name}")


def _documentation() -> str:
    from pydoc_data import topics
    return "\n".join(topics.topics[key] for key in sorted(topics.topics))


def _conll(request: Request) -> Table:
    names = [word for word in request.positional() if word.isidentifier()]
    files = _files(request)
    sentences: list[list[list[str]]] = []
    begins: list[tuple[Path, int]] = []
    own: dict[str, int] = {}
    for part, path in files.items():
        found, lines = conll_sentences(path)
        width = len(found[0][0])
        if len(names) > width or (sentences and width != len(sentences[0][0])):
            raise DataError(f"{path} has {width} columns; {len(names)} are named: {', '.join(names)}")
        sentences += found
        begins += [(path, n) for n in lines]
        own[part] = len(found)
    names = names or [f"column{i + 1}" for i in range(len(sentences[0][0]))]
    offsets = offsets_of([len(s) for s in sentences])
    columns: dict[str, Any] = {name: Ragged(_column([word[i] for s in sentences for word in s]), offsets)
                               for i, name in enumerate(names) if name != "_"}
    return Table(_called(files), columns, names[0], own={} if "" in own else own, spelling=dict.fromkeys(columns, "words"),
                 locate=lambda row: f"{begins[row][0]}:{begins[row][1]}",
                 locate_step=lambda row, step: f"{begins[row][0]}:{begins[row][1] + step}")


def _lines(request: Request) -> Table:
    path = request.file()
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        if not files:
            raise DataError(f"{path} holds no files")
    else:
        files = [path]
    found = [(p, n, line) for p in files for n, line in enumerate(read_text(p).split("\n"), 1) if line]
    if not found:
        raise DataError(f"{path} holds no lines")
    columns: dict[str, Any] = {"line": _column([line for _, _, line in found])}
    if path.is_dir():
        columns["label"] = _column([p.name.split(".")[0] for p, _, _ in found])
    return Table(str(path), columns, "line", locate=lambda row: f"{found[row][0]}:{found[row][1]}")


def _mat(request: Request) -> Table:
    path = request.file()
    variables = read_mat(path)
    own: dict[str, int] = {}
    sequences: list[Array] = []
    for part, key in (("train", "traindata"), ("validation", "validdata"), ("test", "testdata")):
        if key in variables:
            cells = variables[key] if isinstance(variables[key], list) else list(variables[key])
            sequences += cells
            own[part] = len(cells)
    if own:
        columns: dict[str, Any] = {"data": Ragged.of(sequences)}
    else:
        columns = {name: Ragged.of(v) if isinstance(v, list) else v for name, v in variables.items()}
    return Table(str(path), columns, "data" if own else None, own=own if "train" in own else {},
                 locate=lambda row: f"sequence {row} of {path}")


def _addition(request: Request) -> Table:
    """Two numbers of up to `digits` digits each and their sum; padded = 1 writes leading zeros, so that all are equally long."""
    digits, n = int(request.number("digits", 3, 1)), int(request.number("n", 5000, 1))
    padded = bool(request.number("padded", 0))
    rng = np.random.default_rng(int(request.number("seed", 0)))
    width = rng.integers(1, digits + 1, (n, 2))              # lengths are drawn first: short numbers are not rare
    numbers = [[int(rng.integers(0, 10 ** int(w))) for w in row] for row in width]
    wide, wider = (digits, digits + 1) if padded else (1, 1)
    return Table(f"sums of {digits} digits", {
        "question": _column([f"{a:0{wide}d}+{b:0{wide}d}" for a, b in numbers]),
        "answer": _column([f"{a + b:0{wider}d}" for a, b in numbers])}, ordered=True)


_STYLES: tuple[tuple[str, Callable[[date], str]], ...] = (
    ("long", lambda d: f"{_MONTHS[d.month - 1]} {d.day}, {d.year}"),
    ("short", lambda d: f"{d.day} {_MONTHS[d.month - 1][:3]} {d.year}"),
    ("points", lambda d: f"{d.day}.{d.month}.{d.year}"), ("slashes", lambda d: f"{d.month}/{d.day}/{d.year}"),
    ("plain", lambda d: f"{d.day:02d} {_MONTHS[d.month - 1].lower()} {d.year % 100:02d}"))


def _dates(request: Request) -> Table:
    n = int(request.number("n", 5000, 1))
    rng = np.random.default_rng(int(request.number("seed", 0)))
    first = date(1950, 1, 1)
    days = [first + timedelta(days=int(k)) for k in rng.integers(0, (date(2050, 1, 1) - first).days, n)]
    styles = [_STYLES[int(k)] for k in rng.integers(0, len(_STYLES), n)]
    return Table("written dates", {
        "written": _column([write(d) for d, (_, write) in zip(days, styles)]), "iso": _column([d.isoformat() for d in days]),
        "style": _column([name for name, _ in styles])}, ordered=True)


def _files(request: Request) -> dict[str, Path]:
    """`--data`, or the positional words that are no names of columns."""
    if request.path is None and not any(not w.isidentifier() for w in request.positional()):
        raise DataError(f"data {request.source}: which file? write {request.source}(words, \"file\") or use --data FILE")
    named = next((w for w in request.positional() if not w.isidentifier()), "")
    path = request.path if request.path is not None else request.folder / named
    return request.parts_of(path)


def _called(files: dict[str, Path]) -> str:
    return str(files[""] if "" in files else next(iter(files.values())).parent)


def _column(symbols: list[str]) -> Array:
    out = np.empty(len(symbols), object)
    out[:] = symbols
    return out


SEQUENCES: dict[str, Callable[[Request], Table]] = {
    "text": _text, "conll": _conll, "lines": _lines, "mat": _mat, "addition": _addition, "dates": _dates}
