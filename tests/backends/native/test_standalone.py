"""One C file: the same numbers as NumPy's, strict compilers, sanitizers, mistakes as sentences."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from chainrule.backends.native.standalone import standalone
from chainrule.compiler.graph import GraphError
from chainrule.compiler.options import Options
from chainrule.frontends.language import parse
from zoo.build import LENGTHS, values
from zoo.c_library import STRICT, Library, agree, expected, outside, trained, write
from zoo.standalone import MODELS

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "char_rnn_c"
RBM = """energy rbm(D = 3, H = 2)
visible v[D] : binary
hidden h[H] : binary
param W[H, D] ~ normal(0.5);  b[D] = 0.1;  c[H] = 0
E = - h @ W @ v - b @ v - c @ h
train persistent_contrastive_divergence(k = 2, lr = 0.1), batch = 4
"""
pytestmark = pytest.mark.native


def clang():
    """The command, or why it is not here."""
    if shutil.which("clang"):
        return ["clang"]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    pytest.skip("needs clang: it is not on the path, and the package ziglang, which brings it, is not installed")


@pytest.mark.parametrize("name", MODELS)
def test_agrees_with_numpy(name, tmp_path):
    agree(MODELS[name](), tmp_path, "float32")


@pytest.mark.parametrize("name", ["gru", "lenet", "masked", "dropout", "truncated", "initial"])
def test_a_program_under_sanitizers(name, tmp_path):
    """C alone, in double precision: every access and every sum of integers is checked."""
    found = trained(MODELS[name](), tmp_path, "float64", ["-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
    np.testing.assert_allclose(found, expected(MODELS[name](), "float64"), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["gru", "lenet", "initial"])
def test_clang(name, tmp_path):
    found = trained(MODELS[name](), tmp_path, "float32", ["-O1"], compiler=clang())
    np.testing.assert_allclose(found, expected(MODELS[name](), "float32"), rtol=1e-3, atol=1e-4)


def test_an_energy_model(tmp_path):
    """Means, free energies, and three steps of persistent contrastive divergence, whose chains go on."""
    system = parse(RBM)
    library = Library(system, {"B": 4}, tmp_path, flags=("-O1",))
    module, inputs = library.numpy.module, {"v": np.eye(4, 3), "h": np.eye(4, 2)}
    library.init(5)
    params = module.init(5, "float64")
    for function, given in (("hidden_given_visible", "v"), ("visible_given_hidden", "h"), ("free_energy", "v")):
        want = {given: getattr(module, function)(params, inputs[given])}
        np.testing.assert_allclose(library.outputs(function, [given], inputs, want)[given], want[given], rtol=1e-12)
    state = module.init_state(params, 5)
    step = library.c.rbm_train_step
    step.restype = library.real
    for _ in range(3):
        loss = module.train_step(params, state, inputs["v"])
        np.testing.assert_allclose(step(*library.arguments("v", inputs)), loss, rtol=1e-10)
    for k, v in params.items():
        np.testing.assert_allclose(library.params[k], v, rtol=1e-10)


def test_the_bytes_are_those_of_the_object(tmp_path):
    """What the header and the command say is what the linker sees; nothing is allocated."""
    files = standalone(MODELS["truncated"]())
    path = write(files, tmp_path)
    (tmp_path / "main.c").write_text(
        f'#include "{files.name}.h"\n#include <stdio.h>\n'
        f'int main(void) {{ {files.name}_init(0); printf("%zu", {files.name.upper()}_BYTES); return 0; }}\n')
    for flags, said in (([], files.bytes), (["-DBATCH=5", "-DREAL=double"], None)):
        made = tmp_path / "model.o"
        subprocess.run(["cc", *STRICT, *flags, "-O1", "-c", str(path), "-o", str(made)], check=True)
        program = ["-o", str(tmp_path / "main"), "-lm"]
        subprocess.run(["cc", *STRICT, *flags, str(tmp_path / "main.c"), str(made), *program], check=True)
        told = int(subprocess.run([str(tmp_path / "main")], capture_output=True, text=True, check=True).stdout)
        size = subprocess.run(["size", str(made)], capture_output=True, text=True, check=True).stdout
        bss = int(size.splitlines()[1].split()[2])
        assert said is None or told == said
        assert told <= bss <= told + 1024                        # the state, and gaps between arrays
    calls = {*re.findall(r"\b(malloc|calloc|realloc|alloca|printf)\b", files.source)}
    assert not calls


def test_parameters_are_saved_and_read(tmp_path):
    library = Library(MODELS["gru"](), LENGTHS, tmp_path, flags=("-O0",))
    library.init(3)
    path = str(tmp_path / "params.bin").encode()
    before = {k: v.copy() for k, v in library.params.items()}
    assert library.c.gru_save(path)
    np.testing.assert_array_equal(np.fromfile(path.decode()), np.concatenate([v.reshape(-1) for v in before.values()]))
    library.init(4)
    assert library.c.gru_load(path)
    assert all((library.params[k] == v).all() for k, v in before.items())
    (tmp_path / "params.bin").write_bytes(b"short")
    for other in (path, str(tmp_path / "none" / "x").encode()):
        assert not library.c.gru_load(other) & 255
    assert not library.c.gru_save(str(tmp_path / "none" / "x").encode()) & 255
    assert all((library.params[k] == v).all() for k, v in before.items())


def test_classes_out_of_range_do_nothing(tmp_path):
    library = Library(MODELS["initial"](), LENGTHS, tmp_path, flags=("-O0",))
    inputs = outside(library.system, values(library.system, LENGTHS))
    library.init(0)
    before = {k: v.copy() for k, v in library.params.items()}
    for y in (-1, 6):
        assert np.isnan(library.number("train_step", inputs | {"y": np.array([0, y, 1])}))
    assert all((library.params[k] == v).all() for k, v in before.items())
    assert np.isfinite(library.number("train_step", inputs))


def test_files_that_do_not_fit_together_are_not_linked(tmp_path):
    """The lengths and the type are in a name that init and load read; two models live in one program."""
    path = write(standalone(MODELS["truncated"]()), tmp_path)
    other = write(standalone(parse("model other(D = 3)\ninput x[D]\nparam w[D] = 1\noutput y\ny = w * x\n")), tmp_path)
    calls = "".join(f"{p.stem}_init(1); " for p in (path, other))
    heads = "".join(f"#include \"{p.stem}.h\"\n" for p in (path, other))
    (tmp_path / "main.c").write_text(f"{heads}int main(void) {{ {calls}return 0; }}\n")
    for p in (path, other):
        subprocess.run(["cc", *STRICT, "-O1", "-c", str(p), "-o", str(p.with_suffix(".o"))], check=True)
    program = ["cc", *STRICT, "-O2", str(tmp_path / "main.c"), *(str(p.with_suffix(".o")) for p in (path, other)), "-lm",
               "-o", str(tmp_path / "main")]
    subprocess.run(program, check=True)
    for flag in ("-DBATCH=5", "-DREAL=double"):
        done = subprocess.run([*program, flag], capture_output=True, text=True)
        assert done.returncode and "_is_compiled_for_" in done.stderr


@pytest.mark.parametrize("flag", ["-Ofast", "-ffast-math", "-ffinite-math-only"])
def test_flags_that_change_rounding_are_refused(flag, tmp_path):
    path = write(standalone(MODELS["gru"]()), tmp_path)
    done = subprocess.run(["cc", "-std=c11", flag, "-c", str(path), "-o", str(tmp_path / "x.o")], capture_output=True, text=True)
    assert done.returncode and "compile without -Ofast" in done.stderr


def test_products_by_a_blas(tmp_path):
    """-DCHAINRULE_CBLAS takes cblas_dgemm from <cblas.h>; here one that is written down."""
    (tmp_path / "cblas.h").write_text("""
