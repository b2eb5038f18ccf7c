"""Names: what every value is called in generated code.

Policy: the user's words verbatim, dots of a path as underscores; `d_` stands before an adjoint; a value in whose place
another is computed bears the later name where it has none of its own; what has no name is numbered in the order of printing.
Python's keywords and builtins, the module's helpers, sizes and arguments are taken from the start.
"""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Iterable

RESERVED = frozenset({*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "cp", "params", "state", "workspace", "seed",
                      "dtype", "grads"})


class Namer:
    """Hands out identifiers, each once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken: set[str] = {*RESERVED, *taken}

    def claim(self, wanted: str) -> str:
        """`wanted` as an identifier; `_2`, `_3`, ... is added where it is taken."""
        base = identifier(wanted)
        name, k = base, 2
        while name in self.taken:
            name = f"{base}_{k}" if base[-1:].isdigit() else f"{base}{k}"
            k += 1
        self.taken.add(name)
        return name


def identifier(text: str) -> str:
    """Any text as a Python identifier: what cannot stand in one becomes an underscore."""
    text = unicodedata.normalize("NFKC", text)                   # as Python reads names
    out = text if text.isidentifier() else "".join(c if f"v{c}".isidentifier() else "_" for c in text).strip("_")
    out = re.sub(r"^__+", "v_", out)
    return out if out.isidentifier() else f"v_{out}"


def printable(text: str) -> str:
    """Text that may stand in a comment: nothing in it ends the line."""
    return "".join(c if c.isprintable() else " " for c in text)


def quoted(text: str) -> str:
    """A string as a double-quoted Python literal; it holds nothing at which a line is broken or a comment begins."""
    body = repr(text)
    inner = body[1:-1] if body[0] == '"' else body[1:-1].replace("\\'", "'").replace('"', '\\"')
    return '"' + inner.replace(" ", "\\x20") + '"'


def quoted_tuple(names: Iterable[str]) -> str:
    """Strings as a Python tuple."""
    items = [quoted(n) for n in names]
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
