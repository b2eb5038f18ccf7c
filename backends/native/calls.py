"""Calls of functions in C: arrays checked, their addresses taken once. A module carries this text.

A function takes the addresses of its arrays and its lengths. What each array must be, its declaration in C says.
"""

import ctypes
import re
from operator import is_

import numpy as np

from ..cpu.runtime import Workspace
from .build import load_library
from .threads import set_threads, threads


class Library:
    """C text, compiled for a type of numbers when it is first needed: a section at a time, with what stands before the first."""

    def __init__(self, name, text):
        self.name, self.text, self.loaded, self.many, declared = name, text, {}, None, {}
        for function in re.split(r"(?m)^(?=void |int |static void |static APART void )", text):
            found = re.findall(r"(?m)^    (const )?(\w+) [^;=\[]*?(\w+)\)?(?:\[.*)? = array\[(\d+)\];", function)
            name = re.sub(r"^part_\d+_of_", "", function.partition("(")[0].split(" ")[-1]).removesuffix("_share")
            declared.setdefault(name, {}).update({int(k): (n, kind, not const) for const, kind, n, k in found})
        self.signatures = {name: [found[k] for k in sorted(found)] for name, found in declared.items()}

    def section(self, name):
        """The section in which a function stands, as a name and a whole text; the last one for what they share."""
        head, *rest = re.split(r"(?m)^/\* -{8} (\w+) -{8} \*/\n", self.text)
        title, text = next(((k, text) for k, text in zip(rest[::2], rest[1::2])
                            if re.search(rf"(?m)^(?:void|int) {name}\(", text)), rest[-2:] or ("", ""))
        return f"{self.name}-{title}" if title else self.name, head + text

    def function(self, name, dtype):
        """A function of the library."""
        dtype = np.dtype(dtype).name
        if dtype not in ("float32", "float64"):
            raise TypeError(f"parameters must be float32 or float64 for the native backend, not {dtype}")
        if (name, dtype) not in self.loaded:
            title, text = self.section(name)
            found = self.loaded.get((title, dtype)) or load_library(text, title, dtype)
            set_threads(found, threads() if self.many is None else self.many)
            self.loaded[title, dtype] = self.loaded[name, dtype] = found
        return getattr(self.loaded[name, dtype], name)

    def use_threads(self, many):
        """Let so many threads share the work, whatever CHAINRULE_THREADS says; the same is computed."""
        self.many = many
        for library in self.loaded.values():
            set_threads(library, many)

    def call(self, name, dtype, arrays, numbers, seed=None):
        """A call with all its arguments, not made yet."""
        return Call(self.function(name, dtype), self.signatures[name], np.dtype(dtype), arrays, numbers, seed)


class Call:
    """One call: checked arrays, which it keeps alive, and their addresses."""

    def __init__(self, function, signature, dtype, arrays, numbers, seed=None):
        kinds = {"real": dtype, "int64_t": np.dtype(np.int64), "bool": np.dtype(bool), "uint8_t": np.dtype(np.uint8),
                 "double": np.dtype(np.float64)}
        self.function, self.numbers = function, numbers
        self.arrays, self.back = [], []
        for value, (name, kind, written) in zip(arrays, signature, strict=True):
            held = self.held(name, value, kinds[kind], written)
            if written and held is not value:
                self.back.append((value, held))
            self.arrays.append(held)
        if seed is not None:
            numbers = (*numbers, *(seed if isinstance(seed, tuple) else (seed, 0)))
        self.pointers = (ctypes.c_void_p * len(self.arrays))(*(a.ctypes.data for a in self.arrays))
        self.integers = (ctypes.c_int64 * len(numbers))(*map(word, numbers))

    def held(self, name, value, dtype, written):
        """The array itself where C can work on it, else one that it can: dense, aligned, of the right type."""
        a = np.asarray(value)
        if written and not a.flags.writeable:
            raise ValueError(f"{name} is read-only, and it is written to")
        if a.dtype != dtype and (written or a.dtype.kind == "c" or (dtype.kind == "f" and a.ndim)):
            raise TypeError(f"{name} is of type {a.dtype}, and must be of type {dtype}, like the parameters")
        if a.dtype == dtype and a.flags.c_contiguous and a.flags.aligned:
            return a
        return np.array(a, dtype, order="C")

    def __call__(self):
        """Make the call."""
        status = self.function(self.pointers, self.integers)
        for value, held in self.back:
            value[...] = held
        return status


