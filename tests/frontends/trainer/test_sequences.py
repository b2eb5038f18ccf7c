"""Sources of sequences, and sequences of unequal length: what an example is, and every mistake one sentence."""

import gzip
import os
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from chainrule.compiler.graph import Input
from chainrule.compiler.node import BATCH, class_of
from chainrule.compiler.sizes import symbol
from chainrule.compiler.system import Data, System, lengths_input
from chainrule.frontends.trainer.data import from_arrays, load_data
from chainrule.frontends.trainer.errors import DataError
from chainrule.frontends.trainer.ragged import Ragged, padded
from chainrule.frontends.trainer.spelling import joined

FILES = Path(os.environ.get("CHAINRULE_DATA", Path(__file__).parents[4] / "shared" / "data"))
TAGGED = "# a comment\nthe\tDET\ncat\tNOUN\nsat\tVERB\n\nthe\tDET\nend\tNOUN\n\n\na\tDET\ncat\tNOUN\n"


def model(source, columns, options=(), split=(), lengths="t", targets=("y",), **inputs):
    """A system with inputs x[t] and y[t], classes of V and C, or with `inputs`: name = (axes, features, classes)."""
    inputs = inputs or {"x": ("t", (), "V"), "y": ("t", (), "C")}
    nodes = {k: Input(k, (*axes, BATCH), tuple(map(symbol, f)), *([class_of(symbol(c))] if c else []))
             for k, (axes, f, c) in inputs.items()}
    data = Data(source, tuple(options), tuple(columns), split)
    nodes |= {f"lengths_{axis}": lengths_input(axis) for axis in lengths}
    return System("m", {"V": 20, "C": 20, "N": 88}, nodes, targets, data=data, lengths=tuple(lengths))


def message(make, *args, **kw):
    with pytest.raises(DataError) as e:
        make(*args, **kw)
    assert "\n" not in str(e.value)
    return str(e.value)


def spelled(d, name, part="train"):
    words = d.preparation["vocabulary"][name]
    return ["".join(words[i] for i in d.parts[part][name][[r]].values) for r in range(d.count(part))]


# ---------------------------------------------------------------- ragged arrays

def test_ragged_arrays():
    a = Ragged.of([[1, 2, 3], [4], [], [5, 6]], "t")
    assert len(a) == 4 and a.lengths.tolist() == [3, 1, 0, 2] and a.place(3) == (1, 0) and a.place(5) == (3, 1)
    assert a[[3, 0]].values.tolist() == [5, 6, 1, 2, 3] and a[1:3].lengths.tolist() == [1, 0]
    assert a.padded(3).tolist() == [[1, 2, 3], [4, 0, 0], [0, 0, 0], [5, 6, 0]]
    assert a.cut(1, 1).values.tolist() == [2] and a.cut(1, 1).lengths.tolist() == [1, 0, 0, 0]
    assert a.cut(1, 0).values.tolist() == [2, 3, 6]
    both = padded({"x": a, "k": np.arange(4)})
    assert both["lengths_t"].tolist() == [3, 1, 0, 2] and both["x"].shape == (4, 3) and both["k"].shape == (4,)
    dense = Ragged.of_dense(np.arange(12).reshape(2, 3, 2), np.array([1, 3]))
    assert dense.values.tolist() == [[0, 1], [6, 7], [8, 9], [10, 11]]


# ---------------------------------------------------------------- sentences

@pytest.mark.parametrize("zipped", [False, True])
def test_sentences(tmp_path, zipped):
    path = tmp_path / ("s.tsv" + ".gz" * zipped)
    path.write_bytes(gzip.compress(TAGGED.encode()) if zipped else TAGGED.encode())
    columns = [("x", "words"), ("y", "upos")]
    system = model("conll", columns, [("0", "words"), ("1", "upos"), ("min_count", 2)])
    d = load_data(system, path)
    assert d.preparation["vocabulary"] == {"x": ["<unk>", "cat", "the"], "y": ["DET", "NOUN", "VERB"]}
    assert d.count("train") == 3 and d.preparation["spelling"]["x"] == "words"
    rows = sorted(d.parts["train"]["x"][[i]].values.tolist() for i in range(3))
    assert rows == [[0, 1], [2, 0], [2, 1, 0]]
    again = load_data(system, path, preparation=d.preparation)
    assert np.array_equal(again.parts["train"]["x"].values, d.parts["train"]["x"].values)


