"""Systems written node by node, for tests: declarations in a line, and random arrays that fit them."""

from __future__ import annotations

from typing import Any

import numpy as np
from chainrule.compiler.graph import (
    BATCH,
    BOOL,
    REAL,
    Const,
    Contract,
    Expr,
    Extent,
    Input,
    OneHot,
    Param,
    Reduce,
    Ref,
    Shift,
    Size,
    Type,
    apply,
    class_of,
    length,
    product,
    symbol,
    total,
)
from chainrule.compiler.system import Average, Initialiser, Parameter, Stat, System

LENGTHS = {"B": 3, "T": 5, "S": 4}
Dim = str | int | Size


def dims(shape: tuple[Dim, ...]) -> tuple[Size | int, ...]:
    return tuple(symbol(s) if isinstance(s, str) else s for s in shape)


class Model:
    """A system under construction; sizes are given by name."""

    def __init__(self, name: str, **sizes: int) -> None:
        self.system = System(name, sizes=sizes)

    def param(self, name: str, *shape: Dim) -> Param:
        node = Param(name, dims(shape))
        self.system.params[name] = Parameter(node, Initialiser("normal", (0.5,)))
        return node

    def params(self, names: str, *shape: Dim) -> list[Param]:
        return [self.param(name, *shape) for name in names.split()]

    def input(self, name: str, *shape: Dim, time: str = "", type: Type = REAL) -> Input:
        """An input over the batch and the time axes in `time`, one letter each."""
        node = Input(name, (*time, BATCH), dims(shape), type)
        self.system.inputs[name] = node
        return node

    def classes(self, name: str, n: str, time: str = "") -> Input:
        return self.input(name, time=time, type=class_of(symbol(n)))

    def ref(self, name: str, *shape: Dim, axes: tuple[str, ...] = ("t", BATCH)) -> Expr:
        return Ref(name, axes, dims(shape))

    def eq(self, name: str, value: Expr) -> Expr:
        return self.system.equation(name, value)

    def stat(self, name: str, shape: tuple[Dim, ...], update: Any) -> Param:
        """State with the update `update(stat)`."""
        node = Param(name, dims(shape))
        self.system.stats[name] = Stat(node, Initialiser(), update(node))
        return node

    def loss(self, value: Expr, over: tuple[str, ...] | None = None) -> System:
        """The mean of `value` over all its axes."""
        over = value.axes if over is None else over
        self.system.loss = Average(Reduce("sum", value, over), Extent(product(tuple(length(a) for a in over))))
        return self.system


def delay(v: Expr, s: int, *inits: Expr, axis: str = "t") -> Expr:
    """v[t+s], with zeros beyond the ends unless said otherwise."""
    return Shift(v, axis, s, inits or (Const(0),) * abs(s))


def sigmoid(e: Expr) -> Expr:
    return apply("sigmoid", e)


def tanh(e: Expr) -> Expr:
    return apply("tanh", e)


def outer(a: Expr, b: Expr) -> Expr:
    return Contract(a, b, (0,), (1,), (0, 1))


def softmax(e: Expr, over: str | int = 0) -> Expr:
    top = Reduce("logsumexp", e, (over,))
    return apply("exp", e - (top if isinstance(over, str) else apply("add", top, 0)))


def cross_entropy(scores: Expr, y: Expr) -> Expr:
    """-log softmax(scores)[y]."""
    return Reduce("logsumexp", scores, (0,)) - total(scores * OneHot(y, scores.shape[0]))


def squares(a: Expr, b: Expr) -> Expr:
    return total(apply("square", a - b)) / 2


def values(system: System, lengths: dict[str, int] | None = None, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays for all parameters, stats and inputs. Stats are positive, so that they may be variances."""
    rng = np.random.default_rng(seed)
    env = {**LENGTHS, **(lengths or {}), **system.sizes}

    def shape(node: Expr) -> tuple[int, ...]:
        return tuple(s.evaluate(env) for s in node.dims)

    out: dict[str, Any] = {k: 0.5 * rng.standard_normal(shape(p.node)) for k, p in system.params.items()}
    out.update({k: 0.5 + rng.random(shape(s.node)) for k, s in system.stats.items()})
    for name, node in system.inputs.items():
        if node.type == REAL:
            out[name] = rng.standard_normal(shape(node))
        elif node.type == BOOL:
            out[name] = rng.random(shape(node)) < 0.7
        else:
            assert node.type.n is not None
            out[name] = rng.integers(0, node.type.n.evaluate(env), shape(node))
    return out
