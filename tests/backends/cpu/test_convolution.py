"""Convolutions by every way: values and gradients as the reference interpreter has them; what is chosen, and why."""

from functools import partial

import chainrule as cr
import numpy as np
import pytest
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes import layout
from chainrule.compiler.passes.convolution import convolutions
from chainrule.compiler.run_program import run_program
from chainrule.compiler.verify_program import verify_program
from chainrule.frontends.showing import stage_text

WAYS = ("whole", "blocks", "rows", "each")
MODEL = """
model m
input x[{x}]
param A[4, 4, {ones}], K[{K}] ~ normal(0.5)
h = sin(conv(x, A))
y = {y}
loss = sum(sin(y))
output y
"""
WIDE = """
model wide
input x[32, 32, 32]
param A[32, 32, 1, 1], K[32, 32, 3, 3] ~ he
y = conv(relu(conv(x, A)), K, padding = same)
loss = sum(y^2)
output y
"""
# image after the channels, kernel, options of the convolution
PLANES = [
    ("9, 7", "6, 4, 3, 3", ""), ("9, 7", "6, 4, 3, 2", "padding = same"), ("9, 7", "6, 4, 2, 3", "padding = [[0, 2], [1, 0]]"),
    ("9, 8", "6, 4, 3, 3", "stride = 2, padding = 1"), ("9, 8", "6, 4, 3, 3", "stride = [1, 2]"),
    ("9, 9", "6, 4, 3, 3", "dilation = 2, padding = 2"), ("9, 9", "6, 4, 2, 3", "dilation = [3, 2]"),
    ("7, 9", "6, 2, 3, 3", "groups = 2, padding = same"), ("7, 9", "6, 2, 3, 3", "groups = 2, stride = 2"),
    ("7, 9", "4, 1, 3, 3", "groups = 4, padding = same"), ("7, 9", "4, 1, 3, 2", "groups = 4, stride = 2, dilation = 2"),
    ("7, 9", "8, 1, 3, 3", "groups = 4"), ("5, 6", "6, 4, 3, 3", "padding = same, flip = true"),
    ("5, 6", "6, 4, 1, 1", ""), ("5, 6", "6, 4, 1, 1", "stride = 2"), ("5, 6", "6, 4, 5, 6", ""),
]
LINES = [("11", "6, 4, 3", "padding = same"), ("11", "6, 4, 3", "stride = 2"),
         ("11", "6, 4, 2", "padding = [[2, 0]], dilation = 2"),
         ("11", "4, 1, 3", "groups = 4, padding = 1"),
         ("11", "6, 2, 3", "groups = 2"), ("11", "6, 4, 1", "")]


def forced(way):
    """The way where it can be taken; otherwise the cheapest."""
    return lambda costs: way if way in costs else "apart" if "apart" in costs else min(costs, key=costs.__getitem__)


def compiled(monkeypatch, text, way, dtype="float64"):
    monkeypatch.setattr(layout, "convolutions", partial(convolutions, choose=forced(way)))
    return cr.compile(cr.parse(text), dtype=dtype)


def model(image, kernel, options, y="conv(h, K{options})"):
    dims = image.count(",") + 1
    y = y.format(options=f", {options}" if options else "")
    return MODEL.format(x=f"4, {image}", ones=", ".join("1" * dims), K=kernel, y=y)


def expected(program, params, x):
    """Loss and gradients by the interpreter."""
    system = program.compiled.differentiated
    roots = [system.equations["loss*"], *(system.equations[f"d_{k}"] for k in params)]
    loss, *grads = evaluate(system, roots, {**params, "x": x}, {"B": len(x)})
    return loss, dict(zip(params, grads, strict=True))


