"""Any system prints as text that parses to the identical system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chainrule.compiler import graph as g
from chainrule.compiler.gradient import gradient
from chainrule.compiler.ops import PRIMITIVES
from chainrule.compiler.passes.simplify import simplify
from chainrule.compiler.passes.stabilise import stabilise
from chainrule.compiler.system import Average, Initialiser, Parameter, Stat, System
from chainrule.frontends.language import load, parse
from chainrule.frontends.language.printing import PrintingError, to_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zoo.catalogue import ZOO

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = [*sorted(ROOT.glob("examples/*/*.nn")), ROOT / "frontends/trainer/demo.nn"]
PARTS = ("name", "sizes", "inputs", "targets", "domains", "params", "stats", "outputs", "loss", "penalties", "metrics",
         "training", "data", "energy")
UNNAMEABLE = {"batch_norm": "var", "masked": "lengths"}         # zoo systems with names that the language reserves


def check(system: System) -> str:
    """The text of a system, which parses to the identical system."""
    text = to_text(system)
    again = parse(text)
    for part in PARTS:
        assert getattr(again, part) == getattr(system, part), text
    assert {*again.equations} == {*system.equations}, text
    for name, e in system.equations.items():
        assert again.equations[name] is e, f"{name}\n{text}"
    return text


def with_outputs(system: System) -> System:
    """A text without `output` means the default outputs, so a system without any has none to come back to."""
    return system if system.outputs else replace(system, outputs=(next(iter(system.equations)),))


# ---------------------------------------------------------------- models from text

MODELS = {
    "lstm_tagger": """
model tagger(D = 8, H = 5, K = 3)
input x[t, D]
target y[t] : class(K)
h[t] = gru(x[t], H)
g[t] = lstm(h[t], H, reverse = true)
q[t] = layer_norm([h[t], g[t]])
p[t] = dense(dropout(q[t], 0.5), K)
loss = mean[batch, t] cross_entropy(softmax(p[t]), y[t])
metric error = mean[batch, t] (argmax(p[t]) != y[t])
train adam(lr = 0.002, eps_inside = true), clip_norm = 5, epochs = 20, batch = 64,
    schedule cosine(floor = 0.1), freeze h.W*, rate p.* = 0.1, l2(0.01) on p.W, max_norm(3) on g.W_f g.W_i
""",
    "batch_norm": """
model net(D = 8, H = 4, K = 1)
input x[D] : unit
target y : binary
a = dense(x, H, tanh)
b = batch_norm(a)
c = batch_norm_average(relu(b + gaussian_noise(a, 0.1)))
s = residual(c, H)
r = residual_projection(dropout(s, 0.2) + dropout(s, 0.3), H, K)
p = sigmoid(sum(r))
loss = binary_cross_entropy(p, y)
penalty l1(0.5) on a.W
metric accuracy = (p > 0.5) == (y > 0.5)
data csv("a b.csv", header = 1): x = 2 * a / 3, y = b
train momentum(lr = 0.1, momentum = 0.9), patience = 3
""",
    "delays": """
model delays(V = 5, H = 7)
input x[t] : class(V)
target y[t] : class(5)
param W[H, V], U[H, H] ~ orthogonal
param h0[H], g0[H] = 0
param b[H] ~ uniform(-0.1, 0.1)
param E[V, H] ~ normal(0.01)
h[t] = tanh(E[x[t]] + W @ onehot(x[t]) + U @ h[t-1] + U @ h[t-2] + b) where h[-1] = h0, h[-2] = g0
k[t] = h[t+1] * (1/3) + h[t]^2 - h[last] where h[T] = 0
p[t] = U[0:5] @ h[t] + k[t, 2:7]
s = sum[t] (h[t] * select(t < 3, 1, 0))
loss = mean[batch, t] cross_entropy(softmax(p[t]), y[t])
output p, s
""",
    "functions": """
model functions(D = 6, H = 4)
input x[D]
param W[H, D], U[D, H] ~ xavier
h = swish(W @ x) + selu(W @ x) + gelu(W @ x) + mish(W @ x) + elu(W @ x) + leaky_relu(W @ x) + hard_tanh(W @ x)
g = threshold(h)
z = max(h) + norm(h) + logsumexp(h) + var(h) + mean(h) * D + prod(h) + H/D + 2^3
r = (U * 2) @ softmax(h) - x / H * -2
loss = squares(r, x) + z + squares(r, 1)
""",
    "rbm": """
