"""Random scalar bodies: lowered to ufunc calls, and printed as an expression, against a direct evaluation."""

import numpy as np
import pytest
from chainrule.backends.cpu import runtime
from chainrule.backends.cpu.expressions import Expressions
from chainrule.backends.cpu.kernels import Lowered
from chainrule.compiler.ops import PRIMITIVES
from chainrule.compiler.program import (
    Along,
    Array,
    Call,
    Hot,
    Kernel,
    Literal,
    Load,
    SizeOf,
    Step,
    View,
    leaves,
    view,
)
from chainrule.compiler.sizes import symbol
from hypothesis import given, settings
from hypothesis import strategies as st

B, T = symbol("B"), symbol("T")
ENV = {"B": 3, "T": 4}
BINARY = ["add", "sub", "mul", "maximum", "minimum", "safe_div", "logaddexp"]
UNARY = ["neg", "square", "tanh", "sigmoid", "softplus", "abs", "sign", "sin", "relu", "arctan", "exprel", "erf",
         "floor", "round"]
COMPARE = ["lt", "le", "gt", "ge", "eq", "ne"]


class Scene:
    """The arrays that a body may read; `shared` of them stand in the output's memory."""

    def __init__(self, shared=None, indexed=False):
        self.wide = Array((B, T + T), name="wide")               # the output, or what it is half of
        self.out = Array((B, T), name="out")
        self.full = [Array((B, T), role="value", name=f"x{i}") for i in range(3)]
        self.row, self.column, self.single = Array((T,), name="row"), Array((B,), name="col"), Array((), name="one")
        self.mask, self.index = Array((B, T), "bool", name="mask"), Array((B,), "int", name="i")
        self.turned = Array((T, B), name="turned")
        if shared is not None:
            self.full[shared].storage = self.out
        self.indexed = indexed
        self.target = View(self.wide, (Along(0), Along(1, T)), (B, T)) if indexed else view(self.out)

    def reals(self):
        """Leaves that are real."""
        dims = (B, T)
        return [*(Load(view(a)) for a in self.full), Load(View(self.row, (Along(1),), dims)),
                Load(View(self.column, (Along(0),), dims)), Load(View(self.single, (), dims)),
                Load(View(self.turned, (Along(1), Along(0)), dims)), Hot(View(self.index, (Along(0),), dims)), Step(1, "t"),
                SizeOf(B), Literal(2), Literal(-0.5), Literal(0),
                *([Load(View(self.wide, (Along(0), Along(1)), dims))] if self.indexed else [])]

    def values(self, seed):
        rng = np.random.default_rng(seed)
        out = {}
        for a in (self.wide, self.out, *self.full, self.row, self.column, self.single, self.turned):
            out[a.name] = np.asarray(np.round(rng.uniform(-2, 2, [d.evaluate(ENV) for d in a.dims]), 2))
        out["mask"], out["i"] = rng.random((3, 4)) < 0.5, rng.integers(0, 4, 3)
        for a in self.full:
            if a.storage is not None:
                out[a.name] = out["out"]
        return out


@st.composite
def bodies(draw, scene, kind="real", depth=3):
    """A scalar body of a kind."""
    if kind == "bool":
        how = draw(st.sampled_from(["load", "compare", "logic", "not"])) if depth else "load"
        if how == "load":
            return Load(view(scene.mask))
        if how == "not":
            return Call("not", (draw(bodies(scene, "bool", depth - 1)),), "bool")
        f = draw(st.sampled_from(COMPARE if how == "compare" else ["and", "or"]))
        part = bodies(scene, "real" if how == "compare" else "bool", depth - 1)
        return Call(f, (draw(part), draw(part)), "bool")
    how = draw(st.sampled_from(["leaf", "unary", "binary", "binary", "select", "real"])) if depth else "leaf"
    if how == "leaf":
        return draw(st.sampled_from(scene.reals()))
    if how == "unary":
        return Call(draw(st.sampled_from(UNARY)), (draw(bodies(scene, "real", depth - 1)),))
    if how == "real":
        return Call("real", (draw(bodies(scene, "bool", depth - 1)),))
    if how == "select":
        return Call("select", (draw(bodies(scene, "bool", depth - 1)), draw(bodies(scene, "real", depth - 1)),
                               draw(bodies(scene, "real", depth - 1))))
    return Call(draw(st.sampled_from(BINARY)), (draw(bodies(scene, "real", depth - 1)), draw(bodies(scene, "real", depth - 1))))


