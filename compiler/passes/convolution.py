"""Convolution: by which way each product of windows is computed. Runs on a schedule, before its layout.

    whole    all windows of the batch side by side (im2col), then one matrix product; the adjoint in x is a product whose
             windows are added back. Windows that both the values and the gradient by the kernel read are kept
    blocks   the same for as many examples at a time as fit into the cache; nothing is kept
    rows     windows along the last dimension side by side, a block at a time; for every row of the kernel one product with
             these windows, read shifted by the row: k copies of the image instead of k*k
    each     depthwise: for every element of the kernel a product, element by element, with the image shifted by it
    plain    a kernel of one element, which moves nothing: a matrix product of the image as it stands

By all but `whole` the adjoint in x is a convolution: of g with the kernel turned around, padded by what was not padded before.

Input    a `Schedule`, and who chooses among the costs of the ways
Output   the same, in which such values read their image and kernel (or image and adjoint) alone; `convolutions` says how
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from ..formulas.calls import Line, Word
from ..formulas.images import word
from ..graph import Contract, Expr, Fold, GraphError, Input, Pad, Reshape, Slice
from ..sizes import Size, size
from .memory import nominal

if TYPE_CHECKING:
    from .schedule import Schedule

# What a second holds, measured on two cores of 2 GHz with AVX-512 in float32; only their ratios decide.
FLOPS = 150e9                                            # multiplications and additions of a matrix product of a good form
EINSUM = 1e9                                             # the same of a product in groups, which einsum adds up itself
CACHE, MEMORY = 25e9, 9e9                                # bytes that pass where they stay in the cache, and where they do not
RUN, CALL = 8e-9, 4e-6                                   # seconds for each contiguous piece of a copy, for each array call
ONE = size(1)
BLOCK = 3 << 18                                          # bytes of windows at a time: less than half of a core's cache
NARROW = 16                                              # a product with fewer columns takes as long as one with these
NUMBER = 4                                               # bytes of a number

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


def convolutions(plan: Schedule, choose: Choose | None = None) -> Schedule:
    """Choose a way for every convolution and its adjoints; by any but `whole` they read image and kernel alone."""
    from .schedule import arranged
    choose = choose or cheapest
    jobs = {e: j for e in plan.order if (j := _job(plan, e)) is not None}
    for together in _sharing(jobs):
        for e, way in _ways(jobs, together, choose).items():
            job, costs = jobs[e], jobs[e].costs()
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
        found.setdefault((image, j.call.lines) if j.kind != "transposed" else (e,), []).append(e)
    return list(found.values())


def _ways(jobs: dict[Expr, Job], together: list[Expr], choose: Choose) -> dict[Expr, str]:
    """Each by its own way; or all by kept windows, which are copied once then."""
    own = {e: choose(jobs[e].costs()) for e in together}
    costs = [jobs[e].costs() for e in together]
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
    if found.name == "conv_transpose":
        lines = _adjoint_lines(lines)
    else:
        image, lines = _unpadded(plan, image, lines)
    if any(a not in plan.loop or plan.loop[a] is not None for a in (image, other)) or len(image.axes) != 1:
        return None
    if other.axes != (image.axes if found.name == "correlate" else ()):
        return None
    job = Job(e, KINDS[found.name], replace(found, lines=lines), (image, other), found.groups or ONE, plan.sizes)
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


def shared(channels: Size, groups: Size) -> Size:
    """The channels of one group; GraphError where their number is not known."""
    if groups == 1:
        return channels
    if channels == groups:
        return ONE
    if channels.value is None or groups.value is None:
        raise GraphError(f"{channels} channels in {groups} groups")
    return size(channels.value // groups.value)


def _adjoint_lines(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """The windows of g by which the adjoint of a convolution is one itself; () where a stride keeps it from that."""
    out = []
    for x in lines:
        reach = ((x.k - 1) * x.dilation).value
        if reach is None or x.stride > 1 or x.lo > reach or x.hi > reach or x.more:
            return ()
        out.append(replace(x, lo=reach - x.lo, hi=reach - x.hi))
    return tuple(out)


@dataclass(frozen=True)
class Job:
    """One convolution: its operands (image first), and what its ways cost."""

    expr: Expr
    kind: str
    call: Word                                           # with the lines of the convolution that it is computed as
    operands: tuple[Expr, Expr]
    many: Size
    sizes: Mapping[str, int]

    @property
    def lines(self) -> tuple[Line, ...]:
        return self.call.lines

    def divides(self) -> bool:
        """Whether the channels of one group are known, so that arrays of them can be declared."""
        try:
            return all(shared(n, self.many) for n in (self.operands[0].shape[0], self._other.shape[0]))
        except GraphError:
            return False

    @property
    def _other(self) -> Expr:
        """What stands against the image: the values, or their adjoint."""
        return self.operands[1] if self.kind == "correlate" else self.expr

    @property
    def groups(self) -> int:
        return nominal(self.many, self.sizes)

    def _numbers(self, dims: tuple[Size, ...]) -> tuple[int, ...]:
        return tuple(nominal(n, self.sizes) for n in dims)

    @property
    def batch(self) -> int:
        return self._numbers(self.operands[0].dims[:1])[0]

    @property
    def image(self) -> tuple[int, ...]:
        """Channels and sizes of what the windows are of."""
        return self._numbers(self.operands[0].shape)

    @property
    def places(self) -> tuple[int, ...]:
        return tuple((n + x.lo + x.hi - x.dilation * (k - 1) - 1) // x.stride + 1
                     for n, x, k in zip(self.image[1:], self.lines, self.kernel, strict=True))

    @property
    def kernel(self) -> tuple[int, ...]:
        return self._numbers(tuple(x.k for x in self.lines))

    @property
    def outputs(self) -> int:
        """Channels that stand against those of the image: of the values, or of their adjoint."""
        return self._numbers(self._other.shape[:1])[0]

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.groups == self.image[0] == self.outputs

    # ------------------------------------------------------------ bytes of all examples

    def windows(self, rows: bool = False) -> int:
        """Bytes of all windows; `rows`: of the windows along the last dimension only."""
        each = prod(self.places) * prod(self.kernel)
        if rows:
            line = self.lines[0]
            each = (self.image[1] + line.lo + line.hi) * self.places[-1] * self.kernel[-1]
        return NUMBER * self.batch * self.image[0] * each

    @property
    def result(self) -> int:
        """Bytes of what has the places of the windows and the other channels."""
        return NUMBER * self.batch * self.outputs * prod(self.places)

    def block(self, way: str) -> int:
        """How many examples' windows fit into the cache."""
        padded = NUMBER * self.batch * prod(n + x.lo + x.hi for n, x in zip((1, *self.image[1:]), (Line(size(1)), *self.lines)))
        bytes_ = 2 * padded * self.image[0] if way == "each" else self.windows(way == "rows")
        return max(1, BLOCK * self.batch // bytes_) if bytes_ else 1

    # ------------------------------------------------------------ seconds

    def costs(self) -> dict[str, float]:
        """What each way that can be taken costs."""
        alone = all(k == 1 and x.stride == 1 and x.lo == x.hi == 0 for k, x in zip(self.kernel, self.lines, strict=True))
        if alone and self.groups == 1 and not isinstance(self.operands[0], Input):
            return {"plain": self._product(1, MEMORY)}
        out = {"whole": self._whole(), "blocks": self._blocks()}
        if len(self.lines) > 1 and self.lines[0].stride == 1 and self.kernel[0] > 1:
            out["rows"] = self._rows()
        if self.depthwise:
            out["each"] = self._each()
        return out

    def _product(self, pieces: int, speed: float) -> float:
        """The matrix products, `pieces` for each element of the result, and the result's way through memory."""
        summed = self.image[0] // self.groups * prod(self.kernel) // pieces
        flops = 2 * max(summed, NARROW) * max(self.outputs // self.groups, NARROW) * self.groups * pieces
        return flops * self.batch * prod(self.places) / FLOPS + self.result / speed

    def unfolding(self) -> float:
        """Seconds for all windows of the batch: padded, copied to memory."""
        first = isinstance(self.operands[0], Input)              # the caller's array: channels stand before positions
        run = self.kernel[-1] * (1 if first else self.image[0])
        padding = 2 * NUMBER * self.batch * prod(self.image) / MEMORY if any(x.lo or x.hi for x in self.lines) else 0.0
        return padding + self.windows() / MEMORY + self.windows() / NUMBER / run * RUN

    def _whole(self) -> float:
        if self.kind != "transposed":
            slowly = self.windows() / NUMBER * self.outputs / self.groups / EINSUM if self.groups > 1 else 0.0
            return self.unfolding() + self._product(1, MEMORY) + self.windows() / CACHE + slowly
        folded = replace_lines(self)                             # g @ kernel for every window, then one addition an element
        written = NUMBER * self.batch * prod(self.image[1:]) * prod(self.kernel) * self.outputs
        return folded + written / MEMORY + 3 * written / MEMORY + prod(self.kernel) * CALL

    def _filling(self, rows: bool) -> float:
        run = max(self.image[0] // self.groups, self.places[-1] if self.image[0] == 1 else 1)
        return self.windows(rows) / CACHE + self.windows(rows) / NUMBER / run * RUN

    def _blocks(self) -> float:
        calls = -(-self.batch // self.block("blocks")) * (prod(self.kernel) + self.groups)
        return self._filling(False) + self._product(1, CACHE) + calls * CALL

    def _rows(self) -> float:
        calls = self.batch * self.kernel[0] * self.groups
        added = 3 * (self.kernel[0] - 1) * self.result / CACHE if self.kind != "correlate" else 0.0
        return self._filling(True) + self._product(self.kernel[0], CACHE) + added + calls * CALL

    def _each(self) -> float:
        calls = -(-self.batch // self.block("each")) * 2 * prod(self.kernel)
        return prod(self.kernel) * 5 * self.result / CACHE + calls * CALL


def replace_lines(job: Job) -> float:
    """Seconds of the product of g and a kernel, for every element of the kernel at every place of g."""
    per_place = 2 * max(job.image[0] // job.groups, NARROW) * job.outputs * prod(job.kernel)
    return per_place * job.batch * prod(job.image[1:]) / FLOPS
