"""Libraries made of C: compiled once by the system's compiler, kept in a cache by content, loaded. A module carries this text.

A library's name is the hash of all that made it: text, flags, compiler, machine. It is compiled in a folder of its own inside
the cache and then renamed, so that several processes may want the same one, and one that is killed leaves nothing that another
reads. A long text is compiled as several at the same time. CHAINRULE_CACHE names the folder, CC the compiler, CHAINRULE_CFLAGS
further flags.
"""

import ctypes
import hashlib
import os
import platform
import re
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

    gcc unrolls fewer whole loops than it does at -O3, and optimises a text of more than 2000 lines less: in half the time, and as
    fast where it was measured.
    """
    if "gcc" not in os.path.basename(os.path.realpath(path)):
        level = ["-O3"]
    elif source.count("\n") > 2000:
        level = ["-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic"]
    else:
        level = ["-O3", "--param=max-completely-peeled-insns=100"]
    own = shlex.split(os.environ.get("CHAINRULE_CFLAGS", ""))
    tuned = () if any(flag.startswith(("-march", "-mcpu")) for flag in own) else ("-march=native",)
    if tuned and "avx512f" in machine():                         # whose longest vectors the matrix products use anyway
        tuned += ("-mprefer-vector-width=512",)
    return ["-std=c11", *level, *tuned, "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fopenmp-simd", "-DLANES",
            "-fPIC", *(["-DDOUBLE"] if dtype == "float64" else []), *own]


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


def processors():
    """How many compilers may run at the same time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_units(source, most):
    """A text as at most so many, of 400 lines or more, among which the parts of its long functions are divided.

    The first of them has all else; what is declared before, each has for itself.
    """
    part = re.compile(r"^static APART void part_\d+_of_\w+\([^;{}]*\)\n\{\n.*?^\}\n", re.M | re.S)
    parts = [found[0] for found in part.finditer(source)]
    lines = sum(text.count("\n") for text in parts)
    many = min(most, lines // 400)
    if many < 2:
        return [source]
    head = source[:re.search(r"(?m)^static APART void part_", source).start()]
    heads = re.findall(r"(?m)^static (APART void part_\d+_of_.*;\n)", source)
    shared = re.sub(r"(?m)^(?=(?!static |typedef )[a-z][\w ]* \**\w+\([^;{}]*\)\s*\{)", "static APART ", head)
    units, done = [part.sub("", source)] + [f"{shared}{''.join(heads)}" for _ in range(many - 1)], 0
    for text in parts:
        units[min(done * many // lines, many - 1)] += f"\n{text}"
        done += text.count("\n")
    return [re.sub(r"(?m)^static (?=APART void part_\d+_of_)", "", text) for text in units]


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
    try:
        units, kept = in_units(source, min(processors(), 8)), target.with_suffix(".c")
        texts = [folder / f"{target.stem}{f'-{k}' if k else ''}.c" for k in range(len(units))]
        for path, text in zip(texts, units):
            path.write_text(text, encoding="utf-8")
        made = folder / target.name
        failed = compiled_together(command, texts, made)
        if failed:
            os.replace(failed[0], kept)
            raise NoCompiler(f"{command[0]} cannot compile {kept}: {failed[1]}")
        texts[0].write_text(source, encoding="utf-8")
        os.replace(texts[0], kept)
        os.replace(made, target)
    except OSError as e:
        raise NoCompiler(f"the cache of compiled models cannot be written: {e.strerror}: {str(target.parent)!r}; "
                         "CHAINRULE_CACHE names another folder") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compiled_together(command, texts, made):
    """One library of several texts, by as many compilers at once; of one that fails, the text and what the compiler says."""
    def run(*words):
        return subprocess.Popen([*command, *map(str, words)], cwd=made.parent, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)
    if len(texts) == 1:
        runs = [run("-shared", texts[0].name, "-o", made.name, "-lm")]
    else:
        runs = [run("-c", path.name, "-o", path.with_suffix(".o").name) for path in texts]
    said = [p.communicate()[1] for p in runs]
    if len(texts) > 1 and not any(p.returncode for p in runs):
        runs.append(run("-shared", *(path.with_suffix(".o").name for path in texts), "-o", made.name, "-lm"))
        said.append(runs[-1].communicate()[1])
    for path, p, text in zip([*texts, texts[0]], runs, said):
        if p.returncode:
            first = next((line for line in text.split("\n") if "error" in line), text.strip())
            return path, first or f"it ends with status {p.returncode}"
    return None
