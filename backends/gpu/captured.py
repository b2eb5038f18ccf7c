"""Helpers of modules for a GPU: a training step recorded once as a graph, and replayed."""

import numpy as np

cp = None                                                        # a module imports cupy as cp


def capturing():
    """Whether launches are only recorded: then nothing may be allocated, read or moved, and inputs are what a step prepared."""
    return cp.cuda.get_current_stream().is_capturing()


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
        self.given, self.shapes, self.graph, self.reason, self.ready = given, self.shaped(inputs, carry), None, "", False
        self.cut = carry is not None
        if carry and any(isinstance(v, int) for v in carry.values()):
            self.reason = "a step cannot be captured: a launch takes the number of steps before the chunk, which grows"

    @staticmethod
    def shaped(inputs, carry):
        """The shapes of all that a step is given."""
        return [np.shape(x) for x in (*inputs, *(carry or {}).values())], [*(carry or {})]

    def fits(self, params, state, inputs, carry):
        """Whether these are the arrays of this step, and inputs of its shapes."""
        return (params.keys() == self.params.keys() and all(params[k] is a for k, a in self.params.items())
                and state.keys() == self.state.keys() and all(state[k] is a for k, a in self.state.items())
                and self.shaped(inputs, carry) == self.shapes)

    def hold(self, inputs, carry):
        """Places for the inputs: time first in memory, as the kernels read them."""
        self.held = []
        for value, (_, axes, dtype, _) in zip(inputs, self.given):
            order = (*range(1, axes), 0, *range(axes, np.ndim(value))) if axes else tuple(range(np.ndim(value)))
            place = cp.empty(tuple(np.shape(value)[k] for k in order), dtype)
            self.held.append((place, place.transpose(*(order.index(k) for k in range(len(order)))), order))
        self.carry = {k: cp.empty(a.shape, a.dtype) for k, a in (carry or {}).items()}

    def fill(self, inputs, carry):
        """The inputs, into their places."""
        for key, place in self.carry.items():
            place[...] = carry[key]
        for value, (place, view, order), (name, _, _, check) in zip(inputs, self.held, self.given):
            if isinstance(value, cp.ndarray):
                view[...] = value
                if check is not None:
                    checked(name, place, order, check)
                continue
            value = np.asarray(value)
            if isinstance(check, str):
                check_units(name, value, check)
            elif check is not None:
                check_range(name, value, check - 1, f"it is from 0 to {check - 1}")
            place.set(np.ascontiguousarray(np.transpose(value.astype(place.dtype, copy=False), order)),
                      cp.cuda.get_current_stream())

    def capture(self):
        """Record the step; where that fails, steps are launched plainly."""
        stream = cp.cuda.Stream(non_blocking=True)
        try:
            with stream:
                stream.begin_capture()
                try:
                    self.found = self.launched(self.params, self.state, [view for _, view, _ in self.held],
                                               self.carry if self.cut else None)
                finally:
                    self.graph = stream.end_capture()
        except Exception as e:
            self.graph, self.reason = None, f"a step cannot be captured: {e}"

    def launched(self, params, state, inputs, carry):
        """The step, launch by launch."""
        return self.step(params, state, *inputs, *([] if carry is None else [carry]), self.workspace)

    def run(self, params, state, inputs, carry):
        """What the step gives, in fresh arrays."""
        if self.ready and self.graph is None and not self.reason:
            self.hold(inputs, carry)
            self.capture()
        if self.graph is None:
            found = self.launched(params, state, inputs, carry)
            self.ready = True                                    # buffers are made, kernels compiled
        else:
            self.fill(inputs, carry)
            self.graph.launch(cp.cuda.get_current_stream())
            found = self.found
        if not isinstance(found, tuple):
            return found.copy()
        return found[0].copy(), {k: v.copy() if self.graph and isinstance(v, cp.ndarray) else v for k, v in found[1].items()}


def stepped(step, params, state, inputs, given, workspace):
    """A training step: replayed where its arrays are those of the step before."""
    held = workspace.views.get("step")
    if held is None or not held.fits(params, state, inputs, None):
        held = workspace.views["step"] = Captured(step, params, state, inputs, given, workspace, None)
    return held.run(params, state, inputs, None)


def stepped_on(step, params, state, inputs, given, workspace, carry):
    """A training step on a chunk: (loss, carry). A sequence's first chunk runs plainly, for it reads other boundaries."""
    if carry is None:
        loss, carry = step(params, state, *inputs, None, workspace)
        return loss.copy(), carry
    if not isinstance(carry, dict):
        raise TypeError(f"carry must be the dict that the chunk before returned, or None, not {type(carry).__name__}")
    carry = {k: v if isinstance(v, int) else to_device(v) for k, v in carry.items()}
    held = workspace.views.get("step")
    if held is None or not held.fits(params, state, inputs, carry):
        held = workspace.views["step"] = Captured(step, params, state, inputs, given, workspace, carry)
    return held.run(params, state, inputs, carry)
