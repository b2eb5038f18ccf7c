"""Recurrent layers against PyTorch's, in float64, with weights loaded from its state dict: outputs and every gradient."""

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.frontends.language import parse
from chainrule.frontends.library.names import layers

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

D, H, B, T = 3, 4, 5, 7
HEAD = f"model m(D = {D}, H = {H}, L = 2)\ninput x[t, D]\ntarget y[t, {{size}}]\n"
LOSS = "loss = mean[t] squares(q[t], y[t])\noutput q\n"


def compiled(lines, size="H"):
    return Program(parse(HEAD.format(size=size) + lines + LOSS), "float64").module


def reference(module, prefix, x, y):
    """Outputs, loss and gradients by autograd, named as in a state dict in which the module is called `prefix`."""
    out, _ = module(torch.from_numpy(x))
    loss = (out - torch.from_numpy(y)).square().sum(-1).mean() / 2
    loss.backward()
    return out.detach().numpy(), loss.item(), {f"{prefix}.{k}": p.grad.numpy() for k, p in module.named_parameters()}


def state(module, prefix):
    return {f"{prefix}.{k}": v.detach().numpy().copy() for k, v in module.state_dict().items()}


def agree(module, ours, prefix, rename=None, size=H):
    """The generated module, given the state dict, computes what PyTorch computes."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((B, T, D)), rng.standard_normal((B, T, size))
    out, loss, grads = reference(module, prefix, x, y)
    params = state(module, prefix)
    if rename:
        params, grads = layers(params, rename), layers(grads, rename)
    assert {*params} == {*ours.init()}
    np.testing.assert_allclose(ours.predict(params, x=x)["q"], out, rtol=0, atol=1e-12)
    found_loss, found = ours.loss_and_grads(params, x=x, y=y)
    assert float(found_loss) == pytest.approx(loss, rel=1e-12)
    for k, g in grads.items():
        np.testing.assert_allclose(found[k], g, rtol=1e-9, atol=1e-12, err_msg=k)


def made(kind, **options):
    torch.manual_seed(0)
    return getattr(torch.nn, kind)(D, H, batch_first=True, dtype=torch.float64, **options)


@pytest.mark.parametrize(("kind", "fragment"), [("RNN", "rnn_torch"), ("LSTM", "lstm_torch"), ("GRU", "gru_torch")])
def test_one_layer_loads_by_name(kind, fragment):
    agree(made(kind), compiled(f"q[t] = {fragment}(x[t], H)\n"), "q")


@pytest.mark.parametrize(("kind", "fragment"), [("LSTM", "lstm_torch"), ("GRU", "gru_torch")])
def test_both_directions_load_by_name(kind, fragment):
    ours = compiled(f"q[t] = {fragment}_bidirectional(x[t], H)\n", "2*H")
    agree(made(kind, bidirectional=True), ours, "q", size=2 * H)


@pytest.mark.parametrize("fragment", ["lstm_torch", "gru_torch"])
def test_two_layers(fragment):
    """Layers of one module of PyTorch are calls of their own here; a table says which."""
    ours = compiled(f"h1[t] = {fragment}(x[t], H)\nq[t] = {fragment}(h1[t], H)\n")
    agree(made(fragment.split("_")[0].upper(), num_layers=2), ours, "rnn", {"rnn": ("h1", "q")})


@pytest.mark.parametrize("fragment", ["lstm_torch_bidirectional", "gru_torch_bidirectional"])
def test_two_layers_of_both_directions(fragment):
    """The same with a repeat."""
    ours = compiled(f"q[t] = stacked(x[t], H, L, {fragment})\n", "2*H")
    module = made(fragment.split("_")[0].upper(), num_layers=2, bidirectional=True)
    agree(module, ours, "rnn", {"rnn": ("q.h.1", "q.h.2")}, size=2 * H)


def test_keras_lstm_is_the_same_cell_with_its_own_layout():
    """Kernels from the left and one bias: PyTorch's weights transposed, its gates i, f, g, o being Keras' i, f, c, o."""
    module = made("LSTM")
    given = state(module, "q")
    params = {"q.kernel": given["q.weight_ih_l0"].T.copy(), "q.recurrent_kernel": given["q.weight_hh_l0"].T.copy(),
              "q.bias": given["q.bias_ih_l0"] + given["q.bias_hh_l0"]}
    x = np.random.default_rng(0).standard_normal((B, T, D))
    expected = module(torch.from_numpy(x))[0].detach().numpy()
    np.testing.assert_allclose(compiled("q[t] = lstm_keras(x[t], H)\n").predict(params, x=x)["q"], expected, rtol=0, atol=1e-12)


def test_keras_gru_is_the_same_cell_with_its_own_layout():
    """Gates z, r, h in place of r, z, n; the two rows of bias are PyTorch's two biases."""
    module = made("GRU")
    given = state(module, "q")

    def turned(a):
        r, z, n = np.split(a, 3)
        return np.concatenate([z, r, n])
    params = {"q.kernel": turned(given["q.weight_ih_l0"]).T.copy(),
              "q.recurrent_kernel": turned(given["q.weight_hh_l0"]).T.copy(),
              "q.bias": np.stack([turned(given["q.bias_ih_l0"]), turned(given["q.bias_hh_l0"])])}
    x = np.random.default_rng(0).standard_normal((B, T, D))
    expected = module(torch.from_numpy(x))[0].detach().numpy()
    np.testing.assert_allclose(compiled("q[t] = gru_keras(x[t], H)\n").predict(params, x=x)["q"], expected, rtol=0, atol=1e-12)
