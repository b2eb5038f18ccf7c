"""The kernels of a module: their text, each one once, whichever functions launch it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, count
from typing import TYPE_CHECKING

import numpy as np

from ...compiler.program import Array
from ..native.indexing import CTYPES
from ..native.words import size_name
from .geometry import Geometry
from .prelude import HEAD, KERNELS, called, found, functions

if TYPE_CHECKING:
    from .function import CudaFunction

WIDTH = 100
BOUNDS = "__launch_bounds__({}, 1)"                              # without the 1, registers are sometimes spilled for more blocks
NOTED = "const int64_t *noted"                                   # of what changes parameters, where kernels look through inputs
LEAVES = "    if (noted[0] >= 0) return;\n"
LONG = 120                                                       # the longest line inside of a kernel
CUTS = ("?", ":", ",", "||", "&&", "+", "-")                     # where it is cut, best first
CUT = re.compile(r" (?:&&|\|\||[?:+-]) |, ")
LITERAL = re.compile(r"(?<=\(real\))\d+(?:\.\d+(?:e[-+]?\d+)?|e[-+]?\d+)")
MARK = re.compile(r"\bSIMD\w*(?:\([^()]*\))? ")
WORD = re.compile(r"[^\W\d]\w*")
VARIABLES = re.compile(r"\b(?:real|int|bool|int64_t|uint8_t|double) \*?\w+(?: = |;|\[)[^;]*")       # what a line declares
VARIABLE = re.compile(r"(?:^\w+ \*?|, )(\w+)(?= = |;|$|\[)")


@dataclass
class Text:
    """A kernel: its bounds, its parameters, its lines; the equations that it computes, and what launches it first."""

    bounds: str
    given: list[str]
    lines: list[str]
    part: str = ""
    equations: dict[str, None] = field(default_factory=dict)
    also: dict[str, None] = field(default_factory=dict)          # what else it computes, of other arrays

    def same(self, other: Text) -> bool:
        """Whether both are the same text."""
        return (self.bounds, self.given, self.lines) == (other.bounds, other.given, other.lines)

    @property
    def function(self) -> str:
        """The function that launches it first."""
        return self.part.removeprefix("_").partition(":")[0]

    @property
    def left(self) -> dict[str, None]:
        """What its equations compute."""
        return dict.fromkeys(x.removeprefix("# ").split(" = ")[0] for x in self.equations if " = " in x and x[:3] != "#  ")

    @cached_property
    def form(self) -> tuple[str, ...]:
        """The kernel, its parameters and variables numbered: kernels of one form do the same, of other arrays."""
        names = [x.split("*__restrict__ ")[-1].split()[-1] for x in self.given]
        names += [n for line in self.lines for m in VARIABLES.finditer(line) for n in VARIABLE.findall(m[0])]
        number = {n: f"_{k}" for k, n in enumerate(dict.fromkeys(names))}
        return (self.bounds, *(WORD.sub(lambda m: number.get(m[0], m[0]), x) for x in (*self.given, *self.lines)))

    def format(self, name: str) -> str:
        """The kernel in CUDA C++, under its equations."""
        body = "".join(f"    {x}\n" if x else "\n" for line in self.lines for x in folded(line))
        return f"{comment([*self.equations], [*self.also])}{signature(self.bounds, name, self.given)}\n{{\n{body}}}\n"


class Kernels:
    """Kernels under construction."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.sizes = sizes
        self.texts: dict[str, Text] = {}
        self.devices: list[str] = []                             # functions that they call
        self.plain: dict[str, None] = {}                         # kernels that are the same in every module
        self.loops: dict[str, str] = {}                          # loops in one launch, and what decides about them
        self.forms: dict[tuple[str, ...], str] = {}              # what a kernel of this form is called

    def add(self, word: str, body: list[str], geometry: Geometry, arrays: Sequence[Array],
            written: Collection[Array], function: CudaFunction, waits: Sequence[str] = (),
            more: Sequence[str] = ()) -> tuple[str, list[Array], list[str]]:
        """A kernel with this body: its name, the arrays that it takes, and the numbers.

        `written`: the arrays that it writes, or their homes. `waits`: further parameters of one whose blocks wait for each
        other, so that others may write what a pointer points to; `more`: further parameters.
        """
        lines = unbraced([MARK.sub("", line).replace("for (int64_t ", "for (int ") for line in body])
        tokens = set(WORD.findall("\n".join(lines)))
        homes, given, alias = _pointers(tokens, arrays, written, function.c_names, bool(waits))
        if {"seed", "step"} <= tokens:
            given += ["const int64_t *__restrict__ seed", "const int64_t *__restrict__ step"]
        for k in sorted({"keys", "order"} & tokens):
            given.append(f"{'' if k == 'keys' and any(x.startswith('keys[') for x in lines) else 'const '}int *__restrict__ {k}")
        lengths = [n for n in function.numbers if size_name(n) in tokens]
        numbers = sorted([*lengths, *(n for n in tokens if n.startswith("offset_"))])
        given += [f"const int *__restrict__ {n}" if n.startswith("offset_") else f"int {size_name(n)}" for n in numbers]
        given += [*waits, *more]
        text = Text(BOUNDS.format(geometry.total), given, [*alias, *lines], function.part, dict.fromkeys(function.equations))
        return self._named(word if waits else f"{word}_kernel", text), homes, numbers

    def _named(self, word: str, text: Text) -> str:
        """The kernel of this text that is there, or a new one."""
        alike = self.forms.get(text.form)
        if alike is not None and not self.texts[alike].same(text):
            self.texts[alike].also.update(dict.fromkeys(x for x in text.left if x not in self.texts[alike].left))
            return alike
        own = text.function if word in self.texts and self.texts[word].function != text.function else ""
        name = next(n for n in chain([word, *([f"{own}_{word}"] if own else [])], (f"{word}_{k}" for k in count(2)))
                    if n not in KERNELS and n not in found() and self.texts.get(n, text).same(text))
        self.texts.setdefault(name, text).equations.update(text.equations)
        self.forms.setdefault(text.form, name)
        return name

    def raw(self, name: str, text: str) -> None:
        """A kernel as it stands, `(parameters)`, and its body in braces."""
        given, _, body = text.partition(")\n{\n")
        lines = [x.removeprefix("    ") for x in body.removesuffix("}\n").splitlines()]
        self.texts[name] = Text(BOUNDS.format(256), given[1:].split(", "), lines, "_launched")

    @cached_property
    def together(self) -> Kernels:
        """The kernels whose blocks wait for each other."""
        return Kernels(self.sizes)

    def in_cuda(self, library: str) -> tuple[str, str, str]:
        """All of it in CUDA C++: what both other texts begin with; the kernels; those of whole loops, behind `library`."""
        kernels, loops = (LITERAL.sub(shortest, "\n".join(k._parts())) for k in (self, self.together))
        loops = library + loops
        mine = called(kernels)
        theirs = called(loops) if self.loops else mine
        sizes = "".join(f"    {size_name(k)} = {v},\n" for k, v in self.sizes.items())
        common = HEAD + functions(mine & theirs) + (f"\nenum {{\n{sizes}}};\n" if sizes else "")
        return common, functions(mine - theirs) + kernels, functions(theirs - mine) + loops

    def _parts(self) -> Iterator[str]:
        """The kernels in the order of the functions that launch them, each device function before the first one that calls it."""
        devices, part = [*self.devices], ""
        for name, kernel in self.texts.items():
            if kernel.part != part:
                part = kernel.part
                yield f"\n/* ---- {part} */\n"
            text = kernel.format(name)
            called = [d for d in devices if d[d.index("void ") + 5:d.index("(")] in text]
            yield from called
            devices = [d for d in devices if d not in called]
            yield text
        if self.plain:
            yield "\n/* ---- the same in every model */\n"
        checked = {"check_classes", "check_units"} & {*self.plain}
        yield from (KERNELS[k] if checked else KERNELS[k].replace(f", {NOTED}", "").replace(LEAVES, "") for k in self.plain)


