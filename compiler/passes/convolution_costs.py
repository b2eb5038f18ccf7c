"""What the ways of computing a convolution cost: bytes moved, operations, array calls, each by what it takes on a core.

The constants were measured once; they need not fit a machine, only order the ways. Batches and sizes that have no value count
as 64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from ..formulas.calls import Line, Word
from ..graph import Expr, GraphError, Input
from ..sizes import Size, size
from .memory import nominal

# What a second holds, measured on two cores of 2 GHz with AVX-512 in float32; only their ratios decide.
FLOPS = 150e9                                            # multiplications and additions of a matrix product of a good form
EINSUM = 1e9                                             # the same of a product in groups, which einsum adds up itself
CACHE, MEMORY = 25e9, 9e9                                # bytes that pass where they stay in the cache, and where they do not
RUN, CALL = 6e-9, 4e-6                                   # seconds for each contiguous piece of a copy, for each array call
ONE = size(1)
BLOCK = 3 << 18                                          # bytes of windows at a time: less than half of a core's cache
NARROW = 8                                               # a product with fewer columns takes as long as one with these
NUMBER = 4                                               # bytes of a number


def shared(channels: Size, groups: Size) -> Size:
    """The channels of one group; GraphError where their number is not known."""
    if groups == 1:
        return channels
    if channels == groups:
        return ONE
    if channels.value is None or groups.value is None:
        raise GraphError(f"{channels} channels in {groups} groups")
    return size(channels.value // groups.value)


@dataclass(frozen=True)
class Job:
    """One convolution: its operands (image first), and what its ways cost."""

    expr: Expr
    kind: str
    call: Word                                           # what it is in words
    operands: tuple[Expr, Expr]
    lines: tuple[Line, ...]                              # of the convolution that it is computed as
    many: Size
    sizes: Mapping[str, int]

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

    def costs(self, direct: bool = False) -> dict[str, float]:
        """What each way that can be taken costs; `direct`: where windows need not be copied."""
        alone = all(k == 1 and x.stride == 1 and x.lo == x.hi == 0 for k, x in zip(self.kernel, self.lines, strict=True))
        if alone and self.groups == 1 and not isinstance(self.operands[0], Input):
            return {"plain": self._product(1, MEMORY)}
        if direct:
            return {"each" if self.depthwise else "direct": self._product(1, MEMORY)}
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
        spread = self.batch * prod(self.image[1:]) * prod(self.kernel) * self.outputs        # g @ kernel for every window
        flops = 2 * max(self.image[0] // self.groups, NARROW) * spread
        return flops / FLOPS + 4 * NUMBER * spread / MEMORY + prod(self.kernel) * CALL       # written, then added up

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
