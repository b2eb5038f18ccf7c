"""Pretrain blocks: what each trains, what is a constant to it, and the text that they print as."""

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes.evaluation import evaluation
from chainrule.compiler.recipe import Pretraining, Setting, feeding
from chainrule.frontends import builder as nn
from chainrule.frontends.language import ModelError, parse
from chainrule.frontends.language.printing import to_text

STACK = """model stack(D = 5, H = 4, C = 3)
input  x[D] : unit
target y : class(C)
param  W1[H, D], W2[H, H], V[D, H] ~ glorot;  b1[H], b2[H], a1[D], a2[H] = 0
h1 = sigmoid(W1 @ dropout(x, 0.1) + b1)
h2 = sigmoid(W2 @ h1 + b2)
s  = dense(h2, C)
pretrain one:
    r = sigmoid(W1.T @ h1 + a1)
    loss = binary_cross_entropy(r, x)
    train sgd(lr = 0.5), epochs = 3, batch = 4
pretrain V = W1.T
pretrain two:
    z = sigmoid(W2 @ masking_noise(h1, 0.2) + b2)
    q = dense(z, 2)
    loss = squares(W2.T @ z + a2, h1) + 0.1 * mean(q^2)
    penalty l2(0.01) on W*
    metric far = mean((W1.T @ h1 - x)^2)
    train adam(lr = 0.01), freeze b2
pretrain three:
    visible v[H] : binary(mean) = h2
    hidden  u[D] : binary
    E = - u @ V @ v - a1 @ u + 0.5 * sum(a2 * v)
    train contrastive_divergence(k = 2, lr = 0.1)
loss = cross_entropy(softmax(s), y) + 0.01 * sum(V^2)
train sgd(lr = 0.1), freeze W1
"""


@pytest.fixture(scope="module")
def stack():
    return parse(STACK)


def blocks(system):
    return {s.name: s for s in system.pretraining if isinstance(s, Pretraining)}


def test_a_block_trains_what_no_earlier_one_has_trained(stack):
    found = blocks(stack)
    assert found["one"].params == ("W1", "b1", "a1")
    assert found["two"].params == ("W2", "a2", "two.q.W", "two.q.b")
    assert found["three"].params == ("V",)
    assert found["two"].system.training.freeze == ("W1", "b2")
    assert list(found["two"].system.params) == ["W1", "W2", "b2", "a2", "two.q.W", "two.q.b"]      # the metric reads W1


def test_what_a_block_does_not_change_is_fed_to_it(stack):
    found = blocks(stack)
    assert found["one"].feeds == () and list(found["one"].system.inputs) == ["x"]
    assert list(found["one"].system.equations) == ["h1", "r"]                       # h1 moves with W1, so it is computed there
    assert [k for k, _ in found["two"].feeds] == ["h1"] and found["two"].system.domains == {"x": "unit", "h1": "unit"}
    assert dict(found["two"].feeds)["h1"] is stack.equations["h1"]
    assert dict(found["three"].feeds) == {"v": stack.equations["h2"]}
    assert [s.param for s in stack.pretraining if isinstance(s, Setting)] == ["V"]


def test_what_pretraining_alone_reads_is_not_trained_afterwards(stack):
    assert stack.trained() == ("W2", "V", "b1", "b2", "s.W", "s.b")                  # not a1, a2, q; W1 is frozen
    module = Program(stack).module
    assert set(module.PARAMS) == set(stack.params) and set(module.TRAINED) == set(stack.trained())


def test_a_block_is_fed_what_the_model_computes_in_evaluation(stack):
    rng = np.random.default_rng(0)
    params = {k: rng.normal(size=[s.evaluate(stack.sizes) for s in p.node.shape]) for k, p in stack.params.items()}
    x = rng.random((6, 5))
    system = feeding(stack, blocks(stack)["two"])
    found = Program(system, "float64").predict(params, x=x)
    np.testing.assert_allclose(found["h1"], 1 / (1 + np.exp(-(x @ params["W1"].T + params["b1"]))), rtol=1e-12)
    (expected,) = evaluate(evaluation(stack), [evaluation(stack).equations["h1"]], {**params, "x": x})
    np.testing.assert_allclose(found["h1"], expected, rtol=1e-12)


def test_gradients_of_a_block_are_those_of_its_loss(stack):
    for name in ("one", "two"):
        module = Program(blocks(stack)[name].system, "float64").module
        assert module.check() < 1e-6


