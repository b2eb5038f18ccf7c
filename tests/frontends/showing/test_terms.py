"""The textbook's sum: its terms add up to the gradient, its printed Jacobians are the Jacobians, and it reads as in print."""

import re
from itertools import product

import numpy as np
import pytest
from chainrule.compiler.gradient import gradient
from chainrule.compiler.graph import BATCH, Input, Param, postorder
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.truncation import along
from chainrule.compiler.unrolled_terms import _last_loss, unrolled
from chainrule.frontends.cli import app
from chainrule.frontends.showing import ShowingError, terms_text
from chainrule.frontends.showing.derivation import derive
from chainrule.frontends.showing.terms import _Matrix, _Page
from examples.regenerate import EXAMPLES
from typer.testing import CliRunner
from zoo.build import values
from zoo.catalogue import TIMED

BACKWARDS = ("birnn", "neighbours", "mutual")            # they read ahead


@pytest.mark.parametrize("name", [n for n in TIMED if n not in BACKWARDS])
def test_the_terms_add_up_to_the_gradient(name):
    system = TIMED[name]()
    steps = 2 if name in ("lstm_stacked", "over_time") else 3
    point = values(system, {"T": steps, "S": steps})
    u = unrolled(system, steps)
    loss = _last_loss(system, along(system))
    whole = system.copy(equations={**system.equations, "E*": loss})
    for k, p in system.params.items():
        found = u.terms(k)
        parts = evaluate(found.system, found.all, point, {"T": steps, "S": steps})
        expected = gradient(whole, loss, [p.node])
        (total,) = evaluate(expected.system, [expected.grads[p.node]], point)
        np.testing.assert_allclose(sum(parts), total, rtol=1e-12, atol=1e-13, err_msg=k)


@pytest.mark.parametrize("name", ["elman", "lstm_split", "lstm_concat", "delay2"])
def test_printed_jacobians_are_the_jacobians(name):
    """The text of every Jacobian of the last step, evaluated as Python, against the tangent along every unit vector."""
    u = unrolled(derive(TIMED[name]()).stable, 3)
    page, rng, lengths = _Page(u, [], False), np.random.default_rng(0), {"B": 1, "T": 3}
    leaves = {n for n in postorder(*page.names, *u.functions.values()) if isinstance(n, Input | Param)} | {*u.nodes.values()}
    given = {n.name: rng.uniform(0.1, 0.9, tuple(s.evaluate({**u.system.sizes, **lengths}) for s in n.dims)) for n in leaves}
    named = {n: e for e, n in page.names.items() if n.endswith("_3") and BATCH in e.axes}
    arrays = {**given, **dict(zip(named, evaluate(u.system, list(named.values()), given, lengths), strict=True))}
    env = {k: v if k in u.system.params else v[0] for k, v in arrays.items() if v.ndim}
    checked = 0
    for later, earlier in product([s for s in u.functions if s[1] == 3], [s for s in u.nodes if s[1] < 3]):
        node = u.nodes[earlier]
        v = Input("v", node.axes, node.shape)
        found = u.jacobian(later, earlier, v)
        if found is None:
            continue
        text, _ = _Matrix(page, v).of(found)
        units = np.eye(node.shape[0].evaluate(u.system.sizes))
        columns = [evaluate(u.system, [found], {**given, "v": row[None]}, lengths)[0][0] for row in units]
        matrix = eval(text.replace("^", "**"), {"diag": np.diag, "tanh": np.tanh, **u.system.sizes, **env})
        np.testing.assert_allclose(matrix, np.stack(columns, 1), rtol=1e-10, atol=1e-12, err_msg=text)
        checked += 1
    assert checked


def test_it_reads_as_in_a_textbook():
    path = EXAMPLES / "rnn_unrolled" / "model.nn"
    run = CliRunner().invoke(app, ["grad", "--terms", "--unroll", "3", "--wrt", "W", str(path)])
    assert run.exit_code == 0
    lines = [re.sub(" +", " ", line.strip()) for line in run.output.splitlines()]
    for line in ("dE_3/dW = dE_3/ds_3 ds_3/dW", "+ dE_3/ds_3 ds_3/ds_2 ds_2/dW", "+ dE_3/ds_3 ds_3/ds_2 ds_2/ds_1 ds_1/dW",
                 "ds_3/ds_2 = diag(1 - s_3^2) @ W", "g @ ds_1/dW = (g * (1 - s_1^2)) @ s_0.T"):
        assert line in lines, run.output
    tex = CliRunner().invoke(app, ["grad", "--terms", "--wrt", "W", "--format", "latex", str(path)]).output
    assert r"\frac{\partial s_{3}}{\partial s_{2}} &= \operatorname{diag}\left(1 - s_{3}^{2}\right) \, W" in tex


@pytest.mark.parametrize("name", BACKWARDS)
def test_what_reads_ahead_has_no_such_sum(name):
    with pytest.raises(ShowingError, match="reads ahead"):
        terms_text(TIMED[name]())


@pytest.mark.parametrize("name", [n for n in TIMED if n not in BACKWARDS])
def test_every_model_has_a_page(name):
    for format in ("formula", "latex"):
        assert "E_" in terms_text(TIMED[name](), None, 2, format)
