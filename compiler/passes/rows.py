"""Rows: what a compiled loop likes better than a library of arrays, which has a call for everything.

    out[b] = sum[k] x[b, k] * y[b, k]       a product of matrices with one row: as a kernel and a sum, which join their neighbours
    out[i] = table.T[index[i]]              the table is kept by rows, if the function made it
    out.T[index[i]] += a[i]                 added up by rows, and then turned
    out[t, i] = table[index[t, i]]          looked up in the loop that reads it step by step, and never stored
    out[i] = sum[j] a[T - 2, i, j]          a step that a short sequence does not have: read by a kernel, which can ask for it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace

from ..program import (
    Along,
    Array,
    Block,
    Call,
    Fixed,
    Hot,
    Kernel,
    Load,
    Loop,
    Product,
    Reduction,
    Scalar,
    Scatter,
    Stmt,
    Take,
    View,
    flat,
    missing,
    reads,
    view,
    writes,
)
from .orders import Order, own

Claim = Callable[[str], str]


def by_rows(body: list[Stmt], kept: frozenset[Array], claim: Claim) -> list[Stmt]:
    """The statements of a body in these forms; `claim` gives new arrays their names."""
    body = _looked_up_late(body, kept, claim)
    turned = _tables(body, kept)
    arrays = {a: replace(a, dims=tuple(a.dims[k] for k in order), views={}) for a, order in turned.items()}

    def moved(v: View) -> View:
        if v.array not in turned:
            return v
        return View(arrays[v.array], tuple(v.along[k] for k in turned[v.array]), v.dims)

    def each(stmts: list[Stmt]) -> Iterator[Stmt]:
        for s in stmts:
            if isinstance(s, (Block, Loop)):
                yield replace(s, body=[*each(s.body)])
            else:
                yield from (on_views(x, moved) for y in _there(s, claim) for x in _rewritten(y, claim))

    return [*each(body)]


def _there(s: Stmt, claim: Claim) -> list[Stmt]:
    """A statement whose steps are there at every length: what may not be is read by kernels before."""
    if isinstance(s, Kernel):
        return [s]
    late = {v: view(Array(v.dims, v.array.kind, name=claim(f"{v.array.name}_step"))) for v in reads(s) if missing(v)}
    return [*(Kernel(v.dims, to, Load(v)) for v, to in late.items()), on_views(s, lambda v: late.get(v, v)) if late else s]


def _rewritten(s: Stmt, claim: Claim) -> list[Stmt]:
    match s:
        case Product():
            return dot(s, claim) or [s]
        case Scatter(out, a, index) if sorted(own(out)) == [*range(len(out.dims))] and own(out) != (*range(len(out.dims)),):
            rows = view(Array(out.dims, out.array.kind, name=claim(f"{out.array.name}_rows")))
            return [Scatter(rows, a, index), Kernel(out.dims, out, Load(rows))]
    return [s]


def dot(s: Product, claim: Claim) -> list[Stmt] | None:
    """A product in which every label is the result's or summed in both operands, as a kernel and a sum of whole rows."""
    if {*s.la} != {*s.lb} or not {*s.lo} < {*s.la}:
        return None
    for a, b, la, lb in ((s.a, s.b, s.la, s.lb), (s.b, s.a, s.lb, s.la)):
        over = tuple(d for d, k in enumerate(la) if k not in s.lo)
        if over in (tuple(range(len(over))), tuple(range(len(la) - len(over), len(la)))):
            kept = [k for k in la if k in s.lo]
            term = Array(a.dims, a.array.kind, name=claim(f"{s.out.array.name}_term"))
            body = Call("mul", (Load(a), Load(_labelled(b, lb, la))))
            return [Kernel(a.dims, view(term), body), Reduction("sum", _labelled(s.out, s.lo, kept), view(term), over)]
    return None


def _labelled(v: View, labels: tuple[str | int, ...], order: list[str | int] | tuple[str | int, ...]) -> View:
    """v with its dims in the order of other labels."""
    places = {d: [*order].index(k) for d, k in enumerate(labels)}
    along = tuple(replace(x, dim=places[x.dim]) if isinstance(x, Along) else x for x in v.along)
    return View(v.array, along, tuple(v.dims[[*labels].index(k)] for k in order))


