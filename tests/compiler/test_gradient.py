"""One table of ops with safe domains: every node kind, every primitive, every reduction, in first and second order."""

import numpy as np
import pytest
from chainrule.compiler import graph
from chainrule.compiler.check import GradientError, check_gradients
from chainrule.compiler.derivatives import grad, hessian, hvp, inner, jacobian, jvp, vjp
from chainrule.compiler.gradient import accumulate, gradient, pullback, tangent
from chainrule.compiler.graph import (
    BATCH,
    REDUCTIONS,
    At,
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Flip,
    Fold,
    Freeze,
    GraphError,
    Index,
    Input,
    Intercept,
    Noise,
    OneHot,
    Pad,
    Param,
    Put,
    Reduce,
    Reshape,
    Shift,
    Slice,
    Stop,
    Thaw,
    Transpose,
    Window,
    apply,
    class_of,
    matmul,
    postorder,
    size,
    symbol,
    total,
    zeros,
)
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.moves import Move
from chainrule.compiler.node import BOOL
from chainrule.compiler.ops import PRIMITIVES
from chainrule.compiler.rules import FORWARD, REVERSE, passes
from chainrule.compiler.verify import verify
from zoo.build import LENGTHS, Model, values

B, S, T, H = (symbol(s) for s in "BSTH")
SEQUENCE = ("t", BATCH)
KINDS = [k for k in vars(graph).values() if isinstance(k, type) and issubclass(k, Expr) and k not in (Expr, Move)]

# A kind of node as a function of a real array [t, batch](2, 3) and a real parameter (2, 3).
NODES = {
    "Const": lambda x, w: x * w * 3,
    "Extent": lambda x, w: x * w * Extent(T),
    "Index": lambda x, w: x * w * Index("t"),
    "Param": lambda x, w: w,
    "Input": lambda x, w: x,
    "Ref": lambda x, w: x * w,                                   # in cycles: see the zoo
    "Noise": lambda x, w: x * w * Noise("normal", "n", SEQUENCE, (2, 3)),
    "Shift": lambda x, w: Shift(x * w, "t", -2, (w, 2 * w)) + Shift(x * w, "t", 1, (w,)),
    "Shift beyond": lambda x, w: Shift(x * w, "t", -7, (w, 2 * w, 3 * w, 4 * w, 5 * w, 6 * w, 7 * w))
    + Shift(x * w, "t", 6, (w, 2 * w, 3 * w, 4 * w, 5 * w, 6 * w)),
    "At": lambda x, w: At(x * w, "t", 1) * At(x * w, "t", -2),
    "Put": lambda x, w: Put(At(x * w, "t", 0) * w, "t", 2) * x,
    "Map": lambda x, w: apply("tanh", x * w),
    "Contract": lambda x, w: Contract(x, w, (0, 1), (2, 1), (2, 0)) * Contract(x, x * w, (0, 1), (2, 1), (0, 2)),
    "Contract over time": lambda x, w: Contract(x, x * w, (0, 1), (2, 1), (0, 2), (BATCH,)),
    "Contract over batch": lambda x, w: Contract(x, x * w, (0, 1), (0, 2), (2, 1), ("t",)),
    "Contract by elements": lambda x, w: Contract(x, x * w, (0, 1), (0, 1), (1, 0)),
    "Reduce": lambda x, w: Reduce("sum", x * w, ("t", 0)),
    "Broadcast": lambda x, w: Broadcast(Reduce("sum", w, (0,)), SEQUENCE, (size(2), size(3)), (1,)) * x,
    "Transpose": lambda x, w: Transpose(x * w) * Transpose(x),
    "Reshape": lambda x, w: Reshape(x * w, (3, 2)) * Transpose(x),
    "Slice": lambda x, w: Slice(x * w, 1, 1, 3) * Slice(x, 1, 0, 2),
    "Pad": lambda x, w: Pad(Slice(x * w, 1, 1, 3), 1, 1, 4) * Pad(x, 1, 0, 4),
    "Concat": lambda x, w: Concat(1, (x * w, w, x)),
    "Flip": lambda x, w: Flip(x * w, 1) * x,
    "Window": lambda x, w: Window(Window(x * w, 1, 2), 0, 1, 1, 2) * Window(Window(x, 0, 1), 2, 2),
    "Window with gaps": lambda x, w: Window(x * w, 1, 2, 1, 2) * Window(x, 1, 2, 1, 2),
    "Fold": lambda x, w: Fold(Window(x * w, 1, 2) * Window(x, 1, 2), 1, 3) * x,
    "Fold with stride": lambda x, w: Fold(Window(x * w, 1, 1, 2) * Window(x, 1, 1, 2), 1, 3, 2) * x,
    "OneHot": lambda x, w: x * w * OneHot(Input("k", SEQUENCE, (2,), class_of(3)), 3),
    "Freeze": lambda x, w: Freeze(x * w, "t"),
    "Thaw": lambda x, w: Thaw(Freeze(x * w, "t"), "t") * x,
    "Intercept": lambda x, w: Intercept(x * w, "h") * Intercept(w, "k"),
    "Stop": lambda x, w: x * w,                                  # below
}


