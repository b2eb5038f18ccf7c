"""Every primitive of the registry, printed as C and as NumPy, against its reference: on its domain and far beyond it."""

import itertools

import numpy as np
import pytest
from chainrule.backends.cpu import runtime
from chainrule.backends.cpu.expressions import Expressions
from chainrule.backends.cpu.kernels import Lowered
from chainrule.backends.native.kernels import PRELUDE
from chainrule.compiler.graph import BOOL, REAL
from chainrule.compiler.ops import PRIMITIVES
from chainrule.compiler.program import Array, Call, Kernel, Literal, Load, view
from chainrule.compiler.sizes import symbol
from zoo.c_kernels import kernel

N = symbol("N")
TRUTH = {"and": (0, 1), "or": (0, 1), "not": (0,), "select": (0,), "real": (0,)}
SPECIAL = [0.0, -0.0, 0.25, -0.5, 1.0, -1.0, 1.5, 2.5, -20.0, 30.0, 100.0, -100.0, 800.0, -800.0, 1e-12, -1e-12, 1e30, -1e30,
           np.inf, -np.inf, np.nan]


def operands(name, dtype):
    """Points of the domain, then every combination of special values; the order of a moment stays an order."""
    p, rng = PRIMITIVES[name], np.random.default_rng(0)
    inside = [rng.uniform(lo, hi, 50) for lo, hi in p.domain]
    beyond = np.array(list(itertools.product(*(SPECIAL if lo < hi else [lo] for lo, hi in p.domain)))).T
    if p.arity == 3:
        beyond = beyond[:, ::17]
    out = [np.concatenate([a, b]).astype(dtype) for a, b in zip(inside, beyond, strict=True)]
    return [a > 0 if k in TRUTH.get(name, ()) else a for k, a in enumerate(out)]


def body(name):
    """The primitive's kernel over arrays of its kinds."""
    p = PRIMITIVES[name]
    kinds = ["bool" if k in TRUTH.get(name, ()) else "real" for k in range(p.arity)]
    arrays = [Array((N,), kind, "input", f"x{k}") for k, kind in enumerate(kinds)]
    kind = p.type(tuple(BOOL if k == "bool" else REAL for k in kinds)).kind
    args = [Literal(int(lo)) if lo == hi else Load(view(a)) for a, (lo, hi) in zip(arrays, p.domain, strict=True)]
    return Kernel((N,), view(Array((N,), kind, "result", "out")), Call(name, tuple(args), kind))


def reference(name, args, dtype):
    """In float64, rounded once."""
    with np.errstate(all="ignore"):
        wide = [a if a.dtype == bool else a.astype(np.float64) for a in args]
        return np.asarray(PRIMITIVES[name].reference(*wide)).astype(bool if body(name).out.array.kind == "bool" else dtype)


def agree(name, found, args, dtype):
    want = reference(name, args, dtype)
    if dtype == np.float32:                              # what a float32 cannot hold differs by when it is rounded
        edge = (np.abs(want) > 1e37) & (np.abs(found) > 1e37)
        want, found = np.where(edge, 0, want), np.where(edge, 0, found)
    np.testing.assert_allclose(found, want, rtol=64 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny, err_msg=name)


@pytest.mark.native
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_in_c(dtype, library, call):
    source = PRELUDE + "".join(kernel(body(name), f"f_{name}") for name in PRIMITIVES)
    lib = library(source, dtype)
    for name in PRIMITIVES:
        args = operands(name, dtype)
        k = body(name)
        out = np.empty(len(args[0]), bool if k.out.array.kind == "bool" else dtype)
        given = [a for a, (lo, hi) in zip(args, PRIMITIVES[name].domain, strict=True) if lo < hi]
        call(getattr(lib, f"f_{name}"), out, *given, len(out))
        agree(name, out, args, dtype)


@pytest.mark.parametrize("form", ["expression", "ufuncs"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", PRIMITIVES)
def test_in_numpy(name, dtype, form):
    k, args = body(name), operands(name, dtype)
    uses = set()
    out = np.empty(len(args[0]), bool if k.out.array.kind == "bool" else dtype)
    scope = {**vars(runtime), "np": np, "out": out, **{f"x{i}": a for i, a in enumerate(args)}, "dtype": np.dtype(dtype)}
    with np.errstate(all="ignore"):
        if form == "expression":
            found = eval(Expressions(uses).text(k.body), scope)
        else:
            lowered = Lowered(k, uses)
            for i, a in enumerate(lowered.scratch):
                a.name = f"tmp{i}"
                scope[a.name] = np.empty(len(out), bool if a.kind == "bool" else dtype)
            for line in lowered.lines():
                exec(line, scope)
            found = scope["out"]
            assert found is out
    assert found.dtype == out.dtype or name == "real"
    agree(name, found, args, dtype)
