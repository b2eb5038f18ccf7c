"""A logistic regression that keeps the contract of a generated module, for tests of the trainer alone."""

import numpy as np
import pytest
from chainrule.compiler.graph import Input, matmul
from chainrule.compiler.graph import Param as ParamNode
from chainrule.compiler.node import class_of
from chainrule.compiler.sizes import symbol
from chainrule.compiler.system import Data, Initialiser, Parameter, System


class Logistic:
    """s = W x + b with input dropout 0.1 and momentum; `blow` makes the loss of a step infinite."""

    def __init__(self, features=64, classes=10, dtype=np.float32):
        self.features, self.classes, self.dtype = features, classes, dtype
        self.steps, self.blow, self.on_step = 0, None, None

    def Workspace(self):
        return {}

    def init(self, seed=0):
        rng = np.random.default_rng(seed)
        return {"W": (0.1 * rng.standard_normal((self.classes, self.features))).astype(self.dtype),
                "b": np.zeros(self.classes, self.dtype)}

    def init_state(self, params, seed=0):
        moments = {f"m.{k}": np.zeros_like(v) for k, v in params.items()}
        return {**moments, "step": np.array(0), "seed": np.array(seed), "lr": np.array(0.1)}

    def _forward(self, params, x, y):
        s = x @ params["W"].T + params["b"]
        s = s - s.max(1, keepdims=True)
        p = np.exp(s) / np.exp(s).sum(1, keepdims=True)
        return p, -np.log(p[np.arange(len(y)), y] + 1e-30)

    def predict(self, params, x):
        return {"p": self._forward(params, x, np.zeros(len(x), int))[0]}

    def evaluate(self, params, x, y):
        p, loss = self._forward(params, x, y)
        return {"loss": (loss.sum(), len(y)), "error": ((p.argmax(1) != y).sum(), len(y)), "penalty": 0.0}

    def loss_and_grads(self, params, *, workspace=None, seed=0, x, y):
        seed, step = seed if isinstance(seed, tuple) else (seed, 0)
        x = x * (np.random.default_rng([seed, step]).random(x.shape) > 0.1)
        p, loss = self._forward(params, x, y)
        d = p - np.eye(self.classes)[y]
        return loss.mean(), {"W": (d.T @ x / len(y)).astype(self.dtype), "b": d.mean(0).astype(self.dtype)}

    def train_step(self, params, state, *, workspace=None, x, y):
        self.steps += 1
        if self.on_step:
            self.on_step(self.steps)
        loss, grads = self.loss_and_grads(params, seed=(int(state["seed"]), int(state["step"])), x=x, y=y)
        if self.blow == int(state["step"]):
            loss, grads["W"] = float("inf"), np.full_like(grads["W"], np.nan)
        for name, g in grads.items():
            m = state[f"m.{name}"]
            m *= self.dtype(0.9)
            m -= (state["lr"] * g).astype(self.dtype)
            params[name] += m
        state["step"] += 1
        return loss


def system_for(source, columns=(), split=(), options=(), features="D", classes=10, sequence=False, **sizes):
    """A system whose inputs are x[D] and y, a class (or x[t] and y[t], classes), with a data line."""
    sizes = {"D": 64, "C": classes, **sizes}
    c = symbol("C")
    if sequence:
        x, y = (Input(n, ("t", "batch"), (), class_of(c)) for n in "xy")
    else:
        x = Input("x", ("batch",), (symbol(features),) if features else ())
        y = Input("y", ("batch",), (), class_of(c))
    system = System("model", sizes, {"x": x, "y": y}, ("y",), data=Data(source, tuple(options), tuple(columns), tuple(split)))
    if not sequence and features:
        w = ParamNode("W", (c, symbol(features)))
        system.params["W"] = Parameter(w, Initialiser("normal", (0.1,)))
        system.equation("p", matmul(w, x))
        system.outputs = ("p",)
    return system


@pytest.fixture
def logistic():
    return Logistic


@pytest.fixture
def make_system():
    return system_for


@pytest.fixture(scope="session")
def blobs():
    """Three clouds of points: {part: {x: (n, 4), y}}."""
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((3, 4)) * 2

    def part(n):
        y = rng.integers(0, 3, n)
        return {"x": (centres[y] + rng.standard_normal((n, 4))).astype(np.float32), "y": y}
    return {"train": part(103), "validation": part(40), "test": part(30)}
