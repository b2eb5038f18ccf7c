"""What a legal program is. Run over every function in tests; the error names the statement and the arrays.

1. Views fit: one entry a buffer dim, each output dim named at most once, loop variables of loops around; symbolically within
   their arrays for every length that the statement allows.
2. Statements fit: a kernel's body has the arity and kinds of its primitives and the dims of its output; products, reductions
   and moves have the dims that their operands give them.
3. By running the statements on the numbers of cells, at several lengths: what is read was written before, by the array that is
   read and by no other in the same memory since (storage sharing, slots and scratch arrays included); inside a statement no
   element is overwritten before another one reads it; parameters and inputs are not written; nothing is written twice but over
   a fill that nobody has read, or step by step in a loop; no value stays a constant; every result is written whole.
4. The rows of a nest do not depend on each other: see `nest_rules`.

Not checked: what the numbers are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graph import GraphError
from .nest_rules import check_nest, check_rows
from .passes.fusion import added_up
from .passes.memory import Plan
from .program import Array, Block, Fill, Fixed, Function, Kernel, Loop, Nest, Stmt, View, reads, writes
from .statement_rules import check_statement, describe

Cells = NDArray[np.int64]
STEPS = (4, 1)                                           # the lengths of time axes at which statements are run


class ProgramError(GraphError):
    """A program that breaks a rule."""


def verify_program(function: Function, sizes: Mapping[str, int], plan: Plan | None = None,
                   steps: tuple[int, ...] = STEPS) -> Function:
    """The function itself, if it is legal at the declared `sizes`, in the memory of `plan` where one is given.

    The batch and sequences are given the lengths `steps`, one after the other. ProgramError otherwise.
    """
    for s, axes in _nested(function.body, ()):
        try:
            check_statement(s, axes)
        except GraphError as error:
            raise ProgramError(f"{function.name}: {describe(s)}: {error}") from None
    _names(function)
    _constants(function)
    for n in steps:
        Machine(function, {**_lengths(function, n), **sizes}, plan or Plan()).run()
    return function


def _names(function: Function) -> None:
    """Two arrays of one name are kept in one place: printed, they are one variable."""
    homes: dict[str, Array] = {}
    for s, _ in _nested(function.body, ()):
        for v in (*reads(s), writes(s)):
            if v is not None and v.array.name and homes.setdefault(v.array.name, v.array.home) is not v.array.home:
                raise ProgramError(f"{function.name}: {describe(s)}: two arrays are called {v.array.name}")


def _nested(body: list[Stmt], axes: tuple[str, ...]) -> Iterator[tuple[Stmt, tuple[str, ...]]]:
    """Every statement with the axes of the loops around it."""
    for s in body:
        if isinstance(s, (Block, Loop, Nest)):
            yield from _nested(s.body, (*axes, s.axis) if isinstance(s, Loop) else axes)
        else:
            yield s, axes


def _lengths(function: Function, steps: int) -> dict[str, int]:
    """Lengths that no declaration fixes: distinct for distinct axes, so that a mix-up shows."""
    views = [v for x, _ in _nested(function.body, ()) for v in (*reads(x), writes(x)) if v is not None]
    symbols = {s for v in (*views, *function.results.values())
               for n in (*v.dims, *v.array.dims) for s in n.symbols}
    found = sorted(s for s in symbols if s.isidentifier())
    return {**{s: 1 if steps == 1 else steps + k for k, s in enumerate(found)}, **function.lengths}


def _constants(function: Function) -> None:
    """What only fills write is no value: a number stands in its readers."""
    written: dict[Array, list[Stmt]] = {}
    for s, _ in _nested(function.body, ()):
        out = writes(s)
        if out is not None and out.array.role == "value":
            written.setdefault(out.array, []).append(s)
    for found in written.values():
        if all(isinstance(s, Fill) for s in found):
            raise ProgramError(f"{function.name}: {describe(found[0])}: nothing else writes this value")


@dataclass
class Machine:
    """Memory in which every cell knows the array that wrote it last, and by which statement."""

    function: Function
    env: dict[str, int]
    plan: Plan
    base: dict[Array, int] = field(default_factory=dict)         # home -> its first cell
    size: int = 0
    arrays: list[Array] = field(default_factory=list)
    number: dict[Array, int] = field(default_factory=dict)
    loop: dict[str, int] = field(default_factory=dict)           # loop variables
    step: int = 0                                                # 0 outside loops, else how many steps have begun
    steps: int = 0

    def run(self) -> None:
        """Run all statements, then look at the results."""
        self.prepare()
        self._body(self.function.body)
        for key, v in (*self.function.results.items(), *self.function.carry.items()):
            self._readable(v, f"the result {key}")
            if v.array.role == "result":
                self._readable(v, f"the result {key}", self.cells_of(v.array))

    def prepare(self) -> None:
        """Nothing is written yet but parameters and inputs."""
        self._place()
        self.owner = np.full(self.size, -1, np.int64)            # the array that a cell belongs to
        self.when = np.full(self.size, -1, np.int64)             # the step of a loop in which it was written; 0 outside loops
        self.ground = np.zeros(self.size, bool)                  # it holds a fill: may be written over
        self.place = np.full(self.size, -1, np.int64)            # for comparing sets of cells; -1 between comparisons
        self.seen = np.zeros(self.size, bool)                    # it was read since it was written
        for a in list(self.number):
            if a.role in ("param", "input"):
                self.owner[self.cells_of(a)] = self.number[a]
        looped = (writes(s) for s, axes in _nested(self.function.body, ()) if axes)
        self.stepwise = {v.array for v in looped if v is not None and not any(isinstance(x, Fixed) and x.axis for x in v.along)}

    # ------------------------------------------------------------ memory

    def _place(self) -> None:
        """A place for every array: its slot's, or its own."""
        slots: list[tuple[list[Array], int]] = []
        for slot in self.plan.slots:
            held = [a for a, _, _ in slot.members]
            room = max((s.evaluate(self.env) for s in slot.sizes), default=0)
            for a in held:
                if self._count(a) > room:
                    raise ProgramError(f"{self.function.name}: {a.name or 'an array'} has more elements than its slot")
                if {a.kind} != {slot.kind}:
                    raise ProgramError(f"{self.function.name}: {a.name or 'an array'} is {a.kind}, its slot {slot.kind}")
            slots.append((held, room))
        for held, room in slots:
            for a in held:
                self.base[a] = self.size
            self.size += room
        for v in self._views():
            self._array(v.array)

    def _views(self) -> Iterator[View]:
        for s, _ in _nested(self.function.body, ()):
            yield from (v for v in (*reads(s), writes(s)) if v is not None)
        yield from (*self.function.results.values(), *self.function.carry.values())

    def _array(self, a: Array) -> None:
        if a in self.number:
            return
        self.number[a] = len(self.arrays)
        self.arrays.append(a)
        home = a.home
        if home.kind != a.kind or self._count(home) != self._count(a):
            raise ProgramError(f"{self.function.name}: {a.name} is kept in {home.name}, which has another form")
        if home not in self.base:
            self.base[home] = self.size
            self.size += self._count(home)

    def _count(self, a: Array) -> int:
        return prod(d.evaluate(self.env) for d in a.dims)

    def cells_of(self, a: Array) -> Cells:
        start = self.base[a.home]
        return np.arange(start, start + self._count(a))

    def cells(self, v: View, what: str) -> Cells:
        """The memory cells of a view, one for each index of its dims."""
        dims = [d.evaluate(self.env) for d in v.dims]
        if min(dims, default=0) < 0:
            raise self._error(what, f"views {v.array.name or 'an array'} with the dims {tuple(dims)}")
        shape = [d.evaluate(self.env) for d in v.array.dims]
        out: Any = np.full(dims, self.base[v.array.home], np.int64)
        stride = prod(shape)
        for x, n in zip(v.along, shape, strict=True):
            stride //= max(n, 1)
            if isinstance(x, Fixed):
                at: Any = x.offset + (self.loop[x.axis] if x.axis else n if x.end else 0)
                low = high = at
            else:
                low = x.offset.evaluate(self.env)
                high = low + dims[x.dim] - 1
                at = np.arange(low, high + 1).reshape([-1 if k == x.dim else 1 for k in range(len(dims))])
            if isinstance(x, Fixed) and x.axis is None and not 0 <= at < n:
                return np.empty((0,), np.int64)                  # a step that the sequence does not have: it reads as zero
            if out.size and not 0 <= low <= high < n:
                raise self._error(what, f"reaches {v.array.name or 'an array'} at {low}..{high} of {n}")
            out = out + at * stride
        return out  # type: ignore[no-any-return]

    # ------------------------------------------------------------ statements

    def _body(self, body: list[Stmt]) -> None:
        for s in body:
            if isinstance(s, Block):
                self._body(s.body)
            elif isinstance(s, Loop):
                for t in s.starts(self.env[s.axis.upper()]):
                    for one in s.body if s.copies > 1 or s.straight else [Block((), s.body)]:
                        self.steps += 1
                        self.loop[s.axis], self.step = t, self.steps
                        self._body([one])
                self.step = 0
                self.loop.clear()
            elif isinstance(s, Nest):
                self._nest(s)
            else:
                self.statement(s)

    def _nest(self, s: Nest) -> None:
        """Its rows, then its members; what they add up starts from zero before."""
        try:
            check_nest(s)
        except GraphError as error:
            raise self._error("a nest", str(error)) from None
        if broken := check_rows(s, lambda v: self.cells(v, "a nest"), self.size):
            raise self._error(describe(broken[0]), broken[1])
        for m in s.body:
            if added_up(m):
                out = writes(m)
                assert out is not None
                self.statement(Fill(out, 0))
        for m in s.body:
            self.statement(m)

    def statement(self, s: Stmt) -> None:
        """Run a statement that holds no others."""
        what = describe(s)
        out = writes(s)
        assert out is not None
        target = self.cells(out, what)
        read = [self._readable(v, what) for v in reads(s)]
        if out.array.role in ("param", "input"):
            raise self._error(what, f"writes the {out.array.role} {out.array.name}")
        for cells in read:
            self._apart(s, target, cells, what)
        for a in self.plan.scratch.get(id(s), []):
            if a in self.base:
                self._scratch(a, target, read, what)
        self._once(out, target, what)
        self.owner[target] = self.number[out.array]
        self.when[target], self.seen[target] = self.step, False
        self.ground[target] = isinstance(s, Fill)

    def _readable(self, v: View, what: str, cells: Cells | None = None) -> Cells:
        """The cells of a view that is read: all of them written, by this array, and by no other since."""
        cells = self.cells(v, what) if cells is None else cells
        owners = self.owner[cells]
        for k in owners[owners != self.number[v.array]].tolist()[:1]:
            name = v.array.name or "an array"
            other = "" if k < 0 else self.arrays[k].name or "another array" if k < len(self.arrays) else "a scratch array"
            raise self._error(what, f"reads {name}, of which a part is {f'overwritten by {other}' if other else 'not written'}")
        self.seen[cells] = True
        return cells

    def _apart(self, s: Stmt, target: Cells, cells: Cells, what: str) -> None:
        """In one statement, memory that is read and written is read at the very index that writes it, and only by a kernel."""
        met = self._met(target, cells)
        if (met < 0).all():
            return
        if not isinstance(s, Kernel) or cells.shape != target.shape:
            raise self._error(what, "writes over what it reads")
        if ((met >= 0) & (met != np.arange(target.size))).any():
            raise self._error(what, "writes elements that it has yet to read at another index")

    def _met(self, target: Cells, cells: Cells) -> Cells:
        """For each cell the index in `target` at which it stands, or -1."""
        self.place[target.reshape(-1)] = np.arange(target.size)
        met = self.place[cells.reshape(-1)]
        self.place[target.reshape(-1)] = -1
        return met

    def _scratch(self, a: Array, target: Cells, read: list[Cells], what: str) -> None:
        cells = self.cells_of(a)
        if any((self._met(cells, other) >= 0).any() for other in (target, *read)):
            raise self._error(what, f"its scratch array {a.name} lies in the memory of its operands or its output")
        self.owner[cells] = len(self.arrays)

    def _once(self, out: View, target: Cells, what: str) -> None:
        """No element is written twice, but over a fill, or in a later step where a value is kept one step only."""
        if (self._met(target, target) != np.arange(target.size)).any():
            raise self._error(what, "writes an element twice")
        own = self.owner[target] == self.number[out.array]
        fresh = self.ground[target] | (self.when[target] != self.step) & (out.array in self.stepwise)
        if (own & ~fresh).any():
            raise self._error(what, f"writes {out.array.name or 'an array'} a second time")
        if not self.step and (own & self.seen[target]).any():
            raise self._error(what, f"writes {out.array.name or 'an array'} after it was read")

    def _error(self, what: str, message: str) -> ProgramError:
        at = "".join(f" at {k} = {v}" for k, v in self.loop.items())
        return ProgramError(f"{self.function.name}: {what}{at}: it {message}")
