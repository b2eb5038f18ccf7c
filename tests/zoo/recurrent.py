"""Small recurrent systems: every shape of recurrence that the compiler must get right."""

from __future__ import annotations

from chainrule.compiler.graph import (
    BATCH,
    At,
    Broadcast,
    Concat,
    Contract,
    Expr,
    Freeze,
    Index,
    Noise,
    OneHot,
    Reduce,
    Slice,
    apply,
    matmul,
    mean,
    symbol,
    total,
)
from chainrule.compiler.system import System
from zoo.build import Model, cross_entropy, delay, sigmoid, softmax, squares, tanh

H = symbol("H")


def elman() -> System:
    m = Model("elman", H=4, V=6)
    x, y = m.classes("x", "V", "t"), m.classes("y", "V", "t")
    W, U, V = m.param("W", "H", "V"), m.param("U", "H", "H"), m.param("V_", "V", "H")
    b, c = m.param("b", "H"), m.param("c", "V")
    h = m.eq("h", tanh(matmul(W, OneHot(x, symbol("V"))) + matmul(U, delay(m.ref("h", "H"), -1)) + b))
    p = m.eq("p", matmul(V, h) + c)
    return m.loss(cross_entropy(p, y))


def _lstm(m: Model, gates: list[Expr], tag: str = "") -> Expr:
    """The cell above its four pre-activations f, i, o, g."""
    f, i, o = (m.eq(f"{n}{tag}", sigmoid(a)) for n, a in zip("fio", gates[:3], strict=True))
    g = m.eq(f"g{tag}", tanh(gates[3]))
    c = m.eq(f"c{tag}", f * delay(m.ref(f"c{tag}", "H"), -1) + i * g)
    return m.eq(f"h{tag}", o * tanh(c))


def lstm_split() -> System:
    m = Model("lstm_split", H=3, D=2)
    x, y = m.input("x", "D", time="t"), m.input("y", "H", time="t")
    W, U, b = m.params("W_f W_i W_o W_g", "H", "D"), m.params("U_f U_i U_o U_g", "H", "H"), m.params("b_f b_i b_o b_g", "H")
    before = delay(m.ref("h", "H"), -1)
    return m.loss(squares(_lstm(m, [matmul(w, x) + matmul(u, before) + v for w, u, v in zip(W, U, b, strict=True)]), y))


def lstm_concat() -> System:
    m = Model("lstm_concat", H=3, D=2)
    x, y = m.input("x", "D", time="t"), m.input("y", "H", time="t")
    W, b = m.params("W_f W_i W_o W_g", "H", H + symbol("D")), m.params("b_f b_i b_o b_g", "H")
    z = m.eq("z", Concat(0, (delay(m.ref("h", "H"), -1), x)))
    return m.loss(squares(_lstm(m, [matmul(w, z) + v for w, v in zip(W, b, strict=True)]), y))


def lstm_packed() -> System:
    m = Model("lstm_packed", H=3, D=2)
    x, y = m.input("x", "D", time="t"), m.input("y", "H", time="t")
    W, b = m.param("W", 4 * H, H + symbol("D")), m.param("b", 4 * H)
    a = m.eq("a", matmul(W, Concat(0, (delay(m.ref("h", "H"), -1), x))) + b)
    return m.loss(squares(_lstm(m, [Slice(a, 0, k * H, (k + 1) * H) for k in range(4)]), y))


def lstm_stacked() -> System:
    m = Model("lstm_stacked", H=2, D=2)
    x, y = m.input("x", "D", time="t"), m.input("y", "H", time="t")
    below: Expr = x
    for layer, size in ((1, "D"), (2, "H")):
        W = m.params(" ".join(f"W{layer}_{k}" for k in "fiog"), "H", size)
        U = m.params(" ".join(f"U{layer}_{k}" for k in "fiog"), "H", "H")
        before = delay(m.ref(f"h{layer}", "H"), -1)
        below = _lstm(m, [matmul(w, below) + matmul(u, before) for w, u in zip(W, U, strict=True)], str(layer))
    return m.loss(squares(below, y))


