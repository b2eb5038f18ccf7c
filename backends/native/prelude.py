"""What the printed functions call: elementary functions and macros in C, all of them or only those that a text names."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
INCLUDES = "#include <float.h>\n#include <math.h>\n#include <stdbool.h>\n#include <stdint.h>\n#include <string.h>\n\n"
PRELUDE = INCLUDES + "".join((HERE / name).read_text(encoding="utf-8") + "\n" for name in ("math.c", "prelude.c", "updates.c"))
FUNCTION = re.compile(r"^static inline \w+ (\w+)\((?:[^\n]*\}\n|[^\n]*\{\n.*?^\}\n)", re.M | re.S)


def prelude(text: str) -> str:
    """The prelude with no function that neither `text` nor another one of these calls."""
    found = {m[1]: m[0] for m in FUNCTION.finditer(PRELUDE)}
    around = FUNCTION.sub("", PRELUDE) + text
    used: set[str] = set()
    wanted = set(re.findall(r"\w+", around)) & found.keys()
    while wanted:
        name = wanted.pop()
        used.add(name)
        wanted |= (set(re.findall(r"\w+", found[name])) & found.keys()) - used
    return FUNCTION.sub(lambda m: m[0] if m[1] in used else "", PRELUDE)


__all__ = ["PRELUDE", "prelude"]
