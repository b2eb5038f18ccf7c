"""Where values live: carries, traces and locals, boundary slots, parts of a concatenation."""

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.graph import BATCH, At, Concat, Index, apply, matmul, total
from chainrule.compiler.passes.layout import at, move, remap, step
from chainrule.compiler.pipeline import compile_system
from chainrule.compiler.program import Along, Array, Fixed, flat, view, writes
from chainrule.compiler.sizes import size, symbol
from zoo.build import Model, delay, squares, tanh
from zoo.catalogue import TIMED, ZOO

B, T, H = symbol("B"), symbol("T"), symbol("H")


def kinds(system, function="gradients"):
    compiled = compile_system(system)
    lay = compiled.layouts[function]
    names = {**compiled.differentiated.names} if function == "gradients" else compiled.evaluated.names
    return {names[e]: kind for e, kind in lay.kind.items() if e in names}


# ---------------------------------------------------------------- views

def test_views_compose():
    a = Array((T, B, H), name="a")
    v = move(view(a), 0, size(1), (T - 1, B, H))
    assert v.along == (Along(0, size(1)), Along(1), Along(2))
    assert at(v, 0, 0).along == (Fixed(None, 1), Along(0), Along(1))
    assert at(v, 0, -1).along == (Fixed(None, -1, end=True), Along(0), Along(1))
    assert step(v, 0, "t").along == (Fixed("t", 1), Along(0), Along(1))
    turned = remap(view(a), [2, 0, 1], (B, H, T))
    assert turned.along == (Along(2), Along(0), Along(1))
    assert not turned.whole and view(a).whole


def test_the_last_step_of_a_view_that_ends_early():
    """v[t] stands at t + 1, and one slot follows it: v's last step is the array's last but one."""
    a = Array((T + 2, B), name="a")
    v = move(view(a), 0, size(1), (T, B))
    assert at(v, 0, -1).along == (Fixed(None, -2, end=True), Along(0))


# ---------------------------------------------------------------- decisions

def test_what_is_read_one_step_later_only_is_carried():
    found = kinds(ZOO["elman"]())
    assert found["h"] == "trace"                         # the gradient reads every step
    assert found["d_h_next"] == "carry"
    assert kinds(ZOO["many_to_one"](), "evaluate")["h"] == "trace"       # its second step is read, too


def test_a_state_of_which_only_the_end_is_read_is_carried_in_prediction():
    m = Model("last", H=3, D=2)
    x, y = m.input("x", "D", time="t"), m.input("y", "H")
    h = m.eq("h", tanh(matmul(m.param("W", "H", "D"), x) + matmul(m.param("U", "H", "H"), delay(m.ref("h", "H"), -1))))
    system = m.loss(squares(m.eq("p", 2 * At(h, "t", -1)), y))
    assert kinds(system, "evaluate")["h"] == "carry"
    array = next(a for a in arrays(system, "evaluate") if a.dims == (B, H) and a.role == "value")
    assert array.dims == (B, H)


def arrays(system, function):
    return {writes(s).array: None for s in flat(compile_system(system).functions[function].body) if writes(s)}


@pytest.mark.parametrize("name", TIMED)
def test_a_trace_has_room_for_its_boundaries(name):
    compiled = compile_system(TIMED[name]())
    for lay in compiled.layouts.values():
        for e, kind in lay.kind.items():
            if kind == "trace":
                k = e.axes.index(lay.plan.loop[e].axis)
                length = lay.plan.loop[e].axis.upper()
                assert lay.arrays[e].dims[k] == symbol(length) + lay.lead.get(e, 0) + lay.trail.get(e, 0)


def test_every_value_has_a_kind_and_every_stored_one_an_array():
    for build in ZOO.values():
        for lay in compile_system(build()).layouts.values():
            for e in lay.plan.order:
                stored = lay.kind[e] in ("leaf", "whole", "trace", "carry", "local")
                assert stored == (e in lay.arrays), (lay.kind[e], e)
                if lay.kind[e] == "part":
                    assert isinstance(lay.part[e][0], Concat)


# ---------------------------------------------------------------- a part that others read, too

def doubled(kind):
    """A concatenation whose parts are computed from one of them: [g, 2*g, g + 1]."""
    m = Model("parts", D=3)
    x, a = m.input("x", "D", time="t" if kind == "sequence" else ""), m.param("a", "D")
    g = m.eq("g", x * a)
    y = m.eq("y", Concat(0, (g, 2 * g, g + 1)))
    return m.loss(total(y * y))


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("kind", ["vector", "sequence"])
def test_a_part_computed_from_another_part(kind, level):
    system = doubled(kind)
    program = Program(system, "float64", level)
    x = np.linspace(-1, 1, 6).reshape((2, 3) if kind == "vector" else (1, 2, 3))
    params = {"a": np.array([1.0, 2.0, 3.0])}
    g = x * params["a"]
    loss, grads = program.loss_and_grads(params, x=x)
    assert np.isclose(float(loss), (g**2 + 4 * g**2 + (g + 1)**2).sum() / 2)
    np.testing.assert_allclose(grads["a"], ((10 * g + 2 * (g + 1)) * x).reshape(-1, 3).sum(0) / 2)


@pytest.mark.parametrize("level", [0, 1])
def test_an_index_inside_and_outside_of_a_loop(level):
    m = Model("index", H=3)
    x, U = m.input("x", "H", time="t"), m.param("U", "H", "H")
    h = m.eq("h", tanh(x + matmul(U, delay(m.ref("h", "H"), -1)) * (1 / (1 + Index("t")))))
    system = m.loss(squares(h, apply("real", Index("t") < 2) * x), over=("t", BATCH))
    assert Program(system, "float64", level).module.check() < 1e-5
