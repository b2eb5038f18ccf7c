"""Simplify: one node for equal expressions, small computations, factors on the smallest array; and values unchanged."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from battery.values import evaluate
from chainrule.compiler.gradient import gradient
from chainrule.compiler.graph import (
    BATCH,
    At,
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Input,
    OneHot,
    Pad,
    Param,
    Put,
    Reduce,
    Shift,
    Slice,
    Transpose,
    apply,
    broadcast,
    class_of,
    length,
    matmul,
    mean,
    postorder,
    symbol,
    zeros,
)
from chainrule.compiler.passes.centre import centre_memo
from chainrule.compiler.passes.simplify import simplify, simplify_exprs
from chainrule.compiler.system import System
from zoo.catalogue import ZOO

H, V, B, T = symbol("H"), symbol("V"), length(BATCH), length("t")
X, Y = Input("x", (BATCH,), (H,)), Input("y", (BATCH,), (H,))
S = Input("s", ("t", BATCH), (H,))
a, b = Param("a", (H,)), Param("b", (H,))
W, HOT = Param("W", (V, H)), OneHot(Input("k", (BATCH,), (), class_of(V)), V)


def one(e: Expr, **sizes: int) -> Expr:
    return simplify_exprs([e], sizes)[0]


def test_equal_expressions_become_one_node() -> None:
    first, second = simplify_exprs([X * 1 + Y, Y + X])
    assert first is second and first.args == (X, Y)
    assert one(Y + X).args == (Y, X)                             # the user's order stays


@pytest.mark.parametrize(("before", "after"), [
    (apply("neg", -X), X), (X - (-Y), X + Y), ((-X) * Y, -(X * Y)), (X + (-Y), X - Y), (3 * (2 * X), 6 * X), (2 * X / 4, 0.5 * X),
    (X + X, 2 * X), (X * X, apply("square", X)), (apply("pow", X, 3), X * apply("square", X)), (X * (1 / Y), X / Y),
    (apply("select", X > 0, Y, Y), Y), (-(2 * X), -2 * X), (X + Const(-1), X - 1),
    (apply("pow", X, 0.5), apply("sqrt", X)), (apply("real", X > 0) * 1, apply("real", X > 0)),
])
def test_elementwise_rules(before: Expr, after: Expr) -> None:
    assert one(before) is after


@pytest.mark.parametrize("e", [0 * X, X - X, X / X])
def test_what_could_hide_a_nan_stays(e: Expr) -> None:
    assert one(e) is e


def test_numbers_fold_exactly() -> None:
    assert one(Const(1) / Const(3)) is Const(Fraction(1, 3))
    assert one(Const(1) / Const(4) + 2.0) is Const(2.25)
    assert one(Extent(B) * Extent(T) / Extent(B * T)) is Const(1)
    assert one(Const(1) / Const(0)).args                         # left to run time
    assert one(apply("exp", Const(0))) is Const(1)


def test_small_operands_are_computed_before_they_are_repeated() -> None:
    wide = broadcast(a, (BATCH,), (H,)) + broadcast(b, (BATCH,), (H,)) * 2
    assert one(wide) is broadcast(a + b * 2, (BATCH,), (H,))
    spread = broadcast(Reduce("sum", X, (0,)), (BATCH,), (H,))
    assert one(apply("exp", spread)) is broadcast(apply("exp", Reduce("sum", X, (0,))), (BATCH,), (H,))


def test_reductions_of_repeats_and_of_reductions() -> None:
    wide = broadcast(a, (BATCH,), (H,))
    assert one(Reduce("sum", wide, (BATCH,))) is one(Extent(B) * a)
    assert one(Reduce("max", Broadcast(a, (), (H, V), (0,)), (0,))) is Broadcast(Reduce("max", a, (0,)), (), (V,), ())
    assert one(Reduce("sum", Reduce("sum", X, (0,)), (BATCH,))) is Reduce("sum", X, (BATCH, 0))
    assert one(mean(mean(X, (0,)), (BATCH,))) is Reduce("sum", X, (BATCH, 0)) / Extent(B * H)


def test_contractions_of_repeats_and_without_a_sum() -> None:
    outer = Contract(X, Y, (0,), (1,), (0, 1), (BATCH,))
    assert one(outer) is Broadcast(X, (BATCH,), (H, H), (0,)) * Broadcast(Y, (BATCH,), (H, H), (1,))
    ones = broadcast(Const(1), (BATCH,), (V,))
    assert one(Contract(ones, X, (0,), (1,), (0, 1), ())) is Broadcast(Reduce("sum", X, (BATCH,)), (), (V, H), (1,))


def test_moves_of_repeats_parts_and_delays() -> None:
    assert one(Slice(Concat(0, (a, b)), 0, H, 2 * H)) is b
    assert one(Slice(Pad(a, 0, V, H + V), 0, V, H + V)) is a
    assert one(Transpose(Broadcast(a, (), (V, H), (1,)))) is Broadcast(a, (), (H, V), (0,))
    assert one(At(Shift(S, "t", -1, (Y,)), "t", 0)) is Y
    assert one(At(Put(Y, "t", -1), "t", -1)) is Y
    assert one(Shift(zeros(S), "t", -1, (Const(0),))) is zeros(S)


def softmax_system() -> list[Expr]:
    """Cross-entropy of softmax(W @ x), the mean over the batch, and its gradients."""
    s = matmul(W, X)
    log_p = s - Broadcast(Reduce("logsumexp", s, (0,)), (BATCH,), (V,), ())
    loss = mean(-Reduce("sum", HOT * log_p, (0,)), (BATCH,))
    grads = gradient(System("s"), loss, [W, s]).grads
    return simplify_exprs([loss, grads[W], grads[s], apply("exp", log_p)], {"H": 256, "V": 10})


def test_a_factor_is_applied_once_to_the_smallest_array() -> None:
    c = broadcast(1 / Extent(B), (BATCH,), (V,))
    s, hot = Input("s", (BATCH,), (V,)), Input("hot", (BATCH,), (V,))
    p = apply("exp", s - Broadcast(Reduce("logsumexp", s, (0,)), (BATCH,), (V,), ()))
    d = c * p - c * hot
    d_W, d_h = Contract(d, X, (0,), (1,), (0, 1), ()), matmul(d, W)
    found = simplify_exprs([d_W, d_h], {"V": 10, "H": 256})
    small = (p - hot) / Extent(B)
    assert found == [Contract(small, X, (0,), (1,), (0, 1), ()), matmul(small, W)]
    assert one(mean(2 * X * Y, (0,)), H=5).args[0] is Reduce("sum", X * Y, (0,))


def test_softmax_and_cross_entropy_come_out_as_the_difference() -> None:
    _, d_W, d_s, p = softmax_system()
    assert d_s is (p - HOT) / Extent(B)
    assert d_W is Contract(d_s, X, (0,), (1,), (0, 1), ())       # applied before the product, not after


def test_binary_cross_entropy_comes_out_as_the_difference() -> None:
    z = Input("z", (BATCH,), (H,))
    losses = z * apply("softplus", -X) + (1 - z) * apply("softplus", X)
    d = gradient(System("s"), mean(Reduce("sum", losses, (0,)), (BATCH,)), [X]).grads[X]
    assert one(d) is (apply("sigmoid", X) - z) / Extent(B)


def test_simplifying_twice_changes_nothing() -> None:
    exprs = softmax_system()
    assert simplify_exprs(exprs, {"H": 256, "V": 10}) == exprs


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_system_is_not_changed_by_a_second_round(name: str) -> None:
    first = simplify(ZOO[name]())
    assert simplify(first).equations == first.equations


def test_centred_softmax_has_the_same_value() -> None:
    lse = Reduce("logsumexp", X, (0,))
    log_p = X - Broadcast(lse, (BATCH,), (H,), ())
    exprs = [log_p, apply("exp", log_p), lse, lse - Reduce("sum", X, (0,)), Reduce("min", X, (0,)) - lse]
    memo = centre_memo(exprs)
    assert not [n for e in exprs for n in [memo[e]] if n is e]
    values = {"x": np.random.default_rng(0).normal(size=(3, 5)) * 10}
    for old, new in zip(evaluate(exprs, values, float), evaluate([memo[e] for e in exprs], values, float), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-12)


def test_a_number_joins_the_factor_of_a_repeated_operand() -> None:
    """2 * (broadcast(-r/(2n)) * x) has one number, on the small array: the gradient of a normalisation."""
    r = Reduce("sum", X * X, (0,))
    small = r * Broadcast(Const(-0.5) / Extent(H), r.axes, (), ())
    got = one(2 * (Broadcast(small, X.axes, X.shape, ()) * X))
    numbers = [n.value for n in postorder(got) if isinstance(n, Const)]
    assert numbers == [-1]
