"""An interpreter of the PTX that NVRTC emits, for what a kernel may do wrong and a run with right results does not show.

    kernels = ptx.kernels(compiler().compile(text, "compute_90").ptx)
    ptx.launch(kernels["h"], (4,), (256,), (x, y, np.int32(1000)))

Found are races, in shared memory and in the device's, reads of memory that nobody has written and of registers that nobody has
set, accesses out of bounds or misaligned, barriers and warp operations that some threads do not reach. A Fault names the line of
CUDA C++, and where they matter, block and thread.
"""

import numpy as np

from .flow import unset
from .known import unknown
from .machine import Fault, Machine
from .memory import Arena
from .text import kernels


def launch(kernel, grid, block, args, shared_mem=0, cooperative=False):
    """Run a kernel on arrays of NumPy, which it changes, and numbers. How many instructions it took."""
    size = 4096 + sum(a.nbytes + 1024 for a in args if isinstance(a, np.ndarray))
    small = any(i.parts[0] in ("ld", "st") and i.kind[1:] in ("8", "16") and "param" not in i.parts for i in kernel.code)
    arena, held, parameters = Arena(size, 1 if small else 4), [], {}
    for (_, name), a in zip(kernel.parameters, args, strict=True):
        if isinstance(a, np.ndarray):
            held.append((arena.put(a), a))
            parameters[name] = np.uint64(held[-1][0]).tobytes()
        else:
            parameters[name] = a.tobytes()
    machine = Machine(kernel, arena, grid, block, parameters, shared_mem, cooperative)
    for at, a in held:
        arena.get(at, a)
    return machine.steps


__all__ = ["Fault", "kernels", "launch", "unknown", "unset"]
