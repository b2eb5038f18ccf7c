"""A loop over time in one launch, as data: its statements, how they are shared out, where values stand, where blocks wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...compiler.passes.fusion import walked
from ...compiler.program import (
    Array,
    Draw,
    Fill,
    Fixed,
    Hot,
    Kernel,
    Literal,
    Load,
    Loop,
    Pick,
    Product,
    Reduction,
    Scalar,
    Stmt,
    Take,
    View,
    leaves,
    reads,
    writes,
)
from ...compiler.sizes import Size, product

NONE, BLOCK, GROUP = 0, 1, 2                                     # barriers
EACH = (Kernel, Take, Pick, Fill, Draw)                          # what each thread does at an element

ZERO = Literal(0)


class Apart(Exception):
    """Why a loop stays a launch a step."""


@dataclass(frozen=True)
class Split:
    """How the elements of a result are shared out: dim `dim`, of `parts` times `of` elements; no dim: every block does all."""

    dim: int | None
    of: Size
    parts: int = 1


@dataclass(frozen=True)
class Again(Reduction):
    """A reduction that computes its elements itself, from what blocks have handed over: `body` for `a`."""

    body: Scalar = ZERO


@dataclass(frozen=True)
class Touch:
    """What a statement does to an array at a step: the units of which array dim its blocks touch, and which threads do."""

    view: View
    written: bool
    owner: object                                                # None: any block may be at any element
    threads: object
    step: int
    met: bool = False                                            # a barrier of the block stands behind it


@dataclass
class Recurrence:
    """A loop in one launch."""

    loop: Loop
    body: list[Stmt]
    batch: Size                                                  # the length of the dim of examples
    splits: list[Split] = field(default_factory=list)
    barriers: list[int] = field(default_factory=list)
    weights: list[Product] = field(default_factory=list)
    units: list[Size] = field(default_factory=list)              # the different U
    registers: set[Array] = field(default_factory=set)
    own: dict[Array, tuple[int, Size, int]] = field(default_factory=dict)      # array -> dim of its units, U, parts
    private: dict[Array, None] = field(default_factory=dict)     # every block has all of its examples; in their order
    stored: dict[Array, View] = field(default_factory=dict)      # private copy -> what it is a copy of
    exchange: dict[Array, Array] = field(default_factory=dict)   # a row's own value -> the array in which blocks hand it over

    @property
    def meetings(self) -> int:
        """Barriers of the group in a step."""
        return self.barriers.count(GROUP)


def views(s: Stmt) -> tuple[View, ...]:
    """All that a statement reads, then what it writes."""
    out = writes(s)
    assert out is not None
    return (*(x.view for x in leaves(s.body) if isinstance(x, (Load, Hot))), out) if isinstance(s, Again) else (*reads(s), out)


def space(s: Stmt) -> tuple[Size, ...]:
    """The dims that the indices of a statement's views count along; the last ones of a product are its labels that are summed."""
    if isinstance(s, Product):
        raise TypeError(s)
    return s.out.dims if isinstance(s, Draw) else walked(s)


def kept_dims(s: Stmt) -> list[int]:
    """The dims of a statement's space that its result has."""
    over = s.over if isinstance(s, Reduction) else ()
    return [d for d in range(len(space(s))) if d not in over]


def fixed_dims(made: Recurrence, a: Array) -> set[int]:
    """The dims of an array of which a step has one index."""
    return {d for s in made.body for v in views(s) if v.array is a for d, x in enumerate(v.along) if isinstance(x, Fixed)}


def beside(made: Recurrence, a: Array, unit: int | None = None) -> list[tuple[int, Size]]:
    """The dims that a step's value has beside those of examples and units."""
    fixed = fixed_dims(made, a)
    return [(d, n) for d, n in enumerate(a.dims) if d != unit and d not in fixed and n != made.batch]


def joined(made: Recurrence, j: int, k: int) -> bool:
    """Whether two statements may share a loop: of each thread over its elements, of each warp over its sums."""
    s, m = made.body[j], made.body[k]
    if isinstance(s, Reduction) and isinstance(m, Reduction):
        alike = s.over == m.over
    else:
        alike = isinstance(s, EACH) and isinstance(m, EACH)
    return alike and space(s) == space(m) and made.splits[j] == made.splits[k]


def floats(made: Recurrence, sizes: Mapping[str, int]) -> tuple[dict[Size, int], int]:
    """Numbers in a block's memory: of each U, those for a unit and an example; those for an example."""
    by_unit = dict.fromkeys(made.units, 0)
    for a, (dim, of, parts) in made.own.items():
        by_unit[of] += parts * product(tuple(n for _, n in beside(made, a, dim))).evaluate(sizes)
    return by_unit, len(made.private)


__all__ = ["BLOCK", "EACH", "GROUP", "NONE", "Again", "Apart", "Recurrence", "Split", "Touch", "beside", "fixed_dims", "floats",
           "joined", "kept_dims", "space", "views"]
