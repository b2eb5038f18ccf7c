"""`chainrule grad | compile | check | explain | show`: what a model is made into."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..trainer.errors import OptionError, did_you_mean
from ..trainer.reports import draw_weights
from ..trainer.weights import load_arrays, write_atomic
from .common import blocks, c_files, compiled, console, load_model, which

FORMATS = ("formula", "latex", "code")


def grad(model: str, wrt: str | None, form: str, sizes: tuple[str, ...], terms: bool = False, steps: int = 3,
         block: str | None = None, backend: str = "numpy") -> None:
    """Print the derived gradient; `terms`: as the sum over the steps of backpropagation through time; `backend`: as its code."""
    if form not in FORMATS:
        raise OptionError(f"--format {form}: there is no such format{did_you_mean(form, FORMATS)}")
    if backend != "numpy" and form != "code":
        raise OptionError(f"--backend {backend} says whose code is shown: add --format code")
    system = load_model(model, sizes, block)
    if wrt is not None and wrt not in system.params:
        raise OptionError(f"--wrt {wrt}: model {system.name} has no parameter {wrt}{did_you_mean(wrt, system.params)}")
    if terms:
        from ..showing import terms_text
        sys.stdout.write(_line(terms_text(system, wrt, steps, form)))
        return
    from ..showing import grad_text
    sys.stdout.write(_line(grad_text(system, wrt, form, which(backend))))


def generate(model: str, out: str | None, backend: str, dtype: str, sizes: tuple[str, ...], plain: bool,
             schedule: dict[str, Any], block: str | None = None) -> None:
    """Write the generated module; to the standard output without a file name. `schedule`: unroll, steps, ...

    The modules of pretrain blocks stand beside it: model_np_layer1.py. A name that ends in .c is one of a C file.
    """
    system = load_model(model, sizes, block)
    if out is not None and Path(out).suffix == ".c":
        if plain:
            raise OptionError("-O0 prints one expression an equation, which a C file has no form for; leave it out")
        if backend == "cupy":
            raise OptionError(f"--out {out} names a C file, and the backend cupy prints modules: call it {Path(out).stem}.py")
        for file, part in {Path(out): system, **beside(Path(out), system)}.items():
            write_c(file, part, dtype, schedule)
        return
    program = compiled(system, backend, dtype, 0 if plain else 1, **schedule)
    if out is None or out == "-":
        sys.stdout.write(program.source)
        return
    path = Path(out)
    programs = {path: program}
    programs |= {k: compiled(part, backend, dtype, 0 if plain else 1) for k, part in beside(path, system).items()}
    for file, each in programs.items():
        write_atomic(file, each.source.encode())
        console().print(f"{file}: {each.source.count(chr(10))} lines; python {file} checks it", markup=False, soft_wrap=True)


def beside(path: Path, system: Any) -> dict[Path, Any]:
    """The files of a model's pretrain blocks, beside its own."""
    return {path.with_name(f"{path.stem}_{name}{path.suffix}"): part for name, part in blocks(system).items()}


def write_c(path: Path, system: Any, dtype: str, schedule: dict[str, Any]) -> None:
    """Write a C file and its header."""
    files = c_files(system, path.with_suffix(".h").name, dtype, **schedule)
    for file, text in ((path, files.source), (path.with_suffix(".h"), files.header)):
        write_atomic(file, text.encode())
    lengths = ", ".join(f"{m} = {n}" for m, n in files.defaults.items())
    chunks = system.training.checkpoint
    kept = "" if chunks is None else f", in which every step is kept: a C file has no form for checkpoint = {chunks}"
    console().print(f"{path}: {files.source.count(chr(10))} lines, and {path.with_suffix('.h')}; {files.bytes:,} bytes of memory"
                    f"{f' with {lengths}' if lengths else ''}{kept}; cc -O3 -c {path} compiles it", markup=False, soft_wrap=True)


def explain(model: str, name: str, sizes: tuple[str, ...], block: str | None = None) -> None:
    """Print where a gradient comes from: the terms of the chain rule, the rewrites, the lines that compute it."""
    from ..showing import explain_text
    sys.stdout.write(_line(explain_text(load_model(model, sizes, block), name)))


def show(model: str, stage: str, out: str | None, weights: str | None, sizes: tuple[str, ...],
         block: str | None = None, backend: str = "numpy") -> None:
    """Print a stage of the compiler; `graph` is DOT, or SVG where --out ends so; `weights` is a histogram of a file."""
    system = load_model(model, sizes, block)
    if stage == "weights":
        _show_weights(system.name, weights, out)
        return
    from ..showing import stage_text
    form = "svg" if out is not None and Path(out).suffix == ".svg" else "dot"
    text = _line(stage_text(system, stage, form, backend))
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomic(Path(out), text.encode())


def _show_weights(name: str, weights: str | None, out: str | None) -> None:
    if weights is None:
        raise OptionError("show --stage weights: which? --weights FILE.safetensors")
    arrays, _ = load_arrays(weights)
    from rich.table import Table
    table = Table(title=weights)
    for column in ("", "shape", "mean", "deviation", "near 0", "largest"):
        table.add_column(column, justify="right" if column else "left")
    for key, a in arrays.items():
        near = float((abs(a) < 1e-3).mean())
        table.add_row(key, str(a.shape), f"{a.mean():.4f}", f"{a.std():.4f}", f"{near:.1%}", f"{abs(a).max():.4f}")
    screen = console()
    screen.print(table)
    path = Path(out or Path(weights).with_suffix(".png"))
    if draw_weights(path, arrays, name):
        screen.print(f"written: {path}", markup=False)


def _line(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"