def test_a_folder_brings_its_parts(tmp_path):
    for part, text in (("train", TAGGED), ("dev", "dog\tNOUN\n"), ("test", "a\tX\n\na\tDET\n")):
        (tmp_path / f"w_{part}.tsv").write_text(text)
    options = [("0", "words"), ("1", "upos")]
    d = load_data(model("conll", [("x", "words"), ("y", "upos")], options), tmp_path)
    assert d.describe().endswith("3 train, 1 validation, 2 test")
    assert d.parts["validation"]["x"].values.tolist() == [0]                  # a word that training has not seen
    assert "X" in d.preparation["vocabulary"]["y"]                            # a class is one of all parts
    assert load_data(model("conll", [("x", "words"), ("y", "upos")], options, (2, 1, 1)), tmp_path).count("train") == 2
    many = model("conll", [("x", "words"), ("y", "upos")], options, (9, 1, 1))
    assert "the split asks for 9 train examples, 3 are there" in message(load_data, many, tmp_path)
    (tmp_path / "train2.tsv").write_text(TAGGED)
    assert "2 files of the train part" in message(load_data, model("conll", [("x", "words"), ("y", "upos")], options), tmp_path)


def test_parts_of_words(tmp_path):
    (tmp_path / "s.tsv").write_text("McDonald's\tA\nRunning\tB\n1,000\tC\n")
    inputs = {k: ("t", (), "V") for k in "xspwl"} | {"y": ("t", (), "C")}
    columns = [("x", "words"), ("s", "suffix(words, 3)"), ("p", "prefix(words, 2)"), ("w", "shape(words)"), ("l", "lower(words)"),
               ("y", "tags")]
    d = load_data(model("conll", columns, [("0", "words"), ("1", "tags")], **inputs), tmp_path / "s.tsv")
    vocabulary = d.preparation["vocabulary"]
    assert set(vocabulary["s"]) == {"<unk>", "d's"[-3:], "ing", "000"} and set(vocabulary["p"]) == {"<unk>", "Mc", "Ru", "1,"}
    assert set(vocabulary["w"]) == {"<unk>", "XxXx'x", "Xx", "d,d"} and "running" in vocabulary["l"]
    assert d.preparation["spelling"] == {"x": "words"}


def test_unequal_sentences_need_lengths(tmp_path):
    (tmp_path / "s.tsv").write_text(TAGGED)
    system = model("conll", [("x", "words"), ("y", "upos")], [("0", "words"), ("1", "upos"), ("shuffle", 0)], lengths="")
    path = tmp_path / "s.tsv"
    assert message(load_data, system, path) == (
        f"input x: sequences of unequal length, 3 steps at {path}:2 and 2 at {path}:6: declare `lengths t`")


def test_a_token_outside_its_vocabulary_is_located(tmp_path):
    (tmp_path / "s.tsv").write_text(TAGGED)
    system = model("conll", [("x", "words"), ("y", "upos")], [("0", "words"), ("1", "upos"), ("shuffle", 0)])
    stored = {"scales": {}, "vocabulary": {"x": ["<unk>"], "y": ["DET", "NOUN"]}}
    assert message(load_data, system, tmp_path / "s.tsv", preparation=stored) == (
        f"input y: 'VERB' at {tmp_path / 's.tsv'}:4 is not in the vocabulary of 2")


@pytest.mark.parametrize("text,says", [
    ("a\tb\nc\n", ":2: 1 column, where the lines before have 2"), ("\n\n", "holds no sentences"),
    ("a\n", "has 1 columns; 2 are named: words, upos")])
def test_sentences_refuse(tmp_path, text, says):
    (tmp_path / "s.tsv").write_text(text)
    system = model("conll", [("x", "words"), ("y", "upos")], [("0", "words"), ("1", "upos")])
    assert says in message(load_data, system, tmp_path / "s.tsv")


@pytest.mark.skipif(not (FILES / "ud_english_ewt").is_dir(), reason=f"no UD English under {FILES}")
def test_ud_english():
    system = model("conll", [("x", "words"), ("y", "upos")], [("0", "words"), ("1", "upos"), ("min_count", 2)])
    system.sizes["V"] = 20000
    d = load_data(system, FILES / "ud_english_ewt")
    assert d.describe().endswith("12544 train, 2001 validation, 2077 test") and len(d.preparation["vocabulary"]["y"]) == 17


# ---------------------------------------------------------------- lines, columns of text, generated pairs

