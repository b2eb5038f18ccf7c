"""`chainrule show --stage S`: what each stage of the compiler made, as text."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from ...compiler.formulas import Equation, equations
from ...compiler.passes.simplify import simplify
from ...compiler.passes.stabilise import stabilise
from ...compiler.system import System
from .derivation import ShowingError, derive, notes_of
from .gradients import formula_text
from .network import graph


def stage_text(system: System, stage: str = "system", form: str = "dot", backend: str = "numpy") -> str:
    """One stage as text; `form` is how the graph is drawn: dot or svg. The last stages are those of a backend.

    ShowingError names the stages that there are.
    """
    if stage not in STAGES:
        near = get_close_matches(stage, STAGES, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(STAGES)}"
        raise ShowingError(f"there is no stage {stage}; {hint}")
    if stage in PRINTED:
        return PRINTED[stage](system, backend)
    return _graph(system, form) if stage == "graph" else STAGES[stage](system)


def _system(system: System) -> str:
    from ..language.printing import to_text
    return to_text(system)


def _graph(system: System, form: str = "dot") -> str:
    from .drawing import to_dot, to_svg
    return to_svg(graph(system)) if form == "svg" else to_dot(graph(system))


def _listed(system: System) -> list[Equation]:
    roots = {k: e for k, e in system.equations.items() if not k.endswith("*")}
    if system.loss:
        roots["loss"] = system.loss.value
    if system.energy:
        roots["E"] = system.energy.value
    names = {**system.names, **{e: k for k, e in roots.items()}}
    return equations(roots, names)


def _stabilised(system: System) -> str:
    """The equations, each under the rewrites that shaped it."""
    stabilised = stabilise(system)
    notes, lines = notes_of(stabilised, system), []
    listed = _listed(simplify(stabilised))
    width = max((len(q.left) for q in listed if len(q.left) <= 24), default=0)
    for q in listed:
        lines += [f"# {note}" for note in notes.get(q.name, ())]
        lines.append(f"{q.left:<{width}} = {q.text}")
    return "\n".join(lines)


def _adjoint(system: System) -> str:
    """The adjoint system as the chain rule gives it, before any algebra."""
    d = derive(system)
    extended = d.adjoint.system
    roots = {f"d_{k}": d.adjoint.grads[p.node] for k, p in d.stable.params.items() if p.node in d.adjoint.grads}
    return formula_text(equations(roots, extended.names, d.forward()))


def _simplified(system: System) -> str:
    from .gradients import gradient_equations
    return formula_text(gradient_equations(derive(system), None))


def _compiled(system: System, backend: str) -> Any:
    from ...backends.interface import compile_for
    return compile_for(system, backend)


def _schedule(system: System, backend: str) -> str:
    if backend == "numpy":
        from ...compiler.pipeline import compile_system
        from .programs import schedule_text
        return schedule_text(compile_system(system))
    from .nests import nests_text
    program = _compiled(system, backend)
    text = nests_text(program)
    if backend != "cupy":
        return text
    from ...backends.gpu.persistent_cost import reasons
    examples = system.training.batch or 32
    lines = [f"    {line}" for line in reasons(program, examples)]
    return "\n".join([text, "", f"loops over time, with {examples} examples, by rates that are guesses until they are measured:",
                      *lines]) if lines else text


def _program(system: System, backend: str) -> str:
    from .programs import program_text
    return program_text(_compiled(system, backend))


def _memory(system: System, backend: str) -> str:
    from .programs import memory_text
    return memory_text(_compiled(system, backend))


def _code(system: System, backend: str) -> str:
    return str(_compiled(system, backend).source)


PRINTED: dict[str, Callable[[System, str], str]] = {
    "schedule": _schedule, "program": _program, "memory": _memory, "code": _code,
}
STAGES: dict[str, Callable[..., str]] = {
    "system": _system, "graph": _graph, "stabilised": _stabilised, "adjoint": _adjoint, "simplified": _simplified, **PRINTED,
}
