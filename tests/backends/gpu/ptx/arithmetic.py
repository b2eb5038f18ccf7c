"""What PTX instructions compute, on arrays with one element a thread."""

import numpy as np

from .text import SIZES, TYPES

WIDE = {"s16": np.int32, "u16": np.uint32, "s32": np.int64, "u32": np.uint64}


class Unknown(RuntimeError):
    """An instruction that the interpreter does not know."""


def compute(parts, kind, values):
    """The result of an arithmetic instruction whose operands are of its type."""
    if (how := PLAIN.get(parts[0])) is None:
        raise Unknown(".".join(parts))
    return how(parts, kind, *values)


def real(f):
    """An approximate function of the hardware, computed better and rounded."""
    return lambda parts, kind, x: f(np.asarray(x, np.float64)).astype(TYPES[kind])


def multiplied(parts, kind, x, y):
    if "wide" in parts:
        return np.asarray(x).astype(WIDE[kind]) * np.asarray(y).astype(WIDE[kind])
    if "hi" in parts and SIZES[kind] == 8:
        return high(x, y, kind)
    if "hi" in parts:
        return (np.asarray(x).astype(WIDE[kind]) * np.asarray(y).astype(WIDE[kind]) >> 32).astype(TYPES[kind])
    return x * y


def high(x, y, kind):
    """The upper half of products of 64 bits."""
    product = [int(a) * int(b) >> 64 for a, b in np.broadcast(x, y)]
    return np.array([p & (2**64 - 1) for p in product], np.uint64).view(TYPES[kind])


def fused(parts, kind, x, y, z):
    """x * y + z, rounded once: by way of a longer type, which rounds twice only in rare cases."""
    if kind == "f64" and {"rm", "rz", "sat"} & {*parts}:
        raise Unknown(".".join(parts))
    if kind == "f64":
        return (np.asarray(x, np.longdouble) * y + z).astype(np.float64)
    exact = np.asarray(x).astype(np.float64) * np.asarray(y) + np.asarray(z)
    return rounded(np.clip(exact, 0, 1) if "sat" in parts else exact, parts)


def rounded(exact, parts):
    """A float32: the next one, the one below, or the one towards zero."""
    out = np.asarray(exact).astype(np.float32)
    if "rm" in parts:
        return np.where(out > exact, np.nextafter(out, np.float32(-np.inf)), out)
    return np.where(np.abs(out) > np.abs(exact), np.nextafter(out, np.float32(0)), out) if "rz" in parts else out


def added(parts, kind, x, y):
    if "rz" not in parts:
        return x + y
    if kind == "f64":
        raise Unknown(".".join(parts))
    return rounded(np.asarray(x).astype(np.float64) + np.asarray(y), parts)


def carried(parts, carry, x, y, z=0):
    """Sums of 32 bits that take a carry and leave one: the result, and the carry. Where numbers are subtracted, they borrow."""
    x, y, z, carry = (np.asarray(v).astype(np.int64) & 0xFFFFFFFF for v in (x, y, z, carry))
    if SIZES[parts[-1]] != 4:
        raise Unknown(".".join(parts))
    if parts[0] in ("sub", "subc"):
        whole = x - y - carry
        return (whole & 0xFFFFFFFF).astype(np.uint32), whole < 0
    if parts[0] in ("mad", "madc"):
        product = x.astype(np.uint64) * y.astype(np.uint64)
        x, y = (product >> np.uint64(32) if "hi" in parts else product & np.uint64(0xFFFFFFFF)).astype(np.int64), z
    whole = x + y + carry
    return (whole & 0xFFFFFFFF).astype(np.uint32), whole >> 32 != 0


def divided(parts, kind, x, y):
    if kind[0] == "f":
        return x / y
    x, y = np.asarray(x), np.asarray(y)
    if kind[0] == "u":
        return x // y
    return (np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y))).astype(TYPES[kind])


def shifted(parts, kind, x, by):
    bits = 8 * SIZES[kind]
    by = np.asarray(by).astype(np.uint32)
    gone, by = by >= bits, np.minimum(by, bits - 1).astype(TYPES[kind])
    if parts[0] == "shl":
        return np.where(gone, 0, x << by).astype(TYPES[kind])
    return np.where(gone, x >> TYPES[kind](bits - 1) if kind[0] == "s" else 0, x >> by).astype(TYPES[kind])


def inserted(parts, kind, field, x, start, length):
    """x with the lowest `length` bits of a field in the place of its own from bit `start` on."""
    bits, one = 8 * SIZES[kind], TYPES[kind](1)
    start, length = (np.minimum(np.asarray(v).astype(np.uint64) & np.uint64(255), np.uint64(bits)) for v in (start, length))
    ones = shifted(("shl",), kind, one, length) - one
    mask = shifted(("shl",), kind, ones, start)
    return np.asarray(x) & ~mask | shifted(("shl",), kind, field, start) & mask


def leading(parts, kind, x):
    bits = 8 * SIZES[kind]
    return np.array([bits - int(v).bit_length() for v in np.ravel(x)], np.uint32)


PLAIN = {
    "add": added, "sub": lambda p, k, x, y: x - y, "mul": multiplied,
    "fma": fused, "div": divided, "rem": lambda p, k, x, y: x - y * divided(p, k, x, y),
    "neg": lambda p, k, x: -x, "abs": lambda p, k, x: np.abs(x),
    "min": lambda p, k, x, y: np.fmin(x, y), "max": lambda p, k, x, y: np.fmax(x, y),
    "and": lambda p, k, x, y: x & y, "or": lambda p, k, x, y: x | y, "xor": lambda p, k, x, y: x ^ y,
    "not": lambda p, k, x: ~np.asarray(x), "shl": shifted, "shr": shifted, "clz": leading, "bfi": inserted,
    "popc": lambda p, k, x: np.bitwise_count(x).astype(np.uint32),
    "copysign": lambda p, k, x, y: np.copysign(y, x),
    "ex2": real(np.exp2), "lg2": real(np.log2), "rcp": real(lambda x: 1 / x), "rsqrt": real(lambda x: 1 / np.sqrt(x)),
    "sqrt": real(np.sqrt), "sin": real(np.sin), "cos": real(np.cos), "tanh": real(np.tanh),
}
ORDERED = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
           "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal}


def compared(how, x, y):
    """setp's comparison; `ltu` and its like are true of NaN, too; `ne` is not."""
    nan = np.not_equal(x, x) | np.not_equal(y, y)
    if how in ("nan", "num"):
        return nan if how == "nan" else ~nan
    if how in ORDERED:
        return ORDERED[how](x, y) & ~nan
    return ORDERED[how[:-1]](x, y) | nan


def converted(parts, x):
    """cvt: the value in another type."""
    to, of = parts[-2], parts[-1]
    x = np.asarray(x)
    if of[0] == "f":
        whole = next((f for k, f in ROUNDED.items() if k in parts), np.trunc if to[0] != "f" else None)
        x = whole(x) if whole else x
        if to[0] != "f":
            most = np.iinfo(TYPES[to])
            return np.clip(np.where(np.isnan(x), 0, x).astype(np.float64), float(most.min), float(most.max)).astype(TYPES[to])
        if "sat" in parts:
            x = np.clip(np.where(np.isnan(x), 0, x), 0, 1)
    return x.astype(TYPES[to])


ROUNDED = {"rni": np.rint, "rmi": np.floor, "rpi": np.ceil, "rzi": np.trunc}
