"""`chainrule train`: data, training, and the files that a run leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...compiler.graph import BATCH, length
from ...compiler.options import BadOption, read_checkpoint
from ...compiler.shortest import shortest
from ...compiler.system import System
from ..trainer.data import Dataset, load_data
from ..trainer.diagnose import diagnose
from ..trainer.errors import DataError, OptionError, WeightsError, plural
from ..trainer.loop import CHECKPOINT, Outcome, Trainer
from ..trainer.mistakes import report_mistakes
from ..trainer.progress import progress_for
from ..trainer.recipe import Recipe, checkpoints, pretrained
from ..trainer.reports import draw_curve, report_classes, results_table, transfer_table, write_curve
from ..trainer.run import Options, load_run
from ..trainer.time import truncated_axis
from ..trainer.weights import match_names, save_arrays, transfer
from .common import compiled, console, fresh, load_model, require_training

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class TrainOptions:
    """The options of the command; None is `as the model says`."""

    data: str | None = None
    epochs: int | None = None
    batch: int | None = None
    backend: str = "numpy"
    dtype: str = "float32"
    sizes: tuple[str, ...] = ()
    seed: int = 0
    lr: float | None = None
    patience: int | None = None
    out: str | None = None
    resume: bool = False
    weights: str | None = None
    skip: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    checkpoint: str | None = None
    labelled: int | None = None
    skip_pretraining: bool = False
    persistent: bool = True


# what a resumed run takes from its checkpoint where the command line is silent
_KEPT = ("data", "epochs", "batch", "backend", "dtype", "sizes", "seed", "lr", "patience", "freeze", "rates",
         "checkpoint", "labelled", "skip_pretraining", "persistent")


def train(model: str, options: TrainOptions) -> None:
    """Train the model of a file; prints as it goes, and leaves its files in the run's folder."""
    screen = console()
    out = Path(options.out) if options.out else default_folder(Path(model))
    if out.exists() and not out.is_dir():
        raise OptionError(f"the run's folder {out} is a file; --out names another")
    if options.skip and options.weights is None:
        raise OptionError(f"--skip {' '.join(options.skip)}: it says what --from FILE leaves out; give both")
    if options.resume:
        options = _resumed(options, out)
    system = with_training(load_model(model, options.sizes), options)
    session = prepare(system, Path(model), options, out, screen)
    screen.print(f"{session.trainer.data.describe()}", markup=False)
    if session.recipe is not None:
        interrupted = session.trainer.changed(lambda params: pretrained(session.recipe, params))
        if interrupted is not None:
            _say_how_to_go_on(session, interrupted, screen)
            return
    outcome = session.trainer.train()
    finish(session, outcome, screen)


def default_folder(model: Path) -> Path:
    """runs/<model>, where a file that is called model.nn goes by its folder's name."""
    name = model.resolve().parent.name if model.stem == "model" else model.stem
    return Path("runs") / name


def _resumed(options: TrainOptions, out: Path) -> TrainOptions:
    """The options that the run was started with, and those that the command line changes."""
    path = out / CHECKPOINT
    if not path.is_file():
        path = next(reversed(checkpoints(out)), path)    # interrupted in pretraining
    if not path.is_file():
        raise WeightsError(f"there is no checkpoint {path}: nothing to resume")
    stored = load_run(path)[2].get("command", {})
    default = TrainOptions()
    kept: dict[str, Any] = {k: (tuple(v) if isinstance(v, list) else v) for k, v in stored.items()
            if k in _KEPT and getattr(options, k) == getattr(default, k)}
    return replace(options, **kept)


