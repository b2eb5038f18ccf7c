"""The instructions that the interpreter runs as a device does, each with the qualifiers that it heeds.

Of the others some are heeded by what it computes anyway: `ftz` where small numbers do not matter, `approx` and `rn` by results
that are at least as good. What is not listed is refused, also where no run comes by.
"""

from .arithmetic import ORDERED
from .text import TYPES

FLOAT = "ftz approx rn"
SPACES = "global shared local param"
COMPARISONS = " ".join([*ORDERED, *(f"{k}u" for k in ORDERED), "nan num"])
QUALIFIERS = {k: {*words.split()} for names, words in {
    "add": f"{FLOAT} rz cc", "sub": f"{FLOAT} cc", "mul": f"{FLOAT} lo hi wide", "fma": f"{FLOAT} rm rz sat",
    "mad": "lo hi wide cc", "madc": "lo hi cc", "addc subc": "cc",
    "div rcp sqrt rsqrt ex2 lg2 sin cos tanh abs neg min max": FLOAT,
    "and or xor not shl shr bfi clz popc rem copysign selp mov nanosleep exit": "", "bra ret": "uni",
    "cvt": "rn rni rmi rpi rzi ftz sat", "cvta": f"to {SPACES}", "setp": f"{COMPARISONS} and or xor ftz",
    "ld": f"{SPACES} nc volatile v2 v4", "st": f"{SPACES} volatile v2 v4",
    "atom red": "global shared add min max exch and or xor cas", "bar barrier": "sync warp",
    "membar": "cta gl sys", "fence": "acq_rel sc cta gpu sys", "shfl": "sync up down bfly idx", "vote": "sync ballot any all",
}.items() for k in names.split()}


def unknown(kernel):
    """The instructions of a kernel that the interpreter does not know, those too that no run comes to."""
    return sorted({i.text for i in kernel.code if not {*i.parts[1:]} - {*TYPES} <= QUALIFIERS.get(i.parts[0], set())
                   or i.parts[0] not in QUALIFIERS})
