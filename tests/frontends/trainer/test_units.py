"""Data that no unit of an energy model can be: refused before training starts, under the layer's declaration."""

import numpy as np
import pytest
from chainrule.frontends.language import load
from chainrule.frontends.trainer.data import from_arrays, load_data
from chainrule.frontends.trainer.errors import DataError

MODEL = """energy machine(D = 64, H = 4)
visible v{sizes} : {kind}
hidden h[H] : binary
param W[H, {of}] ~ normal(0.1)
E = -h @ W @ {v}
data digits(shuffle = 1): v = {formula}
train contrastive_divergence(k = 1, lr = 0.1)
"""
BAD = {
    "binary": ("image / 16", "is neither 0 nor 1, the values of binary units"),
    "binary(mean)": ("image", "is not from 0 to 1, as means of binary units are"),
    "spin": ("image > 7", "is neither -1 nor 1, the values of spin units"),
    "categorical": ("1 - 0 * onehot(floor(image / 8.1), 2)", "is not of a single 1 among 0s along the last axis"),
}


def model(tmp_path, kind, formula):
    """A model file of one kind of visible units."""
    groups = kind == "categorical"
    text = MODEL.format(kind=kind, formula=formula, sizes="[D, 2]" if groups else "[D]", of="2*D" if groups else "D",
                        v="flatten(v)" if groups else "v")
    path = tmp_path / "machine.nn"
    path.write_text(text)
    return load(path)


@pytest.mark.parametrize("kind", BAD)
def test_values_that_no_unit_has(kind, tmp_path):
    formula, why = BAD[kind]
    with pytest.raises(DataError) as error:
        load_data(model(tmp_path, kind, formula))
    first, line, carets, hint = str(error.value).split("\n")
    assert first.startswith("input v: ") and why in first
    assert line.startswith("   2 | visible v[D") and carets.strip("| ").strip("^") == "" and "^^^^" in carets
    assert "v = " in hint or "v : " in hint


def test_values_in_memory():
    """The same of arrays, without a file to show."""
    from chainrule.frontends.language import parse
    system = parse("energy m(D = 3, H = 2)\nvisible v[D] : spin\nhidden h[H] : binary\nparam W[H, D] ~ normal(1)\n"
                   "E = -h @ W @ v\ntrain contrastive_divergence(k = 1, lr = 0.1)\n")
    with pytest.raises(DataError, match=r"0.0 at example 1 .*position 2 is neither -1 nor 1"):
        from_arrays(system, train={"v": np.array([[1, -1, 1], [1, 1, 0.0]])})
