"""The library: defs and fragments that are written in the language itself (frontends/library/*.nn).

Which file declares a name is read off the files' text; a file is parsed when one of its names is first used.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files

from . import syntax as s
from .diagnostics import ModelError, Source
from .scope import Binding, FragmentName, Macro, Scope

_DECLARED = re.compile(r"^(?:def|fragment)[ ]+(\w+)", re.MULTILINE)


@lru_cache(maxsize=1)
def names() -> dict[str, str]:
    """Every name that the library declares, and its file."""
    folder = files(__package__.rsplit(".", 1)[0] + ".library")
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.name.endswith(".nn"):
            found.update(dict.fromkeys(_DECLARED.findall(path.read_text(encoding="utf-8")), path.name))
    return found


def find(name: str) -> Binding | None:
    """The def or fragment of that name, or None."""
    return _file(names()[name]).get(name) if name in names() else None


@lru_cache(maxsize=None)
def _file(name: str) -> dict[str, Binding]:
    from .parser import parse_text
    text = files(__package__.rsplit(".", 1)[0] + ".library").joinpath(name).read_text(encoding="utf-8")
    source = Source(f"library/{name}", text)
    statements, mistakes = parse_text(source)
    if mistakes:
        raise ModelError(mistakes)
    home = Scope(source, hidden=True)
    found: dict[str, Binding] = {}
    for x in statements:
        if isinstance(x, s.Define):
            found[x.name] = Macro(source, x, "a function of the library", x, home)
        elif isinstance(x, s.Fragment):
            found[x.name] = FragmentName(source, x, "a fragment of the library", x, home)
    return found
