"""One kernel as a C function of its own: a loop a dim, arrays as row-major blocks of memory."""

from chainrule.backends.native.indexing import CTYPES
from chainrule.backends.native.kernels import length, scalar
from chainrule.compiler.program import Along, Array, Fixed, Hot, Kernel, Load, SizeOf, Step, View, leaves
from chainrule.compiler.sizes import Size


def kernel(k: Kernel, name: str) -> str:
    """A kernel as a function of its output, its arrays in the order of their first use, and the lengths that it needs."""
    arrays, lengths = operands(k)
    names = {a: f"a{i}" for i, a in enumerate(arrays)}
    apart = all(a.home is not k.out.array.home for a in arrays)              # else the output stands in an operand's place
    args = [f"{CTYPES.get(k.out.array.kind, 'real')} *{'restrict ' if apart else ''}out",
            *(f"const {CTYPES.get(a.kind, 'real')} *a{i}" for i, a in enumerate(arrays)),
            *(f"int64_t {s}" for s in lengths)]
    loads = {x.view: f"{names[x.view.array]}[{offset(x.view)}]" for x in leaves(k.body) if isinstance(x, (Load, Hot))}
    lines = [f"void {name}({', '.join(args)})", "{"]
    for d, n in enumerate(k.dims):
        lines.append("    " * (d + 1) + f"for (int64_t i{d} = 0; i{d} < {length(n)}; i{d}++)")
    lines.append("    " * (len(k.dims) + 1) + f"out[{offset(k.out)}] = {scalar(k.body, loads)};")
    return "\n".join([*lines, "}"]) + "\n"


def operands(k: Kernel) -> tuple[list[Array], list[str]]:
    """The arrays that a kernel reads, and the symbols of its sizes, loop variables of time included."""
    views = [x.view for x in leaves(k.body) if isinstance(x, (Load, Hot))]
    arrays = list(dict.fromkeys(v.array for v in views))
    entries = [(i, x, n) for v in (*views, k.out) for i, (x, n) in enumerate(zip(v.along, v.array.dims, strict=True))]
    sizes = [*k.dims, *(n for i, x, n in entries if i or (isinstance(x, Fixed) and x.end)),
             *(x.offset for _, x, _ in entries if isinstance(x, Along)),
             *(x.size for x in leaves(k.body) if isinstance(x, SizeOf))]
    steps = {x.axis for _, x, _ in entries if isinstance(x, Fixed) and x.axis}
    steps |= {x.axis for x in leaves(k.body) if isinstance(x, Step) and x.dim is None}
    return arrays, sorted({s for size in sizes for s in size.symbols} | steps)


def offset(v: View) -> str:
    """The element's place in its array, row by row."""
    text = ""
    for x, n in zip(v.along, v.array.dims, strict=True):
        place = _place(x, n)
        text = f"({text}) * ({length(n)}) + {place}" if text else place
    return text or "0"


def _place(x: Along | Fixed, n: Size) -> str:
    if isinstance(x, Along):
        return f"i{x.dim}" if x.offset == 0 else f"(i{x.dim} + {length(x.offset)})"
    base = x.axis or (f"({length(n)})" if x.end else "")
    return f"({base or 0} + {x.offset})"