def system_of(**sizes):
    m = Model("ops", **sizes)
    m.input("x", 2, 3, time="t")
    m.param("w", 2, 3)
    m.input("k", 2, time="t", type=class_of(3))
    return m


def weighted(e):
    """A scalar that reads every element of e with another weight."""
    return total(Reduce("sum", apply("sin", e + Index("t")) if "t" in e.axes else apply("sin", e), e.axes))


def check(m, e, order=2):
    system = m.system
    loss = weighted(e)
    verify(system, roots=[loss])
    at = values(system)
    check_gradients(system, at, loss, [system.params["w"].node, system.inputs["x"]], order, LENGTHS).require()


@pytest.mark.parametrize("row", NODES)
def test_every_node_kind(row):
    m = system_of()
    check(m, NODES[row](m.system.inputs["x"], m.system.params["w"].node))


def test_every_node_kind_has_rules_and_a_row():
    for kind in KINDS:
        assert kind in REVERSE and kind in FORWARD, kind
        assert kind.__name__ in NODES, kind


OVERS = [(0,), (1,), (0, 1), ("t",), (BATCH,), ("t", BATCH), ("t", 0), (BATCH, 1), ("t", BATCH, 0, 1)]


@pytest.mark.parametrize("over", OVERS, ids=str)
@pytest.mark.parametrize("kind", REDUCTIONS)
def test_every_reduction(kind, over):
    m = system_of()
    x, w = m.system.inputs["x"], m.system.params["w"].node
    if kind != "argmax":
        return check(m, Reduce(kind, x * w, over))
    if len(over) == 1:                                           # a class: no derivative
        (best,) = gradient(m.system, weighted(apply("real", Reduce(kind, x * w, over))), [w]).grads.values()
        assert best is zeros(w)


