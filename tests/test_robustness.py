"""Awkward names and strings end up harmless in generated modules; float32 stays float32; workspaces in threads."""

import ast
import builtins
import keyword
import symtable
import threading
from dataclasses import replace

import numpy as np
import pytest
from chainrule.backends.cpu import runtime
from chainrule.backends.cpu.program import Program
from chainrule.compiler.graph import GraphError, matmul
from chainrule.compiler.system import Span
from zoo.build import Model, delay, squares, tanh, values
from zoo.catalogue import ZOO

HELPERS = sorted(n for n in vars(runtime) if not n.startswith("_") and n not in ("np", "annotations"))
AWKWARD = [*"""
    class lambda None True match print sum max range len dict reversed float np numpy params state workspace seed dtype d s key
    tmp tmp1 mask t T B H W PARAMS TRAINED init predict evaluate loss loss_and_grads train_step check Workspace State gradients
    _gradients _predict _update _sgd __class__ __builtins__ __name__ __doc__ __import__ self rng batch inputs grads name d_W d_d_W
    a_h h_prev cp lr step w g v u count penalty cell.W_f a.b.c cell_W_f layer.1.W \u03b1 \ufb01 \u03a9_2 x\u00b2 e\u0301
    """.split(), *HELPERS]
HOSTILE = ['a"b', "a'b", 'a"""b', "a\\", "a\nimport os", "a{x}", "a%s", '""" + __import__("os").abort() + """', "a\r\nb", "#",
           "a # b", "1", "", " ", "a b", "\\N{BULLET}", "\\u0041", "a\tb", "${a}", "`a`", "a;b", "\ud7ff", "a\x00b", "a\u2028b",
           "a, b  # c, " * 20, "x" * 200]
DANGEROUS = {"eval", "exec", "compile", "open", "__import__", "globals", "locals", "vars", "setattr", "delattr", "input"}
ALLOWED = {*dir(builtins), "__name__"} - DANGEROUS


def system(param="W", equation="h", stat="mu", metric="m", size="H", model="model", inputs=("x", "y")):
    """A small recurrence in which one name of each kind can be chosen."""
    m = Model(model, **{"D": 2, size: 3})
    x, y = m.input(inputs[0], "D", time="t"), m.input(inputs[1], size, time="t")
    W, U, b = m.param(param, size, "D"), m.param("other", size, size), m.param("bias", size)
    h = m.eq(equation, tanh(matmul(W, x) + matmul(U, delay(m.ref(equation, size), -1)) + b))
    m.system.outputs = (equation,)
    out = m.loss(squares(h, y))
    out.metrics[metric] = out.loss
    out.spans[equation] = Span(f"{model}.nn", 3, 1)
    return out


def proven(source):
    """The module's namespace, once its text is known to be harmless and its gradients right."""
    tree = ast.parse(source)
    for n in ast.walk(tree):
        if isinstance(n, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in n.names] if isinstance(n, ast.Import) else [n.module]
            assert set(names) <= {"numpy", "math"}, ast.unparse(n)
        if isinstance(n, ast.Attribute):
            assert not n.attr.startswith("__") or n.attr in ("__init__", "__dict__"), n.attr
    defined = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    defined |= {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets} | {"np"}
    assert not defined & {*dir(builtins)}
    stack = [symtable.symtable(source, "module", "exec")]
    while stack:
        table = stack.pop()
        stack += table.get_children()
        if table.get_type() != "module":
            used = {s.get_name() for s in table.get_symbols() if s.is_global()}
            assert used <= defined | ALLOWED, (table.get_name(), used - defined - ALLOWED)
            local = {s.get_name() for s in table.get_symbols() if s.is_local() or s.is_parameter()}
            if table.get_name().startswith(("_gradients", "_predict", "_evaluate")):
                assert not local & {*dir(builtins), *HELPERS, "np"}, (table.get_name(), local)
    scope = {"__name__": "generated"}
    exec(compile(source, "<generated>", "exec"), scope)
    return scope


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("names", [AWKWARD, HOSTILE], ids=["awkward", "hostile"])
def test_any_name_is_harmless(names, level, capsys):
    """Every name in turn as a parameter, an equation, a metric and the model's name and file, each beside its neighbours."""
    at = {"x": np.ones((2, 4, 2)), "y": np.ones((2, 4, 3))}
    for i in range(len(names)):
        param, equation, metric, model = (names[(i + k) % len(names)] for k in range(4))
        if equation == f"d_{param}":                             # the name of a gradient
            continue
        program = Program(system(param, equation, metric=metric, model=model), "float64", level)
        scope = proven(program.source)
        assert scope["check"]() < 1e-5, (param, equation, metric, model)
        params = program.init()
        program.train_step(params, program.init_state(params), **at)
        assert param in params
        assert [*program.predict(params, x=at["x"])] == [equation]
        if metric not in ("loss", "penalty"):
            assert program.evaluate(params, **at)[metric] == program.evaluate(params, **at)["loss"]


