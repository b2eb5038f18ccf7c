"""Helpers of modules for a GPU that look at what a caller gives: arrays of NumPy on the host, arrays of the device there.

The host waits for no check on the device: a kernel notes the first number that may not be there, puts one that may in its place,
and makes the loss NaN; `to_host` says what was noted.
"""

import numpy as np

cp = None                                                        # a module imports cupy as cp


class Checks:
    """What kernels found wrong with inputs on the device."""

    def __init__(self):
        self.noted, self.inputs = {}, []                         # of each input: name, shape, order of its dims, what is allowed

    def place(self):
        """Where a kernel notes the first wrong number: 20 bits of its input, 43 of its place; -1 where all are right."""
        runs = STREAMS.runs()                                    # what one stream notes stops the updates of no other
        if runs not in self.noted:
            self.noted[runs] = cp.empty(1, np.int64)
            self.noted[runs].fill(-1)
        return self.noted[runs]

    def number(self, name, value, order, allowed):
        """The number of an input; `order`: which dim of the input each dim of `value` is."""
        shape = [0] * value.ndim
        for k, n in zip(order, value.shape):
            shape[k] = n
        input_ = name, tuple(shape), tuple(order), allowed
        if input_ not in self.inputs:
            self.inputs.append(input_)
        return self.inputs.index(input_)

    def say(self):
        """Raise ValueError where something was noted. The host waits."""
        device = cp.cuda.runtime.getDevice()
        pairs = [(int(place.get()[0]), place) for runs, place in [*self.noted.items()] if runs[0] == device]
        found, place = max(pairs, key=lambda pair: pair[0], default=(-1, None))
        if found < 0:
            return
        place.fill(-1)
        name, shape, order, allowed = self.inputs[found >> 43]
        there = np.unravel_index(found & (1 << 43) - 1, [shape[k] for k in order])
        place = [int(there[order.index(k)]) for k in range(len(order))]
        raise ValueError(f"{name}{place} is wrong: {allowed}")


class RangeCheck:
    """Looks for whole numbers that are not among 0, ..., count - 1."""

    def __init__(self, count):
        self.count = count

    def refuse(self, name, value):
        """Refuse an array of NumPy with others: the first of them, and where it stands."""
        check_range(name, value, self.count - 1, f"it is from 0 to {self.count - 1}")

    def launch(self, name, value, order):
        """The launch that looks through a contiguous array on the device."""
        number = CHECKS.number(name, value, order, f"it goes from 0 to {self.count - 1}")
        return "check_classes", min(1024, blocks(value.size, 256)), 256, value, value.size, self.count, number, CHECKS.place()


class UnitCheck:
    """Looks for values that units of a kind do not have."""

    def __init__(self, kind):
        self.kind = kind
        self.wanted = {
            "mean": "numbers from 0 to 1, means of binary units", "spin": "-1 or 1, the values of spin units",
            "binary": "0 or 1, the values of binary units", "categorical": "a single 1 among 0s along its last axis"}[kind]

    def refuse(self, name, value):
        """Refuse an array of NumPy with others: the first of them, and where it stands."""
        if value.dtype.kind not in "fiub":
            return
        low, high = (-1 if self.kind == "spin" else 0), 1
        wrong = ~((value >= low) & (value <= high) if self.kind == "mean" else (value == low) | (value == high))
        if self.kind == "categorical" and not wrong.any():
            wrong[..., 0] = value.sum(axis=-1) != 1
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(f"{name} must hold {self.wanted}; {name}{list(place)} is {value[place]:g}")

    def launch(self, name, value, order):
        """The launch that looks through a contiguous array on the device."""
        number = CHECKS.number(name, value, order, f"{name} must hold {self.wanted}")
        width = value.shape[-1] if self.kind == "categorical" else 1
        rows, kind = value.size // max(width, 1), "mean binary spin categorical".split().index(self.kind)
        return "check_units", min(1024, blocks(rows, 256)), 256, value, rows, width, kind, number, CHECKS.place()


def checked(name, value, check):
    """The array of the device, after a look through it."""
    launch(*check.launch(name, value, range(value.ndim)))
    return value


def here(name, value):
    """An array of the device that is in use."""
    now = cp.cuda.runtime.getDevice()
    if value.device.id != now:
        raise ValueError(f"{name} is on device {value.device.id}, and device {now} is in use: with cupy.cuda.Device(...) "
                         "chooses one")
    return value


def given_array(name, value):
    """An input, of NumPy or of the device, there also of another library."""
    if isinstance(value, cp.ndarray):
        here(name, value)
    else:
        value = cp.asarray(value) if hasattr(value, "__cuda_array_interface__") else as_array(name, value)
    countable(name, value.size)
    return value


def real_input(name, value, dims, dtype):
    """An input as an array of the device of these dims; None stands for any size, "some" for any but 0."""
    if capturing():
        return value
    value = given_array(name, value)
    if value.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, not {value.dtype}")
    check_shape(name, value, dims)
    if not isinstance(value, cp.ndarray):
        value = to_device(np.asarray(value, dtype))
    return cp.asarray(value, dtype, order="C")


