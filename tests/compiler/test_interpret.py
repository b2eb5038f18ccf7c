"""The reference interpreter against NumPy written out, and the random numbers against their published rule."""

import numpy as np
import pytest
from chainrule.compiler import random
from chainrule.compiler.graph import (
    BATCH,
    At,
    Const,
    Contract,
    Extent,
    Freeze,
    GraphError,
    Index,
    Input,
    Noise,
    OneHot,
    Param,
    Put,
    Reduce,
    Ref,
    Shift,
    Thaw,
    apply,
    symbol,
)
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.ops import PRIMITIVES
from chainrule.compiler.system import System
from zoo.build import LENGTHS, values
from zoo.catalogue import ZOO
from zoo.recurrent import attention, delay2, elman, masked


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def value(e, lengths=None, system=None, **arrays):
    return evaluate(system or System("m"), [e], arrays, lengths)[0]


def test_elman_written_out():
    system = elman()
    at = values(system)
    h, loss = np.zeros((3, 4)), 0.0
    for t in range(LENGTHS["T"]):
        h = np.tanh(at["W"].T[at["x"][t]] + h @ at["U"].T + at["b"])
        p = h @ at["V_"].T + at["c"]
        loss += (np.log(np.exp(p).sum(-1)) - p[np.arange(3), at["y"][t]]).sum() / (3 * LENGTHS["T"])
    assert float(value(system.objective(), None, system, **at)) == pytest.approx(loss, rel=1e-14)


def test_two_delays_with_boundary_values_written_out():
    system = delay2()
    at = values(system)
    h = [np.tile(at["h2"], (3, 1)), np.tile(at["h1"], (3, 1))]
    for t in range(LENGTHS["T"]):
        h.append(np.tanh(at["x"][t] @ at["W"].T + h[-1] @ at["U"].T + h[-2] @ at["V"].T))
    np.testing.assert_allclose(value(system.equations["h"], None, system, **at), h[2:], rtol=1e-13)


def test_lengths_stop_a_state():
    system = masked()
    at = values(system)
    (h,) = evaluate(system, [system.equations["h"]], at)
    for b, n in enumerate(at["lengths"]):
        for t in range(n + 1, LENGTHS["T"]):
            assert (h[t, b] == h[n, b]).all()


def test_attention_weights_sum_to_one_over_the_other_sequence():
    system = attention()
    w = value(system.equations["w"], None, system, **values(system))
    assert w.shape == (LENGTHS["T"], 3, LENGTHS["S"])
    np.testing.assert_allclose(w.sum(-1), 1, rtol=1e-14)


@pytest.mark.parametrize("name", ZOO)
def test_values_have_the_shapes_that_the_graph_says(name):
    system = ZOO[name]()
    env = {**LENGTHS, **system.sizes}
    goals = list(system.equations.values())
    for e, array in zip(goals, evaluate(system, goals, values(system), LENGTHS), strict=True):
        assert array.shape == tuple(s.evaluate(env) for s in e.dims)


X = Input("x", ("t", BATCH), (symbol("D"),))
DATA = np.arange(24.0).reshape(4, 2, 3)


def test_steps_and_shifts():
    np.testing.assert_array_equal(value(At(X, "t", -1), x=DATA), DATA[-1])
    np.testing.assert_array_equal(value(At(X, "t", 9), x=DATA), 0 * DATA[0])
    np.testing.assert_array_equal(value(Put(At(X, "t", 0), "t", -2), x=DATA), [0 * DATA[0], 0 * DATA[0], DATA[0], 0 * DATA[0]])
    back = value(Shift(X, "t", -2, (Const(7), Const(8))), x=DATA)
    np.testing.assert_array_equal(back, [0 * DATA[0] + 7, 0 * DATA[0] + 8, DATA[0], DATA[1]])
    ahead = value(Shift(X, "t", 3, (Const(7), Const(8), Const(9))), x=DATA)
    np.testing.assert_array_equal(ahead, [DATA[3], 0 * DATA[0] + 7, 0 * DATA[0] + 8, 0 * DATA[0] + 9])
    beyond = value(Shift(X, "t", 6, tuple(map(Const, range(6)))), x=DATA)
    assert beyond[:, 0, 0].tolist() == [2, 3, 4, 5]


def test_axes_that_become_features_and_back():
    np.testing.assert_array_equal(value(Freeze(X, "t"), x=DATA), DATA.transpose(1, 0, 2))
    np.testing.assert_array_equal(value(Thaw(Freeze(X, "t"), "t"), x=DATA), DATA)
    two = Input("z", ("s", "t"), (symbol("D"),))
    z = np.random.default_rng(0).random((2, 4, 3))
    np.testing.assert_array_equal(value(Freeze(two, "s"), z=z), z.transpose(1, 0, 2))
    inner = Contract(two, X, (0,), (0,), (), ("s", BATCH))
    np.testing.assert_allclose(value(inner, z=z, x=DATA), np.einsum("std,tbd->sb", z, DATA))


@pytest.mark.parametrize("over", [("t",), (BATCH,), (0,), ("t", 0), ("t", BATCH, 0)], ids=str)
def test_reductions(over):
    axes = tuple({"t": 0, BATCH: 1, 0: 2}[o] for o in over)
    data = np.random.default_rng(1).standard_normal((4, 2, 3))
    for kind, f in (("sum", np.sum), ("max", np.max), ("min", np.min), ("prod", np.prod)):
        np.testing.assert_allclose(value(Reduce(kind, X, over), x=data), f(data, axis=axes), rtol=1e-14)
    np.testing.assert_allclose(value(Reduce("logsumexp", X, over), x=data), np.log(np.exp(data).sum(axes)))
    np.testing.assert_allclose(value(Reduce("norm", X, over), x=data), np.sqrt((data**2).sum(axes)))
    if len(over) == 1:
        np.testing.assert_array_equal(value(Reduce("argmax", X, over), x=data), data.argmax(axes[0]))


