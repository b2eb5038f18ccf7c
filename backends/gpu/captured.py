"""Helpers of modules for a GPU: a training step recorded once as a graph, and replayed."""

import ctypes

import numpy as np

cp = None                                                        # a module imports cupy as cp


def capturing():
    """Whether launches are only recorded: then nothing may be allocated, read or moved, and inputs are what a step prepared."""
    if not cp.cuda.get_current_stream().is_capturing():
        return False
    if STREAMS.current() not in STREAMS.recorded:
        raise RuntimeError("the current stream is being captured; train_step captures itself, and other functions look at what "
                           "they are given, which no graph can: call them outside of the capture")
    return True


def kept(value):
    """A value that outlives the step: a copy; of a step that is recorded the value itself, which is copied after each replay."""
    return value if capturing() else value.copy()


class State(dict):
    """What a training step keeps between calls: a dict of arrays, which is saved and copied, and a workspace, which is not."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.workspace = Workspace()

    def __reduce__(self):
        return State, (dict(self),)


class Place:
    """Where a graph reads an input: time first in memory, as the kernels read it."""

    def __init__(self, name, value, axes, dtype, check):
        self.name, self.check = name, check
        self.order = (*range(1, axes), 0, *range(axes, value.ndim)) if axes else tuple(range(value.ndim))
        self.array, = allocated(f"the place of {name}", [(tuple(value.shape[k] for k in self.order), dtype)])
        self.straight = self.order == tuple(range(value.ndim))
        self.view = self.array if self.straight else self.array.transpose(*map(self.order.index, range(value.ndim)))
        self.look = check and check.launch(name, self.array, self.order)

    def fill(self, value, stream):
        """An array of the device in one copy, looked through there; one of NumPy looked through here, in one transfer."""
        if isinstance(value, cp.ndarray):
            here(self.name, value)
            if self.straight and value.dtype == self.array.dtype and value.flags.c_contiguous:
                self.array.data.copy_from_device_async(value.data, value.nbytes, stream)
            else:
                self.view[...] = value
            if self.look:
                launch(*self.look)
            return
        if self.check:
            self.check.refuse(self.name, value)
        value = np.asarray(np.transpose(value, self.order), self.array.dtype, order="C")
        self.array.set(at_rest(value), stream)


class Captured:
    """A training step as a graph, for arrays that stay where they are and inputs of the same shapes.

    The first call runs plainly: it compiles kernels and makes buffers. The second captures. `reason`: why that cannot be.
    `carry`: of a truncated model, a tuple of what a chunk starts from, which may be None; else (). A step gives (loss, carry).
    """

    def __init__(self, step, params, state, inputs, given, workspace, carry):
        self.step, self.params, self.state, self.workspace = step, dict(params), dict(state), workspace
        self.arrays, self.sort = self.known(params, state), self.sorted(inputs, carry)
        self.given, self.graph, self.reason, self.moved = given, None, "", None

    @staticmethod
    def sorted(inputs, carry):
        """The shapes and kinds of all that a step is given, lengths themselves, and the device and the stream that it runs on."""
        return ([(x.shape, x.dtype.kind) if hasattr(x, "dtype") else x for x in inputs],
                [c and [(k, np.shape(x)) for k, x in c.items()] for c in carry], STREAMS.current())

    @staticmethod
    def known(params, state):
        """The arrays that a graph works on, by their identity: it keeps them, so no other array comes to have one of these."""
        return [*params, *state], [*map(id, params.values()), *map(id, state.values())]

    def stands(self, arrays):
        """Whether these are the arrays of this step, and its buffers where they were."""
        return self.arrays == arrays and self.moved in (None, self.workspace.moved)

    @classmethod
    def of(cls, step, params, state, inputs, given, workspace, carry):
        """The step for such inputs; batches of a few shapes may take turns, and each has its graph. The latest stands first."""
        arrays, sort = cls.known(params, state), cls.sorted(inputs, carry)
        held = [s for s in workspace.views.get("steps", ()) if s.stands(arrays)]
        found = next((s for s in held if s.sort == sort), None) or cls(step, params, state, inputs, given, workspace, carry)
        workspace.views["steps"] = [found, *(s for s in held if s is not found)][:4]
        return found

    def hold(self, inputs, carry):
        """Places for the inputs and for the carry; a length goes to the launches as it is, a number of steps to its own place."""
        self.held = [x if dtype is int else Place(name, x, axes, dtype, check)
                     for x, (name, axes, dtype, check) in zip(inputs, self.given)]
        self.before = before(carry)
        self.carry = [c and {k: x if isinstance(x, int) else Place(f"carry[{k!r}]", x, 0, x.dtype, None) for k, x in c.items()}
                      for c in carry]

    def fill(self, inputs, carry, stream):
        """The inputs, into their places."""
        pairs = [(c[k], place) for c, places in zip(carry, self.carry) for k, place in (places or {}).items()]
        for value, place in [*pairs, *zip(inputs, self.held)]:
            if isinstance(place, Place):
                place.fill(value, stream)
        for steps in self.workspace.views.get("steps before", {}).values():
            steps.fill(before(carry))

    def capture(self, inputs, carry):
        """Record the step; where that fails, a warning says so, and steps are launched plainly.

        What is allocated while a stream captures would be given back before the graph runs: in this mode it is an error.
        """
        stream = STREAMS.recorder()
        collecting = ctypes.pythonapi.PyGC_Disable()             # a graph of nobody's, destroyed now, would end the capture
        try:
            self.hold(inputs, carry)
            with stream:
                if BLAS.handles:
                    BLAS.ready()                                 # what cuBLAS makes, before the capture
                stream.begin_capture(cp.cuda.runtime.streamCaptureModeThreadLocal)
                try:
                    inputs = [x.view if isinstance(x, Place) else x for x in self.held]
                    carry = [c and {k: x.array if isinstance(x, Place) else x for k, x in c.items()} for c in self.carry]
                    self.found = self.launched(self.params, self.state, inputs, carry)
                finally:
                    graph = stream.end_capture()
            self.graph = graph
        except Exception as e:
            self.held, self.reason = [], f"a step cannot be captured: {e.__context__ or e}"
            said = f"{self.reason}; it is launched kernel by kernel, which takes more of the host's time"
            ctypes.pythonapi.PyErr_WarnEx(ctypes.py_object(UserWarning), said.encode(), ctypes.c_ssize_t(2))
        finally:
            if collecting:
                ctypes.pythonapi.PyGC_Enable()

    def launched(self, params, state, inputs, carry):
        """The step, launch by launch."""
        return self.step(params, state, *inputs, *carry, self.workspace)

    def run(self, params, state, inputs, carry):
        """What the step gives, in fresh arrays."""
        if self.moved is not None and self.graph is None and not self.reason:
            self.capture(inputs, carry)
        if self.graph is None:
            check_state(state)
            found = self.launched(params, state, inputs, carry)
            self.moved = self.workspace.moved                    # buffers are made, kernels compiled
        else:
            stream = cp.cuda.get_current_stream()
            self.fill(inputs, carry, stream)
            self.graph.launch(stream)
            found = self.found
        if not isinstance(found, tuple):
            return found.copy()
        if self.graph is None:
            return found[0].copy(), found[1]
        more = before(carry) - self.before
        return found[0].copy(), {k: v + more if isinstance(v, int) else v.copy() for k, v in found[1].items()}


def before(carry):
    """How many steps came before the chunk, where kernels count them."""
    return next((x for c in carry for x in (c or {}).values() if isinstance(x, int)), 0)


def steps_before(workspace, steps, dtype):
    """The number of steps before a chunk, on the device: a graph reads the number that is there when it is replayed."""
    made = workspace.views.setdefault("steps before", {})
    if dtype not in made:
        made[dtype], = allocated("the number of steps", [((), dtype)])
    if not capturing():
        made[dtype].fill(steps)
    return made[dtype]


def prepared(inputs, given):
    """The inputs as arrays, on the host or on the device; whole numbers, which are lengths, as they are."""
    capturing()                                                  # not in a capture of the caller's own
    return [x if dtype is int or isinstance(x, (cp.ndarray, np.ndarray, type(None))) else given_array(name, x)
            for x, (name, _, dtype, _) in zip(inputs, given)]


def stepped(step, params, state, inputs, given, workspace):
    """A training step: replayed where its arrays are those of a step before."""
    inputs = prepared(inputs, given)
    return Captured.of(step, params, state, inputs, given, workspace, ()).run(params, state, inputs, ())


def stepped_on(step, params, state, inputs, given, workspace, carry):
    """A training step on a chunk: (loss, carry). A sequence's first chunk reads other boundaries: it is a graph of its own."""
    inputs = prepared(inputs, given)
    if carry is not None and not isinstance(carry, dict):
        raise TypeError(f"carry must be the dict that the chunk before returned, or None, not {type(carry).__name__}")
    if carry is not None:
        carry = {k: int(v) if isinstance(v, (int, np.integer)) else to_device(v) for k, v in carry.items()}
    return Captured.of(step, params, state, inputs, given, workspace, (carry,)).run(params, state, inputs, (carry,))
