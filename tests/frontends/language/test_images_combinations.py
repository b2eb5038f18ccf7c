"""Stride, padding, dilation and groups in every combination: gradients against differences, and all of it against PyTorch."""

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.check import check_gradients
from chainrule.compiler.derivatives import grad
from chainrule.compiler.interpret import evaluate
from chainrule.frontends.language import ModelError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

MODEL = """
model m
input x[{x}]
param {params} ~ normal(0.5)
y = {y}
loss = sum(sin(y))
output y
"""
SIZES = (7, 6)


@st.composite
def steps(draw, dims, transposed=False):
    """Strides, paddings before and after, dilations: one number for each dimension, written as a user would."""
    def each(values):
        found = [draw(st.sampled_from(values)) for _ in range(dims)]
        return found, str(found[0]) if len({*found}) == 1 and draw(st.booleans()) else f"[{', '.join(map(str, found))}]"
    stride, s = each([1, 2, 3])
    dilation, d = each([1, 2])
    pads = [draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in range(dims)]
    word = draw(st.sampled_from(["pairs", "numbers"] if transposed else ["pairs", "numbers", "same", "valid"]))
    if word == "numbers":
        pads = [(lo, lo) for lo, _ in pads]
    text = f"[{', '.join(str(p[0]) if p[0] == p[1] else str([*p]) for p in pads)}]" if word in ("pairs", "numbers") else word
    if dims == 1 and pads[0][0] != pads[0][1] and word == "pairs":
        text = f"[{[*pads[0]]}]"
    return stride, pads, dilation, word, f"stride = {s}, padding = {text}, dilation = {d}"


