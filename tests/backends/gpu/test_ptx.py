"""The interpreter of PTX: numbers that go a rare way, registers that nobody sets, instructions that it does not know."""

import numpy as np
import pytest
from gpu import nvrtc, ptx

pytestmark = pytest.mark.skipif(nvrtc.compiler() is None, reason=nvrtc.MISSING)
HEAD = 'extern "C" __global__ void k(const double *__restrict__ x, double *__restrict__ y, int n)\n{\n    int i = threadIdx.x;\n'
X = np.array([1e22, -3.7e19, 2.0**53, 0.3, 1e5, 0.49999997, -0.5, 7.25])


def kernel(body):
    return ptx.kernels(nvrtc.compiler().compile(f"{HEAD}    {body}\n}}", "compute_90", "-lineinfo").ptx)["k"]


def run(body, n=0):
    y = np.zeros_like(X)
    ptx.launch(kernel(body), (1,), (len(X),), (X, y, np.int32(n)))
    return y


def test_sums_of_many_bits():
    """The sine of a large number takes products of 192 bits, by carries; its registers hide others of the same name."""
    np.testing.assert_allclose(run("y[i] = sin(x[i]);"), np.sin(X), 1e-12)


def test_rounding_towards_zero():
    """A half is added so, that what lies just below a half becomes no one."""
    half = run("y[i] = roundf((float)x[i]);")
    assert half[3:].tolist() == [0, 1e5, 0, -1, 7]


def test_integers():
    x = X[3:].astype(np.int64)
    assert run("y[i] = (long long)x[i] / -7 + __clzll((long long)x[i]) + (int)__umulhi((unsigned)x[i], 1u << 31);")[3:].tolist() \
        == [int(v / -7) + 64 - int(v).bit_length() + ((int(v) & 0xFFFFFFFF) >> 1) for v in x]


def test_fields_of_bits():
    """A field of 12 bits from bit 30 on; and one that begins so high that its end is lost."""
    x = [int(v) & (1 << 64) - 1 for v in X[3:].astype(np.int64)]
    for start, length in ((30, 12), (40, 63)):
        asm = f'asm("bfi.b64 %0, %1, %2, {start}, {length};" : "=l"(r) : "l"(a), "l"(-1ll - a));'
        found = run(f"const long long a = (long long)x[i]; long long r; {asm} y[i] = (double)(r >> 8);")
        mask = ((1 << length) - 1 << start) & (1 << 64) - 1
        wanted = [(v ^ (1 << 64) - 1) & ~mask | v << start & mask for v in x]
        assert found[3:].tolist() == [float((v - (v >> 63 << 64)) >> 8) for v in wanted]


UNSET = {                                                        # name -> a body, the same with all set
    "a sum that begins nowhere": ("double s; for (int j = 0; j < n; j++) s += x[j]; y[i] = s;", "double s;", "double s = 0;"),
    "a branch that leaves it": ("double s; if (n > 3) s = x[i]; y[i] = n > 2 ? s : 1;", "double s;", "double s = 0;"),
}


@pytest.mark.parametrize("name", UNSET)
def test_a_register_that_nobody_sets(name):
    """Refused before anything runs, also where no thread comes by."""
    body, old, new = UNSET[name]
    assert ptx.unset(kernel(body.replace(old, new))) == []
    with pytest.raises(ptx.Fault, match="is read, and on a path to here nothing has set it"):
        run(body)


@pytest.mark.parametrize(("body", "says"), [
    ("asm volatile(\"add.rp.f64 %0, %1, %2;\" : \"=d\"(y[i]) : \"d\"(x[i]), \"d\"(x[0]));", "add.rp.f64"),
    ("asm volatile(\"prefetch.global.L2 [%0];\" :: \"l\"(x + i));", "prefetch"),
    ("if (n > 5) y[i] = __brev(n);", "brev")])
def test_what_it_does_not_know(body, says):
    """Whole instructions, and qualifiers that change what they do."""
    with pytest.raises(ptx.Fault, match=f"does not know `{says}"):
        run(body)


def test_a_fence_of_the_block_orders_no_blocks():
    text = 'extern "C" __global__ void k(int *x) { x[threadIdx.x] = 1; __threadfence_block(); }'
    assert not ptx.kernels(nvrtc.compiler().compile(text, "compute_90").ptx)["k"].fenced
    assert ptx.kernels(nvrtc.compiler().compile(text.replace("_block", ""), "compute_90").ptx)["k"].fenced
