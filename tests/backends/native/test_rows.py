"""What C functions look like: rows in variables, sums of products in their rows, look-ups by rows, names of loops."""

import re

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.backends.native.program import NativeProgram

LAYER_NORM = """
model m(V = 12, H = 8)
input x[t] : class(V)
target y[t] : class(V)
param W[H, V], U[H, H], s[H] ~ xavier
param b[H] = 0
param W_y[V, H] ~ xavier
a[t] = W @ onehot(x[t]) + b + U @ h[t-1]
h[t] = tanh(s * (a[t] - mean(a[t])) / sqrt(mean((a[t] - mean(a[t]))^2) + 1e-5))      where h[-1] = 0
loss = mean[batch, t] cross_entropy(softmax(W_y @ h[t]), y[t])
train sgd(lr = 0.1)
"""


def system(text):
    m = cr.parse(text)
    return getattr(m, "system", m)


@pytest.fixture(scope="module")
def gradients():
    """The body of one function in C."""
    c = NativeProgram(system(LAYER_NORM)).c
    return c[c.index("void gradients_share("):]


def test_a_row_is_worked_off_in_one_nest(gradients):
    """Softmax, loss and gradient at one row: its maximum and sum are variables, its exponentials a buffer on the stack."""
    for line in ("real exp_", "SIMD_MAX(max_", "SIMD_SUM(sum_exp_"):
        assert line in gradients
    assert not re.search(r"\bmax_\w+\[|\bsum_exp_\w+\[", gradients)
    nest = gradients[gradients.index("real max_"):]
    assert nest.index("exp_(") < nest.index("log_(") < nest.index("\n        }\n")


def test_dot_products_are_sums_in_their_rows(gradients):
    """mean(d^2) and the sums of layer normalisation's gradient are no matrix products of one row."""
    assert not re.search(r"gemm\(\w+, \w+, 1, 1,", gradients)
    assert re.search(r"SIMD_SUM\(dot_\w+\)", gradients)


def test_look_ups_go_by_rows(gradients):
    """The table is stored class by class and looked up in the loop; its gradient is added up by rows, then turned."""
    assert re.search(r"W_biased\[x_row\]\[\w\]", gradients)
    assert re.search(r"d_W_rows\[x_row\]\[\w\] \+= ", gradients)
    assert gradients.index("for (int64_t t = 0;") < gradients.index("[x_row]")


def test_names_and_numbers(gradients):
    """Time and batch have their letters unless a parameter has it; integers stay integers; no brackets that say nothing."""
    assert "for (int64_t ib = from_B; ib < to_B; ib++)" in gradients                     # b is the bias
    assert "for (int64_t t = 0; t < T; t++)" in gradients
    assert "((real)" not in gradients and "1 - square_(" in gradients
    assert "(real)(B*T)" in gradients or "(real)(T*B)" in gradients


def test_division_of_integers_is_of_real_numbers():
    """In C 1/2 is 0."""
    from chainrule.backends.native.kernels import scalar
    from chainrule.compiler.program import Call, Literal, SizeOf
    from chainrule.compiler.sizes import size
    assert scalar(Call("div", (Literal(1), Literal(2)))) == "(real)1 / 2"
    assert scalar(Call("div", (Literal(-1), SizeOf(size(3))))) == "-1 / (real)3"
    assert scalar(Call("sub", (Literal(1), Call("sub", (SizeOf(size(3)), Literal(0.5)))))) == "1 - ((real)3 - (real)0.5)"
    assert scalar(Call("mul", (Call("add", (SizeOf(size(3)), Literal(2))), Literal(4)))) == "((real)3 + 2) * 4"
    assert scalar(Call("neg", (Call("neg", (SizeOf(size(3)),)),))) == "-(-((real)3))"


def test_a_long_function_is_cut_into_parts():
    """Each part declares what it names; one that reads a number of another one's is not cut off from it."""
    from chainrule.backends.native.parts import in_parts
    declared = ["    const int64_t B = number[0];", "    real *x = array[0];", "    real (*y)[3] = array[1];",
                "    real total, last;"]
    value = ["total" if 35 < k < 70 else "B" for k in range(90)]
    body = [line for k in range(90) for line in (f"    /* step {k} of y */", f"    x[{k}] = {value[k]};", "    meet();")]
    head = "static void f_share(team *us, int me, void *const *array, const int64_t *number, const double *option)"
    above, text, place = in_parts("f", head, declared, body)
    assert len(above) == 3 and text[0] == head and text[2] == "    part_1_of_f(us, me, array, number, option);"
    assert [text[p] for p in place] == body
    assert sum(line == "    real total;" for line in text) == 1 and not any("last" in line or "*y" in line for line in text)
    assert in_parts("f", head, declared, body[:30])[0] == []


def test_a_loss_beside_a_bias_is_summed_by_columns():
    """Its terms are variables: threads add up their columns, and then one short sum is left."""
    found = NativeProgram(system("""
model encoder(D = 6, H = 3)
input x[D]
param W[H, D], V[D, H] ~ glorot
param b[D] = 0
r = sigmoid(V @ tanh(W @ x) + b)
loss = binary_cross_entropy(r, x)
train sgd(lr = 0.1)
""")).c
    gradients = found[found.index("void gradients_share("):]
    assert re.search(r"const real (\w+) = relu_.*;\n +(\w+)_columns\[i\] \+= \1;", gradients)
    assert "loss_terms[" not in gradients


IMAGES = """model images(C = 3, K = 4, N = 32)
input x[C, N, N]
target y[{}, N, N]
{}
loss = mean[batch] squares(h, y)
"""


@pytest.mark.parametrize(("channels", "equations", "names"), [
    ("K", "h = conv_norm(x, K, f = identity)", ("h.n.beta", "h.n.gamma")),
    ("C", "h = batch_norm_channels(x)", ("h.beta", "h.gamma"))], ids=["channels last", "channels first"])
def test_images_are_added_up_one_by_one(channels, equations, names):
    """65,536 terms in float32: a sum of images' sums has all but the last of its seven digits."""
    text = system(IMAGES.format(channels, equations))
    found, want = gradients_of(text, {"x": (64, 3, 32, 32), "y": (64, text.sizes[channels], 32, 32)})
    for k in names:
        np.testing.assert_allclose(found[k], want[k], rtol=0, atol=2e-6 * np.abs(want[k]).max(), err_msg=k)


def test_a_loss_of_many_examples_is_added_up_in_double():
    """Beside the gradient of a bias, column by column."""
    text = system("model many(D = 2)\ninput x[D]\ntarget y[D]\nparam b[D] = 0\nloss = mean[batch] squares(x + b, y)\n")
    found, want = gradients_of(text, {"x": (400_000, 2), "y": (400_000, 2)})
    assert found["loss"] == pytest.approx(want["loss"], rel=1e-6)


def gradients_of(text, shapes):
    """Loss and gradients, native in float32 and by NumPy in float64."""
    rng = np.random.default_rng(0)
    inputs = {k: rng.random(shape, np.float32) for k, shape in shapes.items()}
    params, out = NativeProgram(text).init(seed=0), []
    for program, dtype in ((NativeProgram(text), np.float32), (Program(text, "float64"), np.float64)):
        loss, grads = program.loss_and_grads({k: v.astype(dtype) for k, v in params.items()},
                                             **{k: v.astype(dtype) for k, v in inputs.items()})[:2]
        out.append({"loss": loss, **grads})
    return out
