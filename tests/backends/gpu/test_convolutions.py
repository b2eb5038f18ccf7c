"""Convolutions on a GPU: by blocks of examples, kernels of one element, pooling with its winners, sums over places."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from chainrule.backends.gpu import convolutions, device
from chainrule.compiler.sizes import at_most, size, symbol
from chainrule.frontends.language import parse
from gpu import host, programs
from zoo.points import drawn

TEXT = """model small(C = 3, O = 4)
input x[2, 6, 5]
target y : class(C)
param K1[O, 2, 3, 2], K2[O, O, 1, 1], K3[6, O, 2, 2] ~ he
param W[C, 12] ~ xavier
h1 = max_pool(tanh(conv(x, K1, padding = [1, 0])), 3, stride = 1, padding = same)
h2 = conv(h1, K2)
h3 = max_pool(relu(conv(h2, K3, padding = [1, 1])), 3, stride = 3)
s = W @ flatten(h3)
loss = cross_entropy(softmax(s), y)
output s
"""
NORM = """model norm(C = 3)
input x[2, 6, 5]
target y : class(C)
h = conv_norm(x, 4)
s = dense(global_avg(h), C)
loss = cross_entropy(softmax(s), y)
"""


@cache
def made(text):
    """A model with numbers, and its module for a GPU."""
    return programs.made(drawn(parse(text), {"B": 5}))


@pytest.mark.parametrize("most", [pytest.param(1, marks=pytest.mark.full), 2, pytest.param(5, marks=pytest.mark.full)])
def test_blocks_of_examples_give_what_all_examples_give(monkeypatch, most):
    """Blocks of one example, some that do not divide the batch, all: values, and gradients that are added up over blocks."""
    if host.compiler() is None:
        pytest.skip(host.MISSING)
    monkeypatch.setattr(convolutions, "nominal", lambda n, known: convolutions.WINDOWS // (4 * most))     # numbers an example
    c = made.__wrapped__(TEXT)
    assert {*map(int, re.findall(r"in examples\(B, (\d+)\)", c.source))} == {1 << (most.bit_length() - 1)}
    assert programs.differences(programs.on_device(c, host.SHUFFLED), programs.on_numpy(c), 2e-5, 1e-6) == {}


def test_a_block_takes_tens_of_megabytes_at_most():
    assert re.findall(r"in examples\(B, (\d+)\)", made(TEXT).source)
    for at_once in map(int, re.findall(r"\((\d+)\*min\(B, (?:\d+)\), dtype\)", made(TEXT).source)):
        assert at_once * 4 <= convolutions.WINDOWS


def test_a_kernel_of_one_element_has_no_windows():
    """Neither forward nor backward: h2 is a product of h1 as it stands."""
    source = made(TEXT).source
    body = source[source.index("def _gradients("):source.index("def _gradients_buffers(")]
    assert len(re.findall(r"for begin, n in examples", body)) == 5       # two convolutions and their gradients but that by x
    assert re.search(r"gemm\(h1\.reshape\(.*?\), K2\[:, :, 0, 0\]\.T, ", body) is not None


def test_examples():
    assert device.examples(5, 2) == [(0, 2), (2, 2), (4, 1)]
    assert device.examples(0, 4) == [(0, 0)]                     # so that a gradient is zero then
    n = at_most(symbol("B"), 64)
    assert (n * 3).format() == "3*min(B, 64)" and n.symbols == ("B",)
    assert [n.evaluate({"B": b}) for b in (3, 64, 100)] == [3, 64, 64]
    assert n.substitute({"B": 100}) == 64 and at_most(size(5), 3) == 3


def test_sums_over_places_are_shared_by_blocks():
    """The variance of a channel, and what its gradient adds up: no thread goes through all examples and places alone."""
    source = made(NORM).source
    sums = re.findall(r"launch\(\"(?:sum|dot)_\w+_kernel\", (\w+)\(", source)
    assert sums and {*sums} <= {"tiles", "blocks"}
    assert all("tiles(" in x for x in re.findall(r"launch\(\"dot_\w+(?<!scaled)_kernel\", .*", source))


def test_a_maximum_and_its_winners_are_one_kernel():
    """The first of equals wins; of a window with a NaN the last; places outside never."""
    if host.compiler() is None:
        pytest.skip(host.MISSING)
    c = made(TEXT)
    assert len(re.findall(r"\bwon = j0", c.source)) == 2
    for value in (0.0, np.nan):
        inputs = {**c.inputs, "x": c.inputs["x"].copy()}
        inputs["x"][1, :, 1:4] = value
        changed = replace(c, inputs=inputs)
        found, wanted = (f(changed) for f in (programs.on_device, programs.on_numpy))
        assert {k for k, v in found.items() if not np.array_equal(np.isnan(v), np.isnan(wanted[k]))} == set()
        assert programs.differences(*({k: np.nan_to_num(v) for k, v in x.items()} for x in (found, wanted)), 2e-5, 1e-6) == {}


def test_an_array_in_another_shape_is_read_by_its_number():
    """What is flattened, channels last in memory, is divided into places once."""
    lines = re.findall(r"const int (.*);\n    flat_h3\[at\] = h3\[(.*)\];", made(TEXT).source)
    assert {*lines} == {("b_ = at / 12, i_ = at / 2 % 6, j_ = at % 2", "(b_*2 + j_)*6 + i_")}


RESIDUAL = """model residual(C = 3)
input x[2, 6, 6]
target y : class(C)
param W[C, 18] ~ he
h = tanh(x)
q = max_pool(h, 3, stride = 1, padding = same) + h
s = W @ flatten(max_pool(q, 2) * 0.5 + 1)
loss = cross_entropy(softmax(s), y)
"""


def test_what_is_computed_of_maxima_shares_their_kernel():
    """But not where it reads what the windows are of: it could come to stand in the place of what other threads still read."""
    c = made(RESIDUAL)
    assert "    q[at] = pooled_h[at] + h[at];" in c.source               # a kernel of its own
    assert "    term[at] = total * (real)0.5 + 1;" in c.source and "pooled_q[" not in c.source
    assert programs.differences(programs.on_device(c, host.SHUFFLED), programs.on_numpy(c), 2e-5, 1e-6) == {}
