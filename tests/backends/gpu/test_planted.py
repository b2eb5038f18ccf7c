"""Planted bugs: each is found by every check that claims to find such, and what it was planted in passes these checks."""

import re

import numpy as np
import pytest
from gpu import grid, host, nvrtc, programs, ptx, standin
from zoo.tiers import tier

pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
QUICK = ("a missing barrier", "a race between warps", "an unwritten place", "a lane too many", "no fence before it",
         "the bound of a kernel", "the counter of random numbers", "float64 buffers", "counting before the zero",
         "a replay of old inputs", "the block's own number")


# ---------------------------------------------------------------- the checks: None, or what they find

def on_host(text, blocks, threads, args, **more):
    """One run on the CPU, with traps."""
    try:
        host.Module(text, trapped=True).get_function("k")(blocks, threads, [copied(a) for a in args], **more)
    except host.KernelError as e:
        return str(e)


def in_any_order(text, blocks, threads, args, **more):
    """The same numbers in every order of threads."""
    results = []
    for order in host.ORDERS.values():
        given = [copied(a) for a in args]
        host.Module(text).get_function("k")(blocks, threads, given, order=order, **more)
        results.append(given)
    for given in results[1:]:
        if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(results[0], given, strict=True)):
            return "the results depend on the order of threads"


def in_ptx(text, blocks, threads, args, **more):
    """The interpreter of PTX."""
    if nvrtc.compiler() is None:
        pytest.skip(nvrtc.MISSING)
    kernels = ptx.kernels(nvrtc.compiler().compile(text, "compute_90", "-lineinfo").ptx)
    try:
        ptx.launch(kernels["k"], blocks, threads, [copied(a) for a in args], **more)
    except ptx.Fault as e:
        return str(e)


def copied(a):
    return a.copy() if isinstance(a, np.ndarray) else a


# ---------------------------------------------------------------- kernels