def _pointers(tokens: set[str], arrays: Sequence[Array], written: Collection[Array], names: Mapping[Array, str],
              waits: bool) -> tuple[list[Array], list[str], list[str]]:
    """A kernel's arrays, its parameters for them, and its lines for values that stood where others come to stand."""
    homes, given, alias = dict[Array, Array](), list[str](), list[str]()
    for a in arrays:
        used = [x for x in arrays if x.home is a.home and names[x] in tokens]
        own = dict.fromkeys(names[x] for x in used)
        if a.home in homes or not used:
            continue
        made = [names[x] for x in written if x.home is a.home and x is not a.home and names[x] in own]
        name = made[-1] if made else names[used[0]] if len(own) == 1 else names[a.home]
        kind, homes[a.home] = CTYPES.get(a.kind, "real"), used[0] if len(own) == 1 else a.home
        for n in own:
            if n != name:
                same = any(names[x] == n for x in written if x.home is a.home) or waits
                alias.append(f"{'' if same else 'const '}{kind} *{n} = {name};".ljust(60) + f" /* {name} takes its place */")
        const = "" if any(x.home is a.home for x in written) else "const "
        given.append(f"{const}{kind} *{'' if waits and not const else '__restrict__ '}{name}")
    return [*homes.values()], given, alias


