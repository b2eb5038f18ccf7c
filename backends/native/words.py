"""What a size of a model is called in C, where its own name means something else there: NAN -> NAN_size."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
KEYWORDS = frozenset("""auto break case char const continue default do double else enum extern float for goto if inline int long
register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool true false real
main array number gemm pack PLAIN TURNED PACKED ADDED seed step total block best at free place found base scale INFINITY NAN
us me option team meet pool section FROM TO ALONE APART SIMD SIMD_SUM SIMD_PROD SIMD_MAX SIMD_MIN LANES WORTH""".split())
OWN = frozenset("""BATCH LENGTH PARTICLES REAL DOUBLE BYTES INCLUDED FLAGS CHAINRULE_CBLAS""".split())
# Macros of the C library's headers, and of those that they include, in families. A size begins with a capital letter.
LIBRARY = re.compile(r"""(?x) \w*_(MAX|MIN|C|BITS|TYPE|WIDTH) | (FLT|DBL|LDBL|DECIMAL|M|FP|MATH|SEEK|SIG|PTHREAD|CLOCKS?|TIMER
    |SCHED|LENGTH|HUGE|EXIT|L|WCHAR|KIND)_\w+ | U?INT\w* | HUGE\w* | NULL | EOF | FILE | BUFSIZ | DOMAIN | SING | OVERFLOW
    | UNDERFLOW | [TP]LOSS | \w*_""")


@cache
def taken() -> frozenset[str]:
    """Names that C, its library or the texts beside the generated one have given away."""
    texts = "".join(p.read_text(encoding="utf-8") for p in HERE.glob("*.c"))
    words = re.findall(r"\w+", re.sub(r"/\*.*?\*/|\"[^\"\n]*\"", "", texts, flags=re.S))
    return KEYWORDS | OWN | {w for w in words if len(w) > 1}


def size_name(symbol: str) -> str:
    """A size's name in C: its own, unless that means something else there."""
    return f"{symbol}_size" if symbol in taken() or LIBRARY.fullmatch(symbol) else symbol


__all__ = ["KEYWORDS", "size_name"]
