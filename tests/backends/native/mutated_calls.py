"""A program of its own: thousands of calls of compiled models with wrong arguments. Each works, or says why not in a line.

Good calls between them give what they gave at first: nothing was written elsewhere. An argument n takes every n-th mutation.
"""

import faulthandler
import sys
from itertools import islice

import chainrule as cr
import numpy as np
from zoo.trained_energies import PCD, RBM

CHARS = """model chars(V = 5, H = 4)
input x[t] : class(V)
target y[t] : class(V)
param Wx[H, V], Wh[H, H], Wy[V, H] ~ normal(0.5)
param bh[H], by[V] = 0
h[t] = tanh(Wx @ onehot(x[t]) + Wh @ h[t-1] + bh)   where h[-1] = 0
s[t] = Wy @ h[t] + by
loss = mean[batch, t] -log(softmax(s[t])) @ onehot(y[t])
output s
train adam(lr = 0.01), clip_norm = 1
"""
RAGGED = CHARS.replace("target y[t] : class(V)\n", "target y[t] : class(V)\nlengths t\n").replace("model chars", "model ragged")
NET = """model net(D = 4, H = 6)
input x[D]
target y[H]
param W[H, D] ~ normal(0.5);  b[H] = 0.1;  s = 0.7
q = s * (W @ x) + b
loss = squares(q, y)
output q
train adagrad(lr = 0.1)
"""
ALLOWED = (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError)


def read_only(a):
    b = a.copy()
    b.flags.writeable = False
    return b