def test_lines(tmp_path):
    (tmp_path / "names.txt").write_text("emma\nolivia\n\nava\n")
    columns = [("x", "framed(line)"), ("y", "x[t+1]")]
    d = load_data(model("lines", columns, [("0", "names.txt"), ("shuffle", 0)]), folder=tmp_path)
    assert spelled(d, "x") == ["\nemma", "\nolivia", "\nava"] and d.preparation["vocabulary"]["x"][0] == "\n"
    assert d.parts["train"]["y"].values[4] == 0 and d.preparation["spelling"] == {"x": "framed"}
    assert joined("framed", "\nemma\nxx") == "emma" and joined("words", ["a", "b"]) == "a b"


def test_lines_of_classes(tmp_path):
    for kind, text in (("greek", "alpha\nbeta\n"), ("latin", "unus\n")):
        (tmp_path / f"{kind}.txt").write_text(text)
    inputs = {"x": ("t", (), "V"), "y": ("", (), "C")}
    d = load_data(model("lines", [("x", "chars(line)"), ("y", "label")], [("shuffle", 0)], **inputs), tmp_path)
    assert spelled(d, "x") == ["alpha", "beta", "unus"] and d.parts["train"]["y"].tolist() == [0, 0, 1]
    (tmp_path / "t.tsv").write_text("name\tkind\nann\tf\nbob\tm\n")
    columns = [("x", "chars(name)"), ("y", "kind")]
    d = load_data(model("tsv", columns, [("0", "t.tsv"), ("shuffle", 0)], **inputs), folder=tmp_path)
    assert spelled(d, "x") == ["ann", "bob"]
    plain = load_data(model("tsv", columns, [("0", "t.tsv")], lengths="", **inputs), folder=tmp_path)
    assert plain.parts["train"]["x"].shape == (2, 3)
    wrong = model("tsv", [("x", "chars(name)"), ("y", "name")], [("0", "t.tsv")], x=("", (), "V"), y=("", (), "C"))
    assert "is a sequence; declare it with a time axis" in message(load_data, wrong, folder=tmp_path)


PAIR = {"x": ("s", (), "V"), "d": ("t", (), "V"), "y": ("t", (), "V")}


def test_sums_of_numbers():
    columns = [("x", "chars(question)"), ("d", "framed(answer)"), ("y", "d[t+1]")]
    system = model("addition", columns, [("digits", 2), ("n", 30)], (20, 5, 5), "st", **PAIR)
    d, e = load_data(system), load_data(system)
    for question, answer in zip(spelled(d, "x"), spelled(d, "d")):
        assert sum(map(int, question.split("+"))) == int(answer)
    assert np.array_equal(d.parts["test"]["x"].values, e.parts["test"]["x"].values)
    batch = padded(d.parts["train"])
    assert batch["lengths_s"].max() == 5 and np.array_equal(batch["d"].shape, batch["y"].shape)
    equal = model("addition", columns, [("digits", 2), ("n", 30), ("padded", 1)], (20, 5, 5), "", **PAIR)
    assert load_data(equal).parts["train"]["x"].shape == (20, 5)


def test_dates():
    columns = [("x", "chars(written)"), ("d", "framed(iso)"), ("y", "d[t+1]")]
    system = model("dates", columns, [("n", 50)], (), "st", **PAIR)
    system.sizes["V"] = 80
    d = load_data(system)
    assert all(date.fromisoformat(text.strip()) for text in spelled(d, "d")) and d.preparation["vocabulary"]["d"][0] == "\n"
    first = load_data(system).parts["train"]["x"]
    assert np.array_equal(first.values, d.parts["train"]["x"].values)


# ---------------------------------------------------------------- music, archives, arrays in memory

@pytest.mark.skipif(not (FILES / "jsb_chorales").is_dir(), reason=f"no chorales under {FILES}")
def test_piano_rolls():
    pytest.importorskip("scipy", reason="SciPy is not installed")
    system = model("mat", [("x", "x"), ("y", "x[t+1]")], x=("t", ("N",), ""), y=("t", ("N",), ""))
    d = load_data(system, FILES / "jsb_chorales" / "JSB_Chorales.mat")
    assert d.describe().endswith("229 train, 76 validation, 77 test")
    x, y = d.parts["train"]["x"][[0]].values, d.parts["train"]["y"][[0]].values
    assert x.shape[1] == 88 and np.array_equal(x[1:], y[:-1]) and set(np.unique(x)) == {0, 1}