energy rbm(D = 12, H = 5)
visible v[D] : binary
hidden h[H] : binary
param W[H, D] ~ normal(0.01)
param b[D], c[H] = 0
E = -h @ W @ v - b @ v - c @ h
penalty l2(0.0002) on W
data mnist: v = round(image / 255)
train persistent_contrastive_divergence(k = 15, lr = 0.1, momentum = 0.9, statistics = samples, sparsity = 0.1,
    sparsity_weight = 0.3, chains = 20), epochs = 15, batch = 20, freeze c
""",
    "conditional_gaussian": """
energy gauss(D = 10, H = 5, K = 3, M = 2, C = 4)
visible v[D] : gaussian
visible y[M, C] : categorical
visible u[D] : binary(mean)
hidden h[H] : spin
input x[K] : unit
input k : class(K)
param W[H, D], A[D, K] ~ normal(0.01)
param b[D], z[D], P[M, C], q[K] = 0
s = exp(z)
m = b + A @ x
own = sum((v - m)^2 / s^2) / 2
E = own - h @ W @ (v / s) - h @ W @ u - sum(P * y) - sum(h) * q[k]
train likelihood, adam(lr = 0.001)
""",
    "coupled": """
model coupled(H = 3)
input x[t, H]
param A[H, H], C[H, H] ~ xavier
u[t] = tanh(A @ v[t-1] + x[t]) where u[-1] = 1
v[t] = tanh(C @ u[t-1] + w[t]) where v[-1] = 0
w[t] = u[t] * 2
loss = mean[batch, t] sum(v[t])
""",
}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_models(name: str) -> None:
    text = check(parse(MODELS[name]))
    assert to_text(parse(text)) == text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples(path: Path) -> None:
    check(load(path))


def test_the_text_is_what_one_would_write() -> None:
    assert check(parse(MODELS["delays"])).split("\n\n")[2] == (
        "h[t, H] = tanh(E[x[t]] + W @ onehot(x[t]) + U @ h[t-1] + U @ h[t-2] + b)"
        "   where h[-1] = h0, h[-2] = g0, h[T] = 0\n"
        "k[t]    = h[t+1] * (1/3) + h[t]^2 - h[last]\n"
        "p[t]    = U[0:5] @ h[t] + k[t, 2:7]\n"
        "s       = sum[t](h[t] * select(t < 3, 1, 0))")


# ---------------------------------------------------------------- systems that no text made

@pytest.mark.parametrize("name", sorted({*ZOO} - {*UNNAMEABLE}))
def test_the_zoo(name: str) -> None:
    check(with_outputs(ZOO[name]()))


@pytest.mark.parametrize("name", sorted({*ZOO} - {*UNNAMEABLE}))
def test_stable_and_adjoint_systems(name: str) -> None:
    stable = with_outputs(simplify(stabilise(ZOO[name]())))
    check(stable)
    stable.equations["objective"] = stable.objective()
    wrt: list[g.Expr] = [p.node for p in stable.params.values()]
    adjoint = gradient(stable, stable.equations["objective"], wrt)
    adjoint.system.equations.update({f"d_{w.name}": adjoint.grads[w] for w in wrt if isinstance(w, g.Param)})
    check(simplify(adjoint.system))


@pytest.mark.parametrize("name", sorted({*ZOO} & {*UNNAMEABLE}))
def test_reserved_names_are_refused_and_not_misread(name: str) -> None:
    with pytest.raises(PrintingError, match=UNNAMEABLE[name]):
        to_text(ZOO[name]())


# ---------------------------------------------------------------- generated systems

D, H = g.symbol("D"), g.symbol("H")
SHAPES: list[tuple[g.Size, ...]] = [(), (D,), (H,), (H, D), (g.size(3),)]
NUMBERS = st.one_of(st.integers(-3, 3), st.floats(-4, 4, allow_nan=False), st.fractions(-2, 2, max_denominator=7))
FIRST = [p for p in PRIMITIVES if PRIMITIVES[p].arity == 1 and p not in ("not", "real")]
SECOND = [p for p in PRIMITIVES if PRIMITIVES[p].arity == 2 and p not in ("and", "or")
          and PRIMITIVES[p].type((g.REAL, g.REAL)) == g.REAL]
CHOICES = ("lt", "le", "gt", "ge", "eq", "ne")


def leaves(times: bool) -> list[g.Expr]:
    axes = ("t", "batch") if times else ("batch",)
    out: list[g.Expr] = [g.Param(f"p{i}", s) for i, s in enumerate(SHAPES)]
    out += [g.Input(f"x{i}", axes, s) for i, s in enumerate(SHAPES)]
    out += [g.Extent(D), g.Extent(2 * H + D - 1), g.Extent((H + 1) // 2), g.Extent(g.length("batch"))]
    out.append(g.Noise("normal", "e1", axes, (H,)))
    return [*out, g.Index("t")] if times else out


def grow(draw: Callable[[Any], Any], pool: list[g.Expr]) -> g.Expr:
    """One more node on some that are there; where the parts do not fit, a part itself."""
    a, b = draw(st.sampled_from(pool)), draw(st.sampled_from(pool))
    kind = draw(st.sampled_from(sorted(BUILDERS)))
    try:
        return BUILDERS[kind](draw, a, b)
    except (g.GraphError, IndexError):
        return a


def one_of(options: Any) -> Callable[[Any], Any]:
    return lambda draw: draw(st.sampled_from(list(options)))


def position(draw: Callable[[Any], Any], a: g.Expr) -> int:
    return int(draw(st.integers(0, max(0, len(a.shape) - 1))))


def over(draw: Callable[[Any], Any], a: g.Expr) -> tuple[str | int, ...]:
    options = [*a.axes, *range(len(a.shape))]
    return tuple(draw(st.lists(st.sampled_from(options), min_size=1, unique=True))) if options else ()


def contraction(draw: Callable[[Any], Any], a: g.Expr, b: g.Expr) -> g.Expr:
    """Some equal sizes are one index; of these some are summed, and so are some common axes."""
    la, lb = list(range(len(a.shape))), [10 + k for k in range(len(b.shape))]
    for i, k in enumerate(la):
        for j in range(len(lb)):
            if a.shape[i] == b.shape[j] and lb[j] >= 10 and k not in lb and draw(st.booleans()):
                lb[j] = k
    lo = [k for k in dict.fromkeys(la + lb) if not (k in la and k in lb and draw(st.booleans()))]
    lost = {x for x in a.axes if x in b.axes and draw(st.booleans())}
    return g.Contract(a, b, tuple(la), tuple(lb), tuple(draw(st.permutations(lo))), tuple({*a.axes, *b.axes} - lost))


def shift(draw: Callable[[Any], Any], a: g.Expr, b: g.Expr) -> g.Expr:
    steps = draw(st.sampled_from((-2, -1, 1)))
    inits = tuple(b if not b.axes and b.shape in ((), a.shape) else g.Const(k) for k in range(abs(steps)))
    return g.Shift(a, "t", steps, inits)


def fold(draw, a, b):
    at, steps = position(draw, a), draw(st.sampled_from(((1, 1), (2, 1), (1, 3))))
    return g.Fold(g.Window(a, at, 1, *steps), at, a.shape[at], *steps)


BUILDERS: dict[str, Callable[[Any, g.Expr, g.Expr], g.Expr]] = {
    "first": lambda draw, a, b: g.apply(one_of(FIRST)(draw), a),
    "second": lambda draw, a, b: g.apply(one_of(SECOND)(draw), a, b),
    "number": lambda draw, a, b: g.apply(one_of(SECOND)(draw), *draw(st.permutations([a, g.Const(draw(NUMBERS))]))),
    "folded": lambda draw, a, b: g.Map(one_of(SECOND)(draw), (g.Const(draw(NUMBERS)), g.Const(draw(NUMBERS)))),
    "choice": lambda draw, a, b: g.apply("select", g.apply(one_of(CHOICES)(draw), a, b), a, b),
    "logic": lambda draw, a, b: g.apply("real", g.apply("and", g.apply("not", a < b), g.apply("or", a > 0, b < 1))),
    "reduce": lambda draw, a, b: g.Reduce(one_of(k for k in g.REDUCTIONS if k != "argmax")(draw), a, over(draw, a)),
    "mean": lambda draw, a, b: g.mean(a, over(draw, a)),
    "matmul": lambda draw, a, b: g.matmul(a, b),
    "contract": contraction,
    "onehot": lambda draw, a, b: g.OneHot(g.Reduce("argmax", a, (position(draw, a),)), draw(st.sampled_from((a.shape[0], 9)))),
    "shift": shift,
    "at": lambda draw, a, b: g.At(a, "t", draw(st.sampled_from((-2, -1, 0, 1)))),
    "put": lambda draw, a, b: g.Put(a, "t", draw(st.sampled_from((-1, 0)))),
    "freeze": lambda draw, a, b: g.Thaw(g.Freeze(a, "t") * 2, "t"),
    "transpose": lambda draw, a, b: g.Transpose(a, tuple(draw(st.permutations(range(len(a.shape)))))),
    "reshape": lambda draw, a, b: g.Reshape(a, draw(st.sampled_from(((g.product(a.shape),), (g.size(1), *a.shape))))),
    "slice": lambda draw, a, b: g.Slice(a, position(draw, a), 1, 2),
    "pad": lambda draw, a, b: g.Pad(a, (k := position(draw, a)), 1, a.shape[k] + 2),
    "concat": lambda draw, a, b: g.Concat(position(draw, a), (a, b)),
    "window": lambda draw, a, b: g.Window(a, position(draw, a), 1, *draw(st.sampled_from(((1, 1), (2, 1), (1, 2))))),
    "fold": fold,
    "flip": lambda draw, a, b: g.Flip(a, position(draw, a)),
    "spread": lambda draw, a, b: g.Broadcast(a, g.order_axes({*a.axes, "batch"}), (H, *a.shape),
                                             tuple(range(1, len(a.shape) + 1))),
    "stop": lambda draw, a, b: g.Stop(a),
    "softmax": lambda draw, a, b: g.apply("exp", a - g.broadcast(g.Reduce("logsumexp", a, (0,)), a.axes, a.shape)),
    "dropout": lambda draw, a, b: a * (g.apply("real", g.Noise("uniform", "e1", a.axes, a.shape) < 0.8) / 0.8),
}


@st.composite
def systems(draw: Callable[[Any], Any]) -> System:
    times = draw(st.booleans())
    s = System("generated", {"D": 4, "H": 5})
    pool = leaves(times)
    for leaf in pool:
        if isinstance(leaf, g.Param):
            s.params[leaf.name] = Parameter(leaf, Initialiser("normal", (draw(st.floats(0.01, 2)),)))
        elif isinstance(leaf, g.Input):
            s.inputs[leaf.name] = leaf
    state = g.Ref("state", ("t", "batch"), (H,))
    if times:
        pool += [state, g.Shift(state, "t", -1, (g.Const(0),))]
    for k in range(draw(st.integers(1, 5))):
        for _ in range(draw(st.integers(1, 5))):
            pool.append(grow(draw, pool))
        s.equation(f"e{k}", pool[-1])
    if any(n is state for n in s.nodes()):
        fit = [e for e in pool if {*e.axes} <= {*state.axes} and e.shape in ((), (H,)) and e.type == g.REAL]
        free = [e for e in fit if not any(n is state for n in g.postorder(e))]
        delayed = g.Shift(state, "t", -1, (g.Const(0),))
        s.equation("state", g.apply("tanh", delayed + draw(st.sampled_from(free))))
    scalars = [e for e in pool if not e.shape and e.axes == ("batch",) and e.type == g.REAL
               and not any(n is state for n in g.postorder(e))]
    if scalars:
        s.metrics["m"] = Average(g.Reduce("sum", scalars[-1], ("batch",)), g.Extent(g.length("batch")))
    s.outputs = ("e0",)
    return s


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(systems())
def test_generated_systems(s: System) -> None:
    check(s)


def test_stats_that_only_a_program_writes() -> None:
    s = parse(MODELS["batch_norm"])
    mu = s.stats["b.mu"]
    s.stats["b.mu"] = Stat(mu.node, mu.init, g.mean(s.equations["a"] * 3, ("batch",)), average=True)
    assert "stat b.mu[H] = 0 <- average[batches](mean[batch](a * 3))" in check(s)
