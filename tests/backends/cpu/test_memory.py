"""What a training step allocates: nothing big, once its workspace is there. Memory is counted, so this is no timing."""

import tracemalloc
from pathlib import Path

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.sizes import product

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

MLP = """
model mlp(D = 784, H = 512, C = 10)
input x[D]
target y : class(C)
param W1[H, D], W2[H, H], W3[C, H] ~ he
param b1[H], b2[H], b3[C] = 0
h1 = dropout(relu(W1 @ x + b1), 0.2)
h2 = dropout(relu(W2 @ h1 + b2), 0.2)
s = W3 @ h2 + b3
loss = cross_entropy(softmax(s), y)
penalty l2(1e-4) on W*
"""
RESIDUAL = """
model residual(D = 784, H = 512, C = 10)
input x[D]
target y : class(C)
param W1[H, D], W2[H, H], W3[C, H] ~ he
param g1[H] = 1;  b1[H], b2[H], b3[C] = 0
stat mu[H] = 0 <- 0.9 * mu + 0.1 * mean[batch](a1)
stat sd[H] = 1 <- 0.9 * sd + 0.1 * mean[batch]((a1 - mean[batch](a1))^2)
a1 = W1 @ x
h1 = relu(g1 * (a1 - mean[batch](a1)) / sqrt(mean[batch]((a1 - mean[batch](a1))^2) + 1e-5) + b1)
h2 = relu(W2 @ h1 + b2) + h1
s = W3 @ h2 + b3
loss = cross_entropy(softmax(s), y)
"""
AUTOENCODER = """
model autoencoder(D = 784, H1 = 256, H2 = 64)
input x[D]
param W1[H1, D], W2[H2, H1], W3[H1, H2], W4[D, H1] ~ glorot
param b1[H1], b2[H2], b3[H1], b4[D] = 0
h1 = sigmoid(W1 @ x + b1)
h2 = sigmoid(W2 @ h1 + b2)
h3 = sigmoid(W3 @ h2 + b3)
r = sigmoid(W4 @ h3 + b4)
loss = binary_cross_entropy(r, x)
"""
TIED = """
model tied(D = 784, H = 64)
input x[D]
param W[H, D] ~ xavier;  b[H] = 0;  d[D] = 0
h = softplus(W @ x + b)
r = sigmoid(W.T @ h + d)
loss = squares(r, x)
penalty l1(1e-4) on W
"""
MODELS = {"mlp": MLP, "residual": RESIDUAL, "autoencoder": AUTOENCODER, "tied": TIED}
OPTIMISERS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw")
BATCH, LIMIT = 128, 64 * 1024


def data(text, dtype, batch=BATCH):
    rng = np.random.default_rng(0)
    out = {"x": rng.random((batch, 784)).astype(dtype)}
    return out | ({"y": rng.integers(0, 10, batch)} if "target" in text else {})


def peak(step):
    """The most memory that the third of three calls holds at once beyond what it found, in bytes."""
    step()
    step()
    tracemalloc.start(1)
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        step()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("train", [*(f"{o}(lr = 0.001)" for o in OPTIMISERS), "adam(lr = 0.001), clip_norm = 5"])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_allocates_nothing_big(name, train):
    text = f"{MODELS[name]}train {train}\n"
    program = cr.compile(cr.parse(text))
    params = program.init()
    state, given, step = program.init_state(params), data(text, np.float32), program.module.train_step
    assert peak(lambda: step(params, state, **given)) <= LIMIT


@pytest.mark.parametrize("name", MODELS)
def test_a_gradient_into_a_workspace_allocates_its_results(name):
    text = MODELS[name]
    program = cr.compile(cr.parse(text), dtype="float64")
    params, given, workspace = program.init(), data(text, np.float64), program.Workspace()
    results = sum(v.nbytes for v in params.values())
    assert peak(lambda: program.module.loss_and_grads(params, workspace=workspace, **given)) <= results + 2 * LIMIT


def test_a_workspace_grows_once():
    """A smaller batch, then the larger one again: the same memory, the same numbers."""
    text = f"{MLP}train sgd(lr = 0.1)\n"
    program = cr.compile(cr.parse(text))
    params, workspace = program.init(), program.Workspace()
    found = {}
    for n in (128, 7, 128, 7):
        loss, grads = program.loss_and_grads(params, workspace=workspace, **data(text, np.float32, n))
        alone, expected = program.loss_and_grads(params, **data(text, np.float32, n))
        assert float(loss) == float(alone)
        for k, g in grads.items():
            np.testing.assert_array_equal(g, expected[k])
        found[n] = [id(m) for m in workspace.memory["gradients"]]
    assert found[7] == found[128]


IMAGES = ["lenet5", "lenet5_relu", "mnist_cnn_dropout", "vgg_small", "resnet_small", "cnn_sentences", "conv_autoencoder"]
DENSE = ["mlp", "mnist_mlp", "mlp_batchnorm_residual", "mnist_mlp_dropout", "autoencoder_deep"]
BYTES = {"real": 4, "bool": 1, "int": 8, "double": 8, "byte": 1}


@pytest.mark.parametrize("name", [*IMAGES, *DENSE])
def test_prediction_holds_what_it_needs_and_no_more(name):
    """At most a sixth above what is alive at one time, which no plan can do without; no mask, no number of a winner, no draw."""
    system = cr.load(EXAMPLES / name / "model.nn").system
    plan = Program(system, "float32", 1).printers["predict"].plan
    sizes = {**system.sizes, "B": 64}
    parts = [(first, last, product(a.dims).evaluate(sizes) * BYTES[a.kind]) for s in plan.slots for a, first, last in s.members]
    alive = max(sum(n for f, e, n in parts if f <= k <= e) for k in range(max(e for _, e, _ in parts) + 1))
    held = sum(max(n.evaluate(sizes) for n in s.sizes) * BYTES[s.kind] for s in plan.slots)
    assert held <= alive * 7 / 6
    assert {s.kind for s in plan.slots} == {"real"}
