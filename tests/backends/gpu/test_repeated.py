"""Operands that repeat one number along a dim, as the gradient of a mean over an image does, against the interpreter."""

import pytest
from chainrule import parse
from chainrule.backends.cpu.program import Program
from gpu.random_checks import close, interpreted, point, results

MEANS = {
    "convolved by channels": """
model m
input x[6, 6, 6]
target y[6]
param L[6, 1, 2, 2] ~ normal(0.5)
h = global_avg(conv(tanh(x), L, padding = 1, stride = 2, groups = 6))
loss = mean[batch] squares(h, y)
output h
""",
    "convolved along one axis": """
model m
input x[6, 12]
param L[6, 1, 3] ~ normal(0.5)
h = global_avg(conv(tanh(x), L, padding = 1, stride = 2, groups = 6))
loss = mean[batch] sum(h^2)
output h
""",
    "pooled": """
model m
input x[2, 8, 8]
param K[2, 2, 3, 3] ~ normal(0.5)
h = global_avg(max_pool(conv(x, K, padding = 1), 2))
g = global_avg(avg_pool(tanh(conv(x, K)), 3, stride = 2))
loss = mean[batch] sum(h^2) + mean[batch] sum(g^2)
output h, g
""",
}


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("level", [0, 1])
def test_the_mean_of_an_image(name, level):
    at = point(parse(MEANS[name]).system, seed=3)
    close(results(Program(at.system, "float64", level), at), interpreted(at), name)
