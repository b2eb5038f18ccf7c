"""Small energy models, each with its energy once more in plain NumPy, for brute-force sums."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from chainrule.compiler.graph import BATCH, Contract, Input, Param, Slice, Transpose, apply, size, symbol, total
from chainrule.compiler.system import Parameter, System
from chainrule.compiler.units import Energy, Units

SIZES = {"D": 3, "H": 2, "C": 3, "G": 2}
D, H, C, G = map(symbol, SIZES)
W, b, c, s = Param("W", (H, D)), Param("b", (D,)), Param("c", (H,)), Param("s", (D,))


@dataclass
class Case:
    """A system, and E(v, h, params) in NumPy; `v` and `h` have a first axis of configurations."""

    system: System
    energy: object
    step: float = 0.0                                    # of the grid that a Gaussian side is integrated on

    @property
    def params(self):
        rng = np.random.default_rng(7)
        shapes = {k: [n.evaluate(self.system.sizes) for n in p.node.shape] for k, p in self.system.params.items()}
        return {k: np.linspace(0.9, 1.3, *n) if k == "s" else 0.6 * rng.standard_normal(n) for k, n in shapes.items()}

    def layer(self, visible):
        return next(u for u in self.system.energy.layers if u.visible == visible)

    def points(self, visible):
        """All values of a side, (configurations, *features), and the weight of one of them in sums."""
        u = self.layer(visible)
        shape = [n.evaluate(self.system.sizes) for n in u.node.shape]
        if u.kind == "categorical":
            hot = np.eye(shape[-1])
            return np.array([hot[list(k)] for k in product(range(shape[-1]), repeat=shape[0])]), 1.0
        values = {"binary": [0, 1], "spin": [-1, 1], "gaussian": np.arange(-11, 11.1, self.step or 1)}[u.kind]
        weight = self.step ** int(np.prod(shape)) if u.kind == "gaussian" else 1.0
        return np.array(list(product(values, repeat=int(np.prod(shape)))), float).reshape(-1, *shape), weight

    def table(self, params):
        """E of every pair, (visible, hidden)."""
        return self.pairs(self.points(True)[0], params)

    def pairs(self, v, params):
        """E of given visible values with every hidden one, (visible, hidden)."""
        h = self.points(False)[0]
        return self.energy(np.repeat(v, len(h), 0), np.tile(h, (len(v), *[1] * (h.ndim - 1))), params).reshape(len(v), len(h))

    def log_z(self, params):
        weight = self.points(True)[1] * self.points(False)[1]
        return np.log(np.exp(-self.table(params)).sum() * weight)

    def free(self, v, params):
        """F of given visible values."""
        return -np.log(self.points(False)[1] * np.exp(-self.pairs(v, params)).sum(1))


def units(name, shape, kind, visible):
    return Units(Input(name, (BATCH,), tuple(shape)), kind, visible)


def machine(energy, layers, params):
    """A system of an energy; two Gaussian visible units are enough for a grid."""
    sizes = {**SIZES, "D": 2} if layers[0].kind == "gaussian" else dict(SIZES)
    out = System("machine", sizes=sizes, inputs={u.name: u.node for u in layers},
                 params={p.name: Parameter(p) for p in params}, energy=Energy(energy, tuple(layers)))
    out.equation("E", energy)
    return out


def rbm(visible="binary", hidden="binary"):
    """E = -h @ W @ v - b @ v - c @ h; Gaussian visible units with sum((v - b)^2)/2."""
    v, h = units("v", (D,), visible, True), units("h", (H,), hidden, False)
    value = -(h.node @ W @ v.node)
    for u, bias in ((v, b), (h, c)):
        value = value + total(apply("square", u.node - bias)) / 2 if u.kind == "gaussian" else value - bias @ u.node

    def own(x, bias, kind):
        return ((x - bias) ** 2).sum(-1) / 2 if kind == "gaussian" else -(x @ bias)

    def energy(v, h, p):
        return -np.einsum("nj,ji,ni->n", h, p["W"], v) + own(v, p["b"], visible) + own(h, p["c"], hidden)

    return Case(machine(value, [v, h], [W, b, c]), energy, 0.6)


def learned_variance():
    """E = sum((v - b)^2/(2*s^2)) - h @ W @ (v/s) - c @ h."""
    v, h = units("v", (D,), "gaussian", True), units("h", (H,), "binary", False)
    value = (total(apply("square", v.node - b) / (2 * apply("square", s))) - h.node @ W @ apply("div", v.node, s) - c @ h.node)

    def energy(v, h, p):
        return (((v - p["b"]) ** 2 / (2 * p["s"] ** 2)).sum(-1) - np.einsum("nj,ji,ni->n", h, p["W"], v / p["s"]) - h @ p["c"])

    return Case(machine(value, [v, h], [W, b, c, s]), energy, 0.5)


def categorical():
    """Groups of one-hot visible units: E = -sum of h_j W_jgc v_gc, and biases."""
    w3, b2 = Param("W", (H, G, C)), Param("b", (G, C))
    v, h = units("v", (G, C), "categorical", True), units("h", (H,), "binary", False)
    value = -total(h.node * Contract(w3, v.node, (0, 1, 2), (1, 2), (0,))) - total(b2 * v.node) - c @ h.node

    def energy(v, h, p):
        return -np.einsum("nj,jgc,ngc->n", h, p["W"], v) - np.einsum("gc,ngc->n", p["b"], v) - h @ p["c"]

    return Case(machine(value, [v, h], [w3, b2, c]), energy)


def semi_restricted():
    """Neighbours among the visible units interact: J_i v_i v_{i+1}."""
    j = Param("J", (D - 1,))
    v, h = units("v", (D,), "binary", True), units("h", (H,), "binary", False)
    chain = total(j * Slice(v.node, 0, size(0), D - 1) * Slice(v.node, 0, size(1), D))
    value = -(h.node @ W @ v.node) - b @ v.node - c @ h.node - chain

    def energy(v, h, p):
        return -np.einsum("nj,ji,ni->n", h, p["W"], v) - v @ p["b"] - h @ p["c"] - (v[:, :-1] * v[:, 1:]) @ p["J"]

    return Case(machine(value, [v, h], [W, b, c, j]), energy)


def coupled(kind="binary"):
    """All visible units interact: E has v @ L @ v, whose diagonal weighs v^2 = v."""
    lateral = Param("L", (D, D))
    v, h = units("v", (D,), kind, True), units("h", (H,), kind, False)
    value = -(h.node @ W @ v.node) - b @ v.node - c @ h.node - v.node @ lateral @ v.node

    def energy(v, h, p):
        return -np.einsum("nj,ji,ni->n", h, p["W"], v) - v @ p["b"] - h @ p["c"] - np.einsum("ni,ij,nj->n", v, p["L"], v)

    return Case(machine(value, [v, h], [W, b, c, lateral]), energy)


def symmetric_view():
    """The same energy written otherwise: sum((W @ v + c) * h), a transpose, a difference that cancels."""
    v, h = units("v", (D,), "binary", True), units("h", (H,), "binary", False)
    noise = total(apply("square", Transpose(W) @ h.node))
    value = -total((W @ v.node + c) * h.node) - noise - b @ v.node + total(apply("square", Transpose(W) @ h.node))
    return Case(machine(value, [v, h], [W, b, c]), rbm().energy)


CASES = {"binary": rbm, "spin": lambda: rbm("spin", "spin"), "spin-binary": lambda: rbm("spin", "binary"),
         "gaussian": lambda: rbm("gaussian", "binary"), "binary-gaussian": lambda: rbm("binary", "gaussian"),
         "learned variance": learned_variance, "categorical": categorical, "semi-restricted": semi_restricted,
         "coupled": coupled, "coupled spins": lambda: coupled("spin"), "rewritten": symmetric_view}
