"""The measurement on a GPU, as far as it goes without one: all of it runs in a trial on the CPU, whose figures mean nothing."""

import json
import sys
from pathlib import Path

import chainrule as cr
import numpy as np
import pytest
from chainrule.backends.gpu.persistent_device import Recurrence
from chainrule.backends.gpu.program import CudaProgram
from gpu import host, nvrtc, programs

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from tests.bench import gpu, gpu_calibrate, gpu_ours, gpu_report, gpu_rows, gpu_sides
from tests.bench.gpu_peers import PEERS

needs_a_compiler = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)
QUICK = ["--trial", "--rounds", "2", "--seconds", "0.001"]


@pytest.mark.full
@needs_a_compiler
def test_what_is_measured_is_verified():
    work = gpu_rows.TRIAL["lstm_trial"]
    system, data = cr.parse(work.text("sgd")), work.data()
    numpy, source = cr.compile(system), CudaProgram(system.system).source
    params = {k: np.asarray(v, np.float32) for k, v in numpy.init(seed=1).items()}
    gpu_ours.verified(programs.loaded(source), numpy.module, params, data)
    broken = source.replace("tanh_(real x) { return tanhf(x); }", "tanh_(real x) { return tanhf(1.1f * x); }")
    with pytest.raises(gpu_ours.Wrong, match="is off by"):
        gpu_ours.verified(programs.loaded(broken), numpy.module, params, data)


@needs_a_compiler
def test_a_trial(tmp_path, capsys):
    """What a row holds; it is not measured again; the table has it, and names what it does not have."""
    file = tmp_path / "gpu.json"
    given = [*QUICK, "--sides", "ours", "--json", str(file), "mlp_trial"]
    assert gpu.main(given) == 0
    row, = json.loads(file.read_text())["rows"]
    assert row["missing"] == {} and len(row["sides"]["ours"]["seconds"]) == 2 and row["sides"]["ours"]["not captured"] == ""
    assert "mlp_trial         ours" in capsys.readouterr().out
    run = gpu.Run(gpu.given([*given[:-1], "--minutes", "0"]))
    run.rows()
    run.close()
    left = capsys.readouterr().out
    assert "the time is over: lstm_trial, gru_trial" in left and "mlp_trial" not in left


