"""Small models of which a backend once computed something else, or could not be compiled; random models (`random_models`) were
reduced to them.
"""

FOUND = {
    "a state's old value, read after its new one": """
model m
input x[t, 2]
param W[2, 2], U[2, 2] ~ normal(0.5)
a[t] = tanh(W @ c[t-1]) + 0.3 * a[t-1] where a[-1] = 0.1
b[t] = 0.5 * tanh(U @ a[t-1] + x[t]) + 0.2 * b[t-1] where b[-1] = 0
c[t] = b[t] * sigmoid(c[t-1]) where c[-1] = 0.2
loss = mean[batch, t] sum(c[t]^2)
output c
""",
    "some rows of a packed matrix, and all of it": """
model m(K = 8)
input x[t, 2]
param W[2, K], V[2, K] ~ normal(0.5)
a[t] = W @ b[t+1] * (V @ b[t+1]) + x[t] where a[>=T] = 0
b[t] = tanh(W.T @ a[t+1]) where b[T] = 0
loss = mean[batch] sum[t] sum(a[t]^2)
output b
""",
    "groups of one channel": """
model m
input x[3, 1, 2]
target y[6]
param K[6, 1, 1, 1] ~ normal(0.5)
h = global_avg(conv(x, K, padding = 1, groups = 3))
loss = mean[batch] squares(h, y)
output h
""",
    "windows that reach each element but the last": """
model m
input x[2, 12]
param b[2] ~ normal(0.5)
h = avg_pool(x + channels(b, x), 3, padding = 1)
loss = mean[batch] sum(h^2)
output h
""",
    "kernels of one element and one channel": """
model m
input x[1, 6, 6]
target y[2, 6, 6]
h = depthwise_separable(x, 2)
loss = mean[batch] mean((h - y)^2)
output h
""",
    "a piece that is a sigmoid, twice": """
model m
input x[3]
target y : class(6)
param b[3] ~ normal(0.5)
g = sigmoid(-x * b)
h = [g, g]
loss = mean[batch] cross_entropy(softmax(h), y)
output h
""",
    "numbers of the batch, summed over steps": """
model m
input x[t, 2]
lengths t
param W[2, 2] ~ normal(0.5)
h[t] = tanh(W @ x[t])
loss = sum[t] mean[batch] sum(h[t]^2) + 2 * mean[batch] sum[t] sum(h[t])
metric far = sum[t] mean[batch] max(h[t])
""",
    "parameters that are one number": """
model m
input x[5]
param a, b ~ normal(0.5)
loss = mean[batch] sum(tanh(x * a))
""",
    "a chunk that reads no sequence": """
model m
input x[t, 1]
input z[3]
param W[3, 3] ~ normal(0.5)
h[t] = t * x[t]
loss = mean[batch] sum(tanh(W @ z))
train sgd(lr = 0.1), truncate = 1
""",
    "a softmax of what is a number before the start": """
model m
input x[t, 2]
target y[t] : class(2)
param W[2, 2] ~ normal(0.5)
s[t] = tanh(W @ x[t] + s[t-1]) where s[-1] = 0
h[t] = relu(s[t-1])
loss = mean[batch, t] cross_entropy(softmax(h[t]), y[t])
""",
    "a cross entropy of what is one number before the start": """
model m
input x[t, 2]
target y[t] : class(2)
param W[2, 2] ~ normal(0.5)
h[t] = s[t-1]
s[t] = tanh(W @ h[t] + x[t]) where s[-1] = 0.1
loss = mean[batch, t] cross_entropy(softmax(h[t]), y[t])
""",
    "the batch's mean of pooled images": """
model m
input x[2, 12]
param b[2] ~ normal(0.5)
h = max_pool(channels(b, x) * x, 2, stride = 1)
loss = sum((mean[batch](h))^2)
""",
    "rows of one number each": """
model m
input x : class(2)
param W[2, 3] ~ normal(0.5)
h = sum(W[x])
loss = mean[batch] h^2
""",
    "pooled images and convolved ones, side by side": """
model m
input x[2, 6, 6]
param K, L[2, 2, 3, 3] ~ normal(0.5)
a = max_pool(x, 3, stride = 1)
h = concat(0, a, conv(x, K), a, avg_pool(x, 3, stride = 1), conv_transpose(conv(x, K, stride = 2), L)[0:1, 0:4, 0:4])
loss = mean[batch] sum(sin(h))
output h
""",
    "a sequence that no step reads, with lengths": """
model m
input x[t, 2]
input z[t, 2] : unit
lengths t
target y[t, 2]
param W[2, 2] ~ normal(0.5)
loss = mean[batch] mean[t] squares(W @ z[t], y[t])
""",
    "a state that starts as a parameter": """
model m
input x[t, 2]
param b[2], W[4, 2] ~ normal(0.5)
h[t] = W @ s[t-1]
g[t] = h[t, 0:2] * sigmoid(h[t, 2:4])
s[t] = 0.3 * s[t-1] + sin(x[t] + g[t]) where s[-1] = b
k = s[last]
loss = mean[batch] sum(k^2)
output k
""",
    "the gradient of a fragment's result, changed": """
model m
input x[t, 2]
h[t] = elman(x[t], 3)
on_backward h[t]: 0.5 * d_h
loss = mean[batch] sum[t] sum(h[t]^2)
""",
}
