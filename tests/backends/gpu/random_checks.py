"""What every random model must satisfy: `agrees(text, seed)` says in one word what became of it, and else raises AssertionError.

The reference interpreter against finite differences; the module for NumPy, as formulas, as it is printed by default, and with
loops unrolled or in chunks, against the interpreter; the model's text against the model; other lengths through the same module
and workspace; outputs step by step; three training steps; the same in C. All of that in float64, where a kink is met by no random
number; ties (a maximum of two zeros) fall to the first everywhere. CUDA in float32.
"""

from __future__ import annotations

import random
import re

import numpy as np
from chainrule.backends.cpu.program import Program
from chainrule.backends.native.program import NativeProgram
from chainrule.compiler.check import check_gradients
from chainrule.compiler.graph import BATCH, GraphError
from chainrule.compiler.options import Options
from chainrule.compiler.shortest import shortest
from chainrule.frontends.language import ModelError, parse
from chainrule.frontends.language.printing import to_text
from gpu import host, programs
from zoo.points import SEED, drawn

WITHIN = 2e-5, 1e-6
RTOL, ATOL = 1e-7, 1e-9
PLACE = re.compile(r"^\S+:\d+:\d+: error: \S")
PARTS = ("name", "sizes", "inputs", "targets", "domains", "params", "stats", "outputs", "loss", "penalties", "metrics",
         "training")


def system_of(source):
    """The model, or None where it is refused: in a sentence with its place, or that is a mistake."""
    try:
        return parse(source)
    except ModelError as e:
        assert PLACE.match(str(e)), str(e)
        return None


def lengths(system, seed):
    """Random lengths of every axis, as short as the model allows."""
    r = random.Random(seed)
    found = {"B": r.choice((1, 2, 3, 5)), "T": r.choice((1, 2, 3, 5)), "S": r.choice((1, 2, 4))}
    return {k: max(n, shortest(system, system.lengths).get(k, 1)) for k, n in found.items()}


def point(system, seed):
    """Parameters and inputs of random lengths."""
    at, rng = drawn(system, lengths(system, seed)), np.random.default_rng(seed)
    for k, v in at.inside.items():
        if k.startswith("lengths_"):
            at.inside[k] = rng.integers(1, at.lengths[k[-1].upper()] + 1, v.shape)
        elif k in system.domains:
            at.inside[k] = rng.random(v.shape) if system.domains[k] == "unit" else (rng.random(v.shape) < 0.5).astype(float)
        elif v.dtype.kind == "f":
            at.inside[k] = rng.standard_normal(v.shape)
    for k in system.params:
        at.params[k] = np.asarray(at.params[k] + 0.05 * rng.standard_normal(np.shape(at.params[k])))
    return at


def close(found, wanted, what, rtol=RTOL, atol=ATOL):
    """All numbers are the same, by name; a result's tolerance is that of its largest number."""
    assert {*found} == {*wanted}, (what, {*found} ^ {*wanted})
    for k, v in wanted.items():
        x, y = np.asarray(found[k], float), np.asarray(v, float)
        y = np.broadcast_to(y, x.shape) if k.startswith("output") and x.ndim == y.ndim + 1 else y    # of no example's own
        assert x.shape == y.shape, f"{what}, {k}: shape {x.shape}, not {y.shape}"
        far = np.abs(x - y).max(initial=0)
        assert far <= atol + rtol * np.abs(y).max(initial=0), f"{what}, {k}: off by {far:.2g}, of {np.abs(y).max():.2g}"


def results(program, at, workspace=None):
    """Loss, gradients and outputs of a program, as the interpreter has them."""
    params, inputs = {k: np.array(v, float) for k, v in at.params.items()}, at.inputs(program)
    loss, grads = programs.taking(program.module.loss_and_grads, params, inputs, seed=SEED, workspace=workspace)[:2]
    outputs = programs.taking(program.module.predict, params, inputs) if at.system.outputs else {}
    outputs.pop("carry", None)
    return {"loss": loss} | {f"d {k}": v for k, v in grads.items()} | {f"output {k}": v for k, v in outputs.items()}


def interpreted(at):
    """The same by the interpreter."""
    with np.errstate(all="ignore"):
        loss, grads, outputs = at.expected()
    return {"loss": loss} | {f"d {k}": v for k, v in grads.items()} | {f"output {k}": v for k, v in outputs.items()}


def again(system):
    """The model's text is read as the identical model."""
    printed = to_text(system)
    read = parse(printed)
    for part in PARTS:
        assert getattr(read, part) == getattr(system, part), f"{part} of the printed text\n{printed}"
    for name, e in system.equations.items():
        assert read.equations[name] is e, f"{name} of the printed text\n{printed}"


def by_differences(system, at, order):
    """The derived gradient against finite differences, where nothing is left out of it on purpose."""
    if "stop(" in to_text(system):
        return
    report = check_gradients(system, {**at.params, **at.inside}, order=order, lengths=at.lengths)
    assert report.ok, f"finite differences\n{report}"


