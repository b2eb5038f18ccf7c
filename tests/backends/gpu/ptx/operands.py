"""Operands of PTX instructions: numbers that stand in the text, addresses, bits of a register read as a type."""

import re
import struct

import numpy as np

from .text import RAW, SIZES, TYPES

ADDRESS = re.compile(r"\[([^+\]]+)(?:\+(-?\d+))?\]")


def names(operand):
    """The registers of `{%f1, %f2}`, or the one."""
    return [x.strip() for x in operand.strip("{}()").split(",")]


def parameter(operand):
    """The name and the byte of `[name+4]`."""
    name, more = ADDRESS.match(operand).groups()
    return name, int(more or 0)


def immediate(text, kind):
    """A number that stands in the text."""
    if text.startswith(("0f", "0d")):
        single = text[1] == "f"
        return TYPES["f32" if single else "f64"](struct.unpack("!f" if single else "!d", bytes.fromhex(text[2:]))[0])
    if kind == "pred":
        return np.bool_(int(text, 0) != 0)
    bits = int(text.rstrip("U"), 0) & (1 << 8 * SIZES[kind]) - 1
    return np.array([bits], RAW[SIZES[kind]]).view(TYPES[kind])[0]


def seen_as(value, kind):
    """Bits of a register as a type: the same size read otherwise, another one cut or filled up."""
    want = np.dtype(TYPES[kind])
    value = np.asarray(value)
    if value.dtype == want:
        return value
    if value.dtype == np.bool_ or want == np.bool_:
        return value.astype(want)
    raw = np.ascontiguousarray(value).reshape(value.shape).view(RAW[value.dtype.itemsize])
    return raw.astype(RAW[want.itemsize]).view(want)
