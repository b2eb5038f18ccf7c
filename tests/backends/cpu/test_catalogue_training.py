"""The catalogue of training: every optimiser, constraint and clipping against the published update, written by hand."""

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.frontends.language import parse
from chainrule.frontends.trainer.data import from_arrays
from chainrule.frontends.trainer.loop import Trainer
from chainrule.frontends.trainer.run import Options

MODEL = """model m(D = 4, H = 3)
input x[D]
target y[H]
param W[H, D] ~ normal(0.5);  b[H] = 0.1;  s = 0.7
loss = squares(s * (W @ x) + b, y)
"""


def gradients(w, x, y):
    """Of the loss of MODEL, by hand."""
    e = w["s"] * (x @ w["W"].T) + w["b"] - y
    return {"W": w["s"] * e.T @ x / len(x), "b": e.mean(0), "s": np.sum(e * (x @ w["W"].T)) / len(x)}


def batches(n=3):
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(6, 4)), rng.normal(size=(6, 3))) for _ in range(n)]


def compiled(line, extra="", dtype="float64"):
    return Program(parse(f"{MODEL}{extra}train {line}\n"), dtype)


def start(program):
    """Parameters in float64 and the optimiser's state for them."""
    params = program.init(seed=1)
    params = {k: np.array(v, float) for k, v in params.items()}
    return params, program.init_state(params)


def trained(program, data):
    params, state = start(program)
    for x, y in data:
        program.train_step(params, state, x=x, y=y)
    return params


def by_hand(program, data, update):
    """`update(name, w, g, slots, step)` gives the new w; slots is a dict of its own, kept for it."""
    w, slots = start(program)[0], {}
    for step, (x, y) in enumerate(data, 1):
        g = gradients(w, x, y)
        w = {k: update(k, w[k], g[k], slots.setdefault(k, {}), step) for k in w}
    return w


def same(found, expected, rtol=1e-12):
    assert list(found) == list(expected)
    for k in expected:
        np.testing.assert_allclose(found[k], expected[k], rtol=rtol, atol=1e-15, err_msg=k)


# ---------------------------------------------------------------- optimisers

def sgd(k, w, g, slots, step):
    return w - 0.1 * g


def momentum(k, w, g, slots, step):
    slots["u"] = 0.8 * slots.get("u", 0) - 0.1 * g
    return w + slots["u"]


def adagrad(inside):
    def update(k, w, g, slots, step):
        slots["v"] = slots.get("v", 0) + g**2
        return w - 0.1 * g / (np.sqrt(slots["v"] + 1e-3) if inside else np.sqrt(slots["v"]) + 1e-3)
    return update


def rmsprop(inside):
    def update(k, w, g, slots, step):
        slots["v"] = 0.8 * slots.get("v", 0) + 0.2 * g**2
        return w - 0.1 * g / (np.sqrt(slots["v"] + 1e-3) if inside else np.sqrt(slots["v"]) + 1e-3)
    return update


def adam(inside, decay=0.0):
    def update(k, w, g, slots, step):
        slots["m"] = 0.8 * slots.get("m", 0) + 0.2 * g
        slots["v"] = 0.95 * slots.get("v", 0) + 0.05 * g**2
        m, v = slots["m"] / (1 - 0.8**step), slots["v"] / (1 - 0.95**step)
        return w - 0.1 * (m / (np.sqrt(v + 1e-3) if inside else np.sqrt(v) + 1e-3) + decay * w)
    return update


