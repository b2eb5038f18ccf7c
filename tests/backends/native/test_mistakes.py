"""What may go wrong around compiled code: wrong arguments, machines that lack something, numbers that are none."""

import os
import subprocess
import sys
from pathlib import Path

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.native.build import NoCompiler, load_library
from chainrule.backends.native.program import NativeProgram

pytestmark = pytest.mark.native
HERE = Path(__file__).resolve().parent
MODEL = "model m(D = 3, C = 2)\ninput x[D]\ntarget y : class(C)\np = dense(x, C)\nloss = cross_entropy(softmax(p), y)\noutput p\n"


def run(*words, **environment):
    path = os.pathsep.join([str(HERE.parents[1]), *sys.path])
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=110,
                          env={**os.environ, "PYTHONPATH": path, **environment})


@pytest.mark.parametrize("every", ["23", pytest.param("1", marks=pytest.mark.full)])
def test_wrong_arguments_never_crash(every):
    """Thousands of mutated calls in a process of their own."""
    done = run("-W", "error", str(HERE / "mutated_calls.py"), every)
    assert done.returncode == 0, done.stderr[-2000:]
    *wrong, count = done.stdout.splitlines()
    assert wrong == []
    assert int(count.split()[0]) * int(every) > 8000 and int(count.split()[2]) * int(every) > 2000


def test_without_a_compiler(tmp_path):
    """One sentence; with "auto" it is a warning, and the model is NumPy's."""
    (tmp_path / "m.nn").write_text(MODEL)
    done = run("-m", "chainrule", "compile", str(tmp_path / "m.nn"), "--backend", "native", CC="/nonexistent")
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.count("needs a C compiler, and ") == 1
    done = run("-m", "chainrule", "check", str(tmp_path / "m.nn"), "--backend", "auto", PATH=str(tmp_path), CC="")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("takes numpy: the native backend needs a C compiler") == 1
    assert "Traceback" not in done.stderr and "site-packages" not in done.stderr


def test_a_library_that_cannot_be_loaded(tmp_path, monkeypatch):
    """A compiler that says that all is well."""
    lazy = tmp_path / "lazy"
    lazy.write_text('#!/bin/sh\nfor x in "$@"; do case "$last" in -o) echo nothing > "$x";; esac; last="$x"; done\n')
    lazy.chmod(0o755)
    monkeypatch.setenv("CC", str(lazy))
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    for _ in range(2):
        with pytest.raises(NoCompiler, match=r"lazy made a library that cannot be loaded: .*invalid ELF header|file too short"):
            load_library("int answer(void) { return 1; }\n", "m", "float32")


def test_a_numpy_without_openblas():
    """Products are the library's own; what NumPy's wheel brings is asked for its threads alone."""
    model = cr.parse(MODEL)
    program = NativeProgram(model.system)
    program.module.blas_symbol = lambda *names: None
    data = {"x": np.ones((4, 3)), "y": np.array([0, 1, 1, 0])}
    loss, grads = program.loss_and_grads(program.init(0), **data)
    expected, others = cr.compile(model).loss_and_grads(program.init(0), **data)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for k, g in others.items():
        np.testing.assert_allclose(grads[k], g, rtol=1e-5, atol=1e-7, err_msg=k)


# ---------------------------------------------------------------- numbers that are none

POISONED = """model m(C = 3, H = 6, V = 3)
input x[C, 8, 8]
input g[H]
target y : class(V)
param K[C, C, 3, 3], W[V, C*16], L[V, H], Q[H, H], R[H, H] ~ normal(0.3)
k = conv(x, K, padding = same)
p = max_pool(k, 2)
r = relu(g)
n = layer_norm(Q @ g)
s = W @ flatten(p)
o = softmax(L @ g)
z = logsumexp(L @ g)
m = max(g) + min(g)
f = norm(g)
a = tanh(g) + sigmoid(g) + exp(-g^2) + R @ g
q = log(1 + exp(g)) + abs(g) + sqrt(g^2)
loss = cross_entropy(softmax(s), y) + z
output k, p, r, n, s, o, z, m, f, a, q
"""


def test_nan_and_infinity_go_where_numpy_takes_them(monkeypatch):
    """Through convolution, pooling, products, relu, softmax, layer norm, every reduction, into the loss and the gradients."""
    monkeypatch.setenv("CHAINRULE_CFLAGS", "-O2")                # its loops are vectorised, as those of users are
    numpy, native = (cr.compile(cr.parse(POISONED), backend=b) for b in ("numpy", "native"))
    params, rng = numpy.init(0), np.random.default_rng(0)
    good = {"x": rng.normal(size=(9, 3, 8, 8)), "g": rng.normal(size=(9, 6)), "y": np.arange(9) % 3}
    for key, at in (("x", (4, 1, 2, 3)), ("g", (4, 5)), ("g", (0, 0))):
        for value in (np.nan, np.inf, -np.inf):
            data = {**good, key: good[key].copy()}
            data[key][at] = value
            inputs = {k: data[k] for k in ("x", "g")}
            with np.errstate(all="ignore"):
                want, (loss, grads) = numpy.predict(params, **inputs), numpy.loss_and_grads(params, **data)
            outputs, (found, others) = native.predict(params, **inputs), native.loss_and_grads(params, **data)
            for k in want:                                       # the norm of infinity is that in C, and NaN in NumPy
                where = f"{k} where {key} is {value}"
                assert np.array_equal(np.isfinite(outputs[k]), np.isfinite(want[k])), where
                assert np.array_equal(np.isnan(outputs[k]), np.isnan(want[k])) or (k == "f" and np.isinf(value)), where
                fine = np.isfinite(want[k])
                np.testing.assert_allclose(outputs[k][fine], want[k][fine], rtol=1e-4, atol=1e-5, err_msg=where)
            assert np.isnan(found) == np.isnan(loss) and np.isfinite(found) == np.isfinite(loss)
            assert not np.isfinite(found) or value == -np.inf, f"{key} is {value}"
            for k in grads:
                assert np.array_equal(np.isfinite(others[k]), np.isfinite(grads[k])), f"d_{k} where {key} is {value}"
    poisoned = {k: v.copy() for k, v in params.items()}          # a weight, which products read packed
    poisoned["W"][1, 7] = np.nan
    assert np.isnan(native.loss_and_grads(poisoned, **good)[0])
    assert np.array_equal(np.isnan(native.predict(poisoned, x=good["x"], g=good["g"])["s"]).all(axis=0), [False, True, False])
