"""`chainrule demo`: a model, its derived gradient, its generated code, and its training on real data."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from .. import trainer
from ..trainer.differences import differences, random_inputs
from .common import compiled, console, load_model
from .train import TrainOptions, finish, prepare


def excerpt(source: str) -> str:
    """The head of a generated module, and the function that computes loss and gradient."""
    head, _, rest = source.partition("\n\n\n")
    _, found, body = rest.partition("def _gradients(")
    return f"{head}\n\n...\n\n{found}{body.partition(chr(10) * 3)[0]}" if found else head


def demo(out: str, epochs: int | None) -> None:
    """Four steps, each with what it shows, and the commands that show it of any other model."""
    from rich.syntax import Syntax
    screen = console()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "demo.nn"
    text = files(trainer).joinpath("demo.nn").read_text(encoding="utf-8")
    model.write_text(text, encoding="utf-8")
    system = load_model(model)

    screen.rule("1. A model: equations for one example")
    screen.print(text, markup=False)
    screen.rule("2. Its gradient, derived")
    from ..showing import grad_text
    screen.print(grad_text(system, None, "formula"), markup=False)
    screen.rule("3. Its code, generated")
    program = compiled(system)
    source = excerpt(program.source)
    code = Syntax(source, "python", theme="ansi_dark", background_color="default").highlight(source)
    screen.print(code, soft_wrap=True)                   # a long line is the terminal's to wrap, not ours to cut
    lines = program.source.count("\n")
    screen.print(f"All {lines} lines stand in {folder / 'model_np.py'}, which imports nothing but numpy.", markup=False)
    exact = compiled(system, dtype="float64")
    worst = max(r.error for r in differences(exact, exact.init(seed=0), random_inputs(system)))
    screen.print(f"Against finite differences in float64, the worst relative error of a gradient is {worst:.0e}.", markup=False)
    screen.rule("4. Its training, on scikit-learn's digits")
    session = prepare(system, model, TrainOptions(epochs=epochs, out=out), folder, screen)
    screen.print(session.trainer.data.describe(), markup=False)
    outcome = session.trainer.train()
    finish(session, outcome, screen)
    screen.print(f"\nThe same for your own model:  chainrule train {model}   chainrule grad {model}   chainrule check {model}\n"
                 f"The code by itself:            python {folder / 'model_np.py'}", markup=False, soft_wrap=True)
