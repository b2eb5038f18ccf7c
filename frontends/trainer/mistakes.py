"""The worst mistakes of a classifier: the examples whose right class scores furthest below the one that was taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...compiler.system import System
from .loop import Trainer
from .pictures import Sheet, draw_grid, images_of
from .reports import class_labels, classified, reported_part
from .weights import write_atomic

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Mistake:
    """One example: where it stands in its part, what it is, what it was taken for, and by how much the scores differ."""

    row: int
    right: int
    taken: int
    margin: float


def worst_mistakes(system: System, trainer: Trainer, params: Mapping[str, Array], part: str, most: int = 20) -> list[Mistake]:
    """The mistakes on a part, the worst first; none for models that score no classes, or one at each step."""
    roles = classified(system)
    if roles is None or system.inputs[roles[0]].axes != ("batch",):
        return []
    target, output = roles
    found, start = [], 0
    for piece in trainer.pieces(part):
        inputs = {name: a for name, a in piece.arrays.items() if name not in system.targets}
        scores, right = trainer.program.predict(dict(params), **inputs)[output], piece.arrays[target]
        taken = scores.argmax(-1)
        for i in np.flatnonzero(taken != right):
            margin = float(scores[i, taken[i]] - scores[i, right[i]])
            found.append(Mistake(start + int(i), int(right[i]), int(taken[i]), margin))
        start += len(right)
    return sorted(found, key=lambda m: (-m.margin, m.row))[:most]


def report_mistakes(folder: Path, system: System, trainer: Trainer, params: Mapping[str, Array]) -> list[Path]:
    """Writes mistakes.txt, and mistakes.png where examples are images; the files that were written."""
    roles, part = classified(system), reported_part(trainer)
    found = worst_mistakes(system, trainer, params, part) if roles else []
    if not found or roles is None:
        return []
    labels = class_labels(system, trainer, roles[0])
    files = [folder / "mistakes.txt"]
    write_atomic(files[0], mistakes_text(found, labels, roles[1], part).encode())
    if draw_mistakes(folder / "mistakes.png", found, labels, system, trainer, part):
        files.append(folder / "mistakes.png")
    return files


def mistakes_text(found: Sequence[Mistake], labels: Sequence[str], output: str, part: str) -> str:
    """A row a mistake."""
    rows = [f"worst mistakes of the {part} part: by how much the class that was taken outdoes the right one in {output}",
            f"{'example':>8}  {'is':>10}  {'taken for':>10}  {'margin':>9}"]
    rows += [f"{m.row:8d}  {labels[m.right]:>10}  {labels[m.taken]:>10}  {m.margin:9.4f}" for m in found]
    return "\n".join(rows) + "\n"


def draw_mistakes(path: Path, found: Sequence[Mistake], labels: Sequence[str], system: System, trainer: Trainer,
                  part: str) -> bool:
    """The mistakes as pictures, where the model reads one input that is an image."""
    inputs = [name for name in trainer.data.parts[part] if name not in system.targets]
    arrays = trainer.data.parts[part][inputs[0]] if len(inputs) == 1 else None
    if not isinstance(arrays, np.ndarray) or arrays.dtype.kind != "f" or not found:
        return False
    pictures = images_of(arrays[[m.row for m in found]])
    if pictures is None or len(pictures) != len(found):
        return False
    titles = [f"{labels[m.right]} as {labels[m.taken]}" for m in found]
    return draw_grid(path, pictures, Sheet(f"{system.name}: worst mistakes of the {part} part, what each is and what it was "
                                           "taken for", min(10, len(found)), titles))


__all__ = ["Mistake", "draw_mistakes", "mistakes_text", "report_mistakes", "worst_mistakes"]
