"""Why a gradient is what it is: the terms of the chain rule, the rewrites that fired, the lines that compute it."""

from __future__ import annotations

from collections.abc import Iterator

from ...compiler.formulas import Reader, formula
from ...compiler.formulas.text import to_text
from ...compiler.gradient import Term
from ...compiler.graph import BATCH, Expr, Ref
from ...compiler.node import describe
from ...compiler.system import System
from .derivation import CARRY, Derivation, derive, formulas_of, notes_of, root_of
from .gradients import computing, formula_text


def explain_text(system: System, name: str) -> str:
    """What `d_W2` (or W2, or an equation) is made of. ShowingError where nothing is called so."""
    if system.energy is not None:
        from .energies import explain_energy
        return explain_energy(system, name)
    d = derive(system)
    adjoint, root = root_of(d, name)
    bare = adjoint[2:]
    listed = d.equations({adjoint: root})
    own = [q for q in listed if q.expr is root][-1:]
    parts = [
        f"{formula_text(own) or adjoint}\n\n{_what(system, bare, root)}",
        _chain(d, bare),
        _section("It uses", formula_text([q for q in listed if q not in own])),
        _section("Rewrites that shaped it", "\n".join(_rewrites(d, bare, root))),
        _section("Computed by", _lines(system, adjoint)),
    ]
    return "\n\n".join(p for p in parts if p)


def _section(title: str, body: str) -> str:
    return f"{title}:\n" + "\n".join(f"    {line}" for line in body.split("\n")) if body else ""


def _what(system: System, name: str, root: Expr) -> str:
    kind = "the parameter" if name in system.params else "the equation"
    where = f" ({system.spans[name]})" if name in system.spans else ""
    return f"The derivative of the objective by {kind} {name}{where}: {describe(root)}, as {name} itself."


# ---------------------------------------------------------------- the chain rule

def _chain(d: Derivation, name: str) -> str:
    """One line for every place where the value is read: the equation, and what it contributes."""
    node = _node(d, name)
    if node is None:
        return ""
    rows = []
    homes = _homes(d)
    for term in _terms(d, node):
        value = formula(term.value, _names(d), limit=120)
        if term.reader is None:
            rows.append(("the objective itself", value))
        else:
            home = homes.get(term.reader, "loss")
            rows.append((_equation(d, home), value))
    if not rows:
        return ""
    width = min(max(len(left) for left, _ in rows), 70)
    body = "\n".join(f"{left:<{width}}   contributes   {value}" for left, value in rows)
    many = f"{name} is read {len(rows)} times, and what each reader contributes is added"
    return _section(f"Chain rule: {name} is read by" if len(rows) == 1 else f"Chain rule: {many}", body)


def _node(d: Derivation, name: str) -> Expr | None:
    if name in d.stable.params:
        return d.stable.params[name].node
    if name in d.stable.equations:
        return d.stable.equations[name]
    return next((e for e, n in d.stable.names.items() if n == name), None)


def _terms(d: Derivation, node: Expr) -> Iterator[Term]:
    """The contributions to a node's adjoint; what arrives through a reference of a cycle is shown as what it is."""
    for term in d.adjoint.terms.get(node, []):
        if isinstance(term.reader, Ref) and isinstance(term.value, Ref):
            yield from d.adjoint.terms.get(term.reader, [])
        else:
            yield term


def _names(d: Derivation) -> dict[Expr, str]:
    """Names before simplification, without what a delay carries back."""
    return {e: n for e, n in d.adjoint.system.names.items() if not CARRY.fullmatch(n)}


def _homes(d: Derivation) -> dict[Expr, str]:
    """Every node -> the equation in whose formula it stands; the first, where there are several."""
    homes: dict[Expr, str] = {}
    roots = {e: k for k, e in d.adjoint.system.equations.items() if k in d.stable.equations or k == "loss*"}
    for root, name in roots.items():
        stack = [root]
        while stack:
            n = stack.pop()
            if n in homes or (n in roots and n is not root):
                continue
            homes[n] = name
            stack.extend(n.args)
    return homes


def _equation(d: Derivation, name: str) -> str:
    shown = "loss" if name == "loss*" else name
    e = d.adjoint.system.equations.get(name)
    if e is None:
        return shown
    names = {k: n for k, n in d.stable.names.items() if n in d.source.equations}
    times = [a for a in e.axes if a != BATCH]
    left = shown + (f"[{', '.join(times)}]" if times else "")
    where = f"  ({d.source.spans[name]})" if name in d.source.spans else ""
    return f"{left} = {formula(e, names, limit=80)}{where}"


# ---------------------------------------------------------------- rewrites and lines

def _rewrites(d: Derivation, name: str, root: Expr) -> Iterator[str]:
    """Rewrites of equations on the way to the loss, with before and after; then what simplifying did to the gradient."""
    before, after = formulas_of(d.source), formulas_of(d.stable)
    for k, notes in notes_of(d.stabilised, d.source).items():
        if k in before and k in after:
            yield from notes
            yield f"    before  {k} = {formula(before[k], d.source.names, limit=80)}"
            yield f"    after   {k} = {formula(after[k], _user_names(d), limit=80)}"
    raw = d.adjoint.grads.get(_node(d, name)) if _node(d, name) is not None else None       # type: ignore[arg-type]
    if raw is not None and raw is not root:
        old, new = formula(raw, _names(d), limit=120), _flat(d, root)
        if old != new:
            yield "simplified: exact algebra on the gradient"
            yield f"    before  d_{name} = {old}"
            yield f"    after   d_{name} = {new}"


def _flat(d: Derivation, root: Expr) -> str:
    return to_text(Reader(d.names(), inline=d.inline()).term(root), limit=120)


def _user_names(d: Derivation) -> dict[Expr, str]:
    return {e: n for e, n in d.stable.names.items() if n in d.source.equations}


def _lines(system: System, name: str) -> str:
    from ...backends.cpu.program import Program
    from ...backends.interface import compile_for
    program = compile_for(system)
    assert isinstance(program, Program)
    source = program.source.splitlines()
    numbers = [n for n in computing(program, name) if not source[n - 1].lstrip().startswith("#")]
    return "\n".join(f"line {n:4d}   {source[n - 1].strip()}" for n in numbers)


