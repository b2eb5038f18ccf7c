"""Helpers of modules for a GPU: launches, matrix products, arrays on the device. A module carries those that it uses.

Where one has the name of a helper for NumPy, it stands in its place.
"""

import ctypes

import numpy as np

cp = None                                                        # a module imports cupy as cp


class Kernels:
    """The kernels in CUDA C++, compiled for the device at the first launch."""

    def __init__(self, text):
        self.text, self.module, self.functions = text, None, {}

    def function(self, name):
        """A kernel, ready to be launched."""
        if name not in self.functions:
            self.module = self.module or cp.RawModule(code=self.text, options=("-std=c++17",))
            self.functions[name] = self.module.get_function(name)
        return self.functions[name]


def launch(name, blocks, threads, *args):
    """Launch a kernel on the current stream; whole numbers go as int."""
    grid = blocks if isinstance(blocks, tuple) else (blocks,)
    if min(grid) > 0:
        given = tuple(np.int32(a) if type(a) is int else a for a in args)
        KERNELS.function(name)(grid, threads if isinstance(threads, tuple) else (threads,), given)  # noqa: F821


def blocks(n, per):
    """How many blocks n pieces of work take."""
    return -(-n // per)


def cublas_library():
    """The library of matrix products that CuPy's wheels bring, or the system's."""
    for name in ("libcublas.so.13", "libcublas.so.12", "cublas64_13.dll", "cublas64_12.dll"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise RuntimeError("matrix products need cuBLAS, and there is no libcublas.so.13 or .12; install cupy-cuda13x[ctk]")


class Blas:
    """cuBLAS in float32, on the current stream, with a workspace of its own, so that its calls can be captured."""

    def __init__(self):
        self.handle, self.stream = None, None

    def ready(self):
        """The handle, for the current stream."""
        if self.handle is None:
            self.library, self.handle = cublas_library(), ctypes.c_void_p()
            self.workspace = cp.empty(32 << 20, np.uint8)
            self.one, self.zero = ctypes.c_float(1), ctypes.c_float(0)
            self.check(self.library.cublasCreate_v2(ctypes.byref(self.handle)))
        stream = cp.cuda.get_current_stream().ptr
        if stream != self.stream:                                # a new stream takes the workspace away
            self.check(self.library.cublasSetStream_v2(self.handle, ctypes.c_void_p(stream)))
            self.check(self.library.cublasSetWorkspace_v2(
                self.handle, ctypes.c_void_p(self.workspace.data.ptr), ctypes.c_size_t(self.workspace.nbytes)))
            self.stream = stream
        return self.handle

    @staticmethod
    def check(status):
        """Refuse what cuBLAS refuses."""
        if status:
            raise RuntimeError(f"cuBLAS gives status {status}")


def matrix(a):
    """Whether a matrix lies transposed, how far its rows are from each other, its address, its distance to the next matrix."""
    rows, columns = a.shape[-2:]
    outer, inner = (n // a.itemsize for n in a.strides[-2:])
    step = a.strides[0] // a.itemsize if a.ndim == 3 else 0
    if columns == 1 or inner == 1:
        turned, far = (False, outer) if inner == 1 else (rows == 1 or outer != 1, inner) if outer == 1 else (False, outer)
    else:
        turned, far = True, inner
    if turned and rows > 1 and outer != 1:
        raise ValueError(f"no matrix for cuBLAS: shape {a.shape}, strides {a.strides}")
    return turned, max(far, rows if turned else columns, 1), ctypes.c_void_p(a.data.ptr), step


def gemm(a, b, out):
    """out = a @ b for views of matrices, or of batches of them: row by row, so that cuBLAS computes out.T = b.T @ a.T."""
    if out.size == 0:
        return
    (ta, la, pa, sa), (tb, lb, pb, sb), (_, lo, po, so) = matrix(a), matrix(b), matrix(out)
    (m, k), n, handle = a.shape[-2:], b.shape[-1], BLAS.ready()  # noqa: F821
    library, one, zero = BLAS.library, ctypes.byref(BLAS.one), ctypes.byref(BLAS.zero)  # noqa: F821
    if out.ndim == 2:
        BLAS.check(library.cublasSgemm_v2(handle, int(tb), int(ta), n, m, k, one, pb, lb, pa, la, zero, po, lo))  # noqa: F821
        return
    BLAS.check(library.cublasSgemmStridedBatched(  # noqa: F821
        handle, int(tb), int(ta), n, m, k, one, pb, lb, ctypes.c_longlong(sb), pa, la, ctypes.c_longlong(sa), zero, po, lo,
        ctypes.c_longlong(so), out.shape[0]))


# ---------------------------------------------------------------- arrays

def to_device(arrays):
    """Arrays of NumPy, or a dict of them, on the device: real numbers as float32, whole ones as int64."""
    if isinstance(arrays, dict):
        return type(arrays)({k: to_device(v) for k, v in arrays.items()})
    if isinstance(arrays, cp.ndarray):
        return arrays
    a = np.asarray(arrays)
    kinds = {"f": np.float32, "i": np.int64, "u": np.int64, "b": bool}
    if a.dtype.kind not in kinds:
        raise TypeError(f"only arrays of numbers go to the device, not {a.dtype}")
    return cp.asarray(np.ascontiguousarray(a, kinds[a.dtype.kind]).reshape(a.shape))


def to_host(arrays):
    """Arrays of the device, or a dict of them, as NumPy's."""
    if isinstance(arrays, (dict, tuple)):
        pairs = {k: to_host(v) for k, v in arrays.items()} if isinstance(arrays, dict) else map(to_host, arrays)
        return dict(pairs) if isinstance(arrays, dict) else tuple(pairs)
    return cp.asnumpy(arrays) if isinstance(arrays, cp.ndarray) else arrays


def seeds(seed):
    """The seed and the step of random numbers, on the device."""
    both = seed if isinstance(seed, tuple) else (seed, 0)
    return tuple(x if isinstance(x, cp.ndarray) else cp.asarray(np.array([(int(x) + 2**63) % 2**64 - 2**63])) for x in both)


def as_array(name, value):
    """An input, of NumPy or of the device."""
    if isinstance(value, cp.ndarray):
        return value
    try:
        found = np.asarray(value)
    except ValueError:                                           # rows of unequal length
        found = np.array([[]], object)
    if found.dtype == object:
        raise TypeError(f"{name} must be an array of numbers")
    return found


def real_input(name, value, dims, dtype):
    """An input as an array of the device of these dims; None stands for any size."""
    if capturing():
        return value
    value = as_array(name, value)
    if value.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, not {value.dtype}")
    check_shape(name, value, dims)  # noqa: F821
    return cp.ascontiguousarray(cp.asarray(value, dtype))


def class_input(name, value, dims, classes):
    """An input of classes 0, ..., classes-1."""
    if capturing():
        return value
    value = as_array(name, value)
    if value.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, the classes 0 to {classes - 1}, not {value.dtype}")
    check_shape(name, value, dims)  # noqa: F821
    check_range(name, to_host(value), classes - 1, f"classes are 0 to {classes - 1}")  # noqa: F821
    return cp.ascontiguousarray(cp.asarray(value, np.int64))


def lengths_input(name, value, dims, steps):
    """How many steps of each example are its own; what the arrays hold beyond them is padding."""
    if value is None:
        raise TypeError(f"{name} is missing: the model declares `lengths {name.removeprefix('lengths_')}`")
    if capturing():
        return value
    value = as_array(name, value)
    if value.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, the lengths 0 to {steps}, not {value.dtype}")
    check_shape(name, value, dims)  # noqa: F821
    check_range(name, to_host(value), steps, f"the arrays hold {steps} step{'s' * (steps != 1)}")  # noqa: F821
    return cp.ascontiguousarray(cp.asarray(value, np.int64))


def check_params(params, shapes):
    """Refuse parameters that are missing, of another shape, or not on the device in float32."""
    for name, shape in shapes.items():
        if name not in params:
            raise KeyError(f"params has no {name!r}; it needs {', '.join(shapes)}")
        a = params[name]
        if a.shape != shape:
            raise ValueError(f"params[{name!r}] must have the shape {shape}, not {a.shape}")
        if not isinstance(a, cp.ndarray):
            raise TypeError(f"params[{name!r}] is {type(a).__name__}, not on the device; to_device(params) brings them there")
        if a.dtype != np.float32 or not a.flags.c_contiguous:
            raise TypeError(f"params[{name!r}] must be contiguous and float32, not {a.dtype}; to_device gives such arrays")


class Workspace:
    """The buffers of one caller on the device: made at the first call, grown when larger inputs come by."""

    def __init__(self):
        self.memory, self.keys, self.views = {}, {}, {}

    def reserve(self, name, counts):
        """Flat arrays of at least these (size, dtype), the same ones as long as they suffice."""
        have = self.memory.setdefault(name, [])
        del have[len(counts):]
        for k, (count, dtype) in enumerate(counts):
            if count >= 2**31:
                raise ValueError(f"an array of {count} elements is too large: kernels count to {2**31 - 1}; take a smaller batch")
            if k == len(have):
                have.append(cp.empty(count, dtype))
            elif have[k].size < count or have[k].dtype != dtype:
                have[k] = cp.empty(count, dtype)
        return have

    def gradients(self, params, names):
        """Arrays for the gradients of these parameters."""
        if self.keys.get("d") != [(params[k].shape, params[k].dtype) for k in names]:
            self.keys["d"] = [(params[k].shape, params[k].dtype) for k in names]
            self.views["d"] = {k: cp.empty(params[k].shape, params[k].dtype) for k in names}
        return self.views["d"]


def update_arrays(params, grads, state, names, slots):
    """What an update works on: each parameter, its gradient and its slots."""
    for k in names:
        for s in slots:
            if f"{s}.{k}" not in state:
                raise KeyError(f"state has no {f'{s}.{k}'!r}: init_state makes it")
    return [a for k in names for a in (params[k], grads[k], *(state[f"{s}.{k}"] for s in slots))]


def capturing():
    """Whether launches are only recorded: then nothing may be allocated, read or moved, and inputs are what a step prepared."""
    return cp.cuda.get_current_stream().is_capturing()


class Captured:
    """A training step as a graph, for arrays that stay where they are and inputs of the same shapes.

    The first call runs plainly: it compiles kernels and makes buffers. The second captures. `reason`: why that cannot be.
    """

    def __init__(self, step, params, state, inputs, given, workspace):
        self.step, self.params, self.state, self.workspace = step, dict(params), dict(state), workspace
        self.given, self.shapes, self.graph, self.reason, self.ready = given, [np.shape(x) for x in inputs], None, "", False

    def fits(self, params, state, inputs):
        """Whether these are the arrays of this step, and inputs of its shapes."""
        return (params.keys() == self.params.keys() and all(params[k] is a for k, a in self.params.items())
                and state.keys() == self.state.keys() and all(state[k] is a for k, a in self.state.items())
                and [np.shape(x) for x in inputs] == self.shapes)

    def hold(self, inputs):
        """Places for the inputs: time first in memory, as the kernels read them."""
        self.held = []
        for value, (_, axes, dtype, _) in zip(inputs, self.given):
            order = (*range(1, axes), 0, *range(axes, np.ndim(value))) if axes else tuple(range(np.ndim(value)))
            place = cp.empty(tuple(np.shape(value)[k] for k in order), dtype)
            self.held.append((place, place.transpose(*(order.index(k) for k in range(len(order)))), order))

    def fill(self, inputs):
        """The inputs, into their places."""
        for value, (place, view, order), (name, _, _, limit) in zip(inputs, self.held, self.given):
            if limit is not None:
                check_range(name, np.asarray(to_host(value)), limit - 1, f"it is from 0 to {limit - 1}")  # noqa: F821
            if isinstance(value, cp.ndarray):
                view[...] = value
            else:
                place.set(np.ascontiguousarray(np.transpose(np.asarray(value, place.dtype), order)))

    def capture(self, inputs):
        """Record the step; where that fails, steps are launched plainly."""
        stream = cp.cuda.Stream(non_blocking=True)
        try:
            with stream:
                stream.begin_capture()
                try:
                    self.loss = self.step(self.params, self.state, *(view for _, view, _ in self.held), self.workspace)
                finally:
                    self.graph = stream.end_capture()
        except Exception as e:
            self.graph, self.reason = None, f"a step cannot be captured: {e}"

    def run(self, params, state, inputs):
        """The loss before the step."""
        if self.ready and self.graph is None and not self.reason:
            self.hold(inputs)
            self.capture(inputs)
        if self.graph is None:
            loss = self.step(params, state, *inputs, self.workspace)
            self.ready = True                                    # buffers are made, kernels compiled
            return loss
        self.fill(inputs)
        self.graph.launch(cp.cuda.get_current_stream())
        return self.loss


def stepped(step, params, state, inputs, given, workspace):
    """A training step: replayed where its arrays are those of the step before."""
    held = workspace.views.get("step")
    if held is None or not held.fits(params, state, inputs):
        held = workspace.views["step"] = Captured(step, params, state, inputs, given, workspace)
    return held.run(params, state, inputs)
