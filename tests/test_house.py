"""Rules of the house, checked by machine: small rooms, arrows between the packages, a light import, no machine in the files."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import chainrule
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("compiler", "backends", "frontends")
FILES = sorted([ROOT / "__init__.py", *(p for d in PACKAGES for p in (ROOT / d).rglob("*.py"))])
TEXTS = sorted(p for d in (*PACKAGES, "examples", "tests") for p in (ROOT / d).rglob("*")
               if p.suffix in (".py", ".nn", ".md", ".toml", ".html", ".svg") and "__pycache__" not in p.parts)


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_rooms_are_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    long = [f"{n.name}: {n.end_lineno - n.lineno + 1} lines" for n in ast.walk(ast.parse(text))
            if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and n.end_lineno - n.lineno + 1 > 40]
    assert long == []


def imports(path):
    """Modules that a file of the package imports, as paths from the root: ('compiler', 'graph'); others by their first word."""
    package = path.relative_to(ROOT).parent.parts
    for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(n, ast.ImportFrom) and n.level:
            base = package[:len(package) - n.level + 1]
            yield from ((*base, *(n.module.split(".") if n.module else (a.name,))) for a in n.names)
        elif isinstance(n, ast.ImportFrom):
            yield (n.module or "",)
        elif isinstance(n, ast.Import):
            yield from ((a.name,) for a in n.names)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_arrows_point_to_the_compiler(path):
    """frontends -> compiler <- backends; only the face, the trainer, the commands and what shows a model know both."""
    here = path.relative_to(ROOT).parts[0]
    found = {m for m in imports(path)}
    assert not any(m[0].split(".")[0] == "chainrule" for m in found), "imports inside are relative"
    reached = {m[0] for m in found}
    if here == "compiler":
        assert not reached & {"backends", "frontends"}
    if here == "backends":
        assert "frontends" not in reached
    if here == "frontends" and "language" in path.parts:
        assert "backends" not in reached


def test_importing_is_light():
    heavy = ["sympy", "matplotlib", "rich", "typer", "sklearn", "lark", "safetensors", "scipy"]
    code = f"import sys, chainrule; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_there_is_one_copy_of_the_package():
    """Under every name by which tests or tools reach it, the root is one module: interning depends on it."""
    assert Path(chainrule.__file__).resolve().parent == ROOT
    copies = {id(m) for m in list(sys.modules.values()) if getattr(m, "__file__", None)
              and Path(m.__file__).resolve() == ROOT / "__init__.py"}
    assert copies == {id(chainrule)}
    graphs = {id(m) for k, m in list(sys.modules.items()) if k.endswith("compiler.graph")}
    assert len(graphs) == 1


MACHINE = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|Users|opt|mnt|var/folders)/[\w.-]+|[A-Z]:\\\\[A-Za-z]")


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_files_name_no_machine(path):
    if path == Path(__file__).resolve():
        return
    found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if MACHINE.search(line)]
    assert found == []
