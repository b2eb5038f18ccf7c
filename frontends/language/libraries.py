"""The library: defs and fragments that are written in the language itself (frontends/library/*.nn).

Which file declares a name is read off the files' text; a declaration is parsed when it is first used.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.resources import files

from . import syntax as s
from .diagnostics import ModelError, Source
from .scope import Binding, FragmentName, Macro, Scope

_DECLARED = re.compile(r"^(?:def|fragment)[ ]+(\w+)", re.MULTILINE)


@lru_cache(maxsize=1)
def names() -> dict[str, tuple[str, str]]:
    """Every name that the library declares: its file, and the text of its declaration at its own line."""
    folder = files(__package__.rsplit(".", 1)[0] + ".library")
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.name.endswith(".nn"):
            text = path.read_text(encoding="utf-8")
            declared = list(_DECLARED.finditer(text))
            for m, following in zip(declared, [*[d.start() for d in declared[1:]], len(text)]):
                found[m[1]] = (path.name, "\n" * text.count("\n", 0, m.start()) + text[m.start():following])
    return found


@cache
def find(name: str) -> Binding | None:
    """The def or fragment of that name, or None; its text is parsed when it is first used."""
    from .parser import parse_text
    if name not in names():
        return None
    file, text = names()[name]
    source = Source(f"library/{file}", text)
    statements, mistakes, _ = parse_text(source)
    if mistakes:
        raise ModelError(mistakes)
    home = Scope(source, hidden=True)
    (x,) = statements
    if isinstance(x, s.Define):
        return Macro(source, x, "a function of the library", x, home)
    assert isinstance(x, s.Fragment)
    return FragmentName(source, x, "a fragment of the library", x, home)
