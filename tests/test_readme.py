"""The README: what it shows as output is what the commands print, its commands parse, its snippets run, its lists are whole.

    <!-- file: net.nn -->             the block below is a file of the folder in which everything else runs
    <!-- code: net.nn function -->    the block below is that function of the generated module
    <!-- loops: net.nn function -->   its loops over time alone
    <!-- c: net.nn function -->       the loops over time of the function in C of the native module
    <!-- launches: net.nn function -->  what the function of the module for CuPy launches
    <!-- cuda: net.nn value -->       the kernel of that value in the module for CuPy
    <!-- steps: file.json -->         what stands up to `<!-- end -->` is the table of a measurement of tests/bench
    <!-- gpu: file.json -->           the same of one on a GPU; without the file, nothing is measured yet
    <!-- printed: words -->           what the snippets print, among other things: the line that begins with the words
    <!-- needs: torch -->             a snippet by itself, which runs where that is installed
    <!-- on: gpu -->                  a snippet after the others, which runs on the stand-in for CuPy
    ```console                        commands after `$`, and their output; `...` stands for anything
    ```sh                             commands, of which those of chainrule must parse
    ```c                              a program around the model as a C file, which is compiled and run
    ```python                         snippets that run in order, in one namespace

`python tests/test_readme.py` writes generated code and outputs (those without `...`) anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import NamedTuple

import chainrule
import numpy as np
import pytest
from chainrule.backends.interface import BACKENDS
from chainrule.compiler.optimisers import OPTIMISERS
from chainrule.frontends import cli
from chainrule.frontends.language import libraries
from chainrule.frontends.language.functions import names_of_functions
from chainrule.frontends.language.parameters import INITIALISERS
from chainrule.frontends.language.rarely import RARE
from chainrule.frontends.language.training import SCHEDULES
from chainrule.frontends.trainer.sources import SOURCES

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"(?:<!-- (\w+): (.*?) -->\n)?```(\w+)\n(.*?)```\n", re.DOTALL)


class Piece(NamedTuple):
    """A fenced block: its marker and the marker's argument, its language, its text, and where the text stands."""

    marker: str
    argument: str
    language: str
    text: str
    span: tuple[int, int]


def pieces(language: str | None = None, marker: str | None = None) -> list[Piece]:
    found = [Piece(m[1] or "", m[2] or "", m[3], m[4], m.span(4)) for m in BLOCK.finditer(README.read_text(encoding="utf-8"))]
    return [p for p in found if (language is None or p.language == language) and (marker is None or p.marker == marker)]


def write_files(folder: Path) -> None:
    """What a reader has before him: the README's files, and the examples."""
    for p in pieces(marker="file"):
        (folder / p.argument).write_text(p.text, encoding="utf-8")
    (folder / "examples").symlink_to(ROOT / "examples")


def run(command: str) -> str:
    """What a command of chainrule prints, both streams."""
    from typer.testing import CliRunner
    words = shlex.split(command)
    assert words[0] == "chainrule", command
    return CliRunner().invoke(cli.app, words[1:]).output


def function(file: str, name: str, backend: str = "numpy") -> str:
    """One function of the generated module of a model file."""
    source = chainrule.compile(chainrule.load(file), backend=backend).source
    start = source.index(f"def {name}(")
    return source[start:source.index("\n\n\n", start) + 1]


def loops(file: str, name: str) -> str:
    """The loops over time of such a function, one below the other."""
    lines, found = function(file, name).splitlines(keepends=True), ""
    for i, line in enumerate(lines):
        if re.match(r"    for [a-z] in ", line):
            block = [line, *itertools.takewhile(lambda s: s.startswith("     "), lines[i + 1:])]
            found += ("\n" if found else "") + textwrap.dedent("".join(block))
    return found


def c_loops(file: str, name: str) -> str:
    """The loops over time of a function in C: those in which equations are named."""
    text = chainrule.compile(chainrule.load(file), backend="native").source
    found = re.findall(rf"^(?:static )?void {name}(?:_share)?\(.*?^\}}\n", text, re.MULTILINE | re.DOTALL)[0]
    whole = re.findall(r"^    for \([^\n]*\{\n.*?^    \}\n", found, re.MULTILINE | re.DOTALL)
    return "\n".join(textwrap.dedent(s) for s in whole if "/* " in s)


def launches(file: str, name: str) -> str:
    """What such a function launches on a GPU, from its first equation to its last."""
    text = function(file, name, "cupy")
    return textwrap.dedent(text[text.index("    # ---- forward"):text.index("    return ")])


def cuda(file: str, value: str) -> str:
    """The kernel of a value."""
    text = chainrule.compile(chainrule.load(file), backend="cupy").source
    return re.findall(rf'^extern "C" __global__ [^{{}}]*?\b{value}(?:_kernel)?\(.*?^\}}\n', text, re.MULTILINE | re.DOTALL)[0]


GENERATED = {"code": function, "loops": loops, "c": c_loops, "launches": launches, "cuda": cuda}


