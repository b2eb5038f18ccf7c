"""A compiled model: the generated module, loaded, with the module's functions as methods."""

from __future__ import annotations

import gc
import linecache
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ...compiler.graph import GraphError
from ...compiler.options import Options
from ...compiler.passes.naming import printable
from ...compiler.pipeline import Compiled, compile_system
from ...compiler.system import System
from .checkpointing import CheckpointPlan, checkpoint_plan
from .energies import CALLED, EnergyPrinter
from .module import Module, ModulePrinter, refuse_taken


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection inside: what a compiler builds lives on, and a long unrolled program is looked through many times."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class Program:
    """A NumPy module printed from a system.

    `source` is its text, `lines` maps every named value to the lines that compute it, `compiled` keeps every stage. The module's
    functions (`init`, `predict`, `evaluate`, `loss_and_grads`, `train_step`, `init_state`, `Workspace`) are attributes.
    """

    backend, filename = "numpy", "model_np.py"                   # what its module is called beside weights
    direct = False                                               # whether its convolutions read windows where they stand
    Printer: type[ModulePrinter] = ModulePrinter
    EnergyPrinter: type[ModulePrinter] = EnergyPrinter

    def __init__(self, system: System, dtype: str = "float32", level: int = 1, options: Options | None = None) -> None:
        self.system, self.dtype, self.level, self.options = system, dtype, level, options or Options()
        with uncollected():
            self.compiled: Compiled = compile_system(system, self.options, self.direct)
            kind = self.EnergyPrinter if system.energy is not None else self.Printer
            printer = kind(self.compiled, dtype, level, self.options)
            printed: Module = printer.print()
            refuse_taken(printer.sizes, printed.source)
        self.source, self.lines, self.printers = printed.source, printed.lines, printed.printers
        self._module: ModuleType | None = None
        self._left_out: dict[str, set[str]] = {}

    def __repr__(self) -> str:
        lines = self.source.count("\n")
        return f"<{self.system.name} for {self.backend}, {self.dtype}: a module of {lines} lines, in .source>"

    @property
    def module(self) -> ModuleType:
        """The loaded module; its lines show in tracebacks."""
        if self._module is None:
            name = f"<chainrule {printable(self.system.name)}>"
            linecache.cache[name] = (len(self.source), None, self.source.splitlines(keepends=True), name)
            module = ModuleType("chainrule_generated")
            exec(compile(self.source, name, "exec"), module.__dict__)
            self._module = module                                # a module that cannot be loaded is not kept
        return self._module

    def init(self, seed: int = 0) -> dict[str, Any]:
        """Fresh parameters."""
        return self.module.init(seed)  # type: ignore[no-any-return]

    def predict(self, params: dict[str, Any], **inputs: Any) -> dict[str, Any]:
        """The outputs, in evaluation mode."""
        return self._of_loss("predict")(params, **self._read("predict", inputs))  # type: ignore[no-any-return]

    def evaluate(self, params: dict[str, Any], **inputs: Any) -> dict[str, Any]:
        """Loss, penalty and metrics, in evaluation mode, as sums and counts."""
        return self._of_loss("evaluate")(params, **self._read("evaluate", inputs))  # type: ignore[no-any-return]

    def loss_and_grads(self, params: dict[str, Any], *, workspace: Any = None, seed: Any = 0,
                       **inputs: Any) -> tuple[Any, ...]:
        """The objective and its gradients; of a truncated model (loss, grads, carry)."""
        read = self._read("gradients", inputs)
        return self._of_loss("loss_and_grads")(  # type: ignore[no-any-return]
            params, workspace=workspace, seed=seed, **read)

    def train_step(self, params: dict[str, Any], state: dict[str, Any], **inputs: Any) -> Any:
        """One step of the optimiser, in place; the loss before it, of a truncated model (loss, carry)."""
        return self.module.train_step(params, state, **self._read("gradients", inputs))

    def start(self, params: dict[str, Any], **inputs: Any) -> dict[str, Any]:
        """The carry before the first step: boundary values, and all that does not run along the axis of steps."""
        return self._steps("start")(params, **self._known("start", inputs))  # type: ignore[no-any-return]

    def step(self, params: dict[str, Any], carry: dict[str, Any], **inputs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """One step, in evaluation mode: the outputs, and the carry of the next step."""
        return self._steps("step")(params, carry, **self._known("step", inputs))  # type: ignore[no-any-return]

    def generate(self, params: dict[str, Any], length: int, seed: Any = 0, **inputs: Any) -> Any:
        """Sequences that the model draws, (batch, length): see the module's function."""
        return self._steps("generate")(params, length, seed, **self._known("generate", inputs))

    def _steps(self, name: str) -> Any:
        """A function of the module; GraphError says why it has none."""
        if self.compiled.model is not None:
            return self._of_loss(name)
        if self.compiled.steps is None:
            raise GraphError(f"{self.system.name} offers no {name}: {self.compiled.stepless}")
        if name == "generate" and self.system.feedback is None:
            raise GraphError(f"{self.system.name} offers no generate: it has no feedback x[t+1] ~ ...")
        return getattr(self.module, name)

    def _known(self, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs that a step, the start or the generation reads; other inputs of the model are left out."""
        plan = self.compiled.steps.plan if self.compiled.steps else None
        read = (*(plan.fixed if name != "step" else ()), *(plan.given if name != "start" else ())) if plan else ()
        return {k: v for k, v in inputs.items() if k in read or k not in self.system.inputs}

    def _read(self, function: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """What a function of the module takes: inputs of the model that it does not read are left out."""
        if function not in self._left_out:                       # at every step: a look-up, no more
            found = self.compiled.functions.get(function)
            known = {*self.system.inputs, *(n for f in self.compiled.functions.values() for n in f.free)}
            self._left_out[function] = known - {*found.inputs, *found.free} if found else known
        left_out = self._left_out[function]
        return inputs if left_out.isdisjoint(inputs) else {k: v for k, v in inputs.items() if k not in left_out}

    def init_state(self, params: dict[str, Any], seed: int = 0, **more: Any) -> dict[str, Any]:
        """What a training step keeps; of a model with persistent chains, `chains` says how many."""
        return self.module.init_state(params, seed, **more)  # type: ignore[no-any-return]

    def hidden_given_visible(self, params: dict[str, Any], **inputs: Any) -> Any:
        """Of an energy model: the means of the hidden units."""
        return self._of_energy("hidden")(params, **inputs)

    def visible_given_hidden(self, params: dict[str, Any], **inputs: Any) -> Any:
        """Of an energy model: the means of the visible units."""
        return self._of_energy("visible")(params, **inputs)

    def gibbs(self, params: dict[str, Any], k: int, seed: Any = 0, **inputs: Any) -> Any:
        """Of an energy model: samples of the visible units after k steps from those given."""
        return self._of_energy("gibbs")(params, k=k, seed=seed, **inputs)

    def free_energy(self, params: dict[str, Any], **inputs: Any) -> Any:
        """Of an energy model: F(v), per example."""
        return self._of_energy("free_energy")(params, **inputs)

    def statistics(self, params: dict[str, Any], **inputs: Any) -> dict[str, Any]:
        """Of an energy model: the mean of -dE/dw given the visible units."""
        return self._of_energy("statistics")(params, **inputs)  # type: ignore[no-any-return]

    def _of_loss(self, name: str) -> Any:
        """A function of the module of a model with a loss."""
        if self.compiled.model is not None:
            raise GraphError(f"{self.system.name} offers no {name}: it has an energy; there are train_step, "
                             "hidden_given_visible, visible_given_hidden, gibbs, free_energy and statistics")
        return getattr(self.module, name)

    def _of_energy(self, name: str) -> Any:
        """A function of the module of an energy model; GraphError says why it is not there."""
        public = CALLED.get(name, name)
        if name not in self.compiled.parts:
            why = self.compiled.missing.get(name, "it has a loss, and no energy")
            raise GraphError(f"{self.system.name} offers no {public}: {why}")
        return getattr(self.module, public)

    def Workspace(self) -> Any:
        """The buffers of one caller."""
        return self.module.Workspace()

    def save(self, path: str | Path) -> Path:
        """Write the module; it needs NumPy and nothing else."""
        out = Path(path)
        out.write_text(self.source, encoding="utf-8")
        return out

    def checkpoint_plan(self, B: int, T: int, **lengths: int) -> CheckpointPlan:
        """How a step is cut into chunks at these lengths, and its memory with and without; compiled with checkpoint only."""
        return checkpoint_plan(self, {"B": B, "T": T, **lengths})

    def memory_plan(self, function: str = "gradients") -> list[tuple[str, str, int, int, int]]:
        """(name, shape, slot, first statement, last statement) of every buffer of a function."""
        printer = self.printers[function]
        return [(a.name, f"({', '.join(map(str, a.dims))})", i, first, last)
                for i, slot in enumerate(printer.plan.slots) for a, first, last in slot.members]
