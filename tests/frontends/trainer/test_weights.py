"""Loading another model's weights, histograms, curves, reports on classes, differences, diagnosis."""

import csv

import numpy as np
import pytest
from chainrule.compiler.graph import Input, Param, apply, matmul, mean
from chainrule.compiler.sizes import size
from chainrule.compiler.system import Average, Span, System
from chainrule.frontends.trainer.data import Dataset
from chainrule.frontends.trainer.diagnose import diagnose
from chainrule.frontends.trainer.differences import differences, random_inputs
from chainrule.frontends.trainer.errors import OptionError, WeightsError
from chainrule.frontends.trainer.loop import Trainer
from chainrule.frontends.trainer.reports import class_report, classified, draw_curve, draw_weights, report_classes, write_curve
from chainrule.frontends.trainer.weights import load_arrays, match_names, save_arrays, transfer


def model():
    return {"conv.W": np.zeros((2, 3), np.float32), "head.W": np.zeros((4, 2), np.float32), "head.b": np.zeros(4, np.float32)}


def test_transfer_by_name(tmp_path):
    save_arrays(tmp_path / "w", {"conv.W": np.ones((2, 3)), "head.b": np.ones(4), "old": np.ones(2)}, {})
    params = model()
    loaded = transfer(params, tmp_path / "w", ["head.b"])
    assert params["conv.W"].tolist() == [[1] * 3] * 2 and params["conv.W"].dtype == np.float32 and not params["head.b"].any()
    assert loaded.rows() == [("conv.W", "2 x 3", "2 x 3", "loaded"), ("head.W", "", "4 x 2", "new"),
                             ("head.b", "4", "4", "skipped"), ("old", "2", "", "left over")]


@pytest.mark.parametrize("there,fits", [((2, 3), True), ((6,), True), ((2, 1, 3), True), ((1, 6), True), ((3, 2), False),
                                        ((2, 4), False)])
def test_other_shapes_of_the_same_elements(tmp_path, there, fits):
    values = np.arange(np.prod(there), dtype=float).reshape(there)
    save_arrays(tmp_path / "w", {"conv.W": values}, {})
    params = model()
    if fits:
        loaded = transfer(params, tmp_path / "w")
        assert params["conv.W"].ravel().tolist() == values.ravel().tolist()
        assert loaded.rows()[0][3] == ("loaded" if there == (2, 3) else "reshaped")
    else:
        with pytest.raises(WeightsError, match=r"conv\.W is \(.*\) in the file and \(2, 3\) in the model"):
            transfer(params, tmp_path / "w")


def test_transfer_refuses(tmp_path):
    save_arrays(tmp_path / "w", {"conv.W": np.ones((2, 3)), "head.W": np.ones((5, 2)), "head.b": np.ones(5)}, {})
    params = model()
    with pytest.raises(WeightsError) as e:
        transfer(params, tmp_path / "w")
    assert "head.W is (5, 2) in the file and (4, 2) in the model; head.b is (5,) in the file and (4,)" in str(e.value)
    assert "--skip head.W --skip head.b" in str(e.value) and not params["conv.W"].any()
    assert transfer(params, tmp_path / "w", ["head.*"]).loaded == ("conv.W",)
    save_arrays(tmp_path / "v", {"other": np.ones(2)}, {})
    with pytest.raises(WeightsError, match="shares no name"):
        transfer(params, tmp_path / "v")
    save_arrays(tmp_path / "u", {"conv.W": np.full((2, 3), np.nan)}, {})
    with pytest.raises(WeightsError, match=r"conv\.W holds values that are not finite"):
        transfer(params, tmp_path / "u")
    with pytest.raises(WeightsError, match="there is no file"):
        transfer(params, tmp_path / "none")
    (tmp_path / "t").write_text("hello")
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        transfer(params, tmp_path / "t")
    with pytest.raises(OptionError, match=r"--skip hed.W: no parameter is called that; did you mean 'head.W'\?"):
        transfer(params, tmp_path / "w", ["hed.W"])