def test_noise_of_two_blocks_is_not_the_same(stack):
    text = STACK.replace("z = sigmoid(W2", "r = sigmoid(W2").replace("W2.T @ z", "W2.T @ r").replace("dense(z", "dense(r")
    keys = {n.key for b in blocks(parse(text)).values() for n in b.system.nodes() if hasattr(n, "key")}
    assert "two.r" in keys and not any(k.startswith("one") for k in keys)


def test_the_text_comes_back(stack):
    text = to_text(stack)
    again = parse(text)
    assert to_text(again) == text and "visible v[H] : binary(mean) = h2" in text and "pretrain V = W1.T" in text
    assert again.params == stack.params and again.trained() == stack.trained()
    for a, b in zip(again.pretraining, stack.pretraining):
        if isinstance(a, Setting):
            assert a == b
            continue
        assert (a.name, a.feeds) == (b.name, b.feeds)
        for part in ("inputs", "params", "equations", "loss", "penalties", "metrics", "training", "energy", "domains", "outputs"):
            assert getattr(a.system, part) == getattr(b.system, part), (a.name, part)


def test_a_stack_of_any_depth():
    system = parse("""model deep(D = 6, H = 4, L = 3)
input x[D]
param V[H, D] ~ glorot
h[0] = tanh(V @ x)
repeat l in 1..L:
    param W[l, H, H] ~ glorot;  b[l, H], a[l, H] = 0
    h[l] = tanh(W[l] @ h[l-1] + b[l])
    pretrain layer[l]:
        loss = squares(W[l].T @ h[l] + a[l], stop(h[l-1]))
loss = squares(V.T @ h[L], x)
""")
    found = blocks(system)
    assert list(found) == ["layer.1", "layer.2", "layer.3"]
    assert found["layer.1"].params == ("V", "W.1", "b.1", "a.1")                     # V stands in no block before
    assert found["layer.3"].params == ("W.3", "b.3", "a.3") and list(found["layer.3"].system.inputs) == ["h_2"]
    assert parse(to_text(system)).pretraining[2].system.loss == found["layer.3"].system.loss


def test_time_and_recurrence_inside_a_block():
    """A recurrent layer that learns to rebuild its input, then one above it: each block loops over time like any model."""
    system = parse("""model sequences(D = 3, H = 4)
input x[t, D]
param W[H, D], U[H, H], V[D, H], R[H, H] ~ glorot
h[t] = tanh(W @ x[t] + U @ h[t-1])   where h[-1] = 0
g[t] = tanh(R @ h[t] + g[t-1])       where g[-1] = 0
pretrain first:
    loss = mean[batch, t] squares(V @ h[t], x[t])
pretrain second:
    loss = mean[batch, t] squares(R.T @ g[t], h[t])
loss = mean[batch, t] squares(V @ g[t], x[t])
""")
    first, second = blocks(system).values()
    assert first.params == ("W", "U", "V") and first.feeds == ()
    assert second.params == ("R",) and list(second.system.inputs) == ["h"] and second.system.inputs["h"].axes == ("t", "batch")
    for block in (first, second):
        assert Program(block.system, "float64").module.check() < 1e-6
    assert to_text(parse(to_text(system))) == to_text(system)


def test_a_penalty_of_a_block_reaches_its_own_parameters():
    two = blocks(parse(STACK))["two"]
    assert two.system.penalties[0].params == ("W2",)
    with pytest.raises(ModelError, match="no parameter is called `W1`"):
        parse(STACK.replace("l2(0.01) on W*", "l2(0.01) on W1"))


def test_the_builder_writes_blocks():
    m = nn.Builder("stack", D=5, H=4)
    x, y = m.input("x", "D", type="unit"), m.target("y", cls=3)
    W, V, b, a = (m.param(n, *s, init=("normal", 0.1)) for n, s in (("W", "HD"), ("V", "DH"), ("b", "H"), ("a", "D")))
    h = m.eq("h", nn.sigmoid(W @ x + b))
    with m.pretrain("first"):
        v, u = m.visible("v", "D", units="binary(mean)", fed=x), m.hidden("u", "H")
        m.E(-(u @ W @ v) - a @ v - b @ u)
        m.train("contrastive_divergence", k=1, lr=0.1)
    m.set(V, W.T)
    with m.pretrain("second"):
        r = m.eq("r", nn.sigmoid(V @ h + a))
        m.loss(nn.binary_cross_entropy(r, x))
    m.loss(nn.cross_entropy(nn.softmax(m.call("dense", h, 3)), y))
    system = m.system()
    assert {k: s.params for k, s in blocks(system).items()} == {"first": ("W", "b", "a"), "second": ("V",)}
    assert to_text(parse(m.text())) == to_text(system)
    assert system.spans["x"].file == "test_pretraining.py"
