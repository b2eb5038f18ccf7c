"""The LSTM of ADBench: objective and gradient of the committed module against the benchmark's own figures.

The file (l layers, c steps, b bits): a line `l c b`; by layer a row of weights and a row of biases, each the blocks f, g, o, a
of b numbers; the rows E0, E1, E2; by layer the rows h and c before the start; c rows of bits. Gradients stand in the order of the
parameters.
"""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("CHAINRULE_DATA", ROOT.parent / "shared" / "data")) / "adbench_lstm"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the benchmark's files in {DATA}")


def committed():
    """The module as it stands in the repository, imported from its file."""
    path = ROOT / "examples" / "adbench_lstm" / "generated" / "model_np.py"
    spec = importlib.util.spec_from_file_location("adbench_lstm_np", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(layer):
    """The names of a layer's parameters in the order of the file."""
    return [f"h{layer}.{kind}_{gate}" for kind in "Wb" for gate in "fgoa"]


@pytest.fixture(scope="module")
def problem():
    """Names in the order of the gradient, parameters, inputs and the expected figures."""
    lines = [line.split() for line in (DATA / "lstm_l2_c1024.txt").read_text().splitlines() if line.strip()]
    layers, steps, bits = (int(v) for v in lines[0])
    rows = [np.array(r, float) for r in lines[1:]]
    names = [n for k in range(layers) for n in blocks(k + 1)] + ["E0", "E1", "E2"]
    params = dict(zip(names, np.concatenate(rows[:2 * layers + 3]).reshape(-1, bits), strict=True))
    states = [f"{v}0_{k + 1}" for k in range(layers) for v in "hc"]
    inputs = {name: row[None] for name, row in zip(states, rows[2 * layers + 3:], strict=False)}
    inputs["x"] = np.stack(rows[4 * layers + 3:])[None]
    assert inputs["x"].shape == (1, steps, bits)
    return names, params, inputs, json.loads((DATA / "golden_l2_c1024.json").read_text())


def test_objective(problem):
    _, params, inputs, golden = problem
    loss, _ = committed().loss_and_grads(params, **inputs)
    assert round(float(loss), 8) == golden["objective"] == 0.66666518


def test_all_gradient_entries(problem):
    names, params, inputs, golden = problem
    _, grads = committed().loss_and_grads(params, **inputs)
    found = np.concatenate([grads[n] for n in names])
    assert found.shape == (266,) == np.shape(golden["gradient"])
    np.testing.assert_allclose(found, golden["gradient"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found, golden["gradient"], rtol=1e-10, atol=1e-14)
