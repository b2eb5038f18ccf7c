"""Carry: a sequence computed piece by piece, on the reference interpreter, is the sequence computed whole."""

import numpy as np
import pytest
from chainrule import parse
from chainrule.compiler.graph import BATCH, At, GraphError, Index, Input, Noise, apply, matmul, symbol
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes.carry import carried, final, moved, numbered, offset, slots
from chainrule.compiler.truncation import along, truncated
from zoo import recurrent as zoo
from zoo.build import LENGTHS, Model, delay, squares, tanh, values
from zoo.catalogue import TIMED
from zoo.chunked import bigram, given_start, positions

H = symbol("H")
AHEAD = ("birnn", "neighbours", "mutual")
STEPS = 6


PIECEWISE = [build for name, build in TIMED.items() if name not in AHEAD and name != "masked"] + [bigram, given_start]


def cut(system, at, axis, lo, hi):
    """The arrays of the steps lo, ..., hi-1."""
    def part(k, v):
        node = system.inputs.get(k)
        if node is None or axis not in node.axes:
            return v
        return np.take(v, np.arange(lo, hi), axis=node.axes.index(axis))
    return {k: part(k, v) for k, v in at.items()}


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("build", PIECEWISE)
def test_pieces_are_the_whole(build, size):
    """Every equation along the axis, whether a piece is longer or shorter than a delay."""
    system, axis = build(), "t"
    lengths = {**LENGTHS, "T": STEPS}
    at = values(system, lengths)
    names = [k for k, e in system.equations.items() if axis in e.axes and not any(isinstance(n, Noise) for n in e.args)]
    whole = evaluate(system, [system.equations[k] for k in names], at, lengths, noise=still)
    piece, found = carried(system, axis)
    last = final(found)
    carry = dict(zip([x.key for x in found], evaluate(system, [x.init for x in slots(system, axis)], at, lengths, noise=still),
                     strict=True))
    parts = []
    for lo in range(0, STEPS, size):
        hi = min(lo + size, STEPS)
        given = {**cut(system, at, axis, lo, hi), **carry}
        roots = [piece.equations[k] for k in names]
        results = evaluate(piece, [*roots, *last.values()], given, {**lengths, "T": hi - lo}, noise=still)
        parts.append(results[:len(roots)])
        carry = dict(zip(last, results[len(roots):], strict=True))
    for k, expected, *pieces in zip(names, whole, *parts, strict=True):
        place = system.equations[k].axes.index(axis)
        np.testing.assert_allclose(np.concatenate(pieces, axis=place), expected, rtol=1e-13, atol=1e-13, err_msg=k)


def still(node, shape):
    """No noise: how it goes on from chunk to chunk is the generated modules' affair."""
    return np.full(shape, 0.5)


def test_slots_are_called_as_the_language_calls_them():
    system = zoo.delay2()
    assert [x.key for x in slots(system, "t")] == ["h[-1]", "h[-2]"]
    assert [x.s for x in slots(system, "t")] == [-1, -2]
    assert [x.key for x in slots(bigram(), "t")] == ["x[-2]", "x[-1]", "c[-1]", "a[-3]", "a[-2]", "a[-1]"]
    assert slots(zoo.attention(), "s")[0].key == "e[-1]"


@pytest.mark.parametrize("name", AHEAD)
def test_reading_ahead_is_refused(name):
    with pytest.raises(GraphError, match=r"\[t\+1\] reads ahead"):
        slots(TIMED[name](), "t")


def test_two_boundary_values_of_one_step():
    m = Model("two", H=3)
    x, y, p = m.input("x", "H", time="t"), m.input("y", "H", time="t"), m.param("p", "H")
    a = m.eq("a", tanh(x))
    system = m.loss(squares(delay(a, -1) + delay(a, -1, p), y))
    with pytest.raises(GraphError, match=r"a\[-1\] has two boundary values"):
        slots(system, "t")


# ---------------------------------------------------------------- the steps before a piece

def test_the_index_goes_on_from_the_offset():
    system = positions()
    assert numbered(system, "t") and not numbered(zoo.elman(), "t") and numbered(zoo.noisy(), "t")
    at, lengths = values(system, {"T": 5}), {"B": 3, "T": 2}
    whole = evaluate(system, [system.equations["a"]], at)[0]
    piece = moved(system, "t")
    given = {**cut(system, at, "t", 3, 5), offset("t").name: np.array(3.0)}
    np.testing.assert_allclose(evaluate(piece, [piece.equations["a"]], given, lengths)[0], whole[3:], rtol=1e-14)