def test_archives_of_padded_sequences(tmp_path):
    x = np.arange(24.0).reshape(3, 4, 2)
    np.savez(tmp_path / "g.npz", x=x, lengths=[2, 4, 3], y=[0, 1, 1])
    inputs = {"x": ("t", ("F",), ""), "y": ("", (), "C")}
    system = model("npz", [("x", "x"), ("y", "y")], **inputs)
    system.sizes["F"] = 2
    d = load_data(system, tmp_path / "g.npz")
    found = d.parts["train"]["x"]
    assert sorted(found.lengths.tolist()) == [2, 3, 4] and padded(d.parts["train"])["x"].shape == (3, 4, 2)
    np.savez(tmp_path / "g.npz", x=x, lengths=[2, 5, 3], y=[0, 1, 1])
    assert "input lengths: 5 at example 1 of" in message(load_data, system, tmp_path / "g.npz")


def test_sequences_shifted_drop_their_last_step(tmp_path):
    np.savez(tmp_path / "g.npz", x=np.arange(12.0).reshape(3, 4), lengths=[2, 4, 1])
    system = model("npz", [("x", "x"), ("y", "x[t+1]")], [("shuffle", 0)], x=("t", (), ""), y=("t", (), ""))
    d = load_data(system, tmp_path / "g.npz")
    assert d.parts["train"]["x"].values.tolist() == [0, 4, 5, 6] and d.parts["train"]["y"].values.tolist() == [1, 5, 6, 7]
    assert d.describe().endswith("2 train (1 empty ones left out)")


def test_lists_in_memory():
    system = model("npz", ())
    d = from_arrays(system, train={"x": [[1, 2, 3], [4]], "y": [[0, 0, 1], [1]]})
    assert padded(d.parts["train"])["lengths_t"].tolist() == [3, 1]
    dense = from_arrays(system, train={"x": [[1, 2, 3], [4, 0, 0]], "y": [[0, 0, 1], [1, 0, 0]], "lengths_t": [3, 1]})
    assert np.array_equal(dense.parts["train"]["x"].values, d.parts["train"]["x"].values)
    good = {"x": [[1, 2, 3], [4, 0, 0]], "y": [[0, 0, 1], [1, 0, 0]]}
    for wrong, says in [({"lengths_t": [3, 4]}, "input lengths_t: 4 at example 1 of the train part is no length of a "
                                                "sequence of x, which has 3 steps"),
                        ({"lengths_t": [3.5, 1]}, "2 whole numbers were expected"),
                        ({"x": [[1, 2, 3], [40]]}, "input x: 40 at example 1, t = 0 of the train part is not one of the 20"),
                        ({"x": [[1, 2], []], "y": [[1, 2], []]}, "example 1 of the train part is an empty sequence")]:
        assert says in message(from_arrays, system, train={**good, **wrong})
    system.lengths = ()
    assert message(from_arrays, system, train={**good, "x": [[1, 2, 3], [4]]}) == (
        "input x: sequences of unequal length, 3 steps at example 0 of the train part and 1 at example 1: declare `lengths t`")


def test_texts_of_a_fixed_width(tmp_path):
    """`padded` fills an input w[N]: empty symbols after the last; one class of the vocabulary is nothing."""
    (tmp_path / "t.csv").write_text("name,age\nAnna,3\nBo,4\nCaro,5\n")
    columns = [("w", "padded(chars(name))"), ("y", "age")]
    system = model("csv", columns, [("shuffle", 0)], (2, 1), "", w=("", ("S",), "V"), y=("", (), "C"))
    system.sizes["S"] = 5
    d = load_data(system, tmp_path / "t.csv")
    letters = d.preparation["vocabulary"]["w"]
    assert letters == ["", "A", "B", "C", "a", "n", "o", "r"]
    assert d.parts["train"]["w"].tolist() == [[1, 5, 5, 4, 0], [2, 6, 0, 0, 0]] and d.parts["test"]["w"][0, 4] == 0
    system.sizes["S"] = 3
    assert "input w: a sequence has 4 symbols, w has 3 places" in message(load_data, system, tmp_path / "t.csv")
    system.data = Data("csv", (), (("w", "padded(age)"), ("y", "age")), (2, 1))
    assert "padded(...) makes an input of a fixed width, such as w[40], of a sequence" in message(
        load_data, system, tmp_path / "t.csv")
