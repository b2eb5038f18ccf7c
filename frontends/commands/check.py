"""`chainrule check`: the gradients of the generated code against finite differences.

Of an energy model: those of E at random values of all units, and of the free energy F at random values of the visible ones. What
training follows is made of these. A program for a GPU computes in float32: its own module compares, on the device.
"""

from __future__ import annotations

from ...compiler.energy import free_energy
from ...compiler.energy.objectives import bare
from ...compiler.surgery import without_surgery
from ...compiler.system import System, Training
from ..language.semantics import average
from ..trainer.differences import TOLERANCE, differences, moved, random_inputs
from ..trainer.errors import RunError
from .common import compiled, console, load_model, require_training

ROUGH = 2e-2                                             # what differences in float32 show


def check(model: str, backend: str, sizes: tuple[str, ...], seed: int, block: str | None = None) -> None:
    """Print a row a parameter; a gradient that is wrong is an error."""
    system = load_model(model, sizes, block)
    wrong = [name for part in parts(system) for name in _checked(part, backend, seed)]
    if wrong:
        raise RunError(f"the gradient of {', '.join(dict.fromkeys(wrong))} differs from finite differences by more than "
                       f"{TOLERANCE:g}")


def parts(system: System) -> list[System]:
    """The system, or what of an energy model has gradients: its energy and its free energy as means over a batch."""
    if system.energy is None:
        return [system]
    means = {"E": (system.energy.value, system.copy()), "F": (free_energy(system), bare(system))}
    found = []
    for name, (value, out) in means.items():
        out.name, out.energy, out.data = f"{name} of {system.name}", None, None
        out.training = Training(freeze=system.training.freeze)
        out.equation(name, value)
        out.loss = average(value)
        found.append(out)
    return found


def _checked(system: System, backend: str, seed: int) -> list[str]:
    """Prints the table of one system; the parameters whose gradients are wrong."""
    require_training(system, "check")
    if system.surgery:
        changed = ", ".join(system.surgery)
        console().print(f"on_backward changes the gradient of {changed} on purpose: it is left out here", highlight=False)
    if backend == "cupy":
        if compiled(without_surgery(system), backend).module.check(seed=seed) >= ROUGH:
            raise RunError(f"a gradient of {system.name} differs from differences in float32 by more than {ROUGH:g}")
        return []
    program = compiled(without_surgery(system), backend, "float64")
    params = {**(initial := program.init(seed=seed)), **moved({k: initial[k] for k in system.params}, seed)}
    rows = differences(program, params, random_inputs(system, seed), seed)
    from rich.table import Table
    table = Table(title=f"{system.name}: slopes along random directions, float64")
    for column in ("", "shape", "|gradient|", "derived", "measured", "error"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for r in rows:
        mark = "" if r.right else "  wrong"
        table.add_row(r.name, str(r.shape), f"{r.norm:.4g}", f"{r.derived:+.7e}", f"{r.measured:+.7e}", f"{r.error:.1e}{mark}")
    console().print(table)
    return [r.name for r in rows if not r.right]
