"""Rows that do not fit into a block's shared memory: they stand in global memory, and kernels compile at every size."""

import re
from dataclasses import replace
from functools import cache

import pytest
from chainrule.backends.gpu.geometry import SHARED
from chainrule.backends.gpu.program import CudaProgram
from chainrule.frontends.language import parse
from gpu import host, nvrtc, programs
from zoo.points import drawn

PEEPHOLES = """model peepholes(V = 20, H = {units})
input x[t] : class(V)
target y[t] : class(V)
param W_f, W_i, W_c, W_o [H, H + V] ~ normal(0.01)
param p_f, p_i, p_o [H] ~ normal(0.1)
param W_y[V, H] ~ normal(0.01)
z[t] = [h[t-1], onehot(x[t])]
f[t] = sigmoid(1 + layer_norm(W_f @ z[t] + p_f * c[t-1]))
i[t] = sigmoid(layer_norm(W_i @ z[t] + p_i * c[t-1]))
c[t] = f[t] * c[t-1] + i[t] * tanh(layer_norm(W_c @ z[t]))         where c[-1] = 0
o[t] = sigmoid(layer_norm(W_o @ z[t] + p_o * c[t]))
h[t] = o[t] * tanh(layer_norm(c[t]))                               where h[-1] = 0
loss = mean[batch, t] cross_entropy(softmax(W_y @ h[t]), y[t])
train sgd(lr = 0.1)
"""
LSTM = """model units(V = 20, H = {units})
input x[t] : class(V)
target y[t] : class(V)
h[t] = lstm(onehot(x[t]), H)
loss = mean[batch, t] cross_entropy(softmax(linear(h[t], V)), y[t])
train sgd(lr = 0.1)
"""
CLASSES = """model classes(D = 4, C = {units})
input x[D]
target y : class(C)
param W[C, D] ~ normal(0.1);  b[C] = 0
s = layer_norm(W @ x + b)
loss = mean[batch] -log(softmax(s)) @ onehot(y)
metric wrong = mean[batch] (argmax(s) != y)
train sgd(lr = 0.1)
"""
SIZES = [(PEEPHOLES, 1024), (PEEPHOLES, 4096), (LSTM, 1024), (LSTM, 4096), (CLASSES, 50_000)]
LIMIT = 48 << 10                                                 # bytes of shared memory of a block that asks for no more
KINDS = {"real": 4, "int": 4, "int64_t": 8, "double": 8, "bool": 1}


@cache
def printed(text, units):
    """A model's kernels, and its sizes."""
    program = CudaProgram(parse(text.format(units=units)))
    return program.cuda, program.system.sizes


def static(text, sizes):
    """kernel -> bytes of shared memory that its text declares."""
    out = {}
    kernel = re.compile(r"^extern \"C\" __global__ void __launch_bounds__\(.*?\)\s+(\w+)\(.*?\n\{\n(.*?)^\}", re.M | re.S)
    for name, body in kernel.findall(text):
        for kind, dims in re.findall(r"^ *__shared__ (\w+) \w+((?:\[[^]]+\])+);", body, re.M):
            n = KINDS[kind]
            for d in re.findall(r"\[([^]]+)\]", dims):
                n *= eval(d, {}, sizes)
            out[name] = out.get(name, 0) + n
    return out


@pytest.mark.parametrize(("text", "units"), SIZES)
def test_rows_stay_below_what_a_block_has(text, units):
    found = static(*printed(text, units))
    assert found
    assert {k: n for k, n in found.items() if n > LIMIT} == {}


def test_rows_that_fit_stand_in_shared_memory():
    """The layer norms' rows of 1024 numbers, as many as fit."""
    assert max(static(*printed(PEEPHOLES, 1024)).values()) > SHARED // 2


@pytest.mark.full
@pytest.mark.skipif(nvrtc.compiler() is None, reason=nvrtc.MISSING)
@pytest.mark.parametrize(("text", "units"), SIZES)
def test_large_rows_compile(text, units):
    made = nvrtc.compiler().compile(printed(text, units)[0], nvrtc.ARCHITECTURES[0])
    assert made.complaints == []
    assert {k: r for k, r in made.kernels.items() if r.spilled or r.shared > LIMIT} == {}


@pytest.mark.full
@pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
@pytest.mark.parametrize(("text", "units"), [(PEEPHOLES, 1024), (CLASSES, 50_000)])
def test_large_rows_compute_what_numpy_computes(text, units):
    case = programs.made(drawn(parse(text.format(units=units)), {"B": 1, "T": 2}), persistent=False)
    case = replace(case, params={k: v / 8 for k, v in case.params.items()})
    assert programs.differences(programs.on_device(case), programs.on_numpy(case), 2e-4, 1e-6) == {}
