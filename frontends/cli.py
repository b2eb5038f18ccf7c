"""The command line. Options are declared here; `commands/` does the work, and is loaded when a command runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Neural networks written as equations: gradients derived, readable code printed, trained and checked.")

Model = Annotated[str, typer.Argument(help="the model file, such as examples/mlp/model.nn", metavar="MODEL.nn")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="H=256", help="another value for a size; may be repeated")]
Backend = Annotated[str, typer.Option(help="numpy, native (C), cupy (NVIDIA's GPUs), or auto: native if there is a C compiler")]
Dtype = Annotated[str, typer.Option(help="float32 or float64")]
Out = Annotated[str | None, typer.Option("--out", "-o", metavar="PATH", help="where to write")]
Block = Annotated[str | None, typer.Option("--block", metavar="NAME", help="a pretrain block, instead of the whole model")]
Persistent = Annotated[bool, typer.Option("--persistent/--no-persistent",
                                          help="cupy: loops over time in one launch where that is faster, or a launch a step")]
Many = list[str] | None
CHECKPOINT = "chunks of time that are computed anew going back: sqrt, 'every 50' or 'memory 200MB'"


def main() -> None:
    """The entry point: exit status 0, 1 for a mistake in model, data or options, 2 for wrong usage."""
    app()


def _version(asked: bool) -> None:
    if asked:
        from .. import __version__
        print(f"chainrule {__version__}")
        raise typer.Exit


@app.callback()
def top(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                              help="Show the version and exit.")] = False) -> None:
    """The options before any command."""


def _run(action: object) -> None:
    from .commands.common import guarded
    status = guarded(action)  # type: ignore[arg-type]
    if status:
        raise typer.Exit(status)


@app.command()
def demo(out: Annotated[str, typer.Option(metavar="DIR", help="the folder of the files")] = "runs/demo",
         epochs: Annotated[int, typer.Option(help="passes over the data; 0: as many as the model says", min=0)] = 0) -> None:
    """Show all of it on real data: a model, its gradient, its code, its training. Takes seconds."""
    from .commands import demo as command
    _run(lambda: command.demo(out, epochs or None))


@app.command()
def train(
    model: Model,
    data: Annotated[str | None, typer.Option(metavar="PATH", help="a file or folder, instead of the data line's")] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over the data")] = None,
    batch: Annotated[int | None, typer.Option(help="examples a step; 0 is all of them")] = None,
    lr: Annotated[float | None, typer.Option(help="the learning rate")] = None,
    patience: Annotated[int | None, typer.Option(help="stop after so many epochs without a better validation loss")] = None,
    backend: Backend = "numpy", dtype: Dtype = "float32", set: Set = None,
    seed: Annotated[int, typer.Option(help="determines initial values, noise and the order of the examples")] = 0,
    out: Annotated[str | None, typer.Option(metavar="DIR", help="the run's folder [runs/<model>]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run, bit for bit")] = False,
    weights: Annotated[str | None, typer.Option("--from", metavar="FILE", help="start from these weights, by name")] = None,
    skip: Annotated[Many, typer.Option(metavar="PATTERN", help="with --from: keep initial values here")] = None,
    freeze: Annotated[Many, typer.Option(metavar="PATTERN", help="do not train these parameters")] = None,
    rate: Annotated[Many, typer.Option(metavar="PATTERN=X", help="multiply the learning rate of these")] = None,
    checkpoint: Annotated[str | None, typer.Option(help=CHECKPOINT)] = None,
    labelled: Annotated[int | None, typer.Option(metavar="N", help="train on the first N training examples; pretraining sees all")
                        ] = None,
    skip_pretraining: Annotated[bool, typer.Option("--skip-pretraining", help="train from initial values at once")] = False,
    persistent: Persistent = True,
) -> None:
    """Train a model. Weights, curve, checkpoint and code go to a folder."""
    from .commands.train import TrainOptions
    from .commands.train import train as command
    options = TrainOptions(data, epochs, batch, backend, dtype, tuple(set or ()), seed, lr, patience, out, resume, weights,
                           tuple(skip or ()), tuple(freeze or ()), tuple(rate or ()), checkpoint, labelled,
                           skip_pretraining, persistent)
    _run(lambda: command(model, options))


@app.command()
def grad(model: Model,
         wrt: Annotated[str | None, typer.Option(metavar="W", help="one parameter only")] = None,
         format: Annotated[str, typer.Option(help="formula, latex or code")] = "formula", set: Set = None,
         terms: Annotated[bool, typer.Option("--terms", help="through time, as a sum over the steps")] = False,
         unroll: Annotated[int, typer.Option(metavar="T", min=1, help="with --terms: how many steps")] = 3,
         backend: Backend = "numpy", block: Block = None) -> None:
    """Print the derived gradient as formulas, LaTeX or code."""
    from .commands import inspect
    _run(lambda: inspect.grad(model, wrt, format, tuple(set or ()), terms, unroll, block, backend))


@app.command("compile")
def compile_(model: Model, out: Out = None, backend: Backend = "numpy", dtype: Dtype = "float32", set: Set = None,
             plain: Annotated[bool, typer.Option("-O0", help="one plain expression an equation, for reading")] = False,
             unroll: Annotated[str, typer.Option(metavar="N", help="steps of time in a loop's body, or full")] = "1",
             steps: Annotated[int | None, typer.Option(metavar="T", help="the length of a full unroll")] = None,
             checkpoint: Annotated[str | None, typer.Option(help=CHECKPOINT)] = None, persistent: Persistent = True,
             block: Block = None) -> None:
    """Write the generated module. That of numpy imports nothing else."""
    from .commands import inspect
    schedule = {"unroll": unroll, "steps": steps, "checkpoint": checkpoint, "persistent": persistent}
    _run(lambda: inspect.generate(model, out, backend, dtype, tuple(set or ()), plain, schedule, block))


@app.command()
def cache(clear: Annotated[bool, typer.Option("--clear", help="remove them")] = False) -> None:
    """Say where the native backend keeps compiled models. CHAINRULE_CACHE names another folder."""
    from .commands import cache as command
    _run(lambda: command.cache(clear))


@app.command()
def check(model: Model, backend: Backend = "numpy", set: Set = None,
          seed: Annotated[int, typer.Option(help="of the random point")] = 0, block: Block = None) -> None:
    """Compare the gradient of every parameter with finite differences."""
    from .commands import check as command
    _run(lambda: command.check(model, backend, tuple(set or ()), seed, block))


@app.command()
def explain(model: Model, name: Annotated[str, typer.Argument(help="a gradient, such as d_W2")], set: Set = None,
            block: Block = None) -> None:
    """Say where a gradient comes from. The terms of the chain rule, the rewrites, the lines that compute it."""
    from .commands import inspect
    _run(lambda: inspect.explain(model, name, tuple(set or ()), block))


@app.command()
def show(model: Model,
         stage: Annotated[str, typer.Option(help="system, stabilised, adjoint, simplified, schedule, program, memory, code, "
                                                 "graph or weights")] = "system",
         out: Out = None,
         weights: Annotated[str | None, typer.Option(metavar="FILE", help="with --stage weights")] = None,
         backend: Backend = "numpy", set: Set = None, block: Block = None) -> None:
    """Print a stage of the compiler, from the model to the code."""
    from .commands import inspect
    _run(lambda: inspect.show(model, stage, out, weights, tuple(set or ()), block, backend))


@app.command()
def gradflow(
    model: Model,
    weights: Annotated[str | None, typer.Option(metavar="FILE", help="trained weights, instead of initial ones")] = None,
    data: Annotated[str | None, typer.Option(metavar="PATH", help="examples from here, instead of random ones")] = None,
    steps: Annotated[int, typer.Option(help="how long the sequences are")] = 100,
    batch: Annotated[int, typer.Option(help="how many of them")] = 16,
    at: Annotated[str, typer.Option(help="last: the loss of the last step alone; all: the loss as it is")] = "last",
    png: Annotated[str | None, typer.Option(metavar="FILE", help="draw it, too")] = None, set: Set = None,
    seed: Annotated[int, typer.Option(help="of initial values and random examples")] = 0,
) -> None:
    """Show where gradients vanish or explode. The norm of the loss's gradient by equation and step of time."""
    from .commands import gradflow as command
    options = command.FlowOptions(weights, data, steps, batch, at, png, tuple(set or ()), seed)
    _run(lambda: command.gradflow(model, options))