def word(n):
    """Any integer modulo 2**64, as a signed one."""
    return (int(n) + 2**63) % 2**64 - 2**63


class Preparing(Workspace):
    """A workspace for which a function prepares its call and returns it, instead of making it."""

    def __init__(self, workspace):
        self.memory, self.keys, self.views = workspace.memory, workspace.keys, workspace.views


class TrainingStep:
    """A training step as one call in C, for arrays that stay where they are and inputs of the same shapes.

    `call` is the gradient's. Of every input, `places` has its place among the arrays, and how its axes lie there: an input
    that lies in memory as C reads it is read where it is, others are copied to where the call expects them. `carried`: pairs of
    arrays, of which the first is given the values of the second after every step.
    """

    def __init__(self, function, call, more, params, state, inputs, places, loss, carried=()):
        self.carried = carried
        self.function, self.call, self.more, self.loss = function, call, more, call.arrays[loss]
        self.params, self.slots = {**params}, {k: a for k, a in state.items() if k not in ("step", "seed", "lr")}
        self.pointers = (ctypes.c_void_p * (len(call.arrays) + len(more)))(*call.pointers, *(a.ctypes.data for a in more))
        self.options, self.inputs, self.orders = (ctypes.c_double * 2)(), [], []
        for value, (place, order) in zip(inputs, places, strict=True):
            a, held = np.asarray(value), call.arrays[place]
            shared = np.may_share_memory(a, held)                # what is the caller's own is never written to
            self.inputs.append((a.shape, a.dtype, place, None if shared else held.transpose(order)))
            self.orders.append(np.argsort(order))

    def fits(self, params, state, inputs):
        """Whether these are the arrays of this step, and inputs of its shapes and types."""
        if not (all(map(is_, map(params.get, self.params), self.params.values()))
                and all(map(is_, map(state.get, self.slots), self.slots.values()))):
            return False
        for value, (shape, dtype, _, target), order in zip(inputs, self.inputs, self.orders):
            if type(value) is not np.ndarray or value.shape != shape or value.dtype != dtype:
                return False
            if target is None and not ((there := value.transpose(order).flags).c_contiguous and there.aligned):
                return False
        return True

    def run(self, state, inputs, seeded):
        """The loss before the step; None, and nothing done, where an input of classes or lengths is out of range."""
        for value, (_, _, place, target) in zip(inputs, self.inputs):
            if target is None:
                self.pointers[place] = value.ctypes.data
            else:
                target[...] = value
        step = int(state["step"])
        self.options[0], self.options[1] = float(state["lr"]), step + 1
        if seeded:
            self.call.integers[-2:] = [word(state["seed"]), step]
        if self.function(self.pointers, self.call.integers, self.options):
            return None
        for kept, now in self.carried:
            kept[...] = now
        state["step"][...] = step + 1
        return self.loss[()]


def update_arrays(params, grads, state, trained, slots, stats):
    """What an update works on, in the order in which C expects it: w, its gradient and its slots; then stats and new values."""
    dtype, out = next(iter(params.values())).dtype, []
    for k, a in params.items():
        check_in_place(f"params[{k!r}]", a, a.shape, dtype)
    for k in (*trained, *stats):
        out += [params[k], grads[k]]
        for key in (f"{s}.{k}" for s in slots if k in trained):
            if key not in state:
                raise KeyError(f"state has no {key!r}: init_state makes it")
            check_in_place(f"state[{key!r}]", state[key], params[k].shape, dtype)
            out.append(state[key])
    return out


def check_in_place(name, a, shape, dtype):
    """Refuse an array on which a step cannot work in place."""
    if not isinstance(a, np.ndarray):
        raise ValueError(f"{name} is {type(a).__name__}, not an array; a training step works in place")
    if a.dtype != dtype:
        raise TypeError(f"{name} must be of type {dtype} like the other parameters, not {a.dtype}")
    if a.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, not {a.shape}")
    if not a.flags.writeable:
        raise ValueError(f"{name} is read-only; a training step works in place")
    if not (a.flags.c_contiguous and a.flags.aligned):
        raise ValueError(f"{name} is not contiguous; a training step works in place and needs contiguous arrays")


def update(library, name, arrays, *options):
    """One of the functions that work on what `update_arrays` gives."""
    pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    library.function(name, arrays[0].dtype)(pointers, (ctypes.c_double * 2)(*options))
