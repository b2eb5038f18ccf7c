"""Helpers of generated modules that draw random numbers; the rule stands in `compiler/random.py`."""

from __future__ import annotations

import numpy as np


def philox(seed, key, at=0):
    """NumPy's Philox 4x64-10 for one draw: key (seed, hash of the equation's path), counter (., 0, step, 0), from word `at`."""
    seed, step = seed if isinstance(seed, tuple) else (seed, 0)
    word = 2**64 - 1
    bits = np.random.Philox(key=np.array([int(seed) & word, key], np.uint64),
                            counter=np.array([at // 4, 0, int(step) & word, 0], np.uint64))
    bits.random_raw(at % 4, output=False)
    return np.random.Generator(bits)


def uniform(seed, key, scratch=None, out=None, at=0):
    """Uniform in [0, 1): the top 53 bits of a word, or 24 in float32. `scratch` is float64; `at` elements came before."""
    if out.dtype == np.float64:
        return philox(seed, key, at).random(out=out)
    scratch = philox(seed, key, at).random(out.shape, out=scratch)
    scratch *= 2.0**24
    np.floor(scratch, out=scratch)
    scratch *= 2.0**-24
    out[...] = scratch
    return out


def normal(seed, key, scratch=None, out=None, at=0):
    """Standard normal by Box-Muller in float64, two from two uniforms, then rounded. `scratch`: two rows of float64."""
    odd = at % 2                                                 # a pair starts at an even element
    pairs = (odd + out.size + 1) // 2
    scratch = np.empty((2, 2 * pairs)) if scratch is None else scratch
    u, v = scratch[0, :2 * pairs].reshape(2, pairs), scratch[1, :2 * pairs].reshape(pairs, 2)
    philox(seed, key, at - odd).random(out=v)
    np.log1p(np.negative(v[:, 0], out=u[0]), out=u[0])           # radius sqrt(-2*log(1 - u))
    u[0] *= -2
    np.sqrt(u[0], out=u[0])
    np.multiply(v[:, 1], 2 * np.pi, out=u[1])                    # angle
    np.multiply(u[0], np.cos(u[1], out=v[:, 0]), out=v[:, 0])
    np.multiply(u[0], np.sin(u[1], out=v[:, 1]), out=v[:, 1])
    out.reshape(-1)[...] = v.reshape(-1)[odd:odd + out.size]
    return out


def draw(seed, key):
    """The generator of one parameter's initial value."""
    return np.random.Generator(np.random.Philox(key=np.array([int(seed) & (2**64 - 1), key], np.uint64)))


def orthogonal(rng, shape):
    """Orthonormal rows or columns, from the QR decomposition of a normal matrix (Saxe et al. 2014)."""
    rows, columns = shape[0], int(np.prod(shape[1:]))
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))
    return np.ascontiguousarray(q if rows >= columns else q.T).reshape(shape)
