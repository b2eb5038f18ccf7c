"""Small systems without time."""

from __future__ import annotations

from chainrule.compiler.graph import (
    BATCH,
    Broadcast,
    Concat,
    Contract,
    Flip,
    Noise,
    Pad,
    Reduce,
    Reshape,
    Slice,
    Transpose,
    apply,
    matmul,
    mean,
    size,
    symbol,
    total,
)
from chainrule.compiler.system import System
from zoo.build import Model, cross_entropy, sigmoid, squares, tanh


def logistic() -> System:
    m = Model("logistic", D=4, C=3)
    x, y = m.input("x", "D"), m.classes("y", "C")
    return m.loss(cross_entropy(m.eq("p", matmul(m.param("W", "C", "D"), x) + m.param("b", "C")), y))


def mlp() -> System:
    m = Model("mlp", D=4, H=5, C=3)
    x, y = m.input("x", "D"), m.classes("y", "C")
    h = m.eq("h", apply("relu", matmul(m.param("W1", "H", "D"), x) + m.param("b1", "H")))
    k = m.eq("k", tanh(matmul(m.param("W2", "H", "H"), h) + m.param("b2", "H")) + h)
    return m.loss(cross_entropy(m.eq("p", matmul(m.param("W3", "C", "H"), k) + m.param("b3", "C")), y))


def tied_autoencoder() -> System:
    m = Model("tied_autoencoder", D=4, H=3)
    x, W = m.input("x", "D"), m.param("W", "H", "D")
    h = m.eq("h", sigmoid(matmul(W, x) + m.param("b", "H")))
    return m.loss(squares(m.eq("r", sigmoid(matmul(Transpose(W), h) + m.param("d", "D"))), x))


def batch_norm() -> System:
    """Statistics of the batch, kept for evaluation."""
    m = Model("batch_norm", D=4, H=3)
    x, y = m.input("x", "D"), m.input("y", "H")
    a = m.eq("a", matmul(m.param("W", "H", "D"), x))
    mu = m.eq("mu", mean(a, (BATCH,)))
    var = m.eq("var", mean(apply("square", a - mu), (BATCH,)))
    m.stat("running_mu", ("H",), lambda s: 0.9 * s + 0.1 * mu)
    m.stat("running_var", ("H",), lambda s: 0.9 * s + 0.1 * var)
    h = m.eq("h", m.param("gain", "H") * ((a - mu) / apply("sqrt", var + 1e-5)) + m.param("shift", "H"))
    return m.loss(squares(tanh(h), y))


def pooling() -> System:
    """Maxima over features and over the batch, a norm and a product of features."""
    m = Model("pooling", D=4)
    x = m.input("x", "D")
    a = m.eq("a", tanh(matmul(m.param("W", 6, "D"), x) + m.param("b", 6)))
    grid = Reshape(a, (2, 3))
    best = Reduce("max", a, (BATCH, 0)) + total(Reduce("min", a, (BATCH,)))
    return m.loss(total(apply("square", m.eq("pairs", Reduce("max", grid, (1,))))) + best + Reduce("norm", a, (0,))
                  + Reduce("prod", grid, (0, 1)) + total(Reduce("norm", grid, (0,))))


def moves() -> System:
    """Every rearrangement of features in one expression."""
    m = Model("moves", D=4)
    x, y = m.input("x", "D"), m.input("y", 6)
    a = m.eq("a", tanh(matmul(m.param("W", 6, "D"), x)))
    turned = Flip(Transpose(Reshape(a, (2, 3))), 0) * Broadcast(m.param("q", 3), (BATCH,), (size(3), size(2)), (0,))
    joined = Concat(0, (Slice(a, 0, 0, 2), Slice(a, 0, 3, 5), Slice(a, 0, 1, 3)))
    padded = Pad(Slice(a, 0, 1, 4), 0, 2, 6)
    return m.loss(squares(Reshape(turned, (6,)) * joined + padded, y))


def bilinear() -> System:
    """A product of three, and a matrix of outer products: contractions of every kind of label."""
    m = Model("bilinear", D=3, H=2)
    x, y = m.input("x", "D"), m.input("y", "H")
    A = m.param("A", "H", "D", "D")
    z = m.eq("z", matmul(matmul(A, x), x))
    outer = Contract(z, x, (0,), (1,), (0, 1))
    gram = Contract(x, x, (0,), (1,), (0, 1), ())
    return m.loss(squares(z, y) + total(tanh(outer)) + total(apply("square", matmul(m.param("M", "H", "D"), gram))) / 10)


def dropout() -> System:
    m = Model("dropout", D=4, H=5, C=3)
    x, y = m.input("x", "D"), m.classes("y", "C")
    H = symbol("H")
    a = m.eq("a", apply("relu", matmul(m.param("W1", "H", "D"), x)))
    h = m.eq("h", a * (apply("real", Noise("uniform", "h", (BATCH,), (H,)) < 0.75) / 0.75))
    return m.loss(cross_entropy(matmul(m.param("W2", "C", "H"), h + Noise("normal", "jitter", (BATCH,), (H,))), y))


FORWARD = [logistic, mlp, tied_autoencoder, batch_norm, pooling, moves, bilinear, dropout]
