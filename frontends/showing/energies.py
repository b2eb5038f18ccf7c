"""What is derived from an energy, as formulas: conditionals, free energy, derivatives, the gradient of the log-likelihood.

    theta_h = W @ v + c                                  natural parameters, -dE/dh
    p(h = 1 | v) = sigmoid(W @ v + c)
    F(v) = -b @ v - sum(softplus(W @ v + c))             -log of the sum of exp(-E) over h
    dE/dW = -h @ v.T
    d log p(v)/dW = E[h @ v.T | v] - E[h @ v.T]          the mean of -dE/dW in the data, less its mean in the model

Derivatives are those of one example, so that no sum over a batch stands in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...compiler.energy import Conditional, EnergyError, conditional, free_energy, replaced, signed_summands
from ...compiler.energy.chains import MIDDLE
from ...compiler.energy.conditionals import named, over
from ...compiler.energy.probe import reading
from ...compiler.energy.sums import ordered
from ...compiler.formulas import Equation, formula, latex
from ...compiler.formulas.latex import symbol_latex, to_latex
from ...compiler.formulas.text import to_text
from ...compiler.gradient import pullback
from ...compiler.graph import BATCH, Broadcast, Const, Expr, Extent, Input, Reduce, apply, length, postorder
from ...compiler.passes.simplify import simplify_exprs
from ...compiler.system import System
from ..language.printing import equation_terms, expression_text
from .derivation import ShowingError

Pair = tuple[str, str]                                   # text and LaTeX


@dataclass(frozen=True)
class Section:
    """Formulas that belong together, and what they are."""

    title: str
    rows: tuple[Equation, ...]


class Derived:
    """The formulas of one energy model."""

    def __init__(self, system: System) -> None:
        assert system.energy is not None
        self.system, self.energy = system, system.energy
        self.names = {e: n for e, n in system.names.items() if n in system.equations}
        self.visible = tuple(u.name for u in self.energy.visible)
        self.hidden = tuple(u.name for u in self.energy.hidden)
        self.given = tuple(n for n in system.inputs if n not in {*self.visible, *self.hidden})

    # ---- sections

    def sections(self) -> list[Section]:
        """All of them, in the order of the derivation."""
        params = self.system.params
        return [
            Section("the energy", tuple(self.stated())),
            Section(f"the hidden units given the visible ones: {_slopes(self.hidden)}", tuple(self.conditionals("hidden"))),
            Section(f"the visible units given the hidden ones: {_slopes(self.visible)}{self.halved()}",
                    tuple(self.conditionals("visible"))),
            Section(f"the free energy, the hidden units summed out: {self.law_of_visible()}", (self.free(),)),
            Section("the derivatives of the energy", tuple(self.derivative(k) for k in params)),
            Section("the gradient of the log-likelihood: the mean of -dE/dtheta in the data, less its mean in the model",
                    tuple(self.likelihood(k) for k in params)),
        ]

    def stated(self) -> Iterator[Equation]:
        """The equations that E reads, and E, as the language writes them."""
        for name, e, term in equation_terms(self.system):
            left = call("E", listing(self.visible, self.hidden, after=self.given)) if name == "E" else symbol(name)
            yield _equation(left, e, (to_text(term, exact=True), to_latex(term)))

    def conditionals(self, side: str) -> Iterator[Equation]:
        """Natural parameters and laws of one side's layers."""
        for c in conditional(self.system, side).values():
            u = c.layer.name
            yield self.row((f"theta_{u}", rf"\theta_{{{symbol_latex(u)}}}"), c.natural)
            yield from self.law(c)

    def halved(self) -> str:
        """What a unit's own value is in its theta, where the energy has its square: the middle of its two values."""
        found = [f"in that of a unit of {c.layer.name}, its own value counts as {MIDDLE[c.layer.kind]:g}"
                 for c in conditional(self.system, "visible").values()
                 if c.interacting and c.layer.kind in MIDDLE and reading(self.system, c.natural, c.layer.node).own]
        return "".join(f"; {x}" for x in found)

    def law(self, c: Conditional) -> Iterator[Equation]:
        """p(h | v), by the kind of units."""
        u = symbol(c.layer.name)
        across = self.hidden if c.layer.visible else self.visible
        given = (*((f"other {c.layer.name}",) if c.interacting else ()), *c.beside, *across, *self.given)
        on = (f"{u[0]} = 1", f"{u[1]} = 1")
        match c.layer.kind:
            case "binary":
                yield self.row(call("p", under(on, given)), c.mean)
            case "spin":
                yield self.row(call("p", under(on, given)), apply("sigmoid", 2 * c.natural))
                yield self.row(mean(under(u, given)), c.mean)
            case "categorical":
                yield self.row(call("p", under(u, given)), c.mean)
            case "gaussian":
                assert c.precision is not None
                yield self.row(mean(under(u, given)), c.mean)
                yield self.row(call("var", under(u, given)), over(_ones(c.precision), c.precision))

    def law_of_visible(self) -> str:
        """p(v) by the free energy."""
        log, free = call("p", under(listing(self.visible), self.given)), call("F", listing(self.visible, after=self.given))
        return f"{log[0]} = exp(-{free[0]}) / Z"

    def free(self) -> Equation:
        return self.row(call("F", listing(self.visible, after=self.given)), free_energy(self.system))

    # ---- one parameter

    def slope(self, value: Expr, wrt: str) -> Expr:
        """d value / d wrt of one example: the sums over a batch of them left out, outer products as they are."""
        node = self.system.params[wrt].node
        if node not in postorder(value):
            return Broadcast(Const(0), (), node.shape, ())
        seed = Broadcast(Const(1), value.axes, (), ())
        e = self.simple(pullback(self.system, {value: seed}, [node]).grads[node])
        one: dict[Expr, Expr] = {Extent(length(BATCH)): Const(1)}
        one |= {n: n.args[0] for n in postorder(e) if isinstance(n, Reduce) and n.kind == "sum" and n.over == (BATCH,)}
        return self.simple(replaced(e, one))

    def simple(self, e: Expr) -> Expr:
        """As a sum of products, numbers and signs in front."""
        nodes = [u.node for u in self.energy.layers]
        return ordered(simplify_exprs([e], self.system.sizes)[0], nodes, named(self.system))

    def statistic(self, wrt: str, value: Expr | None = None) -> Expr:
        """-dE/d wrt, whose means are the likelihood's gradient."""
        return self.simple(-self.slope(self.energy.value if value is None else value, wrt))

    def derivative(self, wrt: str) -> Equation:
        return self.row(slash(("E", "E"), wrt), self.slope(self.energy.value, wrt))

    def likelihood(self, wrt: str) -> Equation:
        """The difference of two expectations."""
        e = self.statistic(wrt)
        log = call("p", under(listing(self.visible), self.given))
        left = slash((f" log {log[0]}", rf"\log {log[1]}"), wrt)
        if not self.reads(e, (*self.visible, *self.hidden)):
            return _equation(left, e, ("0", "0"))
        data = mean(under(self.shown(e), (*self.visible, *self.given))) if self.reads(e, self.hidden) else self.shown(e)
        model = mean(under(self.shown(e), self.given))
        return _equation(left, e, (f"{data[0]} - {model[0]}", f"{data[1]} - {model[1]}"))

    def expected(self, wrt: str) -> Equation | None:
        """E[-dE/dW | v] in closed form, which is -dF/dW; None where no hidden unit stands in it."""
        e = self.statistic(wrt)
        if not self.reads(e, self.hidden):
            return None
        return self.row(mean(under(self.shown(e), (*self.visible, *self.given))), self.statistic(wrt, free_energy(self.system)))

    def reads(self, e: Expr, names: Sequence[str]) -> bool:
        return any(isinstance(n, Input) and n.name in names for n in postorder(e))

    # ---- notation

    def shown(self, e: Expr) -> Pair:
        return formula(e, self.names, limit=None), latex(e, self.names)

    def row(self, left: Pair, e: Expr) -> Equation:
        return _equation(left, e, self.shown(e))


