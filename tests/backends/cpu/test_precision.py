"""float32 stays float32: no statement of a generated module makes a float64 value from float32 parameters, draws aside."""

import sys

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.graph import BATCH
from chainrule.compiler.program import DOUBLE
from zoo.build import values
from zoo.catalogue import ZOO

DRAWS = {"uniform", "normal", "philox", "init", "draw"}  # computed in float64, then rounded


def watched(program, run, allowed):
    """Runs `run`; the places where a local variable of the module held something of float64."""
    found = {}

    def trace(frame, event, arg):
        if not frame.f_code.co_filename.startswith("<chainrule") or frame.f_code.co_name in DRAWS:
            return None
        for name, value in [*frame.f_locals.items(), ("the result", arg if event == "return" else None)]:
            wide = isinstance(value, (np.ndarray, np.generic)) and value.dtype == np.float64
            if wide and (frame.f_code.co_name, name) not in allowed and name not in ("state",):
                found.setdefault((frame.f_code.co_name, name), frame.f_lineno)
        return trace

    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(None)
    return [f"{where}: {name}, before {program.source.splitlines()[line - 1].strip()}" for (where, name), line in found.items()]


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", ZOO)
def test_float32_stays_float32(name, level):
    system = ZOO[name]()
    system.outputs = system.outputs or tuple(system.equations)[:1]
    program, at = Program(system, "float32", level), values(system)
    params = {k: at[k].astype(np.float32) for k in (*system.params, *system.stats)}
    inputs = {k: at[k].astype(np.float32) if at[k].dtype == float else at[k] for k in system.inputs}
    inputs = {k: np.swapaxes(v, 0, 1) if len(i.axes) > 1 and BATCH in i.axes else v
              for (k, v), i in zip(inputs.items(), system.inputs.values(), strict=True)}
    slots = [(f, slot) for f, p in program.printers.items() for slot in p.plan.slots if slot.kind == DOUBLE]
    double = {(f"_{f}", a.name) for f, slot in slots for a, _, _ in slot.members}
    state = program.init_state(params)
    loss, grads = program.loss_and_grads(params, **inputs)
    assert np.asarray(loss).dtype == np.float32
    assert {g.dtype for g in grads.values()} == {np.dtype(np.float32)}
    assert watched(program, lambda: program.train_step(params, state, **inputs), double) == []
    used = program.compiled.functions["predict"].inputs
    assert watched(program, lambda: program.predict(params, **{k: inputs[k] for k in used}), double) == []
    assert watched(program, lambda: program.evaluate(params, **inputs), double) == []
    for k, v in params.items():
        assert v.dtype == np.float32, k
