"""`only`: examples that the data line leaves out."""

import numpy as np
import pytest
from chainrule.frontends.language import parse
from chainrule.frontends.language.printing import to_text
from chainrule.frontends.trainer.data import load_data
from chainrule.frontends.trainer.errors import DataError

MODEL = """
model m(D = 64)
input x[D]
target y : class({classes})
param W[{classes}, D] ~ xavier
loss = cross_entropy(softmax(W @ x), y)
data {data}
"""


def data(line, classes=5):
    return load_data(parse(MODEL.format(data=line, classes=classes)))


def test_classes_are_chosen():
    found = data("digits: x = image / 16, y = label - 5, only label >= 5 and label < 9, split 500 / 200")
    assert {*found.parts["train"]["y"]} == {0, 1, 2, 3} and len(found.parts["test"]["x"]) == 200
    assert found.describe() == "digits, only label >= 5 and label < 9: 500 train, 200 test"


def test_it_is_printed_and_read_back():
    system = parse(MODEL.format(data="digits: only label < 5, x = image / 16, y = label, split 70 / 20  # few", classes=5))
    assert system.data.only == "label < 5"
    assert "data digits: x = image / 16, y = label, only label < 5, split 70 / 20" in to_text(system)
    assert parse(to_text(system)).data == system.data


def test_rows_keep_their_places(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,kind\n1,u\n2,v\n3,u\nnan,v\n")
    text = "model m\ninput a\ntarget k : class(2)\nparam w = 1\nloss = squares(w * a, 1)\n" \
           f'data csv("{path}"): a, k = kind, only kind == "{{}}"\n'
    np.testing.assert_array_equal(np.sort(load_data(parse(text.format("u"))).parts["train"]["a"]), [1, 3])
    with pytest.raises(DataError, match="nan at row 4 of"):
        load_data(parse(text.format("v")))


@pytest.mark.parametrize("line,says", [
    ("digits: x = image, y = label, only label > 9", "only label > 9: of the 1797 examples of digits none is left"),
    ("digits: x = image, y = label, only labl < 5", "only labl < 5: there is no column 'labl'; did you mean 'label'?"),
    ("digits: x = image, y = label, only image < 5", "one truth value for each example was expected, not (8, 8)"),
    ("digits: x = image, y = label, only 1", "one truth value for each example was expected, not one for all"),
    ("digits: x = image, y = label, only label < 5, split 1000 / 2", "the split asks for 1002 examples, 901 are there")])
def test_refused(line, says):
    with pytest.raises(DataError) as error:
        data(line)
    assert says in str(error.value)
