"""Several formulas at once: what they share and has no name gets one, so that a graph prints in as many lines as it has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from ..graph import BATCH, Expr, postorder
from ..node import shown
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
              taken: Collection[str] = (), inline: Mapping[str, Expr] | None = None) -> list[Equation]:
    """One equation for every root, every named node that they read and that is not `given`, and what is shared.

    What is read at the same time stands before its reader. Shared parts without a name are called t1, t2, ..., skipping the
    names in use and those in `taken`. `inline`: references that read as what they stand for (see `Reader`).
    """
    table = {e: n for e, n in names.items() if not isinstance(e, LEAVES)}
    table.update({e: n for n, e in roots.items() if not isinstance(e, LEAVES)})
    known = {e for e in given if e in table}
    used = {*table.values(), *taken, *roots}
    used |= {str(getattr(e, "name", "")) for e in postorder(*roots.values(), *(inline or {}).values())}
    rights = _rights(roots, Reader(table, inline=inline), known)
    shared = _shared(rights, table)
    if shared:
        table.update((e, f"t{k}") for k, e in enumerate(shared))         # placeholders, until the order of printing is known
        rights = _rights(roots, Reader(table, inline=inline), known)
        fresh = (n for n in (f"t{k}" for k in range(1, 10**9)) if n not in used)
        unnamed = {*shared}
        table.update(zip((e for e in _order(roots, rights) if e in unnamed), fresh, strict=False))
        rights = _rights(roots, Reader(table, inline=inline), known)
    order = _order(roots, rights)
    listed = [_equation(table[e], e, rights[e]) for e in order if e in table]
    for n, e in roots.items():
        if table.get(e) != n:                                    # a leaf, or a second name of one node
            listed.append(_equation(n, e, Reader(table).term(e, expand=False)))
    return listed


def indexed(name: str, e: Expr) -> str:
    """A name with the time index of what it names: the left side of its equation."""
    times = ", ".join(shown(a) for a in e.axes if a != BATCH)
    return f"{name}[{times}]" if times else name


def _equation(name: str, e: Expr, term: Term) -> Equation:
    times = tuple(shown(a) for a in e.axes if a != BATCH)
    return Equation(name, e, indexed(name, e), to_text(term), f"{symbol_latex(name, times)} = {to_latex(term)}")


def _reads(term: Term, table: Mapping[Expr, str]) -> list[Term]:
    """The named nodes that a right side reads, in its order."""
    return [t for t in terms_below(term) if t is not term and t.kind == "name" and t.source in table and t.source is not None]


def _rights(roots: Mapping[str, Expr], reader: Reader, known: Collection[Expr]) -> dict[Expr, Term]:
    """The right sides of the roots and of all named nodes that they read."""
    rights: dict[Expr, Term] = {}
    stack = list(reversed(list(roots.values())))
    while stack:
        e = stack.pop()
        if e not in rights and e not in known:
            rights[e] = reader.term(e)
            stack.extend(t.source for t in reversed(_reads(rights[e], reader.names)) if t.source is not None)
    return rights


def _order(roots: Mapping[str, Expr], rights: Mapping[Expr, Term]) -> list[Expr]:
    """Operands first; what is read at another time only comes after its first reader."""
    out: dict[Expr, None] = {}
    later = list(roots.values())
    while later:
        stack, seen, delayed = [(later.pop(0), False)], set[Expr](), list[Expr]()
        while stack:
            e, done = stack.pop()
            if done:
                out.setdefault(e)
            elif e in rights and e not in out and e not in seen:
                seen.add(e)
                stack.append((e, True))
                reads = _reads(rights[e], rights)                # type: ignore[arg-type]
                delayed += [t.source for t in reads if t.delayed and t.source is not None]
                stack.extend((t.source, False) for t in reversed(reads) if not t.delayed and t.source is not None)
        later[:0] = [e for e in delayed if e not in out]
    return list(out)


def _nearest(term: Term) -> Iterator[Term]:
    """The nearest terms below that stand for nodes, as often as they are read."""
    stack = list(term.args)
    while stack:
        a = stack.pop()
        if a.source is None:
            stack.extend(a.args)
        else:
            yield a


def _shared(rights: Mapping[Expr, Term], table: Mapping[Expr, str]) -> list[Expr]:
    """Unnamed nodes that the formulas read more than once and that are worth a line, operands first."""
    readers: dict[Expr, int] = {}
    counted: set[Expr] = set()
    for right in rights.values():
        for term in terms_below(right):
            if term.source is None or term.source in counted or (term.source in table and term is not right):
                continue
            counted.add(term.source)
            for a in _nearest(term):
                if a.source is not None and a.weight > SMALL:
                    readers[a.source] = readers.get(a.source, 0) + 1
    return [e for e in postorder(*readers) if readers.get(e, 0) > 1 and e not in table and not isinstance(e, LEAVES)]
