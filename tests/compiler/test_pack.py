"""Packing: which parameters become one, in which order, and that nothing else changes."""

import textwrap

import chainrule as cr
import pytest
from chainrule.compiler.graph import Contract, postorder, symbol
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes.pack import joined, pack
from chainrule.compiler.passes.simplify import simplify
from chainrule.compiler.pipeline import compile_system
from chainrule.compiler.program import Loop, Product, flat
from chainrule.compiler.verify import verify
from numpy.testing import assert_allclose
from zoo.build import LENGTHS, values
from zoo.catalogue import ZOO


def members(name):
    _, packs = pack(simplify(ZOO[name]()))
    return {p.name: [m.name for m in ms] for p, ms in packs.items()}


def test_gates_are_packed_by_their_nonlinearity_then_as_declared():
    assert members("lstm_concat") == {"W": ["W_f", "W_i", "W_o", "W_g"], "b": ["b_f", "b_i", "b_o", "b_g"]}


def test_products_of_different_operands_stay_apart():
    assert members("mlp") == {}
    assert members("gru") == {"W_zrW": ["W_z", "W_r", "W"]}


@pytest.mark.parametrize("name", ["lstm_split", "lstm_concat", "lstm_packed"])
def test_an_lstm_has_one_product_a_step_each_way(name):
    body = compile_system(ZOO[name]()).functions["gradients"].body
    loops = [s for s in flat(body) if isinstance(s, Loop)]
    assert [sum(isinstance(s, Product) for s in flat(loop.body)) for loop in loops] == [1, 1]


def test_the_inputs_share_leaves_the_loop_in_every_layer():
    text = """
    model stack(V = 5, H = 4)
    input x[t] : class(V)
    h1[t] = lstm(onehot(x[t]), H)
    h2[t] = lstm(tanh(h1[t]), H)
    h3[t] = lstm(h2[t], H)
    loss = mean[batch, t](sum(h3[t]))
    """
    out = compile_system(cr.parse(textwrap.dedent(text)).system)
    loops = [s for s in flat(out.functions["gradients"].body) if isinstance(s, Loop)]
    assert [sum(isinstance(s, Product) for s in flat(loop.body)) for loop in loops] == [1] * 6
    assert {"h1.fio", "h2.fio", "h3.fio"} <= set(out.differentiated.names.values())
    for loop in loops:
        (product,) = [s for s in flat(loop.body) if isinstance(s, Product)]
        assert symbol("H") in (*product.a.dims, *product.b.dims)                     # the state alone, not [h[t-1], x[t]]


@pytest.mark.parametrize("name", ZOO)
def test_the_packed_system_means_the_same(name):
    system = simplify(ZOO[name]())
    packed, packs = pack(system)
    back = packed.rewrite(joined(packs))
    verify(back, "pack")
    at = values(system)
    (before,), (after,) = (evaluate(s, [s.loss.value], at, LENGTHS) for s in (system, back))
    assert_allclose(before, after, rtol=1e-12)


def test_every_product_of_a_pack_is_merged():
    packed, packs = pack(simplify(ZOO["lstm_concat"]()))
    (whole,) = [p for p in packs if p.name == "W"]
    products = [n for n in postorder(*packed.roots()) if isinstance(n, Contract) and whole in set(postorder(n.args[0]))]
    assert len(products) == 2                                    # the state's share and the input's


def test_a_vector_that_is_the_same_at_every_step_is_multiplied_once():
    """One vector to a sequence: neither W @ x nor its adjoint has a time axis."""
    text = """
    model decoder(D = 3, H = 4)
    input  x[D]
    target y[t, H]
    param  W[H, H + D] ~ xavier
    h[t] = tanh(W @ [h[t-1], exp(x)])            where h[-1] = 0
    loss = mean[batch, t](squares(h[t], y[t]))
    """
    out = compile_system(cr.parse(textwrap.dedent(text)).system)
    products = [s for s in flat(out.functions["gradients"].body) if isinstance(s, Product)]
    given = [s for s in products if symbol("D") in (*s.a.dims, *s.b.dims, *s.out.dims)]
    assert given and not any(symbol("T") in (*s.a.dims, *s.b.dims) for s in given)
