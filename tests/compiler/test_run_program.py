"""Programs run on numbers in the memory of their plans: what NumPy computes, before and after statements share nests."""

from functools import cache

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.backends.native.program import NativeProgram
from chainrule.compiler.graph import BATCH, Input, Param
from chainrule.compiler.passes.memory import plan
from chainrule.compiler.program import Array, Function, Kernel, Load, Nest, Reduction, Scatter, Take, flat, reads, view
from chainrule.compiler.run_program import run_program
from chainrule.compiler.sizes import symbol
from chainrule.compiler.verify_program import ProgramError, verify_program
from zoo.build import LENGTHS, values
from zoo.catalogue import ZOO

N, M = symbol("N"), symbol("M")


@cache
def native(name):
    """The system's program for C; none where a convolution has no form there yet."""
    try:
        return NativeProgram(ZOO[name](), "float64")
    except TypeError:
        assert name in ("lenet", "decoder", "symbolic")
        return None


def run(printer, at, sizes, seed):
    given = {a.name: at[e.name] for a, e in printer.values.items() if isinstance(e, (Param, Input))}
    return run_program(printer.function, sizes, given, printer.plan, seed)


@pytest.mark.parametrize("name", ZOO)
def test_the_same_as_the_numpy_module(name):
    """Gradients and evaluation of either backend's program."""
    system = ZOO[name]()
    at, sizes = values(system, LENGTHS), {**LENGTHS, **system.sizes}
    inputs = {k: np.swapaxes(at[k], 0, 1) if len(i.axes) > 1 and BATCH in i.axes else at[k] for k, i in system.inputs.items()}
    params = {k: at[k] for k in (*system.params, *system.stats)}
    numpy = Program(system, "float64")
    loss, grads = numpy.loss_and_grads(params, seed=3, **inputs)
    for program in filter(None, (numpy, native(name))):
        found = run(program.printers["gradients"], at, sizes, 3)
        np.testing.assert_allclose(found["loss"], loss, rtol=1e-13)
        for k, g in grads.items():
            np.testing.assert_allclose(found.get(f"d_{k}", found.get(k)), g, rtol=1e-11, atol=1e-12, err_msg=k)
        np.testing.assert_allclose(run(program.printers["evaluate"], at, sizes, 3)["loss"],
                                   numpy.evaluate(params, **inputs)["loss"][0], rtol=1e-13)


# ---------------------------------------------------------------- nests

def array(name, *dims, kind="real", role="value"):
    return Array(dims, kind, role, name)


def square(a, b):
    """b = a, element by element."""
    return Kernel(b.dims, view(b), Load(view(a)))


def two_steps(rows=(N,), first=None):
    """b = a; c = sum of b's rows; d = sum of its columns, in a nest."""
    a, b = array("a", N, M, role="input"), array("b", N, M)
    c, d = array("c", N, role="result"), array("d", M, role="result")
    nest = Nest(rows, [square(a, b), Reduction("sum", view(c), view(b), (1,)), Reduction("sum", view(d), view(b), (0,))])
    return Function("f", [nest], {"c": view(c), "d": view(d)}), nest


def test_a_nest_has_its_rows():
    function, nest = two_steps()
    given = np.arange(6.0).reshape(2, 3)
    verify_program(function, {"N": 2, "M": 3})
    found = run_program(function, {"N": 2, "M": 3}, {"a": given}, plan([nest], tuple(function.results.values()), {}))
    np.testing.assert_array_equal(found["c"], given.sum(1))
    np.testing.assert_array_equal(found["d"], given.sum(0))
    for rows in ((M,), (N, M), ()):
        with pytest.raises(ProgramError, match="rows"):
            verify_program(two_steps(rows)[0], {"N": 2, "M": 3})


def broken(function, steps=(4,)):
    try:
        verify_program(function, {"N": 3, "M": 4}, steps=steps)
    except ProgramError as e:
        return str(e)
    return ""


def test_rows_that_read_each_other_are_found():
    """A value at another row, a sum of all rows, a row looked up by number, an element that the loop has not reached."""
    x, y, z = array("x", N, N, role="input"), array("y", N, N), array("z", N, N, role="result")
    turned = Kernel(z.dims, view(z), Load(view(y).__class__(y, view(y).along[::-1], y.dims)))
    both = Function("f", [Nest((N,), [square(x, y), turned])], {"z": view(z)})
    assert "at another row than the one that writes it" in broken(both)
    total, w = array("total", N), array("w", N, N, role="result")
    spread = Kernel(w.dims, view(w), Load(view(total).__class__(total, view(y).along[1:], w.dims)))
    summed = Function("f", [Nest((N,), [Reduction("sum", view(total), view(x), (0,)), spread])], {"w": view(w)})
    assert "at another row" in broken(summed)
    index = array("index", N, kind="int", role="input")
    taken = Function("f", [Nest((N,), [square(x, y), Take(view(z), view(y), view(index))])], {"z": view(z)})
    assert "at another row" in broken(taken)
    scattered = Function("f", [Nest((N,), [square(x, y), Scatter(view(z), view(y), view(index))])], {"z": view(z)})
    assert not broken(scattered)


def nests(function):
    """Every nest of a function with the list that it stands in."""
    def each(body):
        for s in body:
            if isinstance(s, Nest):
                yield s
            elif hasattr(s, "body") and isinstance(s.body, list):
                yield from each(s.body)
    return list(each(function.body))


def illegal(printer, sizes):
    try:
        verify_program(printer.function, sizes, printer.plan, (4,))
    except ProgramError:
        return True
    return False


@pytest.mark.parametrize("name", ZOO)
def test_nests_are_legal_in_their_memory(name):
    """Of every function; and a member that is missing, or stands before the one whose value it reads, is found."""
    program = native(name) or pytest.skip("a convolution without a form in C")
    system = program.system
    for printer in program.printers.values():
        verify_program(printer.function, system.sizes, printer.plan)
    printer = program.printers["gradients"]
    for nest in nests(printer.function):
        for k in range(len(nest.body)):
            gone = nest.body.pop(k)
            assert illegal(printer, system.sizes), gone
            nest.body.insert(k, gone)
        for k in range(1, len(nest.body)):
            first, second = nest.body[k - 1:k + 1]
            if any(v.array is first.out.array for v in reads(second)):
                nest.body[k - 1:k + 1] = [second, first]
                assert illegal(printer, system.sizes), (first, second)
                nest.body[k - 1:k + 1] = [first, second]
    assert not illegal(printer, system.sizes)


@pytest.mark.parametrize("name", ["mlp", "layer_norm", "lstm_packed", "attention"])
def test_overlapping_memory_in_a_nest_is_found(name):
    """A value in the place of another that a later member of its nest still reads."""
    printer, sizes = native(name).printers["gradients"], native(name).system.sizes
    planted = 0
    for nest in nests(printer.function):
        for k, s in enumerate(nest.body):
            later = {v.array for m in nest.body[k + 1:] for v in reads(m)}
            for v in reads(s) if isinstance(s, Kernel) else ():
                a, out = v.array, s.out.array
                if v.array in later and a.role == out.role == "value" and a.dims == out.dims and a is not out \
                        and out.storage is a.storage is None and a.kind == out.kind \
                        and not any(x.storage is out for m in flat(printer.function.body) for x in (y.array for y in reads(m))):
                    out.storage = a
                    assert illegal(printer, sizes)
                    out.storage, planted = None, planted + 1
    assert planted
