"""Run a program on numbers: slow, obvious, float64, in the very memory that its plan gives it.

Every statement is what its definition in `program` says, on whole arrays; the members of a nest come one after the other, as the
rules of nests allow. A value that another one overwrote too early is found by `verify_program`, whose machine this one extends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import random
from .interpret import REFERENCE, window_places
from .ops import PRIMITIVES
from .passes.memory import Plan
from .program import (
    BOOL,
    Call,
    Convolve,
    Copy,
    Correlate,
    Draw,
    Fill,
    Function,
    Hot,
    Kernel,
    Literal,
    Load,
    Pick,
    Pool,
    Product,
    Reduction,
    Refold,
    Scalar,
    Scatter,
    SizeOf,
    Step,
    Stmt,
    Take,
    Tap,
    Unfold,
    Unpool,
    View,
    Way,
    Winner,
    writes,
)
from .sizes import Size
from .verify_program import Machine

Values = NDArray[Any]
GROUPS = {"rows": 1, "each": -1}                                 # where a kernel has its groups; first in any other way


def run_program(function: Function, sizes: Mapping[str, int], given: Mapping[str, Any], plan: Plan | None = None,
                seed: int = 0, step: int = 0) -> dict[str, Values]:
    """The function's results and its carry; `given` holds params and inputs by name, with the axes that their arrays have here.

    `sizes`: every size and length that occurs. ProgramError where the program is not legal.
    """
    runner = _Runner(function, dict(sizes), plan or Plan(), given=given, seed=seed, draw=step)
    with np.errstate(all="ignore"):
        runner.run()
    return {k: runner.value(v) for k, v in (*function.results.items(), *function.carry.items())}


@dataclass
class _Runner(Machine):
    """The machine with a number in every cell."""

    given: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    draw: int = 0

    def prepare(self) -> None:
        super().prepare()
        self.memory = np.full(self.size, np.nan)
        for a in self.arrays:
            if a.role in ("param", "input"):
                self.memory[self.cells_of(a)] = np.asarray(self.given[a.name], float).reshape(-1)

    def statement(self, s: Stmt) -> None:
        super().statement(s)
        out = writes(s)
        assert out is not None
        cells = self.cells(out, "a result")
        self.memory[cells] = np.broadcast_to(self.computed(s), cells.shape)

    def value(self, v: View) -> Values:
        """A view's numbers; a step that a sequence does not have is 0."""
        cells, dims = self.cells(v, "a view"), self.numbers(v.dims)
        return np.zeros(dims) if cells.shape != dims else self.memory[cells]

    def numbers(self, dims: Sequence[Size]) -> tuple[int, ...]:
        """Dims at the lengths of this run."""
        return tuple(n.evaluate(self.env) for n in dims)

    def computed(self, s: Stmt) -> Values:
        """What a statement writes."""
        match s:
            case Kernel(dims, _, body):
                return self.scalar(body, dims)
            case Product(_, a, b, la, lb, lo):
                number = {k: i for i, k in enumerate(dict.fromkeys((*la, *lb)))}
                return np.asarray(np.einsum(self.value(a), [number[k] for k in la], self.value(b), [number[k] for k in lb],
                                            [number[k] for k in lo]))
            case Reduction(kind, _, a, over):
                if kind == "argmax":
                    return np.asarray(self.value(a).argmax(over[0]))
                return np.asarray(REFERENCE[kind](self.value(a), over))
            case Take(_, table, index):
                return np.asarray(self.value(table)[self.value(index).astype(int)])
            case Pick(_, a, index):
                return np.asarray(np.take_along_axis(self.value(a), self.value(index).astype(int)[..., None], -1)[..., 0])
            case Scatter(out, a, index):
                total = np.zeros(self.numbers(out.dims))
                np.add.at(total, self.value(index).astype(int), self.value(a))
                return total
            case Fill(_, value):
                return np.asarray(float(value))
            case Copy(out, a, flip):
                return np.flip(self.value(a), flip).reshape(self.numbers(out.dims))
            case Draw():
                return self.drawn(s)
        return self.windowed(s)

    def scalar(self, s: Scalar, dims: tuple[Size, ...]) -> Values:
        """A kernel's body at every index."""
        match s:
            case Literal(value):
                return np.asarray(float(value))
            case SizeOf(size):
                return np.asarray(float(size.evaluate(self.env)))
            case Load(v):
                return self.value(v)
            case Hot(v):
                return np.asarray(self.value(v) == np.arange(dims[-1].evaluate(self.env)), float)
            case Step(None, axis):
                return np.asarray(float(self.loop[axis]))
            case Step(dim, _):
                return np.asarray(np.indices(self.numbers(dims), sparse=True)[dim], float)  # type: ignore[index]
            case Call(f, args):
                return np.asarray(PRIMITIVES[f].reference(*(self.operand(a, dims) for a in args)))
        raise TypeError(s)

    def operand(self, s: Scalar, dims: tuple[Size, ...]) -> Values:
        """An operand of a primitive, truth values as such."""
        match s:
            case Load(v) if v.array.kind == BOOL:
                return self.value(v).astype(bool)
            case Literal(bool(value)):
                return np.asarray(value)
        return self.scalar(s, dims)

    def drawn(self, s: Draw) -> Values:
        """Random numbers; in a loop, those of its step."""
        dims = self.numbers(s.out.dims)
        at = 0 if s.at is None else s.at.offset + (self.loop[s.at.axis] if s.at.axis else 0)
        return random.draw(s.kind, s.key, dims, self.seed, self.draw, at * prod(dims))

    # ------------------------------------------------------------ images

    def windowed(self, s: Stmt) -> Values:
        """Statements on windows: where their elements stand is written down, and read or added up there."""
        match s:
            case Unfold(_, a, taps):
                return self.windows(self.value(a), taps)
            case Refold(out, a, taps):
                return self.folded(self.value(a), self.numbers(out.dims), taps)
            case Pool(_, kind, a, taps):
                seen = self.rows(self.windows(self.value(a), taps, -np.inf if kind == "max" else 0.0), taps)
                return np.asarray(seen.max(-1) if kind == "max" else seen.sum(-1))
            case Winner(_, a, _, taps):
                return np.asarray(self.rows(self.windows(self.value(a), taps, -np.inf), taps).argmax(-1))
            case Unpool(out, g, won, taps):
                sizes = self.numbers([t.k for t in taps])
                d = self.value(g)[..., None] * np.ones(prod(sizes))
                if won is not None:
                    d = d * (self.value(won)[..., None] == np.arange(prod(sizes)))
                return self.folded(self.beside(d.reshape(*d.shape[:-1], *sizes), taps), self.numbers(out.dims), taps)
            case Convolve(out, x, kernel, how):
                y = np.einsum("bigpc,gpco->bigo", self.patches(x, how), self.kernel(kernel, how))
                return np.asarray(y.reshape(self.numbers(out.dims)))
            case Correlate(out, x, g, how):
                seen = self.patches(x, how)
                return self.arranged(np.einsum("bigpc,bigo->gpco", seen, self.value(g).reshape(*seen.shape[:3], -1)), out, how)
        raise TypeError(s)

    def windows(self, a: Values, taps: tuple[Tap, ...], beyond: float = 0.0) -> Values:
        """Each tapped dim as two: windows, and their elements; `beyond` the padding."""
        for t in sorted(taps, key=lambda t: -t.dim):
            a = np.pad(a, [(t.lo, t.hi) if k == t.dim else (0, 0) for k in range(a.ndim)], constant_values=beyond)
            a = np.take(a, self.places(a.shape[t.dim], t), axis=t.dim)
        return a

    def places(self, n: int, t: Tap) -> Values:
        """Where the elements of the windows along a padded dim of n stand."""
        k = t.k.evaluate(self.env)
        return window_places((n - (k - 1) * t.dilation - 1) // t.stride + 1, k, t.stride, t.dilation)

    def folded(self, a: Values, dims: tuple[int, ...], taps: tuple[Tap, ...]) -> Values:
        """Windows, each tapped dim as two, added up where they came from."""
        by = {t.dim: t for t in taps}
        padded = [n + by[k].lo + by[k].hi if k in by else n for k, n in enumerate(dims)]
        index = np.arange(prod(padded)).reshape(padded)
        for t in sorted(taps, key=lambda t: -t.dim):
            index = np.take(index, self.places(padded[t.dim], t), axis=t.dim)
        total = np.zeros(prod(padded))
        np.add.at(total, index, a)
        return total.reshape(padded)[tuple(slice(by[k].lo, by[k].lo + n) if k in by else slice(None) for k, n in enumerate(dims))]

    def rows(self, a: Values, taps: tuple[Tap, ...]) -> Values:
        """Windows with all of their elements in the last dim."""
        inner = [t.dim + sum(u.dim < t.dim for u in taps) + 1 for t in taps]
        a = np.moveaxis(a, inner, range(a.ndim - len(inner), a.ndim))
        return a.reshape(*a.shape[:-len(inner)], -1)

    def beside(self, a: Values, taps: tuple[Tap, ...]) -> Values:
        """Elements of windows from the last dims to where each stands beside its window."""
        inner = [t.dim + sum(u.dim < t.dim for u in taps) + 1 for t in taps]
        return np.moveaxis(a, range(a.ndim - len(inner), a.ndim), inner)

    def patches(self, x: View, how: Way) -> Values:
        """The windows of an image as (examples, places, groups, elements, channels of a group)."""
        groups = how.groups.evaluate(self.env)
        a = self.rows(self.windows(self.value(x), how.taps), how.taps)
        return np.moveaxis(a.reshape(len(a), -1, groups, a.shape[-2] // groups, a.shape[-1]), -1, -2)

    def kernel(self, v: View, how: Way) -> Values:
        """A kernel as (groups, elements, channels, results); its way says where the groups stand."""
        k = self.value(v)
        if k.ndim < len(how.taps) + 3:                           # one group is left out
            k = k[None]
        elif how.name in GROUPS:
            k = np.moveaxis(k, GROUPS[how.name], 0)
        return k.reshape(len(k), -1, *k.shape[-2:])

    def arranged(self, k: Values, out: View, how: Way) -> Values:
        """The other way round."""
        k = k.reshape(len(k), *self.numbers([t.k for t in how.taps]), *k.shape[-2:])
        return k[0] if len(out.dims) < k.ndim else np.moveaxis(k, 0, GROUPS.get(how.name, 0))


__all__ = ["run_program"]
