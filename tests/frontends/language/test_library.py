"""Every function and fragment of the library: it elaborates, computes what its comment says, and has the right gradient."""

import math

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler.check import check_gradients
from chainrule.compiler.derivatives import grad
from chainrule.compiler.interpret import evaluate
from chainrule.frontends.language import libraries, parse
from chainrule.frontends.language.printing import to_text
from chainrule.frontends.library.names import layers
from zoo.build import LENGTHS, values
from zoo.library import COMPILED, FRAGMENTS, text

DEFS = {"clip": "clip(x, -1, 1)", "prelu": "prelu(x, a)", "masking_noise": "masking_noise(x, a)"}
SECOND = ("elman2", "irnn", "lstm", "lstm_layer_norm", "gru_after", "bidirectional", "attention_additive", "attention_heads",
          "depthwise_separable", "residual_conv_projection", "conv_causal")


def is_fragment(name: str) -> bool:
    return "fragment " + name in libraries.names()[name][1]


def batch_first(system, at):
    return {k: np.swapaxes(at[k], 0, 1) if len(i.axes) > 1 else at[k] for k, i in system.inputs.items()}


def test_the_catalogue_leaves_nothing_out() -> None:
    assert {n for n in libraries.names() if is_fragment(n)} == {*FRAGMENTS}


@pytest.mark.parametrize("name", [n for n in libraries.names() if not is_fragment(n)])
def test_functions_elaborate(name: str) -> None:
    head = "model m(D = 6)\ninput x[D]\nparam a = 0.25\n"
    assert "q" in parse(f"{head}q = {DEFS.get(name, f'{name}(x)')}\n").equations


@pytest.mark.parametrize("name", FRAGMENTS)
def test_fragments_print_as_text_that_is_the_same_system(name: str) -> None:
    system = parse(text(name))
    again = parse(to_text(system))
    assert {k: p.init for k, p in again.params.items()} == {k: p.init for k, p in system.params.items()}
    assert [*again.equations] == [*system.equations]
    assert all(again.equations[k] is e for k, e in system.equations.items())


@pytest.mark.parametrize("name", FRAGMENTS)
def test_gradients(name: str) -> None:
    """Derived gradients against central differences; of second order where a fragment has something that others have not."""
    system = parse(text(name))
    check_gradients(system, values(system), lengths=LENGTHS, order=2 if name in SECOND else 1).require()


@pytest.mark.parametrize(("name", "level"), [*((n, 1) for n in COMPILED), *((n, 0) for n in SECOND if n in COMPILED)])
def test_modules_agree_with_the_interpreter(name: str, level: int) -> None:
    system = parse(text(name))
    at = values(system)
    params = {k: at[k].copy() for k in (*system.params, *system.stats)}
    extended, grads = grad(system, system.objective(), [p.node for p in system.params.values()])
    expected = evaluate(extended, [system.objective(), *grads], at, LENGTHS, seed=1, step=2)
    module = Program(system, "float64", level).module
    loss, found = module.loss_and_grads(params, **batch_first(system, at), seed=(1, 2))
    assert np.isclose(float(loss), float(expected[0]), rtol=1e-12)
    for k, e in zip(system.params, expected[1:], strict=True):
        np.testing.assert_allclose(found[k], e, rtol=1e-9, atol=1e-12, err_msg=k)


X = np.linspace(-3, 3, 12).reshape(2, 6)
ERF = np.vectorize(math.erf)
SIGMOID = 1 / (1 + np.exp(-X))
FORMULAS = {
    "hard_tanh": np.clip(X, -1, 1), "leaky_relu": np.where(X > 0, X, 0.01 * X), "swish": X * SIGMOID, "silu": X * SIGMOID,
    "elu": np.where(X > 0, X, np.exp(X) - 1), "selu": 1.0507009873554805 * np.where(X > 0, X,
                                                                                    1.6732632423543772 * (np.exp(X) - 1)),
    "gelu": X * (1 + ERF(X / math.sqrt(2))) / 2, "mish": X * np.tanh(np.log(1 + np.exp(X))), "softsign": X / (1 + abs(X)),
    "log_sigmoid": np.log(SIGMOID), "threshold": (X > 0) * 1.0, "relu6": np.clip(X, 0, 6),
    "gelu_tanh": X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3))) / 2}


@pytest.mark.parametrize("name", list(FORMULAS))
def test_activations_compute_their_formulas(name: str) -> None:
    system = parse(f"model m(D = 6)\ninput x[D]\nq = {name}(x)\n")
    (found,) = evaluate(system, [system.equations["q"]], {"x": X})
    np.testing.assert_allclose(found, FORMULAS[name], rtol=1e-12, atol=1e-15)


def test_layers_of_a_deep_module_find_their_places() -> None:
    saved = {"rnn.weight_ih_l0": 1, "rnn.bias_hh_l1_reverse": 2, "out.weight": 3}
    assert layers(saved, {"rnn": ("a", "b.1")}) == {"a.weight_ih_l0": 1, "b.1.bias_hh_l0_reverse": 2, "out.weight": 3}
    with pytest.raises(ValueError, match="rnn has 2 layers in the file, and 1 places are named for it: a"):
        layers(saved, {"rnn": ("a",)})
