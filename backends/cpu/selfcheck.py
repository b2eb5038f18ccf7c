"""What `python generated_module.py` does: gradients against central differences, as a table."""

from __future__ import annotations

from ...compiler.graph import BATCH, length
from ...compiler.options import Options
from ...compiler.program import Function
from ...compiler.system import System, lengths_input
from .head import tuple_lines

CHECK = '''def check(batch=5{lengths}, seed=0):
    """Gradients against central differences in float64, along random directions, for every parameter."""
    rng = np.random.default_rng(seed)
    params = {{k: rng.normal(0.0, 0.3, np.shape(v)) for k, v in init(seed).items()}}
{positive}    inputs = dict(
{inputs}
    )
    loss, grads{carry} = loss_and_grads(params, **inputs)
    print(f"loss {{float(loss):.6f}}")
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
                sides.append(float(loss_and_grads(params, **inputs)[0]))
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

CHANGED = '''def check():
    """Nothing: `on_backward` changes the gradient on purpose, so finite differences differ."""
    print("on_backward changes the gradient of {names}; compile the model without it to check the rest")
    return 0.0


if __name__ == "__main__":
    raise SystemExit(check())
'''


def selfcheck_text(system: System, function: Function, options: Options) -> str:
    """The `check` function for a system's inputs at small lengths."""
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
    if system.surgery:
        return CHANGED.format(names=", ".join(system.surgery))
    return CHECK.format(lengths="".join(f", {x}_length={options.steps or 4}" for x in axes), inputs="\n".join(rows),
                        positive=lines, carry="" if system.training.truncate is None else ", _")
