"""Native libraries: C compiled once by the system's compiler, kept in a cache by content, and loaded.

A library's name is the hash of everything that made it: the text, the flags, the compiler. It is compiled under a name of its
own and then renamed, so that several processes may want the same one, and one that is killed leaves nothing that another reads.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

FLAGS = ("-std=c11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fopenmp-simd",
         "-fPIC", "-shared", "-Wall", "-Wno-unknown-pragmas")


class NoCompiler(RuntimeError):
    """There is no C compiler, or it cannot compile what it is given."""


def cache_folder() -> Path:
    """$CHAINRULE_CACHE, or the user's cache folder."""
    if own := os.environ.get("CHAINRULE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chainrule"


@cache
def compiler() -> tuple[str, str]:
    """The C compiler's path and what it says of itself."""
    wanted = os.environ.get("CC") or next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), "")
    path = shutil.which(wanted) if wanted else None
    if path is None:
        raise NoCompiler("the native backend needs a C compiler, and there is no cc, gcc or clang on the path; "
                         "install one, name one in CC, or compile with backend=\"numpy\"")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    return path, said.split("\n")[0]


def library(source: str, name: str, flags: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The text as a loaded library, compiled where the cache does not hold it. NoCompiler says what went wrong."""
    path, version = compiler()
    given = (*FLAGS, *flags)
    key = hashlib.sha256("\0".join([source, version, _machine(), *given]).encode()).hexdigest()[:24]
    folder = cache_folder()
    target = folder / f"{name}-{key}.so"
    if not target.exists():
        _compile(path, given, source, target)
    return ctypes.CDLL(str(target))


def _machine() -> str:
    """What -march=native depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        import platform
        return platform.processor()
    return next((line for line in text.split("\n") if line.startswith("flags")), "")


def _compile(compiler: str, flags: tuple[str, ...], source: str, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(".so", target.stem, target.parent)
    except OSError as e:
        raise NoCompiler(f"the cache of compiled models cannot be written: {e}; CHAINRULE_CACHE names another folder") from None
    os.close(handle)
    text = target.with_suffix(".c")
    try:
        written = Path(made).with_suffix(".c")
        written.write_text(source, encoding="utf-8")
        done = subprocess.run([compiler, *flags, str(written), "-o", made, "-lm"], capture_output=True, text=True, check=False)
        os.replace(written, text)
        if done.returncode:
            first = next((line for line in done.stderr.split("\n") if "error" in line), done.stderr.strip())
            raise NoCompiler(f"{compiler} cannot compile {text}: {first}")
        os.replace(made, target)
    finally:
        Path(made).unlink(missing_ok=True)
        Path(made).with_suffix(".c").unlink(missing_ok=True)
