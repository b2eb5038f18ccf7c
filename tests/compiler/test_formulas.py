"""Formulas: what a node reads as, in text, LaTeX and SymPy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from chainrule.compiler.formulas import equations, formula, latex, sympy_of
from chainrule.compiler.graph import (
    At,
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Flip,
    Freeze,
    Index,
    Input,
    Map,
    Noise,
    OneHot,
    Pad,
    Param,
    Put,
    Reduce,
    Ref,
    Reshape,
    Shift,
    Slice,
    Stop,
    Thaw,
    Transpose,
    apply,
    broadcast,
    class_of,
    length,
    matmul,
    mean,
    symbol,
    total,
    wrap,
)
from chainrule.compiler.ops import PRIMITIVES

D, H = symbol("D"), symbol("H")
W, U = Param("W", (H, D)), Param("U", (H, H))
b, v = Param("b", (H,)), Param("v", (H,))
x, z = Input("x", ("batch",), (D,)), Input("z", ("batch",), (H,))
xt, ht = Input("x", ("t", "batch"), (D,)), Ref("h", ("t", "batch"), (H,))
y = Input("y", ("batch",), (), class_of(H))
zero = Const(0)


def softmax(s: Expr, at: int = 0) -> Expr:
    return apply("exp", s - broadcast(Reduce("logsumexp", s, (at,)), s.axes, s.shape))


ROWS: list[tuple[Callable[[], Expr], str]] = [
    (lambda: matmul(W, x) + b, "W @ x + b"),
    (lambda: Contract(W, z, (0, 1), (0,), (1,)), "W.T @ z"),
    (lambda: Contract(z, W, (0,), (0, 1), (1,)), "W.T @ z"),
    (lambda: Contract(z, x, (0,), (1,), (0, 1), ()), "z @ x.T"),
    (lambda: Contract(z, x, (0,), (1,), (1, 0), ()), "x @ z.T"),
    (lambda: Contract(z, x, (0,), (1,), (0, 1)), "z @ x.T"),
    (lambda: Contract(z, z, (0,), (0,), (0,), ()), "sum[batch] z * z"),
    (lambda: Contract(z, v, (0,), (0,), ()), "z @ v"),
    (lambda: Contract(W, W, (0, 1), (0, 1), ()), "sum(W * W)"),
    (lambda: Contract(W, W, (0, 1), (2, 1), (0, 2)), "W @ W.T"),
    (lambda: Contract(W, b, (0, 1), (2,), (2, 1, 0)), "contract(W, b, ij, k, kji)"),
    (lambda: Contract(ht, xt, (0,), (1,), (0, 1), ()), "sum[t] h[t] @ x[t].T"),
    (lambda: Contract(W, OneHot(y, H), (0, 1), (0,), (1,)), "W.T @ onehot(y)"),
    (lambda: softmax(z), "softmax(z)"),
    (lambda: z - broadcast(Reduce("logsumexp", z, (0,)), z.axes, z.shape), "log_softmax(z)"),
    (lambda: (softmax(z) - OneHot(y, H)) / length("batch"), "(softmax(z) - onehot(y)) / B"),
    (lambda: -OneHot(y, H) + softmax(z), "softmax(z) - onehot(y)"),
    (lambda: z + -z, "z - z"),
    (lambda: 1 - apply("square", z), "1 - z^2"),
    (lambda: apply("square", -z), "(-z)^2"),
    (lambda: -apply("square", z), "-z^2"),
    (lambda: apply("pow", z, 0.5), "z^0.5"),
    (lambda: z * (b + v), "z * (b + v)"),
    (lambda: z - (b - v), "z - (b - v)"),
    (lambda: z + (b - v), "z + b - v"),
    (lambda: matmul(U, z) * b, "(U @ z) * b"),
    (lambda: z / (b * v), "z / (b * v)"),
    (lambda: -(z * b), "-z * b"),
    (lambda: total(z), "sum(z)"),
    (lambda: mean(z, (0,)), "mean(z)"),
    (lambda: mean(z, ("batch",)), "mean[batch](z)"),
    (lambda: mean(z * z, ("batch", 0)), "mean[batch, 0] z * z"),
    (lambda: total(z) / D, "sum(z) / D"),
    (lambda: Reduce("sum", ht, ("t", "batch")), "sum[t, batch](h[t])"),
    (lambda: Reduce("max", W, (1,)), "max[1](W)"),
    (lambda: Reduce("argmax", z, (0,)), "argmax(z)"),
    (lambda: mean(z, ("batch",)) * mean(z, ("batch",)), "(mean[batch](z)) * mean[batch](z)"),
    (lambda: apply("select", z > 0, z, 0), "select(z > 0, z, 0)"),
    (lambda: apply("and", z > 0, apply("not", z > 1)), "z > 0 and not z > 1"),
    (lambda: apply("eq", Reduce("argmax", z, (0,)), y), "argmax(z) == y"),
    (lambda: apply("tanh", matmul(W, xt) + matmul(U, Shift(ht, "t", -1, (zero,))) + b), "tanh(W @ x[t] + U @ h[t-1] + b)"),
    (lambda: Shift(matmul(U, ht) + matmul(U, Shift(ht, "t", -3, (zero,) * 3)), "t", 1, (zero,)), "U @ h[t+1] + U @ h[t-2]"),
    (lambda: At(ht, "t", -1), "h[T-1]"),
    (lambda: At(matmul(U, Shift(ht, "t", -1, (zero,))), "t", -1), "U @ h[T-2]"),
    (lambda: At(ht, "t", 0), "h[0]"),
    (lambda: Put(z, "t", -1), "select(t == T-1, z, 0)"),
    (lambda: apply("real", Index("t")), "real(t)"),
    (lambda: matmul(Freeze(ht, "t"), v), "h[:] @ v"),
    (lambda: Thaw(Param("K", (length("t"), H)), "t"), "K[t]"),
    (lambda: Transpose(W), "W.T"),
    (lambda: Transpose(Param("K", (H, D, H)), (1, 0, 2)), "transpose(K, 1, 0, 2)"),
    (lambda: Reshape(W, (H * D,)), "flatten(W)"),
    (lambda: Slice(Slice(W, 0, 0, 2), 1, 1, D), "W[0:2, 1:D]"),
    (lambda: Slice(W, 1, 0, 2), "W[:, 0:2]"),
    (lambda: Slice(ht, 0, 0, 2), "h[t, 0:2]"),
    (lambda: Pad(z, 0, 1, H + 2), "pad(z, 1, H + 2)"),
    (lambda: Concat(0, (z, x)), "[z, x]"),
    (lambda: Concat(0, (W, W)), "concat(0, W, W)"),
    (lambda: Flip(z, 0), "flip(z)"),
    (lambda: Broadcast(z, ("batch",), (H, D), (0,)), "z[:, None]"),
    (lambda: Stop(z), "stop(z)"),
    (lambda: apply("real", Noise("uniform", "d", ("batch",), (H,)) < 0.8) / 0.8, "real(uniform(d) < 0.8) / 0.8"),
    (lambda: wrap(4 * H) * total(z), "4*H * sum(z)"),
]


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_reads_as(row: int) -> None:
    build, text = ROWS[row]
    assert formula(build(), {}) == text


@pytest.mark.parametrize("f", sorted(PRIMITIVES))
def test_every_primitive_prints_in_every_form(f: str) -> None:
    p = PRIMITIVES[f]
    args = tuple(z > 0 if f in ("and", "or", "not") or (f == "select" and k == 0) else z for k in range(p.arity))
    e = Map(f, args)
    assert formula(e, {}) and latex(e, {})
    symbols = {s.name for s in sympy_of(e, {}).free_symbols}
    assert symbols <= {"z"}


def test_names_cut_and_the_root_is_expanded() -> None:
    s = matmul(W, x) + b
    names = {s: "s"}
    assert formula(apply("tanh", s), names) == "tanh(s)"
    assert formula(s, names) == "W @ x + b"
    assert formula(s, names, top=False) == "s"
    assert formula(apply("tanh", apply("tanh", ht)), {}, index=False) == "tanh(tanh(h))"


def test_an_idiom_does_not_look_through_a_name() -> None:
    low = Reduce("logsumexp", z, (0,))
    p = apply("exp", z - broadcast(low, z.axes, z.shape))
    assert formula(p, {low: "lse"}) == "exp(z - lse)"
    assert formula(p, {p.args[0]: "q"}) == "exp(q)"


def test_elman_gradient_reads_as_in_a_paper() -> None:
    why = Param("Why", (D, H))
    d_p, d_a = Ref("d_p", ("t", "batch"), (D,)), Ref("d_a_h", ("t", "batch"), (H,))
    d_h = matmul(Transpose(why), d_p) + Shift(Contract(U, d_a, (0, 1), (0,), (1,)), "t", 1, (zero,))
    assert formula(d_h, {}) == "Why.T @ d_p[t] + U.T @ d_a_h[t+1]"


def test_depth_and_sharing_are_harmless() -> None:
    e: Expr = z
    for _ in range(3000):
        e = e + e
    assert formula(e, {}) == "... + ..."
    text = [str(q) for q in equations({"out": e}, {})]
    assert len(text) > 1000 and max(map(len, text)) < 60
    assert text[-1].startswith("out = ")


def test_shared_parts_are_named_in_order_and_names_in_use_are_avoided() -> None:
    t1 = Param("t1", (H,))
    part = apply("tanh", matmul(W, x) + t1)
    lines = [str(q) for q in equations({"u": part * b, "w": part + v}, {})]
    assert lines == ["t2 = tanh(W @ x + t1)", "u = t2 * b", "w = t2 + v"]


def test_equations_stop_at_what_is_given() -> None:
    s = matmul(W, x) + b
    h = apply("tanh", s)
    names = {s: "s", h: "h"}
    assert [str(q) for q in equations({"r": h * v}, names)] == ["s = W @ x + b", "h = tanh(s)", "r = h * v"]
    assert [str(q) for q in equations({"r": h * v}, names, given=[h])] == ["r = h * v"]


@pytest.mark.parametrize(("build", "text"), [
    (lambda: (softmax(z) - OneHot(y, H)) / length("batch"), r"\frac{\operatorname{softmax}\left(z\right) - \mathbf{1}_{y}}{B}"),
    (lambda: apply("sigmoid", matmul(Param("W_f", (H, D)), xt)), r"\sigma\left(W_{f} \, x_{t}\right)"),
    (lambda: Contract(Ref("d_h1", ("batch",), (H,)), x, (0,), (1,), (0, 1), ()), r"\bar{h}_{1} \, x^{\top}"),
    (lambda: z * b, r"z \odot b"),
    (lambda: apply("select", z > 0, z, 0), r"\begin{cases} z & z > 0 \\ 0 & \text{otherwise} \end{cases}"),
    (lambda: Reduce("sum", ht, ("t",)), r"\sum_{t} h_{t}"),
])
def test_latex(build: Callable[[], Expr], text: str) -> None:
    assert latex(build(), {}) == text


def test_sympy_takes_the_primitives_by_their_meaning() -> None:
    import sympy
    s = sympy.Symbol("z", real=True)
    assert sympy.simplify(sympy_of(apply("sigmoid", z), {}) - 1 / (1 + sympy.exp(-s))) == 0
