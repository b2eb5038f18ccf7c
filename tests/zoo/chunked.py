"""Small systems whose sequences are cut into chunks: what is carried is more than one state of one loop."""

from __future__ import annotations

from chainrule.compiler.graph import Const, Index, OneHot, apply, matmul, symbol
from chainrule.compiler.system import System
from zoo.build import Model, delay, sigmoid, squares, tanh


def bigram() -> System:
    """Delays of an input, of a class, and of a value that no loop computes, with learned boundaries."""
    m = Model("bigram", H=3, D=2, V=4)
    x, c, y = m.input("x", "D", time="t"), m.classes("c", "V", "t"), m.input("y", "H", time="t")
    W, E, U = m.param("W", "H", "D"), m.param("E", "H", "V"), m.param("U", "H", "H")
    a = m.eq("a", tanh(matmul(W, x + delay(x, -2)) + matmul(E, OneHot(delay(c, -1), symbol("V")))))
    e, f, g = (m.param(k, "H") for k in "efg")
    return m.loss(squares(m.eq("h", tanh(a + matmul(U, delay(a, -3, e, f, g)))), y))


def positions() -> System:
    """The index as a number, outside a loop and inside."""
    m = Model("positions", H=3)
    x, y = m.input("x", "H", time="t"), m.input("y", "H", time="t")
    a = m.eq("a", x * apply("sin", Index("t") / 3) * m.param("w", "H"))
    before = delay(m.ref("h", "H"), -1)
    fading = apply("exp", -Index("t") / 5)
    return m.loss(squares(m.eq("h", tanh(a + matmul(m.param("U", "H", "H"), before) * fading)), y))


def given_start() -> System:
    """Boundary values that are an input of the model, and one that is computed from it."""
    m = Model("given_start", H=3, D=2)
    x, y, z = m.input("x", "D", time="t"), m.input("y", "H", time="t"), m.input("z", "D")
    W, Z, U = m.param("W", "H", "D"), m.param("Z", "H", "D"), m.param("U", "H", "H")
    c = m.eq("c", 0.5 * delay(m.ref("c", "D"), -1, z) + x)
    begins = m.eq("s0", tanh(matmul(Z, z)))
    return m.loss(squares(m.eq("h", tanh(matmul(W, c) + matmul(U, delay(m.ref("h", "H"), -1, begins)))), y))


def odd_constants() -> System:
    """Boundary values that are numbers other than zero, and a state that has no batch."""
    m = Model("odd_constants", H=3, D=2)
    x, y, W = m.input("x", "D", time="t"), m.input("y", "H", time="t"), m.param("W", "H", "D")
    r = m.eq("r", m.param("q", "H") * delay(m.ref("r", "H", axes=("t",)), -1, Const(1)) + Index("t") * 0.01)
    h = m.eq("h", sigmoid(matmul(W, x) + r * delay(m.ref("h", "H"), -1, Const(0.5))))
    return m.loss(squares(h, y))


CHUNKED = [bigram, positions, given_start, odd_constants]
