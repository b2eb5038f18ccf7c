"""The text language: `load(path)` and `parse(text)` return the system that a model's equations are.

Both raise ModelError, whose text is what a user is to see, and nothing else for any text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...compiler.system import System
from .diagnostics import Diagnostic, ModelError, Note, Source, did_you_mean

__all__ = ["Diagnostic", "ModelError", "Note", "did_you_mean", "load", "parse"]


def load(path: str | Path, sizes: Mapping[str, int] | None = None) -> System:
    """The system of a model file; `sizes` replaces declared sizes. OSError where the file cannot be read."""
    data = Path(path).read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        source = Source(str(path), "\n" * (line - 1))
        raise ModelError([Diagnostic(source.span(line - 1, line), "the file is not UTF-8 text")]) from None
    return parse(text, str(path), sizes)


def parse(text: str, file: str = "<text>", sizes: Mapping[str, int] | None = None) -> System:
    """The system of a model's text; `file` is what messages call it, `sizes` replaces declared sizes."""
    from .elaborate import elaborate_model
    from .parser import parse_text
    source = Source(file, text)
    try:
        statements, mistakes, lost = parse_text(source)
        return elaborate_model(source, statements, mistakes, lost, sizes)
    except RecursionError:
        raise ModelError([Diagnostic(source.span(0, 1), "the model nests too deeply",
                                     suggestion="name parts of its expressions in equations of their own")]) from None