def padding_same(n, k, stride, dilation):
    total = max((-(-n // stride) - 1) * stride + dilation * (k - 1) + 1 - n, 0)
    return total // 2, total - total // 2


@st.composite
def convolutions(draw):
    """(model text, shapes, how PyTorch does it)."""
    dims = draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 2, 4]))                    # 4 of 4 channels: depthwise
    transposed = draw(st.booleans())
    stride, pads, dilation, word, options = draw(steps(dims, transposed))
    k = [draw(st.integers(1, 3)) for _ in range(dims)]
    n = SIZES[:dims] if not transposed else (3, 2)[:dims]
    more = [draw(st.integers(0, 2)) for _ in range(dims)] if transposed else [0] * dims
    flip = not transposed and draw(st.booleans())
    kernel = (4, 2, *k) if transposed else (8, 4 // groups, *k)
    if word == "same":
        pads = [padding_same(*z) for z in zip(n, k, stride, dilation, strict=True)]
    elif word == "valid":
        pads = [(0, 0)] * dims
    extra = (f", more = [{', '.join(map(str, more))}]" if transposed else "") + (", flip = true" if flip else "")
    call = f"{'conv_transpose' if transposed else 'conv'}(x, K, b, {options}, groups = {groups}{extra})"
    text = MODEL.format(x=f"4, {', '.join(map(str, n))}", y=call,
                        params=f"K[{', '.join(map(str, kernel))}], b[{2 * groups if transposed else 8}]")
    return text, dict(dims=dims, groups=groups, transposed=transposed, stride=stride, pads=pads, dilation=dilation, more=more,
                      flip=flip, n=n, kernel=kernel)


def parsed(text):
    try:
        return cr.parse(text).system
    except ModelError as e:                                      # too large a kernel, all cut off: told with the formula
        assert "//" in str(e) or "cuts off" in str(e), str(e)
        assume(False)


def arrays(system, seed=0):
    rng = np.random.default_rng(seed)
    found = {k: rng.normal(size=[n.value for n in p.node.shape]) for k, p in system.params.items()}
    return found | {"x": rng.normal(size=(2, *(n.value for n in system.inputs["x"].shape)))}


def by_taps(x, K, b, c):
    """The definition: one product of channels for each element of the kernel."""
    (B, C), n, groups, outputs = x.shape[:2], c["n"], c["groups"], len(b)
    reach = [d * (k - 1) + 1 for d, k in zip(c["dilation"], K.shape[2:], strict=True)]
    pads = [lo + hi for lo, hi in c["pads"]]
    if c["transposed"]:
        m = n
        spans = [(k - 1) * s + r + e for k, s, r, e in zip(m, c["stride"], reach, c["more"], strict=True)]
        whole = np.zeros((B, outputs, *spans))
    else:
        m = [(k + p - r) // s + 1 for k, p, r, s in zip(n, pads, reach, c["stride"], strict=True)]
        x, whole = np.pad(x, [(0, 0), (0, 0), *c["pads"]]), np.zeros((B, outputs, *m))
    for tap in np.ndindex(K.shape[2:]):
        places = zip(tap, c["dilation"], m, c["stride"], strict=True)
        at = (..., *(slice(t * d, t * d + (k - 1) * s + 1, s) for t, d, k, s in places))
        here = tuple(k - 1 - t for k, t in zip(K.shape[2:], tap, strict=True)) if c["flip"] else tap
        factor = K[(slice(None), slice(None), *here)].reshape(groups, -1, K.shape[1])
        part = (x if c["transposed"] else x[at]).reshape(B, groups, C // groups, *m)
        done = np.einsum("bgc...,gco->bgo..." if c["transposed"] else "bgc...,goc->bgo...", part, factor).reshape(B, outputs, *m)
        whole[at if c["transposed"] else ...] += done
    if c["transposed"]:
        whole = whole[(..., *(slice(lo, k - hi) for (lo, hi), k in zip(c["pads"], whole.shape[2:], strict=True)))]
    return whole + b.reshape(-1, *[1] * c["dims"])


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_values_and_gradients_against_differences(case):
    system = parsed(case[0])
    at = arrays(system)
    found = evaluate(system, [system.equations["y"]], at, {"B": 2})[0]
    np.testing.assert_allclose(found, by_taps(at["x"], at["K"], at["b"], case[1]), rtol=1e-10, atol=1e-10)
    nodes = [*(p.node for p in system.params.values()), system.inputs["x"]]
    check_gradients(system, at, wrt=nodes, order=1).require()


@settings(max_examples=10, deadline=None, derandomize=True)
@given(convolutions())
def test_second_order_and_the_module(case):
    system = parsed(case[0])
    at = arrays(system)
    check_gradients(system, at, order=2).require()
    extended, grads = grad(system, system.objective(), [p.node for p in system.params.values()])
    expected = evaluate(extended, [system.objective(), *grads], at, {"B": 2})
    loss, found = Program(system, "float64").module.loss_and_grads({k: at[k] for k in system.params}, x=at["x"])
    for e, f in zip(expected, [loss, *found.values()], strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-10, atol=1e-10)


def differs(text, theirs):
    """Values of y and the gradients of sum(sin(y)) against PyTorch's, to 1e-10."""
    import torch
    system = parsed(text)
    at = arrays(system)
    nodes = {**{k: p.node for k, p in system.params.items()}, "x": system.inputs["x"]}
    extended, grads = grad(system, system.loss.total, [*nodes.values()])
    found = evaluate(extended, [system.equations["y"], *grads], at, {"B": 2})
    tensors = {k: torch.tensor(at[k], requires_grad=True) for k in nodes}
    y = theirs(torch, **tensors)
    torch.sin(y).sum().backward()
    for name, ours, other in zip(["y", *nodes], found, [y, *(tensors[k].grad for k in nodes)], strict=True):
        expected = np.zeros_like(ours) if other is None else other.detach().numpy()
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-10, err_msg=name)


def by_torch(torch, x, K, b, c):
    """A convolution of images padded by hand, since PyTorch pads both sides alike."""
    F, flat = torch.nn.functional, [p for pair in reversed(c["pads"]) for p in pair]
    if c["flip"]:
        K = K.flip(*range(2, 2 + c["dims"]))
    if not c["transposed"]:
        conv = (F.conv1d, F.conv2d)[c["dims"] - 1]
        return conv(F.pad(x, flat), K, b, c["stride"], 0, c["dilation"], c["groups"])
    whole = (F.conv_transpose1d, F.conv_transpose2d)[c["dims"] - 1](x, K, None, c["stride"], 0, 0, c["groups"], c["dilation"])
    whole = F.pad(whole, [p for m in reversed(c["more"]) for p in (0, m)])
    for d, (lo, hi) in enumerate(c["pads"]):
        whole = whole.narrow(2 + d, lo, whole.shape[2 + d] - lo - hi)
    return whole + b.reshape(-1, *[1] * c["dims"])


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_convolutions_against_torch(case):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    differs(case[0], lambda torch, x, K, b: by_torch(torch, x, K, b, case[1]))


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("k,stride,padding,dilation", [(2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 1), (2, 3, 1, 1), (3, 2, 1, 2),
                                                       (2, 1, 0, 3)])
def test_pooling_against_torch(kind, k, stride, padding, dilation):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    if kind == "avg" and dilation > 1:
        dilation = 1                                             # PyTorch has no other
    y = f"{kind}_pool(conv(x, K), {k}, stride = {stride}, padding = {padding}, dilation = {dilation})"
    def theirs(torch, x, K):
        F = torch.nn.functional
        h = F.conv2d(x, K)
        return F.max_pool2d(h, k, stride, padding, dilation) if kind == "max" else F.avg_pool2d(h, k, stride, padding)
    differs(MODEL.format(x="3, 7, 8", params="K[4, 3, 1, 2]", y=y), theirs)


def lone(function):
    return lambda torch, x, K: function(torch, torch.nn.functional.conv2d(x, K))


def fields(torch, x, K):
    """Local receptive fields: a kernel of its own at each of the 3 x 5 positions."""
    windows = torch.nn.functional.unfold(x, (3, 2)).reshape(len(x), 2, 3, 2, 3, 5)
    return torch.einsum("bcklij,oijckl->boij", windows, K)


LAYERS = {
    "global_max(conv(x, K))": lone(lambda torch, h: h.amax((2, 3))),
    "global_avg(conv(x, K))": lone(lambda torch, h: h.mean((2, 3))),
    "flatten(conv(x, K))": lone(lambda torch, h: h.flatten(1)),
    "upsample(conv(x, K), [2, 3])": lone(lambda torch, h: torch.nn.functional.interpolate(h, scale_factor=(2, 3))),
    "max_unpool(max_pool(conv(x, K), 2), conv(x, K), 2)": lone(lambda torch, h: torch.nn.functional.max_unpool2d(
        *torch.nn.functional.max_pool2d(h, 2, return_indices=True), 2, output_size=h.shape)),
    "batch_norm_channels(conv(x, K))": lone(lambda torch, h: torch.nn.functional.batch_norm(h, None, None, training=True)),
    "layer_norm_channels(conv(x, K))": lone(lambda torch, h: torch.nn.functional.layer_norm(h, h.shape[1:])),
}


@pytest.mark.parametrize("y", LAYERS)
def test_layers_against_torch(y):
    """Of the normalisations, gain and bias start at 1 and 0, so that the values are comparable."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    system = parsed(MODEL.format(x="3, 6, 5", params="K[3, 3, 2, 2]", y=y))
    rng = np.random.default_rng(0)
    at = {"x": rng.normal(size=(2, 3, 6, 5)), "K": rng.normal(size=(3, 3, 2, 2))}
    at |= {k: np.full(3, float(k.endswith("gamma"))) for k in [*system.params, *system.stats] if k != "K"}
    extended, grads = grad(system, system.loss.total, [system.params["K"].node, system.inputs["x"]])
    found = evaluate(extended, [system.equations["y"], *grads], at, {"B": 2})
    x, K = (torch.tensor(at[k], requires_grad=True) for k in ("x", "K"))
    out = LAYERS[y](torch, x, K)
    torch.sin(out).sum().backward()
    for name, ours, other in zip(("y", "K", "x"), found, (out.detach(), K.grad, x.grad), strict=True):
        np.testing.assert_allclose(ours, other.numpy(), rtol=1e-10, atol=1e-10, err_msg=name)


def test_local_fields_against_torch():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    differs(MODEL.format(x="2, 5, 6", params="K[3, 3, 5, 2, 3, 2]", y="local(x, K)"), fields)


SYMBOLIC = """
model m(N = 13, M = 3)
input x[1, N, N]
param K[M, 1, 5, 5], W[2, M*((N - 3)//4)^2] ~ normal(0.5)
y = W @ flatten(max_pool(conv(x, K, stride = 2), 2))
loss = sum(sin(y))
output y
"""


@pytest.mark.parametrize("N", [13, 16, 21])
def test_an_image_s_size_is_a_symbol(N):
    """One text for every size: `(N - 5)//2 + 1` halved is `(N - 3)//4`."""
    from chainrule.frontends.language import parse
    system = parse(SYMBOLIC, sizes={"N": N})
    module = Program(system, "float64").module
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 1, N, N))
    params = {k: rng.normal(size=v.shape) for k, v in module.init().items()}
    expected = evaluate(system, [system.equations["y"]], {**params, "x": x}, {"B": 2})[0]
    np.testing.assert_allclose(module.predict(params, x=x)["y"], expected, atol=1e-10)
    check_gradients(system, {**params, "x": x}, order=1).require()


PUBLISHED = """
model c3
input s2[6, 5, 5]
param A[(6), 3, 5, 5], B[(6), 4, 5, 5], C[(3), 4, 5, 5], D[(1), 6, 5, 5], b[(16)] ~ normal(0.5)
m = concat(0, s2, s2[0:3])
three = concat(0, m[0:3], m[1:4], m[2:5], m[3:6], m[4:7], m[5:8])
four = concat(0, m[0:4], m[1:5], m[2:6], m[3:7], m[4:8], m[5:9])
pairs = concat(0, s2[0:2], s2[3:5], s2[1:3], s2[4:6], s2[0:1], s2[2:4], s2[5:6])
a = concat(0, conv(three, A, groups = 6), conv(four, B, groups = 6), conv(pairs, C, groups = 3), conv(s2, D))
y = flatten(tanh(a + channels(b, a)))
loss = sum(sin(y))
output y
"""
TABLE = "012 123 234 345 450 501 0123 1234 2345 3450 4501 5012 0134 1245 0235 012345".split()


def test_lenet_5_reads_maps_as_published():
    """LeCun et al. 1998, table I: which maps each of the 16 reads; groups of channels, 1516 parameters."""
    system = cr.parse(PUBLISHED).system
    params = {k: v for k, v in Program(system, "float64").module.init().items()}
    assert sum(v.size for v in params.values()) == 1516
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 5))
    kernels = [K for name in "ABCD" for K in params[name]]
    expected = np.stack([np.tanh((x[:, [int(k) for k in row]] * K).sum((1, 2, 3)) + bias)
                         for row, K, bias in zip(TABLE, kernels, params["b"], strict=True)], 1)
    np.testing.assert_allclose(Program(system, "float64").module.predict(params, s2=x)["y"], expected, atol=1e-10)
    check_gradients(system, {**params, "s2": x}, order=1).require()


@pytest.mark.parametrize("shape", [(2, 3, 13, 13), (2, 13, 13), (2, 169), (2, 1, 13, 14)])
def test_images_of_another_shape_are_refused(shape):
    module = Program(cr.parse(SYMBOLIC).system, "float32").module
    with pytest.raises(ValueError, match=r"^x must have the shape \(\w+, 1, 13, 13\), not \("):
        module.predict(module.init(), x=np.zeros(shape))
