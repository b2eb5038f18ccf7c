"""Sizes whose names a generated module has given away: each is refused with a way out, whatever gave it away."""

import chainrule as cr
import pytest

MODEL = """model taken({0} = 4, H = 3)
input x[{0}]
target y[H]
h = dense(x, H)
loss = squares(h, y)
train adam(lr = 0.1)
"""
OWN = {"numpy": ["PARAMS", "TRAINED", "Workspace", "State", "ValueError"], "native": ["LIBRARY", "Library", "Call", "Path"],
       "cupy": ["KERNELS", "Kernels", "PARAMS"]}


@pytest.mark.parametrize("backend, size", [(b, k) for b, names in OWN.items() for k in names])
def test_a_size_of_the_modules_own_name(backend, size):
    says = f"taken: the size {size} cannot be called so in the generated module, .* such as {size}_SIZE"
    with pytest.raises(cr.NoBackend, match=says):
        cr.compile(cr.parse(MODEL.format(size)), backend=backend)


@pytest.mark.parametrize("size", ["LIBRARY", "Kernels", "N", "NAN"])
def test_what_this_module_does_not_have_is_free(size):
    assert f"\n{size} = 4\n" in cr.compile(cr.parse(MODEL.format(size))).source
