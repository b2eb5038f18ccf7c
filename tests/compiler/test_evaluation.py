"""Evaluation: noise off, statistics stored."""

import chainrule as cr
import numpy as np
import pytest
from chainrule.compiler.graph import (
    BATCH,
    Broadcast,
    Const,
    Contract,
    Extent,
    GraphError,
    Noise,
    Param,
    Reduce,
    apply,
    mean,
    symbol,
    total,
)
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes.evaluation import batch_reductions, evaluation
from chainrule.compiler.verify import verify
from zoo.build import LENGTHS, Model, squares, values
from zoo.catalogue import ZOO
from zoo.forward import batch_norm, dropout

D = symbol("D")
U = Noise("uniform", "u", (BATCH,), (D,))
N = Noise("normal", "n", (BATCH,), (D,))
HALF = Broadcast(Const(0.5), (BATCH,), (D,), ())


def quiet(e):
    m = Model("m", D=3)
    m.input("x", "D")
    m.param("w", "D")
    m.eq("e", e)
    return verify(evaluation(m.system), "evaluation").equations["e"]


X, W = Model("m").input("x", "D"), Model("m").param("w", "D")


@pytest.mark.parametrize("name", ZOO)
def test_no_noise_is_left_and_the_system_is_legal(name):
    out = verify(evaluation(ZOO[name]()), "evaluation")
    assert not any(isinstance(n, Noise) for n in out.nodes())


def test_means_of_draws():
    p = Broadcast(Const(0.8), (BATCH,), (D,), ())
    assert quiet(apply("real", U < 0.8)) is p
    assert quiet(apply("real", apply("lt", 0.8, U))) is 1 - p
    assert quiet(apply("real", U >= 0.8)) is 1 - p
    assert quiet(apply("real", apply("ge", 0.8, U))) is p
    assert quiet(X + U) is X + HALF
    assert quiet(X + 0.1 * N) is X + 0.1 * Broadcast(Const(0), (BATCH,), (D,), ())
    assert quiet(apply("real", U < apply("sigmoid", X))) is apply("sigmoid", X)
    assert quiet(apply("real", U < X)) is apply("minimum", apply("maximum", X, 0), 1)
    assert quiet(apply("real", U < 1.5)) is apply("minimum", apply("maximum", Broadcast(Const(1.5), (BATCH,), (D,), ()), 0), 1)
    assert quiet(apply("select", U < 0.3, X, 0)) is apply("select", HALF < 0.3, X, 0)


def test_dropout_becomes_the_identity():
    system = dropout()
    at = values(system)
    a = evaluate(evaluation(system), [evaluation(system).equations["h"]], at)[0]
    np.testing.assert_allclose(a, np.maximum(at["x"] @ at["W1"].T, 0), rtol=1e-13)


def test_a_stat_replaces_its_reduction_everywhere():
    system = batch_norm()
    at = values(system)
    out = evaluation(system)
    mu, var = (Param(f"running_{name}", (symbol("H"),)) for name in ("mu", "var"))
    assert out.equations["mu"] is mu and out.equations["var"] is var
    assert [s.update for s in out.stats.values()] == [s.node for s in out.stats.values()]
    assert mu not in out.names
    a = at["x"] @ at["W"].T
    h = at["gain"] * (a - at["running_mu"]) / np.sqrt(at["running_var"] + 1e-5) + at["shift"]
    np.testing.assert_allclose(evaluate(out, [out.equations["h"]], at)[0], h, rtol=1e-14)
    loss = evaluate(out, [out.objective()], at)[0]
    assert float(loss) == pytest.approx(float(((np.tanh(h) - at["y"]) ** 2).sum() / 2 / LENGTHS["B"]), rel=1e-13)


STORED = """
model m(D = 3, C = 4)
input x[t, D]
target y[C]
param W[C, D] ~ normal(0.5)
stat s[C] = 1 <- {}
a[t] = W @ x[t]
h[t] = tanh(a[t] / ({}) + 0.5 * h[t-1])    where h[-1] = 0
loss = squares(h[last], y)
output h
"""
SQUARE, EXP = "mean[batch, t](a[t]^2)", "sum[batch, t](exp(a[t]))"


@pytest.mark.parametrize("update, read", [
    (f"0.9 * s + 0.1 * {SQUARE}", f"sqrt({SQUARE})"),
    (f"0.9 * s + 0.1 * sqrt({SQUARE})", f"sqrt({SQUARE})"),
    (f"0.9 * s + 0.1 * log({EXP})", f"log({EXP})"),
    (f"0.9 * s + 0.1 * sqrt({SQUARE}) + {SQUARE}", f"sqrt({SQUARE})"),
    (f"0.9 * s + mean[batch, t](a[t] * {SQUARE})", f"2 + mean[batch, t](a[t] * {SQUARE})"),
])
def test_a_stat_stands_for_the_reduction_as_it_is_written(update, read):
    """Not for what the algebra makes of it: the root of a mean of squares is a norm, a factor goes out of a sum."""
    program = cr.compile(cr.parse(STORED.format(update, read)), dtype="float64")
    rng, out = np.random.default_rng(0), evaluation(program.system)
    params, x = program.init(seed=1) | {"s": np.array([2.0, 3, 4, 5])}, rng.normal(size=(5, 2, 3))
    wanted = evaluate(out, [out.equations["h"]], {**params, "x": x.swapaxes(0, 1)}, {"B": 5, "T": 2})[0].swapaxes(0, 1)
    np.testing.assert_allclose(program.predict(params, x=x)["h"], wanted, rtol=1e-12)
    step, _ = program.step(params, program.start(params, batch=5), x=x[:, 0])
    np.testing.assert_allclose(step["h"], wanted[:, 0], rtol=1e-12)
    whole = program.system
    stored = evaluate(whole, [whole.stats["s"].update], {**params, "x": x.swapaxes(0, 1)}, {"B": 5, "T": 2})[0]
    program.train_step(params, program.init_state(params), x=x, y=rng.normal(size=(5, 4)))
    np.testing.assert_allclose(params["s"], stored, rtol=1e-12)