def gru() -> System:
    m = Model("gru", H=3, D=2)
    x, y = m.input("x", "D", time="t"), m.input("y", "H", time="t")
    Wz, Wr, W = m.params("W_z W_r W", "H", H + symbol("D"))
    before = delay(m.ref("h", "H"), -1)
    both = Concat(0, (before, x))
    z, r = m.eq("z", sigmoid(matmul(Wz, both))), m.eq("r", sigmoid(matmul(Wr, both)))
    g = m.eq("g", tanh(matmul(W, Concat(0, (r * before, x)))))
    return m.loss(squares(m.eq("h", (1 - z) * before + z * g), y))


def delay2() -> System:
    """Two delays of one state, whose initial values are learned."""
    m = Model("delay2", H=3, D=2)
    x, y = m.input("x", "D", time="t"), m.input("y", "H", time="t")
    W, (U, V), (h1, h2) = m.param("W", "H", "D"), m.params("U V", "H", "H"), m.params("h1 h2", "H")
    h = m.ref("h", "H")
    value = m.eq("h", tanh(matmul(W, x) + matmul(U, delay(h, -1, h1)) + matmul(V, delay(h, -2, h2, h1))))
    return m.loss(squares(value, y))


def birnn() -> System:
    m = Model("birnn", H=3, D=2, V=4)
    x, y = m.input("x", "D", time="t"), m.classes("y", "V", "t")
    W1, W2, U1, U2 = m.param("W1", "H", "D"), m.param("W2", "H", "D"), m.param("U1", "H", "H"), m.param("U2", "H", "H")
    f = m.eq("f", tanh(matmul(W1, x) + matmul(U1, delay(m.ref("f", "H"), -1))))
    b = m.eq("b", tanh(matmul(W2, x) + matmul(U2, delay(m.ref("b", "H"), 1, m.param("b_end", "H")))))
    return m.loss(cross_entropy(matmul(m.param("V_", "V", 2 * H), Concat(0, (f, b))), y))


def many_to_one() -> System:
    m = Model("many_to_one", H=3, D=2, V=4)
    x, y = m.input("x", "D", time="t"), m.classes("y", "V")
    W, U, V = m.param("W", "H", "D"), m.param("U", "H", "H"), m.param("V_", "V", "H")
    h = m.eq("h", tanh(matmul(W, x) + matmul(U, delay(m.ref("h", "H"), -1))))
    return m.loss(cross_entropy(matmul(V, At(h, "t", -1) + At(h, "t", 1)), y))


def masked() -> System:
    """Examples of different lengths: past its end a state stands still, and the loss is divided by what there is."""
    m = Model("masked", H=3, D=2)
    x, y, n = m.input("x", "D", time="t"), m.input("y", "H", time="t"), m.classes("lengths", "T")
    W, U = m.param("W", "H", "D"), m.param("U", "H", "H")
    inside = Index("t") <= apply("real", n)
    before = delay(m.ref("h", "H"), -1)
    h = m.eq("h", apply("select", inside, tanh(matmul(W, x) + matmul(U, before)), before))
    steps = Reduce("sum", apply("real", inside), ("t", BATCH))
    return m.loss(Reduce("sum", apply("select", inside, squares(h, y), 0), ("t", BATCH)) / steps)


def layer_norm() -> System:
    m = Model("layer_norm", H=4, D=2)
    x, y = m.input("x", "D", time="t"), m.input("y", "H", time="t")
    W, U, gain = m.param("W", "H", "D"), m.param("U", "H", "H"), m.param("gain", "H")
    a = m.eq("a", matmul(W, x) + matmul(U, delay(m.ref("h", "H"), -1)))
    centred = a - mean(a, (0,))
    scale = apply("sqrt", mean(apply("square", centred), (0,)) + 1e-3)
    return m.loss(squares(m.eq("h", tanh(gain * (centred / scale))), y))


def neighbours() -> System:
    """Reads at t-1, t+1 and t+2 outside any loop."""
    m = Model("neighbours", H=3, D=2)
    x, y = m.input("x", "D", time="t"), m.input("y", "H", time="t")
    W, V, e = m.param("W", "H", "D"), m.param("V", "H", "H"), m.param("e", "H")
    a = m.eq("a", tanh(matmul(W, x)))
    return m.loss(squares(matmul(V, delay(a, -1, e)) * delay(a, 1) + delay(a, 2, e, 2 * e), y))


