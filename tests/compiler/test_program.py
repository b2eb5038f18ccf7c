"""Programs of the small systems are legal, in their memory plans too; planted bugs are found."""

from dataclasses import replace
from pathlib import Path

import chainrule as cr
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.passes.memory import Slot
from chainrule.compiler.pipeline import compile_system
from chainrule.compiler.program import (
    Along,
    Array,
    Block,
    Call,
    Copy,
    Fill,
    Fixed,
    Function,
    Kernel,
    Literal,
    Load,
    Loop,
    flat,
    reads,
    view,
    writes,
)
from chainrule.compiler.sizes import size, symbol
from chainrule.compiler.verify_program import ProgramError, verify_program
from zoo.catalogue import ZOO

EXAMPLES = sorted(Path(__file__).resolve().parents[2].glob("examples/*/model.nn"))




@pytest.mark.parametrize("name", ZOO)
def test_programs_are_legal(name):
    system = ZOO[name]()
    for function in compile_system(system).functions.values():
        assert verify_program(function, system.sizes) is function


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", ZOO)
def test_programs_are_legal_in_their_memory(name, level):
    system = ZOO[name]()
    for printer in Program(system, "float32", level).printers.values():
        verify_program(printer.function, system.sizes, printer.plan)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.parent.name)
def test_programs_of_the_examples_are_legal(path):
    system = cr.load(path).system
    chain = {"K": system.training.estimator.k} if system.training.estimator else {}      # the steps of an energy model's chain
    for printer in Program(system, "float32").printers.values():
        verify_program(printer.function, {**system.sizes, **chain}, printer.plan, (3,))


# ---------------------------------------------------------------- planted bugs

def places(body):
    """(list, index) of every statement that is no block and no loop."""
    for i, s in enumerate(body):
        if isinstance(s, (Block, Loop)):
            yield from places(s.body)
        else:
            yield body, i


def gradients(name):
    system = ZOO[name]()
    return compile_system(system).functions["gradients"], system.sizes


def broken(function, sizes):
    try:
        verify_program(function, sizes, steps=(4,))
    except ProgramError:
        return True
    return False


@pytest.mark.parametrize("name", ZOO)
def test_a_missing_statement_is_found(name):
    function, sizes = gradients(name)
    missed = []
    for body, i in list(places(function.body)):
        gone = body.pop(i)
        if not broken(function, sizes):
            missed.append(gone)
        body.insert(i, gone)
    assert missed == []


@pytest.mark.parametrize("name", ["mlp", "batch_norm", "moves", "lstm_concat", "delay2", "attention", "mutual"])
def test_swapped_statements_are_found(name):
    """Neighbours of which the second reads what the first writes."""
    function, sizes = gradients(name)
    found = 0
    for body, i in list(places(function.body)):
        if i + 1 == len(body) or isinstance(body[i + 1], (Block, Loop)):
            continue
        first, second = body[i], body[i + 1]
        if any(v.array is writes(first).array for v in reads(second)):
            body[i], body[i + 1] = second, first
            assert broken(function, sizes), (first, second)
            body[i], body[i + 1] = first, second
            found += 1
    assert found or name not in ("mlp", "lstm_concat")


@pytest.mark.parametrize("name", ["mlp", "batch_norm", "lstm_split", "gru", "neighbours"])
def test_an_early_overwrite_is_found(name):
    """A value computed in the place of another that is still read afterwards."""
    function, sizes = gradients(name)
    order = [s for s in flat(function.body) if isinstance(s, Kernel)]
    planted = 0
    for k, s in enumerate(order):
        out = s.out.array
        for v in reads(s):
            a = v.array
            later = any(x.array is a for t in order[k + 1:] for x in reads(t))
            if later and a.role == out.role == "value" and a.dims == out.dims and a.kind == out.kind and a is not out:
                out.storage = a
                assert broken(function, sizes)
                out.storage = None
                planted += 1
    assert planted or name == "gru"


@pytest.mark.parametrize("name", ["mlp", "dropout", "elman", "layer_norm"])
def test_overlapping_slots_are_found(name):
    """Values of which one is written while another one is still to be read, put into one slot."""
    system = ZOO[name]()
    printer = Program(system, "float32").printers["gradients"]
    slots, planted = printer.plan.slots, 0
    for i, one in enumerate(slots):
        for other in slots[:i]:
            both = any(f < first < e or first < f < last for a, f, e in one.members for b, first, last in other.members
                       if "scratch" not in (a.comment, b.comment))
            if one.kind == other.kind and both:
                merged = Slot(one.kind, [*one.sizes, *other.sizes], [*one.members, *other.members])
                printer.plan.slots = [s for s in slots if s is not one and s is not other] + [merged]
                assert broken_plan(printer, system), (one, other)
                planted += 1
    assert planted


def broken_plan(printer, system):
    try:
        verify_program(printer.function, system.sizes, printer.plan, (4,))
    except ProgramError:
        return True
    return False


@pytest.mark.parametrize("name", ["elman", "lstm_packed", "delay2", "birnn", "mutual"])
def test_a_step_too_far_is_found(name):
    """Every read at a loop's index, one step further in the direction of time in which nothing is there yet."""
    function, sizes = gradients(name)
    planted = 0
    for body, i in list(places(function.body)):
        s = body[i]
        if not isinstance(s, Copy) and (out := writes(s)) is not None:
            moved = tuple(replace(x, offset=x.offset + 1) if isinstance(x, Fixed) and x.axis else x for x in out.along)
            if moved != out.along:
                body[i] = replace(s, out=replace(out, along=moved))
                assert broken(function, sizes), s
                body[i] = s
                planted += 1
    assert planted


