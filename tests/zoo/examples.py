"""The examples at sizes that an interpreter can follow, and random arrays that fit them."""

import numpy as np
from chainrule.compiler.graph import BATCH
from chainrule.compiler.system import lengths_input
from chainrule.frontends.language import load
from examples.regenerate import EXAMPLES, NAMES

SMALL = {"perceptron": {}, "sinusoid": {}, "cnn_sentences": {"V": 7, "N": 6, "E": 3, "H": 2},
         "min_char_rnn": {"V": 7, "H": 4}, "rnn_unrolled": {"V": 7, "H": 4},
         "mlp": {"D": 6, "H1": 5, "H2": 4, "C": 3},
         "autoencoder_deep": {"D": 6, "H": 5, "K": 3}, "mnist_autoencoder": {"D": 6, "H": 5, "K": 3}}
USUAL = {"D": 6, "H": 5, "C": 3, "V": 7, "S": 5, "E": 4, "F": 3, "A": 3, "N": 2, "L": 2, "W": 3}
BATCH_SIZE, TIME = 5, 4
ENERGIES = tuple(n for n in NAMES if load(EXAMPLES / n / "model.nn").energy is not None)
LOSSES = tuple(n for n in NAMES if n not in ENERGIES)


def small(name):
    """The example's system at sizes that an interpreter can follow."""
    text = (EXAMPLES / name / "model.nn").read_text(encoding="utf-8")
    head = next(line for line in text.splitlines() if line.startswith(("model ", "energy ")))
    sizes = SMALL.get(name, {k: v for k, v in USUAL.items() if f"{k} = " in head})
    return load(EXAMPLES / name / "model.nn", sizes)


def at(system, seed=0):
    """Parameters, and inputs in the order of axes of a caller (batch first) and of the graph (time first)."""
    rng = np.random.default_rng(seed)
    params = {k: rng.normal(0.0, 0.5, sizes(system, p.node.shape)) for k, p in system.params.items()}
    params.update({k: rng.uniform(0.5, 1.0, sizes(system, s.node.shape)) for k, s in system.stats.items()})
    inputs = {k: value(system, i, rng) for k, i in system.inputs.items()}
    inside = {k: np.moveaxis(inputs[k], 0, len(i.axes) - 1) if BATCH in i.axes else inputs[k] for k, i in system.inputs.items()}
    return params, inputs, inside


def sizes(system, shape):
    return tuple(s.evaluate(system.sizes) for s in shape)


def value(system, node, rng):
    shape = (BATCH_SIZE, *(TIME for a in node.axes if a != BATCH), *sizes(system, node.shape))
    if node in [lengths_input(a) for a in system.lengths]:
        return rng.integers(1, TIME + 1, shape)
    if node.type.kind == "class":
        return rng.integers(0, node.type.n.evaluate(system.sizes), shape)
    return rng.uniform(0.1, 0.9, shape)
