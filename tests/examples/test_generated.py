"""The generated modules of the examples: fresh, right to finite differences of both orders, and equal to the reference."""

import contextlib
import inspect
import io

import numpy as np
import pytest
from chainrule.backends.cpu.program import Program
from chainrule.compiler import energy
from chainrule.compiler.derivatives import grad, hvp
from chainrule.compiler.graph import Input
from chainrule.compiler.interpret import evaluate
from chainrule.compiler.passes.lengths import masked
from examples.regenerate import EXAMPLES, NAMES, generated
from zoo.examples import BATCH_SIZE, ENERGIES, LOSSES, at, sizes, small

STEPS = (1e-3, 1e-4, 1e-5, 1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_committed_modules_are_fresh(name):
    stale = [path for path, source in generated(name).items() if not path.is_file() or path.read_bytes() != source.encode()]
    if stale:
        pytest.fail(f"{stale[0].relative_to(EXAMPLES.parent)} is not what the compiler prints: "
                    f"python -m tests.examples.regenerate {name}", pytrace=False)


@pytest.mark.parametrize("name", LOSSES)
def test_inputs_stand_in_the_order_of_their_declaration(name):
    system = small(name)
    module = Program(system).module
    for function in (module.loss_and_grads, module.evaluate, module.predict):
        inputs = [k for k in inspect.signature(function).parameters if k in system.inputs]
        assert inputs == [k for k in system.inputs if k in inputs]


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_module_checks_itself(name, level):
    module = Program(small(name), "float64", level).module
    with contextlib.redirect_stdout(io.StringIO()) as table:
        worst = module.check()
    assert worst < 1e-6, table.getvalue()


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", LOSSES)
def test_module_agrees_with_the_interpreter(name, level):
    """Objective and gradients, noise included: the same seed and step draw the same numbers."""
    system = small(name)
    params, inputs, inside = at(system)
    whole = masked(system)                           # what stands beyond an example's length is taken out
    extended, grads = grad(whole, whole.objective(), [system.params[k].node for k in system.trained()])
    expected = evaluate(extended, [whole.objective(), *grads], {**params, **inside}, seed=7, step=3)
    module = Program(system, "float64", level).module
    workspace = module.Workspace()
    for _ in range(2):                               # the second call finds the workspace as the first left it
        loss, found = module.loss_and_grads(params, **inputs, seed=(7, 3), workspace=workspace)[:2]
        np.testing.assert_allclose(float(loss), float(expected[0]), rtol=1e-12)
        for k, e in zip(system.trained(), expected[1:], strict=True):
            np.testing.assert_allclose(found[k], e, rtol=1e-10, atol=1e-13, err_msg=k)


@pytest.mark.parametrize("name", LOSSES)
def test_second_order(name):
    """The module's gradient, differenced along a direction, against the Hessian times it, derived."""
    system = small(name)
    params, inputs, inside = at(system)
    rng = np.random.default_rng(1)
    along = {k: rng.standard_normal(np.shape(params[k])) for k in system.trained()}
    nodes = [system.params[k].node for k in system.trained()]
    directions = [Input(f"along_{k}", (), n.shape) for k, n in zip(along, nodes)]
    whole = masked(system)
    extended, products = hvp(whole, whole.objective(), nodes, directions)
    given = {**params, **inside, **{f"along_{k}": v for k, v in along.items()}}
    derived = np.concatenate([np.ravel(e) for e in evaluate(extended, products, given, seed=7, step=3)])
    module = Program(system, "float64").module

    def gradient(s):
        moved = {**params, **{k: params[k] + s * along[k] for k in along}}
        found = module.loss_and_grads(moved, **inputs, seed=(7, 3))[1]
        return np.concatenate([np.ravel(found[k]) for k in along])

    errors = []
    for h in STEPS:                                  # fourth order; a kink between the points asks for a smaller step
        differences = (8 * (gradient(h) - gradient(-h)) - (gradient(2 * h) - gradient(-2 * h))) / (12 * h)
        errors.append(np.abs(differences - derived).max() / max(np.abs(derived).max(), 1e-3))
    assert min(errors) < 1e-6, f"errors at steps {STEPS}: {errors}"


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", ENERGIES)
def test_energy_module_agrees_with_the_interpreter(name, level):
    """Objective, gradients and the ends of persistent chains: the same seed and step draw the same numbers."""
    system = small(name)
    rng, v = np.random.default_rng(0), system.energy.visible[0]
    params = {k: rng.normal(0.0, 0.5, sizes(system, p.node.shape)) for k, p in system.params.items()}
    shape = (BATCH_SIZE, *sizes(system, v.node.shape))
    hot = np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]
    values = {"binary": np.float64(rng.random(shape) < 0.5), "gaussian": rng.standard_normal(shape), "categorical": hot}
    given = {"v": values[v.kind]}
    found = energy.objective(system)
    chains = {k: np.float64(rng.random((3, *sizes(system, found.system.inputs[k].shape))) < 0.5) for k in found.chain}
    extended, grads = grad(found.system, found.system.objective(), [p.node for p in system.params.values()])
    expected = evaluate(extended, [found.system.objective(), *grads, *found.chain.values()], {**params, **given, **chains},
                        seed=7, step=3)
    module = Program(system, "float64", level).module
    results, workspace = {k: np.empty_like(a) for k, a in {**params, **chains}.items()}, module.Workspace()
    for _ in range(2):
        loss = module._gradients(params, results, *given.values(), *chains.values(), workspace, (7, 3))
        np.testing.assert_allclose(float(loss), float(expected[0]), rtol=1e-12)
        for k, e in zip([*params, *chains], expected[1:], strict=True):
            np.testing.assert_allclose(results[k], e, rtol=1e-10, atol=1e-13, err_msg=k)