@pytest.mark.full
@needs_a_compiler
@pytest.mark.parametrize("row", gpu_rows.TRIAL)
def test_the_peers_compute_the_same(row, tmp_path):
    """PyTorch, eager, as one graph and compiled, and JAX."""
    for name in ("torch", "jax"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    file = tmp_path / "gpu.json"
    assert gpu.main([*QUICK, "--json", str(file), row]) == 0
    found, = json.loads(file.read_text())["rows"]
    assert found["missing"] == {}
    assert {*found["sides"]} == {"ours", *PEERS} | ({gpu.STEPWISE} if row in gpu_rows.BOTH else set())


@pytest.mark.full
@needs_a_compiler
def test_what_the_choice_goes_by_is_measured(capsys, monkeypatch):
    """Every rate of the source has a line."""
    monkeypatch.setitem(sys.modules, "cupy", None)               # a trial brings the stand-in; afterwards it is gone
    assert gpu.main(["--calibrate", "--trial"]) == 0
    said = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert said.count("BUSY") == len(Recurrence.BUSY)
    assert {*said} == {k for k in vars(Recurrence) if k.isupper()} | {"cache"}


@pytest.mark.full
@pytest.mark.skipif(nvrtc.compiler() is None, reason=nvrtc.MISSING)
@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_the_kernels_of_a_calibration_compile(architecture):
    made = nvrtc.compiler().compile(gpu_calibrate.TEXT, architecture)
    assert made.complaints == [] and len(made.kernels) == 5
    assert {k: r for k, r in made.kernels.items() if r.spilled} == {}


class Answering(gpu_sides.Remote):
    """A side that is a line of Python."""

    def command(self):
        return [sys.executable, "-c", f"import json, sys, time; print('{{}}', flush=True); [{self.name} for line in sys.stdin]"]


@pytest.mark.parametrize(("line", "said"), [
    ("time.sleep(60)", "no answer in 1 s"), ("sys.exit(3)", "its process ended with status 3"),
    ("print(json.dumps({'error': 'CUDA error'}), flush=True)", "CUDA error")], ids=("hangs", "ends", "says why"))
def test_a_side_that_fails_is_begun_anew(line, said):
    side = Answering(line, "cpu")
    try:
        before = side.process
        with pytest.raises(gpu_sides.Failed, match=said):
            side.ask(1, do="run", steps=1)
        assert before.poll() is not None and side.process.poll() is None and not side.missing
    finally:
        side.stop()


class Fake:
    """A side that tells figures: JAX is not installed, torch.compile computes something else, ours fails in one row."""

    def __init__(self, name, *_):
        self.name, self.about = name, {"device": "none"}
        self.missing = "it is not installed" if name == "jax" else ""

    def greet(self, seconds):
        pass

    def tell(self, **words):
        self.words = words

    def said(self, seconds):
        do = self.words["do"]
        if do == "prepare":
            self.row = self.words["row"]
        if self.row == "mlp_trial" and self.name == "ours":
            raise gpu_sides.Failed("an illegal memory access")
        if do == "check":
            with np.load(self.words["file"].replace(self.name, "params")) as f:
                change = 0.5 if self.name == "torch.compile" else 0.1
                np.savez(self.words["file"], **{k: v + np.float32(change) for k, v in f.items()})
        return {"check": {"losses": [1.0]}, "run": 1e-4 if self.name == "ours" else 2e-4, "captured": "",
                "reached": {"operations": 1e12, "bytes": 1e12}}.get(do, {})

    def stop(self):
        pass


def test_a_row_or_a_side_that_fails_leaves_the_others(capsys, monkeypatch):
    """A side that is not installed measures no row; of a row that fails the reason is told, and the next one comes."""
    monkeypatch.setattr(gpu, "Remote", Fake)
    assert gpu.main([*QUICK, "mlp_trial", "lstm_trial"]) == 1
    out = capsys.readouterr().out
    assert "mlp_trial         ours                  not measured: an illegal memory access" in out
    assert out.count("jax                   not measured: it is not installed") == 2
    assert "torch.compile         not measured: it changes" in out and "otherwise than ours" in out
    assert "ratio 0.50 (0.50 - 0.50), wanted: <= 0.9" in out


def test_a_second_run_goes_on(tmp_path, monkeypatch):
    """With rows that are not known, then with those that lack a side which can run; a row that loses a side is not taken."""
    monkeypatch.setattr(gpu, "Remote", Fake)
    file, side = tmp_path / "gpu.json", {"seconds": [1e-5, 2e-5]}
    known = [{"row": k, "missing": {}, "sides": dict.fromkeys(sides, side)} for k, sides in (
        ("mlp_trial", ["ours", "torch"]), ("lstm_trial", ["ours", "torch", "torch.graph", "torch.compile"]))]
    file.write_text(json.dumps({"machine": {"device": "none"}, "reached": {}, "rows": known}))
    given = [*QUICK, "--json", str(file)]
    run = gpu.Run(gpu.given(given))
    assert run.wanted({r["row"]: r for r in known}) == ["gru_trial", "custom_trial", "cnn_trial", "rbm_trial", "mlp_trial"]
    run.close()
    assert gpu.main([*given, "mlp_trial"]) == 0
    assert json.loads(file.read_text())["rows"] == known
    file.write_text(json.dumps({"machine": {"device": "another"}, "reached": {}, "rows": known}))
    with pytest.raises(SystemExit, match="holds figures of another, and this is none: name another file"):
        gpu.main(given)


def test_the_table():
    """Every row of the issue; what is not measured says so."""
    assert {"lstm_1024_512_128", "gru_256_64_32", "autoencoder_4096", "custom", "cnn", "rbm"} <= {*gpu_rows.ORDER}
    empty = gpu_report.table({"rows": []})
    assert empty.count(gpu_report.NOT_YET) == 7 * len(gpu_rows.GROUPS)
    side = {"seconds": [1e-5, 2e-5, 3e-5], "operations": 4e6, "bytes": 2e6}
    row = {"row": "cnn", "sides": {"ours": side, "torch": {"seconds": [4e-5] * 3}}, "missing": {"jax": "no GPU"}}
    text = gpu_report.table({"machine": {"device": "a GPU"}, "reached": {"operations": 1e12, "bytes": 1e12}, "rows": [row]})
    assert ("| 20.0 us (10.0 to 30.0) | 40.0 us (40.0 to 40.0) | not yet measured | not yet measured | not yet measured "
            "| 0.50 (0.25 to 0.75) | 1.0 | 4.0, 2.0 us |") in text
