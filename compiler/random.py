"""Random numbers: the rule from (seed, step, path of the equation, element) to a float, the same on every backend.

- Generator: Philox 4x64-10. Key words (seed, P), P the first 8 bytes of blake2b of the path (UTF-8), little-endian; seed and step
  are taken modulo 2**64.
- Element k of a draw is word k % 4 of block j = k // 4, whose counter words are (j + 1, 0, step, 0), least significant first:
  what `numpy.random.Philox(key=[seed, P], counter=[0, 0, step, 0])` yields, because NumPy counts up before it generates.
- k is the element's index in row-major order of (time axes, batch, features), plus the offset of the chunk that it stands in.
- Uniform in [0, 1): float64 is (word >> 11) * 2**-53, float32 is (word >> 40) * 2**-24.
- Normal: Box-Muller in float64 over the words 2m and 2m+1, read as float64 uniforms u and v: element 2m is
  sqrt(-2*log1p(-u)) * cos(2*pi*v), element 2m+1 the same with sin; then rounded to the type asked for.
"""

from __future__ import annotations

from hashlib import blake2b
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD = 2**64


def path_key(path: str) -> int:
    """The key word of an equation's path."""
    return int.from_bytes(blake2b(path.encode()).digest()[:8], "little")


def words(path: str, count: int, seed: int = 0, step: int = 0, offset: int = 0) -> NDArray[np.uint64]:
    """Words offset, ..., offset+count-1 of the stream of `path`."""
    block, skip = divmod(offset, 4)
    key = np.array([seed % WORD, path_key(path)], np.uint64)
    counter = np.array([block, 0, step % WORD, 0], np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw(skip + count)
    return np.asarray(raw, np.uint64).reshape(-1)[skip:]


def draw(kind: str, path: str, shape: tuple[int, ...], seed: int = 0, step: int = 0, offset: int = 0,
         dtype: Any = np.float64) -> NDArray[Any]:
    """An array of uniform or normal numbers; its first element is element `offset` of the stream."""
    count = prod(shape)
    if kind == "normal":
        return _normal(path, count, seed, step, offset).astype(dtype).reshape(shape)
    w = words(path, count, seed, step, offset)
    if np.dtype(dtype) == np.float32:
        return ((w >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)).reshape(shape)
    return _unit(w).astype(dtype).reshape(shape)


def _unit(w: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (w >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _normal(path: str, count: int, seed: int, step: int, offset: int) -> NDArray[np.float64]:
    skip = offset % 2                                            # a pair starts at an even word
    pairs = (skip + count + 1) // 2
    u = _unit(words(path, 2 * pairs, seed, step, offset - skip)).reshape(pairs, 2)
    radius, angle = np.sqrt(-2 * np.log1p(-u[:, 0])), 2 * np.pi * u[:, 1]
    out = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    return out[skip:skip + count]
