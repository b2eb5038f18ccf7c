"""The text of kernels: folded lines, kernels that differ in names alone, matrices turned by tiles."""

import re

import pytest
from chainrule.backends.gpu.kernels import LITERAL, LONG, folded, shortest, unbraced
from chainrule.frontends.language import parse
from gpu import host, programs
from zoo.points import drawn

TURNED = """model turned(D = 35, H = 9)
input x[t, D]
target y[t, H]
h[t] = lstm(x[t], H)
loss = mean[batch, t] (h[t] - y[t]) @ (h[t] - y[t])
"""


def test_long_lines_are_folded_where_fewest_brackets_are_open():
    inside = "row >= 0 && row % 2 == 0 && row / 2 < 3 && column >= 0 && column % 2 == 0"
    done = "total += weights[(row + column)*4 + k] * values[(row + column)*4 + k] + more[k];"
    assert folded(f"    if ({inside}) {done}") == [f"    if ({inside})", f"        {done}"]
    line = f"    {'a' * 40} = first_of[{'b' * 30} + 1] + second_of[{'c' * 30} + 2];"
    assert folded(line) == [f"    {'a' * 40} = first_of[{'b' * 30} + 1]", f"            + second_of[{'c' * 30} + 2];"]
    assert folded("short;") == ["short;"] and all(len(x) <= LONG for x in folded(line))


def test_constants_have_the_digits_that_float32_needs():
    """The same numbers: of double precision, rounded as C rounds them."""
    for exact, short in {0.09999999999999998: "0.1", 0.6931471805599453: "0.6931472", 1e-300: "1e-300", 1e300: "1e+300",
                         5.0: "5.0", 1e-08: "1e-08"}.items():
        assert LITERAL.sub(shortest, f"x * (real){exact!r} + 1.0") == f"x * (real){short} + 1.0"
    assert LITERAL.sub(shortest, "(real)1 / 3") == "(real)1 / 3"


def test_one_plain_statement_of_a_loop_has_no_brackets():
    assert unbraced(["for (;;) {", "    x += 1;", "}"]) == ["for (;;)", "    x += 1;"]
    for inner in ("if (x) y();", "const int a = 1;", "for (;;) x++;"):
        assert unbraced(["for (;;) {", f"    {inner}", "}"])[-1] == "}"
    assert unbraced(["if (x) {", "    y();", "}"])[-1] == "}"


def test_kernels_that_differ_in_names_alone_are_one():
    """Layers of the same sizes: their kernels are printed once, and say what else they compute."""
    source = programs.case("lstm_stacked").source
    texts = re.findall(r'extern "C" __global__ void [^{]*?(\w+)\(([^{]*)\)\n\{\n(.*?)^\}\n', source, re.M | re.S)
    forms = [_form(given, body) for _, given, body in texts]
    assert len(forms) == len({*forms}) and "and in the same way" in source


def _form(given, body):
    """A kernel with its pointers numbered."""
    for k, name in enumerate(re.findall(r"\*__restrict__ (\w+)", given)):
        given, body = (re.sub(rf"\b{name}\b", f"_{k}", x) for x in (given, body))
    return given, body


@pytest.mark.full
def test_a_matrix_is_turned_by_tiles():
    """Of sizes that tiles of 32 do not divide."""
    if host.compiler() is None:
        pytest.skip(host.MISSING)
    c = programs.made(drawn(parse(TURNED), {"B": 3, "T": 4}))
    assert "tile[threadIdx.x][k_]" in c.source
    assert programs.differences(programs.on_device(c, host.SHUFFLED), programs.on_numpy(c), 2e-5, 1e-6) == {}
