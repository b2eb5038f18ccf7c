"""A standalone C file as a library that Python calls: built with warnings as errors, its static arrays seen by NumPy."""

import ctypes
import inspect
import subprocess

import numpy as np
from chainrule.backends.cpu.program import Program
from chainrule.backends.native.standalone import standalone
from chainrule.compiler.graph import BATCH
from zoo.build import LENGTHS, values

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
                 *(f"-D{m}={lengths.get(n, lengths['B'])}" for n, m in self.files.lengths.items())]
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


MAIN = """#include <stdio.h>
#include "{name}.h"
{arrays}
int main(int count, char **argument)
{{
    FILE *in = fopen(argument[count - 2], "rb"), *out = fopen(argument[count - 1], "wb");
    if (!in || !out) return 1;
{read}
    {name}_init(5);
    {predict}
    for (int k = 0; k < 3; k++) {{
        const real loss = {name}_train_step({given});
        fwrite(&loss, sizeof loss, 1, out);
    }}
    fwrite(&{name}_params, sizeof {name}_params, 1, out);
    fclose(in);
    return fclose(out);
}}
"""


def trained(system, folder, dtype, flags, compiler=("cc",)):
    """What a program in C alone makes of a model: the losses of three steps, and the parameters after them, as one array.

    Its `main` calls all functions with what it reads from a file.
    """
    files, numpy = standalone(system, dtype=dtype), Program(system, dtype)
    at = outside(system, values(system, LENGTHS))
    cut = numpy.compiled.truncation is not None
    arrays, read = [], []
    given = numpy.compiled.functions["gradients"].inputs
    fed = numpy.compiled.functions["predict"].inputs if system.outputs else ()
    with open(folder / "in.bin", "wb") as f:
        for k in given:
            kind = {"class": np.int64, "bool": bool}.get(system.inputs[k].type.kind, np.dtype(dtype))
            a = np.ascontiguousarray(at[k], kind)
            f.write(a.tobytes())
            word = {"int64": "int64_t", "bool": "bool"}.get(a.dtype.name, "real")
            arrays.append(f"static {word} in_{k}{''.join(f'[{n}]' for n in a.shape)};")
            read.append(f"    if (fread(in_{k}, sizeof in_{k}, 1, in) != 1) return 3;")
    params = numpy.module.init(5, dtype)
    for k, v in numpy.predict(params, **{n: at[n] for n in at if n in fed}).items() if system.outputs else ():
        arrays += [f"static real out_{k}{''.join(f'[{n}]' for n in np.shape(v))};"] if k != "carry" else []
    arrays += [f"static {files.name}_carry carries[2];"] if cut else []
    outputs = [f"out_{k}" for k in system.outputs]
    shown = [*(f"in_{k}" for k in fed), *outputs, *(["carries"] if cut else [])]
    text = MAIN.format(
        name=files.name, arrays="\n".join(arrays), read="\n".join(read),
        predict=f"if (!{files.name}_predict({', '.join(shown)})) return 2;" if outputs else "",
        given=", ".join([*(f"in_{k}" for k in given), *(["carries + 1"] if cut else [])]))
    path, program = write(files, folder), folder / "program"
    (folder / "main.c").write_text(text)
    macros = [f"-D{m}={LENGTHS[n]}" for n, m in files.lengths.items()]
    done = subprocess.run([*compiler, *STRICT, *flags, *macros, str(folder / "main.c"), str(path), "-o", str(program), "-lm"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([str(program), str(folder / "in.bin"), str(folder / "out.bin")], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr[:3000]
    return np.fromfile(folder / "out.bin", dtype)


def expected(system, dtype):
    """The same by the NumPy module."""
    numpy, at = Program(system, dtype), outside(system, values(system, LENGTHS))
    params = numpy.module.init(5, dtype)
    state, losses, carry = numpy.init_state(params, 5), [], {}
    for _ in range(3):
        loss = numpy.train_step(params, state, **at, **carry)
        loss, carry = (loss[0], {"carry": loss[1]}) if isinstance(loss, tuple) else (loss, {})
        losses.append(float(loss))
    return np.concatenate([losses, *(v.reshape(-1) for v in params.values())])


def outside(system, at):
    """Arrays as a caller holds them: batch first."""
    return {k: np.moveaxis(at[k], len(i.axes) - 1, 0) if BATCH in i.axes else at[k] for k, i in system.inputs.items()}


def close(found, expected, tolerance, what):
    """Whether arrays agree, beside the largest of their numbers."""
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    worst = np.abs(found - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-30)
    assert worst <= tolerance, f"{what}: {worst:.1e}"


def agree(system, folder, dtype, **how):
    """Initial values, outputs, loss, gradients, three steps, and single steps in time: the same in C as in NumPy."""
    library, at = Library(system, LENGTHS, folder, dtype, **how), values(system, LENGTHS)
    numpy, tolerance = library.numpy, 1e-11 if dtype == "float64" else 1e-4
    free = {n: LENGTHS[n] for f in numpy.compiled.functions.values() for n in f.free}
    inputs, cut = outside(system, at) | free, numpy.compiled.truncation is not None
    library.init(5)
    params = numpy.module.init(5, dtype)
    for k, v in params.items():
        close(library.params[k], v, 1e-13 if dtype == "float64" else 1e-6, f"initial {k}")
    if system.outputs:
        expected = {k: v for k, v in numpy.predict(params, **inputs).items() if k != "carry"}
        for k, v in library.predict(inputs, expected, *([library.carry()] if cut else [])).items():
            close(v, expected[k], tolerance, k)
    if numpy.compiled.steps is not None:
        timed(library, params, inputs, tolerance)
    loss, grads = numpy.loss_and_grads(params, seed=(5, 0), **inputs)[:2]
    close(library.number("loss_and_grads", inputs, *([library.carry()] if cut else [])), loss, tolerance, "loss")
    for k, v in grads.items():
        close(library.grads[k], v, tolerance * 10, f"d_{k}")
    state, carry, handed = numpy.init_state(params, 5), {}, [library.carry()] if cut else []
    for _ in range(3):
        loss = numpy.train_step(params, state, **inputs, **carry)
        loss, carry = (loss[0], {"carry": loss[1]}) if cut else (loss, {})
        close(library.number("train_step", inputs, *handed), loss, tolerance * 100, "loss of a step")
    for k, v in params.items():
        close(library.params[k], v, tolerance * 1000, f"trained {k}")
    return library


def timed(library, params, inputs, tolerance):
    """`start`, and three times `step`."""
    numpy, plan, memory = library.numpy, library.numpy.compiled.steps.plan, library.carry()
    batch = {"batch": LENGTHS["B"]} if "batch" in inspect.signature(numpy.module.start).parameters else {}
    carry = numpy.start(params, **{k: inputs[k] for k in plan.fixed}) if not batch else numpy.module.start(params, **batch)
    library.outputs("start", plan.fixed, inputs, {}, memory)
    for t in range(3):
        now = {k: np.asarray(inputs[k])[:, t] for k in plan.given}
        expected, carry = numpy.step(params, carry, **now)
        for k, v in library.outputs("step", plan.given, now, expected, memory).items():
            close(v, expected[k], tolerance, f"{k} of step {t}")