def _tables(body: list[Stmt], kept: frozenset[Array]) -> dict[Array, Order]:
    """Arrays of the function's own that it only writes by kernels and looks up by numbers along what is not their first dim."""
    wanted: dict[Array, Order] = {}
    for s in flat(body):
        if isinstance(s, Take) and s.table.array.role == "value" and s.table.array not in kept:
            along = s.table.along
            order = tuple(sorted(range(len(along)), key=lambda k, x=along: getattr(x[k], "dim", -1)))  # type: ignore[misc]
            if order != (*range(len(order)),) and all(isinstance(x, Along) for x in along):
                wanted.setdefault(s.table.array, order)
    for s in flat(body):
        for v in (() if isinstance(s, Loop) else (*reads(s), writes(s))):
            if v is not None and v.array in wanted:
                looked_up = isinstance(s, Take) and v is s.table and own(v) == _first(s, wanted)
                if not looked_up and not (isinstance(s, Kernel) and v is s.out):
                    del wanted[v.array]
    return wanted


def _first(s: Take, wanted: dict[Array, Order]) -> Order:
    """What the dims of a table's view are in its array when it wants that order."""
    order = wanted[s.table.array]
    return tuple(order.index(k) for k in range(len(order)))


def _looked_up_late(body: list[Stmt], kept: frozenset[Array], claim: Claim) -> list[Stmt]:
    """Look-ups that loops read at their own step only go into the loops; each loop has its own."""
    late = _stepwise(body, kept)
    names: set[str] = set()

    def lookup(v: View, made: dict[tuple[Array, Fixed], Array]) -> Take | None:
        a, step = v.array, v.along[0]
        assert isinstance(step, Fixed)
        if (a, step) in made:
            return None
        made[a, step] = Array(a.dims[1:], a.kind, name=claim(a.name) if a.name in names else a.name)
        names.add(a.name)
        return _at_step(late[a], step, made[a, step])

    def each(stmts: list[Stmt], looped: bool) -> list[Stmt]:
        out, made = list[Stmt](), dict[tuple[Array, Fixed], Array]()
        for s in stmts:
            if isinstance(s, (Block, Loop)):
                out.append(replace(s, body=each(s.body, looped or isinstance(s, Loop))))
            elif looped:
                out += [x for v in reads(s) if v.array in late and (x := lookup(v, made))]
                out.append(on_views(s, lambda v: _without_step(v, made) if v.array in late else v))
            elif not any(s is x for x in late.values()):
                out.append(s)
        return out

    return each(body, False) if late else body


def _stepwise(body: list[Stmt], kept: frozenset[Array]) -> dict[Array, Take]:
    """Look-ups outside loops whose results are read inside of them only, one step at a time."""
    inside = {id(x) for s in flat(body) if isinstance(s, Loop) for x in flat(s.body)}
    takes = {s.out.array: s for s in flat(body) if isinstance(s, Take) and s.out.whole and s.out.array.role == "value"
             and s.out.array not in kept and s.index.dims and Along(0) in s.index.along and id(s) not in inside}
    for s in flat(body):
        for v in () if isinstance(s, Loop) else (*reads(s), writes(s)):
            if v is not None and v.array in takes and s is not takes[v.array]:
                step = v.along[0]
                if id(s) not in inside or v is writes(s) or not isinstance(step, Fixed) or not step.axis or step.end:
                    del takes[v.array]
    return takes


def _at_step(s: Take, step: Fixed, to: Array) -> Take:
    """One step of a look-up."""
    index = s.index
    along = tuple(step if x == Along(0) else replace(x, dim=x.dim - 1) if isinstance(x, Along) else x for x in index.along)
    return Take(view(to), s.table, View(index.array, along, index.dims[1:]))


def _without_step(v: View, made: dict[tuple[Array, Fixed], Array]) -> View:
    step = v.along[0]
    assert isinstance(step, Fixed)
    return View(made[v.array, step], v.along[1:], v.dims)


def on_views(s: Stmt, f: Callable[[View], View]) -> Stmt:
    """A statement with other views."""
    def scalar(x: Scalar) -> Scalar:
        match x:
            case Load(v) | Hot(v):
                return type(x)(f(v))
            case Call(name, args, kind):
                return Call(name, tuple(map(scalar, args)), kind)
        return x

    new = {}
    for field in fields(s):
        old = getattr(s, field.name)
        new[field.name] = f(old) if isinstance(old, View) else scalar(old) if isinstance(old, (Load, Hot, Call)) else old
    return replace(s, **new)  # type: ignore[arg-type]


__all__ = ["by_rows", "dot", "on_views"]
