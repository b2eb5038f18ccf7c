"""Unrolled loops: every schedule of a system computes the same numbers, and its statements are legal."""

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.options import BadOption, Options
from chainrule.compiler.program import Loop, flat
from chainrule.compiler.shortest import shortest
from chainrule.compiler.verify_program import verify_program
from zoo.build import values
from zoo.catalogue import TIMED

SCHEDULES = (Options(unroll=2), Options(unroll=3), Options(unroll="full", steps=4))


def point(system, steps, seed=0):
    """Parameters, and inputs with the batch first."""
    drawn = values(system, {"T": steps, "S": steps}, seed)
    inputs = {k: np.moveaxis(drawn[k], len(n.axes) - 1, 0) for k, n in system.inputs.items()}
    return {k: drawn[k] for k in system.params}, inputs


@pytest.mark.parametrize("level", [1, 0])
@pytest.mark.parametrize("name", TIMED)
def test_schedules_agree(name, level):
    system = TIMED[name]()
    programs = [Program(system, "float64", level, o) for o in SCHEDULES]
    rolled = Program(system, "float64")
    least = shortest(system).get("T", 1)
    for steps in (max(n, least) for n in (4, 5, 2, 1)):
        params, inputs = point(system, steps)
        loss, grads = rolled.loss_and_grads(params, **inputs, seed=(3, 1))
        for program in programs:
            if program.options.steps not in (None, steps):
                continue
            found, other = program.loss_and_grads(params, **inputs, seed=(3, 1))
            np.testing.assert_allclose(found, loss, rtol=1e-12)
            for k in grads:
                np.testing.assert_allclose(other[k], grads[k], rtol=1e-12, atol=1e-13, err_msg=k)


@pytest.mark.parametrize("options", SCHEDULES, ids=lambda o: f"unroll {o.unroll}")
@pytest.mark.parametrize("name", TIMED)
def test_unrolled_programs_are_legal_in_their_memory(name, options):
    system = TIMED[name]()
    for printer in Program(system, "float32", 1, options).printers.values():
        verify_program(printer.function, system.sizes, printer.plan, (5, 2))


def test_a_full_unroll_has_no_loop_and_takes_one_length():
    system = TIMED["lstm_split"]()
    program = Program(system, "float64", 1, Options(unroll="full", steps=3))
    assert "for t in" not in program.source
    assert all(s.straight for p in program.printers.values() for s in flat(p.function.body) if isinstance(s, Loop))
    assert program.module.check() < 1e-5
    params, inputs = point(system, 4)
    with pytest.raises(ValueError, match="every step is written out for T = 3, but T is 4 here"):
        program.loss_and_grads(params, **inputs)


def test_the_plan_of_memory_does_not_depend_on_unrolling():
    system = TIMED["lstm_split"]()
    plans = [[slot.sizes for slot in Program(system, "float32", 1, o).printers["gradients"].plan.slots]
             for o in (Options(), *SCHEDULES)]
    assert all(p == plans[0] for p in plans)


def test_a_full_unroll_grows_linearly():
    """The work of compiling, counted in lines and in function calls: twice the steps, at most twice and a little the work."""
    import cProfile
    import pstats

    def calls(steps):
        profile = cProfile.Profile()
        profile.enable()
        Program(TIMED["lstm_split"](), "float32", 1, Options(unroll="full", steps=steps))
        profile.disable()
        return pstats.Stats(profile).total_calls
    calls(2)
    base, few, many = calls(1), calls(41), calls(81)
    assert many - base < 2.1 * (few - base)


@pytest.mark.parametrize("options, said", [
    ({"unroll": "full"}, "steps = T"), ({"steps": 3}, "unroll = full"), ({"unroll": 0}, "unroll = 0"),
    ({"unroll": "some"}, "unroll = some"), ({"unroll": "full", "steps": 0}, "at least one step"),
    ({"checkpoint": "often"}, "checkpoint = often"), ({"checkpoint": "every 0"}, "every 0"),
    ({"unroll": "full", "steps": 3, "checkpoint": "sqrt"}, "exclude"),
])
def test_bad_options_are_a_sentence(options, said):
    with pytest.raises(BadOption, match=said):
        cr.compile(TIMED["elman"](), **options)
