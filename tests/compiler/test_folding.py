"""Folding: what evaluation computes channel by channel goes into the weights before it; values as before."""

from pathlib import Path

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.graph import Contract, Map
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes.evaluation import evaluation

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

TEXT = """
model m(C = 3)
input x[4, 6, 5]
param K[4, {inputs}, 2, 2] ~ normal(0.5)
param g[4], s[4], b[4] ~ normal(1)
stat mu[4] = 0 <- 0.9 * mu + 0.1 * mean[batch, 1, 2](c)
c = {c}
y = {y}
loss = sum(y * (1 + y))
output y
"""


def values(system, seed=0, batch=3):
    """Parameters, stats and a batch; variances are positive."""
    rng = np.random.default_rng(seed)
    shapes = {k: [s.evaluate(system.sizes) for s in p.node.shape] for k, p in {**system.params, **system.stats}.items()}
    params = {k: rng.normal(size=s) if not k.endswith((".v", "s")) else rng.uniform(0.5, 2, s) for k, s in shapes.items()}
    image = [s.evaluate(system.sizes) for s in system.inputs["x"].shape]
    return params, rng.normal(size=(batch, *image))


def agree(system):
    """`predict` of the module against the interpreter on the system as it was written, in evaluation mode."""
    program = Program(system, "float64", 1)
    params, x = values(system)
    found = program.module.predict(params, x)
    plain = evaluation(system)
    for k in system.outputs:
        expected = evaluate(plain, [plain.equations[k]], {**params, "x": x}, {"B": len(x)})[0]
        np.testing.assert_allclose(found[k], expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max(), err_msg=k)
    return program


def large(program):
    """What is computed element by element over a batch of images in `predict`."""
    return [n.f for n in program.compiled.layouts["predict"].plan.order if isinstance(n, Map) and n.axes and len(n.shape) > 1]


@pytest.mark.parametrize("c", ["conv(x, K)", "conv(x, K, padding = 1, stride = 2)", "conv(x, K, groups = 2)",
                               "conv_transpose(x, K, padding = 1)", "conv_transpose(x, K, groups = 2, stride = 2)"])
def test_a_normalised_convolution_is_a_convolution_and_a_bias(c):
    y = "channels(g, c) * ((c - channels(mu, c)) / channels(s, c)) - channels(b, c)"
    text = TEXT.format(inputs=2 if "groups" in c else 4, c=c, y=y)
    assert large(agree(cr.parse(text).system)) == ["sub"]


@pytest.mark.parametrize("y", ["channels(b, c) - c * channels(g, c)", "-(c / channels(s, c)) + channels(b, c)",
                               "(channels(b, c) + (c + channels(b, c)) * channels(g, c)) / channels(s, c)",
                               "channels(b / s, c) - (channels(g, c) - (c - 1) / channels(s, c)) * 3"])
def test_every_kind_of_step(y):
    assert large(agree(cr.parse(TEXT.format(inputs=4, c="conv(x, K)", y=y)).system)) in (["add"], ["sub"])


def test_what_others_read_and_what_is_no_product_stay():
    step = "channels(g, c) * (c - channels(mu, c)) / channels(s, c)"
    read = agree(cr.parse(TEXT.format(inputs=4, c="conv(x, K)", y=step) + "z = c * c\noutput z\n").system)
    assert "mul" in large(read)
    image = agree(cr.parse(TEXT.format(inputs=4, c="tanh(conv(x, K))", y=step)).system)
    assert len(large(image)) == 4
    number = agree(cr.parse(TEXT.format(inputs=4, c="conv(x, K)", y="3 * c + channels(b, c)")).system)
    assert large(number) in (["mul", "add"], ["add"])


def test_weights_larger_than_what_they_save_keep_their_size():
    """Then factors are put together, and the activations pass twice instead of four times."""
    text = "model d(D = 2000, H = 500)\ninput x[D]\nparam W[H, D] ~ xavier\nh = batch_norm(W @ x)\nloss = sum(h * h)\noutput h\n"
    program = agree(cr.parse(text).system)
    order = program.compiled.layouts["predict"].plan.order
    assert sorted(n.f for n in order if isinstance(n, Map) and n.axes) == ["add", "mul"]
    small = agree(cr.parse(text.replace("2000", "20")).system)
    assert [n.f for n in small.compiled.layouts["predict"].plan.order if isinstance(n, Map) and n.axes] == ["add"]


@pytest.mark.parametrize("name", ["vgg_small", "resnet_small"])
def test_no_pass_for_batch_normalisation_is_left(name):
    """A bias and relu after each convolution, the sum of a residual, and nothing else."""
    system = cr.load(EXAMPLES / name / "model.nn").system
    program = agree(system)
    order = program.compiled.layouts["predict"].plan.order
    found = large(program)
    products = sum(isinstance(n, Contract) and len(n.shape) > 1 for n in order)
    blocks = sum("r.n.gamma" in k for k in system.params)                # one sum each
    assert {*found} == {"add", "relu"}
    assert found.count("add") == products + blocks
