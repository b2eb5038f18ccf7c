"""What lines of a model mean: the elaborated node is the one built by hand, identically."""

import pytest
from chainrule.compiler.graph import (
    At,
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Index,
    Input,
    Map,
    Noise,
    OneHot,
    Param,
    Reduce,
    Ref,
    Shift,
    Slice,
    Stop,
    Transpose,
    apply,
    broadcast,
    class_of,
    length,
    mean,
    symbol,
    total,
)
from chainrule.compiler.sizes import size
from chainrule.compiler.system import Average, Initialiser, Penalty, System
from chainrule.frontends.language import parse
from chainrule.frontends.language.semantics import cross_entropy, softmax, variance

D, H, V = symbol("D"), symbol("H"), symbol("V")
HEAD = "model m(D = 6, H = 4, C = 3)\ninput x[D]\ninput z[H]\ntarget y : class(C)\nparam W[H, D] ~ he; b[H] = 0\nparam a = 0.25\n"
TIME = "model m(V = 5, H = 4)\ninput x[t] : class(V)\ntarget y[t] : class(V)\nparam W[H, V], U[H, H] ~ xavier; b[H] = 0\n"
x, z = Input("x", shape=(D,)), Input("z", shape=(H,))
y = Input("y", type=class_of(symbol("C")))
W, b, a = Param("W", (H, D)), Param("b", (H,)), Param("a")
xt = Input("x", ("t", "batch"), type=class_of(V))
WT, U = Param("W", (H, V)), Param("U", (H, H))


def value(text: str, head: str = HEAD, name: str = "q") -> Expr:
    left = name + ("[t]" if head is TIME else "")
    return parse(f"{head}{left} = {text}\n").equations[name]


@pytest.mark.parametrize(("text", "expected"), [
    ("W @ x + b", W @ x + b),
    ("W.T @ (W @ x)", Transpose(W) @ (W @ x)),
    ("-x^2", -(x**2)),
    ("2^-a * x", Const(2)**(-a) * x),
    ("a^a^a", a**(a**a)),
    ("x / 16", x / 16),
    ("x * (1/2 + 1/2)", x * 1),
    ("x * H / 3 * 2", x * Extent(H) / 3 * 2),
    ("x * (2 * H - 1)", x * Extent(2 * H - 1)),
    ("sigmoid(x) * tanh(a * x)", apply("sigmoid", x) * apply("tanh", a * x)),
    ("select(x > 0 and not x > 1, x, 0)",
     apply("select", apply("and", x > 0, apply("not", x > 1)), x, 0)),
    ("max(x, 0) + min(x, 1, a)", apply("maximum", x, 0) + apply("minimum", apply("minimum", x, 1), a)),
    ("sum(x) * x", Reduce("sum", x, (0,)) * x),
    ("mean(x)", mean(x, (0,))),
    ("sum[batch] x * x", Reduce("sum", x * x, ("batch",))),
    ("x - mean[batch](x) / 2", x - mean(x / 2, ("batch",))),
    ("a * sum[batch] x * x + x", a * Reduce("sum", x * x, ("batch",)) + x),
    ("var[batch](x)", variance(x, ("batch",))),
    ("norm(W @ x)", Reduce("norm", W @ x, (0,))),
    ("softmax(x)", softmax(x)),
    ("softmax(x)", apply("exp", x - Broadcast(Reduce("logsumexp", x, (0,)), ("batch",), (D,), ()))),
    ("[x, z, a]", Concat(0, (x, z, Broadcast(a, (), (size(1),), ())))),
    ("x[1:4]", Slice(x, 0, 1, 4)),
    ("W[0:2] @ x", Slice(W, 0, 0, 2) @ x),
    ("x @ x", x @ x),
    ("onehot(y)", OneHot(y, symbol("C"))),
    ("leaky_relu(x)", apply("select", x > 0, x, 0.01 * x)),
    ("stop(x)", Stop(x)),
    ("contract(\"ij,j->i\", W, x)", Contract(W, x, (0, 1), (1,), (0,))),
])
def test_expressions(text: str, expected: Expr) -> None:
    found = value(text)
    if isinstance(expected, Concat):                             # a number in a row is a vector of one
        assert found.shape == (D + H + 1,) and found.args[:2] == expected.args[:2]
    else:
        assert found is expected


def test_dropout_draws_differ() -> None:
    u, v = (Noise("uniform", k, ("batch",), (D,)) for k in ("q", "q#2"))

    def kept(e: Expr, n: Expr) -> Expr:
        return e * (Map("real", (apply("lt", n, 0.75),)) / 0.75)

    assert value("dropout(x, 0.25) + dropout(x, 0.25)") is kept(x, u) + kept(x, v)
    assert value("gaussian_noise(x, 0.1)") is x + 0.1 * Noise("normal", "q", ("batch",), (D,))


def test_noise_on_a_parameter_has_no_batch() -> None:
    assert value("dropout(W, 0.5) @ x").args[0].axes == ()


