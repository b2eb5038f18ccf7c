"""Whole loops over time in one launch: NumPy's results whatever the groups and blocks; each barrier is needed."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from chainrule.backends.gpu.persistent_cost import MACHINES, loops, reasons
from chainrule.backends.gpu.persistent_device import Machine, Recurrence
from chainrule.backends.gpu.persistent_function import LIBRARY
from chainrule.backends.gpu.program import CudaProgram
from chainrule.compiler.options import Options
from chainrule.frontends.cli import app
from chainrule.frontends.language import load as load_system
from chainrule.frontends.language import parse
from gpu import host, nvrtc, programs, ptx
from gpu.ptx.machine import Fault
from zoo.catalogue import TIMED, ZOO

QUICK = {"lstm_packed": (2, 2), "layer_norm": (1, 3)}    # groups, blocks of each
SHAPES = ((1, 1), (1, 2), (2, 3), (3, 2), (4, 1))          # of three examples: in the last, a group has none
CELLS = ("elman", "lstm_packed", "lstm_stacked", "gru", "layer_norm", "birnn", "mutual", "wide in time")
CHAINS = ("cd3", "pcd", "gaussian", "spin", "two layers, an input", "units that interact")
NEVER = ("neighbours",)                                          # it has no loop over time
on_host = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
compiled = pytest.mark.skipif(nvrtc.compiler() is None, reason=nvrtc.MISSING)
PEEPHOLES = Path(__file__).parents[3] / "examples/peephole_layernorm_lstm/model.nn"
MEET = "meet_(arrived, members);"
H200 = Machine(132, 232448)
LSTM = {h: Recurrence([(h, 4, ((4, h),))], 0, 1, 2) for h in (256, 512, 1024, 2048)}


PRODUCT = "typedef float real;\n" + LIBRARY + r"""
extern "C" __global__ void __launch_bounds__(256, 1) times(const real *W, const real *x, real *y,
                                                           int units, int share, int depth, int B)
{
    extern __shared__ real work[];
    real *held = work + 8192;
    const int rows = 2*share, padded = (rows + 3) / 4*4;
    for (int at = threadIdx.x; at < depth*padded; at += 256) {
        const int k = at / padded, n = at % padded, u = n % share;
        held[at] = n < rows && u < units ? W[(n / share*units + u)*depth + k] : 0;
    }
    __syncthreads();
    const matrix_ some = {x, depth, 1};
    const share_ out = {y, 2*units, 1, units, share, units};
    multiply_(held, rows, depth, some, B, out, work);
}
"""


def factors(units, share, depth, examples):
    """What `times` is given, and the bytes of shared memory that it takes."""
    rng = np.random.default_rng(units)
    w, x = rng.standard_normal((2 * units, depth), np.float32), rng.standard_normal((examples, depth), np.float32)
    y = np.full((examples, 2 * units), np.nan, np.float32)
    return (w, x, y, *map(np.int32, (units, share, depth, examples))), 4 * (8192 + depth * (-(-2 * share // 4) * 4))


@on_host
@pytest.mark.parametrize(("units", "share", "depth", "examples"), [
    (1, 1, 1, 1), (3, 4, 5, 7), (7, 7, 130, 9), (20, 20, 520, 16), (4, 4, 40, 33), (6, 7, 64, 32), (16, 16, 100, 70),
    (35, 36, 17, 100)])
def test_a_product(units, share, depth, examples):
    """Few rows and many, fewer tiles than warps and more, a last block with fewer units: the same bits in every order."""
    found = []
    for order in host.ORDERS.values():
        given, memory = factors(units, share, depth, examples)
        w, x, y = given[:3]
        host.Module(PRODUCT, True).get_function("times")((1,), (256,), given, shared_mem=memory, order=order)
        np.testing.assert_allclose(y, x @ w.T, rtol=1e-4, atol=1e-4)
        found.append(y)
    assert all((y == found[0]).all() for y in found)


LAST = "    }\n    __syncwarp();\n"
JOINED = "&shared_[1024*warp]);\n"
RACES = {                                                        # in a product -> what is there instead
    "slices in one half of the memory": ("k / (64 / A) % 2*512", "0"),
    "columns read before they are there": ("__syncwarp();\n        bring_", "bring_"),
    "sums over columns that are still read": (LAST, "    }\n"),
    "sums joined before all are there": (f"{JOINED}        __syncthreads();\n", JOINED),
}


@compiled
@pytest.mark.parametrize(("depth", "examples"), [(264, 24), (1032, 8)])
@pytest.mark.parametrize("what", ["", *(pytest.param(x, marks=pytest.mark.full) for x in RACES)])
def test_threads_of_a_product_do_not_race(what, depth, examples):
    """By the interpreter of PTX, with three slices of columns in some warps; with a barrier less they do."""
    assert all(PRODUCT.count(old) == 1 for old, _ in RACES.values())
    text = PRODUCT.replace(*RACES.get(what, ("", "")))
    kernel = ptx.kernels(nvrtc.compiler().compile(text, "compute_90", "-lineinfo").ptx)["times"]
    (w, x, y, *numbers), memory = factors(4, 4, depth, examples)
    if what:
        with pytest.raises(Fault, match="a race"):
            ptx.launch(kernel, (1,), (256,), [w, x, y, *numbers], memory, False)
    else:
        ptx.launch(kernel, (1,), (256,), [w, x, y, *numbers], memory, False)
        np.testing.assert_allclose(y, x @ w.T, rtol=1e-4, atol=1e-4)


def shaped(c, shape):
    """A model's module whose loops run in this many groups and blocks."""
    return f"{c.source}\nTOGETHER.shape = {shape}\n"


