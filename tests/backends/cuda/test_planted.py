"""Mistakes that the checks must find: in kernels on the CPU, and in modules on the stand-in."""

import numpy as np
import on_cpu
import pytest
import standin
from chainrule.backends.cuda.prelude import PRELUDE

HEAD = 'extern "C" __global__ void __launch_bounds__(64) '
BARRIER = HEAD + """lost(const float *x, float *y)
{
    __shared__ float held[64];
    held[threadIdx.x] = x[threadIdx.x];
    %s
    y[threadIdx.x] = held[63 - threadIdx.x];
}
"""
DIVERGED = HEAD + """diverged(const float *x, float *y)
{
    if (threadIdx.x < 32) __syncthreads();
    y[threadIdx.x] = x[threadIdx.x];
}
"""
LEADER = PRELUDE + HEAD + """leader(const float *x, float *y)
{
    if (threadIdx.x == 0) y[0] = by_warp<Sum>(x[0]);
}
"""
BEYOND = HEAD + """beyond(const float *x, float *y)
{
    __shared__ float held[64];
    held[threadIdx.x + 1] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = held[threadIdx.x];
}
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """kernel(text, name): compiled for the CPU."""
    if on_cpu.compiler() is None:
        pytest.skip("needs g++")
    folder = tmp_path_factory.mktemp("planted")
    return lambda text, name, checked=False: on_cpu.Module(text, folder, checked).get_function(name)


ORDERS = (on_cpu.FORWARD, on_cpu.BACKWARD, on_cpu.SHUFFLED)
WRONG = [(DIVERGED, "diverged", "exited|deadlock"), (LEADER, "leader", "deadlock|not active"), (BEYOND, "beyond", "undefined")]


def run(f, order=on_cpu.FORWARD):
    x, y = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    f.order = order
    f((1,), (64,), [x, y])
    return np.array_equal(y, x[::-1])


def test_a_missing_barrier_shows_in_some_order(kernel):
    assert not all(run(kernel(BARRIER % "", "lost"), order) for order in ORDERS)
    assert all(run(kernel(BARRIER % "__syncthreads();", "lost"), order) for order in ORDERS)


@pytest.mark.parametrize(("text", "name", "said"), WRONG)
def test_what_threads_must_not_do(kernel, text, name, said):
    with pytest.raises(on_cpu.KernelError, match=said):
        run(kernel(text, name, checked=True))


def test_arguments_of_the_wrong_type(kernel):
    f = kernel(BARRIER % "", "lost")
    for wrong in (np.zeros(64), np.zeros((64, 2), np.float32)[:, 0], 1.0):
        with pytest.raises(on_cpu.KernelError, match="parameter 1"):
            f((1,), (64,), [np.zeros(64, np.float32), wrong])


def test_what_a_module_must_not_do():
    a = standin.empty((4, 3), np.float32)
    assert np.isnan(a.get()).all()
    with pytest.raises(standin.Refused, match="float64"):
        standin.zeros((3,))
    with pytest.raises(standin.Refused, match="copies"):
        a.transpose(1, 0).reshape(12)
    with pytest.raises(TypeError, match="implicit conversion"):
        np.tanh(a)
    with standin.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        for work in (lambda: standin.empty(3, np.float32), a.get, a.copy, lambda: float(a[0, 0])):
            with pytest.raises(standin.Refused, match="captures"):
                work()
        stream.end_capture()
