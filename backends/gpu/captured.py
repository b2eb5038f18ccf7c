"""Helpers of modules for a GPU: a training step recorded once as a graph, and replayed."""

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


class Captured:
    """A training step as a graph, for arrays that stay where they are and inputs of the same shapes.

    The first call runs plainly: it compiles kernels and makes buffers. The second captures. `reason`: why that cannot be.
    `carry`: of a truncated model, what a chunk starts from; a step gives then (loss, carry).
    """

    def __init__(self, step, params, state, inputs, given, workspace, carry):
        self.step, self.params, self.state, self.workspace = step, dict(params), dict(state), workspace
        self.given, self.sort, self.graph, self.reason, self.moved = given, self.sorted(inputs, carry), None, "", None
        self.cut = carry is not None
        if carry and any(isinstance(v, int) for v in carry.values()):
            self.reason = "a step cannot be captured: a launch takes the number of steps before the chunk, which grows"

    @staticmethod
    def sorted(inputs, carry):
        """The shapes and kinds of all that a step is given, lengths themselves, and the device and the stream that it runs on."""
        return ([(x.shape, x.dtype.kind) if hasattr(x, "dtype") else x for x in inputs],
                [(k, np.shape(x)) for k, x in (carry or {}).items()], STREAMS.current())

    def fits(self, params, state, inputs, carry):
        """Whether these are the arrays of this step, its buffers where they were, and inputs such as its own."""
        return (params.keys() == self.params.keys() and all(params[k] is a for k, a in self.params.items())
                and state.keys() == self.state.keys() and all(state[k] is a for k, a in self.state.items())
                and self.moved in (None, self.workspace.moved) and self.sorted(inputs, carry) == self.sort)

    def hold(self, inputs, carry):
        """Places for the inputs: time first in memory, as the kernels read them."""
        self.held = []
        for value, (name, axes, dtype, _) in zip(inputs, self.given):
            if dtype is int:                                     # a length goes to the launches as it is
                self.held.append((None, value, ()))
                continue
            order = (*range(1, axes), 0, *range(axes, value.ndim)) if axes else tuple(range(value.ndim))
            place, = allocated(f"the place of {name}", [(tuple(value.shape[k] for k in order), dtype)])
            self.held.append((place, place.transpose(*(order.index(k) for k in range(len(order)))), order))
        self.carry = dict(zip(carry or {}, allocated("the carry", [(a.shape, a.dtype) for a in (carry or {}).values()])))

    def fill(self, inputs, carry):
        """The inputs, into their places."""
        for key, place in self.carry.items():
            place[...] = carry[key]
        for value, (place, view, order), (name, _, _, check) in zip(inputs, self.held, self.given):
            if place is None:
                continue
            if isinstance(value, cp.ndarray):
                view[...] = here(name, value)
                if check is not None:
                    checked(name, place, order, check)
                continue
            if isinstance(check, str):
                check_units(name, value, check)
            elif check is not None:
                check_range(name, value, check - 1, f"it is from 0 to {check - 1}")
            place.set(np.ascontiguousarray(np.transpose(value.astype(place.dtype, copy=False), order)),
                      cp.cuda.get_current_stream())

    def capture(self, inputs, carry):
        """Record the step; where that fails, steps are launched plainly."""
        stream = STREAMS.recorder()
        try:
            self.hold(inputs, carry)
            with stream:
                stream.begin_capture()
                try:
                    self.found = self.launched(self.params, self.state, [view for _, view, _ in self.held],
                                               self.carry if self.cut else None)
                finally:
                    graph = stream.end_capture()
            self.graph = graph
        except Exception as e:
            self.held, self.reason = [], f"a step cannot be captured: {e}"

    def launched(self, params, state, inputs, carry):
        """The step, launch by launch."""
        return self.step(params, state, *inputs, *([] if carry is None else [carry]), self.workspace)

    def run(self, params, state, inputs, carry):
        """What the step gives, in fresh arrays."""
        if self.moved is not None and self.graph is None and not self.reason:
            self.capture(inputs, carry)
        if self.graph is None:
            check_state(state)
            found = self.launched(params, state, inputs, carry)
            self.moved = self.workspace.moved                    # buffers are made, kernels compiled
        else:
            self.fill(inputs, carry)
            self.graph.launch(cp.cuda.get_current_stream())
            found = self.found
        if not isinstance(found, tuple):
            return found.copy()
        return found[0].copy(), {k: v.copy() if self.graph and isinstance(v, cp.ndarray) else v for k, v in found[1].items()}


def prepared(inputs, given):
    """The inputs as arrays, on the host or on the device; whole numbers, which are lengths, as they are."""
    capturing()
    return [x if dtype is int or isinstance(x, (cp.ndarray, np.ndarray, type(None))) else given_array(name, x)
            for x, (name, _, dtype, _) in zip(inputs, given)]


def stepped(step, params, state, inputs, given, workspace):
    """A training step: replayed where its arrays are those of the step before."""
    inputs = prepared(inputs, given)
    held = workspace.views.get("step")
    if held is None or not held.fits(params, state, inputs, None):
        held = workspace.views["step"] = Captured(step, params, state, inputs, given, workspace, None)
    return held.run(params, state, inputs, None)


def stepped_on(step, params, state, inputs, given, workspace, carry):
    """A training step on a chunk: (loss, carry). A sequence's first chunk runs plainly, for it reads other boundaries."""
    inputs = prepared(inputs, given)
    if carry is None:
        check_state(state)
        loss, carry = step(params, state, *inputs, None, workspace)
        return loss.copy(), carry
    if not isinstance(carry, dict):
        raise TypeError(f"carry must be the dict that the chunk before returned, or None, not {type(carry).__name__}")
    carry = {k: v if isinstance(v, int) else to_device(v) for k, v in carry.items()}
    held = workspace.views.get("step")
    if held is None or not held.fits(params, state, inputs, carry):
        held = workspace.views["step"] = Captured(step, params, state, inputs, given, workspace, carry)
    return held.run(params, state, inputs, carry)
