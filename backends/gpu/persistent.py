"""Loops over time that run in one launch: which statements of a loop each block does, and where blocks wait for each other.

Blocks stand in groups. A group does its own examples, from the first step to the last; in it, each block does its own units:
of every dim of k U elements those of `member*share <= i % U < (member + 1)*share`. So what one gate's units need of another's
stays in one block. What has no units, as the mean of a layer, each block computes for itself.

    statement   how its elements are shared out (`Split`); all gates of a unit of an example are one thread's: no barrier there
    array       register | shared memory of the block, its own units | shared memory, all of it | global memory
    barrier     before a statement: none, of the block, of the group; by what its data touch since the last one, steps included

Input    a `Loop` of statements; refused with a reason where a statement mixes examples, or has no such form
Output   `Recurrence`; `persistent_text` prints it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import cast

from ...compiler.passes.rows import on_views
from ...compiler.program import (
    REAL,
    Along,
    Array,
    Call,
    Draw,
    Fixed,
    Kernel,
    Load,
    Loop,
    Pick,
    Product,
    Reduction,
    Scalar,
    Stmt,
    Take,
    View,
    flat,
    reads,
    view,
    writes,
)
from ...compiler.sizes import Size
from .persistent_form import (
    BLOCK,
    EACH,
    GROUP,
    NONE,
    Again,
    Apart,
    Recurrence,
    Split,
    Touch,
    beside,
    fixed_dims,
    joined,
    kept_dims,
    space,
    views,
)
from .persistent_order import gathered
from .persistent_plain import examples, opened, plain, turned

FEW = 16                                                         # gates of a cell, at most


def recurrence(loop: Loop, body: list[Stmt], kept: Collection[Array], loose: Collection[Array],
               sizes: Mapping[str, int]) -> Recurrence:
    """The loop in one launch. `body`: the whole function; `kept`: what its caller gets; `loose`: values without storage. Apart
    says why there is none.
    """
    if loop.copies != 1 or loop.straight or loop.rest != 1:
        raise Apart("it is unrolled")
    steps = [plain(s) for s in opened(loop.body)]
    made = Recurrence(loop, steps, examples(steps, sizes))
    _Planner(made, body, kept, loose, sizes).plan()
    return made


class _Planner:
    """Plans one loop."""

    def __init__(self, made: Recurrence, body: list[Stmt], kept: Collection[Array], loose: Collection[Array],
                 sizes: Mapping[str, int]) -> None:
        self.made, self.kept, self.loose, self.sizes = made, kept, loose, sizes
        self.everywhere = Counter(v.array for s in flat(body) if not isinstance(s, Loop) for v in views(s))
        homes = Counter(a.home for a in self.everywhere)
        inside = Counter(v.array for s in made.body for v in views(s) if writes(s) is not None)
        self.alone = {a for a, n in inside.items() if a.role == "value" and a not in kept and a.storage is None
                      and homes[a] == 1 and n == self.everywhere[a]}             # that the rest of the function does not touch
        self.batch = made.batch

    def plan(self) -> None:
        """Splits, places, barriers."""
        made = self.made
        self.written = {views(s)[-1].array.home for s in made.body}
        made.weights = [turned(s, self.batch, self.written) for s in made.body if isinstance(s, Product)]
        products = iter(made.weights)
        made.body = [next(products) if isinstance(s, Product) else s for s in made.body]
        made.splits = [self._split(s) for s in made.body]
        made.units = [*dict.fromkeys(x.of for x in made.splits if x.dim is not None)]
        for s in made.body:
            self._by_example(s)
        for k, how in enumerate(made.splits):
            if how.dim is None:
                self._copied(k)
        made.barriers = self._barriers()
        self._again()
        self._gather()
        self._places()
        made.barriers = self._barriers()

    # ------------------------------------------------------------ splits

    def known(self, n: Size) -> int | None:
        """A size as a number, where the model gives it."""
        return None if {*n.symbols} - {*self.sizes} else n.evaluate(self.sizes)

    def _split(self, s: Stmt) -> Split:
        """The last dim of the result beside the examples, in parts as long as the products' units where it has such."""
        out = views(s)[-1]
        dims = [d for d, n in enumerate(out.dims) if n != self.batch]
        if not dims:
            return Split(None, self.batch)
        d = dims[-1]
        n = self.known(out.dims[d])
        along = next((x for x in out.along if isinstance(x, Along) and x.dim == d), None)
        if along is None:
            raise Apart(f"{out.array.name or 'a value'} is repeated along a dim")
        for unit in self._candidates():
            u, start = self.known(unit), self.known(along.offset)
            if u and n and n % u == 0 and start is not None and start % u == 0:
                return Split(d, unit, n // u)
        return Split(d, out.dims[d])

    def _candidates(self) -> list[Size]:
        """Numbers of units that products and gates have, the one that divides most of them first."""
        lengths = [views(s)[-1].dims[-1] for s in self.made.body if views(s)[-1].dims[-1] != self.batch]
        numbers = {n: k for n in lengths if (k := self.known(n))}
        most = max(numbers.values(), default=0)
        return sorted((u for u in numbers if FEW * numbers[u] >= most), key=lambda u: (
            -sum(numbers.get(n, 1) % numbers[u] == 0 for n in lengths), -numbers[u]))

    def _by_example(self, s: Stmt) -> None:
        """Refuse what reads what the loop computes for other examples."""
        for v in views(s):
            at = [x for x, n in zip(v.along, v.array.dims, strict=True) if n == self.batch]
            if v.array.home in self.written and (len(at) != 1 or not isinstance(at[0], Along) or v.dims[at[0].dim] != self.batch):
                raise Apart(f"{v.array.name or 'a value'} is read at other examples")

    # ------------------------------------------------------------ barriers

    def owner(self, s: Stmt, split: Split, v: View) -> object:
        """Which block touches an element: that of the unit along a dim of the array; None: any."""
        if split.dim is None or (isinstance(s, Product) and v is s.a):
            return None
        dim = split.dim if isinstance(s, EACH) or v is views(s)[-1] else kept_dims(s)[split.dim]
        if isinstance(s, (Take, Pick)) and v is reads(s)[0]:
            return None
        for k, x in enumerate(v.along):
            if isinstance(x, Along) and x.dim == dim:
                start, u = self.known(x.offset), self.known(split.of)
                whole = start == 0 or (start is not None and u is not None and start % u == 0)
                return (k, split.of, v.array.dims) if whole else None
        return None

    def _touches(self, k: int, step: int) -> Iterator[Touch]:
        s, split = self.made.body[k], self.made.splits[k]
        each = isinstance(s, EACH)
        for v in views(s):
            if v.array.home in self.written and v.array not in self.made.registers:
                owner, threads = self.owner(s, split, v), cast(object, k)
                if each and not (isinstance(s, (Take, Pick)) and v is reads(s)[0]):
                    threads = split.of if owner is not None and len(space(s)) == 2 else (space(s), split, v.along)
                yield Touch(v, v is views(s)[-1], owner, threads, step)
        if (stored := self.made.stored.get(views(s)[-1].array)) is not None:
            yield Touch(stored, True, "the first block", k, step)

    def _barriers(self) -> list[int]:
        """What stands before each statement: found by going through three steps until nothing more is missing."""
        made = self.made
        found = [NONE] * len(made.body)
        while True:
            before, pending = [*found], list[Touch]()
            for step in range(3):
                for k, s in enumerate(made.body):
                    now = [*self._touches(k, -step if made.loop.reverse else step)]
                    found[k] = max([found[k], *(self._between(x, y) for x in pending for y in now)])
                    if found[k] == GROUP:
                        pending = []
                    elif found[k] == BLOCK:
                        pending = [replace(x, met=True) for x in pending]
                    pending += [replace(x, met=isinstance(s, Product)) for x in now]
            if found == before:
                return found

    def _gather(self) -> None:
        """Another order of the statements, where it saves a barrier, of the group or else of the block."""
        made, before = self.made, (self.made.body, self.made.splits, self.made.barriers)
        order = gathered([[*self._touches(k, 0)] for k in range(len(made.body))], self._between, self._shared,
                         lambda j, k: joined(made, j, k))
        made.body, made.splits = [made.body[k] for k in order], [made.splits[k] for k in order]
        made.barriers = self._barriers()
        if [made.barriers.count(x) for x in (GROUP, BLOCK)] >= [before[2].count(x) for x in (GROUP, BLOCK)]:
            made.body, made.splits, made.barriers = before

    def _shared(self, x: Touch, y: Touch) -> bool:
        """Whether two touches may be of one element that one of them writes."""
        return x.view.array.home is y.view.array.home and (x.written or y.written) and not self._apart(x, y)

    def _between(self, x: Touch, y: Touch) -> int:
        """The barrier that must stand between two touches."""
        if not self._shared(x, y):
            return NONE
        private = x.view.array in self.made.private
        if not private and (x.owner is None or x.owner != y.owner):
            return GROUP
        return NONE if x.threads == y.threads or x.met else BLOCK

    def _apart(self, x: Touch, y: Touch) -> bool:
        """Whether two touches certainly have no element in common: other steps, or other parts."""
        if x.view.array.dims != y.view.array.dims:
            return False
        for p, q in zip(x.view.along, y.view.along, strict=True):
            if isinstance(p, Fixed) and isinstance(q, Fixed):
                if p.axis == q.axis == self.made.loop.axis and x.step + p.offset != y.step + q.offset:
                    return True
                if p.axis is q.axis is None and p.end == q.end and p.offset != q.offset:
                    return True
            elif isinstance(p, Along) and isinstance(q, Along):
                low, n = self.known(p.offset), self.known(x.view.dims[p.dim])
                other, m = self.known(q.offset), self.known(y.view.dims[q.dim])
                if None not in (low, n, other, m) and (low + n <= other or other + m <= low):    # type: ignore[operator]
                    return True
        return False

    # ------------------------------------------------------------ what is cheaper computed again than handed over

    def _again(self) -> None:
        """Reductions of what was computed since the last barrier compute it themselves, where that saves a barrier."""
        made = self.made
        for k, s in enumerate(made.body):
            before = [j for j in range(k) if made.barriers[j] == GROUP]
            if type(s) is Reduction and made.barriers[k] == GROUP and before:
                body = self._computed(Load(s.a), s.a.dims, before[-1], k)
                if body != Load(s.a):
                    made.body[k] = Again(s.kind, s.out, s.a, s.over, body)
                    barriers = self._barriers()
                    if barriers.count(GROUP) < made.barriers.count(GROUP):
                        made.barriers = barriers
                    else:
                        made.body[k] = s
        used = {v.array for s in made.body for v in views(s)[:-1]}
        left = [k for k, s in enumerate(made.body) if views(s)[-1].array in used or views(s)[-1].array not in self.alone]
        made.body, made.splits = [made.body[k] for k in left], [made.splits[k] for k in left]
        made.barriers = self._barriers()

    def _computed(self, s: Scalar, dims: tuple[Size, ...], first: int, last: int) -> Scalar:
        """A scalar in terms of what was there before statement `first`, as far as later ones compute element by element."""
        if isinstance(s, Call):
            return replace(s, args=tuple(self._computed(x, dims, first, last) for x in s.args))
        if isinstance(s, Load):
            made = [x for x in self.made.body[first:last] if views(x)[-1].array is s.view.array]
            if len(made) == 1 and isinstance(made[0], Kernel) and space(made[0]) == dims and made[0].out.along == s.view.along \
                    and s.view.array in self.alone and s.view.array not in self.made.private:
                return self._computed(made[0].body, dims, first, last)
        return s

    # ------------------------------------------------------------ where values stand

    def _places(self) -> None:
        """Values of one step alone: in registers, in the block's memory, or where blocks hand them over."""
        made = self.made
        for k in range(len(made.body)):
            s = made.body[k]
            a = views(s)[-1].array
            if made.splits[k].dim is None:
                continue
            if self._temporary(a):
                runs = {self._run(j) for j, x in enumerate(made.body) if a in {v.array for v in views(x)}}
                along = {v.along for x in made.body for v in views(x) if v.array is a}
                owners = {self.owner(x, made.splits[j], v) for j, x in enumerate(made.body) for v in views(x) if v.array is a}
                if len(runs) == 1 and len(along) == 1 and isinstance(s, (Kernel, Take, Pick, Draw)):
                    made.registers.add(a)
                elif len(owners) == 1 and self._fits(a, *owners) and a.kind == REAL:
                    dim, of = cast(tuple[int, Size, object], owners.pop())[:2]
                    made.own[a] = (dim, of, (self.known(a.dims[dim]) or 0) // (self.known(of) or 1))
                elif a in self.loose:
                    self._handed_over(a)
            elif a in self.loose:
                raise Apart(f"{a.name or 'a value'} goes from one step to the next inside a row")

    def _run(self, k: int) -> int:
        """The first of the statements that share a loop with this one."""
        while k > 0 and self.made.barriers[k] == NONE and joined(self.made, k - 1, k):
            k -= 1
        return k

    def _fits(self, a: Array, owner: object) -> bool:
        """Whether the array's part of a block has a known size."""
        return owner is not None and self.known(owner[1]) is not None and all(  # type: ignore[index]
            self.known(n) is not None for _, n in beside(self.made, a))

    def _temporary(self, a: Array) -> bool:
        """Whether a value is written at a step before it is read, at the same place, and nobody needs it afterwards."""
        every = [(s, v) for s in self.made.body for v in views(s) if v.array is a]
        fixed = {tuple((d, x) for d, x in enumerate(v.along) if isinstance(x, Fixed)) for _, v in every}
        *before, out = (v.array for v in views(every[0][0]))
        return a in self.alone and len(fixed) == 1 and out is a and a not in before

    def _copied(self, k: int) -> None:
        """What every block computes for itself has a place in each."""
        made, v = self.made, views(self.made.body[k])[-1]
        if v.array in made.private:
            return
        copy, temporary = replace(v.array, dims=(self.batch,), name=v.array.name, views={}, storage=None, role="value"), \
            self._temporary(v.array)
        if temporary and v.array.dims == (self.batch,):
            made.private[v.array] = None
            return
        if sum(views(s)[-1].array is v.array for s in made.body) > 1:
            raise Apart(f"{v.array.name or 'a value'} is written twice in a step")
        self.written.add(copy)

        def moved(x: View) -> View:
            same = x.array is v.array and all(p == q for p, q in zip(x.along, v.along, strict=True) if isinstance(q, Fixed))
            if not same and x.array is v.array and v.array in self.loose:
                raise Apart(f"{v.array.name or 'a value'} is read at another step")
            return View(copy, tuple(p for p in x.along if isinstance(p, Along)), x.dims) if same else x

        made.body[k] = cast(Stmt, replace(cast(Kernel, made.body[k]), out=view(copy)))
        for j in range(k + 1, len(made.body)):
            made.body[j] = on_views(made.body[j], moved)
        made.private[copy] = None
        if not temporary:
            made.stored[copy] = v

    def _handed_over(self, a: Array) -> None:
        """A row's own value that other blocks read: an array of one step."""
        fixed = fixed_dims(self.made, a)
        copy = Array(tuple(n for d, n in enumerate(a.dims) if d not in fixed), a.kind, name=a.name)
        self.made.exchange[a] = copy
        self.written.add(copy)

        def moved(x: View) -> View:
            return View(copy, tuple(y for d, y in enumerate(x.along) if d not in fixed), x.dims) if x.array is a else x

        self.made.body = [on_views(s, moved) for s in self.made.body]


__all__ = ["Apart", "Recurrence", "recurrence"]
