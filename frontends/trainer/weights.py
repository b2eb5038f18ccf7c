"""Weights and checkpoints as safetensors files, written so that a crash at any moment leaves the last good one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OptionError, WeightsError, did_you_mean

Array = np.ndarray[Any, Any]
_KEY = "chainrule"


def write_atomic(path: Path, content: bytes) -> None:
    """The file holds the old content or the new, never a part: written beside it, flushed to the disk, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
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
    write_atomic(path, save(ordered, {_KEY: json.dumps(note, sort_keys=True)}))


def load_arrays(path: str | Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays of a safetensors file and the note in its metadata, {} where there is none."""
    from safetensors import SafetensorError, safe_open
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
    """What became of a weights file: names taken, names that it lacks, names that the model lacks, names skipped."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        rows = (("loaded", self.loaded), ("not in the file, initialised", self.missing),
                ("in the file, not in the model", self.left_over), ("skipped, initialised", self.skipped))
        return [f"{label}: {', '.join(names) if names else 'none'}" for label, names in rows if names or label == "loaded"]


def transfer(params: dict[str, Array], path: str | Path, skip: Iterable[str] = ()) -> Loaded:
    """Copies the arrays of a weights file into the parameters of the same name, in place.

    A shape that differs is refused, all of them at once; `skip` names (by pattern) what keeps its initial values.
    """
    arrays, _ = load_arrays(path)
    skipped = match_names(skip, params, "--skip") if skip else ()
    taken = [name for name in params if name in arrays and name not in skipped]
    clashes = [f"{name} is {arrays[name].shape} in the file and {params[name].shape} in the model"
               for name in taken if arrays[name].shape != params[name].shape]
    if clashes:
        names = " ".join(f"--skip {n}" for n in taken if arrays[n].shape != params[n].shape)
        raise WeightsError(f"{path} does not fit: {'; '.join(clashes)} ({names} keeps initial values there)")
    bad = [name for name in taken if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all()]
    if bad:
        raise WeightsError(f"{path}: {bad[0]} holds values that are not finite")
    if not taken:
        raise WeightsError(f"{path} shares no name with the model: it has {', '.join(sorted(arrays)[:8])}; "
                           f"the model {', '.join(sorted(params)[:8])}")
    for name in taken:
        params[name][...] = arrays[name]
    return Loaded(tuple(taken), tuple(n for n in params if n not in arrays and n not in skipped),
                  tuple(n for n in sorted(arrays) if n not in params), tuple(skipped))


def match_names(patterns: Iterable[str], known: Iterable[str], option: str) -> tuple[str, ...]:
    """The names that one of the patterns (`conv*`) fits, in the order of `known`; one that fits none is refused."""
    names = list(known)
    wanted = list(patterns)
    for p in wanted:
        if not any(fnmatchcase(n, p) for n in names):
            raise OptionError(f"{option} {p}: no parameter is called that{did_you_mean(p, names)}")
    return tuple(n for n in names if any(fnmatchcase(n, p) for p in wanted))
