"""Reading files: IDX, CSV and TSV, NumPy archives, text, CoNLL columns, MATLAB files; each gzipped or not.

Every reader returns columns whose first axis counts the examples, and refuses a damaged file with one sentence.
"""

from __future__ import annotations

import csv
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError, plural

Array = np.ndarray[Any, Any]
_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_MISSING = {"", "na", "nan", "null", "?"}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what a file system or a damaged file says into a sentence."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, where a file is needed") from None
    except UnicodeDecodeError as e:
        raise DataError(f"{path} is not UTF-8 text: byte {e.start} cannot be read") from None
    except (gzip.BadGzipFile, zlib.error, EOFError, zipfile.BadZipFile) as e:
        raise DataError(f"{path} is damaged: {e}") from None
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror or e}") from None


def read_bytes(path: Path) -> bytes:
    with _reading(path):
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def read_text(path: Path) -> str:
    raw = read_bytes(path)
    with _reading(path):
        return raw.decode("utf-8-sig").replace("\r\n", "\n")


def read_idx(path: Path) -> Array:
    """An IDX file: two zero bytes, a type, a rank, the sizes as big-endian int32, then the values."""
    raw = read_bytes(path)
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _IDX_TYPES:
        raise DataError(f"{path} is not an IDX file: it starts with {raw[:4].hex() or 'nothing'}")
    rank = raw[3]
    if len(raw) < 4 + 4 * rank:
        raise DataError(f"{path} is damaged: its header ends too early")
    sizes = struct.unpack(f">{rank}I", raw[4:4 + 4 * rank])
    dtype = np.dtype(_IDX_TYPES[raw[2]])
    expected = int(np.prod(sizes, dtype=object)) * dtype.itemsize
    if len(raw) - 4 - 4 * rank != expected:
        raise DataError(f"{path} is damaged: its header promises {expected} bytes of {'x'.join(map(str, sizes))} values, "
                        f"{len(raw) - 4 - 4 * rank} follow")
    return np.frombuffer(raw, dtype, offset=4 + 4 * rank).reshape(sizes).astype(dtype.newbyteorder("="))


def read_table(path: Path, delimiter: str) -> dict[str, Array]:
    """CSV or TSV with a header: a column whose every cell is a number is float64, any other holds words."""
    lines = read_text(path).split("\n")
    rows = [(n, row) for n, row in _rows(path, lines, delimiter) if row]
    if not rows:
        raise DataError(f"{path} is empty: a header and rows were expected")
    header = [name.strip() for name in rows[0][1]]
    for i, name in enumerate(header):
        if not name or name in header[:i]:
            raise DataError(f"{path}: column {i + 1} of the header is {'empty' if not name else f'{name!r} a second time'}")
    if len(rows) == 1:
        raise DataError(f"{path} holds a header and no rows")
    for n, row in rows[1:]:
        if len(row) != len(header):
            raise DataError(f"{path}:{n}: {plural(len(row), 'field')}, where the header has {len(header)}")
    return {name: _column([row[i].strip() for _, row in rows[1:]]) for i, name in enumerate(header)}


def _rows(path: Path, lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line + "\n" for line in lines if line.strip()), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as e:
        raise DataError(f"{path}:{reader.line_num}: {e}") from None


def _column(cells: list[str]) -> Array:
    try:
        return np.array([_number(c) for c in cells])
    except ValueError:
        return np.array(cells, dtype=object)


def _number(cell: str) -> float:
    return float("nan") if cell.lower() in _MISSING else float(cell)


def first_word(cells: Iterable[str]) -> int | None:
    """Where the first cell stands that is no number."""
    for i, cell in enumerate(cells):
        try:
            _number(cell)
        except ValueError:
            return i
    return None


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of a NumPy archive; pickled objects are refused."""
    with _reading(path):
        try:
            with open(path, "rb") as f:
                if f.read(2) not in (b"PK", b"\x93N", b""):
                    raise DataError(f"{path} is not a NumPy archive; np.savez writes one")
                f.seek(0)
                archive = np.load(f, allow_pickle=False)
                if not hasattr(archive, "files"):
                    raise DataError(f"{path} holds one array without a name: an .npz archive was expected")
                return {name: archive[name] for name in archive.files}
        except ValueError as e:
            raise DataError(f"{path} is not a NumPy archive that can be read safely: {e}") from None


def read_conll(path: Path, names: tuple[str, ...] = ()) -> dict[str, list[list[str]]]:
    """Tab-separated columns, a blank line between sentences, `#` comments: {column: [sentence: [word]]}.

    `names` names the leading columns (`_` one that is not wanted); without them they are column1, column2, ...
    """
    sentences, _ = conll_sentences(path)
    width = len(sentences[0][0])
    if len(names) > width:
        raise DataError(f"{path} has {plural(width, 'column')}; {len(names)} are named: {', '.join(names)}")
    names = names or tuple(f"column{i + 1}" for i in range(width))
    return {name: [[word[i] for word in s] for s in sentences] for i, name in enumerate(names) if name != "_"}


def conll_sentences(path: Path) -> tuple[list[list[list[str]]], list[int]]:
    """[sentence: [word: [field]]], and the line of the file in which each sentence begins."""
    sentences: list[list[list[str]]] = [[]]
    begins = [1]
    width = 0
    for n, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            sentences.append([])
            begins.append(n + 1)
        elif line.startswith("#") and "\t" not in line:
            begins[-1] += not sentences[-1]
        else:
            fields = line.split("\t")
            width = width or len(fields)
            if len(fields) != width:
                raise DataError(f"{path}:{n}: {plural(len(fields), 'column')}, where the lines before have {width}")
            sentences[-1].append(fields)
    kept = [(s, n) for s, n in zip(sentences, begins) if s]
    if not kept:
        raise DataError(f"{path} holds no sentences")
    return [s for s, _ in kept], [n for _, n in kept]


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file: arrays, and cell arrays as lists of arrays. Needs SciPy."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DataError(f"{path}: reading .mat files needs SciPy: pip install chainrule[mat]") from None
    raw = read_bytes(path)
    try:
        found = loadmat(io.BytesIO(raw))
    except Exception as e:                           # SciPy says in many ways that a file is no MATLAB file
        raise DataError(f"{path} is not a MATLAB file that can be read: {e}") from None
    return {name: [np.asarray(c) for c in a.reshape(-1)] if a.dtype == object else a
            for name, a in found.items() if not name.startswith("__")}


PARTS = {"train": ("train",), "validation": ("dev", "valid"), "test": ("test",)}


def part_files(folder: Path) -> dict[str, Path]:
    """The files of a folder whose names hold train, dev or valid, and test."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    found: dict[str, Path] = {}
    for part, words in PARTS.items():
        fits = [p for p in files if any(w in p.name.lower() for w in words)]
        if len(fits) > 1:
            raise DataError(f"{folder} has {len(fits)} files of the {part} part: {', '.join(p.name for p in fits)}")
        if fits:
            found[part] = fits[0]
    if "train" not in found:
        raise DataError(f"{folder} has no file whose name holds `train`; it has {', '.join(p.name for p in files[:5]) or 'none'}")
    return found


def find_file(folder: Path, *names: str) -> Path:
    """The first of the names (or the same gzipped) that stands in the folder."""
    for name in names:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    where = f"in {folder}" if folder.is_dir() else f"{folder}, which is not there"
    raise DataError(f"{names[0]} or {names[0]}.gz was expected {where}")
