"""Elements of views as C: `hs[t + 1][b][i]`, where arrays are pointers to rows of known sizes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ...compiler.program import BOOL, BYTE, DOUBLE, INT, Along, Array, Fixed, View, missing
from ...compiler.sizes import Size, product
from .kernels import length

CTYPES = {BOOL: "bool", INT: "int64_t", DOUBLE: "double", BYTE: "uint8_t"}
Namer = Callable[[Array], str]


class Indices:
    """The loop variables of index spaces: `t` and `b` along time and the batch, `i`, `j`, `k` along other dims, where free."""

    def __init__(self, lengths: Collection[str] = (), taken: Collection[str] = ()) -> None:
        self.lengths = lengths                                   # symbols that are no size of the model
        self.letters = [*(x for x in "ijklmnpqr" if x not in taken), *(f"i{k}" for k in range(2, 12))]       # names are never i2
        self.axes = {n: next(x for x in (n.lower(), f"i{n.lower()}", f"{n.lower()}_at") if x not in taken) for n in lengths}
        self.open: list[str] = []                                # variables of the loops around

    def __call__(self, dims: Sequence[Size]) -> list[str]:
        """One name a dim; spaces that begin with the same dims begin with the same names."""
        out: list[str] = []
        for n in dims:
            axis = self.axes.get(n.format(), "")
            free = (x for x in self.letters if x not in out and x not in self.open)
            out.append(axis if axis and axis not in out and axis not in self.open else next(free))
        return out


def element(v: View, names: Namer, at: Sequence[str], kept: Collection[int] | None = None) -> str:
    """The element of a view at an index; `kept` says which of the array's dims it has where it is a local variable."""
    places = [place(x, n, at) for k, (x, n) in enumerate(zip(v.along, v.array.dims, strict=True)) if kept is None or k in kept]
    return names(v.array) + "".join(f"[{p}]" for p in places)


def place(x: Along | Fixed, n: Size, at: Sequence[str]) -> str:
    """The index along one dim of an array."""
    if isinstance(x, Along):
        return at[x.dim] if x.offset == 0 else length(x.offset) if at[x.dim] == "0" else f"{at[x.dim]} + {length(x.offset)}"
    base = x.axis or (length(n) if x.end else "")
    if not base:
        return str(x.offset)
    return base if x.offset == 0 else f"{base} {'+' if x.offset > 0 else '-'} {abs(x.offset)}"


def there(v: View) -> str:
    """What is true where a view's steps are some that the sequence has; nothing where it always has them."""
    tests = []
    for k in missing(v):
        x, n = v.along[k], v.array.dims[k]
        assert isinstance(x, Fixed)
        tests.append(f"{length(n)} >= {-x.offset}" if x.end else f"{length(n)} > {x.offset}")
    return " && ".join(tests)


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
