"""`chainrule sample` of an energy model: Gibbs chains, a row each, as pictures where the visible units are one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...compiler.random import draw
from ..trainer.data import load_data
from ..trainer.errors import OptionError, RunError
from ..trainer.pictures import Sheet, as_text, draw_grid, images_of
from ..trainer.weights import transfer
from .common import compiled, console, fresh

if TYPE_CHECKING:
    from ...compiler.system import System
    from .sample import SampleOptions

Array = np.ndarray[Any, Any]
COLUMNS = 10                                             # how often a chain is looked at
CHAINS, STEPS = 10, 1000


def sample_energy(system: System, model: str, options: SampleOptions, note: dict[str, Any]) -> None:
    """Chains from examples of the data (from random values where there are none), and the means of v at equal distances."""
    assert system.energy is not None
    if options.prompt or options.inputs or options.temperature != 1.0:
        raise OptionError(f"{system.name} is an energy model: its chains take no --prompt, --input or --temperature")
    visible = system.energy.visible
    if len(visible) > 1 or set(system.inputs) - {u.name for u in system.energy.layers}:
        raise OptionError(f"{system.name}: chains are drawn of one visible layer and no input; its module's gibbs takes any")
    chains, steps = options.count or CHAINS, options.length or STEPS
    program = compiled(system)
    params = fresh(program)
    transfer(params, options.weights)
    name, layer = visible[0].name, visible[0]
    start, whence = _start(system, model, options, note, chains)
    found, now, every = [start], start, max(1, steps // COLUMNS)
    for k in range(0, steps - every + 1, every):
        now = program.gibbs(params, every, (options.seed, k), **{name: now})
        found.append(_means(program, params, name, now))
    rows = np.stack(found, axis=1).reshape(chains * len(found), -1)
    pictures = None if layer.kind == "categorical" else images_of(rows)
    screen = console()
    screen.print(f"{chains} chains from {whence}; then the means of {name} after every {every} steps, to step "
                 f"{every * (len(found) - 1)}", markup=False, soft_wrap=True)
    if pictures is None:
        for row in rows.reshape(chains, len(found), -1)[:, -1]:
            print(np.array2string(row, separator=", ", threshold=10**6, precision=3, max_line_width=120))
    elif options.png is None:
        print(as_text(pictures, min(len(found), max(1, screen.width // (2 * pictures.shape[2] + 2))), len(pictures)))
    elif draw_grid(Path(options.png), pictures, Sheet(f"{system.name}: a chain a row, every {every} steps", len(found))):
        screen.print(f"written: {options.png}", markup=False)
    else:
        raise OptionError("--png needs matplotlib: pip install matplotlib")


def _means(program: Any, params: dict[str, Array], name: str, v: Array) -> Array:
    """E[v | E[h | v]]: grey where a unit may be either; the sample itself where that has no closed form."""
    try:
        hidden = program.hidden_given_visible(params, **{name: v})
        layers = [u.name for u in program.system.energy.hidden]
        given = hidden if isinstance(hidden, dict) else {layers[0]: hidden}
        return np.asarray(program.visible_given_hidden(params, **given))
    except ValueError:
        return v


def _start(system: System, model: str, options: SampleOptions, note: dict[str, Any], chains: int) -> tuple[Array, str]:
    """Where chains begin: the first examples of the last part of the data, or coin flips."""
    assert system.energy is not None
    layer = system.energy.visible[0]
    try:
        if system.data is None:
            raise RunError("no data line")
        data = load_data(system, None, folder=Path(model).parent, dtype=np.float32, preparation=note.get("preparation") or None)
        part = next(p for p in ("test", "validation", "train") if data.count(p))
        if data.count(part) >= chains:
            return np.asarray(data.parts[part][layer.name][:chains], np.float32), f"examples of the {part} part"
    except RunError:
        pass
    shape = (chains, *(s.evaluate(system.sizes) for s in layer.node.shape))
    kind = "normal" if layer.kind == "gaussian" else "uniform"
    u = draw(kind, "start", shape, options.seed)
    on = {"binary": u < 0.5, "spin": 2.0 * (u < 0.5) - 1, "gaussian": u, "categorical": u == u.max(-1, keepdims=True)}
    return np.asarray(on[layer.kind], np.float32), "random values"
