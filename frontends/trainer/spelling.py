"""Text as sequences of symbols, and back: what a data line's formulas say of strings.

    chars(name)      a string's characters               words(line)      its words, between blanks
    framed(name)     a newline, its characters, a newline: where a text begins and ends is a symbol, too

    padded(chars(name))   for an input w[N] without a time axis: empty symbols after the last one, N in all

    lower(words)  suffix(words, 3)  prefix(words, 2)      of every word by itself
    shape(words)     its kinds of characters, runs shortened: `McDonald's` is XxXx'x, `1,000` is d,d
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import DataError
from .ragged import Ragged, offsets_of

Array = np.ndarray[Any, Any]
END = "\n"                                           # before the first and after the last character of a framed string

SPELLINGS: dict[str, Callable[[str], Sequence[str]]] = {
    "chars": list, "words": str.split, "framed": lambda text: [END, *text, END]}


def _shape(word: str, k: int) -> str:
    kinds = re.sub(r"\d+", "d", re.sub(r"[^\W\d_]+", lambda m: "".join("X" if c.isupper() else "x" for c in m[0]), word))
    return re.sub(r"(.)\1+", r"\1", kinds)


PER_WORD: dict[str, Callable[[str, int], str]] = {
    "lower": lambda word, k: word.lower(), "suffix": lambda word, k: word[-k:], "prefix": lambda word, k: word[:k],
    "shape": _shape}


def spelled(name: str, how: str, column: Any) -> Ragged:
    """The strings of a column as sequences of symbols."""
    strings = _strings(name, how, column)
    sequences = [SPELLINGS[how](s) for s in strings]
    return Ragged(_objects([symbol for s in sequences for symbol in s]), offsets_of([len(s) for s in sequences]))


def per_word(name: str, how: str, column: Any, k: int) -> Array:
    """A function of every word."""
    words = _strings(name, how, column)
    known = {word: PER_WORD[how](word, k) for word in dict.fromkeys(words)}
    return _objects([known[word] for word in words])


def joined(how: str, symbols: Sequence[str]) -> str:
    """Symbols as text again; a framed text without its frame, and ended by its end."""
    if how == "words":
        return " ".join(symbols)
    text = "".join(symbols)
    return text.removeprefix(END).partition(END)[0] if how == "framed" else text


def _strings(name: str, how: str, column: Any) -> list[str]:
    if isinstance(column, float) or column.dtype.kind not in "OUS" or column.ndim != 1:
        raise DataError(f"input {name}: {how}(...) is of text, and its column holds numbers")
    return list(map(str, column.tolist()))


def _objects(symbols: list[str]) -> Array:
    out = np.empty(len(symbols), object)
    out[:] = symbols
    return out
