"""Convolutions by every way that there is: values and gradients as the reference interpreter has them; what is chosen, and why."""

from functools import partial

import chainrule as cr
import numpy as np
import pytest
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes import layout
from chainrule.compiler.passes.convolution import convolutions
from chainrule.compiler.verify_program import verify_program

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
LINES = [("11", "6, 4, 3", "padding = same"), ("11", "6, 4, 3", "stride = 2"), ("11", "6, 4, 2", "padding = [[2, 0]], dilation = 2"),
         ("11", "4, 1, 3", "groups = 4, padding = 1"), ("11", "6, 2, 3", "groups = 2"), ("11", "6, 4, 1", "")]


def forced(way):
    """The way where it can be taken; otherwise the cheapest."""
    return lambda costs: way if way in costs else "apart" if "apart" in costs else min(costs, key=costs.__getitem__)


def compiled(monkeypatch, text, way, dtype="float64"):
    monkeypatch.setattr(layout, "convolutions", partial(convolutions, choose=forced(way)))
    return cr.compile(cr.parse(text), dtype=dtype)


def model(image, kernel, options, y="conv(h, K{options})"):
    dims = image.count(",") + 1
    return MODEL.format(x=f"4, {image}", ones=", ".join("1" * dims), K=kernel, y=y.format(options=f", {options}" if options else ""))


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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", [*PLANES, *LINES], ids=lambda c: ", ".join(filter(None, c)).replace(" ", ""))
def test_every_way_computes_the_same(monkeypatch, case, way):
    program = compiled(monkeypatch, model(*case), way)
    check(program)
    ways = {c.way for c in program.compiled.layouts["gradients"].plan.choices.values() if way in c.costs}
    assert ways <= {way}
