"""Libraries made of C: compiled once by the system's compiler, kept in a cache by content, loaded. A module carries this text.

A library's name is the hash of all that made it: text, flags, compiler, machine. It is compiled in a folder of its own inside
the cache and then renamed, so that several processes may want the same one, and one that is killed leaves nothing that another
reads. CHAINRULE_CACHE names the folder, CC the compiler, CHAINRULE_CFLAGS further flags.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path


class NoCompiler(RuntimeError):
    """There is no C compiler, it cannot compile what it is given, or its work cannot be stored."""


def cache_folder():
    """$CHAINRULE_CACHE, or the user's cache folder."""
    if own := os.environ.get("CHAINRULE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chainrule"


def compiler_command():
    """The C compiler's path, with the options that CC gives after it."""
    wanted = shlex.split(os.environ.get("CC", "")) or [next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), "")]
    path = shutil.which(wanted[0]) if wanted[0] else None
    if path is None:
        what = f"CC names {wanted[0]}, which is not there" if wanted[0] else "there is no cc, gcc or clang on the path"
        raise NoCompiler(f"the native backend needs a C compiler, and {what}; install one, name one in CC, "
                         'or take the backend "numpy"')
    return [path, *wanted[1:]]


def compiler_version(path):
    """What tells one compiler from another, without running it."""
    found = os.stat(os.path.realpath(path))
    return f"{os.path.realpath(path)} {found.st_size} {found.st_mtime_ns}"


def machine():
    """What -march=native depends on."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()


def compiler_flags(dtype, source="", path=""):
    """Optimised for this machine; NaN and infinities keep their meaning, signalling ones and errno do not.

    A text of more than 2000 lines is optimised less by gcc: in half the time, and as fast where it was measured.
    """
    long = source.count("\n") > 2000 and "gcc" in os.path.basename(os.path.realpath(path))
    level = ("-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic") if long else ("-O3",)
    own = shlex.split(os.environ.get("CHAINRULE_CFLAGS", ""))
    tuned = () if any(flag.startswith(("-march", "-mcpu")) for flag in own) else ("-march=native",)
    if tuned and "avx512f" in machine():                         # whose longest vectors the matrix products use anyway
        tuned += ("-mprefer-vector-width=512",)
    return ["-std=c11", *level, *tuned, "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fopenmp-simd", "-DLANES",
            "-fPIC", "-shared", *(["-DDOUBLE"] if dtype == "float64" else []), *own]


def load_library(source, name, dtype):
    """The text as a loaded library for elements of a type; compiled where the cache does not hold it."""
    command = compiler_command()
    flags = compiler_flags(dtype, source, command[0])
    made_of = [source, compiler_version(command[0]), machine(), *command[1:], *flags]
    key = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:24]
    target = cache_folder() / f"{name}-{key}.so"
    if target.is_file():
        try:
            return ctypes.CDLL(str(target))
        except OSError:                                          # cut off by a full disk, or copied from another system
            pass
    compile_library([*command, *flags], source, target)
    try:
        return ctypes.CDLL(str(target))
    except OSError as e:
        raise NoCompiler(f"{command[0]} made a library that cannot be loaded: {e}") from None


def compile_library(command, source, target):
    """Compile in a folder of its own, then rename; the text stands beside the library."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob("making-*"):              # what a killed compilation left behind
            if time.time() - left.stat().st_mtime > 3600:
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp("", "making-", target.parent))
    except OSError as e:
        raise NoCompiler(f"the cache of compiled models cannot be written: {e.strerror}: {str(target.parent)!r}; "
                         "CHAINRULE_CACHE names another folder") from None
    text, made, kept = folder / f"{target.stem}.c", folder / target.name, target.with_suffix(".c")
    try:
        text.write_text(source, encoding="utf-8")
        done = subprocess.run([*command, text.name, "-o", made.name, "-lm"], cwd=folder, capture_output=True, text=True,
                              check=False)
        os.replace(text, kept)
        if done.returncode:
            said = next((line for line in done.stderr.split("\n") if "error" in line), done.stderr.strip())
            raise NoCompiler(f"{command[0]} cannot compile {kept}: {said or f'it ends with status {done.returncode}'}")
        os.replace(made, target)
    except OSError as e:
        raise NoCompiler(f"the cache of compiled models cannot be written: {e.strerror}: {str(target.parent)!r}; "
                         "CHAINRULE_CACHE names another folder") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