def shortest(number: re.Match[str]) -> str:
    """A constant in as few digits as float32 needs: `0.1`, where 1 - 0.9 is `0.09999999999999998`."""
    with np.errstate(over="ignore"):
        exact = np.float32(number[0])
    return str(exact) if exact and np.isfinite(exact) and np.float32(float(str(exact))) == exact else number[0]


def comment(equations: Sequence[str], also: Sequence[str] = ()) -> str:
    """Equations as they stand at a launch, above a kernel; `also`: what else it computes in the same way."""
    lines = [x.removeprefix("# ").removeprefix("#").replace("*/", "* /") for x in equations]
    if also and lines:
        lines += textwrap.wrap(f"and in the same way {', '.join(also)}", WIDTH - 6, subsequent_indent="    ")
    return "/* " + "\n   ".join(lines) + " */\n" if lines else ""


def signature(bounds: str, name: str, given: Sequence[str]) -> str:
    """The head of a kernel; where a line does not hold it, the bounds above the name."""
    head = f'extern "C" __global__ void {bounds}'
    whole = f"{head} {name}({', '.join(given)})"
    return whole if len(whole) <= WIDTH else f"{head}\n{parameters(name, given)}"


def unbraced(lines: Sequence[str]) -> list[str]:
    """The lines without brackets around one plain statement of a loop."""
    out = list[str]()
    for line in lines:
        pad = line[:len(line) - len(line.lstrip())]
        if line == f"{pad}}}" and len(out) > 1 and out[-2].startswith(f"{pad}for (") and out[-2].endswith(") {") \
                and (inner := out[-1].removeprefix(f"{pad}    "))[:1].isalpha() and inner.endswith(";") \
                and not re.match(r"(?:for|if|while|const|real|int|switch)\b", inner):
            out[-2] = out[-2].removesuffix(" {")
        else:
            out.append(line)
    return out


def folded(line: str, indent: int = 8) -> list[str]:
    """A line of C, cut where fewest brackets are open if it is too long: behind a condition, a comma, before an operator."""
    if len(line) <= LONG or "/*" in line or line.lstrip().startswith("#"):
        return [line]
    start, depth, cuts = len(line) - len(line.lstrip()), 0, list[tuple[int, int, int]]()
    for k, c in enumerate(line):
        depth += (c in "([{") - (c in ")]}")
        if c == ")" and depth == 0 and line[start:].startswith("if (") and line[k + 1:k + 2] == " ":
            return [*folded(line[:k + 1]), *folded(" " * (start + 4) + line[k + 2:])]
        if start + 20 < k < LONG and (m := CUT.match(line, k)):
            cuts.append((-depth, -CUTS.index(m[0].strip()), k + (m[0] == ", ")))
    if not cuts:
        return [line]
    cut = max(cuts)[2]
    return [line[:cut].rstrip(), *folded(" " * (start + indent) + line[cut:].lstrip(), 0)]


def parameters(head: str, given: Sequence[str]) -> str:
    """`head(...)`: whole parameters in rows under each other."""
    pad = " " * (len(head) + 1)
    rows = textwrap.wrap(", ".join(x.replace(" ", "\0") for x in given) + ")", WIDTH, initial_indent=pad, subsequent_indent=pad,
                         break_long_words=False, break_on_hyphens=False)
    return f"{head}(" + "\n".join(rows).lstrip().replace("\0", " ")


__all__ = ["WIDTH", "Kernels", "parameters"]
