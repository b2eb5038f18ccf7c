"""The BLAS that NumPy carries: its matrix products and the number of its threads, by the symbols of the library."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np

PRODUCTS = ("scipy_cblas_{}gemm64_", "cblas_{}gemm64_")                  # those with 64-bit sizes


@cache
def libraries() -> list[ctypes.CDLL]:
    """Libraries that NumPy's wheel brings, and NumPy's own core, whose symbols reach them."""
    here = Path(np.__file__).parent
    found = [*sorted((here.parent / "numpy.libs").glob("*openblas*")), *sorted((here / ".dylibs").glob("*openblas*"))]
    out = []
    for path in found:
        try:
            out.append(ctypes.CDLL(str(path)))
        except OSError:
            continue
    return out


@cache
def product(dtype: str) -> int | None:
    """The address of the matrix product for float32 or float64; None where NumPy carries none with 64-bit sizes."""
    letter = "s" if dtype == "float32" else "d"
    for lib in libraries():
        for name in PRODUCTS:
            try:
                return ctypes.cast(getattr(lib, name.format(letter)), ctypes.c_void_p).value
            except AttributeError:
                continue
    return None