def test_losses() -> None:
    s = W @ x
    p = softmax(s)
    found = parse("model m(D = 6, H = 4)\ninput x[D]\ntarget y : class(H)\nparam W[H, D] ~ he\ns = W @ x\n"
                  "loss = mean[batch] cross_entropy(softmax(s), y)\nmetric e = argmax(s) != y\n")
    k = Input("y", type=class_of(H))
    assert found.loss == Average(Reduce("sum", cross_entropy(p, k), ("batch",)), Extent(symbol("B")))
    assert found.metrics["e"].total is Reduce("sum", Map("real", (apply("ne", Reduce("argmax", s, (0,)), k),)), ("batch",))
    assert found.outputs == ("s",) and found.targets == ("y",) and found.names[s] == "s"
    assert cross_entropy(p, k) is -Contract(apply("log", p), OneHot(k, H), (0,), (0,), ())
    assert value("squares(x, 2 * x)") is total(apply("square", x - 2 * x)) / 2


def test_binary_cross_entropy_reads_declared_ranges() -> None:
    found = parse("model m(D = 6)\ninput x[D] : unit\nr = sigmoid(x)\nloss = binary_cross_entropy(r, x)\n"
                  "metric m = binary_cross_entropy(x, x)\n")
    r = apply("sigmoid", x)
    assert found.loss is not None
    assert found.loss.total is Reduce("sum", -total(x * apply("log", r) + (1 - x) * apply("log", 1 - r)), ("batch",))
    assert found.domains == {"x": "unit"}


@pytest.mark.parametrize("p", [
    "softmax(s)", "exp(log_softmax(s))", "exp(s) / sum(exp(s))", "select(a > 0, softmax(s), softmax(-s))", "softmax(s)[0:H]",
    "0.3 * softmax(s) + 0.7 * softmax(-s)", "sigmoid(a) * softmax(s) + (1 - sigmoid(a)) * softmax(2 * s)", "1 - sigmoid(s)",
    "1 / (1 + exp(-s))", "assume_probability(s)"])
def test_what_is_provably_a_probability(p: str) -> None:
    parse(HEAD + f"s = W @ x\nloss = cross_entropy({p}, softmax(z))\n")


def test_elman_closes_its_cycle_with_a_reference() -> None:
    found = parse(TIME + "h[t] = tanh(W @ onehot(x[t]) + U @ h[t-1] + b)   where h[-1] = 0\nq[t] = h[t-1] + h[last]\n")
    axes = ("t", "batch")
    h1 = Shift(Ref("h", axes, (H,)), "t", -1, (Const(0),))
    h = apply("tanh", WT @ OneHot(xt, V) + U @ h1 + b)
    assert found.equations["h"] is h
    assert found.equations["q"] is Shift(h, "t", -1, (Const(0),)) + At(h, "t", -1)


def test_lstm_of_the_library_is_the_one_written_out() -> None:
    written = parse(TIME + """param W_f, W_i, W_o, W_c [H, H + V] ~ xavier
param b_f[H] = 1;  b_i, b_o, b_c [H] = 0
z[t] = [h[t-1], onehot(x[t])]
f[t] = sigmoid(W_f @ z[t] + b_f)
i[t] = sigmoid(W_i @ z[t] + b_i)
o[t] = sigmoid(W_o @ z[t] + b_o)
g[t] = tanh(W_c @ z[t] + b_c)
c[t] = f[t] * c[t-1] + i[t] * g[t]    where c[-1] = 0
h[t] = o[t] * tanh(c[t])              where h[-1] = 0
""")
    called = parse(TIME + "h[t] = lstm(onehot(x[t]), H)\n")
    assert list(called.equations) == ["h.z", "h.f", "h.i", "h.o", "h.g", "h.c", "h"]
    assert called.params["h.b_f"].init == Initialiser("constant", (1.0,))

    def renamed(e: Expr) -> Expr:
        match e:
            case Param(name=n) if n.startswith(("W_", "b_")):
                return Param("h." + n, e.shape)
            case Ref(name=n) if n == "c":
                return Ref("h.c", e.axes, e.shape)
        return e.with_args(tuple(map(renamed, e.args)))

    assert renamed(written.equations["h"]) is called.equations["h"]


def test_reverse_negates_every_delay() -> None:
    forward = parse(TIME + "h[t] = elman(onehot(x[t]), H)\n").equations["h"]
    backward = parse(TIME + "h[t] = elman(onehot(x[t]), H, reverse = true)\n").equations["h"]

    def negated(e: Expr) -> Expr:
        args = tuple(map(negated, e.args))
        return Shift(args[0], e.axis, -e.s, args[1:]) if isinstance(e, Shift) else e.with_args(args)

    assert negated(forward) is backward


