"""The machine's own limit for a step: the floating-point operations of its matrix products, over the rate that products reach.

The operations are those of the statements of the compiled gradient: two for every term of a Product, a Convolve or a Correlate,
as often as the loops around it run. A lookup of rows, as a one-hot input becomes one, has none; elementwise work counts nothing.
The rate is measured beside the sides, by a worker that multiplies large square matrices through NumPy on as many threads: that of
its fastest product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
from chainrule.compiler.graph import BATCH, length
from chainrule.compiler.pipeline import Compiled
from chainrule.compiler.program import Block, Convolve, Correlate, Loop, Nest, Product, Stmt
from chainrule.compiler.sizes import Size
from chainrule.compiler.system import System

SIDE = {"float32": 1536, "float64": 1024}                # rows of the square matrices whose product is timed


def lengths_of(system: System, data: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, int]:
    """The model's sizes, and those that a batch tells: its own, the lengths of the time axes."""
    sizes = dict(system.sizes)
    for name, array in data.items():
        node = system.inputs[name]
        axes = [BATCH, *(a for a in node.axes if a != BATCH)]    # as arrays come: the batch first
        sizes.update({str(length(a)): n for a, n in zip(axes, array.shape, strict=False)})
    return sizes


def operations(compiled: Compiled, data: Mapping[str, np.ndarray[Any, Any]]) -> int:
    """Floating-point operations of the gradient's matrix products, on this batch."""
    sizes = lengths_of(compiled.model or compiled.source, data)
    return counted(compiled.functions["gradients"].body, sizes)


def counted(body: Iterable[Stmt], sizes: Mapping[str, int]) -> int:
    """The operations of statements, of those in loops as often as they run."""
    total = 0
    for s in body:
        match s:
            case Loop():
                total += len(s.starts(length(s.axis).evaluate(sizes))) * counted(s.body, sizes)
            case Nest() | Block():
                total += counted(s.body, sizes)
            case Product():
                named = dict(zip((*s.la, *s.lb), (*s.a.dims, *s.b.dims), strict=True))
                total += 2 * number(named.values(), sizes)
            case Convolve():
                total += windows(s.out.dims, s.x.dims, s, sizes)
            case Correlate():
                total += windows(s.g.dims, s.x.dims, s, sizes)
    return total


def number(dims: Iterable[Size], sizes: Mapping[str, int]) -> int:
    return prod(d.evaluate(sizes) for d in dims)


def windows(places: tuple[Size, ...], x: tuple[Size, ...], s: Convolve | Correlate, sizes: Mapping[str, int]) -> int:
    """A term for every element of a window that lies in the image, and every channel of its group."""
    tapped = {t.dim for t in s.how.taps}
    channels = x[-1].evaluate(sizes) // s.how.groups.evaluate(sizes)
    total = number((d for k, d in enumerate(places) if k not in tapped), sizes) * channels
    for t in s.how.taps:
        starts = range(-t.lo, places[t.dim].evaluate(sizes) * t.stride - t.lo, t.stride)
        inside = range(x[t.dim].evaluate(sizes))
        total *= sum(i + p * t.dilation in inside for i in starts for p in range(t.k.evaluate(sizes)))
    return 2 * total


def rate(dtype: str, seconds: float) -> float:
    """Operations in a second, where the product that the worker times takes so long."""
    return 2 * SIDE[dtype]**3 / seconds
