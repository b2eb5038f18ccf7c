"""What is refused, and in which words."""

import pytest
from chainrule.compiler.graph import (
    BATCH,
    At,
    Broadcast,
    Const,
    Freeze,
    Input,
    Map,
    Noise,
    Param,
    Reduce,
    Ref,
    Shift,
    Slice,
    apply,
    matmul,
    symbol,
)
from chainrule.compiler.node import REAL
from chainrule.compiler.system import Average
from chainrule.compiler.verify import VerifyError, verify
from zoo.build import Model, delay, tanh
from zoo.catalogue import ZOO

AXES = ("t", BATCH)


def refused(system, message, roots=(), after="construction"):
    with pytest.raises(VerifyError, match=message) as error:
        verify(system, after, roots)
    assert str(error.value).startswith(f"after {after}: ")


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_is_legal(name):
    system = ZOO[name]()
    assert verify(system) is system


def test_a_node_outside_the_table():
    x = Input("x", (BATCH,), (3,))
    stray = object.__new__(Map)
    key = (Map, ("tanh",), (str,), (x,), x.axes, x.shape, x.type)
    fields = {"f": "tanh", "args": (x,), "axes": x.axes, "shape": x.shape, "type": REAL, "_key": key}
    for name, value in fields.items():
        object.__setattr__(stray, name, value)
    m = Model("m")
    m.input("x", 3)
    refused(m.system, r"Map \[batch\]\(3\) is not interned", [stray], "fuse")


def test_sizes_that_do_not_follow():
    m = Model("m")
    x = m.input("x", 3)
    wrong = Slice._make({"at": 0, "lo": symbol("H") * 0, "hi": symbol("H") * 0 + 2}, (x,), x.axes, (symbol("H"),))
    refused(m.system, r"Slice \[batch\]\(H\) is Slice \[batch\]\(2\) when built again", [wrong])
    clash = Map._make({"f": "add"}, (x, Const(1)), x.axes, x.shape)
    refused(m.system, "does not follow from its operands: add of", [clash])


def test_leaves_must_be_declared_as_they_stand():
    m = Model("m")
    m.param("W", 3)
    m.input("x", 3)
    refused(m.system, "the parameter V is not declared", [Param("V", (3,))])
    refused(m.system, r"the parameter W is \(4\), declared as \(3\)", [Param("W", (4,))])
    refused(m.system, "the input y is not declared", [Input("y")])
    refused(m.system, r"the input x is \[batch\]\(\), declared as \[batch\]\(3\)", [Input("x")])
    verify(m.system, roots=[Noise("normal", "n", AXES, (2,))])


def test_names():
    m = Model("m")
    m.eq("import os; x", m.param("W", 3) * 2)
    refused(m.system, "'import os; x' is no name")
    m = Model("m")
    m.eq("layer1.h", m.param("layer1.W_f", 3) * 2)
    verify(m.system)
    m.input("layer1.W_f", 3)
    refused(m.system, "layer1.W_f is a parameter and an input")
    m = Model("m")
    m.system.outputs = ("p",)
    refused(m.system, "the output p is no equation")
    m.system.outputs, m.system.targets = (), ("y",)
    refused(m.system, "the target y is no input")


def test_a_loss_is_a_scalar():
    m = Model("m")
    m.system.loss = Average(m.input("x", 3), Const(1))
    refused(m.system, r"the total of loss is \[batch\]\(3\), not a scalar")


def recurrence(body, **more):
    m = Model("m", H=3)
    m.input("x", "H", time="t")
    m.param("U", "H", "H")
    h = m.ref("h", "H")
    m.eq("h", body(m, h))
    return m.system


def test_references():
    m = Model("m", H=3)
    m.eq("h", m.input("x", "H", time="t") * 2)
    refused(m.system, "a reference to h closes no cycle", [m.ref("h", "H") + 1])
    refused(m.system, "no equation is called k", [m.ref("k", "H")])
    refused(m.system, r"a reference to h as \[t, batch\]\(4\), which is \[t, batch\]\(H\)", [Ref("h", AXES, (4,))])


def test_a_cycle_without_a_delay_is_shown_as_a_path():
    m = Model("m", H=3)
    x = m.input("x", "H", time="t")
    a = m.eq("a", tanh(x + m.ref("b", "H")))
    m.eq("b", a * delay(m.ref("a", "H"), -1))
    refused(m.system, "a cycle without a delay: (a -> b -> a|b -> a -> b)$")


def test_a_boundary_value_is_no_delay():
    system = recurrence(lambda m, h: tanh(Shift(m.system.inputs["x"], "t", -1, (At(h, "t", 0),))))
    refused(system, "a cycle without a delay")


def test_past_and_future_in_one_recurrence():
    refused(recurrence(lambda m, h: tanh(delay(h, -1) + delay(h, 1))), "reads the past and the future: .*h")


def test_two_axes_in_one_recurrence():
    m = Model("m", H=3)
    h = m.ref("h", "H", axes=("s", "t", BATCH))
    x = m.input("x", "H", time="st")
    m.eq("h", tanh(x + delay(h, -1) + delay(h, -1, axis="s")))
    refused(m.system, "a recurrence along t and s")


@pytest.mark.parametrize("inside", [
    lambda h: Broadcast(At(h, "t", -1), AXES, h.shape, (0,)),
    lambda h: Broadcast(Reduce("sum", h, ("t",)), AXES, h.shape, (0,)),
    lambda h: Broadcast(Reduce("max", Freeze(h, "t"), (0,)), AXES, h.shape, (0,)),
])
def test_what_needs_the_whole_sequence_inside_its_own_recurrence(inside):
    system = recurrence(lambda m, h: tanh(delay(inside(h), -1) + matmul(m.system.params["U"].node, delay(h, -1))))
    refused(system, "stands in a recurrence along t and has no such axis: .*h")


def test_two_recurrences_of_opposite_directions_are_fine():
    m = Model("m", H=3)
    x = m.input("x", "H", time="t")
    f = m.eq("f", tanh(x + delay(m.ref("f", "H"), -1)))
    m.eq("b", tanh(f + delay(m.ref("b", "H"), 1)))
    verify(m.system)


def test_a_name_may_be_a_path_with_numbers():
    m = Model("m")
    m.system.names[apply("tanh", m.param("w"))] = "a.1"
    verify(m.system)
