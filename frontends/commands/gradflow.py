"""`chainrule gradflow`: where gradients vanish or explode, by equation and step of time."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..trainer.data import load_data
from ..trainer.differences import random_inputs
from ..trainer.errors import OptionError
from ..trainer.flow import AT, Flow, bars, flows, scale
from ..trainer.ragged import Ragged
from ..trainer.weights import transfer, write_atomic
from .common import compiled, console, load_model, require_training

if TYPE_CHECKING:
    from rich.table import Table

    from ...compiler.system import System


@dataclass(frozen=True)
class FlowOptions:
    """The options of the command."""

    weights: str | None = None
    data: str | None = None
    steps: int = 100
    batch: int = 16
    at: str = "last"
    png: str | None = None
    sizes: tuple[str, ...] = ()
    seed: int = 0


def gradflow(model: str, options: FlowOptions) -> None:
    """Print a row an equation, and draw them all where a picture is wanted."""
    if options.at not in AT:
        raise OptionError(f"--at {options.at}: the loss is taken at the last step, or at all: --at last, --at all")
    if options.steps < 1 or options.batch < 1:
        raise OptionError("--steps and --batch: at least 1")
    system = load_model(model, options.sizes)
    require_training(system, "follow")
    params: dict[str, Any] = compiled(system, dtype="float64").init(seed=options.seed)
    if options.weights is not None:
        transfer(params, options.weights)
    inputs = _examples(system, model, options) if options.data is not None else random_inputs(
        system, options.seed, options.batch, options.steps, whole=True)
    found = flows(system, params, inputs, options.at, options.steps, options.seed)
    screen = console()
    low, high = scale(found)
    if any(f.axis for f in found):
        taken = "at its last step" if options.at == "last" else "over all steps"
        screen.print(f"{system.name}: the norm of the gradient, the loss taken {taken}; bars from {low:.0e} to {high:.0e}",
                     markup=False, soft_wrap=True)
        screen.print(_by_step([f for f in found if f.axis], low, high))
    plain = [f for f in found if not f.axis]
    if plain:
        screen.print(_by_equation(plain, low, high))
    if options.png is not None:
        if not draw(Path(options.png), found, system.name):
            raise OptionError("--png needs matplotlib: pip install matplotlib")
        screen.print(f"written: {options.png}", markup=False)


def _examples(system: System, model: str, options: FlowOptions) -> dict[str, Any]:
    """The first examples of the training part, the first `steps` of each."""
    data = load_data(system, options.data, folder=Path(model).parent, dtype=np.float64)
    out: dict[str, Any] = {}
    for name, a in data.parts["train"].items():
        if isinstance(a, Ragged):
            shown = a[np.argsort(-a.lengths, kind="stable")[:options.batch]]        # the longest, cut to the shortest of them
            steps = min(int(shown.lengths.min()), options.steps)
            out[name] = shown.padded(int(shown.lengths.max()))[:, :steps]
            out[f"lengths_{a.axis}"] = np.full(len(shown), steps)
        elif [x for x in system.inputs[name].axes if x != "batch"]:
            out[name] = a[:options.batch, :options.steps]
        else:
            out[name] = a[:options.batch]
    return out


def _by_step(found: list[Flow], low: float, high: float) -> Table:
    """Bars over time, and the norms at the first, the middle and the last step; the ratio is first / last."""
    from rich.table import Table
    from rich.text import Text
    table = Table()
    last = max(len(f.norms) for f in found) - 1
    table.add_column("", no_wrap=True)
    table.add_column(f"t = 0 ... {last}", no_wrap=True)
    for title in ("first", "middle", "last", "ratio"):
        table.add_column(title, justify="right", no_wrap=True)
    for f in found:
        first, middle, end = (float(f.norms[i]) for i in (0, len(f.norms) // 2, -1))
        ratio = f"{first / end:.1e}" if end > 0 else ""
        row = bars(list(f.norms), low, high)
        table.add_row(Text(f"d_{f.name}[{f.axis}]"), row, f"{first:.1e}", f"{middle:.1e}", f"{end:.1e}", ratio)
    return table


def _by_equation(found: list[Flow], low: float, high: float) -> Table:
    """A bar an equation."""
    from rich.table import Table
    from rich.text import Text
    table = Table()
    for title in ("", "norm", f"{low:.0e} ... {high:.0e}"):
        table.add_column(title, justify="right" if title == "norm" else "left", no_wrap=True)
    span = max(float(np.log10(high / low)), 1e-9)
    for f in found:
        norm = float(f.norms)
        filled = round(40 * (np.log10(norm) - np.log10(low)) / span) if norm > 0 else 0
        table.add_row(Text(f"d_{f.name}"), f"{norm:.1e}", "█" * max(min(filled, 40), int(norm > 0)))
    return table


def draw(path: Path, found: list[Flow], title: str) -> bool:
    """The norms over time on a logarithmic scale, or a bar an equation, as PNG; False where matplotlib is not there."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    timed = [f for f in found if f.axis]
    for f in timed:
        ax.semilogy(np.where(f.norms > 0, f.norms, np.nan), label=f"d_{f.name}[{f.axis}]")
    if timed:
        ax.set(xlabel="step", ylabel="norm of the gradient", title=title)
        ax.legend()
    else:
        ax.barh([f"d_{f.name}" for f in found], [max(float(f.norms), 1e-300) for f in found], log=True)
        ax.invert_yaxis()
        ax.set(xlabel="norm of the gradient", title=title)
    ax.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    write_atomic(path, picture.getvalue())
    return True
