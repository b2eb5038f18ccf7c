"""What a run leaves behind: the table of results, the curve as CSV and picture, a report on classes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...compiler.system import System
from .batches import Piece
from .loop import Trainer
from .pictures import draw_confusion
from .run import Program
from .weights import Loaded, write_atomic

if TYPE_CHECKING:
    from rich.table import Table

Array = np.ndarray[Any, Any]
_CLASSES_SHOWN = 40                                  # as a matrix of confusion
_CLASSES_REPORTED = 200                              # as rows: a vocabulary of words is no list of classes


def results_table(results: Mapping[str, Mapping[str, float]], title: str = "") -> Table:
    """A row for each of training, validation and test; loss, penalty and every metric as columns."""
    from rich.table import Table
    columns = list(dict.fromkeys(name for row in results.values() for name in row))
    columns.sort(key=lambda name: name == "penalty")
    table = Table(title=title or None)
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for part, row in results.items():
        table.add_row(part, *(f"{row[name]:.4f}" if name in row else "" for name in columns))
    return table


def transfer_table(loaded: Loaded, system: System) -> Table:
    """What became of every array of a weights file and of the model, and how it will be trained."""
    from rich.table import Table
    training = system.training
    table = Table()
    for title in ("", "in the file", "in the model", "", "training"):
        table.add_column(title)
    for name, there, here, fate in loaded.rows():
        rate = dict(training.rates).get(name)
        how = "frozen" if name in training.freeze else "" if rate is None else f"rate x {rate:g}"
        table.add_row(name, there, here, fate, how)
    return table


def write_curve(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """epoch, rate, train, validation, ..., seconds: a row an epoch."""
    names = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in history:
        writer.writerow([_cell(name, row[name]) if name in row else "" for name in names])
    write_atomic(path, text.getvalue().encode())


def _cell(name: str, value: float) -> str:
    return str(int(value)) if name == "epoch" else f"{value:.3f}" if name == "seconds" else repr(float(value))


def draw_curve(path: Path, history: Sequence[Mapping[str, float]], title: str) -> bool:
    """The losses over the epochs, and the metrics beside them, as PNG; False where matplotlib is not there."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    metrics = [n for n in history[-1] if n.startswith("validation_")]
    figure = Figure(figsize=(5.0 * (1 + bool(metrics)), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(1, 1 + bool(metrics)))
    epochs = [row["epoch"] for row in history]
    for name, label in (("train", "training"), ("validation", "validation")):
        if name in history[-1]:
            axes[0].plot(epochs, [row[name] for row in history], label=label, marker="." if len(epochs) < 30 else "")
    for name in metrics:
        axes[-1].plot(epochs, [row[name] for row in history], label=name.replace("_", " "), color="C1")
    for ax, what in zip(axes, ("loss", "metrics")):
        ax.set(xlabel="epoch", title=f"{title}: {what}")
        ax.grid(alpha=0.3)
        ax.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    write_atomic(path, picture.getvalue())
    return True


def draw_weights(path: Path, params: Mapping[str, Array], title: str) -> bool:
    """A histogram of every array of weights (of 16 values or more), as PNG; False where matplotlib is not there."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    shown = {name: a for name, a in params.items() if a.size >= 16} or dict(params)
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.0 * columns, 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, columns)).reshape(-1)
    for ax, (name, a) in zip(axes, shown.items()):
        ax.hist(np.asarray(a, np.float64).reshape(-1), bins=60)
        ax.set(title=f"{name}  {a.shape}  near 0: {np.mean(np.abs(a) < 1e-3):.0%}")
    for ax in axes[len(shown):]:
        ax.axis("off")
    figure.suptitle(title)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    write_atomic(path, picture.getvalue())
    return True


# ---------------------------------------------------------------- classes

def classified(system: System) -> tuple[str, str] | None:
    """(target, output) where the model has one target that is a class of n and one output that scores n classes."""
    targets = [t for t in system.targets if system.inputs[t].type.kind == "class"]
    if len(targets) != 1:
        return None
    y = system.inputs[targets[0]]
    scores = [name for name in system.outputs
              if system.equations[name].shape == (y.type.n,) and system.equations[name].axes == y.axes]
    return (targets[0], scores[0]) if len(scores) == 1 and not y.shape else None


def confusion(program: Program, params: Mapping[str, Array], pieces: Iterable[Piece], target: str, output: str,
              system: System, carried: bool = False) -> Array:
    """counts[i, j]: how often class i was taken for class j; what lies beyond an example's own length does not count."""
    y = system.inputs[target]
    assert y.type.n is not None
    classes = y.type.n.evaluate(system.sizes)
    counts = np.zeros((classes, classes), np.int64)
    carry = None
    for piece in pieces:
        inputs = {name: a for name, a in piece.arrays.items() if name not in system.targets}
        found = program.predict(dict(params), **inputs, **({"carry": None if piece.fresh else carry} if carried else {}))
        carry = found.get("carry")
        taken, right = found[output].argmax(-1), piece.arrays[target]
        for axis in y.axes:
            if f"lengths_{axis}" in piece.arrays:
                own = np.arange(right.shape[1]) < piece.arrays[f"lengths_{axis}"][:, None]
                taken, right = taken[own], right[own]
        np.add.at(counts, (right.reshape(-1), taken.reshape(-1)), 1)
    return counts


def class_report(counts: Array, labels: Sequence[str]) -> str:
    """Precision tp/(tp+fp), recall tp/(tp+fn), F1, their plain means, accuracy, and the confusion matrix."""
    right = np.diag(counts).astype(float)
    taken, there = counts.sum(0), counts.sum(1)
    precision, recall = (np.divide(right, n, out=np.zeros_like(right), where=n > 0) for n in (taken, there))
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(right), where=both > 0)
    width = max(8, *(len(label) for label in labels))
    lines = [f"{'class':>{width}}  precision  recall      F1   count"]
    for label, p, r, f, n in zip(labels, precision, recall, f1, there):
        lines.append(f"{label:>{width}}  {p:9.4f}  {r:6.4f}  {f:6.4f}  {n:6d}")
    seen = there > 0
    mean = [float(v[seen].mean()) for v in (precision, recall, f1)]
    lines.append(f"{'mean':>{width}}  {mean[0]:9.4f}  {mean[1]:6.4f}  {mean[2]:6.4f}  {there.sum():6d}")
    lines += ["", f"accuracy {right.sum() / max(there.sum(), 1):.4f}"]
    if len(labels) <= _CLASSES_SHOWN:
        cell = max(len(str(counts.max())), *(len(label) for label in labels)) + 2
        lines += ["", "confusion: a row for each true class, a column for each predicted one",
                  " " * width + "".join(f"{label:>{cell}}" for label in labels)]
        lines += [f"{label:>{width}}" + "".join(f"{n:{cell}d}" for n in row) for label, row in zip(labels, counts)]
    return "\n".join(lines) + "\n"