# ---------------------------------------------------------------- one rule at a time

N = symbol("N")


def array(name, *dims, **fields):
    return Array(tuple(size(d) if isinstance(d, int) else d for d in dims), name=name, **fields)


def function(*body, **results):
    return Function("f", list(body), {k: view(a) for k, a in results.items()})


def kernel(out, f, *args, kind="real"):
    return Kernel(out.dims, view(out), Call(f, args, kind))


def test_what_is_said():
    x, y, m = array("x", N, role="input"), array("y", N), array("m", N, kind="bool")
    negated = kernel(y, "neg", Load(view(x)))
    verify_program(function(negated, y=y), {"N": 3})
    wrong = {
        "reads y, of which a part is not written": function(y=y),
        "add takes 2 operands, not 1": function(kernel(y, "add", Load(view(x)))),
        "no primitive is called half": function(kernel(y, "half", Load(view(x)))),
        "neg of bool": function(kernel(y, "neg", Load(view(m)))),
        "a bool body for a real array": function(kernel(y, "lt", Load(view(x)), Literal(0), kind="bool")),
        "lt gives bool, not real": function(kernel(y, "lt", Load(view(x)), Literal(0))),
        "writes the input x": function(kernel(x, "neg", Load(view(x)))),
        "writes y a second time": function(negated, kernel(y, "exp", Load(view(x)))),
        "nothing else writes this value": function(Fill(view(array("z", N)), 1)),
        "the output repeats a dim": function(Fill(replace(view(y), dims=(size(2), N), along=(Along(1),)), 0)),
    }
    for message, bad in wrong.items():
        with pytest.raises(ProgramError, match=message):
            verify_program(bad, {"N": 3})


def test_views_stay_within_their_arrays():
    x, y = array("x", N, role="input"), array("y", N)
    moved = replace(view(x), along=(Along(0, size(1)),))
    with pytest.raises(ProgramError, match="reaches -1 elements beyond its N"):
        verify_program(function(kernel(y, "neg", Load(moved))), {"N": 3})
    short = replace(moved, dims=(symbol("M"),))          # only the lengths say that N < M + 1
    with pytest.raises(ProgramError, match=r"reaches x at 1\.\.3 of 3"):
        verify_program(function(Copy(view(array("z", symbol("M"))), short)), {"N": 3, "M": 3})
    verify_program(function(Copy(view(array("z", symbol("M"))), short)), {"N": 4, "M": 3})
    with pytest.raises(ProgramError, match="outside a loop over t"):
        verify_program(function(Fill(replace(view(array("z", symbol("T"))), along=(Fixed("t", 0),), dims=()), 0)), {})


def test_a_kernel_reads_before_it_writes():
    """y[k] = -y[k+1] in one array: the element is gone when it is read."""
    y = array("y", 4, role="result")
    z = array("z", 4, storage=y)
    turned = Kernel((size(2),), replace(view(z), dims=(size(2),)),
                    Call("neg", (Load(replace(view(y), dims=(size(2),), along=(Along(0, size(1)),))),)))
    with pytest.raises(ProgramError, match="yet to read at another index"):
        verify_program(function(Fill(view(y), 1), turned), {})
    with pytest.raises(ProgramError, match="writes over what it reads"):
        verify_program(function(Fill(view(y), 1), Copy(view(z), view(y), (0,))), {})


@pytest.mark.parametrize("name", ["logistic", "pooling", "elman"])
def test_a_scratch_array_overlaps_nothing(name):
    """A scratch array moved into the slot of an operand of its statement."""
    system = ZOO[name]()
    printer = Program(system, "float32").printers["gradients"]
    plan, planted = printer.plan, 0
    where = {a: slot for slot in plan.slots for a, _, _ in slot.members}
    for s in flat(printer.function.body):
        for a in plan.scratch.get(id(s), []):
            for slot in (where.get(v.array.home) for v in (*reads(s), writes(s))):
                if slot is not None and slot.kind == a.kind:
                    member = next(m for m in where[a].members if m[0] is a)
                    where[a].members.remove(member)
                    slot.members.append(member)
                    assert broken_plan(printer, system)
                    slot.members.pop()
                    where[a].members.append(member)
                    planted += 1
    assert planted


def test_two_arrays_of_one_name_are_one():
    x, y, z = array("x", N, role="input"), array("y", N), array("y", N)
    body = (kernel(y, "neg", Load(view(x))), kernel(z, "exp", Load(view(y))))
    with pytest.raises(ProgramError, match="two arrays are called y"):
        verify_program(function(*body), {"N": 3})
    z.storage = y
    verify_program(function(*body), {"N": 3})


@pytest.mark.parametrize("name", [n for n in ZOO])
def test_a_program_reads_nothing_beyond_its_loops(name):
    """Statements under a loop name that loop's axis only."""
    function, _ = gradients(name)
    for s in flat(function.body):
        if isinstance(s, Loop):
            axes = {x.axis for t in flat(s.body) for v in (*reads(t), writes(t)) if v for x in v.along if isinstance(x, Fixed)}
            assert axes <= {s.axis, None}


def test_a_number_that_several_values_repeat_is_part_of_none_of_them():
    """0.01 / B, which the gradients of p and of h both read: one of them reads the other."""
    system = cr.parse("""model repeated(D = 4)
input x[D]
target y[D]
param W[D, D] ~ normal(0.3);  g[D] = 1
p = W @ x
h = relu(p) * p
q = h * g + tanh(h)
loss = mean[batch] sum((q - y)^2) + 0.01 * mean[batch] sum(p * h)
""").system
    for f in compile_system(system).functions.values():
        assert verify_program(f, system.sizes) is f
