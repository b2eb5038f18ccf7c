"""The words for images are printed by their names, and read back as the identical nodes; so are their adjoints."""

import chainrule as cr
import pytest
from chainrule.compiler import graph as g
from chainrule.compiler.formulas import formula, latex
from chainrule.compiler.gradient import gradient
from chainrule.compiler.passes.simplify import simplify
from chainrule.frontends.language import parse
from chainrule.frontends.language.printing import to_text
from chainrule.frontends.showing import grad_text
from hypothesis import given, settings
from hypothesis import strategies as st

MODEL = """
model m(O = 3)
input x[{x}]
param K[{K}] ~ normal(0.5);  b[(8)] = 0;  d[(4)] = 0;  L[2, 8, 7, 4, 2, 2] ~ normal(0.5)
y = {y}
loss = sum(sin(y))
output y
"""


def again(system):
    """The text, which parses to the identical equations."""
    text = to_text(system)
    back = parse(text)
    for name, e in system.equations.items():
        assert back.equations[name] is e, f"{name}\n{text}"
    return text


def right(system, name="y"):
    """What the text says that the equation is."""
    return next(line.split("= ", 1)[1] for line in again(system).splitlines() if line.split("=")[0].strip() == name)


SAME = ["conv(x, K)", "conv(x, K, stride = 2)", "conv(x, K, padding = same, dilation = 2)", "conv(x, K, padding = [1, 2])",
        "conv(x, K, stride = [2, 1], padding = 1)", "conv(x, K, flip = true)", "conv(x, K, b, padding = 1)",
        "conv(x, K, padding = [[0, 1], [2, 0]])", "relu(conv(x, K, b)) + tanh(channels(b, conv(x, K)))",
        "max_pool(x, 2)", "max_pool(x, 3, stride = 2, padding = 1)", "avg_pool(x, [2, 3], stride = 1)", "upsample(x, 2)",
        "avg_pool(x, 2, padding = 1)", "upsample(x, [1, 3])", "global_max(x)", "global_avg(conv(x, K))", "flatten(x)",
        "local(x, L)", "windows(x, 2)", "windows(x, [3, 2], stride = 2)", "flatten(max_pool(conv(x, K, b), 2))",
        "correlate(conv(x, K), x, [3, 2])", "unpool(conv(x, K), 2)", "unpool(conv(x, K), [2, 3], stride = [1, 2], more = [0, 1])",
        "unpool(conv(x, K), 3, stride = 1, padding = [[0, 1], [2, 0]], dilation = 2)", "sum_blocks(conv(x, K), [7, 1])",
        "max_unpool(max_pool(x, 2), x, 2)", "max_unpool(max_pool(x, 3, stride = 2, padding = 1), x, 3, stride = 2, padding = 1)",
        "global_max_unpool(global_max(x), x)", "x * channels(d, x) - channels(d, x)"]


@pytest.mark.parametrize("y", SAME)
def test_the_word_is_kept(y):
    system = parse(MODEL.format(x="4, 9, 8", K="8, 4, 3, 2" if "local" not in y else "1", y=y))
    if "channels(b, conv" in y:
        again(system)
    else:
        assert right(system) == y
    assert formula(system.equations["y"], {}) == right(system) or "channels" in y
    assert "operatorname" in latex(system.equations["y"], {})


@pytest.mark.parametrize("y", ["conv_transpose(x, K)", "conv_transpose(x, K, d, stride = 2, padding = 1, more = 1)",
                               "conv_transpose(x, K, stride = 2, padding = 1, more = 3, dilation = 2)",
                               "conv_transpose(x, K, groups = 2)"])
def test_transposed(y):
    assert right(parse(MODEL.format(x="8, 5, 4", K="8, 4, 3, 2", y=y))) == y


@pytest.mark.parametrize("y,K", [("conv(x, K, padding = same, groups = O)", "O, 1, 3, 3"),
                                 ("conv(x, K, groups = 3)", "6, 1, 3, 3")])
def test_groups(y, K):
    assert right(parse(MODEL.format(x="O, 6, 6" if "O" in K else "3, 6, 6", K=K, y=y))) == y


@pytest.mark.parametrize("y", ["conv(x, K, stride = 2)", "max_pool(x, 3, stride = 2)", "conv(x, K, padding = [[2, 0]])",
                               "conv_transpose(x, T, stride = 2)", "global_max(conv(x, K))", "upsample(x, 2)", "unpool(x, 3)",
                               "max_unpool(max_pool(x, 3), x, 3)", "global_max_unpool(global_max(conv(x, K)), conv(x, K))",
                               "sum_blocks(x, 3)"])
def test_one_dimension(y):
    assert right(parse(MODEL.format(x="4, 9", K="8, 4, 3", y=y).replace("\ny", "\nparam T[4, 6, 3] ~ he\ny", 1))) == y


