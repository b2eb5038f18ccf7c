"""Every kernel of every small system's functions, printed as C, against the NumPy statements of the same kernel."""

import itertools

import numpy as np
import pytest
from chainrule.backends.cpu import runtime
from chainrule.backends.cpu.kernels import Lowered
from chainrule.backends.cpu.statements import Statements
from chainrule.backends.native.kernels import PRELUDE
from chainrule.compiler.passes.memory import numbered
from chainrule.compiler.pipeline import compile_system
from chainrule.compiler.program import Along, Array, Call, Fixed, Hot, Kernel, Load, SizeOf, View, leaves, reads, view
from chainrule.compiler.sizes import symbol
from zoo.build import LENGTHS
from zoo.c_kernels import kernel, operands
from zoo.catalogue import ZOO

KINDS = {"bool": bool, "int": np.int64}
ENV = {**LENGTHS, "t": 2, "s": 1}                        # and a step of each loop


def kernels(system):
    for function in compile_system(system).functions.values():
        yield from (s for _, s, _ in numbered(function.body) if isinstance(s, Kernel))


def filled(k, env, dtype, rng):
    """Random arrays for what a kernel reads and writes; classes in range; positive numbers, so that logarithms are real."""
    classes = {x.view.array: x.view.dims[-1].evaluate(env) for x in leaves(k.body) if isinstance(x, Hot)}
    out = {}
    for i, a in enumerate(dict.fromkeys([k.out.array, *(v.array for v in reads(k))])):
        shape = tuple(d.evaluate(env) for d in a.dims)
        if a.kind == "bool":
            out[a] = rng.random(shape) < 0.5
        elif a.kind == "int":
            out[a] = rng.integers(0, classes.get(a, 3), shape)
        else:
            out[a] = rng.uniform(0.1, 2.0, shape).astype(dtype)
        a.name = f"v{i}"
    return out


def by_numpy(k, arrays, env, dtype):
    """The kernel's statements, as the module would print them, in its own ufunc calls where it writes an array."""
    uses, scope = set(), {**vars(runtime), "np": np, "dtype": np.dtype(dtype), **env}
    statements = Statements(uses, lambda a: bool(a.dims))
    if k.out.dims and not any(isinstance(x, Fixed) and x.axis for v in (k.out, *reads(k)) for x in v.along):
        lowered = Lowered(k, uses)
        statements.lowered[id(k)] = lowered
        for i, a in enumerate(lowered.scratch):
            a.name = f"tmp{i}"
            scope[a.name] = np.empty([d.evaluate(env) for d in a.dims], KINDS.get(a.kind, dtype))
    scope |= {a.name: v for a, v in arrays.items()}
    with np.errstate(all="ignore"):
        exec("\n".join(statements.lines(k)), scope)
    return scope[k.out.array.name]


@pytest.mark.native
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ZOO)
def test_kernels_agree(name, dtype, library, call):
    system = ZOO[name]()
    env, rng = {**ENV, **system.sizes}, np.random.default_rng(0)
    found = list(kernels(system))
    lib = library(PRELUDE + "\n".join(kernel(k, f"k{i}") for i, k in enumerate(found)), dtype)
    for i, k in enumerate(found):
        arrays = filled(k, env, dtype, rng)
        by_c = {a: v.copy() for a, v in arrays.items()}
        read, symbols = operands(k)
        call(getattr(lib, f"k{i}"), by_c[k.out.array], *(by_c[a] for a in read), *(env[s] for s in symbols))
        want = by_numpy(k, arrays, env, dtype)
        np.testing.assert_allclose(by_c[k.out.array], want, rtol=300 * np.finfo(dtype).eps, atol=30 * np.finfo(dtype).eps,
                                   err_msg=f"{name} {k.body}")


def test_systems_have_every_kind_of_operand():
    """The kernels above read one-hot vectors, indices, sizes, truth values, shifted and transposed views."""
    found = list(itertools.chain.from_iterable(kernels(build()) for build in ZOO.values()))
    kinds = {type(x).__name__ for k in found for x in leaves(k.body)}
    assert {"Hot", "Step", "SizeOf", "Load", "Literal"} <= kinds
    views = [x.view for k in found for x in leaves(k.body) if isinstance(x, Load)]
    assert any(v.array.kind == "bool" for v in views) and any(v.array.kind == "int" for v in views)
    assert any(any(getattr(x, "offset", 0) != 0 for x in v.along) for v in views)


@pytest.mark.native
def test_sizes_that_round_down(library, call):
    """A size such as (N - 1)//2 is an integer quotient in C; its symbols are arguments."""
    n = symbol("N")
    half = (n + -1) // 2
    a, out = Array((n,), role="input"), Array((half,))
    k = Kernel((half,), view(out), Call("mul", (Load(View(a, (Along(0, half),), (half,))), SizeOf(half))))
    lib = library(PRELUDE + kernel(k, "k"), np.float64)
    x, y = np.arange(8.0), np.empty(3)
    assert operands(k) == ([a], ["N"])
    call(lib.k, y, x, 8)
    np.testing.assert_array_equal(y, x[3:6] * 3)