def agrees(monkeypatch, name, shape, order, **lengths):
    """All results of a model, its loops in one launch, against NumPy's."""
    modules, load = [], programs.loaded
    monkeypatch.setattr(programs, "loaded", lambda *how: modules.append(load(*how)) or modules[-1])
    c = programs.case(name, **lengths)
    found = programs.on_device(c, order, True, source=shaped(c, shape))
    assert programs.differences(found, programs.on_numpy(c), 2e-5, 1e-6) == {}
    assert modules[0].TOGETHER.functions
    return found


@on_host
@pytest.mark.parametrize(("name", "shape"), QUICK.items())
def test_a_loop_in_one_launch(monkeypatch, name, shape):
    agrees(monkeypatch, name, shape, host.SHUFFLED)


@on_host
@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [k for k in TIMED if k not in NEVER] + ["wide in time", "wide attention"])
def test_every_loop_in_every_shape_and_order(monkeypatch, name, shape):
    first, *others = (agrees(monkeypatch, name, shape, order) for order in host.ORDERS.values())
    for other in others:
        for k, v in first.items():
            np.testing.assert_array_equal(other[k], v, err_msg=k)


@compiled
@pytest.mark.parametrize(("name", "architecture"), [(CELLS[0], nvrtc.ARCHITECTURES[-1]), *(
    pytest.param(k, a, marks=pytest.mark.full) for k in CELLS for a in nvrtc.ARCHITECTURES)])
def test_kernels_compile_and_fit(name, architecture):
    """No warnings, nothing spilled, and no more registers than 256 threads may have."""
    made = nvrtc.compiler().compile(common(programs.case(name).source) + text(programs.case(name).source), architecture)
    assert made.complaints == []
    assert made.kernels
    assert {k: r for k, r in made.kernels.items() if r.spilled or r.registers > 255 or r.shared} == {}


def text(source):
    """The kernels of loops in one launch."""
    return source.partition('TOGETHER = Together(COMMON + r"""')[2].partition('""", {')[0]


def common(source):
    """What stands before all kernels."""
    return source.partition('COMMON = r"""')[2].partition('"""')[0]


@on_host
@compiled
@pytest.mark.parametrize(("name", "meetings"), [("elman", 1), *(pytest.param(*x, marks=pytest.mark.full) for x in [
    ("gru", 6), ("layer_norm", 6), ("cd3 samples", 4)])])
def test_without_a_barrier_blocks_race(monkeypatch, name, meetings):
    """Each barrier of the group alone keeps blocks from reading what others write."""
    if name == "elman":                                          # the way forward will do
        monkeypatch.setattr(programs, "everything", lambda module, params, inputs: module.evaluate(params, **inputs))
    c = programs.case(name)
    whole = text(c.source)
    places = [m.start() for m in re.finditer(re.escape(MEET), whole)][:meetings]
    assert len(places) == meetings
    assert raced(c, whole) == ""
    for at in places:
        assert re.search("a race|nobody has written", raced(c, whole[:at] + whole[at + len(MEET):]))


def raced(c, changed):
    """What the interpreter of PTX says of a module with these kernels."""
    source = c.source.replace(text(c.source), changed)
    try:
        programs.interpreted(c, f"{source}\nTOGETHER.shape = (1, 3)\n")
    except Fault as e:
        return str(e)
    return ""


FENCE = "__threadfence();" + " " * 41
BROKEN = {                                                       # what is wrong with a barrier -> how
    "stores that others may not see yet": (f"{FENCE}/* the block's", "/* the block's"),
    "loads that may come before": (f"{FENCE}/* no load", "/* no load"),
    "a counter that the last barrier left": (" ^ before)", ")"),
    "one block too few is waited for": ("(unsigned)(members - 1)", "(unsigned)(members - 2)"),
}


