"""The derived gradient as text: formulas, LaTeX, or the lines of the generated module that compute it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...compiler.formulas import Equation
from ...compiler.graph import Slice
from ...compiler.system import System
from .derivation import Derivation, ShowingError, derive, root_of

if TYPE_CHECKING:
    from ...backends.cpu.program import Program

FORMATS = ("formula", "latex", "code")


def grad_text(system: System, wrt: str | None = None, format: str = "formula", backend: str = "numpy") -> str:
    """The gradient by `wrt` (a parameter, or any equation), or by every trained parameter, as a list of equations.

    `backend`: whose code is shown, where that is the format. ShowingError says in one sentence why there is none. In an outer
    product `d_p @ h.T` the sum over the batch is implied.
    """
    if format not in FORMATS:
        raise ShowingError(f"a gradient is shown as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, not as {format}")
    if system.energy is not None and format != "code":
        from .energies import energy_text
        return energy_text(system, wrt, format)
    d = derive(system)
    listed = gradient_equations(d, wrt)
    if format == "latex":
        return latex_text(listed)
    if format == "code":
        return code_text(system, [q.name for q in listed], backend)
    return formula_text(listed)


def gradient_equations(d: Derivation, wrt: str | None) -> list[Equation]:
    """The equations of one gradient, or of all."""
    roots = dict([root_of(d, wrt)]) if wrt is not None else {f"d_{k}": e for k, e in d.gradients.items()}
    return d.equations(roots)


def formula_text(listed: Iterable[Equation]) -> str:
    """One equation a line, the signs of equality below each other where that helps reading."""
    listed = list(listed)
    width = max((len(q.left) for q in listed if len(q.left) <= 24), default=0)
    return "\n".join(f"{q.left:<{width}} = {q.text}" for q in listed)


def latex_text(listed: Iterable[Equation]) -> str:
    """An `aligned` block, to stand between dollars."""
    rows = " \\\\\n".join("  " + q.latex.replace(" = ", " &= ", 1) for q in listed)
    return f"\\begin{{aligned}}\n{rows}\n\\end{{aligned}}"


def code_text(system: System, names: Iterable[str], backend: str = "numpy") -> str:
    """The lines of the generated module that compute the named values, in its order."""
    from ...backends.cpu.program import Program
    from ...backends.interface import compile_for
    program = compile_for(system, backend)
    assert isinstance(program, Program)
    numbers = sorted({n for name in names for n in computing(program, name)})
    source = program.source.splitlines()
    if system.energy is not None:                                # what training follows, not the statistics of the data alone
        inside = [n for n, line in enumerate(source, 1) if line.startswith("def _statistics(")]
        numbers = [n for n in numbers if not inside or n < inside[0]]
    width = len(str(numbers[-1])) if numbers else 0
    return "\n".join(f"{n:{width}d}  {source[n - 1]}" for n in numbers)


def computing(program: Program, name: str) -> list[int]:
    """The lines that compute a value; of a parameter that is packed with others also those of what it is cut from."""
    system = program.compiled.differentiated
    e = system.equations.get(name) if system is not None else None
    whole = system.names.get(e.args[0], "") if system is not None and isinstance(e, Slice) else ""
    return sorted({*lines_of(program.lines, whole), *lines_of(program.lines, name)})


def lines_of(lines: dict[str, list[int]], name: str) -> list[int]:
    """The lines that compute a value, under its name as the module writes it."""
    return lines.get(name) or lines.get(name.replace(".", "_")) or []
