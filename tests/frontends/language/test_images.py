"""Convolution and pooling: against sums written out, against PyTorch where it is installed, their gradients, what is refused."""

import chainrule as cr
import numpy as np
import pytest
from chainrule.compiler.check import check_gradients
from chainrule.compiler.interpret import evaluate
from chainrule.frontends.language import ModelError
from hypothesis import given, settings
from hypothesis import strategies as st

MODEL = """
model m(O = {outputs})
input x[{x}]
param K[{K}] ~ normal(0.5)
y = {y}
loss = sum(sin(y))
output y
"""


def model(x, K, y, outputs=6):
    return cr.parse(MODEL.format(x=x, K=K, y=y, outputs=outputs)).system


def run(system, **values):
    return evaluate(system, [system.equations["y"]], values, {"B": len(values["x"])})[0]


def by_sums(x, K, stride, lo, hi, dilation, groups):
    """The definition, one sum an element."""
    x = np.pad(x, ((0, 0), (0, 0), (lo, hi), (lo, hi)))
    (B, _, H, W), (outputs, c, h, w) = x.shape, K.shape
    m, n = ((s - dilation * (k - 1) - 1) // stride + 1 for s, k in ((H, h), (W, w)))
    out = np.zeros((B, outputs, m, n))
    for o in range(outputs):
        first = o // (outputs // groups) * c
        for i in range(m):
            for j in range(n):
                rows = slice(i * stride, i * stride + dilation * (h - 1) + 1, dilation)
                columns = slice(j * stride, j * stride + dilation * (w - 1) + 1, dilation)
                out[:, o, i, j] = (x[:, first:first + c, rows, columns] * K[o]).sum((1, 2, 3))
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.sampled_from(["valid", "same", "1", "2"]), st.integers(1, 2),
       st.sampled_from([1, 2, 4]), st.sampled_from([(7, 8), (9, 7)]))
def test_every_combination_against_sums_and_differences(h, w, stride, padding, dilation, groups, image):
    H, W = image
    if padding == "same" and (stride > 1 or h != w or H != W):
        padding = "1"
    system = model(f"4, {H}, {W}", f"8, {4 // groups}, {h}, {w}",
                   f"conv(x, K, stride = {stride}, padding = {padding}, dilation = {dilation}, groups = {groups})")
    rng = np.random.default_rng(0)
    x, K = rng.normal(size=(2, 4, H, W)), rng.normal(size=(8, 4 // groups, h, w))
    reach = dilation * (h - 1)
    lo, hi = {"valid": (0, 0), "same": (reach // 2, reach - reach // 2)}.get(padding) or (int(padding), int(padding))
    np.testing.assert_allclose(run(system, x=x, K=K), by_sums(x, K, stride, lo, hi, dilation, groups), rtol=1e-10, atol=1e-10)
    check_gradients(system, {"x": x, "K": K}).require()


@pytest.mark.parametrize("y", ["conv_transpose(x, K, stride = 2, padding = 1, more = 1)", "conv_transpose(x, K, dilation = 2)",
                               "conv(x, K, padding = same, flip = true)", "local(x, L)", "max_pool(conv(x, K), 2)",
                               "max_pool(x, 3, stride = 2, padding = 1)", "avg_pool(x, [2, 3], stride = 1)", "upsample(x, 2)",
                               "global_max(x)", "global_avg(conv(x, K))", "flatten(x)", "x + channels(b, x)"])
def test_gradients(y):
    text = MODEL.format(x="4, 5, 6", K="4, 4, 2, 2", y=y, outputs=6)
    text = text.replace("y =", "param b[4] = 0;  L[3, 4, 5, 4, 2, 2] ~ normal(0.5)\ny =")
    system = cr.parse(text).system
    rng = np.random.default_rng(1)
    at = {k: rng.normal(size=s) for k, s in (("x", (2, 4, 5, 6)), ("K", (4, 4, 2, 2)), ("b", (4,)), ("L", (3, 4, 5, 4, 2, 2)))}
    check_gradients(system, at).require()


@pytest.mark.parametrize("stride,padding,dilation,groups", [(1, 0, 1, 1), (2, 1, 1, 2), (2, 1, 2, 1), (1, 2, 2, 4)])
def test_torch(stride, padding, dilation, groups):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x, K, T = (rng.normal(size=s) for s in ((2, 4, 9, 8), (8, 4 // groups, 3, 2), (4, 8 // groups, 3, 2)))
    options = f"stride = {stride}, padding = {padding}, dilation = {dilation}, groups = {groups}"
    given = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    ours = run(model("4, 9, 8", f"8, {4 // groups}, 3, 2", f"conv(x, K, {options})"), x=x, K=K)
    theirs = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(K), **given).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-10)
    ours = run(model("4, 9, 8", f"4, {8 // groups}, 3, 2", f"conv_transpose(x, K, {options})"), x=x, K=T)
    theirs = torch.nn.functional.conv_transpose2d(torch.tensor(x), torch.tensor(T), **given).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


REFUSED = {
    "conv(x, K, padding = 0, dilation = 9)": "(28 + 2*0 - (9*(5 - 1) + 1))//1 + 1 = -8",
    "max_pool(x, 30, stride = 1)": "(28 + 2*0 - 30)//1 + 1 = -1",
    "conv(x, K, groups = 2)": "8 * 2 = 16 channels, and the image has 8",
    "conv(x, K, stride = 0)": "the stride is a whole number from 1 on, not `0`",
    "conv(x, K, size = 3)": "`conv` has no option `size`",
    "conv(flatten(x), K)": "reads images (C, H, W)",
    "max_pool(x, [2, 2, 2])": "is one number for all of 2 dimensions, or one for each",
}


@pytest.mark.parametrize("y", REFUSED)
def test_what_cannot_be_is_told_with_its_numbers(y):
    with pytest.raises(ModelError) as error:
        model("8, 28, 28", "6, 8, 5, 5", y)
    assert REFUSED[y] in str(error.value)


def test_channels_that_groups_do_not_divide():
    with pytest.raises(ModelError, match=r"6 output channels are not divisible by 4 groups: 6/4 = 1\.5"):
        model("8, 28, 28", "6, 2, 5, 5", "conv(x, K, groups = 4)")


def test_depthwise_with_symbolic_channels():
    system = model("O, 6, 6", "O, 1, 3, 3", "conv(x, K, groups = O, padding = same)", outputs=3)
    rng = np.random.default_rng(3)
    x, K = rng.normal(size=(2, 3, 6, 6)), rng.normal(size=(3, 1, 3, 3))
    np.testing.assert_allclose(run(system, x=x, K=K), by_sums(x, K, 1, 1, 1, 1, 3), atol=1e-10)
