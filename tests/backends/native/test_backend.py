"""The backend as users meet it: saved modules, training steps, mistakes as sentences, NaN."""

import subprocess
import sys

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.interface import NoBackend, NumpyInstead, compile_for
from chainrule.backends.native.build import NoCompiler
from chainrule.backends.native.program import NativeProgram
from chainrule.compiler.options import Options
from chainrule.frontends.language import parse
from zoo.catalogue import ZOO

CHARS = """model chars(V = 5, H = 4)
input x[t] : class(V)
target y[t] : class(V)
param Wx[H, V], Wh[H, H], Wy[V, H] ~ normal(0.5)
param bh[H], by[V] = 0
h[t] = tanh(Wx @ onehot(x[t]) + Wh @ h[t-1] + bh)   where h[-1] = 0
s[t] = Wy @ h[t] + by
loss = mean[batch, t] -log(softmax(s[t])) @ onehot(y[t])
train {}
"""
NET = """model net(D = 4, H = 6)
input x[D]
target y[H]
param W[H, D] ~ normal(0.5);  b[H] = 0.1;  s = 0.7
loss = squares(s * (W @ x) + b, y)
train {}
"""
RBM = """energy rbm(D = 3, H = 2)
visible v[D] : binary
hidden h[H] : binary
param W[H, D] ~ normal(0.5);  b[D] = 0.1;  c[H] = 0
E = - h @ W @ v - b @ v - c @ h
train persistent_contrastive_divergence(k = 2, lr = 0.1), batch = 4
"""
pytestmark = pytest.mark.native


def chars(line="adam(lr = 0.01), clip_norm = 1", dtype="float64"):
    return parse(CHARS.format(line)), dtype


def batch(seed=0, n=3, steps=6):
    rng = np.random.default_rng(seed)
    return {"x": rng.integers(0, 5, (n, steps)), "y": rng.integers(0, 5, (n, steps))}


def both(system, dtype="float64", options=None):
    return [compile_for(system, backend, dtype, options=options) for backend in ("numpy", "native")]


def same(a, b, rtol=1e-11):
    assert list(a) == list(b)
    for k in a:
        np.testing.assert_allclose(a[k], b[k], rtol=rtol, atol=1e-13, err_msg=k)


@pytest.fixture(scope="module")
def model():
    system, dtype = chars()
    return NativeProgram(system, dtype)


def begun(program):
    params = {k: v.astype(np.float64) for k, v in program.init(seed=1).items()}
    return params, program.init_state(params)


# ---------------------------------------------------------------- training steps

@pytest.mark.parametrize("line", [
    "nesterov(lr = 0.1, momentum = 0.8), clip_value = 0.05", "adamw(lr = 0.05), clip_norm = 0.5, rate b = 0.5",
    "rmsprop(lr = 0.01, eps_inside = true), l1(0.01) on W, l2(0.02) on b",
    "adagrad(lr = 0.1), max_norm(0.4) on W", "sgd(lr = 0.3), l1_ball(1.5) on W"])
def test_steps_are_numpys(line):
    """Three steps with every kind of clipping and constraint: the same loss, parameters and state, in place."""
    numpy, native = both(parse(NET.format(line)))
    (p, s), (q, t) = begun(numpy), begun(native)
    held = {k: v for k, v in q.items()}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        data = {"x": rng.normal(size=(7, 4)), "y": rng.normal(size=(7, 6))}
        np.testing.assert_allclose(native.train_step(q, t, **data), numpy.train_step(p, s, **data), rtol=1e-12)
    same(p, q)
    same(s, t)
    assert all(q[k] is held[k] for k in held)


def test_state_is_interchangeable(model):
    """NumPy goes on where C stopped, and the other way round; batches may change their size and their memory on the way."""
    numpy = compile_for(model.system, "numpy", "float64")
    (p, s), (q, t) = begun(numpy), begun(model)
    for k, data in enumerate([batch(0), batch(1, 5), batch(2, 1), batch(3, 1), batch(4, 5)]):
        data = {n: np.asfortranarray(v) if k % 2 else v.astype(np.int32) for n, v in data.items()}
        before = {n: v.copy() for n, v in data.items()}
        numpy.train_step(p, s, **data)
        (numpy if k == 2 else model).train_step(q, t, **data)
        assert all((data[n] == before[n]).all() for n in data)   # the caller's arrays are only read
    same(p, q)
    same(s, t)


