"""Weights and checkpoints as safetensors files, written so that a crash at any moment leaves the last good one."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OptionError, WeightsError, did_you_mean

Array = np.ndarray[Any, Any]
_KEY = "chainrule"


def write_atomic(path: Path, content: bytes) -> None:
    """The file holds the old content or the new, never a part: written beside it, flushed to the disk, renamed.

    OSError, which names the path, where it cannot be written.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.parent.is_file():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError as e:                              # of the path that was asked for
        raise OSError(e.errno, e.strerror or str(e), str(path)) from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":                            # the rename itself reaches the disk with its folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def save_arrays(path: Path, arrays: Mapping[str, Array], note: Mapping[str, Any]) -> None:
    """A safetensors file; `note` is JSON in its metadata."""
    from safetensors.numpy import save
    ordered = {name: np.array(arrays[name], order="C", copy=True) for name in sorted(arrays)}
    write_atomic(path, save(ordered, {_KEY: json.dumps(note)}))


def load_arrays(path: str | Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays of a safetensors file and the note in its metadata, {} where there is none."""
    from safetensors import SafetensorError, safe_open
    if Path(path).is_dir():
        inside = Path(path) / "weights.safetensors"
        raise WeightsError(f"{path} is a folder, not a file of weights{f'; did you mean {inside}?' if inside.is_file() else ''}")
    try:
        with safe_open(str(path), framework="np") as f:
            note = (f.metadata() or {}).get(_KEY, "{}")
            arrays = {name: np.array(f.get_tensor(name)) for name in f.keys()}
        return arrays, json.loads(note)
    except FileNotFoundError:
        raise WeightsError(f"there is no file {path}") from None
    except (SafetensorError, OSError, TypeError, AttributeError, ValueError) as e:
        raise WeightsError(f"{path} cannot be read as safetensors: {e}") from None


@dataclass(frozen=True)
class Loaded:
    """What became of a weights file: names taken, names that it lacks, names that the model lacks, names skipped.

    `reshaped` are those taken whose elements stand in another shape; `shapes` those in the file and in the model.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    shapes: dict[str, tuple[tuple[int, ...] | None, tuple[int, ...] | None]] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(name, shape in the file, shape in the model, what became of it), the model's parameters first, in its order."""
        fate = {**dict.fromkeys(self.loaded, "loaded"), **dict.fromkeys(self.reshaped, "reshaped"),
                **dict.fromkeys(self.missing, "new"), **dict.fromkeys(self.skipped, "skipped"),
                **dict.fromkeys(self.left_over, "left over")}
        return [(name, *("" if x is None else shape_text(x) for x in both), fate[name]) for name, both in self.shapes.items()]


def shape_text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def same_elements(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether one shape is the other with neighbouring sizes multiplied, as `flatten` does: (8, 1, 3, 3) and (8, 9)."""
    def ends(shape: tuple[int, ...]) -> set[int]:
        return {math.prod(shape[:k]) for k in range(len(shape) + 1)}
    return math.prod(a) == math.prod(b) and math.prod(a) > 0 and (ends(a) <= ends(b) or ends(b) <= ends(a))


def transfer(params: dict[str, Array], path: str | Path, skip: Iterable[str] = ()) -> Loaded:
    """Copies the arrays of a weights file into the parameters of the same name, in place.

    A shape that differs by more than flattening is refused, all of them at once; `skip` names (by pattern) what keeps its
    initial values.
    """
    arrays, _ = load_arrays(path)
    skipped = match_names(skip, params, "--skip") if skip else ()
    taken = [name for name in params if name in arrays and name not in skipped]
    wrong = [name for name in taken if not same_elements(arrays[name].shape, params[name].shape)]
    if wrong:
        clashes = [f"{name} is {arrays[name].shape} in the file and {params[name].shape} in the model" for name in wrong]
        names = " ".join(f"--skip {n}" for n in wrong)
        raise WeightsError(f"{path} does not fit: {'; '.join(clashes)} ({names} keeps initial values there)")
    bad = [name for name in taken if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all()]
    if bad:
        raise WeightsError(f"{path}: {bad[0]} holds values that are not finite")
    if not taken:
        raise WeightsError(f"{path} shares no name with the model: it has {', '.join(sorted(arrays)[:8])}; "
                           f"the model {', '.join(sorted(params)[:8])}")
    for name in taken:
        params[name][...] = arrays[name].reshape(params[name].shape)
    shapes = {n: (arrays[n].shape if n in arrays else None, params[n].shape if n in params else None)
              for n in (*params, *(n for n in sorted(arrays) if n not in params))}
    return Loaded(tuple(taken), tuple(n for n in params if n not in arrays and n not in skipped),
                  tuple(n for n in sorted(arrays) if n not in params), tuple(skipped),
                  tuple(n for n in taken if arrays[n].shape != params[n].shape), shapes)


def match_names(patterns: Iterable[str], known: Iterable[str], option: str) -> tuple[str, ...]:
    """The names that one of the patterns (`conv*`) fits, in the order of `known`; one that fits none is refused."""
    names = list(known)
    wanted = list(patterns)
    for p in wanted:
        if not any(fnmatchcase(n, p) for n in names):
            raise OptionError(f"{option} {p}: no parameter is called that{did_you_mean(p, names)}")
    return tuple(n for n in names if any(fnmatchcase(n, p) for p in wanted))
