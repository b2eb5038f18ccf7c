"""The module of an energy model: training, conditionals, chains, free energy, statistics."""

from __future__ import annotations

from textwrap import wrap

from ...compiler.graph import Expr
from ...compiler.passes.naming import quoted, quoted_tuple
from ...compiler.pipeline import Compiled
from ...compiler.system import System
from ...compiler.units import Units
from .entry import Entry
from .functions import FunctionPrinter, wrapped
from .head import constants, header
from .module import Module, ModulePrinter, trimmed
from .selfcheck import energy_selfcheck
from .views import text

WORK = {"gradients": "The objective; its gradients go into the arrays of `grads`.",
        "statistics": "The means of -dE/dw given the visible units, into the arrays of `grads`.",
        "hidden": "Means of the hidden units.", "visible": "Means of the visible units.",
        "free_energy": "The free energy of every example.", "gibbs": "The visible units after K steps."}
CALLED = {"hidden": "hidden_given_visible", "visible": "visible_given_hidden"}
PUBLIC = ("hidden_given_visible", "visible_given_hidden", "gibbs", "free_energy", "statistics")


class UnitsEntry(Entry):
    """The frame of a function of an energy model: one value is returned as it is, several as a dict."""

    def __init__(self, name: str, printer: FunctionPrinter, uses: set[str], model: System, chain: tuple[str, ...]) -> None:
        super().__init__(name, printer.system, printer, uses)
        assert model.energy is not None
        self.visible = tuple(u.name for u in model.energy.visible)
        self.words, self.more = dict.fromkeys(printer.function.free, "k"), chain
        self.units = {u.name: "mean" if model.domains.get(u.name) == "unit" else u.kind
                      for u in model.energy.visible if u.kind != "gaussian"}

    def epilogue(self) -> list[str]:
        """The return statement."""
        results = {k: v for k, v in self.printer.function.results.items() if v.array.role != "result"}
        if self.name == "statistics":
            return []
        if self.name == "gradients":
            return super().epilogue()
        keep = {k.removesuffix("_end"): text(v) for k, v in results.items() if self.returned(k)}
        if len(keep) == 1:
            return [f"    return {next(iter(keep.values()))}"]
        return wrapped(f"    return {{{', '.join(f'{quoted(k)}: {v}' for k, v in keep.items())}}}", "")

    def returned(self, key: str) -> bool:
        """Whether an output is handed on: of a chain, the visible layers."""
        return self.name != "gibbs" or key.removesuffix("_end") in self.visible


