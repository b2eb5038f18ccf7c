"""Kernels on the CPU: barriers, shuffles, votes, atomics, memory of the launch's size, blocks that wait for others."""

import numpy as np
import pytest
from gpu import grid, host

pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
TEXT = r"""
extern "C" __global__ void k_total(const float *x, float *y, int n)
{
    extern __shared__ float parts[];
    float total = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) total += x[i];
    parts[threadIdx.x] = total;
    __syncthreads();
    for (int half = blockDim.x / 2; half; half /= 2) {
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) y[blockIdx.x] = parts[0];
}
extern "C" __global__ void k_lanes(const int *x, int *y, unsigned *votes)
{
    const int t = threadIdx.x, v = x[t];
    y[t] = __shfl_sync(0xffffffffu, v, 5);
    y[t + 64] = __shfl_up_sync(0xffffffffu, v, 3);
    y[t + 128] = __shfl_down_sync(0xffffffffu, v, 2, 16);
    y[t + 192] = __shfl_xor_sync(0xffffffffu, v, 1);
    y[t + 256] = __reduce_max_sync(0xffffffffu, v);
    const unsigned odd = __ballot_sync(0xffffffffu, v & 1);
    const int any = __any_sync(0xffffffffu, v > 60), every = __all_sync(0xffffffffu, v > 30);
    if (t % 32 == 0) { votes[3 * (t / 32)] = odd; votes[3 * (t / 32) + 1] = any; votes[3 * (t / 32) + 2] = every; }
    const int many = __syncthreads_count(v > 10);
    y[t + 320] = many;
}
extern "C" __global__ void k_index(int *y)
{
    const int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z), n = blockDim.x * blockDim.y * blockDim.z;
    y[t + n * (blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z))] += t;
}
extern "C" __global__ void k_small(const float *x, float *y) { y[0] = x[0] * x[1]; }
"""
EVERY_ORDER = pytest.mark.parametrize("order", host.ORDERS.values(), ids=host.ORDERS)


@pytest.fixture(scope="module")
def kernel():
    return host.Module(TEXT).get_function


@EVERY_ORDER
def test_a_tree_of_sums(kernel, order):
    x, y = np.arange(1000, dtype=np.float32), np.zeros(3, np.float32)
    kernel("k_total")((3,), (128,), (x, y, np.int32(1000)), shared_mem=512, order=order)
    assert (y == x.sum()).all()
    with pytest.raises(host.KernelError, match="outside its array"):
        kernel("k_total")((3,), (128,), (x, y, np.int32(1000)), shared_mem=256, order=order)


@EVERY_ORDER
def test_operations_of_a_warp(kernel, order):
    x, y, votes = np.arange(64, dtype=np.int32), np.full(384, -1, np.int32), np.zeros(6, np.uint32)
    kernel("k_lanes")((1,), (64,), (x, y, votes), order=order)
    warps = x.reshape(2, 32)
    assert (y[:64].reshape(2, 32) == warps[:, 5:6]).all()
    assert (y[64:128] == np.concatenate([[*w[:3], *w[:-3]] for w in warps])).all()
    assert (y[128:192] == np.concatenate([[*h[2:], *h[-2:]] for h in x.reshape(4, 16)])).all()
    assert (y[192:256] == (x ^ 1)).all()
    assert (y[256:320].reshape(2, 32) == warps.max(1, keepdims=True)).all()
    assert (y[320:] == 53).all()
    assert votes.tolist() == [0xAAAAAAAA, 0, 0, 0xAAAAAAAA, 1, 1]


@EVERY_ORDER
def test_every_thread_of_every_block_runs_once(kernel, order):
    y = np.zeros(60 * 24, np.int32)
    kernel("k_index")((3, 4, 5), (2, 3, 4), (y,), order=order)
    assert (y.reshape(60, 24) == np.arange(24)).all()


@EVERY_ORDER
def test_blocks_that_wait_for_each_other(order):
    """A cooperative launch: its barrier is written by hand. In a plain one the first block waits for ever."""
    kernel, args = host.Module(grid.TEXT).get_function("k"), grid.arguments()
    kernel(*grid.LAUNCH, args, order=order, cooperative=True)
    assert (args[2] == grid.WANTED).all()
    with pytest.raises(host.KernelError, match="not cooperative"):
        kernel(*grid.LAUNCH, grid.arguments(), order=order)


def test_small_numbers_are_zero(kernel):
    """As CuPy compiles: -ftz=true. NumPy's arithmetic keeps them, also afterwards."""
    x, y = np.array([1e-30, 1e-12], np.float32), np.ones(1, np.float32)
    kernel("k_small")((1,), (1,), (x, y))
    assert y[0] == 0
    assert x[0] * x[1] != 0


@pytest.mark.parametrize(("grid", "block"), [((1,), (2048,)), ((1,), (16, 16, 8)), ((1, 70000), (1,)), ((0,), (1,))])
def test_launches_that_no_device_runs(kernel, grid, block):
    with pytest.raises(host.KernelError, match=r"a (grid|block) of"):
        kernel("k_index")(grid, block, (np.zeros(1, np.int32),))


def test_a_text_that_is_not_cuda():
    with pytest.raises(host.KernelError, match="do not compile"):
        host.Module('extern "C" __global__ void k(float *x) { x[0] = missing; }')
