"""Models with time, as text: what LANGUAGE says of axes, delays and boundaries, one small model a case."""

MODELS = {
    "boundaries": """
model a(D = 2, H = 3)
input x[t, D]
input z[H]
target y[t, H]
param W[H, D], U[H, H], V[H, H] ~ xavier; h0[H] ~ normal(0.3)
e[t] = tanh(W @ x[t] + U @ e[t-1]) where e[-1] = z
h[t] = tanh(W @ x[t] + U @ h[t-1] + V @ h[t-2]) where h[-1] = e[last], h[-2] = h0
g[t] = h[t+1] * h[t-1] where h[T] = 0.5
loss = mean[batch, t] squares(g[t], y[t])
""",
    "below": """
model a(D = 2, H = 3)
input x[t, D]
target y[t, H]
param W[H, D], U[H, H], V[H, H] ~ xavier; h0[H] ~ normal(0.3)
h[t] = tanh(W @ x[t] + U @ h[t-1] + V @ h[t-2]) where h[<0] = h0
g[t] = h[t+2] + x[t-1] @ W.T where h[>=T] = h0, x[-1] = 0
loss = mean[batch, t] squares(g[t], y[t])
""",
    "twice": """
model a(D = 2, H = 3)
input x[t, D]
target y[t, 2*H]
param W[H, D], U[H, H] ~ xavier
h[t] = tanh(W @ x[t] + U @ k[t-1, H:2*H]) where h[-1] = 0
k[t] = [h[t], h[t], h[t]] where k[-1] = 0.1
d[t] = tanh(U @ h[t])
q[t] = [d[t], d[t]]
loss = mean[batch, t] squares(k[t, H:3*H] * q[t], y[t])
output k, q
""",
    "joined after": """
model a(D = 3)
input x[t, D]
target y[t, D]
param W[D, D] ~ xavier
c[t] = sin(x[t] + W @ h[t-1])
h[t] = tanh(c[t]) where h[-1] = 0
p[t] = softmax(h[t])
q[t] = [p[t], c[t]]
loss = mean[batch, t] squares(softmax(p[t]), y[t])
metric far = mean[batch, t] max(abs(q[t]))
""",
    "steps": """
model a(D = 2, H = 3)
input x[t, D]
target y[H]
param W[H, D], U[H, H] ~ xavier
h[t] = tanh(W @ x[t] + U @ h[t-1]) where h[-1] = 0
loss = squares(h[last] + 2 * h[0] + 3 * h[T-2] + h[T-1], y)
""",
    "mutual": """
model a(D = 2, H = 3)
input x[t, D]
target y[t, H]
param W[H, D], U[H, H], V[H, H] ~ xavier
a[t] = tanh(W @ x[t] + U @ b[t-1]) where a[-1] = 0.1
b[t] = sigmoid(V @ a[t] + a[t-1] * c[t-2]) where b[-1] = 0
c[t] = a[t] * b[t-1] where c[<0] = 0.2
loss = mean[batch, t] squares(c[t], y[t])
""",
    "encdec": """
model a(D = 2, H = 3)
input x[s, D]
input z[t, D]
target y[t, H]
param W[H, D], U[H, H], V[H, H], A[H, H] ~ xavier; v[H] ~ normal(0.5)
h[s] = tanh(W @ x[s] + U @ h[s-1]) where h[-1] = 0
w[s, t] = softmax[s](v @ tanh(A @ h[s] + V @ d[t-1]))
k[t] = sum[s] w[s, t] * h[s]
d[t] = tanh(W @ z[t] + k[t] + V @ d[t-1]) where d[-1] = h[last]
loss = mean[batch, t] squares(d[t], y[t])
""",
    "encdec_inline": """
model a(D = 2, H = 3)
input x[s, D]
input z[t, D]
target y[t, H]
param W[H, D], U[H, H], V[H, H], A[H, H] ~ xavier; v[H] ~ normal(0.5)
h[s] = tanh(W @ x[s] + U @ h[s-1]) where h[-1] = 0
d[t] = tanh(W @ z[t] + sum[s] softmax[s](v @ tanh(A @ h[s] + V @ d[t-1])) * h[s] + V @ d[t-1]) where d[-1] = h[last]
loss = mean[batch, t] squares(d[t], y[t])
""",
    "dot": """
model a(D = 2, H = 3)
input x[s, D]
input z[t, D]
target y[t, H]
param W[H, D], U[H, H], V[H, H], A[H, H] ~ xavier
h[s] = tanh(W @ x[s] + U @ h[s-1]) where h[-1] = 0
a[s, t] = softmax[s](h[s] @ (A @ d[t-1]))
d[t] = tanh(W @ z[t] + sum[s] a[s, t] * h[s]) where d[-1] = 0
loss = mean[batch, t] squares(d[t], y[t])
""",
    "grid": """
model a(D = 2, H = 3)
input x[s, t, D]
target y[t, H]
param W[H, D], U[H, H] ~ xavier
h[s, t] = tanh(W @ x[s, t] + U @ h[s, t-1]) where h[-1] = 0
loss = mean[batch, t] squares(mean[s] h[s, t], y[t])
""",
    "grid2": """
model a(D = 2, H = 3)
input x[s, t, D]
target y[t, H]
param W[H, D], U[H, H] ~ xavier
h[s, t] = tanh(W @ x[s, t] + U @ h[s-1, t]) where h[-1] = 0
g[t] = tanh(h[last, t] + U @ g[t-1]) where g[-1] = 0
loss = mean[batch, t] squares(g[t], y[t])
""",
    "one_to_many": """
model a(D = 2, H = 3)
input z[D]
target y[t, H]
time t
param W[H, D], U[H, H] ~ xavier
h[t] = tanh(U @ h[t-1]) where h[-1] = W @ z
loss = mean[batch, t] squares(h[t], y[t])
""",
    "autonomous": """
model a(H = 3)
time t
param U[H, H] ~ xavier; s0[H] ~ normal(0.5)
s[t] = tanh(U @ s[t-1]) where s[-1] = s0
loss = mean[t] sum(s[t]^2)
output s
""",
    "selfatt": """
model a(D = 2, H = 3)
input x[t, D]
target y[t, H]
time u over t
param Q[H, D], K[H, D], V[H, D] ~ xavier
q[t] = Q @ x[t]
k[t] = K @ x[t]
v[t] = V @ x[t]
a[t, u] = softmax[u](q[t] @ k[u] / sqrt(H))
o[t] = sum[u] a[t, u] * v[u]
loss = mean[batch, t] squares(o[t], y[t])
""",
    "causal": """
model a(D = 2, H = 3)
input x[t, D]
target y[t, H]
time u over t
param Q[H, D], K[H, D], V[H, D] ~ xavier
q[t] = Q @ x[t]
k[t] = K @ x[t]
v[t] = V @ x[t]
o[t] = sum[u] softmax[u](select(u <= t, q[t] @ k[u] / sqrt(H), -inf)) * v[u]
loss = mean[batch, t] squares(o[t], y[t])
""",
    "causal_range": """
model a(D = 2, H = 3)
input x[t, D]
target y[t, H]
time u over t
param Q[H, D], K[H, D], V[H, D] ~ xavier
q[t] = Q @ x[t]
k[t] = K @ x[t]
v[t] = V @ x[t]
a[t, u] = softmax[u <= t](q[t] @ k[u] / sqrt(H))
o[t] = sum[u] a[t, u] * v[u]
loss = mean[batch, t] squares(o[t], y[t])
""",
    "ranges": """
model a(V = 5, H = 3)
input x[t] : class(V)
param W[V, H] ~ xavier; E[H, V], U[H, H] ~ xavier
h[t] = tanh(E @ onehot(x[t]) + U @ h[t-1]) where h[-1] = 0
loss = mean[batch, t < T-1] cross_entropy(softmax(W @ h[t]), x[t+1])
metric error = mean[batch, t >= 1] (argmax(W @ h[t-1]) != x[t])
""",
    "ranges2": """
model a(D = 2, H = 3)
input x[t, D]
param W[H, D], U[H, H] ~ xavier
h[t] = tanh(W @ x[t] + U @ h[t-1]) where h[-1] = 0
q = sum[t > 0, t < T-1] ((h[t+1] - h[t-1])^2)
r = max[t >= 2](h[t-2] * h[t]) + logsumexp[t < T-1](h[t+1])
loss = sum(q) + sum(r)
""",
    "index": """
model a(D = 2, H = 3)
input x[t, D]
target y[t, H]
param W[H, D], U[H, H] ~ xavier
h[t] = tanh(W @ x[t] + U @ h[t-1] * select(t > 2, 1, t / T)) where h[-1] = 0
loss = mean[batch, t] squares(h[t], y[t])
""",
    "cell": """
model a(D = 2, H = 3)
fragment cell(x, h, c, H) -> (hn, cn):
  param W_f, W_i, W_o, W_g [H, D + H] ~ xavier; b[H] = 0
  z = [h, x]
  cn = sigmoid(W_f @ z + b) * c + sigmoid(W_i @ z) * tanh(W_g @ z)
  hn = sigmoid(W_o @ z) * tanh(cn)
input x[t, D]
target y[t, H]
(h[t], c[t]) = cell(x[t], h[t-1], c[t-1], H) where h[-1] = 0, c[-1] = 0
loss = mean[batch, t] squares(h[t], y[t])
""",
    "transposed": """
model a(D = 2, H = 3)
input x[t, D]
target y[t, H]
param W_xh[D, H], W_hh[H, H] ~ xavier
h[t] = tanh(x[t] @ W_xh + W_hh.T @ h[t-1]) where h[-1] = 0
loss = mean[batch, t] squares(h[t], y[t])
""",
    "fragments": """
model a(D = 2, H = 3)
fragment rnn(x[t, D], H, h0 = 0) -> h[t]:
  param W[H, D], U[H, H] ~ xavier
  h[t] = tanh(W @ x[t] + U @ h[t-1]) where h[-1] = h0
input x[s, D]
input z[t, D]
target y[t, H]
e[s] = rnn(x[s], H)
r[s] = rnn(x[s], H, reverse = true)
cell = rnn(H)
f[s] = cell(x[s])
d[t] = cell(z[t], h0 = e[last] + r[0] + f[last])
g[t] = cell(z[t], h0 = 0.3, reverse = true)
loss = mean[batch, t] squares(d[t] * g[t], y[t])
""",
    "own_end": """
model a(D = 2, H = 3)
input x[t, D]
target y[t, H]
param W[H, D], U[H, H] ~ xavier
h[t] = tanh(W @ x[t] + U @ h[t-1]) where h[-1] = 0, h[T] = h[last]
g[t] = W @ x[t] where g[-1] = g[0]
loss = mean[batch, t] squares(h[t+1] * g[t-1], y[t])
""",
    "clipped": """
model a(D = 2, H = 3)
input x[t, D]
target y[t, H]
param W[H, D], U[H, H] ~ xavier; b[H] = 0
a[t] = W @ x[t] + U @ h[t-1] + b
h[t] = tanh(a[t]) where h[-1] = 0
loss = mean[batch, t] squares(h[t], y[t])
on_backward h[t]: clip(d_h, -0.01, 0.01)
on_backward a[t]: d_a / max(1, norm(d_a)) * 0.5
""",
    "start_token": """
model a(V = 5, H = 3)
input x[t] : class(V)
param W[V, H] ~ xavier; E[V, H], U[H, H] ~ xavier
h[t] = tanh(E[x[t-1]] + U @ h[t-1]) where h[-1] = 0, x[-1] = 0
loss = mean[batch, t] cross_entropy(softmax(W @ h[t]), x[t])
""",
}
