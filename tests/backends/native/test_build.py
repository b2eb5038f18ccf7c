"""Compiling and the cache: by content, safe for several processes and for a kill, one sentence for what goes wrong."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chainrule.backends.native import build
from chainrule.backends.native.build import NoCompiler, load_library
from chainrule.frontends.commands import cache as command

TEXT = "int answer(void) { return %d; }\n"
FOLDER = str(Path(build.__file__).parent)                        # the file needs nothing of the package
SLOW = """#!/bin/sh
echo started >> {log}
for x in "$@"; do case "$last" in -o) out="$x";; esac; last="$x"; done
printf partial > "$out"
sleep 30
"""
LOAD = "from build import load_library; print(load_library({text!r}, 'm', 'float32').answer())"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def process(text, **environment):
    return subprocess.Popen([sys.executable, "-c", LOAD.format(text=text)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, "PYTHONPATH": FOLDER, **environment},
                            start_new_session=True)


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.mark.native
def test_by_content(cache, monkeypatch):
    """The same text is compiled once; another text, other flags or another type make another library."""
    assert load_library(TEXT % 1, "m", "float32").answer() == 1
    kept = {p: p.stat().st_mtime_ns for p in cache.iterdir()}
    assert sorted(p.suffix for p in kept) == [".c", ".so"]
    assert load_library(TEXT % 1, "m", "float32").answer() == 1
    assert {p: p.stat().st_mtime_ns for p in cache.iterdir()} == kept
    assert load_library(TEXT % 2, "m", "float32").answer() == 2
    load_library(TEXT % 1, "m", "float64")
    monkeypatch.setenv("CHAINRULE_CFLAGS", "-O0")
    load_library(TEXT % 1, "m", "float32")
    assert len([*cache.glob("*.so")]) == 4


@pytest.mark.native
def test_several_processes_at_once(cache):
    found = [process(TEXT % 5) for _ in range(3)]
    assert [p.communicate(timeout=60)[0].strip() for p in found] == ["5"] * 3
    assert len([*cache.glob("*.so")]) == 1
    assert not [*cache.glob("making-*")]


@pytest.mark.native
def test_killed_in_the_middle(cache, tmp_path):
    """What a killed compilation leaves is no library; the next one compiles, and sweeps up what is old."""
    log = tmp_path / "log"
    p = process(TEXT % 7, CC=script(tmp_path / "slow", SLOW.format(log=log)))
    for _ in range(600):
        if log.exists() and any(f.stat().st_size for f in cache.glob("making-*/*.so")):
            break
        time.sleep(0.05)
    os.killpg(p.pid, signal.SIGKILL)
    p.communicate()
    left, = cache.glob("making-*")
    assert not [*cache.glob("*.so")]
    os.utime(left, (0, 0))
    assert load_library(TEXT % 7, "m", "float32").answer() == 7
    assert not left.exists()


@pytest.mark.native
def test_a_library_cut_off_is_made_again(cache):
    load_library(TEXT % 8, "m", "float32")
    path, = cache.glob("*.so")
    path.unlink()
    path.write_bytes(b"\x7fELF")
    assert load_library(TEXT % 8, "m", "float32").answer() == 8


@pytest.mark.native
def test_a_compiler_that_fails(cache):
    with pytest.raises(NoCompiler, match=r"cannot compile (.*\.c): .*error") as e:
        load_library("int answer(void) { return nothing; }\n", "m", "float32")
    text = str(e.value).split("cannot compile ")[1].split(": ")[0]
    assert "return nothing" in Path(text).read_text()
    assert "\n" not in str(e.value)


def long_text(parts):
    """A function in parts of 200 lines each, and what it returns."""
    heads = [f"static APART void part_{k}_of_sums(int64_t *total)" for k in range(parts)]
    calls = "".join(f"    part_{k}_of_sums(&total);\n" for k in range(parts))
    body, total = "    *total = *total * 2 % 1009 + one();\n" * 200, 0
    for _ in range(200 * parts):
        total = total * 2 % 1009 + 1
    return "\n".join(["#include <stdint.h>\n#define APART __attribute__((noinline, unused))",
                      "static int one(void) { return 1; }\nint shared(void) { return 3; }",
                      "#define ONCE static __attribute__((unused))\nONCE void *nowhere(void)\n{\n    return 0;\n}",
                      "void *here(void)\n{\n    return 0;\n}",
                      *(f"{h};" for h in heads),
                      f"int sums(void)\n{{\n    int64_t total = 0;\n{calls}    return (int)total;\n}}",
                      *(f"\n{h}\n{{\n{body}}}" for h in heads)]) + "\n", total


@pytest.mark.native
def test_a_long_text_is_compiled_as_several(cache, monkeypatch):
    """The parts of long functions are divided among them, every part once; an error says which of them fails."""
    text, total = long_text(7)
    monkeypatch.setattr(build, "processors", lambda: 3)
    units = build.in_units(text, 3)
    assert [len(re.findall(r"(?m)^APART void part_\d_of_sums\(int64_t \*total\)$", unit)) for unit in units] == [3, 2, 2]
    assert ["int sums(void)\n{" in unit for unit in units] == [True, False, False]
    assert build.in_units(text, 1) == [text] and len(build.in_units(long_text(3)[0], 8)) == 1
    library = load_library(text, "m", "float32")
    assert library.sums() == total and library.shared() == 3
    assert sorted(p.suffix for p in cache.iterdir()) == [".c", ".so"]
    assert next(cache.glob("*.c")).read_text() == text
    wrong = text.replace("part_6_of_sums(int64_t *total)\n{\n", "part_6_of_sums(int64_t *total)\n{\n    nothing();\n")
    with pytest.raises(NoCompiler, match=r"cannot compile .*nothing") as e:
        load_library(f"#pragma GCC diagnostic error \"-Wimplicit-function-declaration\"\n{wrong}", "m", "float32")
    failed = Path(str(e.value).split("cannot compile ")[1].split(": ")[0]).read_text()
    assert "nothing();" in failed and "part_0_of_sums(int64_t *total)\n{" not in failed
    assert not [*cache.glob("making-*")]


def test_a_compiler_that_says_nothing(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", script(tmp_path / "mute", "#!/bin/sh\nexit 3\n"))
    with pytest.raises(NoCompiler, match="it ends with status 3"):
        load_library(TEXT % 1, "m", "float32")


@pytest.mark.parametrize("cc, why", [("no-such-compiler", "CC names no-such-compiler, which is not there"),
                                     ("", "there is no cc, gcc or clang on the path")])
def test_no_compiler(cc, why, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", cc)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompiler, match=f"needs a C compiler, and {why}; install one, name one in CC"):
        build.compiler_command()


@pytest.mark.native
def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(NoCompiler, match=r"cache of compiled models cannot be written: .*; CHAINRULE_CACHE names another"):
        load_library(TEXT % 1, "m", "float32")


def test_the_cache_is_cleared(cache, capsys):
    """Compiled models go, and with them what killed compilations left; other files stay."""
    cache.mkdir()
    key = "0123456789abcdef01234567"
    for name in (f"m-{key}.so", f"m-{key}.c", "notes.txt"):
        (cache / name).write_text("")
    (cache / "making-x").mkdir()
    command.cache(clear=False)
    assert "1 compiled model, 0.0 MB" in capsys.readouterr().out
    assert len([*cache.iterdir()]) == 4
    command.cache(clear=True)
    assert [p.name for p in cache.iterdir()] == ["notes.txt"]