class EnergyPrinter(ModulePrinter):
    """Prints a compiled energy model as a NumPy module."""

    def print(self) -> Module:
        """The module's text."""
        compiled = self.compiled
        assert compiled.model is not None and compiled.model.energy is not None
        self.uses.add("State")
        self.reserved = (*self.reserved, *PUBLIC)
        work = [self.work("gradients"), *(self.part(k) for k in compiled.parts)]
        updates = self.Updates(compiled, self.uses)
        public = [updates.init_state(), updates.train_step(self.arguments("gradients"), self.seeded),
                  *(self.function(k) for k in ("hidden", "visible", "free_energy") if k in compiled.parts), self.statistics(),
                  self.gibbs()]
        private = [*work, updates.rule()]
        top = [header(compiled, self.names), self.imports, constants(self.system, self.sizes)]
        body = [self.initial(), *public, *private]
        body = [*map(self.quiet, body), self.helpers(), self.selfcheck()]
        self.module.source = "\n".join(trimmed(c) for c in top) + "\n\n" + "\n\n".join(trimmed(c) for c in body if c)
        self._locate()
        return self.module

    def selfcheck(self) -> str:
        """`check`, of the statistics against differences of the free energy."""
        assert self.compiled.model is not None
        return energy_selfcheck(self.compiled.model, self.check)

    # ------------------------------------------------------------ public functions

    def function(self, name: str) -> str:
        """One public function: it calls the private one with a workspace of its own."""
        args = ", ".join(["params", *self.compiled.functions[name].inputs])
        what = "The free energy of every example, -log of the sum of exp(-E) over the hidden units"
        if name in CALLED:
            what = f"Means of the {name} units given the others" + self.several(self.layers(name == "visible"))
        head = f"def {CALLED.get(name, name)}({args}):"
        return "\n".join([head, *doc(what), f"    return _{name}({args}, Workspace())"]) + "\n"

    def gibbs(self) -> str:
        """`gibbs`: a chain as one loop, or as calls of one step where units are sampled one by one."""
        function, layers = self.compiled.functions["gibbs"], self.layers(True)
        args = ", ".join(["params", *function.inputs])
        lines = [f"def gibbs({args}, k, seed=0):", *doc(
            f"Samples of the visible units after k steps of a Gibbs chain from {', '.join(u.name for u in layers)}"
            f"{self.several(layers)}; `seed`: an int, or (seed, step)")]
        if function.free:
            return "\n".join([*lines, f"    return _gibbs({args}, k, Workspace(), seed)"]) + "\n"
        self.uses.add("whole_length")
        now = ", ".join(u.name for u in layers)
        keys = quoted_tuple(u.name for u in layers)
        several = [] if len(layers) == 1 else [f"        {now} = (drawn[k] for k in {keys})"]
        return "\n".join([
            *lines, "    seed, first = seed if isinstance(seed, tuple) else (seed, 0)",
            '    for step in range(whole_length("k", k)):',
            f"        {'drawn' if several else now} = _gibbs({args}, Workspace(), (seed, first + step))",
            *several, f"    return {'drawn' if several else now}"]) + "\n"

    def statistics(self) -> str:
        """`statistics`: what training compares between data and model."""
        args = ", ".join(self.compiled.functions["statistics"].inputs)
        return "\n".join([f"def statistics(params, {args}):", *doc(
            "The mean of -dE/dw over the examples and over the hidden units given them, for every parameter w: fresh arrays"),
            "    grads = {k: np.empty_like(params[k]) for k in PARAMS}",
            f"    _statistics(params, grads, {args}, Workspace())", "    return grads"]) + "\n"

    def layers(self, visible: bool) -> tuple[Units, ...]:
        model = self.compiled.model
        assert model is not None and model.energy is not None
        return model.energy.visible if visible else model.energy.hidden

    @staticmethod
    def several(layers: tuple[Units, ...]) -> str:
        return "" if len(layers) == 1 else ", a dict by layer"

    # ------------------------------------------------------------ the work

    def work(self, name: str) -> str:
        """`_gradients`, the private function of the objective."""
        return self._function(name, self.compiled, self.names)

    def part(self, name: str) -> str:
        """The private function of one part."""
        part = self.compiled.parts[name]
        system = part.differentiated or part.evaluated
        assert system is not None
        return self._function(name, part, system.names)

    def _function(self, name: str, part: Compiled, names: dict[Expr, str]) -> str:
        """A function of a system that was differentiated, or else of one with outputs."""
        system = part.differentiated or part.evaluated
        assert system is not None and self.compiled.model is not None
        explained = part.explained["differentiated" if part.differentiated else "evaluated"]
        printer = self.Function(part.functions[name], part.layouts[name], system, names, self.uses, self.reserved,
                                self.level > 0, explained, self.options)
        entry = UnitsEntry(name, printer, self.uses, self.compiled.model, self.compiled.chain)
        return self.framed(name, printer, entry, WORK[name])


def doc(what: str) -> list[str]:
    """A docstring, broken where it is long."""
    rows = wrap(what + ".", 94)
    return [f'    """{rows[0]}"""'] if len(rows) == 1 else [f'    """{rows[0]}', *(f"    {r}" for r in rows[1:]), '    """']


__all__ = ["EnergyPrinter"]
