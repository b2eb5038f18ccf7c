"""Sizes: rounded-down quotients in lowest terms are equal where their values are, and print as the language reads them."""

import pytest
from chainrule.compiler.sizes import floor_div, size, symbol
from hypothesis import given, settings
from hypothesis import strategies as st

N, M = symbol("N"), symbol("M")
SMALL, DIVISOR = st.integers(-7, 7), st.integers(1, 6)


@settings(max_examples=200, deadline=None)
@given(SMALL, SMALL, SMALL, DIVISOR, SMALL, DIVISOR)
def test_a_quotient_is_python_s(a, b, c, first, d, second):
    s = (((N * a + M * b + c) // first) * a + M + d) // second
    for n in range(1, 9):
        env = {"N": n, "M": 10 - n}
        assert s.evaluate(env) == (((a * n + b * (10 - n) + c) // first) * a + 10 - n + d) // second
        assert eval(str(s), {}, env) == s.evaluate(env)
        assert s.substitute(env) == s.evaluate(env)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2)), min_size=1, max_size=4), st.integers(0, 9))
def test_windows_of_windows_are_one_size(layers, more):
    """Sizes written in two ways are one polynomial: (n + 2p - k)//s + 1, and (n + 2p - k + s)//s."""
    one = other = N + more
    for k, stride, padding in layers:
        one = floor_div(one + 2 * padding - k, stride) + 1
        other = floor_div(other + 2 * padding - k + stride, stride)
    assert one == other
    assert one * one * M == M * other * other


@pytest.mark.parametrize("found,text", [
    ((N - 5) // 2 + 1, "((N - 3)//2)"), (((N - 4) // 2 - 2) // 2 + 1, "((N - 4)//4)"), ((2 * N + 1) // 4, "(N//2)"),
    (((N - 5) // 2 + 1) * ((N - 5) // 2 + 1) * M, "((N - 3)//2)*((N - 3)//2)*M"), ((4 * N + 8) // 4, "N + 2"),
    ((N * 4 + 2) // 4, "N"), (size(29) // 2, "14"), (-N // 2, "(N//2) - N")])
def test_a_quotient_prints_in_lowest_terms(found, text):
    assert str(found) == text


def test_symbols_are_those_below_a_quotient():
    assert (((N - 5) // 2 + 1) * M).symbols == ("M", "N")