ADAM = "lr = 0.1, beta1 = 0.8, beta2 = 0.95, eps = 1e-3"
OPTIMISERS = {
    "sgd(lr = 0.1)": sgd,
    "momentum(lr = 0.1, momentum = 0.8)": momentum,
    "adagrad(lr = 0.1, eps = 1e-3)": adagrad(False),
    "adagrad(lr = 0.1, eps = 1e-3, eps_inside = true)": adagrad(True),
    "rmsprop(lr = 0.1, rho = 0.8, eps = 1e-3)": rmsprop(False),
    "rmsprop(lr = 0.1, rho = 0.8, eps = 1e-3, eps_inside = true)": rmsprop(True),
    f"adam({ADAM})": adam(False),
    f"adam({ADAM}, eps_inside = true)": adam(True),
    f"adamw({ADAM}, weight_decay = 0.05)": adam(False, 0.05),
    f"adamw({ADAM}, weight_decay = 0.05, eps_inside = true)": adam(True, 0.05),
}


@pytest.mark.parametrize("line", OPTIMISERS)
def test_optimiser(line):
    program = compiled(line)
    same(trained(program, batches()), by_hand(program, batches(), OPTIMISERS[line]))


def test_nesterov_takes_the_gradient_further_on():
    """u <- mu u - lr grad(w + mu u);  w <- w + u (Sutskever et al. 2013)."""
    program = compiled("nesterov(lr = 0.1, momentum = 0.8)")
    w = start(program)[0]
    u = dict.fromkeys(w, 0.0)
    for x, y in batches():
        g = gradients({k: w[k] + 0.8 * u[k] for k in w}, x, y)
        u = {k: 0.8 * u[k] - 0.1 * g[k] for k in w}
        w = {k: w[k] + u[k] for k in w}
    same(trained(program, batches()), w)


@pytest.mark.parametrize("line", [*OPTIMISERS, "nesterov(lr = 0.1, momentum = 0.8)"])
def test_optimiser_in_float32(line):
    """The same steps in single precision: arrays keep their type, numbers agree to its rounding."""
    program = compiled(line, dtype="float32")
    params = {k: v.astype(np.float32) for k, v in start(program)[0].items()}
    state = program.init_state(params)
    for x, y in batches():
        program.train_step(params, state, x=x.astype(np.float32), y=y.astype(np.float32))
    assert all(v.dtype == np.float32 for v in params.values())
    same(params, trained(compiled(line), batches()), rtol=3e-5)


def test_train_step_returns_the_objective_before_the_step():
    program = compiled("sgd(lr = 0.1)", "penalty l2(0.1) on W\n")
    (x, y), = batches(1)
    params, state = start(program)
    before = float(program.loss_and_grads(params, x=x, y=y)[0])
    assert float(program.train_step(params, state, x=x, y=y)) == before
    assert int(state["step"]) == 1


# ---------------------------------------------------------------- what a train line adds

def stepped(line, extra="", change=lambda g, w: g, after=lambda w, before: w, rate=lambda k: 0.1):
    """Three steps of gradient descent with changed gradients, and constraints after each."""
    program = compiled(line, extra)
    w = start(program)[0]
    for x, y in batches():
        g = change(gradients(w, x, y), w)
        w = after({k: w[k] - rate(k) * g[k] for k in w}, w)
    same(trained(program, batches()), w)


def test_clipping_by_value():
    stepped("sgd(lr = 0.1), clip_value = 0.05", change=lambda g, w: {k: np.clip(g[k], -0.05, 0.05) for k in g})


@pytest.mark.parametrize("bound", [0.2, 1e6])
def test_clipping_by_the_global_norm(bound):
    def clip(g, w):
        norm = np.sqrt(sum(np.sum(v**2) for v in g.values()))
        return {k: v * min(1, bound / norm) for k, v in g.items()}
    stepped(f"sgd(lr = 0.1), clip_norm = {bound}", change=clip)


def test_penalties_are_trained():
    stepped("sgd(lr = 0.1)", "penalty l2(0.3) on W, s\npenalty l1(0.2) on b\n",
            change=lambda g, w: {"W": g["W"] + 0.3 * w["W"], "b": g["b"] + 0.2 * np.sign(w["b"]), "s": g["s"] + 0.3 * w["s"]})