def test_states_that_need_each_other_and_longer_delays() -> None:
    found = parse(TIME + "u[t] = tanh(b + U @ v[t-1])  where v[-1] = b\nv[t] = u[t] * v[t-2]  where v[-2] = 1\n")
    v = Ref("v", ("t",), (H,))
    u = apply("tanh", b + U @ Shift(v, "t", -1, (b,)))
    assert found.equations["u"] is u
    assert found.equations["v"] is u * Shift(v, "t", -2, (Const(1), b))


def test_boundaries_before_and_after() -> None:
    assert value("h[t+1]\nh[t] = W @ onehot(x[t])  where h[T] = b", TIME) is Shift(WT @ OneHot(xt, V), "t", 1, (b,))
    assert value("h[t-2]\nh[t] = W @ onehot(x[t])  where h[<0] = b", TIME) is Shift(WT @ OneHot(xt, V), "t", -2, (b, b))


def test_indices_and_lengths_are_numbers() -> None:
    assert value("select(t < T - 1, 1, 0) * b", TIME) is apply("select", Index("t") < Extent(length("t") - 1), 1, 0) * b
    assert value("sum[t] t * W @ onehot(x[t])", TIME).axes == ("t", "batch")      # repeated along t, which stands on the left


def test_axes_on_the_left_are_broadcast() -> None:
    assert value("b", TIME) is broadcast(b, ("t",), (H,))


def test_instances_share_and_repeats_unroll() -> None:
    found = parse(HEAD + "cell = dense(H)\nu = cell(x)\nv = cell(x)\ng[0] = x\nrepeat l in 1..2:\n    g[l] = tanh(g[l-1]) + l\n")
    assert found.equations["u"] is found.equations["v"]
    assert [p for p in found.params if p.startswith("cell")] == ["cell.W", "cell.b"]
    assert found.equations["g.2"] is apply("tanh", apply("tanh", x) + 1) + 2


def test_batch_norm_stores_what_it_reduces() -> None:
    found = parse(HEAD + "q = batch_norm(x)\n")
    mu = Param("q.mu", (D,))
    assert found.stats["q.mu"].update is 0.9 * mu + Const(1 - 0.9) * mean(x, ("batch",))
    assert list(found.params)[-2:] == ["q.gamma", "q.beta"] and list(found.stats) == ["q.mu", "q.v"]
    averaged = parse(HEAD + "stat m[D] = 0 <- average[batches](mean[batch](x))\nq = x - mean[batch](x)\n").stats["m"]
    assert averaged.average and averaged.update is mean(x, ("batch",))


def test_lines_around_the_equations() -> None:
    found: System = parse(HEAD + """s = W @ x + b
loss = squares(s, z)
penalty l2(1e-4) on W, b*
penalty l1(0.5) on ?
data csv("a.csv", delimiter = comma): x = (u - 1) / 2, y, split 10 / 5 / 5    # a comment
train momentum(lr = 0.1, momentum = 0.8), clip_norm = 5, epochs = 3, batch = 7, schedule step(every = 2, factor = 0.5),
      freeze a, rate W = 0.1, max_norm(3) on W, l2(0.01) on W b, patience = 4
""")
    assert found.penalties == (Penalty("l2", 1e-4, ("W", "b")), Penalty("l1", 0.5, ("W", "b", "a")))
    t = found.training
    assert (t.optimiser, dict(t.options), t.clip_norm, t.epochs, t.batch) == ("momentum", {"lr": 0.1, "momentum": 0.8}, 5, 3, 7)
    assert (t.schedule, t.schedule_options, t.patience) == ("step", (("every", 2.0), ("factor", 0.5)), 4)
    assert (t.freeze, t.rates, t.max_norm, t.decay) == (("a",), (("W", 0.1),), (3.0, ("W",)), (("l2", 0.01, ("W", "b")),))
    assert found.data is not None and found.data.options == (("0", "a.csv"), ("delimiter", "comma"))
    assert found.data.columns == (("x", "(u - 1) / 2"), ("y", "y")) and found.data.split == (10, 5, 5)


def test_sizes_may_be_set_from_outside() -> None:
    assert parse("model m(D = 3)\ninput x[D]\nq = x\n", sizes={"D": 5}).sizes == {"D": 5}


def test_spans_say_where_names_stand() -> None:
    found = parse(HEAD + "s = W @ x + b\n", "file.nn")
    assert str(found.spans["W"]) == "file.nn:5" and str(found.spans["s"]) == "file.nn:7" and found.spans["b"].column == 21


def test_a_number_in_a_parameters_brackets_is_a_size():
    system = parse("model m(D = 3)\ninput x[D]\nparam W[2, D] = 0\nstat mu[2] = 0 <- 0.9 * mu + 0.1 * mean[batch](s)\ns = W @ x\n"
                   "loss = squares(s - mean[batch](s), [1, 2])\n")
    assert system.params["W"].node is Param("W", (2, symbol("D")))
    assert system.stats["mu"].node is Param("mu", (2,))
