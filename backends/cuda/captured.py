"""Helpers of modules for a GPU: a training step recorded once as a graph, and replayed."""

import numpy as np

cp = None                                                        # a module imports cupy as cp


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
        for value, (place, view, order), (name, _, _, check) in zip(inputs, self.held, self.given):
            if isinstance(value, cp.ndarray):
                view[...] = value
                if check is not None:
                    checked(name, place, order, check)  # noqa: F821
                continue
            value = np.asarray(value)
            if isinstance(check, str):
                check_units(name, value, check)  # noqa: F821
            elif check is not None:
                check_range(name, value, check - 1, f"it is from 0 to {check - 1}")  # noqa: F821
            place.set(np.ascontiguousarray(np.transpose(value.astype(place.dtype, copy=False), order)))

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
