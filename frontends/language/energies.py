"""Energy models: the layers of units, the energy, and what such a model does not hold.

    visible v[D] : binary                0 or 1; of `binary(mean)` the data are means, from 0 to 1
    hidden  h[H] : spin                  -1 or 1
    visible y[M, C] : categorical        M units of C states each: one-hot vectors along the last feature
    visible x[D] : gaussian              real numbers; the variance stands in E
    E = - h @ W @ v - b @ v - c @ h      p(v, h) = exp(-E(v, h)) / Z
"""

from __future__ import annotations

from ...compiler.graph import BATCH, Expr, Input, Noise, Reduce, postorder
from ...compiler.system import Training
from ...compiler.units import KINDS, Energy, Estimator, Units
from . import syntax as s
from .diagnostics import Source
from .inputs import check_input_name, dims_of, enter_input
from .scope import Context, Equation, Lost, Poisoned, Scope, Value, suggest, text_of
from .targets import Collected, shared_items

KINDS_TEXT = "units are binary, spin, categorical or gaussian"
LOSSLESS = "a model with a loss starts with `model`, one with an energy with `energy`"
REFUSED: dict[str, tuple[str, str]] = {                          # what an energy model does not hold, and a way out
    "target": ("an energy model has no target", "what it models is `visible`, what it is given is an `input`"),
    "metric": ("an energy model has no metric", "training reports its reconstruction error and its pseudo-likelihood"),
    "stat": ("an energy model has no stat", "it depends on its units, inputs and parameters alone"),
    "loss": ("an energy model has no loss: what training minimises follows from E", LOSSLESS),
    "output": ("an energy model has no outputs: its functions return means, samples and free energies",
               "leave the line out"),
    "feedback": ("an energy model has no feedback: its units have no time", "`chainrule sample` draws from it by Gibbs steps"),
    "surgery": ("an energy model has no backward pass to change", "leave the line out"),
}


# ---------------------------------------------------------------- declarations

def declare_units(ctx: Context, scope: Scope, x: s.Item, found: Collected) -> None:
    """`visible v[D] : kind`, `hidden h[H] : kind`; several names share a shape and a kind."""
    if not ctx.energy:
        ctx.fail(scope, x, f"`{x.keyword}` declares the units of an energy model, and this is a model with a loss",
                 (Value(scope.source, ctx.header) if ctx.header else None, "it starts here"),
                 hint=f"{LOSSLESS}; values from outside are declared by `input`")
    kind, domain = "", ""
    try:
        kind, domain = _kind(ctx, scope, x)
    except Poisoned:
        pass
    for target, items in shared_items(x.targets):
        try:
            _layer(ctx, scope, x, target, items, kind, domain)
        except Poisoned:
            scope.names.setdefault(target.name, Lost(scope.source, target))


def _layer(ctx: Context, scope: Scope, x: s.Item, target: s.Target, items: tuple[s.Expr, ...], kind: str, domain: str) -> None:
    check_input_name(ctx, scope, target)
    if target.name in ("E", "k"):
        ctx.fail(scope, target, f"`{target.name}` cannot name units: it is "
                 + ("the energy" if target.name == "E" else "the number of Gibbs steps"), hint="choose another name")
    _, shape = dims_of(ctx, scope, target, items)
    if kind == "categorical" and not shape:
        ctx.fail(scope, target, f"a categorical unit has a number of states, and `{target.name}` has no sizes",
                 hint=f"{x.keyword} {target.name}[10] : categorical")
    node = Input(target.name, (BATCH,), shape)
    enter_input(ctx, scope, x, target, node, f"a {x.keyword} layer")
    if kind:
        ctx.layers.append(Units(node, kind, x.keyword == "visible"))
    if domain and x.keyword == "visible":
        ctx.domains[target.name] = domain


def _kind(ctx: Context, scope: Scope, x: s.Item) -> tuple[str, str]:
    """The kind of units, and the range of a visible layer's data where it is narrower than the numbers."""
    names = ", ".join(t.name for t in x.targets)
    if x.type is None:
        ctx.fail(scope, x, f"`{names}` needs a kind of units", hint=f"{x.keyword} {text_of(scope, x.targets[-1])} : binary; "
                 f"{KINDS_TEXT}")
    kind = x.type
    words = [a.value.name if isinstance(a.value, s.Name) and a.name is None else "" for a in kind.args]
    if kind.name == "binary" and words in ([], ["mean"]):
        if words and x.keyword == "hidden":
            ctx.fail(scope, kind, "`binary(mean)` says that data are means, and hidden units have no data",
                     hint=f"hidden {text_of(scope, x.targets[-1])} : binary")
        return "binary", "unit" if words else "binary"
    if kind.name == "class":
        ctx.fail(scope, kind, "units have states and no classes",
                 hint=f"one-hot vectors of ten states: {x.keyword} {x.targets[0].name}[10] : categorical")
    if kind.name not in KINDS:
        ctx.fail(scope, kind, f"there are no units of the kind `{text_of(scope, kind)}`",
                 hint=suggest(kind.name, Scope(scope.source), KINDS) or KINDS_TEXT)
    if kind.args:
        only = "binary(mean), which takes data between 0 and 1 as means" if kind.name == "binary" else f"`{kind.name}` alone"
        ctx.fail(scope, kind, f"`{kind.name}` takes no such argument", hint=f"it is {only}")
    return kind.name, ""


