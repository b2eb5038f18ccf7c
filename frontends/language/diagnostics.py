"""What a user sees when a model is wrong: file:line:column, the line with a caret, what it clashes with, a way out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

from ...compiler.system import Span


@dataclass(frozen=True, eq=False)
class Source:
    """A text that is parsed, under the name that messages call it."""

    file: str
    text: str
    starts: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        starts = [0, *(i + 1 for i, c in enumerate(self.text) if c == "\n")]
        object.__setattr__(self, "starts", tuple(starts))

    def span(self, start: int, end: int) -> Span:
        """The place of text[start:end], cut off at the end of its first line."""
        from bisect import bisect_right
        start = max(0, min(start, len(self.text)))
        line = bisect_right(self.starts, start)
        stop = self.text.find("\n", start)
        stop = len(self.text) if stop < 0 else stop
        return Span(self.file, line, start - self.starts[line - 1] + 1, max(1, min(end, stop) - start))

    def line(self, number: int) -> str:
        lines = self.text.split("\n")
        return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else ""


@dataclass(frozen=True)
class Note:
    """Another place that a mistake has to do with."""

    span: Span
    text: str
    line: str = ""


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: where, what, what it clashes with, and a way out."""

    span: Span
    message: str
    notes: tuple[Note, ...] = ()
    suggestion: str | None = None
    line: str = ""

    def __str__(self) -> str:
        parts = [f"{_position(self.span)}: error: {self.message}", *excerpt(self.span, self.line)]
        for note in self.notes:
            parts += [f"{_position(note.span)}: note: {note.text}", *excerpt(note.span, note.line)]
        if self.suggestion:
            parts.append(f"    {self.suggestion}")
        return "\n".join(parts)


class ModelError(Exception):
    """A model that is wrong: all mistakes that were found in one run."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        unique = {(d.span, d.message): d for d in reversed(list(diagnostics))}
        self.diagnostics = sorted(unique.values(), key=lambda d: (d.span.file, d.span.line, d.span.column, d.message))
        super().__init__(str(self))

    def __str__(self) -> str:
        text = "\n\n".join(map(str, self.diagnostics))
        n = len(self.diagnostics)
        return text if n == 1 else f"{text}\n\n{n} errors"


def _position(span: Span) -> str:
    return f"{span.file}:{span.line}:{span.column}"


def excerpt(span: Span, line: str, widest: int = 110) -> list[str]:
    """The source line and a caret line under it; a long line is cut around the caret."""
    if not line.strip():
        return []
    column, text = span.column - 1, "".join(c if c.isprintable() else " " for c in line)
    if len(text) > widest:
        first = max(0, min(column - widest // 2, len(text) - widest))
        text, column = text[first:first + widest], column - first
    number = f"{span.line:4d} | "
    carets = "^" * max(1, min(span.width, len(text) - column))
    return [number + text, " " * (len(number) - 2) + "| " + " " * column + carets]


def did_you_mean(word: str, known: Iterable[str], also: str = "") -> str | None:
    """`did you mean `x`?` where a known word is close, else what `also` says."""
    known = list(dict.fromkeys(known))
    close = get_close_matches(word, known, n=2, cutoff=0.6) or [k for k in known if k.lower() == word.lower()]
    if not close:
        return also or None
    return "did you mean " + " or ".join(f"`{c}`" for c in close) + "?"


def listing(words: Iterable[str], last: str = "and") -> str:
    """`a, b and c`."""
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""
