"""The small formulas of a data line."""

import numpy as np
import pytest
from chainrule.frontends.trainer.errors import DataError
from chainrule.frontends.trainer.formulas import Evaluation, Fitted, names, parse
from hypothesis import given, settings
from hypothesis import strategies as st

COLUMNS = {"a": np.array([1.0, 2.0, 4.0]), "b": np.array([0, 1, 1]), "image": np.array([[0, 255], [51, 102], [255, 0]], np.uint8),
           "word": np.array(["x", "y", "x"], dtype=object)}


def run(text, dtype=np.float64, fitted=None):
    return Evaluation(COLUMNS, np.dtype(dtype), fitted or Fitted(), "x").run(parse(text))


@pytest.mark.parametrize("text,expected", [
    ("a", [1, 2, 4]), ("a + 1", [2, 3, 5]), ("-a^2", [-1, -4, -16]), ("2^-1 * a", [0.5, 1, 2]), ("a - 1 - 1", [-1, 0, 2]),
    ("a / 2 / 2", [0.25, 0.5, 1]), ("(a - 1) * 2", [0, 2, 6]), ("a ** 2", [1, 4, 16]), ("2^3^2 + 0*a", [512] * 3),
    ("a > 1", [0, 1, 1]), ("a != 2 and b == 1", [0, 0, 1]), ("not b or a == 2", [1, 1, 0]), ("not not b", [0, 1, 1]),
    ('word == "x"', [1, 0, 1]), ("word != 'x'", [0, 1, 0]), ("max(a, 2)", [2, 2, 4]), ("min(a, b)", [0, 1, 1]),
    ("onehot(b, 3)", [[1, 0, 0], [0, 1, 0], [0, 1, 0]]), ("onehot(floor(a / 3), 2)", [[1, 0], [1, 0], [0, 1]]),
    ("select(b, a, -1)", [-1, 2, 4]), ("log(exp(a))", [1, 2, 4]), ("[a, b]", [[1, 0], [2, 1], [4, 1]]),
    ("image[0]", [0, 51, 255]), ("image[0:1]", [[0], [51], [255]]),
    ("image / 255 - 0.5", [[-0.5, 0.5], [-0.3, -0.1], [0.5, -0.5]]),
    ("image * a", [[0, 255], [102, 204], [1020, 0]]), ("standardise(b)", [-2 ** 0.5, 2 ** -0.5, 2 ** -0.5]),
    ("1.5e1 * b", [0, 15, 15]), ("--a", [1, 2, 4]), ("a[t]", [1, 2, 4])])
def test_values(text, expected):
    assert run(text) == pytest.approx(np.array(expected, float))


@pytest.mark.parametrize("text,says", [
    ("", "ends too early"), ("a +", "ends too early"), ("a b", "'b' was not expected"), ("a $ b", "'$' was not expected"),
    ("(a", "ends too early"), ("imag / 16", "no column 'imag'; did you mean 'image'"), ("foo(a)", "no function 'foo'"),
    ("standardize(a)", "did you mean 'standardise'"), ("min(a)", "min takes 2 arguments, not 1"), ("word + 1", "holds words"),
    ("onehot(a, 4)", r"takes whole numbers from 0 to 3, not 4"), ("onehot(a / 4, 4)", "not 0.25; floor"),
    ("image[2]", "`image[2]` reads beyond the 2 features"), ("image[1:3]", "beyond"), ("a[0.5]", "an index is an integer"),
    ("(" * 500 + "a" + ")" * 500, "nested too deeply"), ("2^" * 500 + "a", "nested too deeply"),
    ("__import__('os').system('true')", "'(' was not expected|was not expected"), ("a.b.c", "no column 'a.b.c'")])
def test_mistakes(text, says):
    with pytest.raises(DataError) as e:
        run(text)
    assert says.split("|")[-1] in str(e.value) and "\n" not in str(e.value)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab1.0+-*/^()[],: <>=!\"'_tx\n", max_size=30) | st.text(max_size=20))
def test_nothing_but_data_errors_comes_out(text):
    try:
        parse(text)
    except DataError:
        pass


def test_a_long_sum_is_no_deep_one():
    tree = parse(" + ".join(["a"] * 50))
    assert names(tree) == ("a",)


def test_small_integers_keep_the_precision_of_the_model():
    assert run("image / 255", np.float32).dtype == np.float32
    assert run("b / 3", np.float32).dtype == np.float64


def test_standardise_learns_once():
    fitted = Fitted()
    run("standardise(image)", fitted=fitted)
    fitted.learn = False
    other = Evaluation({"image": np.array([[102.0, 119.0]])}, np.dtype(float), fitted, "x").run(parse("standardise(image)"))
    assert other == pytest.approx(np.zeros((1, 2)))
    with pytest.raises(DataError, match="no mean"):
        Evaluation({"image": np.array([[102.0, 119.0]])}, np.dtype(float), fitted, "z").run(parse("standardise(image)"))


def test_a_constant_feature_is_only_centred():
    columns = {"a": np.array([3.0, 3.0])}
    assert np.array_equal(Evaluation(columns, np.dtype(float), Fitted(), "x").run(parse("standardise(a)")), [0, 0])
