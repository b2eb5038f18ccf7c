"""The one policy of names."""

import ast
import builtins
import keyword

import pytest
from chainrule.compiler.passes.naming import Namer, identifier, printable, quoted, quoted_tuple
from hypothesis import example, given
from hypothesis import strategies as st


def test_the_user_s_words_stand_verbatim():
    names = Namer(("H", "x"))
    assert [names.claim(w) for w in ("W", "h", "d_W", "cell.W_f", "layer.1.b")] == ["W", "h", "d_W", "cell_W_f", "layer_1_b"]


def test_what_is_taken_is_numbered():
    names = Namer(("H",))
    assert [names.claim("h") for _ in range(3)] == ["h", "h2", "h3"]
    assert [names.claim("h1") for _ in range(2)] == ["h1", "h1_2"]
    assert names.claim("H") == "H2"
    assert names.claim("a.b") == "a_b" and names.claim("a_b") == "a_b2"


@pytest.mark.parametrize("word", [*keyword.kwlist, "sum", "print", "np", "params", "workspace", "dtype"])
def test_python_s_words_are_taken(word):
    claimed = Namer().claim(word)
    assert claimed != word and claimed.isidentifier() and not keyword.iskeyword(claimed) and not hasattr(builtins, claimed)


@given(st.text())
@example("\U00010f1d")                                    # a number sign that no identifier holds
def test_any_text_becomes_an_identifier(text):
    name = identifier(text)
    assert name.isidentifier() and not name.startswith("__")
    assert identifier(name) == name


@given(st.lists(st.text(max_size=8), max_size=12))
def test_names_are_distinct(words):
    names = Namer()
    claimed = [names.claim(w) for w in words]
    assert len({*claimed}) == len(words)
    assert all(c.isidentifier() and not keyword.iskeyword(c) for c in claimed)


@given(st.text())
def test_a_string_reads_back_as_itself(text):
    literal = quoted(text)
    assert ast.literal_eval(literal) == text
    assert literal[0] == literal[-1] == '"' and " " not in literal and "\n" not in literal


@given(st.lists(st.text(max_size=5), max_size=4))
def test_a_tuple_of_strings_reads_back(texts):
    assert ast.literal_eval(quoted_tuple(texts)) == tuple(texts)


@given(st.text())
def test_a_comment_ends_where_its_line_ends(text):
    assert len((printable(text) + "|").splitlines()) == 1