def test_logsumexp_is_stable():
    assert value(Reduce("logsumexp", X, (0,)), x=DATA * 1e4).max() == 23e4
    assert value(Reduce("logsumexp", X, (0,)), x=DATA - np.inf).max() == -np.inf


def test_numbers_of_axes():
    assert value(Extent(symbol("T") * 3 + symbol("B")), {"T": 4, "B": 2}) == 14
    np.testing.assert_array_equal(value(Index("t"), {"T": 3}), [0, 1, 2])
    np.testing.assert_array_equal(value(Index(BATCH), {"B": 3}), [0, 1, 2])
    best = Reduce("argmax", X, (0,))
    np.testing.assert_array_equal(value(OneHot(best, symbol("D")), x=DATA), np.broadcast_to([0, 0, 1], (4, 2, 3)))


def test_what_is_missing_or_does_not_fit_is_named():
    with pytest.raises(GraphError, match="no value for x"):
        value(X)
    with pytest.raises(GraphError, match=r"w has shape \(2,\), not \(3,\)"):
        value(Param("w", (3,)), w=[1, 2])
    with pytest.raises(GraphError, match="no value for the size T"):
        value(Index("t"))
    with pytest.raises(GraphError, match="no equation is called h"):
        value(Ref("h", ("t",)), {"T": 2})
    loop = System("loop")
    h = loop.equation("h", apply("tanh", Ref("h", ("t",))))
    with pytest.raises(GraphError, match="needs itself"):
        value(h, {"T": 2}, loop)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_references_take_and_give_arrays(name):
    p = PRIMITIVES[name]
    rng = np.random.default_rng(0)
    operands = [rng.uniform(lo, hi, (2, 3)) for lo, hi in p.domain]
    out = p.reference(*operands)
    assert out.shape == (2, 3) and np.isfinite(out).all()


# ---------------------------------------------------------------- random numbers

def philox(counter, key):
    """Philox 4x64-10 as published (Salmon et al., Parallel random numbers: as easy as 1, 2, 3), on Python integers."""
    c, k, mask = list(counter), list(key), 2**64 - 1
    for _ in range(10):
        left, right = c[0] * 0xD2E7470EE14C6C93, c[2] * 0xCA5A826395121157
        c = [(right >> 64) ^ c[1] ^ k[0], right & mask, (left >> 64) ^ c[3] ^ k[1], left & mask]
        k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
    return c


def test_words_are_philox_blocks():
    key = [5, random.path_key("h.drop")]
    expected = [w for j in range(3) for w in philox([j + 1, 0, 9, 0], key)]
    assert random.words("h.drop", 12, seed=5, step=9).tolist() == expected
    assert random.words("h.drop", 5, seed=5, step=9, offset=6).tolist() == expected[6:11]


def test_the_hash_of_a_path_is_fixed():
    assert random.path_key("h") == 4446336680317632269           # little-endian, as `printf h | b2sum` begins


def test_floats_from_words():
    w = random.words("u", 6).tolist()
    assert random.draw("uniform", "u", (2, 3)).ravel().tolist() == [(x >> 11) / 2**53 for x in w]
    single = random.draw("uniform", "u", (2, 3), dtype=np.float32)
    assert single.dtype == np.float32 and single.ravel().tolist() == [(x >> 40) / 2**24 for x in w]
    u, v = (w[2] >> 11) / 2**53, (w[3] >> 11) / 2**53
    pair = np.sqrt(-2 * np.log1p(-u)) * np.array([np.cos(2 * np.pi * v), np.sin(2 * np.pi * v)])
    np.testing.assert_allclose(random.draw("normal", "u", (6,))[2:4], pair, rtol=1e-15)


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_a_chunk_goes_on_where_the_last_one_stopped(kind):
    whole = random.draw(kind, "u", (11,), 1, 2)
    for k in range(11):
        np.testing.assert_array_equal(random.draw(kind, "u", (11 - k,), 1, 2, offset=k), whole[k:])


def test_draws_have_their_moments_and_differ_by_path_seed_and_step():
    u, n = random.draw("uniform", "a", (40000,)), random.draw("normal", "a", (40000,))
    assert abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.01
    assert abs(n.mean()) < 0.02 and abs(n.var() - 1) < 0.03
    others = [random.draw("uniform", *args) for args in (("b", (4,)), ("a", (4,), 1), ("a", (4,), 0, 1), ("a", (4,)))]
    assert len({o.tobytes() for o in others}) == 4


def test_noise_in_a_graph_is_time_major_and_may_be_replaced():
    e = Noise("normal", "n", ("t", BATCH), (symbol("D"),))
    env = {"T": 4, "B": 2, "D": 3}
    np.testing.assert_array_equal(evaluate(System("m"), [e], {}, env, 3, 4)[0], random.draw("normal", "n", (4, 2, 3), 3, 4))
    fixed = evaluate(System("m"), [e + 1], {}, env, noise=lambda node, shape: np.full(shape, 2.0))[0]
    np.testing.assert_array_equal(fixed, np.full((4, 2, 3), 3.0))