# ---------------------------------------------------------------- what does not belong here

def refused(ctx: Context, scope: Scope, x: s.Statement) -> bool:
    """Reports a statement that an energy model does not hold."""
    word = x.keyword if isinstance(x, s.Item) else type(x).__name__.lower()
    if word not in REFUSED:
        return False
    message, hint = REFUSED[word]
    ctx.report(scope, x, message, hint=hint)
    return True


# ---------------------------------------------------------------- the energy

def energy(ctx: Context, scope: Scope) -> None:
    """Takes the equation `E` as the model's energy."""
    assert ctx.header is not None
    for visible, word in ((True, "visible"), (False, "hidden")):
        declared = any(isinstance(b, Lost) or b.what == f"a {word} layer" for b in scope.names.values())
        if not any(u.visible is visible for u in ctx.layers) and not declared:
            ctx.report(scope, ctx.header, f"an energy model has visible and hidden units, and this has no {word} ones",
                       hint=f"{word} {'v[D]' if visible else 'h[H]'} : binary")
    q = scope.find("E")
    if isinstance(q, Lost) or (isinstance(q, Equation) and q.state != "done"):
        raise Poisoned
    if not isinstance(q, Equation) or q.expr is None or q.item is None or q.item.value is None:
        if "E" not in scope.names or not ctx.diagnostics:
            ctx.report(scope, ctx.header, "an energy model says what its energy is",
                       (q, f"here `E` is {q.what}") if q else (None, ""), hint="E = - h @ W @ v - b @ v - c @ h")
        raise Poisoned
    from .training import one_number
    one_number(ctx, scope, q.item.value, q.expr, (), "energy")
    _read_by(ctx, scope, q.expr, q.item.value)
    ctx.system.equations.pop(q.full)
    ctx.system.energy = Energy(q.expr, tuple(ctx.layers))
    ctx.system.training = Training(estimator=Estimator())


def _read_by(ctx: Context, scope: Scope, value: Expr, at: s.Expr) -> None:
    """Every layer stands in the energy, and nothing random or trained elsewhere."""
    nodes = dict.fromkeys(postorder(value))
    for u in ctx.layers:
        binding = scope.find(u.name)
        if u.node not in nodes and binding is not None:
            ctx.report(scope, binding.node, f"`{u.name}` stands in no term of E, so nothing depends on it",
                       hint="give it a term, or leave it out")
    noise = next((e for e in nodes if isinstance(e, Noise)), None)
    if noise is not None:
        source, node = written_at(ctx, value, noise) or (scope.source, at)
        ctx.report(Scope(source), node, "the energy is no fixed function of the units: noise enters it",
                   hint="the units themselves are what is random")
    mixed = next((e for e in nodes if isinstance(e, Reduce) and BATCH in e.over), None)
    if mixed is not None:
        source, node = written_at(ctx, value, mixed) or (scope.source, at)
        ctx.report(Scope(source), node, "the energy is that of one example, and here examples are added up",
                   hint="leave mean[batch] or sum[batch] out: training takes the mean of what follows from E")
    if ctx.system.stats:
        name = next(iter(ctx.system.stats))
        ctx.report(scope, at, f"E reads the stat `{name}`, and {REFUSED['stat'][0]}", hint=REFUSED["stat"][1])


def derivable(ctx: Context, scope: Scope) -> None:
    """Derives conditionals and free energy, and points at the term that prevents it."""
    from ...compiler.energy import EnergyError, conditional, free_energy, objective
    from ...compiler.formulas import formula
    assert ctx.system.energy is not None
    place: tuple[Source, s.Node] | None = None
    try:
        for side in ("hidden", "visible"):
            conditional(ctx.system, side)
        free_energy(ctx.system)
        place = ctx.estimator                                    # what is wrong now, is wrong with it
        objective(ctx.system)
    except EnergyError as error:
        value, binding = ctx.system.energy.value, scope.find(error.layer or "E")
        place = written_at(ctx, value, error.term) if error.term is not None else place
        if place is None and binding is not None:
            place = binding.source, binding.node
        source, node = place or (scope.source, s.Node(0, 1))
        said = str(error)
        if error.term is not None and error.term in ctx.places:   # a term reads as it was written
            said = said.replace(f"`{formula(error.term, ctx.system.names)}`", f"`{text_of(Scope(source), node)}`")
        message, _, hint = said.rpartition("; ") if "; " in said else (said, "", "")
        declared = binding if error.layer is not None and binding is not None and binding.node is not node else None
        ctx.report(Scope(source), node, message, (declared, f"`{error.layer}` is declared here"), hint=hint or None)


def written_at(ctx: Context, root: Expr, inner: Expr) -> tuple[Source, s.Node] | None:
    """Where the smallest written part of `root` stands that holds a node."""
    holds: dict[Expr, bool] = {}
    if inner in ctx.places:
        return ctx.places[inner]
    for e in postorder(root):
        holds[e] = e is inner or any(holds[a] for a in e.args)
        if holds[e] and e in ctx.places:
            return ctx.places[e]
    return None


__all__ = ["declare_units", "derivable", "energy", "refused"]
