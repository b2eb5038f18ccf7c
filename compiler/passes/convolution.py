"""Convolution: by which way each product of windows is computed. Runs on a schedule, before its layout.

    whole    all windows of the batch side by side (im2col), then one matrix product; the adjoint in x is a product whose
             windows are added back. Windows that both the values and the gradient by the kernel read are kept
    blocks   the same for as many examples at a time as fit into the cache; nothing is kept
    rows     windows along the last dimension side by side, a block at a time; for every row of the kernel one product with
             these windows, read shifted by the row: k copies of the image instead of k*k
    direct   no window is copied: for a backend whose kernels keep a block of the result in registers
    each     depthwise: for every element of the kernel a product, element by element, with the image shifted by it
    plain    a kernel of one element, which moves nothing: a matrix product of the image as it stands

By all but `whole` the adjoint in x is a convolution: of g with the kernel turned around, padded by what was not padded before.

What each costs is estimated in `convolution_costs`; `chainrule show --stage schedule` prints it.

Input    a `Schedule`, and who chooses among the costs of the ways
Output   the same, in which such values read their image and kernel (or image and adjoint) alone; `convolutions` says how
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..formulas.calls import Line, Word
from ..formulas.images import word
from ..graph import Contract, Expr, Fold, Pad, Reshape, Slice
from ..sizes import Size
from .convolution_costs import ONE, Job, shared

if TYPE_CHECKING:
    from .schedule import Schedule

KINDS = {"conv": "conv", "conv_transpose": "transposed", "correlate": "correlate"}
Choose = Callable[[dict[str, float]], str]


@dataclass(frozen=True)
class Convolution:
    """How a convolution, its adjoint in x ("transposed") or in the kernel ("correlate") is computed.

    x is padded as `lines` say; `block` examples go at a time. `turned`: the kernel is reversed along its positions.
    """

    kind: str
    way: str
    lines: tuple[Line, ...]
    groups: Size = ONE
    turned: bool = False
    block: int = 1


@dataclass(frozen=True)
class Choice:
    """What was found, what every way was estimated to cost in seconds at the nominal batch, and what was chosen."""

    expr: Expr
    call: Word
    costs: dict[str, float]
    way: str
    block: int = 1
    shared: bool = False                                 # whether its windows serve another product, too


def cheapest(costs: dict[str, float]) -> str:
    """The way of the least cost."""
    return min(costs, key=costs.__getitem__)


def convolutions(plan: Schedule, choose: Choose | None = None, direct: bool = False) -> Schedule:
    """Choose a way for every convolution and its adjoints; by any but `whole` they read image and kernel alone.

    `direct`: the backend reads windows where they stand.
    """
    from .schedule import arranged
    choose = choose or cheapest
    jobs = {e: j for e in plan.order if (j := _job(plan, e)) is not None}
    for together in _sharing(jobs):
        for e, way in _ways(jobs, together, choose, direct).items():
            job, costs = jobs[e], jobs[e].costs(direct)
            block = job.block(way)
            plan.choices[e] = Choice(e, job.call, costs, way, block, len(together) > 1)
            if way != "whole":
                turned = job.call.flip or job.kind == "transposed"
                plan.operands[e] = job.operands
                plan.convolutions[e] = Convolution(job.kind, way, job.lines, job.many, turned, block)
    if plan.convolutions:
        arranged(plan)
        plan.convolutions = {e: c for e, c in plan.convolutions.items() if e in plan.users}
        plan.choices = {e: c for e, c in plan.choices.items() if e in plan.users}
    return plan


def _sharing(jobs: dict[Expr, Job]) -> list[list[Expr]]:
    """Products of the same windows: what is computed and the gradient by its kernel."""
    found: dict[tuple[object, ...], list[Expr]] = {}
    for e, j in jobs.items():
        image = j.operands[0]
        found.setdefault((image, j.lines) if j.kind != "transposed" else (e,), []).append(e)
    return list(found.values())


def _ways(jobs: dict[Expr, Job], together: list[Expr], choose: Choose, direct: bool) -> dict[Expr, str]:
    """Each by its own way; or all by kept windows, which are copied once then."""
    costs = [jobs[e].costs(direct) for e in together]
    own = {e: choose(c) for e, c in zip(together, costs, strict=True)}
    if len(together) > 1 and all("whole" in c for c in costs):
        kept = sum(c["whole"] for c in costs) - (len(together) - 1) * jobs[together[0]].unfolding()
        apart = sum(c[own[e]] for e, c in zip(together, costs, strict=True))
        if choose({"whole": kept, "apart": apart}) == "whole":
            return dict.fromkeys(together, "whole")
    return own


# ---------------------------------------------------------------- what there is

def _job(plan: Schedule, e: Expr) -> Job | None:
    """A convolution over examples with sizes that allow another way than `whole`, outside loops."""
    if not isinstance(e, (Contract, Reshape, Slice, Fold)) or plan.loop[e] is not None:
        return None
    inner, cuts = _uncut(e)
    found = word(inner, lambda n: False)
    if found is None or found.name not in KINDS or len(found.operands) != 2 or (cuts and found.name != "conv_transpose"):
        return None
    lines = tuple(replace(x, lo=x.lo + cuts.get(i, (0, 0))[0], hi=x.hi + cuts.get(i, (0, 0))[1])
                  for i, x in enumerate(found.lines, 1))
    image, other = found.operands
    if found.name == "correlate":
        image, other = other, image
    if found.name != "conv_transpose":
        image, lines = _unpadded(plan, image, lines)
    call = replace(found, operands=(other, image) if found.name == "correlate" else (image, other), lines=lines)
    if found.name == "conv_transpose":
        lines = _adjoint_lines(lines)
    if any(a not in plan.loop or plan.loop[a] is not None for a in (image, other)) or len(image.axes) != 1:
        return None
    if other.axes != (image.axes if found.name == "correlate" else ()):
        return None
    job = Job(e, KINDS[found.name], call, (image, other), lines, found.groups or ONE, plan.sizes)
    return job if lines and job.divides() else None


def _uncut(e: Expr) -> tuple[Expr, dict[int, tuple[int, int]]]:
    """What is cut out of a sum of windows, and how much goes before and after along its positions."""
    inner, cuts = e, dict[int, tuple[int, int]]()
    while isinstance(inner, Slice):
        lo, hi = inner.lo.value, (inner.args[0].shape[inner.at] - inner.hi).value
        if lo is None or hi is None or inner.at == 0:
            return e, {}
        before = cuts.get(inner.at, (0, 0))
        cuts[inner.at] = before[0] + lo, before[1] + hi
        inner = inner.args[0]
    return inner, cuts


def _unpadded(plan: Schedule, image: Expr, lines: tuple[Line, ...]) -> tuple[Expr, tuple[Line, ...]]:
    """The image without the zeros around it, which the windows count in."""
    while isinstance(image, Pad) and image.at > 0:
        lo, hi = image.lo.value, (image.total - image.lo - image.args[0].shape[image.at]).value
        if lo is None or hi is None:
            break
        lines = tuple(replace(x, lo=x.lo + lo, hi=x.hi + hi) if i == image.at else x for i, x in enumerate(lines, 1))
        image = plan.operands[image][0]
    return image, lines


def _adjoint_lines(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """The windows of g by which the adjoint of a convolution is one itself; () where a stride keeps it from that."""
    out = []
    for x in lines:
        reach = ((x.k - 1) * x.dilation).value
        if reach is None or x.stride > 1 or x.lo > reach or x.hi > reach or x.more:
            return ()
        out.append(replace(x, lo=reach - x.lo, hi=reach - x.hi))
    return tuple(out)


__all__ = ["Choice", "Convolution", "cheapest", "convolutions", "shared"]
