"""What a module for a GPU holds and launches: nothing that it does not use, few launches a step, few reads; what it checks."""

import re

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.gpu.program import CudaProgram
from chainrule.compiler.passes.fusion import apart
from chainrule.compiler.program import Along, Array, View
from chainrule.compiler.sizes import floor_div, symbol
from chainrule.frontends.trainer.data import Dataset
from chainrule.frontends.trainer.loop import Options, Trainer
from gpu import host, programs, standin
from zoo.catalogue import ZOO

BUILT = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
HEAD = re.compile(r'((?:/\*(?:(?!\*/).)*\*/\n)?)extern "C" __global__ void __launch_bounds__\([^)]*\)\s(\w+)\(([^)]*)\)', re.S)
TEXT = re.compile(r'(?<=[=+] r""").*?(?=""")', re.S)              # in CUDA C++
MODELS = ("mlp", "lstm_packed", "dropout")
BLOBS = """
model blobs(D = 4, C = 3)
input x[D]
target y : class(C)
param W[C, D] ~ normal(0.3)
s = W @ x
loss = cross_entropy(softmax(s), y)
train {}
"""


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_printed_that_is_not_used(name):
    source = CudaProgram(ZOO[name]()).source
    python, cuda = TEXT.sub("", source), re.sub(r"/\*.*?\*/", "", "".join(TEXT.findall(source)), flags=re.S)
    kernels = [m[2] for m in HEAD.finditer(cuda)]
    helpers = re.findall(r"(?:__device__ inline \w+|struct(?: __align__\(16\))?)\s(\w+)", cuda)
    assert [k for k in kernels if f'"{k}"' not in python] == []
    assert [f for f in helpers if len(re.findall(rf"\b{f}\b", cuda)) < 2] == []
    public = ("init", "predict", "evaluate", "loss_and_grads", "train_step", "check", "start", "step")
    defined = re.findall(r"(?m)^(?:def|class) (\w+)", python)
    assert [f for f in defined if f not in public and len(re.findall(rf"\b{f}\b", python)) < 2] == []


def test_what_few_modules_use_stands_in_no_other():
    """Units are of energies, batches of matrices of attention, blocks of examples of convolutions."""
    few = {"UnitCheck": "cd1", "gemm_batched": "attention", "examples": "lenet"}
    for helper, name in few.items():
        held = {k: bool(re.search(rf"(?m)^(?:def|class) {helper}\b", programs.case(k).source)) for k in (*few.values(), *MODELS)}
        assert held == {k: k == name for k in held}


@pytest.mark.parametrize("name", MODELS)
def test_nothing_else_is_imported(name):
    lines = re.findall(r"(?m)^ *(?:import|from) .*", CudaProgram(ZOO[name]()).source)
    assert lines == ["import ctypes", "import numpy as np", "    import cupy as cp"]


@pytest.mark.parametrize("name", MODELS)
def test_a_kernel_stands_under_its_equations(name):
    """As at its launch; its parameters whole, within the width of the module."""
    found = list(HEAD.finditer(CudaProgram(ZOO[name]()).cuda))
    assert any("=" in m[1] for m in found)
    for m in found:
        assert all(len(line) <= 130 for line in m[0].splitlines())
        assert all(re.fullmatch(r"(const )?\w+ \*?(__restrict__ )?\w+", p.strip()) for p in " ".join(m[3].split()).split(","))


def test_sections_are_those_of_numpy():
    source = CudaProgram(ZOO["mlp"]()).source
    assert source.index("    # ---- forward\n") < source.index("    # ---- backward\n") < source.index("\nCUDA = ")
    assert source.index("/* ---- _gradients: forward */") < source.index("/* ---- _gradients: backward */")


def replayed(name):
    """A module, and a step of it that is a graph."""
    c = programs.case(name)
    module = programs.loaded(c.source)
    params, inputs = module.to_device(c.params), programs.on_their_way(module, c.inputs)
    state = module.init_state(params)
    for _ in range(2):
        module.train_step(params, state, **inputs)
    return module, lambda: module.train_step(params, state, **inputs), state


@BUILT
def test_a_replay_copies_each_input_once():
    """One copy, and one look at what has a range; the graph; the loss, copied for the caller. Nothing is read."""
    _, step, state = replayed("mlp")
    count, graph = standin.SETTINGS.count, state.workspace.views["steps"][0]
    before = (count.launched, count.replayed, count.read, count.made)
    step()
    checked = sum(p.check is not None for p in graph.held)
    assert (count.launched - before[0], count.replayed - before[1], count.read - before[2], count.made - before[3]) == (
        len(graph.held) + checked + 1, 1, 0, 1)


def test_parts_of_an_array_are_written_by_one_launch():
    """Four gates: those beside each other and those that another one lies between; no length makes them meet."""
    n, whole = symbol("H"), Array((symbol("H") * 4,), name="b")
    first, second, third = (View(whole, (Along(0, n * k),), (n,)) for k in (0, 1, 2))
    assert apart(first, second) and apart(third, first)
    assert not apart(first, View(whole, (Along(0, n - 1),), (n,)))
    assert not apart(first, View(whole, (Along(0, n + floor_div(n - 5, 2)),), (n,)))
    source = programs.case("lstm_split").source
    assert len(re.findall(r"\bb\[i(?: \+ \d\*H| \+ H)?\] = ", source)) == 4


def test_no_launch_serves_a_single_number():
    """The loss's kernel looks at what was noted of inputs, and a rule that does not read the number of the step advances it."""
    source = CudaProgram(cr.parse(BLOBS.format("momentum(lr = 0.1)")).system).source
    assert '"spoil"' not in source
    assert '"advance"' not in source
    assert '"advance"' in CudaProgram(cr.parse(BLOBS.format("adam(lr = 0.1)")).system).source


@BUILT
def test_the_module_checks_its_gradients(capsys):
    source = programs.case("mlp").source
    assert programs.loaded(source).check() < 1e-2
    wrong = source.replace("(1 - square_(", "(2 - square_(")
    assert wrong != source
    assert programs.loaded(wrong).check() > 2e-2
    assert "GRADIENTS DIFFER" in capsys.readouterr().out


@BUILT
def test_the_trainer_reads_losses_when_they_are_shown():
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(64, 4)).astype(np.float32), "y": rng.integers(0, 3, 64)}
    program = CudaProgram(cr.parse(BLOBS.format("adam(lr = 0.05)")).system)
    program._module = programs.loaded(program.source)
    trainer = Trainer(program, Dataset("blobs", {"train": data}), Options(epochs=2, batch=4))
    trainer._patience = 1e9
    trainer.start()
    before = standin.SETTINGS.count.read
    trainer.train()
    losses = 2 * len(data["y"]) // 4
    assert standin.SETTINGS.count.read - before < losses + 40    # of a loss each, and of parameters and state to save them
    assert len(trainer.run.history) == 2
    assert trainer.run.history[1]["train"] < trainer.run.history[0]["train"]
