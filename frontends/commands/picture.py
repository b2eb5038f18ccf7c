"""`chainrule picture`: learned filters, and the feature maps of an example."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..trainer.data import load_data
from ..trainer.errors import OptionError, did_you_mean
from ..trainer.pictures import Sheet, as_text, draw_grid, images_of
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
    maps: str | None = None
    input: int | None = None
    data: str | None = None
    png: str | None = None
    text: bool = False
    sizes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """What is drawn: an array of images, its name, what stands above them, and the image that they were made of."""

    name: str
    title: str
    found: Array
    first: Array | None = None


def picture(model: str, options: PictureOptions) -> None:
    """Draw a parameter's filters, or with `--maps h` what the equation h is for an example of the test part."""
    system = load_model(model, options.sizes)
    arrays, note = load_arrays(options.weights)
    if options.param is not None and options.param not in arrays:
        raise OptionError(f"--param {options.param}: {options.weights} holds no such array{did_you_mean(options.param, arrays)}")
    if options.maps is None and options.input is None:
        if options.param is None:
            raise OptionError("--param NAME says whose filters are drawn; --maps NAME draws what an example becomes")
        shown = Shown(options.param, f"{system.name}: {options.param}", arrays[options.param])
    else:
        shown = _feature_maps(system, model, options, arrays, note)
    pictures, found = images_of(shown.found), shown.found
    if pictures is None:
        raise OptionError(f"{shown.name} is {' x '.join(map(str, found.shape)) or 'a number'}: no set of images, which are "
                          "(n, h, w), (O, C, h, w), or rows of as many numbers as a square has")
    screen = console()
    screen.print(f"{shown.title}: {len(pictures)} images of {pictures.shape[1]} x {pictures.shape[2]}, all of them from "
                 f"{found.min():.3g} to {found.max():.3g}", markup=False, soft_wrap=True)
    if not options.text:
        path = Path(options.png) if options.png else Path(options.weights).parent / f"{shown.name}.png"
        if draw_grid(path, *_arranged(pictures, shown)):
            screen.print(f"written: {path}", markup=False)
            return
        screen.print("a PNG needs matplotlib (pip install matplotlib); as characters, each from its least value to its greatest:",
                     markup=False)
    width = max(1, screen.width // (2 * pictures.shape[2] + 2))
    screen.print(as_text(pictures, min(8, width)), markup=False, soft_wrap=True)


def _arranged(pictures: Array, shown: Shown) -> tuple[Array, Sheet]:
    """Pictures in rows of eight; kernels from several maps to several with a column for each that they make."""
    shape = shown.found.shape
    if len(shape) == 4 and shape[1] not in (1, 3) and shape[0] <= 64:
        outputs, inputs = shape[:2]
        turned = pictures.reshape(shape).swapaxes(0, 1).reshape(-1, *shape[2:])
        return turned, Sheet(f"{shown.title}; a column for each map that comes out, a row for each that goes in", outputs,
                             [f"{o}" for o in range(outputs)], [f"from {i}" for i in range(inputs)], common=True)
    return pictures, Sheet(shown.title, min(8, len(pictures)), [f"{i}" for i in range(len(pictures))], first=shown.first,
                           common=True)


def _feature_maps(system: System, model: str, options: PictureOptions, arrays: dict[str, Array], note: dict[str, Any]) -> Shown:
    """What an equation is for one example, noise off and averages stored, by the interpreter."""
    from ...compiler.graph import BATCH
    from ...compiler.interpret import evaluate
    from ...compiler.passes.evaluation import evaluation
    name, at = options.maps or _reader(system, options.param), options.input or 0
    if name not in system.equations:
        raise OptionError(f"--maps {name}: no equation is called that{did_you_mean(name, system.equations)}")
    if system.equations[name].axes != (BATCH,):
        raise OptionError(f"--maps {name}: it has not one value for each example")
    data = load_data(system, options.data, folder=Path(model).parent, dtype=np.float64,
                     preparation=note.get("preparation") or None)
    part = next(p for p in ("test", "validation", "train") if data.count(p))
    if not 0 <= at < data.count(part):
        raise OptionError(f"--input {at}: the {part} part has the examples 0 to {data.count(part) - 1}")
    missing = [p for p in (*system.params, *system.stats) if p not in arrays]
    if missing:
        raise OptionError(f"{options.weights} lacks {', '.join(missing)}")
    inputs = {k: np.asarray(a[at:at + 1]) for k, a in data.parts[part].items()}
    calm = evaluation(system)
    (found,) = evaluate(calm, [calm.equations[name]], {**arrays, **inputs})
    found = np.asarray(found)[0]
    images = [i for k, a in inputs.items() if a.dtype.kind == "f" and k not in system.targets and (i := images_of(a)) is not None]
    return Shown(name, f"{system.name}: {name} of example {at} of the {part} part", found[None] if found.ndim == 1 else found,
                 images[0][0] if images else None)


def _reader(system: System, param: str | None) -> str:
    """The first equation of images that reads the parameter; without one, the first of images."""
    from ...compiler.graph import BATCH, postorder
    from ..language.printing import ordered
    for name in ordered(system):
        e = system.equations[name]
        image = e.axes == (BATCH,) and len(e.shape) in (2, 3)
        if image and (param is None or any(getattr(n, "name", None) == param for n in postorder(e))):
            return name
    raise OptionError("--maps NAME says which equation is drawn: none reads that parameter and is an image")
