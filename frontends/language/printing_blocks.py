"""The recipe of a system as text: its pretrain blocks, and the parameters that are set from others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from ...compiler.graph import Expr, Input
from ...compiler.recipe import Pretraining, Setting
from ...compiler.system import System

Lines = Callable[[System, tuple[str, ...], dict[str, str]], list[str]]


def recipe_text(system: System, text: Callable[[Expr], str], body: Lines) -> list[str]:
    """The lines of the recipe. `text` writes an expression of the model, `body` a block's own statements."""
    out: list[str] = []
    for stage in system.pretraining:
        if isinstance(stage, Setting):
            out.append(f"pretrain {stage.param} = {text(stage.value)}")
        else:
            named, own = _as_written(system, stage)
            feeds = {k: text(e) for k, e in stage.feeds if k in _units(named)}
            out += [f"pretrain {stage.name}:", *(f"    {line}" for line in body(named, own, feeds))]
    return out


def _units(system: System) -> set[str]:
    return {u.name for u in system.energy.layers} if system.energy else set()


def _as_written(model: System, block: Pretraining) -> tuple[System, tuple[str, ...]]:
    """The block's system in which every value of the model goes by the model's own name for it; the block's own equations."""
    named = {e: n for n, e in reversed(model.equations.items())}
    units = _units(block.system)
    back: dict[Expr, Input] = {
        block.system.inputs[k]: Input(named[e], e.axes, e.shape, e.type) for k, e in block.feeds if k not in units}
    system = block.system.rewrite({**back})
    inputs = {n.name: n for n in (back.get(i, i) for i in system.inputs.values())}
    earlier = {p for s in _before(model, block) for p in s.params}
    freeze = tuple(k for k in system.training.freeze if k not in earlier)
    own = tuple(k for k in system.equations if k not in model.equations)
    domains = {inputs_name(block, back, k): d for k, d in system.domains.items()}
    return replace(system, inputs=inputs, domains=domains, training=replace(system.training, freeze=freeze)), own


def inputs_name(block: Pretraining, back: dict[Expr, Input], name: str) -> str:
    """What the model calls an input of the block."""
    node = block.system.inputs[name]
    return back[node].name if node in back else name


def _before(model: System, block: Pretraining) -> Iterator[Pretraining]:
    for stage in model.pretraining:
        if stage is block:
            return
        if isinstance(stage, Pretraining):
            yield stage


__all__ = ["recipe_text"]
