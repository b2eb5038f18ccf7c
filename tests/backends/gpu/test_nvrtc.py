"""Every kernel through NVIDIA's compiler with CuPy's options: no warning, nothing spilled, registers and shared memory as known.

The tables in `golden` are of the pinned NVRTC; CHAINRULE_UPDATE_GOLDEN=1 writes those of the models that run.
"""

import json
import os
from pathlib import Path

import pytest
from chainrule.backends.gpu.program import CudaProgram
from gpu import nvrtc, ptx
from zoo.catalogue import ZOO
from zoo.tiers import tier

GOLDEN = Path(__file__).parent / "golden"
QUICK = ("mlp", "lstm_packed")
pytestmark = pytest.mark.skipif(nvrtc.compiler() is None, reason=nvrtc.MISSING)


def table(name):
    """kernel -> for each architecture, registers and bytes of shared memory."""
    text, rows = CudaProgram(ZOO[name]()).cuda, {}
    for architecture in nvrtc.ARCHITECTURES:
        made = nvrtc.compiler().compile(text, architecture)
        assert made.complaints == []
        assert made.kernels
        assert {k: r for k, r in made.kernels.items() if r.spilled} == {}
        for k, r in made.kernels.items():
            rows.setdefault(k, []).append([r.registers, r.shared])
    return rows


@pytest.mark.parametrize("name", tier(ZOO, QUICK))
def test_a_model_compiles(name):
    """The figures may be better than known, and then the table is written again."""
    found, path = table(name), GOLDEN / f"{name}.json"
    if os.environ.get("CHAINRULE_UPDATE_GOLDEN"):
        lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(found.items()))
        path.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    assert found == json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", tier(ZOO, ["lstm_packed"]))
def test_the_interpreter_knows_every_instruction(name):
    """Of the PTX for each architecture, also where no run of the tests comes by."""
    text = CudaProgram(ZOO[name]()).cuda
    for architecture in nvrtc.ARCHITECTURES:
        made = nvrtc.compiler().compile(text, architecture.replace("sm", "compute")).ptx
        assert {k: ptx.unknown(kernel) for k, kernel in ptx.kernels(made).items() if ptx.unknown(kernel)} == {}


def test_what_does_not_compile_is_refused():
    with pytest.raises(nvrtc.Refused, match="undefined"):
        nvrtc.compiler().compile('extern "C" __global__ void k(float *x) { x[0] = missing; }', "sm_90")


@pytest.mark.parametrize("where", ["inline", "__noinline__"])
def test_spills_are_seen(where):
    """A kernel whose threads hold more numbers than 255 registers, itself or in a function that it calls."""
    text = f"""static __device__ {where} void f(float *x)
    {{
        float a[64];
        for (int i = 0; i < 64; i++) a[i] = x[threadIdx.x + 1024 * i];
        __syncthreads();
        for (int r = 0; r < 50; r++)
            #pragma unroll
            for (int i = 0; i < 64; i++) a[i] = a[i] * a[(i + 7) % 64] + x[r];
        for (int i = 0; i < 64; i++) x[threadIdx.x + 1024 * i] = a[i];
    }}
    extern "C" __global__ void __launch_bounds__(1024, 2) k(float *x) {{ f(x); }}"""
    assert nvrtc.compiler().compile(text, "sm_90").kernels["k"].spilled > 0