def _ones(like: Expr) -> Expr:
    return Broadcast(Const(1), like.axes, like.shape, ())


def _equation(left: Pair, e: Expr, right: Pair) -> Equation:
    return Equation(left[0], e, left[0], right[0], f"{left[1]} = {right[1]}")


def _slopes(names: Sequence[str]) -> str:
    return ", ".join(f"theta_{n} = -dE/d{n}" for n in names)


def symbol(name: str) -> Pair:
    """A name; `other v` is what the rest of a layer is called."""
    bare = name.removeprefix("other ")
    return name, symbol_latex(bare) if bare == name else rf"\text{{other }}{symbol_latex(bare)}"


def listing(*groups: Sequence[str], after: Sequence[str] = ()) -> Pair:
    """`v, h; x`."""
    parts = [[symbol(n) for g in groups for n in g], [symbol(n) for n in after]]
    text, tex = ("; ".join(", ".join(p[k] for p in part) for part in parts if part) for k in (0, 1))
    return text, tex


def under(what: Pair, given: Sequence[str]) -> Pair:
    """`what | given`."""
    text, tex = listing(given)
    return (f"{what[0]} | {text}", rf"{what[1]} \mid {tex}") if given else what


def call(f: str, inside: Pair) -> Pair:
    return f"{f}({inside[0]})", (f if len(f) == 1 else rf"\mathrm{{{f}}}") + f"({inside[1]})"


