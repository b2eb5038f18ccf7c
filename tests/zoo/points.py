"""Systems with a point at which to compute them, and what the reference interpreter says there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from chainrule.compiler.derivatives import grad
from chainrule.compiler.graph import BATCH, BOOL, REAL, Broadcast, Const, Expr, Map, apply, symbol, total
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.ops import PRIMITIVES
from chainrule.compiler.passes.evaluation import evaluation
from chainrule.compiler.passes.lengths import masked
from chainrule.compiler.shortest import shortest
from chainrule.compiler.system import System, lengths_input
from chainrule.frontends.language import parse
from zoo import examples, language_time, library, ragged
from zoo.build import LENGTHS, Model, values
from zoo.catalogue import ZOO
from zoo.chunked import CHUNKED

SEED = (7, 3)


@dataclass
class Point:
    """A system; its parameters; its inputs, time first as in the graph."""

    system: System
    params: dict[str, Any]
    inside: dict[str, Any]
    lengths: dict[str, int] = field(default_factory=dict)

    def inputs(self, program: Any) -> dict[str, Any]:
        """As a caller gives them: the batch first, and lengths that no input tells."""
        free = {n for f in program.compiled.functions.values() for n in f.free}
        return {k: np.moveaxis(v, len(self.system.inputs[k].axes) - 1, 0) if BATCH in self.system.inputs[k].axes else v
                for k, v in self.inside.items()} | {k: n for k, n in self.lengths.items() if k in free}

    def expected(self) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Objective, gradients, and outputs in evaluation mode, by the reference interpreter."""
        whole, given = masked(self.system), {**self.params, **self.inside}
        trained = self.system.trained()
        extended, grads = grad(whole, whole.objective(), [self.system.params[k].node for k in trained])
        loss, *found = evaluate(extended, [whole.objective(), *grads], given, self.lengths, *SEED)
        quiet = masked(evaluation(self.system))
        roots = [quiet.equations[o] for o in self.system.outputs]
        outputs = evaluate(quiet, roots, given, self.lengths)
        outside = (self.outside(e, v) for e, v in zip(roots, outputs, strict=True))
        return loss, dict(zip(trained, found, strict=True)), dict(zip(self.system.outputs, outside, strict=True))

    def outside(self, e: Expr, v: Any) -> Any:
        """An output as a caller gets it: the batch first, 0 beyond an example's end."""
        times = tuple(axis for axis in e.axes if axis != BATCH)
        ends = [lengths_input(axis).name for axis in times if axis in self.system.lengths]
        if BATCH not in e.axes:
            if not ends:
                return v
            v = np.repeat(np.expand_dims(v, len(times)), len(self.inside[ends[0]]), len(times))
        v = np.moveaxis(v, len(times), 0)
        for k, axis in enumerate(times):
            if axis in self.system.lengths:
                inside = np.arange(v.shape[k + 1]) < self.inside[lengths_input(axis).name][:, None]
                v = np.where(inside.reshape(len(v), *(1,) * k, -1, *(1,) * (v.ndim - k - 2)), v, 0)
        return v


def drawn(system: System, lengths: dict[str, int]) -> Point:
    """Random values that fit."""
    at = values(system, lengths)
    return Point(system, {k: at[k] for k in (*system.params, *system.stats)}, {k: at[k] for k in system.inputs}, lengths)


def example(name: str) -> Point:
    """An example at small sizes."""
    system = examples.small(name)
    params, _, inside = examples.at(system)
    lengths = {"B": examples.BATCH_SIZE, "T": examples.TIME, "S": examples.TIME}
    return Point(system, params, inside, {k: n for k, n in lengths.items() if k not in system.sizes})


def with_lengths(name: str) -> Point:
    """Examples of their own lengths; what stands in the padding is finite here, as the interpreter has no memory of lengths."""
    system = ragged.model(name)[0]
    at = {k: np.nan_to_num(np.asarray(v)) for k, v in ragged.ragged_values(system).items()}
    inside = {k: np.moveaxis(at[k], 0, len(n.axes) - 1) if BATCH in n.axes else at[k] for k, n in system.inputs.items()}
    params = {k: v for k, v in values(system, ragged.SIZES).items() if k not in system.inputs}
    return Point(system, params, inside, ragged.SIZES)


def primitives() -> Point:
    """Every primitive of real operands in one model, on parameters of its domain: the gradient reads all their derivatives."""
    m, rng, at = Model("primitives", N=6), np.random.default_rng(0), dict[str, Any]()
    x = m.input("x", "N")
    loss: Expr = total(x * 0)
    for name, p in PRIMITIVES.items():
        args: list[Expr] = []
        for k, (lo, hi) in enumerate(p.domain):
            if lo == hi:
                args.append(Broadcast(Const(int(lo)), (), (symbol("N"),), ()))
                continue
            args.append(m.param(f"{name}_{k}", "N"))
            at[f"{name}_{k}"] = rng.uniform(lo, hi, 6)
            if name in ("and", "or", "not", "real") or (name, k) == ("select", 0):
                args[-1] = args[-1] > (lo + hi) / 2
        value = Map(name, tuple(args))
        value = value if value.type == REAL else apply("real", value) if value.type == BOOL else value
        loss = loss + total(value * apply("sin", x + len(at)))
    return Point(m.loss(loss), at, {"x": rng.normal(size=(3, 6))}, {"B": 3})


def at_one_step(system: System) -> Point:
    """Sequences of one step, or of as few as the model asks for."""
    return drawn(system, {**LENGTHS, "T": 1, "S": 1, **shortest(system, system.lengths)})


CASES: dict[str, Callable[[], Point]] = {
    "every primitive": primitives,
    **{f"{k} at one step": lambda k=k: at_one_step(ZOO[k]()) for k in ZOO},
    **{f"chunked {f.__name__}": lambda f=f: drawn(f(), LENGTHS) for f in CHUNKED},
    **{f"example {k}": lambda k=k: example(k) for k in examples.LOSSES},
    **{f"time {k}": lambda k=k: drawn(parse(language_time.MODELS[k]), {"B": 2, "T": 4, "S": 3}) for k in language_time.MODELS},
    **{f"fragment {k}": lambda k=k: drawn(parse(library.text(k)), LENGTHS) for k in library.FRAGMENTS},
    **{f"lengths {k}": lambda k=k: with_lengths(k) for k in ragged.MODELS},
}


@cache
def point(name: str) -> Point:
    """The point of a case."""
    return CASES[name]()


@cache
def expected(name: str) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Its values."""
    with np.errstate(all="ignore"):
        return point(name).expected()
