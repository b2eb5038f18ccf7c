"""Small models with convolutions and pooling, as text."""

from collections.abc import Callable

import chainrule as cr
from chainrule.compiler.system import System

HEAD = """
model {name}(C = 3, O = 4)
input x[{shape}]
target y : class(C)
"""

TEXTS = {
    "lenet": ("2, 8, 8", """
        param K1[O, 2, 3, 3], K2[6, O, 2, 2] ~ he
        param b1[O], b2[6] = 0
        param W[C, 24] ~ xavier
        h1 = max_pool(relu(conv(x, K1, padding = same) + channels(b1, conv(x, K1, padding = same))), 2)
        c2 = conv(h1, K2, padding = 1)
        h2 = avg_pool(tanh(c2 + channels(b2, c2)), 2)
        s = W @ flatten(h2)"""),
    "strided": ("2, 9, 7", """
        param K1[4, 2, 3, 2], K2[6, 2, 2, 2] ~ he
        param W[C, 6] ~ xavier
        h1 = tanh(conv(x, K1, stride = [2, 1], padding = [1, 0]))
        h2 = max_pool(h1, 3, stride = [2, 1])
        h3 = conv(h2, K2, groups = 2, dilation = [1, 2])
        s = W @ global_avg(h3)"""),
    "decoder": ("3, 4, 4", """
        param K1[3, 2, 3, 3], K2[2, 1, 3, 3] ~ he
        param W[C, 32] ~ xavier
        h1 = softplus(conv_transpose(x, K1, stride = 2, padding = 1, more = 1))
        h2 = conv(h1, K2, groups = 2, padding = same)
        s = W @ flatten(avg_pool(upsample(h2, 2), 4))"""),
    "symbolic": ("1, 2*C + 7, 2*C + 6", """
        param K1[2, 1, 3, 3], K2[2, 2, 2, 2] ~ he
        param W[C, 2*((C - 1)//2 + 3)*(C//2 + 3)] ~ xavier
        h1 = max_pool(tanh(conv(x, K1, stride = 2, padding = 1)), 2, stride = 1, padding = same)
        h2 = conv_transpose(max_pool(conv(h1, K2, padding = [0, 1]), 2), K2, padding = [[0, 1], [0, 0]])
        s = W @ flatten(avg_pool(h2, [1, 2], stride = 1, padding = [[0, 1], [1, 0]]))"""),
    "series": ("2, 11", """
        param K1[5, 2, 4], K2[C, 5, 3] ~ he
        h1 = max_pool(relu(conv(x, K1, padding = 2)), 3, stride = 2)
        s = global_max(conv(h1, K2))"""),
}


def build(name: str) -> Callable[[], System]:
    shape, body = TEXTS[name]
    foot = "loss = cross_entropy(softmax(s), y)\noutput s\n"
    lines = [line.strip() for line in body.strip().splitlines()]

    def system() -> System:
        return cr.parse(HEAD.format(name=name, shape=shape) + "\n".join(lines) + "\n" + foot).system
    system.__name__ = name
    return system


IMAGES = [build(name) for name in TEXTS]
