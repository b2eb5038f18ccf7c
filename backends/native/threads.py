"""How many threads share the work of functions in C. A module carries this text."""

import os


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