def whole_input(name, value, dims, largest, allowed, wanted):
    """An input of integers from 0 to `largest`: on the device a copy, in which what is wrong is 0."""
    value = given_array(name, value)
    if value.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, {wanted}, not {value.dtype}")
    check_shape(name, value, dims)
    if not isinstance(value, cp.ndarray):
        check_range(name, value, largest, allowed)
        return to_device(value)
    out, = allocated(f"a copy of {name}", [(value.shape, np.int64)])
    out[...] = value
    return checked(name, out, RangeCheck(largest + 1))


def class_input(name, value, dims, classes):
    """An input of classes 0, ..., classes-1."""
    if capturing():
        return value
    return whole_input(name, value, dims, classes - 1, f"classes are 0 to {classes - 1}", f"the classes 0 to {classes - 1}")


def lengths_input(name, value, dims, steps):
    """How many steps of each example are its own; what the arrays hold beyond them is padding."""
    if value is None:
        raise TypeError(f"{name} is missing: the model declares `lengths {name.removeprefix('lengths_')}`")
    if capturing():
        return value
    return whole_input(name, value, dims, steps, f"the arrays hold {steps} step{'s' * (steps != 1)}", f"the lengths 0 to {steps}")


def units_input(name, value, dims, dtype, kind):
    """Values of units: binary 0 or 1, mean from 0 to 1, spin -1 or 1, categorical one-hot along the last axis."""
    if capturing():
        return value
    check = UnitCheck(kind)
    if not isinstance(value, cp.ndarray):
        check.refuse(name, as_array(name, value))
    return checked(name, real_input(name, value, dims, dtype), check)


def check_params(params, shapes):
    """Refuse parameters that are missing, of another shape, or not on the device in float32."""
    if capturing():
        return
    for name, shape in shapes.items():
        if name not in params:
            raise KeyError(f"params has no {name!r}; it needs {', '.join(shapes)}")
        check_place("params", name, params[name], np.float32)
        if params[name].shape != shape:
            raise ValueError(f"params[{name!r}] must have the shape {shape}, not {params[name].shape}")


def check_place(what, key, a, dtype):
    """Refuse an array of `params` or `state` that a kernel cannot work on."""
    if not isinstance(a, cp.ndarray):
        raise TypeError(f"{what}[{key!r}] is {type(a).__name__}, not on the device; to_device({what}) brings it there")
    if a.dtype != dtype or not a.flags.c_contiguous:
        raise TypeError(f"{what}[{key!r}] must be contiguous and {np.dtype(dtype)}, not {a.dtype}; to_device gives such arrays")
    countable(f"{what}[{key!r}]", here(f"{what}[{key!r}]", a).size)


def check_state(state):
    """Refuse a state that lacks what every step reads, or has arrays that kernels cannot work on."""
    for key in ("step", "seed", "lr"):
        if key not in state:
            raise KeyError(f"state has no {key!r}: init_state makes it")
    for key, a in state.items():
        check_place("state", key, a, np.int64 if key in ("step", "seed") else np.float32)
        if key in ("step", "seed", "lr") and a.shape:
            raise ValueError(f"state[{key!r}] must be one number, not of the shape {a.shape}")


def start_from(workspace, carry, start):
    """The state that a chunk starts from, on the device: `start`, where there is no carry; else what `start` has of it."""
    if carry is not None and not isinstance(carry, dict):
        raise TypeError(f"carry must be the dict that the chunk before returned, or None, not {type(carry).__name__}")
    out = {}
    for key, declared in start.items():
        if carry is not None and key not in carry:
            raise KeyError(f"carry has no {key!r}; it needs {', '.join(start)}")
        if isinstance(declared, int):                            # how many steps came before
            out[key] = int(declared if carry is None else carry[key])
            continue
        have, want = np.shape(declared if carry is None else carry[key]), np.shape(declared)
        if have[1:] == want[1:] and have[:1] != want[:1]:
            raise ValueError(f"carry[{key!r}] is of {have[0]} examples, the inputs are of {want[0]}")
        if have != want:
            raise ValueError(f"carry[{key!r}] must have the shape {want}, not {have}")
        if carry is None:
            out[key] = declared_start(workspace, key, declared)
        else:
            out[key] = cp.asarray(to_device(carry[key]), declared.dtype)
    return out


def declared_start(workspace, key, declared):
    """A boundary value in a buffer of the workspace: one number everywhere, or what is on the device, of parameters."""
    flat, = workspace.reserve(f"start of {key}", [(declared.size, declared.dtype)])
    out = flat[:declared.size].reshape(declared.shape)
    if isinstance(declared, cp.ndarray):
        out[...] = declared
    else:
        out.fill(declared.flat[0])
    return out


def carry_entry(carry, key, dims):
    """An entry of the carry that a step starts from, on the device; None stands for any size."""
    if key not in carry:
        raise KeyError(f"carry has no {key!r}: it comes from start, or from the step before")
    value = to_device(carry[key])
    check_shape(f"carry[{key!r}]", value, dims)
    return value
