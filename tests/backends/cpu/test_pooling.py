"""Pooling as it is printed: values and gradients against the reference interpreter of what was written, and no array too many."""

import math

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.derivatives import grad
from chainrule.compiler.graph import Broadcast, Concat, Const, Input, Reduce, Window, size
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes.reduce_first import RISING
from chainrule.compiler.passes.windowed import windowed
from chainrule.compiler.program import Pool, Unfold, Unpool, flat
from hypothesis import given, settings
from hypothesis import strategies as st

HEAD = """
model m(C = 3)
input x[2, {height}, {width}]
param K[C, 2, 2, 2] ~ normal(0.5);  b[C] ~ normal(1)
c = conv(x, K)
{lines}
loss = sum(sin(y) * (1 + y))
output y
"""


def compiled(lines, height=8, width=7):
    system = cr.parse(HEAD.format(lines=lines, height=height, width=width)).system
    return system, Program(system, "float64", 1)


def agree(lines, height=8, width=7, ties=False):
    """The generated module against the interpreter on the system as it was written; twice in one workspace."""
    system, program = compiled(lines, height, width)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 2, height, width))
    if ties:
        x = np.round(x)
    params = {"K": np.round(rng.normal(size=(3, 2, 2, 2))) if ties else rng.normal(size=(3, 2, 2, 2)), "b": np.array([-1., 0, 1])}
    extended, grads = grad(system, system.objective(), [p.node for p in system.params.values()])
    expected = evaluate(extended, [system.objective(), *grads], {"x": x, **params}, {"B": 3})
    workspace = program.module.Workspace()
    for _ in range(2):
        loss, found = program.module.loss_and_grads(params, x, workspace=workspace)
        assert np.isclose(float(loss), float(expected[0]), rtol=1e-11)
        for k, e in zip(params, expected[1:], strict=True):
            np.testing.assert_allclose(found[k], e, rtol=1e-9, atol=1e-11, err_msg=k)
    return program


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["max_pool", "avg_pool"]), st.sampled_from(["[2, 2]", "[3, 2]", "[1, 3]"]), st.integers(1, 3),
       st.integers(0, 1), st.integers(1, 2), st.booleans())
def test_every_window(kind, window, stride, padding, dilation, ties):
    """Overlapping windows, gaps, padding, dilation; with equal elements, of which the first wins."""
    if padding and "1" in window:
        padding = 0                                              # a window of padding alone has no maximum
    call = f"{kind}(relu(c + channels(b, c)), {window}, stride = {stride}, padding = {padding}, dilation = {dilation})"
    program = agree(f"y = {call}", 8, 9, ties)
    found = [type(s) for s in flat(program.compiled.functions["gradients"].body)]
    assert found.count(Pool) == found.count(Unpool) == 1
    assert found.count(Unfold) == 1                              # the convolution's


@pytest.mark.parametrize("f", ["relu(c + channels(b, c))", "tanh(c)", "sigmoid(2 * c - channels(b, c))", "-relu(-c)",
                               "max(min(c, 1), -1)", "leaky_relu(c)", "elu(c + channels(b, c), 0.5)",
                               "relu(c / 3) + channels(b, c)", "softplus(channels(b, c) - (-c))"])
def test_functions_that_never_fall_come_after_the_maximum(f):
    for pool in ("max_pool({}, 2)", "max_pool({}, 3, stride = 2, padding = 1)", "global_max({})"):
        program = agree("y = " + pool.format(f))             # of a global maximum the adjoint is as large as the image
        for function in ("gradients", "predict") if "global" not in pool else ("predict",):
            order = program.compiled.layouts[function].plan.order
            large = [n for n in order if type(n).__name__ == "Map" and n.shape[1:] == (7, 6)]
            assert not large, (function, large)


@pytest.mark.parametrize("f", ["c * c", "sin(c)", "swish(c)", "channels(b, c) * c", "select(c > 0, c, 1 - c)",
                               "select(c > 1, c, 2 * c)", "-c", "1 / c", "abs(c)", "c - tanh(c)"])
def test_functions_that_may_fall_stay_before_the_maximum(f):
    program = agree(f"y = max_pool({f}, 2)")
    order = program.compiled.layouts["gradients"].plan.order
    assert any(type(n).__name__ == "Map" and n.shape[1:] == (7, 6) for n in order)


def test_what_somebody_else_reads_stays():
    agree("h = relu(c + channels(b, c))\np = max_pool(h, 2)\ny = global_avg(p) + global_avg(h)")
    _, program = compiled("h = relu(c)\ny = max_pool(h, 2)\noutput h")
    at = {k: v.astype(float) for k, v in program.init().items()}
    x = np.random.default_rng(0).normal(size=(3, 2, 8, 7))
    found = program.module.predict(at, x)
    np.testing.assert_array_equal(found["h"][:, :, :6, :6].reshape(3, 3, 3, 2, 3, 2).max((3, 5)), found["y"])


def test_terms_and_factors_leave_an_average():
    for y in ("avg_pool(channels(b, c) * c + channels(b, c), 2)", "avg_pool(channels(b, c) * c, 3, stride = 2, padding = 1)",
              "avg_pool(channels(b, c) - c / 2, 2)"):
        program = agree(f"y = {y}")
        order = program.compiled.layouts["gradients"].plan.order
        assert not any(type(n).__name__ == "Map" and n.shape[1:] == (7, 6) for n in order), y


def test_windows_that_may_hold_padding_alone_are_left_alone():
    """The language refuses those of which it knows; with a dilation, a window may step over the image."""
    c = Input("c", shape=(2, 3))
    lost = Broadcast(Const(-math.inf), c.axes, (size(2), size(2)), ())
    padded = Concat(1, (lost, c, lost))
    for k, dilation, through in ((3, 1, True), (2, 1, False), (2, 4, False), (2, 3, True)):
        found = windowed(Reduce("max", Window(padded, 1, k, dilation=dilation), (2,)))
        assert found.image is (c if through else padded), (k, dilation)


def test_pooling_in_one_dimension_and_of_many_elements():
    agree("y = max_pool(relu(c[:, 0]), 5, stride = 3)")
    agree("y = avg_pool(c, 1, stride = 2) + max_pool(c, 1, stride = 2)")
    agree("y = max_pool(c, [17, 16])", 18, 33)                   # 272 elements a window: more than a byte counts


@pytest.mark.parametrize("f", RISING)
def test_the_table_of_functions_that_never_fall(f):
    from chainrule.compiler.ops import PRIMITIVES
    rng = np.random.default_rng(0)
    points = rng.normal(0, 3, (PRIMITIVES[f].arity, 2000))
    low, high = points.copy(), points + rng.random(points.shape)
    found = PRIMITIVES[f].reference(*high) - PRIMITIVES[f].reference(*low)
    assert (found >= 0).all()
