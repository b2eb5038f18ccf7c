"""Whether an array fits an input: type, shape, range, and every value finite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...compiler.node import BATCH, Type
from ...compiler.sizes import Size
from ...compiler.system import System
from ..language.diagnostics import excerpt
from .errors import DataError

Array = np.ndarray[Any, Any]
UNITS = {                                                # kind -> what is wrong with a value, and a way out
    "binary": ("is neither 0 nor 1, the values of binary units",
               "round the data or compare them, {0} = image > 7, or declare {0} : binary(mean)"),
    "means": ("is not from 0 to 1, as means of binary units are", "scale the data, {0} = image / 255, or declare {0} : gaussian"),
    "spin": ("is neither -1 nor 1, the values of spin units", "compare the data: {0} = 2 * (image > 7) - 1"),
    "categorical": ("is not of a single 1 among 0s along the last axis", "give states as vectors: {0} = onehot(column, 4)"),
}


def fit_input(system: System, name: str, value: Array, dtype: np.dtype[Any], steps: bool = False,
              locate: Callable[[int], str] = "example {}".format, left_out: str = "") -> Array:
    """The array in the input's type and shape: examples first, then time, then features (an image may become a vector).

    With `steps`, the first axis is that of the steps of all sequences, one after the other. `locate` says where one stands,
    `left_out` which features the data might have had besides.
    """
    node = system.inputs[name]
    value = _cast(name, value, node.type, dtype, locate)
    lead = 1 if steps else len([a for a in node.axes if a != BATCH]) + 1
    features = tuple(s.evaluate(system.sizes) for s in node.shape)
    if value.ndim < lead:
        raise DataError(f"input {name}: an array of {_expected(system, name)} was expected, not of shape {value.shape}")
    front, given = value.shape[:lead], value.shape[lead:]
    if given == features:
        return np.ascontiguousarray(value)
    if int(np.prod(given)) != int(np.prod(features)):
        each = "a step" if steps else "an example"
        raise DataError(f"input {name}: {_expected(system, name)} was expected; the data give {_given(given)} {each}{left_out}")
    return np.ascontiguousarray(value.reshape(front + features))


def check_input(system: System, name: str, value: Array, locate: Callable[[int], str]) -> None:
    """Refuses what is not finite and labels out of range; `locate` says where an example stands."""
    declared = system.inputs[name].type
    if declared.kind == "class" and declared.n is not None and value.size:
        n = declared.n.evaluate(system.sizes)
        why = f"is not one of the {n} classes 0..{n - 1} of class({declared.n})"
        _refuse(value, (value < 0) | (value >= n), name, locate, why)
    elif value.dtype.kind == "f":
        _refuse(value, ~np.isfinite(value), name, locate, "is not a finite number")
        _check_units(system, name, value, locate)


def _check_units(system: System, name: str, value: Array, locate: Callable[[int], str]) -> None:
    """Refuses what no unit of a layer can be, under the line that declares the layer."""
    layers = {} if system.energy is None else {u.name: u.kind for u in system.energy.layers}
    kind = "means" if system.domains.get(name) == "unit" else layers.get(name, "")
    if name not in layers or kind not in UNITS:
        return
    why, hint = UNITS[kind]
    if kind == "means":
        bad = (value < 0) | (value > 1)
    elif kind == "spin":
        bad = np.abs(value) != 1
    else:
        bad = (value != 0) & (value != 1)
        if kind == "categorical" and not bad.any():
            bad = np.broadcast_to(value.sum(-1, keepdims=True) != 1, value.shape)
    try:
        _refuse(value, bad, name, locate, why)
    except DataError as error:
        span = system.spans.get(name)
        path = Path(span.file) if span is not None else None
        lines = path.read_text("utf-8").split("\n") if path is not None and path.is_file() else []
        shown = excerpt(span, lines[span.line - 1]) if span is not None and span.line <= len(lines) else []
        raise DataError("\n".join([str(error), *shown, f"    {hint.format(name)}"])) from None


def check_lengths(name: str, own: Array, array: Array, of: str, where: str) -> None:
    """Refuses lengths that are no whole numbers from 0 to the steps that the array has."""
    if own.shape != array.shape[:1] or own.dtype.kind not in "iu":
        raise DataError(f"input {name}: {len(array)} whole numbers were expected, one for each example of {of}, "
                        f"not {own.dtype} of shape {own.shape}")
    bad = (own < 0) | (own > array.shape[1])
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"input {name}: {own[row]} at example {row} {where} is no length of a sequence of {of}, "
                        f"which has {array.shape[1]} steps")


def _cast(name: str, value: Array, declared: Type, dtype: np.dtype[Any], locate: Callable[[int], str]) -> Array:
    if value.dtype.kind not in "biuf":
        raise DataError(f"input {name}: numbers were expected, not {value.dtype}")
    if declared.kind == "real":
        with np.errstate(over="ignore"):
            return value.astype(dtype, copy=False)
    wanted = "classes" if declared.kind == "class" else "truth values"
    if value.dtype.kind == "f":
        bad = ~(value == np.round(np.where(np.isfinite(value), value, 0.5)))
        _refuse(value, bad, name, locate, f"is no integer, where {wanted} were expected")
    if declared.kind == "bool":
        _refuse(value, (value != 0) & (value != 1), name, locate, "is neither 0 nor 1")
        return value.astype(bool)
    return value.astype(np.int64)


def _refuse(value: Array, bad: Array, name: str, locate: Callable[[int], str], why: str) -> None:
    if not bad.any():
        return
    place = np.unravel_index(int(np.argmax(bad)), bad.shape)
    inside = f", position {', '.join(str(int(i)) for i in place[1:])}" if len(place) > 1 else ""
    more = int(bad.sum()) - 1
    also = f" ({more} more like it)" if more else ""
    raise DataError(f"input {name}: {value[place]!s} at {locate(int(place[0]))}{inside} {why}{also}")


def _expected(system: System, name: str) -> str:
    node = system.inputs[name]
    axes = [a for a in node.axes if a != BATCH]
    brackets = ", ".join([*axes, *map(str, node.shape)])
    sizes = "x".join(str(s.evaluate(system.sizes)) for s in node.shape) or "1"
    return f"{name}[{brackets}]{_values(system, node.shape)} ({sizes})" if brackets else f"{name}, one number an example,"


def _values(system: System, shape: tuple[Size, ...]) -> str:
    known = {s: system.sizes[s] for size in shape for s in size.symbols if s in system.sizes}
    return " with " + ", ".join(f"{k} = {v}" for k, v in known.items()) if known else ""


def _given(shape: tuple[int, ...]) -> str:
    count = int(np.prod(shape))
    return f"{count} ({'x'.join(map(str, shape))})" if len(shape) > 1 else f"{count}"
