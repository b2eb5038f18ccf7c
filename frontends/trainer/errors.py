"""What can go wrong between a right model and a trained one: each error is one sentence that says what was expected."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RunError(Exception):
    """Base of the errors below; the command line prints the text and exits 1."""


class DataError(RunError, ValueError):
    """The data do not fit the model, or cannot be read; raised before training starts."""


class WeightsError(RunError, ValueError):
    """A weights file or checkpoint does not fit the model, or is damaged."""


class OptionError(RunError, ValueError):
    """An option of the run that has no meaning for this model."""


class NotFinite(RunError, ArithmeticError):
    """The loss or a parameter stopped being a number; names the first equation that did."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'digits'?`, or what is known where nothing is close."""
    names = list(known)
    close = get_close_matches(word, names, 1, 0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


def plural(n: int, word: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