def mean(inside: Pair) -> Pair:
    return f"E[{inside[0]}]", rf"\mathbb{{E}}\left[{inside[1]}\right]"


def slash(above: Pair, wrt: str) -> Pair:
    """d above / d wrt."""
    return f"d{above[0]}/d{wrt}", rf"\frac{{\partial {above[1]}}}{{\partial {symbol_latex(wrt)}}}"


# ---------------------------------------------------------------- what the commands print

def energy_text(system: System, wrt: str | None = None, format: str = "formula") -> str:
    """The derivation, or the formulas of one parameter. ShowingError where there is none, in one sentence."""
    found = Derived(system)
    try:
        if wrt is None:
            sections = found.sections()
        else:
            inside = found.expected(_parameter(system, wrt))
            rows = (found.derivative(wrt), found.likelihood(wrt), *([inside] if inside else []))
            sections = [Section("", rows)]
    except EnergyError as error:
        raise ShowingError(str(error)) from None
    return _latex(sections) if format == "latex" else _text(sections)


def explain_energy(system: System, name: str) -> str:
    """What `d_W` (or W) is made of: the terms of E that read W, and what each contributes."""
    wrt = _parameter(system, name)
    found = Derived(system)
    where = f" ({system.spans[wrt]})" if wrt in system.spans else ""
    inside = found.expected(wrt)
    rows = []
    for sign, term in signed_summands(found.energy.value):
        if system.params[wrt].node in postorder(term):
            e = found.statistic(wrt, term if sign > 0 else -term)
            text = expression_text(system, term)
            rows.append((text if sign > 0 else f"-({text})" if text.startswith("-") else f"-{text}", found.shown(e)[0]))
    width = max((len(left) for left, _ in rows), default=0)
    lines = [f"    {left:<{width}}   contributes   {right}" for left, right in rows]
    return "\n\n".join([
        str(found.likelihood(wrt)),
        f"The gradient of the log-likelihood by the parameter {wrt}{where}: the mean of -dE/d{wrt} in the data, less its mean in "
        "the model, which training estimates by samples.",
        *([f"In the data, the hidden units summed out, which is -dF/d{wrt}:\n    {inside}"] if inside is not None else []),
        f"The terms of the energy that read {wrt}, and what each contributes to -dE/d{wrt}:\n" + "\n".join(lines) if rows
        else f"No term of the energy reads {wrt}.",
    ])


def _parameter(system: System, name: str) -> str:
    from difflib import get_close_matches
    bare = name[2:] if name.startswith("d_") and name not in system.params else name
    if bare not in system.params:
        near = get_close_matches(bare, system.params, 1, cutoff=0.5)
        raise ShowingError(f"{system.name} has no parameter {bare}" + (f"; did you mean {near[0]}?" if near else ""))
    return bare


def _text(sections: Sequence[Section]) -> str:
    from .gradients import formula_text
    return "\n\n".join((f"# {x.title}\n" if x.title else "") + formula_text(x.rows) for x in sections)


def _latex(sections: Sequence[Section]) -> str:
    """One `aligned` block, with more space between sections."""
    parts = [" \\\\\n".join(f"  {_aligned(q.latex)}" for q in x.rows) for x in sections if x.rows]
    return "\\begin{aligned}\n" + " \\\\[1ex]\n".join(parts) + "\n\\end{aligned}"


def _aligned(tex: str) -> str:
    """The first sign of equality outside brackets is where rows align."""
    depth = 0
    for i, c in enumerate(tex):
        depth += (c in "([{") - (c in ")]}")
        if depth == 0 and tex.startswith(" = ", i):
            return f"{tex[:i]} &= {tex[i + 3:]}"
    return tex


__all__ = ["Derived", "Section", "energy_text", "explain_energy"]