def test_replaced_arrays_are_seen(model):
    """A step is prepared for arrays that stay; others in their place are noticed."""
    params, state = begun(model)
    model.train_step(params, state, **batch())
    other = {k: v.copy() for k, v in params.items()}
    again = {k: v.copy() for k, v in state.items()}
    params["Wh"] = params["Wh"].copy()
    state["m.Wx"] = state["m.Wx"].copy()
    assert model.train_step(params, state, **batch(1)) == model.train_step(other, again, **batch(1))
    same(params, other, 0)


def test_several_calls():
    """Truncated models and models with chains take several calls a step, with the same numbers; checkpoints too."""
    truncated = parse(CHARS.format("sgd(lr = 0.1), truncate = 3"))
    numpy, native = both(truncated)
    (p, s), (q, t) = begun(numpy), begun(native)
    carry = other = None
    for k in range(2):
        _, carry = numpy.train_step(p, s, **batch(k, 3, 3), carry=carry)
        _, other = native.train_step(q, t, **batch(k, 3, 3), carry=other)
    same(p, q)
    same(carry, other)
    numpy, native = both(chars()[0], options=Options(checkpoint="every 2"))
    p = begun(numpy)[0]
    same(numpy.loss_and_grads(p, **batch())[1], native.loss_and_grads(p, **batch())[1])


def test_energies():
    numpy, native = both(parse(RBM))
    (p, s), (q, t) = begun(numpy), begun(native)
    v = (np.random.default_rng(0).random((4, 3)) < 0.5).astype(float)
    key = next(iter(native.system.inputs))
    for _ in range(2):
        numpy.train_step(p, s, **{key: v})
        native.train_step(q, t, **{key: v})
    same(p, q)
    np.testing.assert_array_equal(native.gibbs(q, 3, seed=2, **{key: v}), numpy.gibbs(q, 3, seed=2, **{key: v}))
    np.testing.assert_allclose(native.free_energy(q, **{key: v}), numpy.free_energy(q, **{key: v}), rtol=1e-12)


# ---------------------------------------------------------------- modules