@pytest.mark.parametrize("level", [0, 1])
def test_an_input_is_an_argument_of_its_own_name(level, capsys):
    """Or is refused: keywords, names that Python reads otherwise, what the functions themselves refer to."""
    refused = []
    for name in [*AWKWARD, *HOSTILE, "y_", "k", "step", "lr", "grads", "int", "piece", "rate"]:
        if name == "W":                                          # the parameter's
            continue
        try:
            program = Program(system(inputs=(name, "target")), "float64", level)
        except GraphError as error:
            assert "needs another name" in str(error)
            refused.append(name)
            continue
        assert name.isidentifier() and not keyword.iskeyword(name)
        proven(program.source)
        at = {name: np.ones((2, 4, 2)), "target": np.ones((2, 4, 3))}
        if level:
            assert program.module.check() < 1e-5, name
        params = program.init()
        program.train_step(params, program.init_state(params), **at)
        program.predict(params, **{name: at[name]})
        program.evaluate(params, **at)
    assert {*HOSTILE[:-1], "class", "params", "grads", "np", "cell.W_f", "\ufb01"} <= {*refused}
    assert not {"step", "k", "lr", "t2", "max", "loss", "u", "w", "\u03b1", "s"} & {*refused}


@pytest.mark.parametrize("optimiser", ["sgd", "nesterov", "adam"])
def test_inputs_are_not_a_step_s_own_variables(optimiser):
    """A model whose inputs are called like variables of `train_step` learns as any other."""
    plain, odd = (small(names, optimiser) for names in (("p", "q"), ("step", "w")))
    found = []
    for (x, y), program in ((("p", "q"), Program(plain, "float64")), (("step", "w"), Program(odd, "float64"))):
        params = program.init()
        state = program.init_state(params)
        for _ in range(3):
            loss = program.train_step(params, state, **{x: np.linspace(0, 1, 8).reshape(4, 2), y: np.ones((4, 2))})
        found.append((float(loss), params["W"]))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def small(names, optimiser="sgd"):
    m = Model("small", D=2)
    x, y = m.input(names[0], "D"), m.input(names[1], "D")
    out = m.loss(squares(m.eq("p_out", tanh(matmul(m.param("W", "D", "D"), x))), y))
    out.training = replace(out.training, optimiser=optimiser, options=(("lr", 0.1),))
    return out


def test_what_is_called_like_a_gradient_is_refused():
    m = Model("m", D=3)
    x, W = m.input("x", "D"), m.param("W", "D")
    a = m.eq("d_W", 2 * W)
    with pytest.raises(GraphError, match="d_W is the gradient by W"):
        Program(m.loss(squares(a * x, x)))
    m = Model("m", D=3)
    x, W = m.input("x", "D"), m.param("W", "D")
    a = m.eq("d_h", 2 * W)                                       # there is no h
    assert Program(m.loss(squares(a * x, x)), "float64").module.check() < 1e-5


@pytest.mark.parametrize("name", ["dropout", "lstm_split"])
def test_workspaces_in_threads_give_the_same_numbers(name):
    """Four callers of one module at once, each with a workspace of its own."""
    built = ZOO[name]()
    program, at = Program(built, "float64"), values(built)
    params = {k: at[k] for k in built.params}
    given = {k: np.swapaxes(at[k], 0, 1) if len(i.axes) > 1 else at[k] for k, i in built.inputs.items()}
    expected = [program.loss_and_grads(params, seed=s, **given) for s in range(4)]
    found = {}

    def work(seed):
        workspace = program.Workspace()
        found[seed] = [program.loss_and_grads(params, workspace=workspace, seed=seed, **given) for _ in range(25)]

    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for seed, (loss, grads) in enumerate(expected):
        for again, d in found[seed]:
            assert float(again) == float(loss)
            for k in grads:
                np.testing.assert_array_equal(d[k], grads[k])


def test_no_result_aliases_the_workspace():
    """Gradients and outputs of one call survive the next."""
    for name in ("mlp", "gru", "batch_norm"):
        built = ZOO[name]()
        program, at = Program(built, "float64"), values(built)
        params = {k: at[k] for k in (*built.params, *built.stats)}
        given = {k: np.swapaxes(at[k], 0, 1) if len(i.axes) > 1 else at[k] for k, i in built.inputs.items()}
        workspace = program.Workspace()
        _, first = program.loss_and_grads(params, workspace=workspace, **given)
        kept = {k: v.copy() for k, v in first.items()}
        other = {k: v + 1 if v.dtype == float else v for k, v in given.items()}
        _, second = program.loss_and_grads(params, workspace=workspace, **other)
        for k, v in first.items():
            np.testing.assert_array_equal(v, kept[k])
            assert not any(np.shares_memory(v, w) for w in (*second.values(), *params.values(), *given.values()))