def test_decoupled_decay():
    """-a*w and -a*sign(w), after the step."""
    def shrink(w, before):
        return {"W": w["W"] * (1 - 0.1), "b": w["b"] - 0.02 * np.sign(w["b"]), "s": w["s"]}
    stepped("sgd(lr = 0.1), l2(0.1) on W, l1(0.02) on b", after=shrink)


def test_max_norm():
    def limit(w, before):
        norms = np.sqrt((w["W"]**2).sum(1, keepdims=True))
        return {**w, "W": w["W"] * np.minimum(1, 0.6 / norms)}
    stepped("sgd(lr = 0.1), max_norm(0.6) on W", after=limit)


def test_l1_ball():
    """The nearest point with sum(|w|) <= 1, by bisection of the threshold."""
    def project(w, before):
        v = w["W"]
        low, high = 0.0, np.abs(v).max()
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if np.maximum(np.abs(v) - middle, 0).sum() > 1 else (low, middle)
        return {**w, "W": np.sign(v) * np.maximum(np.abs(v) - high, 0) if np.abs(v).sum() > 1 else v}
    stepped("sgd(lr = 0.1), l1_ball(1) on W", after=project)


def test_frozen_parameters_stay():
    program = compiled("adam(lr = 0.1), freeze W s")
    found, before = trained(program, batches()), start(program)[0]
    np.testing.assert_array_equal(found["W"], before["W"])
    assert found["s"] == before["s"] and not np.array_equal(found["b"], before["b"])
    (x, y), = batches(1)
    assert list(program.loss_and_grads(before, x=x, y=y)[1]) == ["b"]
    assert not [k for k in program.init_state(before) if k.endswith((".W", ".s"))]


def test_rates_of_groups():
    stepped("sgd(lr = 0.1), rate W = 0.5, rate b = 2", rate={"W": 0.05, "b": 0.2, "s": 0.1}.get)


def test_rates_reach_every_optimiser():
    program = compiled(f"adam({ADAM}), rate W = 0.25")
    half = by_hand(program, batches(1), lambda k, w, g, slots, step: w + (0.25 if k == "W" else 1) * (
        adam(False)(k, w, g, slots, step) - w))
    same(trained(program, batches(1)), half)