TABLES = re.compile(r"<!-- (steps|gpu): (.*?) -->\n\n(.*?)\n?<!-- end -->\n", re.DOTALL)


def table(bench: str, file: str) -> str:
    """The table of a measurement."""
    command = [sys.executable, "-m", f"tests.bench.{bench}", "--table", file]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


def sessions(text: str) -> list[tuple[str, str]]:
    """Commands and the outputs below them."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)
    assert not parts[0], "a console block starts with a command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def stands_for(shown: str, printed: str) -> bool:
    """Whether the output is as shown, where `...` stands for anything."""
    lines = [".*".join(map(re.escape, re.split(r" *\.\.\. *", s))) if s != "..." else None for s in shown.rstrip().split("\n")]
    pattern = "".join("(?:[^\n]*\n)*?" if s is None else f"{s} *\n" for s in lines)
    return re.fullmatch(pattern, printed.rstrip() + "\n") is not None


def run_snippets() -> None:
    """All that need nothing else, in their order, beside the module that they import."""
    run("chainrule compile net.nn -o model_np.py")
    names: dict[str, object] = {}
    for p in pieces("python", marker=""):
        exec(compile(p.text, str(README), "exec"), names)
    sys.modules.pop("model_np", None)


def line_of(printed: str, words: str) -> str:
    """The first line that begins with the words."""
    return next(s for s in printed.splitlines(keepends=True) if s.startswith(words))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the README's files, in which its commands and snippets run in their order."""
    path, before = tmp_path_factory.mktemp("reader"), Path.cwd()
    write_files(path)
    os.chdir(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_CACHE", str(path / "cache"))
        patch.setenv("CHAINRULE_CFLAGS", "-O1")
        yield path
    os.chdir(before)


def test_generated_code_is_fresh(folder):
    shown = [p for p in pieces() if p.marker in GENERATED]
    assert {p.marker for p in shown} == {*GENERATED}
    for p in shown:
        assert p.text == GENERATED[p.marker](*p.argument.split()), f"stale: {p.argument}; python tests/test_readme.py"


def test_the_models_compile_and_their_gradients_are_right(folder):
    from typer.testing import CliRunner
    for p in pieces(marker="file"):
        checked = CliRunner().invoke(cli.app, ["check", p.argument])
        assert checked.exit_code == p.argument.startswith("wrong"), checked.output


def test_the_tables_are_the_measurements():
    found = TABLES.findall(README.read_text(encoding="utf-8"))
    assert {bench for bench, _, _ in found} == {"steps", "gpu"}
    for bench, file, shown in found:
        assert shown == table(bench, file), "stale: python tests/test_readme.py"


CONSOLE = [(c, out) for p in pieces("console") for c, out in sessions(p.text)]


@pytest.mark.parametrize(("command", "shown"), CONSOLE, ids=[c for c, _ in CONSOLE])
def test_outputs_are_what_the_commands_print(folder, command, shown):
    if " train " in command:
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    printed = run(command)
    assert stands_for(shown, printed), f"python tests/test_readme.py; it prints:\n{printed}"


def commands() -> list[str]:
    """Every `chainrule ...` in a shell block, and in the table of commands."""
    text = "\n".join(p.text for p in pieces("sh"))
    found = [line for line in re.split(r"\n|&&", text) if re.match(r"\s*(\.venv/bin/)?chainrule ", line)]
    return [line.split("#")[0].strip() for line in found] + \
        re.findall(r"`(chainrule \w+ [^`]*\.nn[^`]*)`", README.read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command):
    import typer
    words = shlex.split(command)[1:]
    app = typer.main.get_command(cli.app)
    context = app.make_context("chainrule", [words[0]], resilient_parsing=True)
    found = app.get_command(context, words[0])
    assert found is not None, command
    given = found.make_context(words[0], words[1:], parent=context).params        # parses; a wrong option raises
    model = given.get("model") or "net.nn"
    assert model in {p.argument for p in pieces(marker="file")} or (ROOT / model).is_file()


def test_snippets_run(folder, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(folder))
    run_snippets()
    out = capsys.readouterr().out
    assert "d_a_h @ x.T" in out
    for p in pieces(marker="printed"):
        assert p.text == line_of(out, p.argument), "stale: python tests/test_readme.py"


def test_snippets_for_a_gpu(folder, monkeypatch):
    """On the stand-in for CuPy, whose kernels run on the CPU."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "backends"))
    from gpu import host, standin
    if host.compiler() is None:
        pytest.skip(host.MISSING)
    real = ctypes.CDLL

    def library(name, **how):
        return standin.Ctypes.CDLL(name) if "cublas" in str(name) else real(name, **how)
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy())
    monkeypatch.setattr(ctypes, "CDLL", library)
    names = {"cr": chainrule, "np": np, "x": np.zeros((8, 64), np.float32), "y": np.arange(8)}
    for p in pieces("python", marker="on"):
        exec(compile(p.text, str(README), "exec"), names)


def test_the_program_in_c_trains(folder):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler: there is no cc on the path")
    program, = pieces("c", marker="")
    run("chainrule compile net.nn -o model.c")
    Path("main.c").write_text(program.text, encoding="utf-8")
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([compiler, *flags, "main.c", "model.c", "-lm", "-o", "main"], check=True)
    subprocess.run(["./main"], check=True)


def test_snippets_that_need_another_library():
    for p in pieces("python", marker="needs"):
        pytest.importorskip(p.argument, reason=f"{p.argument} is not installed")
        exec(compile(p.text, str(README), "exec"), {})


def test_the_picture_of_gradients_is_there():
    """Links to files of the repository lead somewhere, links within the README to a section."""
    text = README.read_text(encoding="utf-8")
    heads = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", prose)
    assert "docs/gradflow.png" in links
    assert [s for s in links if not (s[1:] in heads if s.startswith("#") else (ROOT / s).is_file())] == []


INTERNAL = {*RARE, "safe_div", "expmoment", "add", "sub", "neg", "mul", "div", "lt", "le", "gt", "ge", "eq", "ne"}


def test_the_catalogue_is_whole():
    """Every name that a model may use stands in the README; operators and the spelling of printed systems do not."""
    text = README.read_text(encoding="utf-8")
    shown = {*re.findall(r"`(\w+)(?:\(\w+\))?`", text), *re.findall(r"`(\w+)\(", text)}
    missing = [n for n in (*OPTIMISERS, *SCHEDULES, *INITIALISERS, *libraries.names(), *names_of_functions())
               if n not in shown and n not in INTERNAL]
    missing += [s for s in SOURCES if s not in shown and s != "conll"]           # read, not trained on
    assert not missing
    assert [n for n in BACKENDS if f"`--backend {n}`" not in text] == []


def test_what_is_named_is_there():
    """Paths and names of tables that the README mentions."""
    text = README.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:compiler|frontends|backends|examples|tests)/[\w/.*]*)`", text):
        assert list(ROOT.glob(path)) if path.rstrip("/") else True, path
    for name, path in re.findall(r"`([A-Z]{4,})` (?:or `[A-Z]+` )?in\s+`([\w/.]+)`", text):
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), (name, path)
    examples = re.findall(r"`(\w+)`", text[text.index("The models in `examples/`"):text.index("## Numbers")])
    assert {*examples} == {p.parent.name for p in ROOT.glob("examples/*/*.nn")}


def test_the_commands_of_a_fresh_machine():
    """One line each, which `.ci/run` finds by its marker."""
    for name, extra in (("demo", "demo"), ("tests", "test")):
        block = [p for p in pieces("sh", "command") if p.argument == name]
        assert len(block) == 1 and block[0].text.count("\n") == 1
        assert block[0].text.startswith(f'python3 -m venv .venv && .venv/bin/pip install -e ".[{extra}]" && ')


def test_one_copy_under_any_folder_name():
    """The root is imported as `chainrule` and as nothing else: two copies would not share their nodes."""
    roots = {id(m) for m in [*sys.modules.values()] if getattr(m, "__file__", None) == str(Path(chainrule.__file__))}
    assert roots == {id(chainrule)} and Path(chainrule.__file__).resolve().parent == ROOT


def test_every_package_is_listed():
    """What `pip install .` copies is what stands in pyproject.toml."""
    import tomllib
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = [p.parent for top in ("compiler", "frontends", "backends") for p in (ROOT / top).glob("**/__init__.py")]
    packages = {"chainrule", *(".".join(("chainrule", *f.relative_to(ROOT).parts)) for f in folders)}
    assert {*listed["packages"]} == packages
    files = {p for f in folders for p in f.iterdir() if p.suffix in (".nn", ".lark")}
    copied = {p for name, patterns in listed["package-data"].items() for pattern in patterns
              for p in ROOT.joinpath(*name.split(".")[1:]).glob(pattern)}
    assert files <= copied and ROOT / "py.typed" in copied


def test_importing_is_quick():
    """`import chainrule` loads none of the libraries that a compilation does without."""
    heavy = ("sympy", "matplotlib", "sklearn", "rich", "lark", "typer")
    code = f"import sys, chainrule; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def refresh() -> None:
    """Write the generated blocks of the README anew."""
    text = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_files(Path(folder))
        sys.path.insert(0, folder)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            run_snippets()
        for p in reversed(pieces()):
            new = p.text
            if p.marker in GENERATED:
                new = GENERATED[p.marker](*p.argument.split())
            elif p.marker == "printed":
                new = line_of(printed.getvalue(), p.argument)
            elif p.language == "console":
                new = "".join(f"$ {c}\n" + (out if "..." in out else run(c).rstrip() + "\n") for c, out in sessions(p.text))
            text = text[:p.span[0]] + new + text[p.span[1]:]
        os.chdir(ROOT)
    text = TABLES.sub(lambda m: f"<!-- {m[1]}: {m[2]} -->\n\n{table(m[1], m[2])}\n<!-- end -->\n", text)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    refresh()
