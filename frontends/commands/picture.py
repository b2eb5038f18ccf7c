"""`chainrule picture`: learned filters, and the feature maps of an example."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..trainer.data import load_data
from ..trainer.errors import OptionError, did_you_mean
from ..trainer.pictures import as_text, draw_grid, images_of
from ..trainer.weights import load_arrays
from .common import console, load_model

if TYPE_CHECKING:
    from ...compiler.system import System

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PictureOptions:
    """The options of the command."""

    weights: str
    param: str | None = None
    input: int | None = None
    value: str | None = None
    data: str | None = None
    png: str | None = None
    sizes: tuple[str, ...] = ()


def picture(model: str, options: PictureOptions) -> None:
    """Draw a parameter's filters, or with `--input i` what an equation is for example i of the test part."""
    system = load_model(model, options.sizes)
    arrays, note = load_arrays(options.weights)
    if options.param is not None and options.param not in arrays:
        raise OptionError(f"--param {options.param}: {options.weights} holds no such array{did_you_mean(options.param, arrays)}")
    if options.input is None:
        if options.param is None:
            raise OptionError("--param NAME says whose filters are drawn; --input I draws what an example becomes")
        title, found = options.param, arrays[options.param]
    else:
        title, found = _feature_maps(system, model, options, arrays, note)
    pictures = images_of(found)
    if pictures is None:
        raise OptionError(f"{title} is {' x '.join(map(str, found.shape)) or 'a number'}: no set of images, which are (n, h, w), "
                          "(O, C, h, w), or rows of as many numbers as a square has")
    columns = found.shape[1] if found.ndim == 4 and 3 < found.shape[1] <= 16 else min(8, len(pictures))
    screen = console()
    screen.print(f"{title}: {len(pictures)} images of {pictures.shape[1]} x {pictures.shape[2]}, each from its least value to "
                 f"its greatest; all of them from {found.min():.3g} to {found.max():.3g}", markup=False, soft_wrap=True)
    if options.png is None:
        width = max(1, screen.width // (2 * pictures.shape[2] + 2))
        screen.print(as_text(pictures, min(columns, width)), markup=False, soft_wrap=True)
    elif draw_grid(Path(options.png), pictures, f"{system.name}: {title}", columns):
        screen.print(f"written: {options.png}", markup=False)
    else:
        raise OptionError("--png needs matplotlib: pip install matplotlib")


def _feature_maps(system: System, model: str, options: PictureOptions, arrays: dict[str, Array],
                  note: dict[str, Any]) -> tuple[str, Array]:
    """What an equation is for one example, noise off and averages stored, by the interpreter."""
    from ...compiler.graph import BATCH
    from ...compiler.interpret import evaluate
    from ...compiler.passes.evaluation import evaluation
    name = options.value or _reader(system, options.param)
    if name not in system.equations:
        raise OptionError(f"--value {name}: no equation is called that{did_you_mean(name, system.equations)}")
    if system.equations[name].axes != (BATCH,):
        raise OptionError(f"--value {name}: it has not one value for each example")
    data = load_data(system, options.data, folder=Path(model).parent, dtype=np.float64,
                     preparation=note.get("preparation") or None)
    part = next(p for p in ("test", "validation", "train") if data.count(p))
    assert options.input is not None
    if not 0 <= options.input < data.count(part):
        raise OptionError(f"--input {options.input}: the {part} part has the examples 0 to {data.count(part) - 1}")
    missing = [p for p in (*system.params, *system.stats) if p not in arrays]
    if missing:
        raise OptionError(f"{options.weights} lacks {', '.join(missing)}")
    inputs = {k: np.asarray(a[options.input:options.input + 1]) for k, a in data.parts[part].items()}
    calm = evaluation(system)
    (found,) = evaluate(calm, [calm.equations[name]], {**arrays, **inputs})
    found = np.asarray(found)[0]
    return f"{name} of example {options.input} of the {part} part", found[None] if found.ndim == 1 else found


def _reader(system: System, param: str | None) -> str:
    """The first equation of images that reads the parameter; without one, the first of images."""
    from ...compiler.graph import BATCH, postorder
    from ..language.printing import ordered
    for name in ordered(system):
        e = system.equations[name]
        image = e.axes == (BATCH,) and len(e.shape) in (2, 3)
        if image and (param is None or any(getattr(n, "name", None) == param for n in postorder(e))):
            return name
    raise OptionError("--value NAME says which equation is drawn: none reads that parameter and is an image")
