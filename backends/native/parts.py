"""Long functions as several: compilers take more than twice as long for twice the text. Each part declares what it names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LONG = 200                                                       # lines of a function that stays whole
PART = 80
DECLARED = re.compile(r"    (?:const )?\w+ \(?\*?(\w+)\)?.* = ")
LOOSE = re.compile(r"    \w+ (\w+(?:, \w+)*);")


def in_parts(name: str, head: str, declared: Sequence[str], body: Sequence[str]) -> tuple[list[str], list[str], list[int]]:
    """The prototypes of the parts; the function, followed by its parts; for every line of the body its row in that text.

    `head` is the function's first line, `declared` its variables, which stand before the body. A body that is short, or whose
    numbers are read from end to end, stays whole.
    """
    units = _cut(_units(body), declared)
    if len(body) <= LONG or len(units) == 1:
        text = [head, "{", *declared, *body, *_unused(x for x in _parameters(head) if x not in ("array", "number")), "}"]
        return [], text, [2 + len(declared) + k for k in range(len(body))]
    call = f"({', '.join(_parameters(head))});"
    names = [f"part_{k}_of_{name}" for k in range(1, len(units) + 1)]
    heads = [re.sub(r"^.*?void \w+\(", f"static APART void {n}(", head) for n in names]
    text, place = [head, "{", *(f"    {n}{call}" for n in names), "}"], list[int]()
    for first, unit in zip(heads, units, strict=True):
        text += ["", first, "{", *_named(declared, unit)]
        place += range(len(text), len(text) + len(unit))
        text += [*unit, *_unused(_parameters(head)), "}"]
    return [h + ";" for h in heads], text, place


def _parameters(head: str) -> list[str]:
    return re.findall(r"(\w+)[,)]", head)


def _unused(names: Iterable[str]) -> list[str]:
    """Parameters that need not be read."""
    given = ", ".join(f"(void){x}" for x in names)
    return [f"    {given};"] if given else []


def _units(body: Sequence[str]) -> list[list[str]]:
    """Statements, each with the comments and meetings before it."""
    out, begins = list[list[str]](), True
    for line in body:
        outer = line.startswith("    ") and line[4:5] not in (" ", "}")
        if outer and begins:
            out.append([])
        out[-1].append(line)
        if outer:
            begins = not line.startswith("    /*") and line != "    meet();" and not line.rstrip().endswith("*/")
    return out


def _cut(units: list[list[str]], declared: Sequence[str]) -> list[list[str]]:
    """Statements in parts; a variable that is no array is read in the part that writes it."""
    loose = [n for line in declared if (m := LOOSE.fullmatch(line)) for n in m[1].split(", ")]
    words = [_words(u) for u in units]
    spans = [[k for k, w in enumerate(words) if n in w] for n in loose]
    out: list[list[str]] = [[]]
    for k, u in enumerate(units):
        if len(out[-1]) > PART and not any(s and s[0] < k <= s[-1] for s in spans):
            out.append([])
        out[-1] += u
    return out


def _words(lines: Iterable[str]) -> set[str]:
    """What stands in lines but for their comments."""
    return {*re.findall(r"\w+", re.sub(r"/\*.*?\*/", "", "\n".join(lines)))}


def _named(declared: Sequence[str], unit: Sequence[str]) -> list[str]:
    """The declarations that a part needs, and those that they need."""
    words, kept = _words(unit), list[str]()
    for line in reversed(declared):
        m, loose = DECLARED.match(line), LOOSE.fullmatch(line)
        if loose:
            names = [n for n in loose[1].split(", ") if n in words]
            kept += [line.replace(loose[1], ", ".join(names))] if names else []
        elif m is None or m[1] in words:
            kept.append(line)
            words |= _words([line])
    return kept[::-1]


__all__ = ["in_parts"]
