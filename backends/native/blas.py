"""Threads: how many there are, and those of the BLAS that NumPy carries, by the symbols of its library."""

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


def blas_threads():
    """The functions that set and tell the number of BLAS's own threads; None where there are none."""
    setter = blas_symbol("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_")
    getter = blas_symbol("scipy_openblas_get_num_threads64_", "openblas_get_num_threads64_")
    return (None, None) if setter is None or getter is None else (setter, getter)


def threads():
    """How many threads share the work: CHAINRULE_THREADS, or else what is said to BLAS, or the processors that there are."""
    for key in ("CHAINRULE_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        n = os.environ.get(key)
        if n and (key == "CHAINRULE_THREADS" or (n.isdigit() and int(n) > 0)):
            if not n.isdigit() or int(n) < 1:
                raise ValueError(f"the number of threads must be a whole number from 1 on, not {n!r} (CHAINRULE_THREADS)")
            return int(n)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