@on_host
@compiled
@pytest.mark.parametrize("what", [next(iter(BROKEN)), *(pytest.param(x, marks=pytest.mark.full) for x in [*BROKEN][1:])])
def test_a_broken_barrier_is_found(monkeypatch, what):
    monkeypatch.setattr(programs, "everything", lambda module, params, inputs: module.evaluate(params, **inputs))
    c = programs.case("elman")
    whole = text(c.source)
    assert whole.count(BROKEN[what][0]) == 1
    assert re.search("a race|nobody has written|wait for ever|for ever", raced(c, whole.replace(*BROKEN[what])))


@on_host
def test_a_wrong_grid_is_found():
    """A block too few: the others wait for ever."""
    c = programs.case("elman")
    launched = "((groups * members,)"
    assert c.source.count(launched) == 1
    source = shaped(c, (1, 2)).replace(launched, "((groups * members - 1,)")
    module = programs.loaded(source)
    with pytest.raises(host.KernelError, match="wait"):
        module.evaluate(module.to_device(c.params), **module.to_device(c.inputs))


@on_host
def test_blocks_that_do_not_run_together_are_not_launched(monkeypatch):
    """What the driver says of the compiled kernel, and a grid that is larger than the device."""
    c = programs.case("elman")
    module = programs.loaded(c.source)
    monkeypatch.setattr(module.cp.cuda.driver, "occupancyMaxActiveBlocksPerMultiprocessor", lambda *kernel: 0)
    given = module.to_device(c.params), module.to_device(c.inputs)
    found = module.to_host(module.evaluate(given[0], **given[1]))
    assert re.fullmatch(r"the device does not keep \d x \d blocks at the same time", module.TOGETHER.reasons["hs"])
    monkeypatch.undo()
    module.TOGETHER.shape = (7, 1)
    module.evaluate(given[0], **given[1])
    assert module.TOGETHER.reasons["hs"] == "the device does not keep 7 x 1 blocks at the same time"
    for k, v in c.numpy.evaluate(c.params, **c.inputs).items():
        np.testing.assert_allclose(found[k], v, rtol=1e-5)


@on_host
@pytest.mark.parametrize(("attribute", "said"), [
    ({"CooperativeLaunch": 0}, "wait for each other"),
    ({"MaxSharedMemoryPerBlockOptin": 20000}, "bytes of shared memory, and the device has 20000")])
def test_where_it_cannot_be_steps_are_launched(attribute, said):
    c = programs.case("elman")
    module = programs.loaded(c.source)
    device = module.cp.cuda.Device()
    before = dict(device.attributes)
    device.attributes.update(attribute)
    try:
        found = module.to_host(module.evaluate(module.to_device(c.params), **module.to_device(c.inputs)))
    finally:
        device.attributes.update(before)
    assert said in module.TOGETHER.reasons["hs"]
    assert module.TOGETHER.functions == {}
    for k, v in c.numpy.evaluate(c.params, **c.inputs).items():
        np.testing.assert_allclose(found[k], v, rtol=1e-5)


@pytest.mark.parametrize("name", ["lstm_packed", "gru"])
def test_gates_of_a_unit_are_one_threads(name):
    """Between a product and the next barrier of all blocks, a cell's step has no barrier of its own."""
    steps = re.findall(r"^    for \(int t = .*?^    }\n", text(programs.case(name).source), re.S | re.M)
    assert len(steps) == 3
    assert all(MEET in step and "part < " in step and "__syncthreads" not in step for step in steps)


def test_a_model_prints_the_same_text_again():
    """Also the places of what every block has for itself."""
    assert len({CudaProgram(ZOO["layer_norm"]()).source for _ in range(3)}) == 1


def test_sums_of_gates_share_a_barrier():
    """Layer normalisation of an LSTM's gates, its cell and its output: three barriers a step, forward and backward."""
    found = loops(CudaProgram(load_system(str(PEEPHOLES))))
    assert {name: loop.meetings for name, loop in found.items()} == {"hs": 3, "gradients_hs": 3, "d_h_next": 3}


@on_host
@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_cell_with_peepholes_and_layer_normalisation(monkeypatch, shape):
    """The catalogue's own cell in every order of threads: the same bits, NumPy's values."""
    system = load_system(str(PEEPHOLES), {"H": 7, "V": 5, "E": 3})
    monkeypatch.setitem(ZOO, "peephole", lambda: system)
    first, *others = (agrees(monkeypatch, "peephole", shape, order) for order in host.ORDERS.values())
    for other in others:
        for k, v in first.items():
            np.testing.assert_array_equal(other[k], v, err_msg=k)


LAYER = """model layer(H = {}, D = 8)
input x[t, D]
target y[t, H]
h[t] = {}(x[t], H)
loss = mean[batch, t] sum((h[t] - y[t])^2)
"""


@on_host
@pytest.mark.full
@pytest.mark.parametrize(("cell", "units", "shape"), [("lstm", 64, (1, 6)), ("gru", 64, (1, 6)), ("lstm", 128, (2, 3)),
                                                      ("gru", 128, (1, 6))])