def check(program, batch=11):
    """A batch that no block divides; twice, with the same workspace."""
    rng = np.random.default_rng(0)
    params = {k: rng.normal(size=v.shape) for k, v in program.init(0).items()}
    x = rng.normal(size=(batch, *(n.value for n in program.system.inputs["x"].shape)))
    loss, grads = expected(program, params, x)
    workspace = program.Workspace()
    for _ in range(2):
        found, d = program.loss_and_grads(params, x=x, workspace=workspace)
        np.testing.assert_allclose(found, loss, rtol=1e-12)
        for k in params:
            np.testing.assert_allclose(d[k], grads[k], rtol=1e-9, atol=1e-11, err_msg=k)
    y = evaluate(program.system, [program.system.equations["y"]], {**params, "x": x}, {"B": batch})[0]
    np.testing.assert_allclose(program.predict(params, x=x)["y"], y, rtol=1e-9, atol=1e-11)
    for printer in program.printers.values():
        verify_program(printer.function, program.system.sizes, printer.plan, (3,))
    printer = program.printers["gradients"]
    again = run_program(printer.function, {"B": batch, **program.system.sizes}, {**params, "x": x}, printer.plan)
    np.testing.assert_allclose(again["loss"], loss, rtol=1e-12)
    for k in params:
        np.testing.assert_allclose(again[f"d_{k}"], grads[k], rtol=1e-9, atol=1e-11, err_msg=k)


def ways(case):
    """The ways that the convolution by K can go."""
    image, kernel, options = case
    out = [] if kernel.endswith("1, 1") and not options else ["blocks"]
    out += ["rows"] if "," in image and out and not kernel.endswith("1, 1") and "stride = 2" not in options else []
    out += ["each"] if kernel.startswith("4, 1") else []
    return out + (["whole"] if not out or case in (PLANES[0], LINES[0]) else [])


@pytest.mark.parametrize("case, way", [(c, w) for c in (*PLANES, *LINES) for w in ways(c)],
                         ids=lambda c: c if isinstance(c, str) else "|".join(filter(None, c)).replace(" ", ""))
def test_every_way_computes_the_same(monkeypatch, case, way):
    program = compiled(monkeypatch, model(*case), way)
    check(program)
    chosen = [c for c in program.compiled.layouts["gradients"].plan.choices.values() if way in c.costs]
    assert all(c.way == way for c in chosen) and len(chosen) >= (way != "whole")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("y", ["conv_transpose(h, K)", "conv_transpose(h, K, padding = 1, dilation = 2)",
                               "conv_transpose(h, K, stride = 2)"])
def test_a_transposed_convolution_as_well(monkeypatch, y, way):
    check(compiled(monkeypatch, model("5, 6", "4, 3, 3, 2", "", y), way))


def test_a_wide_image_goes_by_rows_and_its_windows_are_not_kept():
    program = cr.compile(cr.parse(WIDE))
    plan = program.compiled.layouts["gradients"].plan
    assert {c.call.name: c.way for c in plan.choices.values()} == {"conv": "rows", "correlate": "rows", "conv_transpose": "rows"}
    biggest = max(np.prod([n.evaluate({"B": 64}) for n in a.dims]) for _, a in program.printers["gradients"].buffers())
    assert biggest == 64 * 32 * 32 * 32                          # an image; all windows would be nine times as many
    assert " fold(" not in program.source and " windows(" not in program.source


def test_the_schedule_tells_the_costs():
    text = stage_text(cr.parse(WIDE).system, "schedule")
    assert "conv(relu(conv(x, A)), K, padding = same): rows, 3 copies of the image instead of 9" in text and "whole" in text


def test_costs_order_the_ways():
    """One element is a plain product; a depthwise kernel goes channel by channel; the cheapest way is taken."""
    for options, kernel, way in (("", "64, 32, 1, 1", "plain"), ("groups = 32, padding = same", "32, 1, 3, 3", "each")):
        text = WIDE.replace("K[32, 32, 3, 3]", f"K[{kernel}]").replace("K, padding = same", f"K, {options}".rstrip(", "))
        plan = cr.compile(cr.parse(text)).compiled.layouts["gradients"].plan
        found = [c for c in plan.choices.values() if c.call.operands[-1] is plan_param(plan, "K") or c.call.name == "correlate"]
        assert way in {c.way for c in found}
    for c in plan.choices.values():
        assert c.shared or c.costs[c.way] == min(c.costs.values())


def plan_param(plan, name):
    return next(e for e in plan.order if getattr(e, "name", "") == name)
