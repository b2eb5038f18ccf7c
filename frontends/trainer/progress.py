"""What a person sees of a run: a bar with loss, rate and time left on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .loop import Progress, Trainer
from .run import Run

if TYPE_CHECKING:
    from rich.console import Console

_REFRESH = 0.1                                       # seconds between updates of the bar


def progress_for(console: Console) -> Progress:
    """The bar for a terminal, lines for a file or a pipe."""
    return Bar(console) if console.is_terminal else Lines(console)


class Lines(Progress):
    """One line an epoch; of a run of many epochs, thirty."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def start(self, trainer: Trainer) -> None:
        self.epochs = trainer.options.epochs
        self.every = -(-self.epochs // 30)

    def epoch(self, run: Run) -> None:
        if run.epoch % self.every == 0 or run.epoch in (1, self.epochs) or run.stopped:
            self.console.print(f"epoch {run.epoch}/{self.epochs}  {_row(run.history[-1])}", markup=False, soft_wrap=True)


class Bar(Progress):
    """A bar over all steps of the run."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Any = None

    def start(self, trainer: Trainer) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        self.epochs, self.batches = trainer.options.epochs, trainer.batches
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("loss {task.fields[loss]}"), TextColumn("rate {task.fields[rate]}"),
            TextColumn("{task.fields[note]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=self.console, transient=False, auto_refresh=False)
        done = trainer.run.epoch * self.batches + trainer.run.position
        self._task = self._bar.add_task("", total=self.epochs * self.batches, completed=done, loss="", rate="", note="",
                                        epoch=f"{min(trainer.run.epoch + 1, self.epochs)}/{self.epochs}")
        self._note, self._mean, self._shown = "", float("nan"), 0.0
        self._bar.start()

    def step(self, run: Run, loss: float, rate: float) -> None:
        # a running mean over some fifty batches: single batches jump
        self._mean = loss if self._mean != self._mean else 0.98 * self._mean + 0.02 * loss
        now = time.monotonic()
        if now - self._shown >= _REFRESH:
            self._shown = now
            self._update(run, rate)

    def epoch(self, run: Run) -> None:
        row = run.history[-1]
        parts = [f"{k.replace('_', ' ')} {v:.4g}" for k, v in row.items() if k.startswith("validation")]
        self._note = ", ".join(parts)
        if time.monotonic() - self._shown >= _REFRESH or run.epoch >= self.epochs or run.stopped:
            self._update(run, row["rate"])

    def _update(self, run: Run, rate: float) -> None:
        self._bar.update(self._task, completed=run.epoch * self.batches + run.position, loss=f"{self._mean:.4f}",
                         rate=f"{rate:.3g}", note=self._note, epoch=f"{min(run.epoch + 1, self.epochs)}/{self.epochs}")
        self._bar.refresh()

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _row(row: dict[str, float]) -> str:
    shown = {k: v for k, v in row.items() if k not in ("epoch", "seconds")}
    return "  ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in shown.items()) + f"  {row['seconds']:.1f} s"