def floats(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


N = np.int32(256)
HEAD = 'extern "C" __global__ void __launch_bounds__(256) k(const float *__restrict__ x, float *__restrict__ y, int n)\n{\n'
ARGS = (floats(256), np.zeros(256, np.float32), N)
TREE = HEAD + """    __shared__ float parts[256];
    const int t = threadIdx.x;
    parts[t] = x[t];
    __syncthreads();
    for (int half = 128; half; half /= 2) {
        if (t < half) parts[t] += parts[t + half];
        __syncthreads();
    }
    if (t == 0) y[blockIdx.x] = parts[0];
}
"""
WARPS = HEAD + """    __shared__ float parts[8];
    const int t = threadIdx.x;
    float total = x[t];
    for (int round = 0; round < 2; round++) {
        for (int far = 16; far; far /= 2) total += __shfl_xor_sync(0xffffffffu, total, far);
        __syncthreads();                       /* parts have been read */
        if (t % 32 == 0) parts[t / 32] = total;
        __syncthreads();
        total = 0;
        for (int w = 0; w < 8; w++) total += parts[w];
    }
    y[t] = total;
}
"""
ROWS = HEAD + """    __shared__ float row[8][32];
    const int lane = threadIdx.x % 32, w = threadIdx.x / 32;
    row[w][lane] = x[threadIdx.x];
    __syncwarp();
    y[threadIdx.x] = row[w][31 - lane];
}
"""
ALONE = HEAD + """    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    y[i] = 2 * x[i];
}
"""
VECTOR = HEAD + """    const float4 v = *(const float4 *)(x + 4 * threadIdx.x);
    y[threadIdx.x] = v.x + v.w;
}
"""
NUMBER = HEAD + """    y[threadIdx.x] = x[threadIdx.x] + threadIdx.x * n;
}
"""
COUNT = HEAD + """    __shared__ int seen;
    if (threadIdx.x == 0) seen = 0;
    __syncthreads();                           /* seen is 0 */
    if (x[threadIdx.x] > 0) atomicAdd(&seen, 1);
    __syncthreads();                           /* all have counted */
    y[threadIdx.x] = seen;
}
"""
LOOP = HEAD + """    float total = 0;
    for (int k = threadIdx.x; k < n; k += blockDim.x) total += x[k];
    y[threadIdx.x] = total;
}
"""
KERNELS = {                                                      # name -> text, what is planted for what, launch, who finds it
    "a missing barrier": (TREE, ("parts[t] = x[t];\n    __syncthreads();", "parts[t] = x[t];"), ((1,), (256,), ARGS),
                          {in_any_order: "depend", in_ptx: "a race: it reads"}),
    "no barrier in a loop": (TREE, ("parts[t + half];\n        __syncthreads();", "parts[t + half];"), ((1,), (256,), ARGS),
                             {in_any_order: "depend", in_ptx: "a race"}),
    "a race between warps": (WARPS, ("__syncthreads();                       /* parts have been read */", ""),
                             ((1,), (256,), ARGS), {in_any_order: "depend", in_ptx: "a race: it overwrites"}),
    "a race within a warp": (ROWS, ("__syncwarp();", ""), ((1,), (256,), ARGS),
                             {in_any_order: "depend", in_ptx: "a race: it reads"}),
    "an unwritten place": (WARPS, ("t % 32 == 0", "t % 64 == 0"), ((1,), (256,), ARGS), {in_ptx: "nobody has written"}),
    "a lane too many": (ALONE, ("i >= n", "i > n"), ((2,), (256,), ARGS), {on_host: "outside", in_ptx: "a load out of bounds"}),
    "a lane too many, beside": (ALONE, ("i >= n", "i > n"), ((1,), (256,), (floats(253), floats(253), np.int32(253))),
                                {on_host: "beside", in_ptx: "a load out of bounds"}),
    "no bound at all": (ALONE, ("if (i >= n) return;", ""), ((2,), (256,), ARGS), {on_host: "outside", in_ptx: "out of bounds"}),
    "shared memory overrun": (ROWS, ("row[w][lane]", "row[w + 1][lane]"), ((1,), (256,), ARGS),
                              {on_host: "undefined behaviour", in_ptx: "shared memory out of bounds"}),
    "a misaligned vector": (VECTOR, ("x + 4 * threadIdx.x", "x + 1 + 4 * threadIdx.x"), ((1,), (32,), ARGS),
                            {on_host: "undefined behaviour", in_ptx: "misaligned load of 16 bytes"}),
    "an index beyond 31 bits": (NUMBER, ("threadIdx.x * n", "(int)(threadIdx.x + 1) * (n << 20)"), ((1,), (256,), ARGS),
                                {on_host: "undefined behaviour"}),
    "a barrier for some": (TREE, ("if (t < half) parts[t] += parts[t + half];\n        __syncthreads();",
                                  "if (t < half) { parts[t] += parts[t + half]; __syncthreads(); }"), ((1,), (256,), ARGS),
                           {on_host: "some threads", in_ptx: "some threads of the block do not reach"}),
    "a return before a barrier": (TREE, ("parts[t] = x[t];", "if (t == 77) return;\n    parts[t] = x[t];"), ((1,), (256,), ARGS),
                                  {on_host: "have returned", in_ptx: "some threads of the block do not reach"}),
    "a shuffle for some": (WARPS, ("far /= 2) total", "far /= 2) if (t % 32 < 20) total"), ((1,), (256,), ARGS),
                           {on_host: "wait for ever", in_ptx: "of its mask does not reach"}),
    "two threads at one place": (ALONE, ("y[i]", "y[i / 2]"), ((1,), (256,), ARGS),
                                 {in_any_order: "depend", in_ptx: "a race: two threads"}),
    "a place of another block": (ALONE, ("y[i]", "y[threadIdx.x]"), ((2,), (128,), ARGS),
                                 {in_any_order: "depend", in_ptx: "a race"}),
    "counting before the zero": (COUNT, ("__syncthreads();                           /* seen is 0 */", ""), ((1,), (256,), ARGS),
                                 {in_any_order: "depend", in_ptx: "a race: it changes what"}),
    "reading while others count": (COUNT, ("__syncthreads();                           /* all have counted */", ""),
                                   ((1,), (256,), ARGS), {in_any_order: "depend", in_ptx: "a race: it touches what"}),
    "a lane that is not in the mask": (WARPS, ("0xffffffffu", "0x7fffffffu"), ((1,), (256,), ARGS),
                                       {on_host: "takes no part (mask 7fffffff)", in_ptx: "whose mask lacks the lane"}),
    "the tail of a row": (LOOP, ("k < n", "k <= n"), ((1,), (96,), ARGS), {on_host: "outside", in_ptx: "a load out of bounds"}),
    "a sum by atomics": (ALONE, ("y[i] = 2 * x[i];", "atomicAdd(y, x[i]);"), ((1,), (256,), ARGS), {in_any_order: "depend"}),
}


@pytest.mark.parametrize("name", tier(KERNELS, QUICK))
def test_a_planted_bug_is_found(name):
    text, (old, new), launch, finders = KERNELS[name]
    assert text.count(old) == 1
    for find, says in finders.items():
        assert find(text, *launch) is None
        assert says in (find(text.replace(old, new), *launch) or "nothing"), find.__name__


WAIT = "while (*(volatile unsigned *)count < round * gridDim.x) __nanosleep(20);\n"
FENCE = "            __threadfence();\n"
GRID = {                                                         # name -> what is changed to what in a barrier of the grid
    "no barrier": (f"            atomicAdd(count, 1u);\n            {WAIT}", ""),
    "no fence before it": (f"{FENCE}            atomicAdd(count, 1u);", "            atomicAdd(count, 1u);"),
    "no fence after it": (WAIT + FENCE, WAIT),
    "no barrier of the block after it": ("__syncthreads();\n        float total", "float total"),
}


@pytest.mark.parametrize("name", tier(GRID, QUICK))
def test_a_wrong_barrier_of_the_grid_is_found(name):
    """What one block has written, another one reads: it is ordered by fences on both sides, or it is a race."""
    old, new = GRID[name]
    assert grid.TEXT.count(old) == 1
    assert in_ptx(grid.TEXT, *grid.LAUNCH, grid.arguments(), cooperative=True) is None
    assert "a race: it reads" in in_ptx(grid.TEXT.replace(old, new), *grid.LAUNCH, grid.arguments(), cooperative=True)


LAUNCHES = {                                                     # name -> arguments of ALONE, what is said
    "a float as a double": ((floats(8), floats(8), 1.5), "handed over as f8"),
    "an array of float64": ((floats(8), np.zeros(8), np.int32(8)), "the array holds float64"),
    "a transposed view": ((floats(4, 6).T, floats(24), np.int32(24)), "strides"),
    "an array too few": ((floats(8), np.int32(8)), "2 arguments for 3 parameters"),
    "a number for an array": ((floats(8), np.float32(0), np.int32(8)), "the argument float32"),
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_wrong_arguments_are_found(name):
    args, says = LAUNCHES[name]
    with pytest.raises(host.KernelError, match=says):
        host.Module(ALONE).get_function("k")((1,), (8,), args)


def test_arguments_that_overlap_are_found():
    """`__restrict__` says that there are none."""
    x = floats(20)
    with pytest.raises(host.KernelError, match="parameters 0 and 1 overlap"):
        host.Module(ALONE).get_function("k")((1,), (8,), (x[:8], x[4:12], np.int32(8)))


# ---------------------------------------------------------------- printers: what they print, changed

FILL = "self.fill(inputs, carry, stream)\n"
STEPPED = "    return stepped(_launched"
RETURN = "return loss\n\n\ndef _evaluate("
MODELS = {                                                       # name -> model, what is changed to what, what is said
    "the bound of a kernel": ("mlp", "if (at >= B*H) return;", "if (at > B*H) return;", "beside the array"),
    "a barrier of a reduction": ("mlp", "parts[threadIdx.x / 32] = x;\n    __syncthreads();", "parts[threadIdx.x / 32] = x;",
                                 "differ"),
    "a part that nobody has": ("mlp", "k < (int)blockDim.x / 32", "k <= (int)blockDim.x / 32", "differ"),
    "the counter of random numbers": ("dropout", "c2 = step", "c2 = step + 1", "differ"),
    "the seed for the step": ("dropout", '(state["seed"], state["step"])', '(state["seed"], state["seed"])', "differ"),
    "the number of the step": ("dropout", "step[0] += 1", "step[0] += 2", "differ"),
    "float64 buffers": ("mlp", "return [cp.empty(shape, dtype) for", "return [cp.empty(shape) for", "float64"),
    "an operation on the host": ("mlp", RETURN, RETURN.replace("loss", "np.tanh(loss)"), "not allowed"),
    "an operation of CuPy": ("mlp", RETURN, RETURN.replace("loss", "cp.tanh(loss)"), "has no attribute"),
    "a read in each step": ("mlp", RETURN, f"float(loss); {RETURN}", "differ"),
    "memory made in each step": ("mlp", RETURN, f"cp.empty_like(loss); {RETURN}", "differ"),
    "the sizes of a product": ("mlp", "tb, ta, n, m, k, by", "tb, ta, m, n, k, by", "status|allocation"),
    "the block of random numbers": ("dropout", "c0 = block + 1", "c0 = block", "differ"),
    "a mask that lacks a lane": ("mlp", "__shfl_xor_sync(0xffffffffu", "__shfl_xor_sync(0x7fffffffu", "not in the mask"),
    "operands of a product, swapped": ("mlp", "*right, *left, keep", "*left, *right, keep", "allocation"),
    "a product added to what was there": ("mlp", "BLAS.one if add else BLAS.zero", "BLAS.one", "differ"),
    "a gradient that is dropped": ("mlp", "gemm(d_p.T, k, d_W3)", "pass", "differ"),
    "a buffer that another one overwrites": ("mlp", r"s\[4\](.* # d_p\n)", r"s[0]\1", "differ"),
    "a buffer shared too early": ("mlp", r"s\[2\](.* # d_k\n)", r"s[0]\1", "overlap in memory"),
    "a replay of old inputs": ("mlp", FILL, f"self.carry is None or {FILL}            self.carry = None\n", "differ"),
    "a replay in another stream": ("mlp", "self.graph.launch(stream)", "self.graph.launch(STREAMS.recorder())",
                                  "another stream|differ"),
    "products in another stream": ("mlp", "ctypes.c_void_p(stream)))", "ctypes.c_void_p(0)))", "another stream|differ"),
    "a loss that the next step overwrites": ("mlp", "return found.copy()", "return found", "differ"),
    "a step counted twice": ("mlp", STEPPED, f"    state['step'] += state['step']\n{STEPPED}", "differ"),
    "too many threads": ("mlp", "blocks(B*H, 256), 256,", "blocks(B*H, 512), 512,", "__launch_bounds__ says 256"),
    "the stride of a view": ("attention", "outer, inner = (n // a.itemsize for n in a.strides[-2:])",
                             "outer, inner = columns, 1", "differ"),
    "the stride of matrices": ("attention", "a.strides[0] // a.itemsize", "a.shape[-2] * a.shape[-1]", "allocation"),
    "rows of a warp": ("bilinear", "blocks(B, 4), (32, 4)", "blocks(B, 4), (32, 2)", "differ"),
    "whole numbers of 8 bytes": ("mlp", "np.int32(a) if type(a) is int else a", "a", "handed over as i8"),
}


MANY = {                                                         # the same, where only several blocks or rounds show it
    "too few threads": ("mlp", "blocks(B*H, 256), 256,", "blocks(B*H, 256), 128,", "differ"),
    "the block's own number": ("mlp", "int at = blockIdx.x * blockDim.x + threadIdx.x;", "int at = threadIdx.x;", "differ"),
    "rows that nobody adds": ("mlp", "b += gridDim.y * 32", "b += gridDim.y * 64", "differ"),
    "rows that two add": ("mlp", "b += gridDim.y * 32", "b += gridDim.y * 16", "differ"),
    "too few threads a column": ("mlp", "tiles(H, B), (32, 32)", "tiles(H, B), (32, 16)", "differ"),
    "too few warps": ("bilinear", "blocks(B, 4), (32, 4)", "blocks(B, 8), (32, 4)", "differ"),
    "a sum of the last number": ("mlp", "loss_row += loss_terms[b]", "loss_row = loss_terms[b]", "differ"),
}


def found_in(model, old, new, **lengths):
    """What the comparison of a model with NumPy's says of a changed source; `old` is text, or a pattern."""
    c = programs.case(model, **lengths)
    source = c.source.replace(old, new) if old in c.source else re.sub(old, new, c.source)
    assert source != c.source
    try:
        found = programs.on_device(c, host.SHUFFLED, source=source)
    except (host.KernelError, standin.Refused, TypeError, AttributeError, RuntimeError, UserWarning) as e:
        return str(e)
    return "they differ" if programs.differences(found, programs.on_numpy(c), 2e-5, 1e-6) else "nothing"


@pytest.mark.parametrize("name", tier(MODELS, QUICK))
def test_a_wrong_printer_is_found(name):
    model, old, new, says = MODELS[name]
    found = found_in(model, old, new)
    assert any(s in found for s in says.split("|")), found


@pytest.mark.parametrize("name", tier(MANY, QUICK))
def test_a_wrong_printer_is_found_in_many_rows(name):
    model, old, new, says = MANY[name]
    assert found_in(model, old, new, B=300) == f"they {says}"


SHARED = {                                                       # parts that several blocks leave: what is changed to what
    "a block that is not counted": ("k < (int)gridDim.y; k += 32", "k < (int)gridDim.y - 1; k += 32"),
    "a part left in another's place": ("(sum * gridDim.y + row)", "(sum + row)"),
    "rows of the first block only": ("ib = blockIdx.y * 32 + threadIdx.y", "ib = threadIdx.y"),
}


@pytest.mark.full
@pytest.mark.parametrize("name", SHARED)
def test_a_wrong_sum_of_several_blocks_is_found(name):
    assert found_in("many rows", *SHARED[name]) == "they differ"


@pytest.mark.full
@pytest.mark.parametrize("place", [0, 2])
def test_a_missing_barrier_of_a_warp_is_found(place):
    """Rows that a warp computes in turns, each from what other lanes wrote in the last one."""
    if nvrtc.compiler() is None:
        pytest.skip(nvrtc.MISSING)
    c = programs.case("bilinear")
    at = [m.start() for m in re.finditer("__syncwarp\\(\\);", c.source)][place]
    with pytest.raises(ptx.Fault, match="a race: it reads"):
        programs.interpreted(c, c.source[:at] + c.source[at + len("__syncwarp();"):])


LOOPS = {                                                        # a loop over time in one launch: what is changed to what
    "no fence before the barrier": ("__threadfence();                                         /* the block's stores", "/*"),
    "no fence after the barrier": ("__nanosleep(20);\n        __threadfence();", "__nanosleep(20);"),
    "no barrier before a product": ("        meet_(arrived, members);\n        multiply_(U_T_held", "        multiply_(U_T_held"),
}


@pytest.mark.full
@pytest.mark.parametrize("name", LOOPS)
def test_a_wrong_loop_over_time_is_found(name):
    """In one launch, where a step reads what other blocks wrote in the step before."""
    if nvrtc.compiler() is None:
        pytest.skip(nvrtc.MISSING)
    (old, new), c = LOOPS[name], programs.case("elman")
    assert old in c.source
    with pytest.raises(ptx.Fault, match="a race: it reads"):
        programs.interpreted(c, f"{c.source.replace(old, new)}\nTOGETHER.shape = (1, 3)\n")