def with_training(system: System, options: TrainOptions) -> System:
    """The system whose training has the command line's freezing and rates."""
    training = system.training
    if options.freeze:
        frozen = match_names(options.freeze, [*system.params, *system.stats], "--freeze")
        training = replace(training, freeze=tuple(dict.fromkeys((*training.freeze, *frozen))))
    if options.rates:
        rates = dict(training.rates)
        for rate in options.rates:
            pattern, sign, value = rate.partition("=")
            try:
                factor = float(value)
            except ValueError:
                factor = -1.0
            if not sign or not 0 <= factor < float("inf"):
                raise OptionError(f"--rate {rate}: write PATTERN=NUMBER, from 0 on, such as --rate 'conv*=0.1'")
            rates.update(dict.fromkeys(match_names([pattern.strip()], system.params, "--rate"), factor))
        training = replace(training, rates=tuple(rates.items()))
    if options.lr is not None:
        if not 0 < options.lr < float("inf"):
            raise OptionError(f"--lr {options.lr}: a learning rate is above 0")
        training = replace(training, options=tuple({**dict(training.options), "lr": options.lr}.items()))
    if options.checkpoint is not None:
        try:
            training = replace(training, checkpoint=str(read_checkpoint(options.checkpoint)))
        except BadOption as e:
            raise OptionError(f"--checkpoint: {e}") from None
    return system.copy(training=training)


@dataclass
class Session:
    """A run that is ready to start."""

    system: System
    program: Any
    trainer: Trainer
    model: Path
    out: Path
    files: list[Path] = field(default_factory=list)
    recipe: Recipe | None = None                     # what is still to come before training


def prepare(system: System, model: Path, options: TrainOptions, out: Path, screen: Console) -> Session:
    """Data read and checked, code generated, parameters initialised, loaded or resumed."""
    require_training(system, "train")
    declared = system.training
    run_options = Options(
        epochs=declared.epochs if options.epochs is None else options.epochs,
        batch=declared.batch if options.batch is None else options.batch, seed=options.seed,
        schedule=declared.schedule, schedule_options=tuple(declared.schedule_options),
        patience=declared.patience if options.patience is None else options.patience)
    program = compiled(system, options.backend, options.dtype, persistent=options.persistent)
    data = load_data(system, options.data, folder=model.parent, dtype=options.dtype)
    _long_enough(system, data)
    command = {k: getattr(options, k) for k in _KEPT}
    if system.training.checkpoint is not None:
        screen.print(str(program.checkpoint_plan(**_lengths(system, data, run_options.batch))), markup=False, soft_wrap=True)
    trainer = Trainer(program, _labelled(system, data, options), run_options, out, progress_for(screen),
                      _diagnosis(system, run_options.seed),
                      extra={"command": command, "model": system.name, "preparation": data.preparation})
    session = Session(system, program, trainer, model, out)
    in_training = not options.resume or (out / CHECKPOINT).is_file()
    if system.pretraining and not options.skip_pretraining and not (options.resume and in_training):
        session.recipe = Recipe(
            system, data, lambda s: compiled(s, options.backend, options.dtype, persistent=options.persistent),
            run_options.seed, out, options.resume,
            lambda: progress_for(screen), lambda s: _diagnosis(s, run_options.seed),
            lambda text: screen.print(text, markup=False, soft_wrap=True), trainer.extra, session.files)
    if options.resume and in_training:
        trainer.resume()
        screen.print(f"resumed after {trainer.run.epoch} epochs and {trainer.run.position} batches", markup=False)
        return session
    params = fresh(program, options.seed)
    if options.weights is not None:
        screen.print(transfer_table(transfer(params, options.weights, options.skip), system))
    for old in (out / CHECKPOINT, *checkpoints(out)) if not options.resume else ():
        if old.is_file():                            # a new run in the same folder does not destroy the old one's state
            old.replace(old.with_name(f"previous-{CHECKPOINT}"))
    trainer.start(params)
    return session