@app.command()
def sample(
    model: Model,
    weights: Annotated[str, typer.Option(metavar="FILE", help="what a run has left: weights.safetensors")],
    prompt: Annotated[str, typer.Option(help="what the text begins with")] = "",
    length: Annotated[int | None, typer.Option(help="symbols to generate [500]; of an energy model, Gibbs steps [1000]")] = None,
    temperature: Annotated[float, typer.Option(help="below 1: likelier symbols; above: more surprising ones")] = 1.0,
    seed: Annotated[int, typer.Option(help="another one, another text")] = 0,
    input: Annotated[Many, typer.Option(metavar="X=TEXT", help="another input, such as the encoder's")] = None,
    count: Annotated[int | None, typer.Option(help="how many texts [1], or chains of an energy model [10]")] = None,
    png: Annotated[str | None, typer.Option(metavar="FILE", help="of an energy model: draw the chains")] = None,
    set: Set = None,
) -> None:
    """Generate a sequence from trained weights, or draw Gibbs chains. A vocabulary stored with them turns classes into text."""
    from .commands import sample as command
    options = command.SampleOptions(weights, prompt, length, temperature, seed, tuple(input or ()), count, tuple(set or ()), png)
    _run(lambda: command.sample(model, options))


@app.command()
def picture(
    model: Model,
    weights: Annotated[str, typer.Option(metavar="FILE", help="what a run has left: weights.safetensors")],
    param: Annotated[str | None, typer.Option(metavar="K1", help="whose filters are drawn")] = None,
    maps: Annotated[str | None, typer.Option(metavar="C1", help="the equation whose feature maps are drawn")] = None,
    input: Annotated[int | None, typer.Option(metavar="I", help="of which example of the test part: 0")] = None,
    data: Annotated[str | None, typer.Option(metavar="PATH", help="a file or folder, instead of the data line's")] = None,
    png: Annotated[str | None, typer.Option(metavar="FILE", help="where they are drawn: NAME.png beside the weights")] = None,
    text: Annotated[bool, typer.Option("--text", help="print them as characters instead")] = False, set: Set = None,
) -> None:
    """Draw learned filters, or the feature maps of an example."""
    from .commands import picture as command
    options = command.PictureOptions(weights, param, maps, input, data, png, text, tuple(set or ()))
    _run(lambda: command.picture(model, options))


if __name__ == "__main__":
    sys.exit(main())