def test_a_layer_as_large_as_real_ones(monkeypatch, cell, units, shape):
    """Columns four at a time, each warp its own share of them or a tile of its own, every thread of a block at work."""
    name = f"{cell} of {units}"
    monkeypatch.setitem(ZOO, name, lambda: parse(LAYER.format(units, cell)))
    agrees(monkeypatch, name, shape, host.SHUFFLED, B=32, T=3)


@on_host
@pytest.mark.parametrize(("name", "shape"), [("cd3 samples", (2, 3)), *(
    pytest.param(k, x, marks=pytest.mark.full) for k in CHAINS for x in SHAPES[1:4])])
def test_chains_of_samples_in_one_launch(monkeypatch, name, shape):
    """Random numbers drawn in the loop, units of two kinds, chains for examples: NumPy's samples, bit for bit."""
    agrees(monkeypatch, name, shape, host.SHUFFLED)


def test_cupy_has_what_a_launch_asks_for():
    """Of the real one: by these names, for it has no driver here to be asked."""
    cupy = pytest.importorskip("cupy", reason="needs CuPy", exc_type=ImportError)
    from cupy.cuda import compiler, driver, function, runtime
    assert callable(driver.occupancyMaxActiveBlocksPerMultiprocessor)
    assert {"kernel", "max_dynamic_shared_size_bytes", "enable_cooperative_groups"} <= {*dir(cupy.RawKernel)}
    assert hasattr(function.Function, "ptr")
    assert {"cudaDevAttrCooperativeLaunch", "cudaDevAttrMaxSharedMemoryPerBlockOptin",
            "cudaDevAttrMultiProcessorCount"} <= {*dir(runtime)}
    assert not compiler._is_cudadevrt_needed(("-std=c++17",))    # a library that no wheel brings


def test_the_flag_keeps_steps_apart():
    assert "TOGETHER" in programs.case("elman").source
    assert "TOGETHER" not in CudaProgram(ZOO["elman"](), options=Options(persistent=False)).source


def test_the_command_line():
    """`compile --no-persistent` has no such loops; `show --stage schedule` says of each loop what is chosen, and why."""
    path = str(PEEPHOLES.parents[1] / "min_char_rnn/model.nn")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        app(["compile", path, "--backend", "cupy", "--no-persistent"], standalone_mode=False)
    assert "def train_step" in out.getvalue()
    assert "TOGETHER" not in out.getvalue()
    with contextlib.redirect_stdout(io.StringIO()) as out:
        app(["show", path, "--stage", "schedule", "--backend", "cupy"], standalone_mode=False)
    assert re.search(r"\nloops over time, with \d+ examples, .*\n    sm_75, hs: in one launch, .* 2 launches\n", out.getvalue())


def test_the_choice():
    """Weights of an LSTM stay on the chip of an H200 up to some size, in as many blocks as it has, or in groups."""
    assert [LSTM[h].choice(H200, 32)[0] for h in (256, 512, 1024, 2048)] == [(4, 32), (4, 32), (1, 128), None]
    assert "bytes of shared memory" in LSTM[2048].choice(H200, 32)[1]
    assert LSTM[1024].choice(Machine(40, 65536), 32)[0] is None
    groups, members = LSTM[256].choice(H200, 128)[0]
    assert groups > 1
    assert groups * members <= 132


def test_a_block_that_has_all_weights_waits_for_nobody():
    """Small layers: each block its own examples, no barrier of all blocks."""
    small = Recurrence([(64, 4, ((4, 64),))], 0, 1, 2)
    assert small.choice(H200, 32)[0] == (32, 1)
    assert small.together(H200, 32, 32, 1) < small.together(H200, 32, 4, 32)
    assert small.choice(Machine(40, 65536), 32)[0][1] > 1


def test_products_that_tensor_cores_do_are_launched():
    """TF32 speeds up products that are launched, not those of a loop in one launch: a large layer goes step by step."""
    system = parse(LAYER.format(1024, "lstm"))
    exact, rounded = (loops(CudaProgram(system, options=Options(products=how)))["hs"] for how in ("float32", "tf32"))
    assert exact.choice(H200, 128)[0] == (1, 128)
    assert rounded.choice(H200, 128)[0] is None
    assert rounded.choice(H200, 1)[0] is not None


def test_the_reasons():
    """A line for each loop and kind of device, and for each loop that has no such form."""
    program = CudaProgram(ZOO["attention"]())
    lines = reasons(program, 32)
    assert len(lines) == len(MACHINES) * len(loops(program)) + 2
    assert any(line.startswith("sm_90, es: in one launch, ") for line in lines)
    assert any("no product of examples and weights that stay the same" in line for line in lines)
