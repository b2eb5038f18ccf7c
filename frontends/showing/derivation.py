"""The derived gradient of a model, and its equations with the model's names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from ...compiler.formulas import Equation, equations, formula
from ...compiler.gradient import Adjoint
from ...compiler.graph import Expr, Ref, postorder
from ...compiler.passes.lengths import masked
from ...compiler.passes.preactivations import name_preactivations
from ...compiler.passes.simplify import simplify
from ...compiler.passes.stabilise import stabilise
from ...compiler.pipeline import Compiled, differentiate
from ...compiler.system import System

CARRY = re.compile(r"(d\d*_.+)_(next|prev)\d*")


class ShowingError(ValueError):
    """A question about a model that has no answer, in one sentence."""


@dataclass
class Derivation:
    """A model before and after differentiation; `gradients` are by parameter name, simplified.

    `stabilised` has the notes of what was rewritten, `stable` is it simplified.
    """

    source: System
    stabilised: System
    stable: System
    adjoint: Adjoint
    system: System
    gradients: dict[str, Expr]

    def names(self) -> dict[Expr, str]:
        """The names of nodes; what a delay carries back is read where it arrives, so it has none."""
        live = postorder(*self.system.roots(), *self.gradients.values())
        names = {e: self.system.names[e] for e in live if e in self.system.names}
        totals = {*names.values()}
        return {e: n for e, n in names.items() if not ((m := CARRY.fullmatch(n)) and m[1] in totals)}

    def inline(self) -> dict[str, Expr]:
        """The adjoint equations (what arrives from other times) that read inside the adjoint of the same name."""
        totals = {*self.names().values()}
        return {k: e for k, e in self.arrivals().items() if k in totals}

    def arrivals(self) -> dict[str, Expr]:
        """The equations that differentiation added for cycles."""
        read = {n.name for n in self.system.nodes() if isinstance(n, Ref)}
        return {k: e for k, e in self.system.equations.items() if k in read and k not in self.stable.equations}

    def forward(self) -> list[Expr]:
        """What the model itself computes."""
        return [e for k, e in self.system.equations.items() if k in self.stable.equations]

    def equations(self, roots: dict[str, Expr]) -> list[Equation]:
        """The equations of some gradients and of all adjoints that they read."""
        taken = {*self.stable.equations, *self.stable.params, *self.stable.inputs, *self.stable.sizes}
        inline = self.inline()
        alone = {e: k for k, e in self.arrivals().items() if k not in inline}
        return equations(roots, {**self.names(), **alone}, self.forward(), taken, inline)


def derive(system: System) -> Derivation:
    """The gradient of a model's loss, or of what an energy's estimator minimises. ShowingError where there is neither."""
    if system.energy is not None:
        from ...compiler.energy import objective
        system = objective(system).system
    if system.loss is None:
        raise ShowingError(f"{system.name} has no loss, so there is nothing to differentiate")
    stabilised = stabilise(system)
    out = Compiled(system, name_preactivations(simplify(masked(stabilised))))
    differentiate(out, packed=False)
    assert out.adjoint is not None
    thought = out.explained["differentiated"]                # before softmaxes and the like are spelled as they are computed
    gradients = {k: thought.equations.get(f"d_{k}", e) for k, e in out.gradients.items()}
    return Derivation(system, stabilised, out.stable, out.adjoint, thought, gradients)


def formulas_of(system: System) -> dict[str, Expr]:
    """The equations, and the loss or the energy under its name."""
    return {**system.equations, **({"loss": system.loss.value} if system.loss else {}),
            **({"E": system.energy.value} if system.energy else {})}


def notes_of(system: System, source: System) -> dict[str, list[str]]:
    """What was rewritten, by the equation (or `loss`) in whose own formula it stands.

    A note whose node was itself rewritten away stands with the changed equations that have no other.
    """
    found: dict[str, list[str]] = {}
    roots = formulas_of(system)
    named = {*roots.values()}
    for name, root in roots.items():
        stack, seen = [root], set[Expr]()
        while stack:
            n = stack.pop()
            if n in seen or (n in named and n is not root):
                continue
            seen.add(n)
            found.setdefault(name, []).extend(x for x in system.notes.get(n, ()) if x not in found.get(name, ()))
            stack.extend(reversed(n.args))
    placed = {x for notes in found.values() for x in notes}
    rest = list(dict.fromkeys(x for notes in system.notes.values() for x in notes if x not in placed))
    before = formulas_of(source)
    for name, root in roots.items():
        if not found.get(name) and name in before and before[name] is not root and _own_change(name, before, roots):
            found[name] = rest
    return {name: notes for name, notes in found.items() if notes}


def _own_change(name: str, before: dict[str, Expr], after: dict[str, Expr]) -> bool:
    """Whether a formula differs by itself and not only in what it reads by name."""
    return formula(before[name], _names(before)) != formula(after[name], _names(after))


def _names(formulas: dict[str, Expr]) -> dict[Expr, str]:
    return {e: n for n, e in reversed(formulas.items())}


def root_of(d: Derivation, wrt: str) -> tuple[str, Expr]:
    """The adjoint that a word asks for: `W`, `d_W`, or an equation's `h`, `d_h`. ShowingError where there is none."""
    bare = wrt[2:] if wrt.startswith("d_") else wrt
    if bare in d.gradients:
        return f"d_{bare}", d.gradients[bare]
    for e, name in d.names().items():
        if name == f"d_{bare}":
            return name, e
    if bare in d.source.training.freeze:
        raise ShowingError(f"{bare} is frozen, so it has no gradient")
    if bare in d.source.params or bare in d.source.equations:
        raise ShowingError(f"the loss does not depend on {bare}")
    known = [*d.gradients, *(n for n in d.source.equations)]
    near = get_close_matches(bare, known, 1, cutoff=0.5)
    raise ShowingError(f"nothing is called {bare} in {d.source.name}" + (f"; did you mean {near[0]}?" if near else ""))
