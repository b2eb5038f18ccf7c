"""The models that the tests of standalone C files compare."""

from dataclasses import replace

from chainrule.frontends.language import parse
from zoo.catalogue import ZOO
from zoo.chunked import CHUNKED

INITIAL = """model initial(D = 4, H = 6)
input x[D]
target y : class(H)
param A[H, D], C[D, H] ~ orthogonal;  E[H, D] ~ he;  F[H, D] ~ glorot;  G[H, H] ~ identity(0.5)
param K[3, 2, D] ~ xavier;  U[H, D] ~ uniform(-0.3, 0.2);  b[H] ~ normal(0.3);  c[H] = 0.25;  s = 0.7
z = A @ x + E @ x + F @ x + U @ x + G @ b * s + A @ (C @ b) + c
w = sum(square(K))
loss = cross_entropy(softmax(z), y) + w
output z
train adamw(lr = 0.01), clip_value = 0.5, max_norm(2) on A, rate b = 0.5
"""
TRUNCATED = """model truncated(V = 5, H = 4)
input x[t] : class(V)
target y[t] : class(V)
param h0[H] = 0.1
h[t] = lstm(dropout(onehot(x[t]), 0.2), H)
g[t] = tanh(linear(h[t], H) + g[t-1])   where g[-1] = h0
p[t] = softmax(dense(dropout(g[t], 0.3), V))
loss = mean[batch, t] cross_entropy(p[t], y[t])
output p
train nesterov(lr = 0.1, momentum = 0.8), clip_norm = 0.5, truncate = 4
"""


def cut(build):
    """A model in chunks of four steps."""
    def made():
        system = build()
        system.training = replace(system.training, truncate=4)
        return system
    return made


MODELS = {**{k: ZOO[k] for k in ("mlp", "elman", "lstm_split", "gru", "masked", "lenet", "batch_norm", "dropout")},
          "initial": lambda: parse(INITIAL), "truncated": lambda: parse(TRUNCATED), "given_start": cut(CHUNKED[2])}
