"""The examples with images: parsed, printed and read back, their gradients against differences by the interpreter."""

from pathlib import Path

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.check import check_gradients
from chainrule.frontends.language import load, parse
from chainrule.frontends.language.printing import to_text

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = ("cnn_sentences", "conv_autoencoder", "lenet5", "lenet5_relu", "mnist_cnn_dropout", "resnet_small", "vgg_small")
MODELS = {name: EXAMPLES / name / "model.nn" for name in NAMES}
SMALL = {"M": 2, "N": 3, "H": 4, "F": 3, "C": 3}
SIZES = {"cnn_sentences": {"V": 7, "N": 6, "E": 3, "H": 2}}


def small(name):
    head = next(line for line in MODELS[name].read_text(encoding="utf-8").splitlines() if line.startswith("model "))
    return load(MODELS[name], SIZES.get(name) or {k: v for k, v in SMALL.items() if f"{k} = " in head})


def values(system):
    rng = np.random.default_rng(0)

    def shape(node):
        return tuple(n.evaluate({"B": 2, **system.sizes}) for n in node.dims)

    out = {k: rng.normal(0, 0.5, shape(p.node)) for k, p in system.params.items()}
    out |= {k: rng.uniform(0.5, 1, shape(s.node)) for k, s in system.stats.items()}
    for k, i in system.inputs.items():
        out[k] = rng.uniform(0.1, 0.9, shape(i)) if i.type.kind != "class" else rng.integers(0, 2, shape(i))
    return out


@pytest.mark.parametrize("name", sorted(MODELS))
def test_text_and_back(name):
    system = load(MODELS[name])
    again = parse(to_text(system))
    assert all(again.equations[k] is e for k, e in system.equations.items())
    assert (again.params, again.training, again.data) == (system.params, system.training, system.data)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_gradients(name):
    system = small(name)
    check_gradients(system, values(system), order=1).require()


def test_words_of_a_sentence_are_looked_up():
    """No one-hot vectors: rows of the table, in the order in which windows read them, and rows added up by word."""
    source = Program(load(MODELS["cnn_sentences"])).source
    assert 'np.take(L, w, axis=0, out=e, mode="clip")' in source and "scatter(d_e, w, out=d_L)" in source
    assert "onehot_w" not in source


def test_second_order():
    system = small("lenet5")
    check_gradients(system, values(system), order=2).require()