# ---------------------------------------------------------------- which axis is cut

@pytest.mark.parametrize("build", [zoo.elman, zoo.many_to_one, zoo.over_time, zoo.attention])
def test_the_axis_of_the_loss_is_cut(build):
    assert along(build()) == "t"


def test_an_unclear_axis_is_refused():
    m = Model("two_axes", H=3)
    x, z, W = m.input("x", "H", time="s"), m.input("z", "H", time="t"), m.param("W", "H", "H")
    system = m.loss(At(squares(matmul(W, x), 0 * x), "s", -1) + At(squares(matmul(W, z), 0 * z), "t", -1))
    with pytest.raises(GraphError, match="the axis over which the loss sums, and here these are s and t"):
        along(system)
    with pytest.raises(GraphError, match="no time axis"):
        along(zoo_without_time())


def zoo_without_time():
    m = Model("plain", H=3)
    return m.loss(squares(m.param("w", "H") * m.input("x", "H"), m.input("y", "H")))


def test_what_a_chunk_cannot_know_is_refused():
    T = symbol("T")
    for bound, message in ((T - 1, "the model uses T - 1, which counts from the ends"), (T, "compares t with T, the length")):
        m = Model("length", H=3)
        x, y = m.input("x", "H", time="t"), m.input("y", "H", time="t")
        inside = apply("lt", 2 * Index("t"), bound)
        with pytest.raises(GraphError, match=message):
            truncated(m.loss(apply("select", inside, squares(m.param("w", "H") * x, y), 0)))
    m = Model("grid", H=3)
    x, y = m.input("x", "H", time="st"), m.input("y", "H", time="t")
    h = m.eq("h", tanh(x + m.param("w", "H") * delay(m.ref("h", "H", axes=("s", "t", BATCH)), -1)))
    with pytest.raises(GraphError, match=r"h\[-1\] is .*cannot have a time axis of its own"):
        truncated(m.loss(squares(At(h, "s", -1), y)))
    m = Model("draws", H=3)
    x, y = m.input("x", "H", time="st"), m.input("y", "H", time="t")
    noise = Noise("normal", "n", ("s", "t", BATCH), (H,))
    with pytest.raises(GraphError, match="noise along s and t"):
        truncated(m.loss(squares(At(m.param("w", "H") * x + noise, "s", -1), y)))


START = """
model start(H = 3)
input x[t, H]
target y[t, H]
param W, U[H, H] ~ normal(1)
e[t] = tanh(W @ x[t])
"""
REST = "loss = mean[batch, t] squares(h[t], y[t])\ntrain sgd(lr = 0.1), truncate = 2\n"


@pytest.mark.parametrize("text, message", [
    ("h[t] = tanh(U @ h[t-1] + e[t])   where h[-1] = e[last]", r"h\[-1\] starts from what is known after the last step of t"),
    ("h[t] = tanh(U @ h[t-1] + e[t])   where h[-1] = mean[t] e[t]", r"h\[-1\] starts from what is known after the last step"),
    ("h[t] = tanh(U @ h[t-1] + e[last])   where h[-1] = 0", "h needs at every step one certain step of t, which not every"),
    ("time u over t\nh[t] = sum[u](e[t] @ x[u]) * tanh(U @ h[t-1])   where h[-1] = 0",
     "h reads all steps of t under its second name u; a chunk does not know them"),
])
def test_steps_outside_of_the_chunk_are_refused(text, message):
    with pytest.raises(GraphError, match=f"truncate = 2: {message}"):
        truncated(parse(START + text + "\n" + REST).system)


def test_a_start_from_the_first_step_and_statistics_are_cut():
    truncated(parse(START + "h[t] = tanh(U @ h[t-1] + e[t])   where h[-1] = e[0]\n" + REST).system)
    truncated(zoo.over_time())


def test_slots_are_constant_to_the_gradient_and_learned_boundaries_are_not():
    """`select(first, h0, slot)` stands where a parameter reaches a boundary; a number is left to the slot."""
    learned, cut_ = truncated(zoo.delay2())
    assert all(x.start.f == "select" for x in cut_.slots) and not cut_.numbered
    assert {"carry h[-1]", "carry h[-2]"} <= set(learned.equations)
    _, cut_ = truncated(zoo.elman())
    assert all(isinstance(x.start, Input) for x in cut_.slots)
