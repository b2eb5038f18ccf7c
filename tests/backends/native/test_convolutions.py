"""Convolutions and pooling in C against NumPy: strides, dilation, groups, padding, lines, channels that fill no vector."""

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.backends.native.copies import groups
from chainrule.backends.native.program import NativeProgram
from chainrule.compiler.sizes import size, symbol

HEAD = "model m()\ninput x[{x}]\ntarget z[{z}]\n"
FOOT = "loss = sum((y - z)^2)\ntrain sgd(lr = 0.1)\noutput y\n"
LAYERS = {
    "same": ("5, 9, 8", "K[7, 5, 3, 3]", "tanh(conv(x, K, padding = same))", "7, 9, 8"),
    "strided": ("3, 9, 11", "K[18, 3, 3, 2]", "conv(tanh(conv(x, K1, padding = 1)), K, stride = [2, 3])", "18, 4, 4"),
    "dilated": ("3, 9, 11", "K[17, 3, 2, 3]", "conv(tanh(conv(x, K1, padding = 1)), K, dilation = [3, 2], padding = [1, 2])",
                "17, 8, 11"),
    "uneven": ("3, 6, 5", "K[33, 3, 3, 3]", "conv(tanh(conv(x, K1, padding = 1)), K, padding = [[2, 0], [1, 2]])", "33, 6, 6"),
    "groups": ("4, 6, 7", "K[6, 2, 3, 3]", "conv(tanh(x * s), K, groups = 2, padding = 1)", "6, 6, 7"),
    "wide groups": ("6, 6, 7", "K[40, 3, 3, 3]", "conv(tanh(x * s), K, groups = 2, padding = 1)", "40, 6, 7"),
    "depthwise": ("5, 6, 7", "K[5, 1, 3, 3]", "conv(tanh(x * s), K, groups = 5, padding = 1, stride = 2)", "5, 3, 4"),
    "point": ("5, 6, 7", "K[20, 5, 1, 1]", "conv(tanh(x * s), K, stride = 2)", "20, 3, 4"),
    "point below a maximum": ("3, 6, 7", "K[2, 3, 1, 1]", "global_max(tanh(conv(tanh(conv(x, K1)), K, stride = 2)))", "2"),
    "line": ("5, 23", "K[18, 5, 4]", "conv(tanh(x * s), K, padding = 2)", "18, 24"),
    "dilated line": ("5, 23", "K[3, 5, 4]", "conv(tanh(x * s), K, dilation = 3, stride = 2)", "3, 7"),
    "transposed": ("4, 5, 6", "K[4, 3, 3, 2]", "conv_transpose(tanh(x * s), K, padding = 1, dilation = 2)", "3, 7, 6"),
    "upwards": ("4, 5, 6", "K[4, 3, 3, 2]", "conv_transpose(tanh(x * s), K, stride = 2)", "3, 11, 12"),
    "overlapping pools": ("5, 9, 8", "K[7, 5, 3, 3]", "max_pool(conv(x, K), 3, stride = [2, 1], padding = 1)", "7, 4, 6"),
    "pools apart": ("5, 9, 9", "K[7, 5, 3, 3]",
                    "max_pool(conv(x, K), 2, stride = 3) + avg_pool(conv(x, K), [2, 3], stride = 3)[:, :, :2]", "7, 2, 2"),
    "averages": ("5, 9, 8", "K[7, 5, 3, 3]", "avg_pool(conv(x, K), 3, stride = 2, padding = 1)", "7, 4, 3"),
}


def program_text(x, kernel, y, z):
    params = [kernel] + (["K1[3, 3, 3, 3]"] if "K1" in y else []) + ([f"s[{x}]"] if "s)" in y else [])
    return HEAD.format(x=x, z=z) + f"param {', '.join(params)} ~ normal(1)\ny = {y}\n" + FOOT


@pytest.mark.native
@pytest.mark.parametrize("name, dtype", [*((k, "float64") for k in LAYERS), ("uneven", "float32"), ("wide groups", "float32")])
def test_the_same_as_numpy(name, dtype):
    """Values and gradients, 5 examples, the second time in the workspace that the first left behind."""
    system = cr.parse(program_text(*LAYERS[name])).system
    numpy, native = Program(system, dtype), NativeProgram(system, dtype)
    rng, near = np.random.default_rng(0), 1e-12 if dtype == "float64" else 1e-5
    params = {k: v.astype(dtype) for k, v in numpy.init(0).items()}
    inputs = {k: rng.normal(size=(5, *(n.value for n in i.shape))).astype(dtype) for k, i in system.inputs.items()}
    workspace = native.Workspace()
    for _ in range(2):
        want, found = numpy.loss_and_grads(params, **inputs), native.loss_and_grads(params, workspace=workspace, **inputs)
        for k, v in want[1].items():
            assert np.abs(found[1][k] - v).max() <= near * np.abs(v).max(), k
    y = numpy.predict(params, x=inputs["x"])["y"]
    assert np.abs(native.predict(params, x=inputs["x"])["y"] - y).max() <= near * np.abs(y).max()


def test_equal_shapes_share_a_function():
    """Three layers alike: one function for all, one for their adjoint in the kernel; the caller's output has channels first."""
    y = "conv(conv(conv(tanh(x * s), K, padding = 1), K2, padding = 1), K3, padding = 1)"
    text = program_text("3, 6, 6", "K[3, 3, 3, 3], K2[3, 3, 3, 3], K3[3, 3, 3, 3]", f"tanh({y})", "3, 6, 6")
    c = NativeProgram(cr.parse(text).system).c
    assert c.count("static void convolve_3x3") <= 2 and c.count("static void correlate_3x3") <= 2
    assert c.count(" convolve_3x3") >= 5 and "windows" not in c[c.index("void gradients_share"):]


def test_the_finer_form_of_a_reshape():
    """Dims of two forms in groups of as many elements; a group that would need several dims of both has no loops."""
    b = symbol("B")
    n = {k: size(k) for k in (1, 2, 3, 4, 6)}
    assert groups((b, n[6]), (b, n[2], n[3])) == [([0], [0]), ([1], [1, 2])]
    assert groups((b, n[2], n[1], n[3], n[4]), (b, n[6], n[4])) == [([0], [0]), ([1, 3], [1]), ([4], [2])]
    assert groups((n[4], n[6]), (n[6], n[4])) is None