def test_arrays_and_note_come_back(tmp_path):
    arrays = {"a": np.array(3), "b": np.zeros((0, 2), np.float32), "c": np.arange(6.0).reshape(2, 3).T,
              "d": np.array([True, False])}
    note = {"x": 0.1 + 0.2, "y": [float("inf"), "é\n"]}
    save_arrays(tmp_path / "w", arrays, note)
    back, said = load_arrays(tmp_path / "w")
    assert said == note and back.keys() == arrays.keys()
    for k, a in arrays.items():
        assert np.array_equal(back[k], a) and back[k].dtype == a.dtype and back[k].shape == a.shape and back[k].flags.writeable
    first = (tmp_path / "w").read_bytes()
    save_arrays(tmp_path / "w", dict(reversed(arrays.items())), note)
    assert (tmp_path / "w").read_bytes() == first


def test_patterns_keep_the_models_order():
    assert match_names(["head.*", "conv*"], model(), "--freeze") == ("conv.W", "head.W", "head.b")


def test_the_report_on_classes(make_system, logistic, blobs, tmp_path):
    counts = np.array([[8, 2, 0], [1, 9, 0], [0, 5, 5]])
    text = class_report(counts, ["a", "b", "c"])
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["a"] == ["8", "2", "0"] and "accuracy 0.7333" in text
    assert "       a     0.8889  0.8000  0.8421      10" in text and "       c     1.0000  0.5000  0.6667      10" in text
    system = make_system("blobs", D=4, classes=3)
    assert classified(system) == ("y", "p")
    program = logistic(4, 3)
    data = Dataset("blobs", blobs, {"vocabulary": {"y": ["one", "two", "three"]}})
    report = report_classes(tmp_path, system, Trainer(program, data), program.init())[0].read_text()
    assert report.startswith("test part of blobs") and "three" in report and "  30\n" in report


def test_curves(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    history = [{"epoch": e, "rate": 0.1, "train": 1 / e, "validation": 1.5 / e, "validation_error": 0.1, "seconds": e}
               for e in (1, 2)]
    write_curve(tmp_path / "c.csv", history)
    rows = list(csv.DictReader((tmp_path / "c.csv").read_text().splitlines()))
    assert [r["epoch"] for r in rows] == ["1", "2"] and float(rows[1]["validation"]) == 0.75
    assert draw_curve(tmp_path / "c.png", history, "model") and draw_weights(tmp_path / "w.png", model(), "model")
    assert all((tmp_path / f).read_bytes()[:4] == b"\x89PNG" for f in ("c.png", "w.png"))


def test_differences_find_a_wrong_gradient(make_system, logistic):
    program = logistic(4, 3, np.float64)
    inputs = random_inputs(make_system("x", D=4, classes=3))
    assert inputs["x"].shape == (5, 4) and inputs["y"].max() < 3
    params = program.init(seed=1)
    rows = differences(program, params, inputs)
    assert [r.name for r in rows] == ["W", "b"] and all(r.right for r in rows) and max(r.error for r in rows) < 1e-9
    right = program.loss_and_grads
    program.loss_and_grads = lambda params, **kw: (lambda loss, g: (loss, {**g, "b": g["b"] * 1.0001}))(*right(params, **kw))
    assert [r.right for r in differences(program, params, inputs)] == [True, False]


def test_the_first_equation_that_is_not_finite_is_named():
    x, w = Input("x", shape=(size(2),)), Param("w", (2,))
    system = System("m", {}, {"x": x})
    a = system.equation("a", matmul(w, x))
    b = system.equation("b", apply("log", a))
    system.equation("c", b * 2)
    system.spans["b"] = Span("model.nn", 7, 1)
    system.loss = Average(mean(b, ("batch",)), size_one())
    text = diagnose(system, {"w": np.array([1.0, 1.0])}, {"x": np.array([[1.0, 2.0], [3.0, 0.0], [1.0, -1.0]])})
    assert text == "the first equation whose value is not finite is b (model.nn:7): -inf at example 2"
    assert "every equation is finite in float64" in diagnose(system, {"w": np.ones(2)}, {"x": np.ones((3, 2))})


def size_one():
    from chainrule.compiler.graph import Const
    return Const(1)