@pytest.mark.parametrize("kind", ["max", "min"])
def test_a_tie_gives_the_gradient_to_the_first_in_row_major_order(kind):
    x = Param("x", (2, 3))
    m = Model("tie")
    m.param("x", 2, 3)
    system, (d,) = grad(m.system, Reduce(kind, x, (0, 1)), [x])
    (found,) = evaluate(system, [d], {"x": [[1, 2, 2], [2, 1, 1]] if kind == "max" else [[2, 1, 1], [1, 2, 2]]})
    assert found.tolist() == [[0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("at", [[2.0, 0.0, 3.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
def test_products_with_zeros(at):
    """First derivatives everywhere, second ones with at most one zero."""
    m = Model("products")
    x = m.param("x", 3)
    system, (d,) = grad(m.system, Reduce("prod", x, (0,)), [x])
    extended, H = jacobian(system, d, x)
    first, second = evaluate(extended, [d, H], {"x": at})
    others = [np.prod([at[j] for j in range(3) if j != i]) for i in range(3)]
    np.testing.assert_allclose(first, others, atol=1e-15)
    if at.count(0.0) < 2:
        pairs = [[0 if i == k else np.prod([at[j] for j in range(3) if j not in (i, k)]) for k in range(3)] for i in range(3)]
        np.testing.assert_allclose(second, pairs, atol=1e-14)


def test_a_norm_at_zero_has_gradient_zero():
    m = Model("norm")
    x = m.param("x", 3)
    system, (d,) = grad(m.system, Reduce("norm", x, (0,)), [x])
    assert evaluate(system, [d], {"x": np.zeros(3)})[0].tolist() == [0, 0, 0]


# ---------------------------------------------------------------- primitives

def operands(m, name):
    """Parameters in the primitive's domain, truth values where it takes them, and their arrays."""
    rng = np.random.default_rng(3)
    nodes, arrays = [], {}
    logical = {"and": (0, 1), "or": (0, 1), "not": (0,), "select": (0,), "real": (0,)}.get(name, ())
    for i, (lo, hi) in enumerate(PRIMITIVES[name].domain):
        node = m.param("xyz"[i], 5)
        arrays["xyz"[i]] = rng.uniform(lo, hi, 5)
        nodes.append(apply("gt", node, 0.3) if i in logical else node)
    return nodes, arrays


@pytest.mark.parametrize("name", PRIMITIVES)
def test_every_primitive(name):
    m = Model("primitive")
    nodes, arrays = operands(m, name)
    f = apply(name, *nodes)
    if f.type == BOOL:
        assert passes(f) == ()
        f = apply("select", f, nodes[0] if nodes[0].type != BOOL else 2, 3 * Param("x", (5,)))
    smooth = [p.node for i, p in enumerate(m.system.params.values()) if name != "expmoment" or i > 0]
    check_gradients(m.system, arrays, total(apply("sin", f)), smooth).require()


def test_no_gradient_passes_a_stop_or_a_comparison():
    m = Model("stop")
    w = m.param("w", 3)
    loss = total(Stop(w) * w + apply("real", w > 0) * Stop(apply("exp", w)))
    (d,) = grad(m.system, loss, [w])[1]
    assert d is Broadcast(Const(1), (), w.shape, ()) * Stop(w)
    assert jvp(m.system, [Stop(w)], {w: Broadcast(Const(1), (), w.shape, ())})[1] == [zeros(w)]


# ---------------------------------------------------------------- the engine

def test_what_the_loss_does_not_read_has_gradient_zero():
    m = Model("unread")
    w, v = m.param("w", 3), m.param("v", 2)
    assert grad(m.system, total(w), [v])[1] == [zeros(v)]


def test_nothing_is_computed_for_what_wrt_does_not_reach():
    m = system_of()
    x, w = m.system.inputs["x"], m.system.params["w"].node
    adjoint = gradient(m.system, weighted(apply("tanh", x) * w), [w])
    assert x not in adjoint.adjoints and apply("tanh", x) not in adjoint.adjoints


def test_adjoints_name_what_they_belong_to_and_list_their_terms():
    m = Model("names")
    w, v = m.param("w", 3), m.param("v", 3)
    h = m.eq("h", apply("tanh", w * v))
    loss = total(apply("square", h)) + total(apply("exp", h))
    adjoint = gradient(m.system, loss, [w])
    assert adjoint.system.names[adjoint.adjoints[h]] == "d_h"
    assert adjoint.system.names[adjoint.grads[w]] == "d_w"
    assert [t.reader for t in adjoint.terms[h]] == [apply("exp", h), apply("square", h)]
    assert adjoint.adjoints[h] is adjoint.terms[h][0].value + adjoint.terms[h][1].value


def test_orders_have_prefixes_of_their_own():
    m = Model("orders", H=2)
    W, x = m.param("W", "H", "H"), m.input("x", "H", time="t")
    h = m.eq("h", apply("tanh", x + matmul(W, Shift(m.ref("h", "H"), "t", -1, (Const(0),)))))
    loss = weighted(h)
    once, g = grad(m.system, loss, [W])
    twice, _ = grad(once, inner(g, [W]), [W])
    assert list(once.equations) == ["h", "d_h"] and list(twice.equations) == ["h", "d_h", "d2_d_h", "d2_h"]
    with pytest.raises(GraphError, match="the name d_h is taken"):
        gradient(once, loss, [W])
    forward, _ = jvp(twice, g, {W: W})
    assert list(forward.equations)[4:] == ["t_h", "t_d_h"]
    assert len(once.equations) == 2                              # nothing is written into the given system


def test_third_order_through_a_recurrence():
    m = Model("third", H=2)
    W, x = m.param("W", "H", "H"), m.input("x", "H", time="t")
    h = m.eq("h", apply("tanh", x + matmul(W, Shift(m.ref("h", "H"), "t", -1, (Const(0),)))))
    once, g = grad(m.system, weighted(h), [W])
    twice, g2 = grad(once, inner(g, [apply("sin", W)]), [W])
    third = inner(g2, [apply("cos", W)])
    at = values(m.system)
    verify(twice, roots=[third])
    check_gradients(twice, at, third, [W], 1, LENGTHS).require()
    check_gradients(twice, at, third, [x], 2, LENGTHS).require()


def test_slices_that_tile_an_axis_give_one_concatenation():
    m = Model("tiles", H=3)
    w = m.param("w", 3 * H, 2)
    parts = [Slice(w, 0, k * H, (k + 1) * H) for k in range(3)]
    loss = total(apply("exp", parts[0])) + total(apply("tanh", parts[1])) + total(apply("sin", parts[2]) * parts[1])
    (d,) = grad(m.system, loss, [w])[1]
    assert isinstance(d, Concat) and len(d.args) == 3
    quarters = [Slice(p, 1, c, c + 1) for p in parts for c in range(2)]
    (d,) = grad(m.system, sum((total(apply("exp", q)) for q in quarters), Const(0)), [w])[1]
    assert not any(isinstance(n, Pad) for n in postorder(d))
    (d,) = grad(m.system, total(apply("exp", parts[0])) + total(apply("exp", parts[2])), [w])[1]
    assert not isinstance(d, Concat)


def test_a_sum_of_no_contributions_is_none():
    assert accumulate([]) is None


def test_constants_receive_nothing():
    m = Model("constant")
    w = m.param("w", 3)
    adjoint = gradient(m.system, total(w * 2), [w])
    assert not any(isinstance(n, Const) for n in adjoint.adjoints)


def test_a_gradient_needs_a_scalar():
    w = Param("w", (3,))
    with pytest.raises(GraphError, match="a gradient needs a scalar"):
        gradient(Model("vector").system, w, [w])


# ---------------------------------------------------------------- Jacobians, Hessians, products

def test_jacobian_in_both_modes():
    m = Model("jacobian", H=3, D=2)
    W, b, x = m.param("W", "H", "D"), m.param("b", "D"), m.input("x", "D")
    v = m.eq("v", apply("tanh", matmul(W, b)))
    at = values(m.system)
    y = np.tanh(at["W"] @ at["b"])
    expected = (1 - y**2)[:, None, None] * np.eye(3)[:, :, None] * at["b"]
    for mode in ("forward", "reverse", "auto"):
        system, J = jacobian(m.system, v, W, mode)
        assert J.shape == (H, H, symbol("D"))
        np.testing.assert_allclose(evaluate(system, [J], at)[0], expected, atol=1e-15)
    system, J = jacobian(m.system, apply("tanh", matmul(W, x)), x)     # every example's own
    y = np.tanh(at["x"] @ at["W"].T)
    np.testing.assert_allclose(evaluate(system, [J], at)[0], (1 - y**2)[:, :, None] * at["W"], atol=1e-15)


def test_jacobian_through_a_recurrence_at_every_step():
    m = Model("steps", H=2)
    W, x = m.param("W", "H", "H"), m.input("x", "H", time="t")
    h = m.eq("h", apply("tanh", x + matmul(W, Shift(m.ref("h", "H"), "t", -1, (Const(0),)))))
    at = values(m.system)
    system, J = jacobian(m.system, h, W)
    verify(system, roots=[J])
    (found,) = evaluate(system, [J], at)
    step = 1e-6
    for index in np.ndindex(2, 2):
        e = np.zeros((2, 2))
        e[index] = step
        high, low = (evaluate(m.system, [h], {**at, "W": at["W"] + s * e})[0] for s in (1, -1))
        np.testing.assert_allclose(found[..., *index], (high - low) / (2 * step), atol=1e-8)


def test_jacobian_by_a_sequence_is_refused():
    x = Input("x", ("t", BATCH), (2,))
    with pytest.raises(GraphError, match="time axis"):
        jacobian(Model("m").system, x, x)
    with pytest.raises(GraphError, match="without axes"):
        jacobian(Model("m").system, At(x, "t", 0), Param("w", (2,)), "reverse")


def test_hessian_of_two_parameters():
    m = Model("hessian", H=2)
    v, w = m.param("v", "H"), m.param("w", "H")
    loss = total(apply("exp", v * w))
    at = values(m.system)
    p = at["v"] * at["w"]
    system, same = hessian(m.system, loss, v)
    mixed_system, mixed = hessian(m.system, loss, v, w)
    np.testing.assert_allclose(evaluate(system, [same], at)[0], np.diag(at["w"] ** 2 * np.exp(p)), atol=1e-14)
    np.testing.assert_allclose(evaluate(mixed_system, [mixed], at)[0], np.diag((1 + p) * np.exp(p)), atol=1e-14)


def test_vjp_is_the_transpose_of_jvp():
    m = Model("transpose", H=2)
    W, x = m.param("W", "H", "H"), m.input("x", "H", time="t")
    h = m.eq("h", apply("tanh", x + matmul(W, Shift(m.ref("h", "H"), "t", -1, (Const(0),)))))
    u, c = m.param("u", "H", "H"), m.input("c", "H", time="t")
    at = values(m.system)
    forward, (moved,) = jvp(m.system, [h], {W: u})
    back, (pulled,) = vjp(m.system, {h: c}, [W])
    a, b = evaluate(forward, [moved], at)[0], evaluate(back, [pulled], at)[0]
    np.testing.assert_allclose((a * at["c"]).sum(), (b * at["u"]).sum(), rtol=1e-13)


def test_references_stand_for_their_equations():
    m = Model("references", H=2)
    W, x = m.param("W", "H", "H"), m.input("x", "H", time="t")
    ref = m.ref("h", "H")
    h = m.eq("h", apply("tanh", x + matmul(W, Shift(ref, "t", -1, (Const(0),)))))
    loss = weighted(h)
    assert gradient(m.system, loss, [ref]).grads[ref] is gradient(m.system, loss, [h]).grads[h]
    assert pullback(m.system, {ref: x}, [W]).grads[W] is pullback(m.system, {h: x}, [W]).grads[W]
    assert tangent(m.system, [ref], {W: W}).values == tangent(m.system, [h], {W: W}).values


def test_a_wrong_gradient_is_reported_with_its_worst_entry(monkeypatch):
    m = Model("wrong")
    w = m.param("w", 3)
    wrong = PRIMITIVES["tanh"].__class__(**{**vars(PRIMITIVES["tanh"]), "rules": (lambda g, out, x: g * out,)})
    monkeypatch.setitem(PRIMITIVES, "tanh", wrong)
    with pytest.raises(GradientError, match=r"worst entry, first order: w\[\d\]: differences .*, derived"):
        check_gradients(m.system, values(m.system), total(apply("tanh", w)), [w]).require()


def test_a_direction_is_held_fixed_even_if_it_is_a_parameter():
    m = Model("hvp", H=2)
    v, w, u = m.param("v", "H"), m.param("w", "H"), m.param("u", "H")
    loss = total(apply("sigmoid", v * w) * w)
    at = values(m.system)
    found = [evaluate(s, e, at) for s, e in (hvp(m.system, loss, [v, w], [u, w], mode) for mode in ("forward", "reverse"))]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-13)
