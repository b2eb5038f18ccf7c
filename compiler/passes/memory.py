"""Plan memory: values that are never needed at the same time share storage.

Input    the blocks of a function, and for each statement the scratch arrays that its target needs
Output   `Plan`: slots of the workspace, each with the arrays that live in it, by liveness

First an elementwise result takes the place of an operand that nobody reads afterwards (`share`), so that
`h = relu(W @ x + b)` is one array; then what is left is packed into slots. Results that the caller owns are never shared
with anything but what is computed in their place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from ..program import BOOL, INT, Array, Block, Fixed, Kernel, Load, Loop, Nest, Stmt, Take, View, flat, leaves, reads, writes
from ..sizes import Size, product


@dataclass
class Life:
    """When a value is first written and last used, in statements; `written` and `read` count them."""

    first: float
    last: float
    written: int = 0
    readers: int = 0
    looped: bool = False                                         # written inside a time loop


@dataclass
class Slot:
    """One piece of the workspace: its elements' kind, the sizes that it must hold, and who lives in it when."""

    kind: str
    sizes: list[Size] = field(default_factory=list)
    members: list[tuple[Array, int, int]] = field(default_factory=list)


@dataclass
class Plan:
    slots: list[Slot] = field(default_factory=list)
    scratch: dict[int, list[Array]] = field(default_factory=dict)      # id of a statement -> its scratch arrays

    def arrays(self) -> Iterator[tuple[int, Array]]:
        """Every array of the workspace with its slot, in the order in which they are first used."""
        every = [(first, i, a) for i, s in enumerate(self.slots) for a, first, _ in s.members]
        for _, i, a in sorted(every, key=lambda x: x[0]):
            yield i, a


def numbered(body: list[Stmt]) -> Iterator[tuple[float, Stmt, bool]]:
    """Statements with their position: all of a loop's statements stand at one, those of a nest between two."""
    k = 0
    for s in body:
        for inner in s.body if isinstance(s, Block) else [s]:
            if isinstance(inner, Loop):
                yield from ((k, x, True) for x in flat(inner.body))
            elif isinstance(inner, Nest):
                yield from ((k + j / len(inner.body), x, False) for j, x in enumerate(inner.body))
            else:
                yield k, inner, False
            k += 1


def lives(body: list[Stmt], kept: tuple[View, ...] = ()) -> dict[Array, Life]:
    """The life of every array that a body touches; what `kept` views stays to the end."""
    found: dict[Array, Life] = {}
    end = 0.0
    for k, s, looped in numbered(body):
        end = k
        out = writes(s)
        for v, w in [*((v, False) for v in reads(s)), *([(out, True)] if out else [])]:
            life = found.setdefault(v.array, Life(k, k))
            life.last = k
            life.written += w
            life.readers += not w
            life.looped |= w and looped
    for v in kept:
        if v.array in found:
            found[v.array].last = end + 1
    return found


def share(body: list[Stmt], kept: tuple[View, ...], loose: Collection[Array] = ()) -> None:
    """Let elementwise results take the place of operands that die in them; `loose` arrays have no storage."""
    life, places = lives(body, kept), dict[tuple[int, Array], set[object]]()
    for k, s, _ in numbered(body):
        for v in reads(s):
            places.setdefault((int(k), v.array), set()).add("any" if isinstance(s, Take) and v is s.table else v.along)
    taken: set[Array] = {*loose}
    for k, s, looped in numbered(body):
        if not isinstance(s, Kernel) or not s.out.dims or s.out.array in loose or not _fresh(s.out, life, k):
            continue
        for leaf in leaves(s.body):
            if isinstance(leaf, Load) and _dies(leaf.view, s.out, life, k, looped) and leaf.view.array not in taken \
                    and places[int(k), leaf.view.array] == {s.out.along}:          # its loops read no element at another place
                a, b = s.out.array, leaf.view.array
                taken.add(b)
                if a.role == "result":
                    b.home.storage = a
                else:
                    a.storage = b
                break


def _fresh(out: View, life: dict[Array, Life], k: float) -> bool:
    """Whether an array is first written here, by this statement alone, all of it."""
    a = out.array
    return a.storage is None and a.role in ("value", "result") and life[a].first == k and life[a].written == 1 \
        and tuple(x.dim for x in out.along if hasattr(x, "dim")) == tuple(range(len(out.dims))) and a.dims[-1:] == out.dims[-1:]


def _dies(v: View, out: View, life: dict[Array, Life], k: float, looped: bool) -> bool:
    """Whether a value is of the same form as the output, and is read for the last time here."""
    b = v.array
    # what a loop reads as a whole it reads again at its next step
    every_step = looped and not life[b].looped and not any(isinstance(x, Fixed) and x.axis for x in v.along)
    one_reader = life[b].readers == 1 and not (looped and life[b].looped) and not every_step
    return b.role == "value" and b.home.role == "value" and b.dims == out.array.dims and b.kind == out.array.kind \
        and v.along == out.along and life[b].last == k and (one_reader or (not looped and not life[b].looped))


def plan(body: list[Stmt], kept: tuple[View, ...], scratch: dict[int, list[Array]],
         loose: frozenset[Array] = frozenset(), known: Mapping[str, int] | None = None) -> Plan:
    """Pack every value of the workspace into slots, the largest first, best fit by size at the `known` sizes.

    Largest first, as a small array finds a place in a slot that is there, and a large one would make that larger for all time.
    `loose` arrays have no storage.
    """
    spans: dict[Array, list[int]] = {}
    for a, life in lives(body, kept).items():
        if a.home.role == "value" and a.dims and a.home not in loose:
            span = spans.setdefault(a.home, [int(life.first), int(life.last)])
            span[:] = [min(span[0], int(life.first)), max(span[1], int(life.last))]       # a nest's rows overlap
    out = Plan(scratch=scratch)
    for k, s, _ in numbered(body):
        for a in scratch.get(id(s), []):
            spans[a] = [int(k), int(k)]
    for a, (first, last) in sorted(spans.items(), key=lambda x: (-nominal(product(x[0].dims), known), x[1])):
        _fit(out, a, first, last, known or {})
    return out


def _fit(out: Plan, a: Array, first: int, last: int, known: Mapping[str, int]) -> None:
    """The free slot whose size comes nearest, or a new one."""
    need = product(a.dims)
    free = [s for s in out.slots if s.kind == a.kind and all(last < f or first > e for _, f, e in s.members)]
    best = min(free, key=lambda s: abs(nominal(need, known) - max(nominal(n, known) for n in s.sizes)), default=None)
    if best is None:
        best = Slot(a.kind)
        out.slots.append(best)
    if need not in best.sizes:
        best.sizes.append(need)
    best.members.append((a, first, last))


def nominal(s: Size, known: Mapping[str, int] | None = None) -> int:
    """A size as a number, for comparing: what has no value, nor is known, counts as 64."""
    return s.evaluate(_Nominal(known or {}))


class _Nominal(dict[str, int]):
    def __missing__(self, key: str) -> int:
        return 64

    def __contains__(self, key: object) -> bool:
        return True


__all__ = ["BOOL", "INT", "Life", "Plan", "Slot", "lives", "nominal", "numbered", "plan", "share"]
