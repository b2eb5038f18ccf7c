"""How many threads share the work of functions in C. A module carries this text, less what it does not call."""

import ctypes
import os
import sys


def threads():
    """What `set_all_threads` was told, or else CHAINRULE_THREADS, or what other libraries are told (OPENBLAS_NUM_THREADS,
    OMP_NUM_THREADS), or the processors that the process may use. ValueError: CHAINRULE_THREADS is no whole number from 1 on."""
    if shared_threads().many is not None:
        return shared_threads().many
    for key in ("CHAINRULE_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        n = os.environ.get(key, "")
        if n.isdigit() and int(n) > 0:
            return int(n)
        if n and key == "CHAINRULE_THREADS":
            raise ValueError(f"the number of threads must be a whole number from 1 on, not {n!r} (CHAINRULE_THREADS)")
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Sharing:
    """What all libraries of a process share: the word that says whose threads may spin, how many threads were asked for (None:
    nobody asked), and the libraries that are loaded."""

    def __init__(self):
        self.word, self.many, self.libraries = None, None, []


def shared_threads():
    """What the libraries of this process share, whichever module's text has loaded them."""
    return sys.modules.setdefault("chainrule_threads", Sharing())


def set_threads(library, many):
    """Let so many threads work for a library."""
    process = shared_threads()
    library.use_threads.restype = ctypes.c_void_p
    process.word = library.use_threads(ctypes.c_int64(many), ctypes.c_void_p(process.word))
    if library not in process.libraries:
        process.libraries.append(library)


def set_all_threads(many):
    """Let so many threads work for every library of the process, those to come included."""
    process = shared_threads()
    process.many = many
    for library in [*process.libraries]:
        set_threads(library, many)