def test_a_saved_module_runs_alone(model, tmp_path):
    """Without chainrule on the path: it compiles its own text, and checks its gradients."""
    path = model.save(tmp_path / "chars.py")
    found = subprocess.run([sys.executable, "-I", str(path)], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    assert "gradients agree" in found.stdout
    assert "import chainrule" not in path.read_text()


def test_lines_point_into_the_c_text(model):
    lines = model.source.split("\n")
    assert any("tanh_(" in lines[n - 1] for n in model.lines["h"])
    assert any("gemm" in lines[n - 1] and "d_Wh" in lines[n - 1] for n in model.lines["d_Wh"])
    assert {k for k in model.lines if k.startswith("d_")} >= {"d_Wx", "d_Wh", "d_Wy", "d_bh", "d_by"}
    assert len(model.memory_plan()) > 3
    assert model.c in model.source and "void gradients(" in model.c


# ---------------------------------------------------------------- mistakes

def test_wrong_arrays_are_sentences(model):
    """Whatever is handed to a step: it works, or a sentence says why not, and nothing has changed."""
    good, state = begun(model)
    read_only = good["Wh"].copy()
    read_only.flags.writeable = False
    wrong = [({"Wh": read_only}, {}, "Wh'] is read-only"), ({"Wh": np.asfortranarray(good["Wh"])}, {}, "contiguous"),
             ({"Wh": good["Wh"].astype(np.float32)}, {}, "must be of type float64"),
             ({"Wh": good["Wh"][:3]}, {}, r"shape \(4, 4\)"), ({"Wh": np.zeros((8, 4))[::2]}, {}, "contiguous"),
             ({k: v.astype(int) for k, v in good.items()}, {}, "float32 or float64"),
             ({"Wh": np.frombuffer(bytearray(129), np.uint8)[1:].view(float).reshape(4, 4)}, {}, "contiguous"),
             ({}, {"m.Wh": np.zeros(3)}, r"state\['m.Wh'\] must have the shape"),
             ({}, {"v.by": np.zeros(5, int)}, "of type float64")]
    before = {k: v.copy() for k, v in good.items()}
    for params, more, message in wrong:
        with pytest.raises((TypeError, ValueError), match=message) as e:
            model.train_step({**good, **params}, {**state, **more}, **batch())
        assert "\n" not in str(e.value)
    with pytest.raises(KeyError, match=r"state has no 'm.Wx'"):
        model.train_step(good, {k: v for k, v in state.items() if k != "m.Wx"}, **batch())
    same(good, before, 0)


def test_wrong_inputs_are_sentences(model):
    """Before and after a step was prepared: classes out of range, wrong shapes and types."""
    params, state = begun(model)
    for _ in range(2):
        kept = {k: v.copy() for k, v in params.items()}
        for name, value, message in (("x", batch()["x"] + 3, "classes are 0 to 4"), ("y", batch()["y"] - 5, "classes are 0 to 4"),
                                     ("x", batch()["x"] * 1.0, "must hold integers"),
                                     ("y", batch()["y"][:, :2], "must have the shape"),
                                     ("x", batch()["x"][0], "must have the shape"), ("x", None, "must be an array"),
                                     ("x", batch()["x"][:0], r"must have the shape \(some, some\)")):
            with pytest.raises((TypeError, ValueError), match=message):
                model.train_step(params, state, **{**batch(), name: value})
        same(params, kept, 0)
        model.train_step(params, state, **batch())


def test_any_layout_is_read(model):
    """Gradients for parameters and inputs in any order, stride and alignment are those of plain arrays."""
    params, data = begun(model)[0], batch()
    loss, grads = model.loss_and_grads(params, **data)
    odd = {k: np.repeat(np.asfortranarray(v), 2, axis=0)[::2] for k, v in params.items()}
    given = {"x": data["x"].astype(">i4"), "y": np.repeat(data["y"], 3, axis=1).astype(np.uint8)[:, ::3]}
    found, other = model.loss_and_grads(odd, **given)
    assert found == loss
    same(grads, other, 0)


def test_inputs_may_lie_otherwise_at_each_step(model):
    """What lay in memory as C reads it need not do so in the next step: steps first, then examples, and the other way round."""
    params, state = begun(model)
    other, again = begun(model)
    for k in range(4):
        data = batch(k)
        turned = {n: np.ascontiguousarray(v.T).T for n, v in data.items()} if k % 2 == 0 else data
        assert model.train_step(params, state, **turned) == model.train_step(other, again, **data)
    same(params, other, 0)


def test_nan_and_infinity_reach_the_loss():
    """The flags give up signalling NaN and errno, and nothing else."""
    program = NativeProgram(parse(NET.format("sgd(lr = 0.1)")), "float32")
    params, data = program.init(), {"x": np.ones((3, 4)), "y": np.ones((3, 6))}
    for value, test in ((np.nan, np.isnan), (np.inf, np.isinf)):
        loss, grads = program.loss_and_grads(params, **{**data, "x": np.where(np.arange(4) == 2, value, data["x"])})
        assert test(loss)
        assert not np.isfinite(grads["W"][:, 2]).any()
    program = NativeProgram(*chars())
    params = begun(program)[0]
    params["Wh"][1, 1] = np.nan
    assert np.isnan(program.loss_and_grads(params, **batch())[0])


def test_auto(monkeypatch):
    system = ZOO["logistic"]()
    assert cr.compile(system, backend="auto").backend == "native"
    monkeypatch.setenv("CC", "nothing-of-that-name")
    with pytest.warns(NumpyInstead, match="takes numpy: the native backend needs a C compiler, and CC names nothing-of-"):
        assert cr.compile(system, backend="auto").backend == "numpy"
    with pytest.raises(NoBackend, match="needs a C compiler"):
        cr.compile(system, backend="native")
    with pytest.raises(NoBackend, match="there is cupy, native, numpy, and auto"):
        cr.compile(system, backend="fortran")


def test_a_compiler_that_fails_at_the_first_call(tmp_path, monkeypatch):
    program = NativeProgram(ZOO["logistic"]())
    monkeypatch.setenv("CHAINRULE_CFLAGS", "--no-such-flag")
    with pytest.raises(NoCompiler, match=r"cannot compile .*logistic-.*no-such-flag"):
        program.build()
    monkeypatch.setenv("CHAINRULE_CFLAGS", "-O1")
    monkeypatch.setenv("CHAINRULE_THREADS", "many")
    with pytest.raises(ValueError, match="must be a whole number from 1 on, not 'many'"):
        program.build()