def attention() -> System:
    """A decoder's loop that attends to an encoder of another length."""
    m = Model("attention", H=3, D=2)
    x, y = m.input("x", "D", time="s"), m.input("y", "H", time="t")
    W, U, Q, V = m.param("W", "H", "D"), m.param("U", "H", "H"), m.param("Q", "H", "H"), m.param("V", "H", "H")
    e = m.eq("e", tanh(matmul(W, x) + matmul(U, delay(m.ref("e", "H", axes=("s", BATCH)), -1, axis="s"))))
    keys = Freeze(e, "s")
    before = delay(m.ref("h", "H"), -1, At(e, "s", -1))
    weights = m.eq("w", softmax_features(matmul(keys, matmul(Q, before))))
    context = m.eq("k", Contract(weights, keys, (0,), (0, 1), (1,)))
    return m.loss(squares(m.eq("h", tanh(matmul(V, before) + context + y)), y))


def softmax_features(e: Expr) -> Expr:
    return apply("exp", e - Broadcast(Reduce("logsumexp", e, (0,)), e.axes, e.shape, ()))


def over_time() -> System:
    """Every reduction over time: softmax along the steps, maximum, minimum, product, norm."""
    m = Model("over_time", H=3, D=2)
    x, y = m.input("x", "D", time="t"), m.input("y", "H")
    W, U, q = m.param("W", "H", "D"), m.param("U", "H", "H"), m.param("q", "H")
    h = m.eq("h", tanh(matmul(W, x) + matmul(U, delay(m.ref("h", "H"), -1))))
    pooled = Reduce("sum", softmax(matmul(q, h), "t") * h, ("t",))
    parts = [pooled, *(Reduce(kind, h, ("t",)) for kind in ("max", "min", "norm")), Reduce("prod", 1 + h, ("t",))]
    out = parts[0]
    for p in parts[1:]:
        out = out + p
    return m.loss(squares(out, y) + Reduce("logsumexp", h, ("t", 0)) + Reduce("max", h, ("t", 0)))


def noisy() -> System:
    """Dropout inside a loop, and additive noise."""
    m = Model("noisy", H=3, D=2)
    x, y = m.input("x", "D", time="t"), m.input("y", "H", time="t")
    W, U = m.param("W", "H", "D"), m.param("U", "H", "H")
    u = Noise("uniform", "drop", ("t", BATCH), (H,))
    kept = delay(m.ref("h", "H"), -1) * apply("real", u < 0.8) / 0.8
    h = m.eq("h", tanh(matmul(W, x) + matmul(U, kept)))
    return m.loss(squares(h + 0.1 * Noise("normal", "jitter", ("t", BATCH), (H,)), y))


def pieces() -> System:
    """Rows of two tables, noise and a state side by side: each is written into the whole, or copied there."""
    m = Model("pieces", H=3, D=2, V=4)
    x, y = m.classes("x", "V", "t"), m.input("y", 2 * H + 2 * symbol("D"), time="t")
    L, M, U = m.param("L", "V", "D"), m.param("M", "V", "H"), m.param("U", "H", "D")
    e, drawn = matmul(OneHot(x, symbol("V")), L), Noise("normal", "jitter", ("t", BATCH), (symbol("D"),))
    h = m.eq("h", tanh(matmul(U, e) + delay(m.ref("h", "H"), -1)))
    joined = m.eq("w", Concat(0, (matmul(OneHot(x, symbol("V")), M), drawn, e, h)))
    return m.loss(squares(tanh(joined), y))


def mutual() -> System:
    """Two states that read each other, one without a delay."""
    m = Model("mutual", H=3, D=2)
    x, y = m.input("x", "D", time="t"), m.input("y", "H", time="t")
    W, U, V = m.param("W", "H", "D"), m.param("U", "H", "H"), m.param("V", "H", "H")
    a = m.eq("a", sigmoid(matmul(W, x) + matmul(U, delay(m.ref("c", "H"), -1))))
    c = m.eq("c", tanh(matmul(V, a) * delay(m.ref("a", "H"), -1)) + a)
    return m.loss(squares(c, y) + total(a * delay(c, 1)))


RECURRENT = [elman, lstm_split, lstm_concat, lstm_packed, lstm_stacked, gru, delay2, birnn, many_to_one, masked, layer_norm,
             neighbours, attention, over_time, noisy, pieces, mutual]
