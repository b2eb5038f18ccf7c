"""What a source gives, a table of columns, and what it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError
from .formats import part_files
from .ragged import Ragged

Array = np.ndarray[Any, Any]


@dataclass
class Table:
    """Columns whose first axis counts the examples.

    `primary` is what an input without a formula reads where no column bears its name; `tested` is how many of the last
    rows are the published test part, `own` how many rows each part has where the source brings all its parts; `stream` says
    that the rows are one long sequence; `ordered` that they are not to be shuffled before they are split; `spelling` how
    text became the symbols of a column; `locate` and `locate_step` where an example, and a step of it, stands.
    """

    name: str
    columns: dict[str, Array | Ragged]
    primary: str | None = None
    tested: int = 0
    own: dict[str, int] = field(default_factory=dict)
    stream: bool = False
    ordered: bool = False
    spelling: dict[str, str] = field(default_factory=dict)
    locate: Callable[[int], str] = field(default=lambda row: f"example {row}")
    locate_step: Callable[[int, int], str] | None = None

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

    def parts_of(self, path: Path) -> dict[str, Path]:
        """The file of each part of a folder that holds train, dev (or valid) and test files; or one file, under ""."""
        return part_files(path) if path.is_dir() else {"": path}