enum CBLAS_ORDER { CblasRowMajor = 101 };
enum CBLAS_TRANSPOSE { CblasNoTrans = 111, CblasTrans = 112 };
static inline void cblas_dgemm(enum CBLAS_ORDER order, enum CBLAS_TRANSPOSE ta, enum CBLAS_TRANSPOSE tb, int m, int n, int k,
    double alpha, const double *a, int lda, const double *b, int ldb, double beta, double *c, int ldc)
{
    for (int i = 0; i < m && order == CblasRowMajor; i++)
        for (int j = 0; j < n; j++) {
            double total = 0;
            for (int p = 0; p < k; p++)
                total += a[ta == CblasTrans ? p * lda + i : i * lda + p] * b[tb == CblasTrans ? j * ldb + p : p * ldb + j];
            c[i * ldc + j] = alpha * total + (beta != 0 ? beta * c[i * ldc + j] : 0);
        }
}
""")
    agree(MODELS["gru"](), tmp_path, "float64", flags=("-O1", "-DCHAINRULE_CBLAS", f"-I{tmp_path}"))


def test_the_example_learns(tmp_path):
    """Its commands, on its own text; a text that is too short gets a sentence."""
    program = tmp_path / "char_rnn"
    sources = [str(EXAMPLE / "main.c"), str(EXAMPLE / "generated" / "char_rnn.c")]
    subprocess.run(["cc", *STRICT, "-O2", "-DBATCH=4", "-DLENGTH=16", *sources, "-lm", "-o", str(program)], check=True)
    done = subprocess.run([str(program), str(EXAMPLE / "main.c"), "2"], capture_output=True, cwd=tmp_path, check=True)
    losses = [float(x) for x in re.findall(rb"pass \d: ([\d.]+) nats", done.stdout)]
    assert len(losses) == 2 and losses[1] < losses[0] < np.log(256)
    (tmp_path / "short.txt").write_text("too short")
    done = subprocess.run([str(program), "short.txt"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "short.txt has 9 bytes, and 4 streams need more than 16 each" in done.stderr


# ---------------------------------------------------------------- mistakes

def test_checkpoints_of_the_train_line_are_said_to_be_left_out():
    """They change the memory alone; those of the command line are refused."""
    plain = "model m(D = 3)\ninput x[t, D]\nparam w[D] = 1\nh[t] = w * x[t] + h[t-1] where h[-1] = 0\nloss = sum[t] sum(h[t])\n"
    files = [standalone(parse(f"{plain}train sgd(lr = 0.1){more}\n")) for more in ("", ", checkpoint = sqrt")]
    said = "\n   Every step of a sequence is kept in it: checkpoint = sqrt of the train line has no form here.\n"
    assert files[0].source == files[1].source and said in files[1].header and files[1].header.replace(said, "") == files[0].header


def test_what_has_no_form_in_c():
    with pytest.raises(GraphError, match="keeps every step of a sequence in memory; leave out --checkpoint"):
        standalone(MODELS["gru"](), Options(checkpoint="sqrt"))
    for head, message in (("int(D = 3)", "'int' is no name in C; give the model another one"),
                          ("m(D = 3)", "two parameters would be called beta in C")):
        with pytest.raises(GraphError, match=message):
            standalone(parse(f"model {head}\ninput x[D]\nparam β[D], beta[D] = 0\noutput y\ny = beta * x + β\n"))


def test_a_model_without_a_loss(tmp_path):
    """It has no gradients, and no memory for them."""
    system = parse("model m(D = 3)\ninput x[D]\nparam default[D] = 2;  β[D] ~ uniform(0, 1)\noutput y\ny = default * x + β\n")
    files = standalone(system)
    assert "train_step" not in files.header and "optimiser" not in files.header and "grads" not in files.source
    path = write(files, tmp_path)
    subprocess.run(["cc", *STRICT, "-c", str(path), "-o", str(tmp_path / "m.o")], check=True)
    assert files.bytes == 4 * (2 * 3 + 32 * 3)


def test_files_are_written_where_they_are_asked_for(tmp_path, capsys):
    from chainrule.frontends.cli import app
    from typer.testing import CliRunner
    model = str(EXAMPLE / "model.nn")
    path = str(tmp_path / "new" / "net.c")
    done = CliRunner().invoke(app, ["compile", model, "-o", path, "--dtype", "float64", "--set", "H=8"])
    assert done.exit_code == 0, done.output
    source, header = ((tmp_path / "new" / f"net.{x}").read_text() for x in "ch")
    assert '#include "net.h"' in source and "#define REAL double" in header and "CHAR_RNN_H = 8" in header
    for arguments in (["-O0"], ["--checkpoint", "sqrt"], ["--dtype", "float16"]):
        assert CliRunner().invoke(app, ["compile", model, "-o", str(tmp_path / "x.c"), *arguments]).exit_code == 1
    (tmp_path / "file").write_text("")
    assert CliRunner().invoke(app, ["compile", model, "-o", str(tmp_path / "file" / "x.c")]).exit_code == 1
    assert not (tmp_path / "x.c").exists()
