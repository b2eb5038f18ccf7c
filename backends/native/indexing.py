"""Elements of views as C: `hs[t + 1][i0][i1]`, where arrays are pointers to rows of known sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...compiler.program import BOOL, BYTE, DOUBLE, INT, Along, Array, Fixed, View
from ...compiler.sizes import Size, product
from .kernels import length

CTYPES = {BOOL: "bool", INT: "int64_t", DOUBLE: "double", BYTE: "uint8_t"}
Namer = Callable[[Array], str]


def indices(rank: int) -> list[str]:
    """The loop variables of an index space."""
    return [f"i{d}" for d in range(rank)]


def element(v: View, names: Namer, at: Sequence[str] | None = None) -> str:
    """The element of a view at an index (that of the loops around it by default); what `names` calls a variable has no index."""
    word = names(v.array)
    if word.endswith("!"):
        return word[:-1]
    at = indices(len(v.dims)) if at is None else at
    places = [place(x, n, at) for x, n in zip(v.along, v.array.dims, strict=True)]
    return word + "".join(f"[{p}]" for p in places)


def place(x: Along | Fixed, n: Size, at: Sequence[str]) -> str:
    """The index along one dim of an array."""
    if isinstance(x, Along):
        return at[x.dim] if x.offset == 0 else f"{at[x.dim]} + {length(x.offset)}"
    base = x.axis or (length(n) if x.end else "")
    if not base:
        return str(x.offset)
    return base if x.offset == 0 else f"{base} {'+' if x.offset > 0 else '-'} {abs(x.offset)}"


def start(v: View, names: Namer) -> str:
    """The address of a view's first element."""
    if not v.array.dims:
        return f"&{names(v.array)}"
    return f"&{element(v, names, ['0'] * len(v.dims))}"


def strides(v: View) -> list[Size | None]:
    """How many elements lie between neighbours along each dim of a view; None along a dim that it only repeats."""
    out: list[Size | None] = [None] * len(v.dims)
    for k, x in enumerate(v.along):
        if isinstance(x, Along):
            out[x.dim] = product(v.array.dims[k + 1:])
    return out


def dense(v: View) -> bool:
    """Whether the elements of a view lie one after the other in its own order."""
    steps = strides(v)
    return all(s is not None and s == product(v.dims[d + 1:]) for d, s in enumerate(steps))


def declaration(a: Array, name: str, const: bool = False) -> str:
    """A pointer to the rows of an array: `real (*h)[B][H]`, `const real *b`."""
    kind = ("const " if const else "") + CTYPES.get(a.kind, "real")
    rows = "".join(f"[{length(n)}]" for n in a.dims[1:])
    return f"{kind} (*{name}){rows}" if rows else f"{kind} *{name}"
