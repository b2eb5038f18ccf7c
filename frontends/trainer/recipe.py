"""Pretraining: the blocks of a model's recipe, one after the other, each trained like any other model.

    pretrained(recipe, params)      the blocks in order, `params` changed in place; None, or the Outcome that was interrupted

What a block is fed is computed once, before it begins, from the parameters as the blocks before it have left them. Each block
has a folder of its own, `pretrain-NAME`, with its checkpoint, its curve and its module: a resumed run takes finished blocks from
there, goes on with the one that was interrupted, and so repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from ...compiler.graph import Input
from ...compiler.interpret import evaluate
from ...compiler.recipe import Pretraining, Setting, feeding
from ...compiler.system import System
from .batches import count, take
from .data import Dataset
from .loop import CHECKPOINT, Diagnose, Outcome, Progress, Trainer
from .ragged import Part, Ragged
from .reports import draw_curve, write_curve
from .run import Arrays, Options, Program

_ROWS = 1000                                         # examples that a block's inputs are computed of at a time


@dataclass
class Recipe:
    """What the blocks of a model are trained with: `compile` makes a program of a system, `say` prints a line."""

    system: System
    data: Dataset
    compile: Callable[[System], Program]
    seed: int = 0
    out: Path | None = None
    resume: bool = False
    progress: Callable[[], Progress] = Progress
    diagnosis: Callable[[System], Diagnose] | None = None
    say: Callable[[str], None] = lambda text: None
    extra: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)

    @property
    def blocks(self) -> tuple[Pretraining, ...]:
        return tuple(s for s in self.system.pretraining if isinstance(s, Pretraining))


def folder(out: Path, name: str) -> Path:
    """Where a block leaves its files."""
    return out / f"pretrain-{name}"


def checkpoints(out: Path) -> list[Path]:
    """The checkpoints of a run's blocks, the newest last."""
    return sorted(out.glob(f"pretrain-*/{CHECKPOINT}"), key=lambda p: p.stat().st_mtime)


def pretrained(recipe: Recipe, params: Arrays) -> Outcome | None:
    """Carries the recipe out; `params` are those of the whole model, changed in place. The interrupted outcome, or None."""
    for stage in recipe.system.pretraining:
        if isinstance(stage, Setting):
            set_from_others(recipe.system, stage, params)
            continue
        outcome = _block(recipe, stage, params)
        if outcome.status == "interrupted":
            return outcome
        for name in stage.system.params:
            params[name][...] = outcome.params[name]
    return None


def set_from_others(system: System, stage: Setting, params: Arrays) -> None:
    """`pretrain V = W.T`"""
    (value,) = evaluate(system, [stage.value], params)
    params[stage.param][...] = value


def _block(recipe: Recipe, block: Pretraining, params: Arrays) -> Outcome:
    """One block to its end; what it has been through already, its checkpoint knows."""
    out = None if recipe.out is None else folder(recipe.out, block.name)
    training = block.system.training
    seed = recipe.seed if block.system.energy is None else seed_of(recipe.seed, block.name)
    options = Options(training.epochs, training.batch, seed, training.schedule, tuple(training.schedule_options),
                      training.patience)
    program = recipe.compile(block.system)
    trainer = Trainer(program, fed(recipe, block, params), options, out, recipe.progress(),
                      recipe.diagnosis(block.system) if recipe.diagnosis else None, extra=recipe.extra)
    place = f"{recipe.blocks.index(block) + 1} of {len(recipe.blocks)}"
    recipe.say(f"pretrain {block.name} ({place}): {', '.join(block.params)}")
    if recipe.resume and trainer.checkpoint is not None and trainer.checkpoint.is_file():
        trainer.resume()
        recipe.say(f"resumed after {trainer.run.epoch} epochs and {trainer.run.position} batches")
    else:
        own = program.init(seed=recipe.seed)
        trainer.start({k: params[k].copy() if k in params else a for k, a in own.items()})
    outcome = trainer.train()
    if out is not None and outcome.status != "interrupted":
        _leave(recipe, block, program, outcome, out)
    return outcome


def seed_of(seed: int, block: str) -> int:
    """An energy's own seed: what its units draw has their names, and two machines may have units of one name. Other draws have
    their block's name."""
    return crc32(f"{seed} {block}".encode())


def _leave(recipe: Recipe, block: Pretraining, program: Any, outcome: Outcome, out: Path) -> None:
    """The block's curve and its module."""
    write_curve(out / "curve.csv", outcome.run.history)
    draw_curve(out / "curve.png", outcome.run.history, block.system.name)
    recipe.files += [out / "curve.csv", program.save(out / program.filename)]


# ---------------------------------------------------------------- what a block is fed

def fed(recipe: Recipe, block: Pretraining, params: Arrays) -> Dataset:
    """The block's inputs for every example of the parts that its training reads: the model's own, and what the model computes.

    An energy's objective is an estimate with the gradient of the likelihood, and measures nothing: it is not validated.
    """
    same = {k: k for k in block.system.inputs if k in recipe.system.inputs and not k.startswith("lengths_")}
    same |= {k: e.name for k, e in block.feeds if isinstance(e, Input)}
    feeds = tuple((k, e) for k, e in block.feeds if k not in same)
    program = recipe.compile(system := feeding(recipe.system, replace(block, feeds=feeds))) if feeds else None
    parts: dict[str, Any] = {}
    for part in ("train",) if block.system.energy is not None else ("train", "validation"):
        if part not in recipe.data.parts:
            continue
        arrays = recipe.data.parts[part]
        parts[part] = {k: arrays[name] for k, name in same.items()}
        if program is not None:
            parts[part] |= _computed(program, system, params, arrays)
    return replace(recipe.data, parts=parts)


def _computed(program: Program, system: System, params: Arrays, arrays: Part) -> dict[str, Any]:
    """The outputs of a system over all examples; sequences of unequal length are cut to their own again."""
    pieces: dict[str, list[Any]] = {name: [] for name in system.outputs}
    for start in range(0, count(arrays), _ROWS):
        given = take(arrays, np.arange(start, min(start + _ROWS, count(arrays))))
        found = program.predict(params, **given)
        for name, values in pieces.items():
            axis = next((a for a in system.lengths if a in system.equations[name].axes), "")
            values.append(Ragged.of_dense(found[name], given[f"lengths_{axis}"], axis) if axis else found[name])
    return {name: _joined(values) for name, values in pieces.items()}


def _joined(pieces: list[Any]) -> Any:
    if not isinstance(pieces[0], Ragged):
        return np.concatenate(pieces)
    return Ragged.of([a.values[i:j] for a in pieces for i, j in zip(a.offsets[:-1], a.offsets[1:])], pieces[0].axis)


__all__ = ["Recipe", "checkpoints", "fed", "folder", "pretrained", "set_from_others"]
