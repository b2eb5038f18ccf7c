"""Models whose rows several threads share, a warp or a block, or rows enough for several blocks; updates of arrays of many
blocks, with every kind of constraint.
"""

WIDE = {
    "wide rows": """model rows(D = 70, H = 300, C = 1000)
input x[D]
target y : class(C)
param W[H, D], U[C, H] ~ normal(0.1);  b[H], d[C] = 0
h = layer_norm(tanh(W @ x + b))
s = U @ h + d
loss = mean[batch] -log(softmax(s)) @ onehot(y)
train adam(lr = 0.01), clip_norm = 0.5
""",
    "wide blocks": """model blocks(D = 33, H = 600, C = 150)
input x[D]
target y[C]
param W[H, D], U[C, H] ~ normal(0.1);  b[H] = 0
h = softmax(W @ x + b)
q = layer_norm(h)
p = U @ q
loss = mean[batch] (p - y) @ (p - y) + max(abs(p))
train nesterov(lr = 0.05, momentum = 0.8), clip_value = 0.02, max_norm(0.9) on W, l1_ball(200) on U
""",
    "wide in time": """model time(V = 130, H = 48)
input x[t] : class(V)
target y[t] : class(V)
h[t] = lstm_layer_norm(embedding(x[t], V, H), H)
s[t] = linear(h[t], V)
loss = mean[batch, t] -log(softmax(s[t])) @ onehot(y[t])
train adamw(lr = 0.01), clip_norm = 1
""",
    "wide attention": """model heads(D = 40, A = 36, N = 2)
input x[t, D]
target y[t, D]
v[t] = gru(x[t], D)
q[t] = self_attention_heads(v[t], N, A)
loss = mean[batch, t] (q[t] - y[t]) @ (q[t] - y[t])
train rmsprop(lr = 0.01)
""",
    "wide noise": """model noise(D = 500, H = 40)
input x[D]
target y[H]
param W[H, D] ~ normal(0.1)
p = W @ dropout(x, 0.3)
loss = mean[batch] (p - y) @ (p - y)
train adagrad(lr = 0.1), l1(0.01) on W
""",
    "rows of one": """model one(C = 1)
input x[C, 6, 6]
target y[C]
param g[C], b[C] ~ normal(0.4)
p = avg_pool(sigmoid(avg_pool(x, 3, stride = 2)), 2)
h = global_avg((channels(g, p) * p + channels(b, p))^2)
loss = mean[batch] (sum(h^2) + squares(h, y))
output h
metric far = mean[batch] max(abs(h))
train adam(lr = 0.01)
""",
    "many rows": """model long(D = 3, H = 33)
input x[D]
target y[D]
param W[H, D], U[D, H] ~ normal(0.4);  b[H], d[D], s[H] = 0.1
h = tanh(W @ x + b) * s
p = U @ h + d
loss = mean[batch] (p - y) @ (p - y)
metric far = mean[batch] max(abs(p - y))
train sgd(lr = 0.1)
""",
}
LENGTHS = {"many rows": {"B": 4200}}                             # sums over rows that several blocks share