SCHEDULES = {                                        # the rate of step k of K = 8, four steps an epoch
    "constant": lambda k: 1.0,
    "cosine": lambda k: (1 + np.cos(np.pi * k / 8)) / 2,
    "cosine(floor = 0.2)": lambda k: 0.2 + 0.8 * (1 + np.cos(np.pi * k / 8)) / 2,
    "linear": lambda k: 1 - k / 8,
    "step(every = 1, factor = 0.5)": lambda k: 0.5 ** (k // 4),
    "exponential(factor = 0.9)": lambda k: 0.9 ** (k / 4),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule(schedule):
    """The trainer's steps under a schedule are plain steps at the scheduled rates."""
    system = parse(f"{MODEL}train sgd(lr = 0.1), schedule {schedule}, epochs = 2, batch = 6\n")
    x, y = (np.concatenate(a) for a in zip(*batches(4)))
    options = Options(epochs=2, batch=6, schedule=system.training.schedule, schedule_options=system.training.schedule_options)
    trainer = Trainer(Program(system, "float64"), from_arrays(system, np.float64, train={"x": x, "y": y}), options)
    rates, step = [], trainer.program.train_step

    class Watched:
        def __getattr__(self, name):
            return getattr(trainer_program, name)

        def train_step(self, params, state, **rest):
            rates.append(float(state["lr"]))
            return step(params, state, **rest)
    trainer_program, trainer.program = trainer.program, Watched()
    trainer.start()
    trainer.train()
    np.testing.assert_allclose(rates, [0.1 * SCHEDULES[schedule](k) for k in range(8)], rtol=1e-12)


def test_a_step_refuses_what_it_cannot_change_in_place():
    """A NumPy number instead of a 0-d array would be trained nowhere."""
    program = compiled("sgd(lr = 0.1)")
    params, state = start(program)
    (x, y), = batches(1)
    for name, wrong in (("s", np.float64(0.7)), ("W", np.asfortranarray(params["W"]))):
        with pytest.raises(ValueError, match="in place"):
            program.train_step({**params, name: wrong}, state, x=x, y=y)


# ---------------------------------------------------------------- initial values

SHAPE = (300, 400)                                   # outputs, inputs
INITIAL = {                                          # standard deviation; the largest number there can be
    "normal(0.01)": (0.01, None), "xavier": (1 / 20, None), "he": (np.sqrt(2) / 20, None),
    "glorot": (np.sqrt(2 / 700), np.sqrt(6 / 700)), "uniform(0.3)": (0.3 / np.sqrt(3), 0.3),
    "uniform(-0.1, 0.3)": (0.4 / np.sqrt(12), 0.3)}


def first(kind, shape="300, 400"):
    rows, columns = shape.split(", ")
    return Program(parse(f"model m(H = {rows}, D = {columns})\ninput x[D]\nparam W[H, D] {kind}\nloss = sum(W @ x)\n")).init


@pytest.mark.parametrize("kind", INITIAL)
def test_initialiser(kind):
    init, (sd, most) = first(f"~ {kind}"), INITIAL[kind]
    w = init(seed=3)["W"].astype(float)
    middle = 0.1 if kind == "uniform(-0.1, 0.3)" else 0.0
    assert w.shape == SHAPE and abs(w.mean() - middle) < 5 * sd / np.sqrt(w.size)
    assert w.std() == pytest.approx(sd, rel=5 / np.sqrt(2 * w.size))
    if most is not None:
        assert 0.999 * most < w.max() <= most * (1 + 1e-6)
    else:                                            # normal: a third beyond one deviation, 4.6 % beyond two
        assert np.mean(abs(w) > sd) == pytest.approx(0.3173, abs=0.01)
        assert np.mean(abs(w) > 2 * sd) == pytest.approx(0.0455, abs=0.004)
    np.testing.assert_array_equal(w, init(seed=3)["W"])
    assert not np.array_equal(w, init(seed=4)["W"])


@pytest.mark.parametrize(("kind", "sd"), [("xavier", np.sqrt(1 / 600)), ("he", np.sqrt(2 / 600)), ("glorot", np.sqrt(2 / 1000))])
@pytest.mark.parametrize("channels", ["24", "M", "2*M", "M + N"])
def test_initialisers_of_kernels(kind, sd, channels):
    """An output reads 24 * 5 * 5 numbers, an input goes into 16 * 5 * 5, however the sizes are written."""
    m = {"2*M": 12, "M + N": 20}.get(channels, 24)
    program = Program(parse(f"model m(M = {m}, N = 4)\ninput x[{channels}, 9, 9]\nparam K[16, {channels}, 5, 5] ~ {kind}\n"
                            "loss = sum(conv(x, K))\n"))
    assert program.init(seed=1)["K"].std() == pytest.approx(sd, rel=0.05)


@pytest.mark.parametrize("shape", ["30, 30", "20, 30", "30, 20"])
def test_orthogonal(shape):
    w = first("~ orthogonal", shape)(seed=1)["W"].astype(float)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)


@pytest.mark.parametrize(("kind", "expected"), [("~ identity", np.eye(4)), ("~ identity(0.5)", np.eye(4) / 2),
                                                ("= 0", np.zeros((4, 4))), ("= 1", np.ones((4, 4))),
                                                ("= 0.25", np.full((4, 4), 0.25)), ("~ constant(-2)", np.full((4, 4), -2.0))])
def test_fixed_initial_values(kind, expected):
    np.testing.assert_array_equal(first(kind, "4, 4")()["W"], expected)
