"""cuBLAS as generated modules call it, through ctypes, on the CPU: addresses and distances are followed, and checked.

Refused is what would go wrong without a word: an address or a distance that ctypes would cut to 32 bits, matrices that leave
their allocation, a result that overlaps an operand.
"""

import ctypes

import numpy as np
from gpu.devices import SETTINGS, Refused, allocation, current, not_captured

REAL, KEPT = 0, {68: 23, 75: 7, 77: 10}                          # CUDA_R_32F; bits by CUBLAS_COMPUTE_32F, _FAST_16BF, _FAST_TF32
INVALID = 7                                                      # CUBLAS_STATUS_INVALID_VALUE


class Cublas:
    """The library. A handle works on the stream that it was given, in a workspace of its device."""

    def __init__(self):
        self.streams, self.workspaces, self.devices = {}, {}, {}

    def cublasCreate_v2(self, handle):
        not_captured("what cuBLAS allocates", True)
        handle._obj.value = len(self.streams) + 1
        self.streams[handle._obj.value], self.devices[handle._obj.value] = 0, SETTINGS.device
        return 0

    def cublasGetStatusName(self, status):
        return b"CUBLAS_STATUS_INVALID_VALUE" if status == INVALID else b"CUBLAS_STATUS_INTERNAL_ERROR"

    def cublasGetStatusString(self, status):
        return b"an unsupported value or parameter was passed to the function"

    def cublasSetStream_v2(self, handle, stream):
        typed("stream", stream, ctypes.c_void_p)
        self.streams[handle.value] = stream.value or 0
        self.workspaces.pop(handle.value, None)
        return 0

    def cublasSetWorkspace_v2(self, handle, address, size):
        typed("workspace", address, ctypes.c_void_p)
        typed("size", size, ctypes.c_size_t)
        if address.value % 256:
            return INVALID
        self.workspaces[handle.value] = allocation(address.value, size.value)
        return 0

    def cublasGemmEx(self, handle, ta, tb, m, n, k, alpha, a, of_a, lda, b, of_b, ldb, beta, c, of_c, ldc, how, algorithm):
        none = ctypes.c_longlong(0)
        return self.cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, of_a, lda, none, b, of_b, ldb, none, beta, c,
                                               of_c, ldc, none, 1, how, algorithm)

    def cublasGemmStridedBatchedEx(self, handle, ta, tb, m, n, k, alpha, a, of_a, lda, sa, b, of_b, ldb, sb, beta, c, of_c, ldc,
                                   sc, count, how, algorithm):
        """The same; arrays are float32, and `how` says how their numbers are rounded before they are multiplied."""
        if (of_a, of_b, of_c, algorithm) != (REAL, REAL, REAL, -1) or how not in KEPT:
            raise Refused(f"cuBLAS: types {of_a}, {of_b}, {of_c}, algorithm {algorithm}, computing by {how}")
        return self.cublasSgemmStridedBatched(handle, ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc, count,
                                              KEPT[how])

    def cublasSgemmStridedBatched(self, handle, ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc, count, bits=23):
        """c[i] = alpha * op(a[i]) @ op(b[i]) + beta * c[i], matrices column by column."""
        for x in (ta, tb, m, n, k, lda, ldb, ldc, count):
            if type(x) is not int:
                raise Refused(f"cuBLAS: {x!r} where a number is expected")
        if min(m, n, k, count) < 0 or lda < max(1, k if ta else m) or ldb < max(1, n if tb else k) or ldc < max(1, m):
            return INVALID
        x = Matrices("a", a, lda, sa, (k, m) if ta else (m, k), count)
        y = Matrices("b", b, ldb, sb, (n, k) if tb else (k, n), count)
        out = Matrices("c", c, ldc, sc, (m, n), count)
        if any(np.shares_memory(out.every(), v.every()) for v in (x, y) if v.size and out.size):
            raise Refused("cuBLAS: the result overlaps an operand")
        if handle.value not in self.workspaces or self.streams[handle.value] != current().ptr:
            raise Refused("cuBLAS: a handle of another stream than the current one, or without a workspace")
        if self.devices[handle.value] != SETTINGS.device:
            raise Refused(f"cuBLAS: a handle of device {self.devices[handle.value]}, and device {SETTINGS.device} is in use")
        by, keep = alpha._obj.value, beta._obj.value

        def work():
            for i in range(count if out.size else 0):
                found = by * (turned(rounded(x.matrix(i), bits), ta) @ turned(rounded(y.matrix(i), bits), tb)) if k else 0
                into = out.matrix(i)
                into[...] = found + keep * into if keep else found

        current().run(work, [*(v.memory for v in (x, y, out)), self.workspaces[handle.value]])
        return 0


class Matrices:
    """Matrices of the device, one after the other."""

    def __init__(self, name, address, distance, step, shape, count):
        typed(name, address, ctypes.c_void_p)
        typed(f"the step of {name}", step, ctypes.c_longlong)
        self.address, self.distance, self.step, self.shape = address.value, distance, step.value, shape
        self.count, self.size = count, count * shape[0] * shape[1]
        self.floats = (count - 1) * step.value + (shape[1] - 1) * distance + shape[0] if self.size else 0
        self.memory = allocation(self.address, 4 * self.floats) if self.size else None

    def every(self):
        """All of them, without what lies between."""
        span = np.ctypeslib.as_array((ctypes.c_float * self.floats).from_address(self.address))
        return np.lib.stride_tricks.as_strided(span, (self.count, *self.shape), (4 * self.step, 4, 4 * self.distance))

    def matrix(self, i):
        """One of them."""
        return self.every()[i] if self.size else np.zeros(self.shape, np.float32)


def rounded(matrix, bits):
    """Numbers cut to so many bits after the first."""
    if bits == 23:
        return matrix
    return (np.ascontiguousarray(matrix).view(np.uint32) & np.uint32(0xFFFFFFFF << (23 - bits) & 0xFFFFFFFF)).view(np.float32)


def turned(matrix, how):
    return matrix.T if how else matrix


def typed(name, value, kind):
    """Refuse what ctypes would hand over as a C int."""
    if not isinstance(value, kind):
        raise Refused(f"cuBLAS: {name} is {type(value).__name__}, not {kind.__name__}: it would be cut to 32 bits")
