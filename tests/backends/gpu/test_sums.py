"""Sums that several blocks share: how many do, and that each fence between them is needed."""

import re

import numpy as np
import pytest
from chainrule.backends.gpu import device
from chainrule.backends.gpu.columns import MOST
from chainrule.backends.gpu.program import CudaProgram
from chainrule.frontends.language import parse
from gpu import host, nvrtc, programs, ptx

pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
FENCES = ("what this block has left can be seen", "and so can what all others have")


def test_parts_have_room():
    """Parts of 256 blocks of 32 columns, for each sum of a kernel; few rows are one block's."""
    for columns in (1, 31, 32, 33, 1000, 8192, 100_000):
        for rows in (0, 1, 255, 256, 511, 512, 10**4, 10**7):
            wide, shares = device.tiles(columns, rows)
            assert wide == -(-columns // 32)
            assert shares == 1 or (wide * shares <= 256 and 32 * 8 * shares <= rows)
            assert MOST * 32 * 256 >= MOST * 32 * wide * shares or shares == 1
    assert [device.shares(n) for n in (0, 1, 4095, 4096, 10**9)] == [1, 1, 1, 2, 256]


@pytest.mark.full
@pytest.mark.parametrize("fence", FENCES)
def test_a_missing_fence_is_found(fence):
    c = programs.case("many rows")
    line = next(x for x in c.source.splitlines(keepends=True) if fence in x)
    if nvrtc.compiler() is None:
        pytest.skip(nvrtc.MISSING)
    with pytest.raises(ptx.Fault, match="it reads what another thread has written"):
        programs.interpreted(c, c.source.replace(line, ""))


@pytest.mark.parametrize(("name", "lengths", "grid"), [
    ("many rows", {}, "tiles(H, B)"), ("batch_norm", {"B": 4200}, 'new_running_var_kernel", tiles(H, B)'),
    ("moves", {"B": 3000}, "(shares(2*B, 256, 85), 3)")])
def test_each_call_gives_the_same_bits(name, lengths, grid):
    """The counters of blocks are zero again after each kernel."""
    c = programs.case(name, **lengths)
    first, second = (programs.loaded(c.source, order) for order in (host.FORWARD, host.SHUFFLED))
    found = [m.to_host(m.loss_and_grads(m.to_device(c.params), **m.to_device(c.inputs))[1]) for m in (first, first, second)]
    assert grid in c.source
    for other in found[1:]:
        assert all(np.array_equal(v, other[k]) for k, v in found[0].items())
    wanted = c.numpy.loss_and_grads(c.params, **c.inputs)[1]
    assert programs.differences(found[0], {k: np.asarray(v) for k, v in wanted.items()}, 2e-5, 1e-6) == {}


def test_what_is_computed_of_sums_alone_is_their_epilogue():
    """A mean, a variance and the running ones in the kernels of their sums, which are stored nowhere."""
    c = programs.case("batch_norm")
    text = c.source.partition("new_running_mu_kernel(")[2].partition("\n}")[0]
    assert "real sum_a = 0;" in text and "sum_a[" not in text
    assert text.endswith("""    if (threadIdx.y > 0 || i >= H) return;
    mu[i] = sum_a * (1 / (real)B);
    new_running_mu[i] = (real)0.9 * running_mu[i] + (real)0.1 * mu[i];""")


def test_products_take_their_factors_and_add_up_by_themselves():
    """cuBLAS multiplies and adds as it stores: no kernel goes over d_W again."""
    text = programs.case("tied_autoencoder").source
    assert "gemm(t2.T, x, d_W, scale=1 / B)\n    gemm(h.T, t1, d_W, add=True, scale=1 / B)\n" in text
    assert "d_W_kernel" not in text


def test_python_divides_by_no_length_that_may_be_0():
    """B - 1 is 0 for one example; T - 1 for one step, and who reads a mean over T - 1 steps refuses that."""
    model = "model d(D = 3, H = 2)\ninput x[{0}D]\nparam W[H, D] ~ normal(0.3)\n" \
        "h{1} = tanh(W @ x{1})\nr{1} = W.T @ h{1}\nloss = {2}"
    terms = "sum((r{0} - x{0})^2)"
    batch = CudaProgram(parse(model.format("", "", f"(sum[batch] {terms.format('')}) / (B - 1)"))).source
    steps = CudaProgram(parse(model.format("t, ", "[t]", f"(sum[batch, t] {terms.format('[t]')}) / (T*B - B)"))).source
    assert "scale" not in batch.partition("KERNELS")[0] and '"d_W_kernel"' in batch
    assert "add=True, scale=2*B / (B*B*T - B*B))" in re.sub(r"\s+", " ", steps) and '"d_W_kernel"' not in steps


def test_what_a_loss_adds_up_is_not_stored_where_its_columns_are_added_up_anyway():
    text = programs.case("tied_autoencoder").source.partition("_gradients: forward */")[2]
    assert "dot_r_minus_x_term[" not in text and "dot_r_minus_x_term_sums[" in text