def direct(s, values):
    """The body's value, every step an array of its own."""
    match s:
        case Literal(value):
            return np.full((3, 4), float(value))
        case SizeOf(n):
            return np.full((3, 4), float(n.evaluate(ENV)))
        case Step():
            return np.broadcast_to(np.arange(4.0), (3, 4))
        case Hot():
            return (values["i"][:, None] == np.arange(4)).astype(float)
        case Load(v):
            a = values[v.array.name]
            if v.array.name == "wide":
                return a[:, :4]
            if v.array.name == "turned":
                return a.T
            return np.broadcast_to(a[:, None] if v.array.name == "col" else a, (3, 4))
        case Call(f, args):
            found = [direct(a, values) for a in args]
            helper = getattr(runtime, f, None)
            return helper(*found) if helper else np.asarray(PRIMITIVES[f].reference(*found))
    raise TypeError(s)


def lowered(scene, kernel, values):
    """The output after the kernel's ufunc calls."""
    low = Lowered(kernel, set())
    scope = {**vars(runtime), "np": np, "dtype": np.dtype(float), **ENV, **{k: v.copy() for k, v in values.items()}}
    for a in scene.full:
        if a.storage is not None:
            scope[a.name] = scope["out"]
    for i, a in enumerate(low.scratch):
        a.name = f"tmp{i}"
        scope[a.name] = np.full((3, 4), np.nan) if a.kind == "real" else np.ones((3, 4), bool)
    before = {k: v.copy() for k, v in scope.items() if isinstance(v, np.ndarray)}
    with np.errstate(all="ignore"):
        exec("\n".join(low.lines()), scope)
    for k in values:
        if k not in ("out", "wide") and not any(a.name == k and a.storage for a in scene.full):
            np.testing.assert_array_equal(scope[k], before[k], err_msg=f"{k} was written")
    np.testing.assert_array_equal(scope["wide"][:, :4], before["wide"][:, :4])
    return scope["wide"][:, 4:] if scene.indexed else scope["out"]


SCENES = {"apart": Scene(), "in place of x0": Scene(0), "in place of x2": Scene(2), "a half": Scene(None, True)}


@pytest.mark.parametrize("where", SCENES)
def test_ufunc_calls_compute_the_body(where):
    scene = SCENES[where]

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(bodies(scene))
    def check(body):
        values = scene.values(1)
        with np.errstate(all="ignore"):
            want = direct(body, values)
        found = lowered(scene, Kernel((B, T), scene.target, body), values)
        np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-12, err_msg=str(Expressions(set()).text(body)))

    check()


def test_masks_are_computed_in_arrays_of_truth_values():
    scene = Scene()
    mask = Array((B, T), "bool", name="out")

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(bodies(scene, "bool"))
    def check(body):
        values = {**scene.values(2), "out": np.zeros((3, 4), bool)}
        with np.errstate(all="ignore"):
            want = direct(body, values)
        found = lowered(scene, Kernel((B, T), view(mask), body), values)
        np.testing.assert_array_equal(found, want, err_msg=Expressions(set()).text(body))

    check()


def test_an_expression_is_the_body():
    """Precedence: every sign, in every place."""
    scene = Scene()

    @settings(max_examples=500, deadline=None, derandomize=True)
    @given(bodies(scene))
    def check(body):
        values, uses = scene.values(3), set()
        printer = Expressions(uses)
        printer.rank = 2
        with np.errstate(all="ignore"):
            found = eval(printer.text(body), {**vars(runtime), "np": np, "dtype": np.float64, **ENV, **values})
            want = direct(body, values)
        found = np.broadcast_to(found, (3, 4)).astype(float)
        np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-12, err_msg=printer.text(body))
        for a in {x.view.array for x in leaves(body) if isinstance(x, Load)}:
            assert a.name in printer.text(body)

    check()


@pytest.mark.parametrize("body, text", [
    (("sub", "x", ("sub", "y", "x")), "x - (y - x)"), (("sub", ("sub", "x", "y"), "x"), "x - y - x"),
    (("div", "x", ("mul", "y", "x")), "x / (y * x)"), (("neg", ("square", "x")), "-x**2"), (("square", ("neg", "x")), "(-x)**2"),
    (("mul", ("add", "x", "y"), "x"), "(x + y) * x"), (("pow", ("pow", "x", "y"), "x"), "(x**y)**x"),
    (("pow", "x", ("neg", "y")), "x**(-y)"), (("lt", ("lt", "x", "y"), "x"), "(x < y) < x"),
    (("and", ("lt", "x", "y"), ("lt", "y", "x")), "(x < y) & (y < x)"), (("neg", ("neg", "x")), "--x"),
    (("or", ("and", "x", "y"), "x"), "(x & y) | x")])
def test_precedence_is_read_as_written(body, text):
    x, y = Array((), name="x"), Array((), name="y")

    def scalar(b):
        return Load(view(x if b == "x" else y)) if isinstance(b, str) else Call(b[0], tuple(map(scalar, b[1:])))

    printed = Expressions(set()).text(scalar(body))
    for a, b in ((2, 3), (5, 1), (1, 1)):
        assert eval(printed, {"x": a, "y": b}) == eval(text, {"x": a, "y": b}), printed
