"""What the trainer asks of a model about time: which inputs run along it, and whether its loss is an average over steps."""

from __future__ import annotations

from ...compiler.graph import Extent, postorder
from ...compiler.node import BATCH, length
from ...compiler.system import System
from ...compiler.truncation import along


def truncated_axis(system: System) -> str:
    """The axis along which `truncate` cuts; "" for a model without."""
    return along(system) if system.training.truncate is not None else ""


def timed_inputs(system: System) -> frozenset[str]:
    """The inputs that have a time axis, and their lengths; with `truncate`, those along the axis that is cut."""
    axis = truncated_axis(system)
    timed = {name for name, x in system.inputs.items() if (axis in x.axes if axis else {*x.axes} - {BATCH})}
    return frozenset(timed | {f"lengths_{a}" for a in system.lengths if not axis or a == axis})


def averages_steps(system: System) -> bool:
    """Whether the loss is divided by a number of steps of time, so that batches of unequal length weigh unequally."""
    if system.loss is None:
        return False
    extents = [n for n in postorder(system.loss.count) if isinstance(n, Extent)]
    return any(s != str(length(BATCH)) and s not in system.sizes for n in extents for s in n.size.symbols)
