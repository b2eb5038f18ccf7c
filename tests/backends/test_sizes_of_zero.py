"""A size that is 0 as a divisor: what it divides is inf or NaN, the same in all backends and in every printed form."""

import numpy as np
import pytest
from chainrule import compile as compiled
from chainrule import parse
from chainrule.compiler.interpret import evaluate

MODEL = """model divided(D = 3, C = 7)
input  x[D]
target y[D]
param  W[D, D] ~ normal(1)
k = {k}
h = {h}
loss = squares(h, y)
output h, k
"""
FORMS = [("C - 2", "W @ x * (k / (B - 1))"), ("1.5 * (C - 2)", "W @ x / (B - 1) - k / (B - 1)"),
         ("C - B", "x - W @ x * k * 2 / (B - 1)"), ("3", "k * x / (B - 1)"),
         ("2 - 2 / (B - 1)", "W @ (x + 4 / (B^2 - 1)) * (2 / B)"), ("(B - 1)^(-1)", "W @ x + (B - 2)^0.5 + C^(B - 3)"),
         ("mean[batch] sum(x)", "tanh(W @ x * (k + 1) * (2 / (B - 1)) - 3 * (4 / (B - 1)))"),
         ("sum[batch] ((x - mean[batch](x))^2) / (B - 1)", "x / sqrt(1 + k)")]
PRINTED = ({"backend": "numpy"}, {"backend": "numpy", "level": 0}, {"backend": "native"})


def results(program, params, x, y):
    """All that is computed of a batch; gradients want an example."""
    out = program.predict(params, x=x) | dict(enumerate(program.evaluate(params, x=x, y=y)["loss"]))
    return out | program.loss_and_grads(params, x=x, y=y)[1] if len(x) else out


@pytest.mark.parametrize("k, h", FORMS)
@np.errstate(all="ignore")
def test_a_divisor_that_is_0(k, h):
    """At B = 1 all printed forms say the same; what order factors have there decides between inf and NaN."""
    programs = [compiled(parse(MODEL.format(k=k, h=h)), dtype="float64", **how) for how in PRINTED]
    system, params = programs[0].system, programs[0].init(seed=0)
    for B in (1, 2, 0):
        x, y = np.random.default_rng(B).normal(size=(2, B, 3))
        first, *others = (results(p, params, x, y) for p in programs)
        for found in others:
            for name, wanted in first.items():
                np.testing.assert_allclose(found[name], wanted, rtol=1e-9, atol=1e-15)
        if B != 1:
            wanted = evaluate(system, [system.equations["h"], system.equations["k"]], {**params, "x": x}, {"B": B})
            np.testing.assert_allclose(first["h"], wanted[0], rtol=1e-9)
            np.testing.assert_allclose(first["k"], wanted[1], rtol=1e-9)


def test_what_is_never_0_is_divided_by_plainly():
    """The type is said where a number of Python's would be divided by a size that may be 0, and nowhere else."""
    source = compiled(parse(MODEL.format(k="2 / (B - 1)", h="W @ (x * (2 / B)) - k"))).source
    code = [line.partition("#")[0] for line in source[source.index("def _gradients("):].splitlines()]
    assert any("2 / dtype.type(B - 1)" in line for line in code) and any("4 / (B*B)" in line or "2 / B" in line for line in code)
    assert not any("dtype.type(B)" in line for line in code)
