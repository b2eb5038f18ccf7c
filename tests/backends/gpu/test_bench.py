"""The measurement on a GPU, as far as it goes without one: what it verifies, and what it says."""

import sys
from pathlib import Path

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.gpu.program import CudaProgram
from gpu import host, programs

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)


@pytest.fixture(scope="module")
def bench():
    from tests.bench import gpu, recurrent
    work = recurrent.row("lstm", "LSTM", recurrent.LSTM, 6, 4, 2, 3, 0.9)
    system = cr.parse(work.text("sgd"))
    numpy = cr.compile(system)
    params = {k: np.asarray(v, np.float32) for k, v in numpy.init(seed=1).items()}
    return gpu, work, numpy, CudaProgram(system.system).source, params


def test_what_is_measured_is_verified(bench):
    gpu, work, numpy, source, params = bench
    device = programs.loaded(source)
    device.cp.cuda.Device().synchronize()
    gpu.verified(device, numpy.module, params, work.data())
    assert gpu.our_side(device, params, work.data())[0]().shape == ()
    broken = programs.loaded(source.replace("tanh_(real x) { return tanhf(x); }",
                                             "tanh_(real x) { return tanhf(1.1f * x); }"))
    with pytest.raises(gpu.Wrong, match="is off by"):
        gpu.verified(broken, numpy.module, params, work.data())


def test_lines_of_a_row(bench):
    gpu = bench[0]
    found = {"row": "lstm", "target": 0.9, "missing": {"jax": "jax finds no GPU"}, "floor": {"operations": 1e-6, "bytes": 2e-6},
             "seconds": {"ours": [1e-5, 2e-5, 3e-5], "torch": [4e-5, 4e-5, 4e-5]}}
    text = "\n".join(gpu.lines(found))
    assert "20.0 us" in text and "ratio 0.50 (wanted: <= 0.9)" in text and "not measured: jax finds no GPU" in text
    assert {"lstm_1024_512_128", "gru_256_64_32", "autoencoder_4096", "custom", "cnn", "rbm"} <= {*gpu.WORK}
