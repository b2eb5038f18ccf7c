"""The loops of a function that may run in one launch: found, named, printed beside the launches of their steps."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...compiler.program import Along, Array, Block, Draw, Loop, Product, Reduction, Stmt, View
from ...compiler.sizes import Size, product
from .geometry import Geometry
from .kernels import WIDTH
from .persistent import recurrence
from .persistent_form import GROUP, NONE, Apart, Recurrence, floats, joined, kept_dims, views
from .persistent_text import THREADS, PersistentText

if TYPE_CHECKING:
    from .function import CudaFunction

LIBRARY = (Path(__file__).parent / "persistent.cu").read_text(encoding="utf-8")
SOME = 64                                                        # a length of time, in the cost of a sum over it
FASTER = {"float32": 1, "tf32": 8, "bf16": 16}                   # the rates of products that data sheets name
NAMES = frozenset("""arrived members groups work rows first examples member group lane warp at total mine_ row_ column_ four
matrix_ share_ B""".split())


def recurrences(f: CudaFunction) -> tuple[dict[int, Recurrence], dict[int, str]]:
    """By the identity of a loop: its form in one launch, or why it has none."""
    found, apart = dict[int, Recurrence](), dict[int, str]()
    kept = {v.array for v in f.kept}
    for loop in outermost(f.function.body):
        try:
            if not f.options.persistent:
                raise Apart("persistent = False asks for launches")
            if taken := (NAMES - {"B"}) & {*f.system.sizes}:
                raise Apart(f"a size is called {min(taken)}, which its kernel calls something else")
            found[id(loop)] = recurrence(loop, f.function.body, kept, f.own, f.system.sizes)
        except Apart as e:
            apart[id(loop)] = str(e)
    return found, apart


def outermost(body: Sequence[Stmt]) -> Iterator[Loop]:
    """Loops that stand in no other one."""
    for s in body:
        if isinstance(s, Loop):
            yield s
        elif isinstance(s, Block):
            yield from outermost(s.body)


def named(f: CudaFunction) -> None:
    """Names in CUDA for what only the loops in one launch have."""
    taken = {*f.c_names.values(), *f.keywords, *f.system.sizes}
    for made in f.recurrences.values():
        for a in dict.fromkeys([*made.exchange.values(), *made.private, *(v.array for s in made.body for v in views(s))]):
            if a not in f.c_names:
                base = f"{a.name or 'x'}_here" if a in made.private else a.name
                f.c_names[a] = next(x for x in (base, *(f"{base}_{k}" for k in range(2, 1000))) if x not in taken)
                taken.add(f.c_names[a])


def launched(f: CudaFunction, made: Recurrence) -> str:
    """The condition under which a loop goes step by step, `not TOGETHER.run(...)`."""
    f.indices.open.append(made.loop.axis)
    text = PersistentText(made, f.c_names.__getitem__, f.indices, f.system.sizes,
                          {*f.c_names.values(), *f.system.sizes, *f.keywords, *NAMES}, {k: f"offset_{k}[0]" for k in f.offsets})
    body = text.text()
    f.indices.open.pop()
    inside = {*made.registers, *made.own, *made.private}
    arrays = [a for a in dict.fromkeys(v.array for s in made.body for v in views(s)) if a not in inside]
    arrays += [v.array for v in made.stored.values() if v.array not in arrays]
    written = {views(s)[-1].array.home for s in made.body} | {v.array.home for v in made.stored.values()}
    name, homes, numbers = f.kernels.together.add(f._word(made.loop), body, Geometry(made.batch, 1, (THREADS,)), arrays,
                                                  written, f, ("unsigned *arrived", "int members", "int groups"))
    f.kernels.loops[name] = described(made, f.system.sizes, FASTER[f.options.products])
    seeded = ["*seed"] if any(isinstance(s, Draw) for s in made.body) else []
    given = ", ".join([*(f._called(a) for a in homes), *seeded, *f.lengths_given(numbers)])
    return f'not TOGETHER.run("{name}", {made.loop.axis.upper()}, {made.batch.format()}, {given})'


def described(made: Recurrence, sizes: dict[str, int], faster: int) -> str:
    """What decides about a loop, `Recurrence(...)` of `persistent_device`."""
    by_unit, each = floats(made, sizes)
    products: dict[Size, list[tuple[int, int]]] = {u: [] for u in made.units}
    for s, how in zip(made.body, made.splits, strict=True):
        if isinstance(s, Product):
            inner = next(n for q, n in zip(s.lb, s.b.dims, strict=True) if q not in s.lo)
            products[how.of].append((how.parts, inner.evaluate(sizes)))
    units = [(u.evaluate(sizes), by_unit[u], tuple(products[u])) for u in made.units if not {*u.symbols} - {*sizes}]
    rate = f", {faster}" if faster != 1 else ""
    return f"Recurrence({units}, {each}, {made.meetings}, {launches(made.loop.body)}, {summed(made, sizes)}{rate})"


def summed(made: Recurrence, sizes: Mapping[str, int]) -> list[tuple[int, int, int]]:
    """Of each loop over sums: (units that share them out, or 0 where every block has all; sums of a unit; numbers of a sum).

    What a sum has read is in the block's first-level cache until the next barrier of the group.
    """
    found, there = list[tuple[int, int, int]](), set[View]()
    for k, (s, how) in enumerate(zip(made.body, made.splits, strict=True)):
        if made.barriers[k] == GROUP:
            there = set()
        if not isinstance(s, Reduction):
            continue
        new = {v for v in views(s)[:-1] if any(isinstance(x, Along) and x.dim in s.over for x in v.along)} - there
        there |= new
        numbers = known(product(tuple(s.a.dims[d] for d in s.over)), sizes) * len(new)
        kept = known(product(tuple(s.a.dims[d] for d in kept_dims(s) if s.a.dims[d] != made.batch)), sizes)
        units = known(how.of, sizes) if how.dim is not None else 0
        if k and made.barriers[k] == NONE and joined(made, k - 1, k):
            found[-1] = (*found[-1][:2], found[-1][2] + numbers)
        else:
            found.append((units, kept // (units or 1), numbers))
    return found


def known(n: Size, sizes: Mapping[str, int]) -> int:
    """A size as a number; of a length that only a call knows, a guess."""
    return n.evaluate({**dict.fromkeys(n.symbols, SOME), **sizes})


def launches(body: Sequence[Stmt]) -> int:
    """Launches of a step."""
    return sum(launches(s.body) if isinstance(s, Block) else 1 for s in body)


def handed_over(f: CudaFunction) -> Iterator[tuple[Array, Size]]:
    """Arrays that only the loops in one launch have, and their sizes."""
    for made in f.recurrences.values():
        yield from ((a, product(a.dims)) for a in made.exchange.values())


def together_text(kernels: str, loops: Mapping[str, str]) -> str:
    """`TOGETHER`, the kernels of loops in one launch, and what decides about each of them."""
    table = "".join(textwrap.fill(f'"{name}": {text},', WIDTH, initial_indent="    ", subsequent_indent=" " * 8) + "\n"
                    for name, text in loops.items())
    return f'TOGETHER = Together(COMMON + r"""\n{kernels}""", {{\n{table}}})\n'


__all__ = ["NAMES", "handed_over", "launched", "launches", "named", "outermost", "recurrences", "summed", "together_text"]
