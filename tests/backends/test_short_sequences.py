"""A step that a model reads by its number must be there: every backend refuses shorter sequences with the same sentence."""

import numpy as np
import pytest
from chainrule import compile as compiled
from chainrule import parse
from chainrule.backends.interface import NoBackend
from chainrule.compiler.shortest import shortest
from chainrule.frontends import cli
from typer.testing import CliRunner

MODEL = """model named(D = 2, H = 3)
input  x[t, D]
target y[H]
{lengths}
param  W[H, D], U[H, H] ~ xavier
h[t] = tanh(W @ x[t] + U @ h[t-1])    where h[-1] = 0
loss = squares(h[4], y)
output {output}
"""


def model(lengths="", output="h"):
    return parse(MODEL.format(lengths=lengths, output=output))


def inputs(steps):
    rng = np.random.default_rng(0)
    return {"x": rng.standard_normal((2, steps, 2)), "y": rng.standard_normal((2, 3))}


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_shorter_sequences_are_refused(backend):
    program = compiled(model(), backend=backend, dtype="float64")
    params = program.init(0)
    for call in (program.loss_and_grads, program.evaluate):
        with pytest.raises(ValueError, match="a step that is there from T = 5 on, but T is 4 here"):
            call(params, **inputs(4))
        assert call(params, **inputs(5))
    assert program.predict(params, x=inputs(4)["x"])["h"].shape == (2, 4, 3)         # reads no step by its number


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("lengths", ["", "lengths t"])
def test_a_mean_over_no_steps_is_refused_and_0_with_lengths(lengths, backend):
    text = MODEL.format(lengths=lengths, output="late").replace("squares(h[4], y)", "mean[t >= 2] squares(h[t], y)")
    program = compiled(parse(text + "late = mean[t >= 2] h[t]\n"), backend=backend, dtype="float64")
    params, sizes = program.init(0), {"lengths_t": np.array([2, 2])} if lengths else {}
    for call, names in ((program.loss_and_grads, "xy"), (program.evaluate, "xy"), (program.predict, "x")):
        few, enough = ({k: inputs(steps)[k] for k in names} for steps in (2, 3))
        if lengths:
            found = call(params, **few, **sizes)
            assert not np.any(found["late"] if call == program.predict else found["loss"][0] if "loss" in found else found[0])
        else:
            with pytest.raises(ValueError, match="a step that is there from T = 3 on, but T is 2 here"):
                call(params, **few)
            assert call(params, **enough)


@pytest.mark.parametrize(("loss", "least"), [
    ("mean[batch, t >= 2] squares(h[t], y)", {"T": 3}), ("mean[batch, t >= 1, s < S-3] (sum(h[t]) * z[s])", {"T": 2, "S": 4}),
    ("sum[t >= 2] squares(h[t], y)", {}), ("sum[t] squares(h[t], y) / (7 - T)", {}), ("mean[t] (t / (T - 1)) * sum(y)", {}),
    ("mean[t] sum(h[t]) * sum(y) + var[t >= 3](z2[t])", {"T": 4}), ("mean[batch] squares(h[last], y)", {})])
def test_which_lengths_a_model_asks_for(loss, least):
    text = MODEL.format(lengths="input z[s]\ninput z2[t]", output="h").replace("squares(h[4], y)", loss)
    system = parse(text + f"metric far = {loss}\n").system
    assert shortest(system) == least
    functions = compiled(system).compiled.functions
    assert functions["gradients"].least == functions["evaluate"].least == least and not functions["predict"].least


def test_evaluation_asks_for_no_step_that_only_the_update_of_a_stat_reads():
    text = MODEL.format(lengths="", output="h").replace("squares(h[4], y)", "squares(h[last] - m, y)")
    functions = compiled(parse(text + "m = mean[batch, t >= 2](h[t])\nstat mu[H] = 0 <- 0.9 * mu + 0.1 * m\n")).compiled.functions
    assert [functions[k].least for k in ("gradients", "evaluate", "predict")] == [{"T": 3}, {}, {}]


def test_a_module_for_a_gpu_asks_the_same():
    source = compiled(model(), backend="cupy").source
    assert source.count("if T < 5:") == source.count("from T = 5 on, but T is {T} here") == 2


def test_a_file_in_c_is_not_compiled_for_shorter_ones():
    from chainrule.backends.native.standalone import standalone
    found = standalone(model().system)
    assert '_Static_assert(T >= 5, "the model reads a step that is there from NAMED_LENGTH = 5 on");' in found.source


def test_an_example_of_its_own_length_has_0_there():
    system = model("lengths t")
    program = compiled(system, dtype="float64")
    few = inputs(3)
    loss, grads = program.loss_and_grads(program.init(0), **few, lengths_t=np.array([3, 2]))
    np.testing.assert_allclose(loss, np.mean(0.5 * np.sum(few["y"] ** 2, axis=1)))
    assert not any(g.any() for g in grads.values()) and not shortest(system.system, ["t"])


def test_a_full_unroll_of_fewer_steps_is_refused_when_it_is_compiled():
    with pytest.raises(NoBackend, match="reads a step that is there from T = 5 on"):
        compiled(model(), unroll="full", steps=3)


def test_the_commands_say_it_and_choose_longer_sequences(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "named.nn").write_text(MODEL.format(lengths='data npz("s.npz"): x = x, y = y\ntrain sgd(lr = 0.1), epochs = 1',
                                                    output="h"))
    np.savez("s.npz", x=np.ones((9, 3, 2)), y=np.ones((9, 3)))
    found = CliRunner().invoke(cli.app, ["train", "named.nn"])
    assert found.exit_code == 1 and "the sequences have T = 3 steps" in found.output and "lengths t" in found.output
    found = CliRunner().invoke(cli.app, ["check", "named.nn", "--set", "H=3"])
    assert found.exit_code == 0, found.output
