"""The BLAS that NumPy carries: its matrix products and the number of its threads, by the symbols of its library."""

import ctypes
import os
from pathlib import Path

import numpy as np


def blas_symbol(*names):
    """The first of these functions that a library of NumPy's wheel has, or None."""
    here = Path(np.__file__).parent
    folders = (here.parent / "numpy.libs", here / ".dylibs")
    for path in (p for folder in folders for p in sorted(folder.glob("*openblas*"))):
        try:
            found = ctypes.CDLL(str(path))
        except OSError:
            continue
        for name in names:
            if hasattr(found, name):
                return getattr(found, name)
    return None


def blas_product(dtype):
    """The matrix product for float32 or float64, with 64-bit sizes; None where NumPy brings none."""
    letter = "s" if dtype == "float32" else "d"
    return blas_symbol(f"scipy_cblas_{letter}gemm64_", f"cblas_{letter}gemm64_")


def set_threads(n=None):
    """How many threads matrix products may use: n, or what CHAINRULE_THREADS says; the printed loops use one."""
    n = n or os.environ.get("CHAINRULE_THREADS")
    if n is None:
        return
    if not str(n).isdigit() or int(n) < 1:
        raise ValueError(f"the number of threads must be a whole number from 1 on, not {n!r} (CHAINRULE_THREADS)")
    setter = blas_symbol("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_")
    if setter is not None:
        setter(ctypes.c_int(int(n)))
