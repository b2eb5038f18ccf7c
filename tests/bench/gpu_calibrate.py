"""What the choice between one launch and many goes by, measured on the device in use: the rates of `persistent_device`.

python -m tests.bench.gpu --calibrate [--trial]: half a minute; each rate stands beside the one in the source. A figure is the
difference between a launch that does something n times and one that does it 2n times, over n: what a launch costs falls out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from chainrule.backends.gpu.persistent_device import Machine, Recurrence
from chainrule.backends.gpu.persistent_function import LIBRARY
from chainrule.backends.gpu.prelude import prelude

from tests.bench.gpu_ours import loaded, ready, timed

EXAMPLES, SHALLOW, DEEP, WAYS = 32, 256, 768, 16         # of products: depths, operands, so many that L1 does not have them
NUMBERS, MANY, READ = 256, 512, 1 << 18                  # of a sum, sums, fours that all blocks read
KERNELS = r"""
extern "C" __global__ void __launch_bounds__(256, 1) meets(int n, unsigned *arrived, int members)
{
    for (int k = 0; k < n; k++) meet_(arrived, members);
}
extern "C" __global__ void __launch_bounds__(256, 1) products(int n, int rows, int depth, int examples, const real *x, real *y)
{
    extern __shared__ real work[];
    real *held = work + 8192;
    for (int at = threadIdx.x; at < depth*rows; at += 256) held[at] = at % 7;
    __syncthreads();
    for (int k = 0; k < n; k++)
        multiply_(held, rows, depth, {x + k % WAYS*examples*depth, depth, 1}, examples, {y, rows, 1, rows, rows, rows}, work);
}
extern "C" __global__ void __launch_bounds__(256, 1) sums(int n, const real *x, real *y)
{
    for (int at = threadIdx.x / 32; at < 8*n; at += 8) {
        real total = 0;
        for (int i = threadIdx.x % 32; i < NUMBERS; i += 32) total += x[at % MANY*NUMBERS + i];
        total = by_warp<Sum>(total);
        if (threadIdx.x % 32 == 0) y[at % MANY] = total;
    }
}
extern "C" __global__ void __launch_bounds__(256, 1) reads(int n, int count, const real *x, real *y)
{
    real total = 0;
    for (int k = 0; k < n; k++)
        for (int at = threadIdx.x; at < count; at += 256) {
            const four found = *(const four *)&x[4*at];
            total += found.x[0] + found.x[1] + found.x[2] + found.x[3];
        }
    y[blockIdx.x*256 + threadIdx.x] = total;
}
extern "C" __global__ void __launch_bounds__(256) little(real *y) { y[blockIdx.x*256 + threadIdx.x] += 1; }
"""
MODEL = "model m(D = 8)\ninput x[D]\nparam W[D, D] ~ he\nloss = mean[batch] sum((W @ x)^2)"    # whose module calls cuBLAS
NAMED = {"WAYS": WAYS, "NUMBERS": NUMBERS, "MANY": MANY}
TEXT = prelude(KERNELS) + "".join(f"#define {k} {n}\n" for k, n in NAMED.items()) + LIBRARY + KERNELS


class Calibration:
    """A device, kernels that do one thing many times, and how long each takes."""

    def __init__(self, device: str) -> None:
        import chainrule as cr
        ready(device)
        self.trial = device == "cpu"
        self.module = loaded(cr.compile(cr.parse(MODEL), backend="cupy"), device)
        self.cp = self.module.cp
        has = self.cp.cuda.Device().attributes
        self.blocks, self.memory = has["MultiProcessorCount"], has["MaxSharedMemoryPerBlockOptin"]
        self.clock = 1e3 * has.get("ClockRate", 1.5e6)
        self.kernels = {together: self.cp.RawModule(code=TEXT, options=("-std=c++17",), enable_cooperative_groups=together)
                        for together in (False, True)}
        self.wait = self.cp.cuda.Device().synchronize

    def each(self, name: str, n: int, args: tuple[Any, ...], blocks: int = 1, memory: int = 0) -> float:
        """Seconds of one repetition of what a kernel does n times."""
        kernel = self.kernels[name == "meets"].get_function(name)
        if memory:
            kernel.max_dynamic_shared_size_bytes = self.memory
        given = tuple(np.int32(a) if type(a) is int else a for a in args)
        return self.slope(lambda m: kernel((blocks,), (256,), (np.int32(m), *given), shared_mem=memory), 2 if self.trial else n)

    def slope(self, run: Callable[[int], Any], n: int) -> float:
        few, many = (min(timed(partial(run, m), self.wait, 1) for _ in range(5)) for m in (n, 2 * n))
        return max(many - few, 1e-12) / n

    def numbers(self, *shape: int) -> Any:
        return self.module.to_device(np.random.default_rng(0).random(shape, np.float32))

    def product(self, rows: int, depth: int) -> float:
        """Cycles of a product of a block."""
        x, y = self.numbers(WAYS, EXAMPLES, depth), self.numbers(EXAMPLES, rows)
        memory = 4 * (8192 + depth * rows)
        return self.clock * self.each("products", 2000, (rows, depth, EXAMPLES, x, y), memory=memory)

    def busy(self) -> tuple[tuple[tuple[int, float], ...], float]:
        """BUSY: what a product's rate is of 128 multiply-adds a cycle, by how much longer a deeper one takes; JOIN: the rest."""
        parts, rest = list[tuple[int, float]](), list[float]()
        for rows, _ in Recurrence.BUSY:
            shallow, deep = (self.product(rows, depth) for depth in (SHALLOW, DEEP))
            column = (deep - shallow) / (DEEP - SHALLOW)
            parts.append((rows, rows * EXAMPLES / 128 / column))
            rest.append(shallow - column * SHALLOW)
        return tuple(parts), sum(rest) / len(rest)

    def launch(self) -> float:
        """Seconds of a kernel in a graph of such."""
        y, kernel = self.numbers(256 * self.blocks), self.kernels[False].get_function("little")
        graphs = dict[int, Any]()
        stream, n = self.cp.cuda.Stream(non_blocking=True), 2 if self.trial else 500
        self.wait()
        with stream:
            kernel((self.blocks,), (256,), (y,))                 # compiled, before a capture
            for m in (n, 2 * n):
                stream.begin_capture()
                for _ in range(m):
                    kernel((self.blocks,), (256,), (y,))
                graphs[m] = stream.end_capture()
            return self.slope(lambda m: graphs[m].launch(stream), n)

    def gemm(self, examples: int) -> float:
        """What a product of the device reaches of all its multiply-adds, with so many examples."""
        inner, outer = (4, 8) if self.trial else (2048, 4096)
        x, w, y = self.numbers(examples, inner), self.numbers(inner, outer), self.numbers(examples, outer)

        def run(m: int) -> None:
            for _ in range(m):
                self.module.gemm(x, w, y)

        return examples * inner * outer / self.slope(run, 2 if self.trial else 50) / (128 * self.blocks * self.clock)

    def cache(self) -> float:
        """Bytes a second that all blocks read of what the second-level cache has."""
        count = 512 if self.trial else READ
        seconds = self.each("reads", 20, (count, self.numbers(4 * count), self.numbers(256 * self.blocks)), self.blocks)
        return 16 * count * self.blocks / seconds

    def found(self) -> Iterator[tuple[str, str, float, float]]:
        """(name, unit and meaning, value in the source, value here), one after the other."""
        busy, rest = self.busy()
        arrived = self.cp.zeros(32, np.uint32)
        yield "MEET", f"us of a barrier of {self.blocks} blocks", 1e6 * Recurrence.MEET, 1e6 * self.each(
            "meets", 2000, (arrived, self.blocks), self.blocks)
        yield "LAUNCH", "us of a small kernel in a graph", 1e6 * Recurrence.LAUNCH, 1e6 * self.launch()
        yield "SUM", f"us of a warp's sum of {NUMBERS} numbers", 1e6 * Recurrence.SUM, 1e6 * self.each(
            "sums", 2000, (self.numbers(MANY, NUMBERS), self.numbers(MANY)))
        for (rows, known), (_, part) in zip(Recurrence.BUSY, busy, strict=True):
            yield "BUSY", f"of the rate, in a product of {rows} rows by {EXAMPLES} examples", known, part
        yield "JOIN", "cycles to join the sums of a product", Recurrence.JOIN, rest
        yield "THIN", f"of the device's rate, in a product of {EXAMPLES} examples", Recurrence.THIN, self.gemm(EXAMPLES)
        yield "FULL", "of the device's rate, in a product of many examples", Recurrence.FULL, self.gemm(8 if self.trial else 4096)
        yield "cache", "TB/s that all blocks read from the second-level cache", Machine(1, 1).cache / 1e12, self.cache() / 1e12


def calibrate(device: str) -> dict[str, list[float]]:
    """Measure and print; by name, what was found."""
    out, measured = dict[str, list[float]](), Calibration(device)
    print(f"{'':<8}{'source':>10}{'here':>10}   {measured.blocks} multiprocessors, {measured.clock / 1e9:.2f} GHz")
    for name, what, known, value in measured.found():
        print(f"{name:<8}{known:>10.3g}{value:>10.3g}   {what}", flush=True)
        out.setdefault(name, []).append(value)
    return out
