"""A standalone C file as a library that Python calls: built with warnings as errors, its static arrays seen by NumPy."""

import ctypes
import subprocess

import numpy as np
from chainrule.backends.cpu.program import Program
from chainrule.backends.native.standalone import standalone
from chainrule.compiler.graph import BATCH

STRICT = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"]


def write(files, folder):
    """Both files, in a folder."""
    for suffix, text in ((".c", files.source), (".h", files.header)):
        (folder / f"{files.name}{suffix}").write_text(text, encoding="utf-8")
    return folder / f"{files.name}.c"


class Library:
    """The functions of a C file for one type and these lengths; `numpy` is the module that they are compared with."""

    def __init__(self, system, lengths, folder, dtype="float64", flags=("-O1",), compiler=("cc",)):
        self.files, self.numpy = standalone(system), Program(system, dtype)
        self.name, self.dtype, self.system = self.files.name, np.dtype(dtype), system
        self.real = {"float32": ctypes.c_float, "float64": ctypes.c_double}[dtype]
        path, out = write(self.files, folder), folder / f"{self.name}_{dtype}.so"
        given = [*compiler, *STRICT, *flags, f"-DREAL={'double' if dtype == 'float64' else 'float'}",
                 *(f"-D{m}={lengths[n]}" for n, m in self.files.lengths.items())]
        done = subprocess.run([*given, "-shared", "-fPIC", str(path), "-o", str(out), "-lm"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.c = ctypes.CDLL(str(out))
        self.params, self.grads = self.struct("params"), self.struct("grads")

    def struct(self, which):
        """The fields of params or grads as arrays in place."""
        every = {**self.system.params, **self.system.stats}
        shapes = {k: tuple(n.evaluate(self.system.sizes) for n in p.node.shape) for k, p in every.items()}
        at, out = ctypes.addressof(self.real.in_dll(self.c, f"{self.name}_{which}")), {}
        for k, shape in shapes.items():
            n = int(np.prod(shape))
            out[k] = np.ctypeslib.as_array((self.real * n).from_address(at)).reshape(shape)
            at += n * self.dtype.itemsize
        return out

    def arguments(self, keys, inputs):
        """Inputs as C takes them."""
        out = []
        for k in keys:
            kind = self.system.inputs[k].type.kind
            a = np.ascontiguousarray(inputs[k], {"class": np.int64, "bool": bool}.get(kind, self.dtype))
            self.held = [*getattr(self, "held", [])[-20:], a]
            scalar = {"class": ctypes.c_int64, "bool": ctypes.c_bool}.get(kind, self.real)
            out.append(ctypes.c_void_p(a.ctypes.data) if a.ndim else scalar(a.item()))
        return out

    def init(self, seed):
        getattr(self.c, f"{self.name}_init")(ctypes.c_uint64(seed))

    def number(self, function, inputs, *more):
        """loss_and_grads, train_step."""
        call = getattr(self.c, f"{self.name}_{function}")
        call.restype = self.real
        return call(*self.arguments(self.numpy.compiled.functions["gradients"].inputs, inputs), *more)

    def predict(self, inputs, like, *more):
        """The outputs, of the shapes and types of these."""
        return self.outputs("predict", self.numpy.compiled.functions["predict"].inputs, inputs, like, *more)

    def outputs(self, function, keys, inputs, like, *more):
        """What a function writes into arrays, of the shapes and types of these."""
        kinds = {k: np.asarray(v).dtype for k, v in like.items()}
        out = {k: np.empty(np.shape(v), self.dtype if kinds[k].kind == "f" else kinds[k]) for k, v in like.items()}
        call = getattr(self.c, f"{self.name}_{function}")
        call.restype = ctypes.c_bool
        assert call(*self.arguments(keys, inputs), *(ctypes.c_void_p(a.ctypes.data) for a in out.values()), *more)
        return out

    def carry(self):
        """A carry of zeros; larger than it needs to be."""
        return ctypes.create_string_buffer(1 << 20)


def outside(system, at):
    """Arrays as a caller holds them: batch first."""
    return {k: np.moveaxis(at[k], len(i.axes) - 1, 0) if BATCH in i.axes else at[k] for k, i in system.inputs.items()}
