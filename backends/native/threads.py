"""How many threads share the work of functions in C. A module carries this text."""

import ctypes
import os
import sys


def threads():
    """CHAINRULE_THREADS, or else what other libraries are told (OPENBLAS_NUM_THREADS, OMP_NUM_THREADS), or the processors that
    the process may use. ValueError: CHAINRULE_THREADS is no whole number from 1 on."""
    for key in ("CHAINRULE_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        n = os.environ.get(key, "")
        if n.isdigit() and int(n) > 0:
            return int(n)
        if n and key == "CHAINRULE_THREADS":
            raise ValueError(f"the number of threads must be a whole number from 1 on, not {n!r} (CHAINRULE_THREADS)")
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(library, many):
    """Let so many threads work for a library. All libraries of the process share a word that says whose threads may spin."""
    process = sys.modules.setdefault("chainrule_threads", type(sys)("chainrule_threads"))
    library.use_threads.restype = ctypes.c_void_p
    process.word = library.use_threads(ctypes.c_int64(many), ctypes.c_void_p(getattr(process, "word", None)))
