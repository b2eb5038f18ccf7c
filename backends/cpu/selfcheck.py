"""What `python generated_module.py` does: gradients against central differences, as a table."""

from __future__ import annotations

from ...compiler.graph import BATCH, length
from ...compiler.options import Options
from ...compiler.program import Function
from ...compiler.system import System, lengths_input
from .head import tuple_lines

CHECK = '''def check(batch=5{lengths}, seed=0):
    """{what} against central differences in float64, along random directions, for every parameter."""
    rng = np.random.default_rng(seed)
    params = {{k: rng.normal(0.0, 0.3, np.shape(v)) for k, v in init(seed).items()}}
{positive}    inputs = dict(
{inputs}
    )
    {derive}
    print(f"{{'parameter':<16}}{{'shape':<16}}{{'derived':>16}}{{'differences':>16}}{{'error':>10}}")
    worst = 0.0
    for name, grad in grads.items():
        direction, kept = rng.standard_normal(grad.shape), params[name]
        direction /= np.sqrt((direction**2).sum()) or 1.0
        derived = float((grad * direction).sum())
        for h in 1e-5, 1e-7:                                     # the second, smaller, if the first one meets a kink
            sides = []
            for sign in (1, -1):
                params[name] = kept + sign * h * direction
                sides.append({value})
            differences = (sides[0] - sides[1]) / (2 * h)
            error = abs(derived - differences) / max(abs(derived), abs(differences), 1e-3)
            if error < 1e-6:
                break
        params[name] = kept
        worst = max(worst, error)
        print(f"{{name:<16}}{{str(grad.shape):<16}}{{derived:>16.8f}}{{differences:>16.8f}}{{error:>10.1e}}")
    print("gradients agree" if worst < 1e-5 else "GRADIENTS DIFFER")
    return worst


if __name__ == "__main__":
    raise SystemExit(check() >= 1e-5)
'''

LOSS = """loss, grads{carry} = loss_and_grads(params, **inputs)
    print(f"loss {{float(loss):.6f}}")"""
FREE = """grads = statistics(params, **inputs)
    print(f"mean free energy {float(free_energy(params, **inputs).mean()):.6f}")"""
UNITS = {"binary": "np.float64(rng.random({0}) < 0.5)", "spin": "2 * np.float64(rng.random({0}) < 0.5) - 1",
         "gaussian": "rng.standard_normal({0})", "categorical": "np.eye({2})[rng.integers(0, {2}, {1})]"}

CHANGED = '''def check():
    """Nothing: `on_backward` changes the gradient on purpose, so finite differences differ."""
    print("on_backward changes the gradient of {names}; compile the model without it to check the rest")
    return 0.0


if __name__ == "__main__":
    raise SystemExit(check())
'''


def selfcheck_text(system: System, function: Function, options: Options, check: str = CHECK) -> str:
    """The `check` function for a system's inputs at small lengths; `check`: its text."""
    axes = sorted({x for k in function.inputs for x in system.inputs[k].axes if x != BATCH})
    rows = []
    for k in function.inputs:
        node = system.inputs[k]
        dims = (["batch"] if BATCH in node.axes else []) + [f"{x}_length" for x in node.axes if x != BATCH]
        shape = f"({', '.join([*dims, *(s.format() for s in node.shape)])}{',' if len(dims) + len(node.shape) == 1 else ''})"
        counted = next((x for x in axes if node is lengths_input(x)), None)
        if counted is not None:
            value = f"rng.integers(({counted}_length + 1) // 2, {counted}_length + 1, {shape})"
        elif node.type.kind == "class":
            assert node.type.n is not None
            value = f"rng.integers(0, {node.type.n.format({str(length(x)): f'{x}_length' for x in axes})}, {shape})"
        elif node.type.kind == "bool":
            value = f"rng.random({shape}) < 0.5"
        else:
            value = f"rng.random({shape})"
        rows.append(f"        {k}={value},")
    axes = sorted({*axes, *(x for x in function.axes if str(length(x)) in function.free)})
    rows += [f"        {n}={'batch' if n == 'B' else n.lower() + '_length'}," for n in function.free]
    above = [k for k, s in system.stats.items() if s.init.kind == "constant" and s.init.values and s.init.values[0] > 0]
    positive = [*tuple_lines("above_zero", above), "for k in above_zero:", "    params[k] = np.abs(params[k]) + 0.5"]
    lines = "".join(f"    {line}\n" for line in positive if above)
    steps = {x: options.steps or max(4, function.least.get(str(length(x)), 1)) for x in axes}
    if system.surgery:
        return CHANGED.format(names=", ".join(system.surgery))
    return check.format(what="Gradients", lengths="".join(f", {x}_length={n}" for x, n in steps.items()),
                        inputs="\n".join(rows), positive=lines, value="float(loss_and_grads(params, **inputs)[0])",
                        derive=LOSS.format(carry="" if system.training.truncate is None else ", _"))


def energy_selfcheck(system: System, check: str = CHECK) -> str:
    """The `check` function of an energy model: what training compares is minus the slope of the free energy."""
    assert system.energy is not None
    kinds, rows = {u.name: u.kind for u in system.energy.visible}, []
    hidden = {u.name for u in system.energy.hidden}
    for k, node in system.inputs.items():
        if k not in hidden:
            dims = (["batch"] if BATCH in node.axes else []) + [s.format() for s in node.shape]
            every, groups = (f"({', '.join(d)}{',' if len(d) == 1 else ''})" for d in (dims, dims[:-1]))
            rows.append(f"        {k}={UNITS.get(kinds.get(k, ''), 'rng.random({0})').format(every, groups, dims[-1])},")
    return check.format(what="Statistics, the slope of -F,", lengths="", inputs="\n".join(rows), positive="", derive=FREE,
                        value="-float(free_energy(params, **inputs).mean())")
