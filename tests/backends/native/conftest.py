"""C functions compiled with warnings as errors, and loaded; skipped where there is no compiler.

Whole models are compiled with little optimisation, for speed; their cache is the test session's.
"""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
from chainrule.backends.native.build import NoCompiler, compiler_command

FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """compiled(source, dtype, *flags): the source for elements of a type, as a loaded library."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler: there is no cc on the path")

    def build(source, dtype, *flags):
        path = tmp_path_factory.mktemp("kernels") / f"kernels_{np.dtype(dtype).name}.c"
        path.write_text(f"{'#define DOUBLE' if dtype == np.float64 else ''}\n{source}")
        done = subprocess.run([compiler, *FLAGS, *flags, str(path), "-o", str(path.with_suffix(".so")), "-lm"],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return ctypes.CDLL(str(path.with_suffix(".so")))

    return build


@pytest.fixture
def library(compiled):
    """library(source, dtype): the same."""
    return compiled


@pytest.fixture
def call():
    """call(function, *arguments): arrays by address, numbers as int64."""
    def run(function, *arguments):
        function.restype = None
        function(*(ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_int64(a) for a in arguments))

    return run


@pytest.fixture(autouse=True)
def native(request, tmp_path_factory, monkeypatch):
    """What a test marked `native` needs: a compiler, or it is skipped, and a cache of the tests' own."""
    if request.node.get_closest_marker("native") is None:
        return
    try:
        compiler_command()
    except NoCompiler as e:
        pytest.skip(str(e))
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path_factory.getbasetemp() / "native"))
    monkeypatch.setenv("CHAINRULE_CFLAGS", "-O1 -DINLINE_=static")        # no copies of a product's tiles
