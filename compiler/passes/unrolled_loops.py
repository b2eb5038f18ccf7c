"""Unrolled loops: the statements of several steps of time in one body.

Input    the statements of a function, after values were given their places (`memory.share`)
Output   the same statements with every loop's body k times, and a loop for the T % k steps that are left; or, for a `full`
         unroll at one length, every step written out

Steps follow each other in the loop's own direction. What lives for one step only is an array of its own in every copy
(`Array.original` is the one it stands for); everything else is the same array, read and written one step further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from ..graph import GraphError
from ..program import (
    Along,
    Array,
    Block,
    Call,
    Fixed,
    Function,
    Hot,
    Literal,
    Load,
    Loop,
    Scalar,
    Step,
    Stmt,
    View,
    flat,
    reads,
    writes,
)


def unroll_loops(function: Function, copies: int | str, steps: int | None = None) -> Function:
    """The function with `copies` steps in every loop's body; all `steps` of them, and no other number, for "full".

    GraphError where these are fewer than the function asks for.
    """
    if copies == 1 or not any(isinstance(s, Loop) for s in flat(function.body)):
        return function
    axes = dict.fromkeys(s.axis for s in flat(function.body) if isinstance(s, Loop))
    shared = _shared(function)
    if copies == "full":
        assert steps is not None
        for name, least in function.least.items():
            if steps < least:
                raise GraphError(f"the model reads a step that is there from {name} = {least} on, and {steps} are written out")
        body = _body(function.body, lambda loop: [_straight(loop, steps, shared)])
        return replace(function, body=body, lengths={x.upper(): steps for x in axes})
    k = int(copies)
    return replace(function, body=_body(function.body, lambda loop: [_main(loop, k, shared), _rest(loop, k)]))


def copied_arrays(function: Function) -> Iterator[Array]:
    """The arrays of single steps, each once, in the order of their writing."""
    written = (writes(s) for s in flat(function.body))
    yield from dict.fromkeys(v.array for v in written if v is not None and v.array.original is not None)


def _body(body: list[Stmt], change: Callable[[Loop], list[Stmt]]) -> list[Stmt]:
    out: list[Stmt] = []
    for s in body:
        if isinstance(s, Block):
            out.append(replace(s, body=_body(s.body, change)))
        else:
            out += change(s) if isinstance(s, Loop) else [s]
    return out


def _shared(function: Function) -> set[Array]:
    """What outlives a step: touched outside its loop, read before it is written, or written in pieces. For membership only."""
    home: dict[Array, Loop | None] = {}
    written: dict[Array, int] = {}
    out = {v.array for v in function.results.values()}

    def touch(s: Stmt, loop: Loop | None) -> None:
        target = writes(s)
        for v in reads(s):
            if loop is None or home.setdefault(v.array, loop) is not loop or v.array not in written:
                out.add(v.array)
        if target is not None:
            a = target.array
            written[a] = written.get(a, 0) + 1
            if loop is None or home.setdefault(a, loop) is not loop or written[a] > 1 or not target.whole:
                out.add(a)

    def walk(body: list[Stmt], loop: Loop | None) -> None:
        for s in body:
            if isinstance(s, (Block, Loop)):
                walk(s.body, s if isinstance(s, Loop) else loop)
            else:
                touch(s, loop)

    walk(function.body, None)
    return out | {a.home for a in written if a in out}


# ---------------------------------------------------------------- loops

def _main(loop: Loop, k: int, shared: set[Array]) -> Loop:
    order = range(k - 1, -1, -1) if loop.reverse else range(k)
    rounds: list[Stmt] = []
    for i, j in enumerate(order):
        heading = "" if i == 0 else f"{loop.axis} + {j}" if j else loop.axis
        rounds.append(_round(loop, j, None, f"_{j}", heading, i == 0, shared))
    return replace(loop, body=rounds, copies=k)


def _rest(loop: Loop, k: int) -> Loop:
    body: list[Stmt] = [_quiet(s) for s in loop.body]
    return replace(loop, body=body, rest=k)


def _straight(loop: Loop, steps: int, shared: set[Array]) -> Loop:
    order = range(steps - 1, -1, -1) if loop.reverse else range(steps)
    rounds: list[Stmt] = [_round(loop, 0, t, f"_{t}", f"{loop.axis} = {t}", i == 0, shared) for i, t in enumerate(order)]
    return replace(loop, body=rounds, copies=steps, straight=True)


def _round(loop: Loop, offset: int, step: int | None, suffix: str, heading: str, first: bool, shared: set[Array]) -> Block:
    """One step: `offset` further than the loop's variable, or the step of that number; the first is under its equations."""
    move = _Move(loop.axis, offset, step, suffix, shared)
    body: list[Stmt] = [_changed(s if first else _quiet(s), move) for s in loop.body]
    return Block((), body, heading=(heading,) if heading else ())


def _quiet(s: Stmt) -> Stmt:
    """A block without the equations above it."""
    return replace(s, heading=()) if isinstance(s, Block) else s


def _changed(s: Stmt, move: _Move) -> Stmt:
    if isinstance(s, Block):
        return replace(s, body=[_changed(x, move) for x in s.body])
    changes: dict[str, Any] = {f.name: move.value(getattr(s, f.name)) for f in fields(s)}
    return replace(s, **changes)


class _Move:
    """One step's statements, moved to another step."""

    def __init__(self, axis: str, offset: int, step: int | None, suffix: str, shared: set[Array]) -> None:
        self.axis, self.offset, self.step, self.suffix, self.shared = axis, offset, step, suffix, shared
        self.arrays: dict[Array, Array] = {}

    def value(self, x: object) -> object:
        if isinstance(x, View):
            return self.view(x)
        if isinstance(x, (Load, Hot, Step, Call)):
            return self.scalar(x)
        if isinstance(x, Fixed):
            return self.along(x)
        return x

    def view(self, v: View) -> View:
        return View(self.array(v.array), tuple(self.along(x) for x in v.along), v.dims)

    def along(self, x: Along | Fixed) -> Along | Fixed:
        if not isinstance(x, Fixed) or x.axis != self.axis:
            return x
        axis, step = (x.axis, self.offset) if self.step is None else (None, self.step)
        return Fixed(axis, x.offset + step, unrolled=True)

    def array(self, a: Array) -> Array:
        """The array of this step, where every step has its own."""
        if a in self.shared or a.home in self.shared or a.role != "value":
            return a
        if a not in self.arrays:
            home = None if a.storage is None else self.array(a.storage)
            self.arrays[a] = replace(a, storage=home, original=a, suffix=self.suffix)
        return self.arrays[a]

    def scalar(self, s: Scalar) -> Scalar:
        match s:
            case Load(v):
                return Load(self.view(v))
            case Call(f, args, kind):
                return Call(f, tuple(map(self.scalar, args)), kind)
            case Step(None, axis) if axis == self.axis:
                if self.step is not None:
                    return Literal(self.step)
                return Call("add", (s, Literal(self.offset))) if self.offset else s
            case Hot(v):
                return Hot(self.view(v))
        return s


__all__ = ["copied_arrays", "unroll_loops"]
