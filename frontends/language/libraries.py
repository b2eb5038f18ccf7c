"""The library: defs and fragments that are written in the language itself (frontends/library/*.nn)."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from . import syntax as s
from .diagnostics import ModelError, Source
from .scope import FragmentName, Macro, Scope


@lru_cache(maxsize=1)
def library() -> Scope:
    """One scope that holds every function and fragment of the library."""
    from .parser import parse_text
    root = Scope(Source("library", ""), hidden=True)
    folder = files(__package__.rsplit(".", 1)[0] + ".library")
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.name.endswith(".nn"):
            source = Source(f"library/{path.name}", path.read_text(encoding="utf-8"))
            statements, mistakes = parse_text(source)
            if mistakes:
                raise ModelError(mistakes)
            _enter(root, source, statements)
    return root


def _enter(root: Scope, source: Source, statements: tuple[s.Statement, ...]) -> None:
    home = Scope(source, outer=root, hidden=True)
    for x in statements:
        if isinstance(x, s.Define):
            root.names[x.name] = Macro(source, x, "a function of the library", x, home)
        elif isinstance(x, s.Fragment):
            root.names[x.name] = FragmentName(source, x, "a fragment of the library", x, home)
