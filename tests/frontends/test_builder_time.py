"""Time from Python: what the builder writes is what the text says."""

from __future__ import annotations

import pytest
from chainrule.frontends.builder import Axis, Builder, BuilderError, clip, mean, select, softmax, squares, sum, tanh
from chainrule.frontends.language import parse

TEXT = """model a(D = 2, H = 3)
input x[t, D]
target y[t, H]
time u over t
param Q[H, D], U[H, H] ~ xavier
q[t] = Q @ x[t]
a[t, u] = softmax[u <= t](q[t] @ q[u])
b[t] = sum[u] a[t, u] * q[u]
c[t] = sum[u <= t, u > 0] (select(u <= t, q[u], -inf) * 0 + q[u])
h[t] = tanh(b[t] + U @ h[t-1]) where h[-1] = 0
on_backward h[t]: clip(d_h, -1, 1)
loss = mean[batch, t < T-1] squares(h[t], y[t+1])
"""


def test_second_names_ranges_and_surgery() -> None:
    m = Builder("a", D=2, H=3)
    x, y, t = m.input("x", "t", "D"), m.target("y", "t", "H"), Axis("t")
    u = m.time("u", over=t)
    q_, w = m.param("Q", "H", "D", init="xavier"), m.param("U", "H", "H", init="xavier")
    q = m.eq("q", q_ @ x)
    a = m.eq("a", softmax(q[t] @ q[u], over=u <= t))
    b = m.eq("b", sum(a * q[u], over=u))
    m.eq("c", sum(select(u <= t, q[u], float("-inf")) * 0 + q[u], over=[u <= t, u > 0]))
    h = m.var("h", t, "H")
    m.define(h, tanh(b + w @ h[t - 1]), where={-1: 0})
    m.on_backward(h, lambda d: clip(d, -1, 1))
    m.loss(mean(squares(h[t], y[t + 1]), over=["batch", t < "T-1"]))
    system, written = m.system(), parse(TEXT)
    assert all(written.equations[k] is e for k, e in system.equations.items())
    assert system.loss == written.loss and system.surgery == written.surgery


def test_values_along_two_axes() -> None:
    m = Builder("g", D=2)
    x, s, t = m.input("x", "s", "t", "D"), Axis("s"), Axis("t")
    h = m.var("h", s, t, "D")
    m.define(h, tanh(x + h[s, t - 1]), where={(s, -1): 0})
    m.eq("k", h[s, "last"])
    m.eq("l", h["last", 0])
    text = "model g(D = 2)\ninput x[s, t, D]\nh[s, t] = tanh(x[s, t] + h[s, t-1]) where h[s, -1] = 0\n" \
           "k[s] = h[s, last]\nl = h[last, 0]\n"
    written, system = parse(text), m.system()
    assert all(written.equations[k] is e for k, e in system.equations.items())
    with pytest.raises(BuilderError, match="no place beyond the ends"):
        m.eq("z", x, where={("s; train", -1): 0})