def misaligned(a):
    raw = bytearray(a.nbytes + 1)
    b = np.frombuffer(raw, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    b[...] = a
    return b


def kind(dtype):
    return lambda a: a.astype(dtype)


def along(change):
    """A change of the first axis, where there is one."""
    return lambda a: change(a) if a.ndim else a


MUTATIONS = {
    "None": lambda a: None, "a list": lambda a: a.tolist(), "text": lambda a: "x", "a number": lambda a: 3,
    "nothing": lambda a: [], "float16": kind(np.float16), "float32": kind(np.float32), "float64": kind(float),
    "longdouble": kind(np.longdouble), "complex": kind(complex), "objects": kind(object), "truth values": kind(bool),
    "int8": kind(np.int8), "int32": kind(np.int32), "uint64": kind(np.uint64), "strings": kind(str),
    "other bytes": lambda a: a.astype(a.dtype.newbyteorder()), "Fortran": np.asfortranarray,
    "a view": along(lambda a: np.repeat(a, 2, axis=0)[::2]), "backwards": along(lambda a: a[::-1].copy()[::-1]),
    "repeats": along(lambda a: np.broadcast_to(a[:1], a.shape)), "read-only": read_only, "misaligned": misaligned,
    "one dim more": lambda a: a[None], "one less": along(lambda a: a[0]), "turned": lambda a: a.T,
    "shorter": along(lambda a: a[:-1]), "longer": along(lambda a: np.concatenate([a, a])), "empty": along(lambda a: a[:0]),
    "no columns": along(lambda a: a[..., :0]), "flat": lambda a: a.reshape(-1),
    "large": lambda a: a + np.array(2**40).astype(a.dtype), "negative": lambda a: -a - 1, "NaN": lambda a: a * np.nan,
    "infinite": lambda a: a + np.inf, "smallest": lambda a: np.full(a.shape, np.iinfo(np.int64).min),
    "masked": np.ma.masked_array, "a scalar array": lambda a: np.array(1, a.dtype),
    "a matrix": lambda a: a.reshape(1, -1).view(np.matrix),
}
SEEDS = (None, "x", 1.5, 2**70, -1, (1, 2, 3), (1,), [], np.array([1, 2]), {}, np.nan)


class Model:
    """A compiled model with good arguments, and what they give."""

    def __init__(self, text, dtype):
        self.program = cr.compile(cr.parse(text), backend="native", dtype=dtype)
        self.dtype, rng = dtype, np.random.default_rng(0)
        self.params = self.program.init(seed=1)
        self.state = self.program.init_state(self.params)
        system = self.program.system
        self.inputs = {}
        for k, node in system.inputs.items():
            shape = (3, *(4 for a in node.axes[:-1]), *(s.evaluate(system.sizes) for s in node.shape))
            whole = node.type.kind == "class" or k.startswith("lengths")
            self.inputs[k] = rng.integers(1, 5, shape) if whole else (rng.random(shape) < 0.5).astype(float)
        if system.energy is not None:
            self.inputs = {"v": self.inputs["v"]}
            self.calls = {"train_step": self.train, "gibbs": lambda p, s, i: self.program.gibbs(p, 2, seed=3, **i),
                          "free_energy": lambda p, s, i: self.program.free_energy(p, **i)}
        else:
            some = {k for k in self.inputs if k != "y"}
            self.calls = {"train_step": self.train, "loss_and_grads": lambda p, s, i: self.program.loss_and_grads(p, **i),
                          "evaluate": lambda p, s, i: self.program.evaluate(p, **i),
                          "predict": lambda p, s, i: self.program.predict(p, **{k: v for k, v in i.items() if k in some})}
        self.first = self.good()

    def train(self, params, state, inputs):
        return self.program.train_step(params, state, **inputs)

    def copies(self):
        return {k: v.copy() for k, v in self.params.items()}, {k: np.array(v) for k, v in self.state.items()}

    def good(self):
        """What a good call of each function gives, as bytes."""
        out = []
        for call in self.calls.values():
            params, state = self.copies()
            out += [np.asarray(x).tobytes() for x in leaves([call(params, state, self.inputs), params, state])]
        return out

    def mutated(self):
        """(what was done, params, state, inputs) with one thing wrong."""
        for group in ("params", "state", "inputs"):
            for key in getattr(self, group):
                for word, change in MUTATIONS.items():
                    given = {"params": self.copies()[0], "state": self.copies()[1], "inputs": dict(self.inputs)}
                    try:
                        with np.errstate(all="ignore"):
                            given[group][key] = change(np.asarray(given[group][key]))
                    except (TypeError, ValueError, OverflowError, IndexError):
                        continue                                 # there is no such array
                    yield f"{group}[{key!r}]: {word}", *given.values()
                given = {"params": self.copies()[0], "state": self.copies()[1], "inputs": dict(self.inputs)}
                del given[group][key]
                yield f"{group} without {key!r}", *given.values()
        for word, wrong in (("None", None), ("a list", [1]), ("text", "x")):
            yield f"params: {word}", wrong, self.copies()[1], self.inputs
            yield f"state: {word}", self.copies()[0], wrong, self.inputs
        for seed in SEEDS:
            yield f"seed {seed!r}", self.copies()[0], {**self.copies()[1], "seed": seed}, self.inputs


def leaves(x):
    """The arrays and numbers in nested containers."""
    if isinstance(x, dict):
        x = list(x.values())
    return [y for e in x for y in leaves(e)] if isinstance(x, (list, tuple)) else [x]


def main():
    """Print a line for each call that behaves as it must not, and the number of calls."""
    faulthandler.enable()
    count = refused = 0
    some = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    for text, dtype in ((CHARS, "float64"), (RAGGED, "float32"), (NET, "float32"), (RBM.format(PCD.format(2, 0.1)), "float64")):
        m = Model(text, dtype)
        for word, *given in islice(m.mutated(), 0, None, some):
            for name, call in m.calls.items():
                count += 1
                try:
                    with np.errstate(all="ignore"):
                        call(*given)
                except ALLOWED as e:
                    refused += 1
                    if "\n" in str(e) or not str(e):
                        print(f"{m.program.system.name}.{name}, {word}: not one sentence: {e!r}")
                except Exception as e:
                    print(f"{m.program.system.name}.{name}, {word}: {e!r}")
            if count % 64 == 0 and m.good() != m.first:
                print(f"{m.program.system.name}, {word}: a good call gives other numbers now")
                m.first = m.good()
        if m.good() != m.first:
            print(f"{m.program.system.name}: a good call gives other numbers now")
    print(f"{count} calls, {refused} refused")


if __name__ == "__main__":
    main()
