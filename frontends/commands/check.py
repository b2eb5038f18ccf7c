"""`chainrule check`: the gradients of the generated code against finite differences."""

from __future__ import annotations

from ...compiler.surgery import without_surgery
from ..trainer.differences import TOLERANCE, differences, moved, random_inputs
from ..trainer.errors import RunError
from .common import compiled, console, load_model, require_training


def check(model: str, backend: str, sizes: tuple[str, ...], seed: int, block: str | None = None) -> None:
    """Print a row a parameter; a gradient that is wrong is an error."""
    system = load_model(model, sizes, block)
    require_training(system, "check")
    if system.surgery:
        changed = ", ".join(system.surgery)
        console().print(f"on_backward changes the gradient of {changed} on purpose: it is left out here", highlight=False)
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
    wrong = [r.name for r in rows if not r.right]
    if wrong:
        raise RunError(f"the gradient of {', '.join(wrong)} differs from finite differences by more than {TOLERANCE:g}")