OTHERWISE = """
model m(D = 3)
input x[D]
param W[D, D] ~ normal(0.5)
stat s[D] = 1 <- 0.9 * s + 0.1 * {}
a = W @ x
h = a / sqrt(2 * {} + 1)
loss = mean[batch] sum(h^2)
output h
train sgd(lr = 0.1){}
"""


@pytest.mark.parametrize("update, read", [
    ("mean[batch](a^2)", "mean[batch](a * a)"), ("mean[batch](a * a + x)", "mean[batch](x + a^2)"),
    ("mean[batch](abs(a))", "mean[batch](abs(-a))"), ("mean[batch](a^2)", "(1 / B * sum[batch](a^2))"),
])
def test_a_stat_stands_for_what_algebra_makes_the_same(update, read):
    """The equation may say in other words what the update does; frozen, in training, too."""
    rng = np.random.default_rng(0)
    x, s = rng.normal(size=(5, 3)), np.array([2.0, 3, 4])
    for frozen in ("", ", freeze s"):
        program = cr.compile(cr.parse(OTHERWISE.format(update, read, frozen)), dtype="float64")
        params = program.init(seed=1) | {"s": s.copy()}
        wanted = x @ params["W"].T / np.sqrt(2 * s + 1)
        np.testing.assert_allclose(program.predict(params, x=x)["h"], wanted, rtol=1e-12)
        if frozen:
            assert program.loss_and_grads(params, x=x)[0] == pytest.approx((wanted**2).sum(1).mean(), rel=1e-12)


def test_a_mean_of_what_no_example_changes_stands_for_itself():
    """A stat of a number stands for its mean as it is written, not for all numbers that are the same."""
    m = Model("m", D=3)
    m.input("x", "D")
    one = Broadcast(Const(1), (BATCH,), (D,), ())
    written = Reduce("max", one, (BATCH,))
    m.stat("s", ("D",), lambda s: 0.5 * s + 0.5 * written)
    m.eq("e", written + Broadcast(Const(1), (), (D,), ()))
    out = evaluation(m.system).equations["e"]
    assert out is Param("s", (D,)) + Broadcast(Const(1), (), (D,), ())


def test_training_is_left_as_it_was():
    system = batch_norm()
    before = dict(system.equations)
    evaluation(system)
    assert system.equations == before


def with_stat(update, shape=("D",)):
    m = Model("m", D=3)
    x = m.input("x", "D")
    m.stat("s", shape, lambda s: update(s, x))
    return m.system


@pytest.mark.parametrize("update, message", [
    (lambda s, x: 0.9 * s, "the update of the stat s has no reduction over the batch"),
    (lambda s, x: s + mean(x, (BATCH,)) + Reduce("max", x, (BATCH,)), "the update of the stat s has 2 reductions over the batch"),
    (lambda s, x: s + total(mean(x, (BATCH,))) + 0 * mean(total(x), (BATCH,)), "has 2 reductions"),
])
def test_an_update_has_exactly_one_batch_reduction(update, message):
    with pytest.raises(GraphError, match=message):
        evaluation(with_stat(update))


def test_a_reduction_of_another_shape_is_refused():
    with pytest.raises(GraphError, match=r"the stat s is \(D\), and the batch reduction in its update \(\)"):
        evaluation(with_stat(lambda s, x: s + mean(total(x), (BATCH,))))


def test_two_stats_of_one_reduction_are_refused():
    m = Model("m", D=3)
    x = m.input("x", "D")
    for name in ("slow", "fast"):
        m.stat(name, ("D",), lambda s: 0.5 * s + 0.5 * mean(x, (BATCH,)))
    with pytest.raises(GraphError, match="slow and fast store one and the same"):
        evaluation(m.system)


def test_what_counts_as_one_reduction():
    x = X
    inner = mean(x, (BATCH,))
    outer = mean(apply("square", x - inner), (BATCH,))
    assert batch_reductions(0.9 * W + 0.1 * outer) == [outer]
    masked = Reduce("sum", apply("select", x > 0, x, 0), (BATCH,)) / Reduce("sum", apply("real", x > 0), (BATCH,))
    assert batch_reductions(W + masked) == [masked]
    scaled = inner * (Extent(symbol("B")) / (Extent(symbol("B")) - 1))
    assert batch_reductions(scaled) == [inner]
    gram = Contract(x, x, (0,), (1,), (0, 1), ())
    assert batch_reductions(gram / 7) == [gram]
    assert squares(x, x).axes == (BATCH,) and batch_reductions(squares(x, x)) == []