def trained(program, at):
    """All results of a program's functions, three training steps among them."""
    params = {k: np.array(v, float) for k, v in at.params.items()}
    return programs.flat(programs.everything(program.module, params, at.inputs(program)))


def on_numpy(plain, program, at, wanted, seed):
    """Both levels of the NumPy module against the interpreter; steps, and other lengths in one workspace, against each other."""
    close(results(plain, at), wanted, "NumPy as formulas")
    workspace = program.Workspace()
    close(results(program, at, workspace), wanted, "NumPy")
    other = point(at.system, seed + 1)
    close(results(program, other, workspace), results(plain, other), f"NumPy at {other.lengths}")
    close(results(program, at, workspace), wanted, "NumPy again")
    steps = trained(plain, at)
    close(trained(program, at), steps, "steps in NumPy", 1e-5, 1e-7)
    return other, results(plain, other), steps


def step_by_step(program, at, wanted):
    """The outputs at every step, where a model has a step along an axis and examples end together."""
    steps, system = program.compiled.steps, at.system
    if steps is None or system.lengths:
        return
    plan, inputs = steps.plan, at.inputs(program)
    params = {k: np.array(v, float) for k, v in at.params.items()}
    counted = any(BATCH in system.inputs[k].axes for k in plan.fixed)
    carry = programs.taking(program.module.start, params, inputs, **({} if counted else {"batch": at.lengths["B"]}))
    given = {k: inputs[k] for k in plan.given}
    if not given:
        return
    for t in range(at.lengths[plan.axis.upper()]):
        out, carry = program.module.step(params, carry, **{k: v[:, t] for k, v in given.items()})
        along = {k: v for k, v in out.items() if {plan.axis, BATCH} <= {*system.equations[k].axes}}
        close(along, {k: wanted[f"output {k}"][:, t] for k in along}, f"step {t}", 1e-7, 1e-9)


def scheduled(system, at, wanted, seed):
    """Loops unrolled, or computed again in chunks: the same numbers."""
    if not any("t" in i.axes for i in system.inputs.values()):
        return
    r = random.Random(seed)
    options = r.choice(({"unroll": 2}, {"unroll": 3}, {"checkpoint": "sqrt"}, {"checkpoint": "every 2"}))
    if system.training.truncate or system.training.checkpoint:
        options = {"unroll": 2}
    try:
        program = Program(system, "float64", options=Options(**options))
    except GraphError as e:
        assert "\n" not in str(e), str(e)
        return
    close(results(program, at), wanted, f"NumPy, {options}")


def in_c(system, at, wanted, other, other_wanted, steps):
    """The same in C."""
    native = NativeProgram(system, "float64")
    workspace = native.Workspace()
    close(results(native, at, workspace), wanted, "C")
    close(results(native, other, workspace), other_wanted, f"C at {other.lengths}")
    close(results(native, at, workspace), wanted, "C again")
    close(trained(native, at), steps, "steps in C", 1e-5, 1e-7)


def on_device(at, seed):
    """The CUDA text on the CPU against NumPy, both in float32; or how they differ where no comparison is possible."""
    c = programs.made(at, persistent=seed % 5 > 0)
    wanted = programs.on_numpy(c)
    found = programs.on_device(c, (host.FORWARD, host.SHUFFLED)[seed % 2], trapped=True)
    far = programs.differences(found, wanted, *WITHIN)
    if not far or programs.at_a_kink(c, *WITHIN):
        return "kink" if far else "agrees"
    double = {k: np.asarray(v, float) for k, v in c.params.items()}
    exact = programs.Case(c.system, double, c.inputs, Program(c.system, "float64"), "")
    right = programs.on_numpy(exact)
    rounding = programs.differences(right, wanted, 4e-6, 1e-7)   # NumPy's own, which is as large
    assert far.keys() <= rounding.keys(), f"CUDA at {at.lengths}: {far}"
    for k in far:
        off, own = (np.abs(x[k] - right[k]).max() for x in (found, wanted))
        assert off <= 10 * own, f"CUDA at {at.lengths}, {k}: off by {off:.2g}, NumPy's float32 by {own:.2g}"
    return "rounding"


def agrees(source, seed, c=True, cuda=True):
    """What became of a model: `refused`, `not finite`, `agrees`; `kink` or `rounding` where float32 has several right results."""
    system = system_of(source)
    if system is None:
        return "refused"
    again(system)
    at = point(system, seed)
    wanted = interpreted(at)
    if not all(np.isfinite(v).all() and np.abs(v).max(initial=0) < 1e6 for v in wanted.values()):
        return "not finite"
    if seed % 3 == 0:
        by_differences(system, at, order=1 + seed % 2)
    try:
        modules = [Program(system, "float64", level) for level in (0, 1)]
    except GraphError as e:                                      # what cannot be cut into chunks, say: one sentence
        assert "\n" not in str(e), str(e)
        return "refused"
    others = on_numpy(*modules, at, wanted, seed)
    step_by_step(modules[1], at, wanted)
    scheduled(system, at, wanted, seed)
    if c:
        in_c(system, at, wanted, *others)
    return on_device(at, seed) if cuda else "agrees"