def _labelled(system: System, data: Dataset, options: TrainOptions) -> Dataset:
    """The data that training sees: of the training part the first examples, if only so many count as labelled."""
    declared = system.data.labelled if system.data is not None else 0
    n, there = declared if options.labelled is None else options.labelled, data.count("train")
    if n == 0 and options.labelled is None:
        return data
    if not 0 < n <= there or data.stream:
        raise OptionError(f"labelled: {n} of the {there} examples of the training part" + (
            " are none; it is one sequence" if data.stream else "; write a number from 1 to that"))
    return replace(data, parts={**data.parts, "train": {k: a[:n] for k, a in data.parts["train"].items()}})


def _long_enough(system: System, data: Dataset) -> None:
    """Refuses sequences without the steps that the model reads by their numbers."""
    needed = shortest(system, system.lengths)
    there = _lengths(system, data, 0) if needed else {}
    for n, least in needed.items():
        if there.get(n, least) < least:
            raise DataError(f"the sequences have {n} = {there[n]} steps, and the model reads a step that is there from "
                            f"{n} = {least} on: give longer ones, or declare `lengths {n.lower()}`, where it is then 0")


def _lengths(system: System, data: Dataset, batch: int) -> dict[str, int]:
    """The lengths of a training batch: {"B": 32, "T": 400}."""
    train = data.parts["train"]
    out = {str(length(x)): train[k].shape[1 + i] for k, node in system.inputs.items() if k in train
           for i, x in enumerate(a for a in node.axes if a != BATCH)}
    return {**out, "B": min(batch or data.count("train"), data.count("train"))}


def _diagnosis(system: System, seed: int) -> Any:
    if system.energy is not None:                    # its equations say nothing of the chains that a step runs
        return None
    axis = truncated_axis(system)
    return lambda params, inputs, step, carry: diagnose(system, params, inputs, seed, step, carry, axis)


def finish(session: Session, outcome: Outcome, screen: Console) -> None:
    """The files, the table, and what to do next."""
    trainer, out = session.trainer, session.out
    if outcome.status == "interrupted":
        _write_curves(session, outcome)
        _say_how_to_go_on(session, outcome, screen)
        return
    results = {part: trainer.evaluate(part, outcome.params) for part in trainer.data.parts}
    screen.print(f"{session.system.name}: {_ending(outcome)}", markup=False, soft_wrap=True)
    _write_weights(session, outcome, results)
    _write_curves(session, outcome)
    session.files.append(session.program.save(out / session.program.filename))
    classes = report_classes(out, session.system, trainer, outcome.params)
    session.files += classes
    if classes:
        session.files += report_mistakes(out, session.system, trainer, outcome.params)
    screen.print(results_table(results))
    screen.print("written: " + ", ".join(str(f) for f in session.files), markup=False, soft_wrap=True)


def _say_how_to_go_on(session: Session, outcome: Outcome, screen: Console) -> None:
    where = "" if session.out == default_folder(session.model) else f" --out {session.out}"
    screen.print(f"interrupted after {outcome.run.epoch} epochs and {outcome.run.position} batches; the state is saved.\n"
                 f"Go on with: chainrule train {session.model} --resume{where}", markup=False)


def _ending(outcome: Outcome) -> str:
    run = outcome.run
    text = f"{outcome.status} after {plural(run.epoch, 'epoch')}, {run.seconds:.1f} s"
    return text + (f"; weights of epoch {run.best_epoch}, the best on validation" if run.best else "")


def _write_weights(session: Session, outcome: Outcome, results: Mapping[str, Any]) -> None:
    path = session.out / "weights.safetensors"
    data: Dataset = session.trainer.data
    save_arrays(path, outcome.params, {"kind": "weights", "model": session.system.name, "sizes": session.system.sizes,
                                       "preparation": data.preparation, "results": results})
    session.files += [path, session.out / CHECKPOINT]


def _write_curves(session: Session, outcome: Outcome) -> None:
    history = outcome.run.history
    if not history:
        return
    write_curve(session.out / "curve.csv", history)
    session.files.append(session.out / "curve.csv")
    if draw_curve(session.out / "curve.png", history, session.system.name):
        session.files.append(session.out / "curve.png")
