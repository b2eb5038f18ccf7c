"""Several formulas at once: what they share and has no name gets one, so that a graph prints in as many lines as it has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from ..graph import BATCH, Expr, postorder
from .latex import symbol_latex, to_latex
from .reading import LEAVES, Reader
from .terms import Term, terms_below
from .text import to_text

SMALL = 3                                                # terms up to this weight are repeated rather than named


@dataclass(frozen=True)
class Equation:
    """`name = text`; `left` is the name with its time index."""

    name: str
    expr: Expr
    left: str
    text: str
    latex: str

    def __str__(self) -> str:
        return f"{self.left} = {self.text}"


def equations(roots: Mapping[str, Expr], names: Mapping[Expr, str], given: Collection[Expr] = (),
              taken: Collection[str] = ()) -> list[Equation]:
    """One equation for every root, every named node below that is not `given`, and what is shared; operands first.

    Shared parts without a name are called t1, t2, ..., skipping the names in use and those in `taken`.
    """
    table = {e: n for e, n in names.items() if not isinstance(e, LEAVES)}
    for root, e in roots.items():
        if not isinstance(e, LEAVES):
            table[e] = root
    known = {e for e in given if e in table}
    used = {*table.values(), *taken, *roots}
    used |= {str(getattr(e, "name", "")) for e in postorder(*roots.values())}
    fresh = (f"t{k}" for k in range(1, 10**9))
    for e in _shared(roots, table, known):
        table[e] = next(n for n in fresh if n not in used)
    reader = Reader(table)
    needed = _needed(roots, table, known)
    wanted = [(table[e], e) for e in postorder(*roots.values()) if e in table and e in needed and e not in known]
    wanted += [(n, e) for n, e in roots.items() if table.get(e) != n]
    return [_equation(n, e, reader) for n, e in wanted]


def _equation(name: str, e: Expr, reader: Reader) -> Equation:
    term = reader.term(e, expand=reader.names.get(e) == name)
    times = tuple(a for a in e.axes if a != BATCH) if reader.index else ()
    left = name + (f"[{', '.join(times)}]" if times else "")
    return Equation(name, e, left, to_text(term), f"{symbol_latex(name, times)} = {to_latex(term)}")


def _parts(roots: Mapping[str, Expr], table: Mapping[Expr, str], known: Collection[Expr]) -> Iterator[Term]:
    """The right sides of the roots and of all named nodes that they read, each once."""
    reader = Reader(table)
    seen: set[Expr] = set()
    stack = list(reversed(list(roots.values())))
    while stack:
        e = stack.pop()
        if e in seen:
            continue
        seen.add(e)
        term = reader.term(e)
        yield term
        stack.extend(t.source for t in terms_below(term)
                     if t.source is not None and t is not term and t.source in table and t.source not in known)


def _needed(roots: Mapping[str, Expr], table: Mapping[Expr, str], known: Collection[Expr]) -> set[Expr]:
    return {t.source for t in _parts(roots, table, known) if t.source is not None} | {*roots.values()}


def _reads(term: Term) -> Iterator[Term]:
    """The nearest terms below that stand for nodes, as often as they are read."""
    stack = list(term.args)
    while stack:
        a = stack.pop()
        if a.source is None:
            stack.extend(a.args)
        else:
            yield a


def _shared(roots: Mapping[str, Expr], table: Mapping[Expr, str], known: Collection[Expr]) -> list[Expr]:
    """Unnamed nodes that the formulas read more than once and that are worth a line, in the order of the graph."""
    readers: dict[Expr, int] = {}
    counted: set[Expr] = set()
    for right in _parts(roots, table, known):
        for term in terms_below(right):
            if term.source is None or term.source in counted or (term.source in table and term is not right):
                continue
            counted.add(term.source)
            for a in _reads(term):
                if a.source is not None and a.weight > SMALL:
                    readers[a.source] = readers.get(a.source, 0) + 1
    return [e for e in postorder(*roots.values()) if readers.get(e, 0) > 1 and e not in table and not isinstance(e, LEAVES)]
