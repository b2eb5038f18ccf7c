"""The kernels of a module: their text, each one once, whichever functions launch it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ...compiler.program import Array
from ..native.indexing import CTYPES
from ..native.words import size_name
from .geometry import Geometry
from .prelude import KERNELS, found, prelude

if TYPE_CHECKING:
    from .function import CudaFunction

WIDTH = 120
MARK = re.compile(r"\bSIMD\w*(?:\([^()]*\))? ")
WORD = re.compile(r"[^\W\d]\w*")


class Kernels:
    """Kernels under construction."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.sizes = sizes
        self.texts: dict[str, tuple[str, str]] = {}              # name -> its bounds, and what follows its name
        self.devices: list[str] = []                             # functions that they call
        self.plain: dict[str, None] = {}                         # kernels that are the same in every module
        self.loops: dict[str, str] = {}                          # loops in one launch, and what decides about them

    def add(self, word: str, body: list[str], geometry: Geometry, arrays: Sequence[Array],
            written: set[Array], function: CudaFunction, waits: Sequence[str] = ()) -> tuple[str, list[Array], list[str]]:
        """A kernel with this body: its name, the arrays that it takes, and the numbers.

        `waits`: further parameters of one whose blocks wait for each other, so that others may write what a pointer points to.
        """
        lines = [MARK.sub("", line).replace("for (int64_t ", "for (int ") for line in body]
        tokens = set(WORD.findall("\n".join(lines)))
        homes, alias = list[Array](), list[str]()
        names: dict[Array, str] = {}
        for a in arrays:
            used = [x for x in arrays if x.home is a.home and function.c_names[x] in tokens]
            own = dict.fromkeys(function.c_names[x] for x in used)
            if a.home in names or not used:
                continue
            names[a.home] = function.c_names[used[0]] if len(own) == 1 else function.c_names[a.home]
            homes.append(used[0] if len(own) == 1 else a.home)
            alias += [f"{CTYPES.get(a.kind, 'real')} *{n} = {names[a.home]};" for n in own if n != names[a.home]]
        given = []
        for a in homes:
            const = "" if a.home in written else "const "
            given.append(f"{const}{CTYPES.get(a.kind, 'real')} *{'' if waits and not const else '__restrict__ '}{names[a.home]}")
        if {"seed", "step"} <= tokens:
            given += ["const int64_t *__restrict__ seed", "const int64_t *__restrict__ step"]
        for k in sorted({"keys", "order"} & tokens):
            given.append(f"{'' if k == 'keys' and any(x.startswith('keys[') for x in lines) else 'const '}int *__restrict__ {k}")
        lengths = [n for n in function.numbers if size_name(n) in tokens]
        numbers = sorted([*lengths, *(n for n in tokens if n.startswith("offset_"))])
        given += [*(f"int {size_name(n)}" for n in numbers), *waits]
        pad = " " * 16
        head = textwrap.wrap(f"({', '.join(given)})", WIDTH, initial_indent=pad, subsequent_indent=pad, break_on_hyphens=False)
        text = "\n".join(head).lstrip() + "\n{\n" + "".join(f"    {x}\n" for x in (*alias, *lines)) + "}\n"
        return self._named(word, f"__launch_bounds__({geometry.total}{', 1' if waits else ''})", text), homes, numbers

    def _named(self, word: str, bounds: str, text: str) -> str:
        """The kernel of this text that is there, or a new one."""
        name, k = word, 2
        while self.texts.get(name, (bounds, text)) != (bounds, text) or name in KERNELS or name in found():
            name, k = f"{word}_{k}", k + 1
        self.texts[name] = (bounds, text)
        return name

    def raw(self, name: str, text: str) -> None:
        """A kernel as it stands."""
        self.texts[name] = ("__launch_bounds__(256)", text)

    @cached_property
    def together(self) -> Kernels:
        """The kernels whose blocks wait for each other."""
        return Kernels(self.sizes)

    def text(self, library: str = "") -> str:
        """All of it, in CUDA C++; `library`: more functions that they call."""
        own = [f'extern "C" __global__ void {bounds} {name}{text}' for name, (bounds, text) in self.texts.items()]
        whole = "\n".join([*self.devices, *own, *(KERNELS[k] for k in self.plain)])
        sizes = "".join(f"    {size_name(k)} = {v},\n" for k, v in self.sizes.items())
        return f"{prelude(library + whole)}\n{library}\n" + (f"enum {{\n{sizes}}};\n\n" if sizes else "") + whole


__all__ = ["Kernels"]
