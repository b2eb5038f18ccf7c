"""Sources, splits and checks; every mistake in the data is one sentence that names the input."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from chainrule.compiler.graph import Input
from chainrule.compiler.node import BOOL
from chainrule.compiler.system import System
from chainrule.frontends.trainer.data import from_arrays, load_data
from chainrule.frontends.trainer.errors import DataError
from chainrule.frontends.trainer.formats import read_conll

FILES = Path(os.environ.get("CHAINRULE_DATA", Path(__file__).parents[4] / "shared" / "data"))
IRIS = "a,b,kind\n" + "".join(f"{i},{i * i},{'xyz'[i % 3]}\n" for i in range(30))


def message(make, *args, **kw):
    with pytest.raises(DataError) as e:
        make(*args, **kw)
    assert "\n" not in str(e.value)
    return str(e.value)


@pytest.fixture
def digits(make_system):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    return make_system


@pytest.fixture
def table(make_system, tmp_path):
    """A system on a CSV file of the given text."""
    def make(text, columns=(("x", "[a, b]"), ("y", "kind")), name="f.csv", split=(), options=(), **kw):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        source = name.split(".")[1]
        return make_system(source, columns, split, [("0", name), *options], **{"D": 2, "classes": 3, **kw})
    return make


# ---------------------------------------------------------------- what works

def test_digits(digits):
    d = load_data(digits("digits", [("x", "image / 16"), ("y", "label")], (1400, 397)))
    assert d.describe() == "digits: 1400 train, 397 test"
    x, y = d.parts["train"]["x"], d.parts["train"]["y"]
    assert x.dtype == np.float32 and x.shape == (1400, 64) and x.max() == 1 and y.dtype == np.int64
    three = load_data(digits("digits", [("x", "image"), ("y", "label")], (1000, 400, 397)))
    assert three.describe() == "digits: 1000 train, 400 validation, 397 test"
    plain = load_data(digits("digits", [("x", "image"), ("y", "label")]))
    assert plain.describe() == "digits: 1439 train, 179 validation, 179 test"


def test_standardisation_comes_from_the_training_part(digits):
    system = digits("digits", [("x", "standardise(image)"), ("y", "label")], (1000, 797))
    d = load_data(system, dtype=np.float64)
    x = d.parts["train"]["x"]
    assert x.mean(0) == pytest.approx(np.zeros(64), abs=1e-12)
    assert set(np.round(x.std(0), 9)) == {0.0, 1.0}
    assert abs(d.parts["test"]["x"].mean(0)).max() > 0.01
    again = load_data(system, dtype=np.float64, preparation=d.preparation)
    assert all(np.array_equal(again.parts[p][k], d.parts[p][k]) for p in d.parts for k in "xy")


@pytest.mark.skipif(not (FILES / "mnist").is_dir(), reason=f"no MNIST under {FILES}")
def test_mnist(make_system):
    columns = [("x", "image / 255"), ("y", "label")]
    d = load_data(make_system("mnist", columns, (50000, 10000), D=784), FILES / "mnist")
    assert d.describe() == "mnist: 50000 train, 10000 validation, 10000 test"
    assert d.parts["test"]["y"][:5].tolist() == [7, 2, 1, 0, 4] and d.parts["train"]["y"][:5].tolist() == [5, 0, 4, 1, 9]
    assert d.parts["train"]["x"].dtype == np.float32 and d.parts["train"]["x"].max() == 1


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files(make_system, tmp_path, zipped):
    for part, n in (("train", 6), ("t10k", 3)):
        for kind, sizes in (("images-idx3", (n, 2, 2)), ("labels-idx1", (n,))):
            raw = struct.pack(f">4B{len(sizes)}I", 0, 0, 8, len(sizes), *sizes)
            raw += bytes(i % 10 for i in range(int(np.prod(sizes))))
            name = f"{part}-{kind}-ubyte" + ".gz" * zipped
            (tmp_path / name).write_bytes(gzip.compress(raw) if zipped else raw)
    d = load_data(make_system("mnist", [("x", "image"), ("y", "label")], D=4), tmp_path)
    assert d.describe() == "mnist: 6 train, 3 test"
    assert d.parts["test"]["x"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]


def test_csv_shuffles_the_same_way_every_time(table, tmp_path):
    system = table(IRIS, split=(20, 10))
    d, e = (load_data(system, folder=tmp_path) for _ in range(2))
    assert d.preparation["vocabulary"] == {"y": ["x", "y", "z"]}
    x, y = d.parts["train"]["x"], d.parts["train"]["y"]
    assert np.array_equal(x[:, 1], x[:, 0] ** 2) and np.array_equal(x[:, 0] % 3, y)
    assert not np.array_equal(x, np.sort(x, 0)) and np.array_equal(x, e.parts["train"]["x"])
    plain = load_data(table(IRIS, split=(20, 10), options=[("shuffle", 0)]), folder=tmp_path)
    assert plain.parts["test"]["x"][:, 0].tolist() == list(range(20, 30))


def test_rest_is_what_no_formula_names(table, tmp_path):
    d = load_data(table(IRIS, [("x", "standardise(rest)"), ("y", "kind")]), folder=tmp_path)
    assert d.parts["train"]["x"].shape == (24, 2)


def test_a_word_in_a_cell_is_named_where_rest_is_too_narrow(table, tmp_path):
    lines = IRIS.splitlines()
    lines[7] = "oops" + lines[7][lines[7].index(","):]
    sentence = r"the data give 1 an example; `rest` leaves out `\w+`, which holds words: 'oops' in row 7 of "
    with pytest.raises(DataError, match=sentence):
        load_data(table("\n".join(lines) + "\n", [("x", "standardise(rest)"), ("y", "kind")]), folder=tmp_path)


def test_tsv_npz_and_a_file_from_the_command_line(table, make_system, tmp_path):
    assert load_data(table(IRIS.replace(",", "\t"), name="f.tsv"), folder=tmp_path).count("train") == 24
    np.savez(tmp_path / "g.npz", x=np.ones((9, 2)), y=np.arange(9) % 3)
    d = load_data(make_system("npz", D=2, classes=3), tmp_path / "g.npz")
    assert d.describe() == f"{tmp_path / 'g.npz'}: 9 train"
    bare = make_system("npz", D=2, classes=3)
    bare.data = None
    assert load_data(bare, tmp_path / "g.npz").count("train") == 9


def test_text_is_cut_into_windows_and_shifted(make_system, tmp_path):
    (tmp_path / "t.txt").write_text("abcdefgh" * 20)
    system = make_system("text", [("x", "x"), ("y", "x[t+1]")], (120, 40), [("0", "chars"), ("1", "t.txt"), ("length", 7)],
                         classes=8, sequence=True)
    d = load_data(system, folder=tmp_path)
    x, y = d.parts["train"]["x"], d.parts["train"]["y"]
    assert x.shape == y.shape == (17, 7) and np.array_equal((x + 1) % 8, y) and np.array_equal(x[1, 0], y[0, -1])
    assert d.preparation["vocabulary"] == {"x": list("abcdefgh")}


def test_text_comes_from_pythons_documentation(make_system):
    d = load_data(make_system("text", [("x", "x"), ("y", "x[t+1]")], options=[("0", "chars")], classes=300, sequence=True))
    assert d.count("train") > 1000


def test_words_keep_the_most_frequent_and_an_unknown_one(make_system, tmp_path):
    (tmp_path / "t.txt").write_text("to be or not to be that is the question " * 30)
    system = make_system("text", [("x", "x"), ("y", "x[t+1]")], options=[("0", "words"), ("1", "t.txt"), ("length", 5)],
                         classes=4, sequence=True)
    d = load_data(system, folder=tmp_path)
    assert d.preparation["vocabulary"]["x"] == ["<unk>", "be", "to", "is"]
    assert d.parts["train"]["x"][:2].tolist() == [[2, 1, 0, 0, 2], [1, 0, 3, 0, 0]]


@pytest.mark.parametrize("formula,expected", [("all", [0, 0, 0, 1]), ("any", [0, 1, 1, 1]), ("odd", [0, 1, 1, 0]),
                                              ("a and not b", [0, 0, 1, 0])])
def test_truth_tables(make_system, formula, expected):
    d = load_data(make_system("truth", [("x", "input"), ("y", formula)], D=2, classes=2))
    assert d.parts["train"]["x"].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]] and d.parts["train"]["y"].tolist() == expected


def test_the_sinusoid():
    system = System("s", {}, {"x": Input("x"), "y": Input("y")}, ("y",))
    system.data = load_line("sinusoid", (("n", 100), ("noise", 0.0)))
    d = load_data(system, dtype=np.float64)
    x, y = d.parts["train"]["x"], d.parts["train"]["y"]
    assert len(x) == 80 and y == pytest.approx(np.sin(2 * np.pi * x))


def load_line(source, options=(), columns=(), split=()):
    from chainrule.compiler.system import Data
    return Data(source, options, columns, split)


@pytest.mark.skipif(not (FILES / "ud_english_ewt").is_dir(), reason=f"no UD English under {FILES}")
def test_conll_columns():
    columns = read_conll(FILES / "ud_english_ewt" / "ewt_dev.tsv.gz", ("words", "upos"))
    assert columns["words"][0][:5] == ["From", "the", "AP", "comes", "this"] and columns["upos"][0][1] == "DET"
    assert all(len(a) == len(b) for a, b in zip(columns["words"], columns["upos"]))


# ---------------------------------------------------------------- what is refused

@pytest.mark.parametrize("columns,sizes,says", [
    ([("x", "image"), ("y", "label")], {"D": 65},
     "input x: x[D] with D = 65 (65) was expected; the data give 64 (8x8) an example"),
    ([("x", "image"), ("y", "label + 1")], {}, "input y: 10 at example 9 is not one of the 10 classes 0..9 of class(C)"),
    ([("x", "image"), ("y", "-label")], {}, "input y: -1 at example 1 is not one"),
    ([("x", "image"), ("y", "label / 2")], {}, "input y: 0.5 at example 1 is no integer, where classes were expected"),
    ([("x", "log(image)"), ("y", "label")], {}, "input x: -inf at example 0, position 0 is not a finite number"),
    ([("x", "imag"), ("y", "label")], {}, "input x: there is no column 'imag'; did you mean 'image'?"),
    ([("x", "image")], {}, "input y: digits has no column 'y'"),
    ([("z", "image")], {}, "the model has no input 'z'"),
    ([("x", "image"), ("y", "label[t+1]")], {}, "needs an input that runs along time, x[t]")])
def test_digits_refuse(digits, columns, sizes, says):
    assert says in message(load_data, digits("digits", columns, **sizes))


@pytest.mark.parametrize("split,says", [
    ((1700, 98), "the split asks for 1798 examples, 1797 are there"), ((0, 10), "a split is two or three counts above 0"),
    ((1, 2, 3, 4), "a split is two or three counts")])
def test_splits_refuse(digits, split, says):
    assert says in message(load_data, digits("digits", [("x", "image"), ("y", "label")], split))


@pytest.mark.parametrize("text,says", [
    ("", "is empty"), ("a,b,kind\n", "holds a header and no rows"), ("a,b,kind\n1,2\n", ":2: 2 fields, where the header has 3"),
    ("a,a,kind\n1,2,x\n", "column 2 of the header is 'a' a second time"), ("a,,kind\n1,2,x\n", "column 2 of the header is empty"),
    ("a,b,kind\n1,2,x\n3,,y\n", "input x: nan at row 2 of"),
    ("a,b,kind\n1,oops,x\n", "`b` holds words, where numbers are needed"),
    ("a,b,kind\n1,2,w\n1,2,x\n1,2,y\n1,2,z\n", "the data hold 4 classes, class(C) has room for 3; --set C=4 makes room"),
    (b"a,b,kind\n1,2,\xff\n", "is not UTF-8 text: byte 13"), (b"\x1f\x8b\x00\x00", "is damaged"),
    ('a,b,kind\n1,2,"x\n', "unexpected end of data")])
def test_csv_refuses(table, tmp_path, text, says):
    system = table(text, options=[("shuffle", 0)])
    assert says in message(load_data, system, folder=tmp_path)


def test_words_where_numbers_were_expected(table, tmp_path):
    system = table(IRIS, [("x", "kind"), ("y", "a")])
    assert "input x: numbers were expected" in message(load_data, system, folder=tmp_path)


@pytest.mark.parametrize("make,says", [
    (lambda p: np.savez(p, x=np.ones((4, 2)), y=np.zeros(3, int)), "the columns differ in length: x 4, y 3"),
    (lambda p: np.savez(p, x=np.ones((0, 2)), y=np.zeros(0, int)), "is empty"),
    (lambda p: np.savez(p, x=np.ones((4, 2)), y=np.array(7)), "y is a single number"),
    (lambda p: np.savez(p, x=np.ones((4, 2), complex), y=np.zeros(4, int)), "numbers were expected, not complex128"),
    (lambda p: np.savez(p, x=np.full((4, 2), 1e300), y=np.zeros(4, int)), "input x: inf at row "),
    (lambda p: np.savez(p, x=np.array([[1, object()]], object), y=np.zeros(1, int)), "not a NumPy archive that can be read"),
    (lambda p: np.savez(p), "holds no arrays"), (lambda p: p.write_bytes(b"PK\x03\x04 no archive"), "damaged"),
    (lambda p: p.write_bytes(b"something else"), "not a NumPy archive; np.savez writes one"),
    (lambda p: np.savez(p, x=np.array([["a\nb", "c"]]), y=np.zeros(1, int)), "holds words such as 'a\\nb'"),
    (lambda p: np.savez(p, x=np.ones((4, 2)), y=np.array([0, 1, 0.5, 0])), "0.5 at row 2 of")])
def test_npz_refuses(make_system, tmp_path, make, says):
    path = tmp_path / "f.npz"
    make(path)
    assert says in message(load_data, make_system("npz", D=2, classes=3), path)


@pytest.mark.parametrize("raw,says", [
    (b"", "not an IDX file"), (b"GIF8", "not an IDX file: it starts with 47494638"),
    (b"\0\0\x08\x03\0\0", "header ends too early"),
    (struct.pack(">4B3I", 0, 0, 8, 3, 6, 2, 2) + b"123", "promises 24 bytes of 6x2x2 values, 3 follow"),
    (struct.pack(">4BI", 0, 0, 8, 1, 3) + b"123", "images of 3 axes were expected, it has 1")])
def test_idx_refuses(make_system, tmp_path, raw, says):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(raw)
    assert says in message(load_data, make_system("mnist", D=4), tmp_path)


@pytest.mark.parametrize("source,options,path,says", [
    ("digitz", (), None, "there is no such source; did you mean 'digits'?"), ("csv", (), None, "which file?"),
    ("csv", (("0", "none.csv"),), None, "there is no file"),
    ("csv", (), "nowhere", "--data nowhere: there is no such file or folder"),
    ("digits", (("lenth", 3),), None, "there is no option 'lenth'; did you mean 'length'?"),
    ("truth", (("0", "xor"),), None, "truth(2)"),
    ("truth", (("0", 40),), None, "1 to 16 variables"), ("conll", (), None, "which file? write conll(words"),
    ("sinusoid", (("n", 0),), None, "n is a number of at least 1, not 0")])
def test_sources_refuse(make_system, source, options, path, says):
    assert says in message(load_data, make_system(source, options=options), path)


def test_mnist_says_where_it_looked(make_system, tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "--data DIR" in message(load_data, make_system("mnist"))
    (tmp_path / "mnist").mkdir()
    assert "train-images-idx3-ubyte or train-images-idx3-ubyte.gz was expected in" in message(load_data, make_system("mnist"))


def test_text_refuses(make_system, tmp_path):
    (tmp_path / "t.txt").write_text("abc" * 5)
    columns, options = [("x", "x"), ("y", "x[t+1]")], [("0", "chars"), ("1", "t.txt")]
    system = make_system("text", columns, options=options, classes=3, sequence=True)
    assert "fewer than one window of 64" in message(load_data, system, folder=tmp_path)
    system = make_system("text", columns, options=options, classes=2, sequence=True)
    assert "hold 3 classes, class(C) has room for 2; --set C=3" in message(load_data, system, folder=tmp_path)
    (tmp_path / "t.txt").write_text("")
    assert "holds no chars" in message(load_data, system, folder=tmp_path)


def test_no_data_line(make_system):
    system = make_system("digits")
    system.data = None
    assert "has no data line" in message(load_data, system)


def test_arrays_in_memory(make_system):
    system = make_system("digits", D=2, classes=3)
    system.inputs["m"] = Input("m", type=BOOL)
    good = {"x": np.ones((4, 2)), "y": [0, 1, 2, 0], "m": [0, 1, 1, 0]}
    d = from_arrays(system, train=good)
    assert d.parts["train"]["m"].dtype == bool
    for wrong, says in [({"y": [0, 1, 2, 3]}, "input y: 3 at example 3 of the train part"),
                        ({"y": [0, 1]}, "differ in length: x 4, y 2"),
                        ({"x": np.full((4, 2), np.nan)}, "nan at example 0 of the train part, position 0 is not a finite"),
                        ({"m": [0, 2, 0, 0]}, "input m: 2 at example 1 of the train part is neither 0 nor 1"),
                        ({"z": [1]}, "no input 'z'"),
                        ({"x": np.ones((4, 3))}, "x[D] with D = 2 (2) was expected; the data give 3"),
                        ({"x": np.float64(3)}, "an array of x[D]"), ({"x": ["a"]}, "numbers were expected"),
                        ({k: np.asarray(v)[:0] for k, v in good.items()}, "is empty")]:
        assert says in message(from_arrays, system, train={**good, **wrong})
    assert "no part 'tests'; did you mean 'test'" in message(from_arrays, system, train=good, tests=good)