def class_labels(system: System, trainer: Trainer, target: str) -> list[str]:
    """What the classes of a target are called: words where the data had words, else numbers."""
    n = system.inputs[target].type.n
    assert n is not None
    words = trainer.data.preparation.get("vocabulary", {}).get(target, [])
    return [repr(w)[1:-1] for w in words] + [str(i) for i in range(len(words), n.evaluate(system.sizes))]


def reported_part(trainer: Trainer) -> str:
    """The part that reports are made on: the test part, else validation, else training."""
    return next(p for p in ("test", "validation", "train") if trainer.data.count(p))


def report_classes(folder: Path, system: System, trainer: Trainer, params: Mapping[str, Array]) -> list[Path]:
    """Writes classes.txt on the test part (else validation, else training), and confusion.png; the files that were written."""
    roles, data = classified(system), trainer.data
    if roles is None:
        return []
    target, output = roles
    labels, part = class_labels(system, trainer, target), reported_part(trainer)
    if len(labels) > _CLASSES_REPORTED:
        return []
    counts = confusion(trainer.program, params, trainer.pieces(part), target, output, system, bool(trainer.options.truncate))
    files = [folder / "classes.txt"]
    write_atomic(files[0], f"{part} part of {data.name}\n\n{class_report(counts, labels)}".encode())
    title = f"{system.name}: {part} part of {data.name}"
    if len(labels) <= _CLASSES_SHOWN and draw_confusion(folder / "confusion.png", counts, labels, title):
        files.append(folder / "confusion.png")
    return files