SIDES = st.sampled_from([1, 2, 3])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SIDES, SIDES, SIDES, st.sampled_from(["valid", "same", "1", "[1, 2]", "[[0, 1], [2, 1]]"]), st.integers(1, 2),
       st.sampled_from([1, 2, 4]), st.booleans())
def test_every_combination_and_its_adjoints(h, w, stride, padding, dilation, groups, flip):
    """conv, and conv_transpose and correlate as its adjoints, read back as the identical nodes."""
    y = (f"conv(x, K, stride = {stride}, padding = {padding}, dilation = {dilation}, groups = {groups}, "
         f"flip = {str(flip).lower()})")
    system = parse(MODEL.format(x="4, 9, 7", K=f"8, {4 // groups}, {h}, {w}", y=y))
    assert right(system).startswith("conv(x, K")
    adjoint = gradient(system, system.loss.total, [system.inputs["x"], system.params["K"].node])
    adjoint.system.equations.update({"d_x": adjoint.grads[system.inputs["x"]], "d_K": adjoint.grads[system.params["K"].node]})
    simple = simplify(adjoint.system)
    assert "conv_transpose(" in right(simple, "d_x")
    assert "correlate(" in right(simple, "d_K")
    assert not any(f"{rare}(" in again(simple) for rare in ("window", "fold", "contract", "pad"))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(["max_pool", "avg_pool"]), SIDES, SIDES, SIDES, st.sampled_from(["0", "1", "[0, 1]", "[[0, 1], [1, 0]]"]),
       st.integers(1, 2))
def test_pooling_and_its_adjoint(pool, h, w, stride, padding, dilation):
    """unpool and max_unpool as adjoints read back as the identical nodes."""
    padding = padding if h > 1 and w > 1 else "0"
    y = f"{pool}(tanh(x), [{h}, {w}], stride = {stride}, padding = {padding}, dilation = {dilation})"
    system = parse(MODEL.format(x="2, 9, 7", K="8, 2, 1, 1", y=y).replace("L[2, 8, 7, 4, 2, 2]", "L[1]"))
    assert right(system).startswith(f"{pool}(tanh(x), ")
    adjoint = gradient(system, system.loss.total, [system.inputs["x"]])
    adjoint.system.equations["d_x"] = adjoint.grads[system.inputs["x"]]
    assert ("max_unpool(" if pool == "max_pool" else "unpool(") in right(simplify(adjoint.system), "d_x")


@pytest.mark.parametrize("y,word", [("global_max(tanh(x))", "global_max_unpool(cos(y), tanh(x))"),
                                    ("upsample(tanh(x), [2, 3])", "sum_blocks(cos(y), [2, 3])")])
def test_adjoints_of_whole_images(y, word):
    system = parse(MODEL.format(x="4, 9, 8", K="8, 4, 3, 2", y=y))
    adjoint = gradient(system, system.loss.total, [system.inputs["x"]])
    adjoint.system.equations["d_x"] = adjoint.grads[system.inputs["x"]]
    assert word in right(simplify(adjoint.system), "d_x")


def test_a_name_inside_is_not_looked_into():
    system = parse(MODEL.format(x="4, 9, 8", K="8, 4, 3, 2", y="sin(w)").replace("y = ", "w = windows(x, 2)\ny = "))
    text = again(system)
    assert "w = windows(x, 2)" in text
    pool = g.Reduce("max", system.equations["w"], (2, 4))
    assert formula(pool, {system.equations["w"]: "w"}) == "max[2, 4](w)"
    assert formula(pool, {}) == "max_pool(x, 2, stride = 1)"


GRADIENT = """
model m(C = 10)
input x[1, 12, 12]
target y : class(C)
param K1[(6), 1, 5, 5], K2[(16), 6, 3, 3] ~ he
param b1[6], b2[16] = 0
c1 = conv(x, K1, b1, padding = same)
p1 = max_pool(relu(c1), 2)
c2 = conv(p1, K2, b2, stride = 2)
p2 = avg_pool(c2, [2, 1])
s = dense(flatten(p2), C)
loss = cross_entropy(softmax(s), y)
"""


def test_gradients_by_their_names():
    lines = dict(line.split(" = ", 1) for line in grad_text(cr.parse(GRADIENT).system).splitlines())
    found = {k.strip(): v for k, v in lines.items()}
    assert found["d_K1"].startswith("correlate(") and found["d_K1"].endswith(", x, 5, padding = same)")
    assert found["d_K2"] == "correlate(d_c2, p1, 3, stride = 2)"
    assert found["d_p1"] == "conv_transpose(d_c2, K2, stride = 2, more = 1)"
    assert any("unpool(d_p2 / 2, [2, 1])" in v for v in found.values())
    assert any("max_unpool(d_p1, relu(c1), 2)" in v for v in found.values())
    assert "conv\\_transpose" in grad_text(cr.parse(GRADIENT).system, None, "latex")
