"""A sum of products as a matrix product, where its labels allow one; otherwise as einsum."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase

from ...compiler.program import Product, View
from ...compiler.sizes import product
from .views import contiguous, kept, plain, text, transposition

Label = str | int


@dataclass(frozen=True)
class Matrix:
    """An operand as text, and whether two groups of labels stand in it as (first, second)."""

    text: str
    reshaped: bool


@dataclass(frozen=True)
class Printed:
    """`expression` computes the product; `out` is how its target must be written for `np.matmul(..., out=...)`."""

    expression: str
    left: str = ""
    right: str = ""
    form: str = ""                                       # the dims that the target is reshaped to


def print_product(s: Product, sizes: dict[str, str] | None = None) -> Printed:
    """The product as text: `x @ W.T` where it is a matrix product."""
    la, lb = _own(s.la, s.a), _own(s.lb, s.b)
    lo = s.lo
    common = [k for k in la if k in lb and k in lo]
    summed = [k for k in la if k in lb and k not in lo]
    rows = [k for k in lo if k in la and k not in lb]
    columns = [k for k in lo if k in lb and k not in la]
    if all(k in la or k in lb for k in lo) and summed and not common:
        for m, n, x, lx, y, ly in ((rows, columns, s.a, la, s.b, lb), (columns, rows, s.b, lb, s.a, la)):
            if list(lo) == m + n:
                left, right = _matrix(x, lx, m, summed, sizes), _matrix(y, ly, summed, n, sizes)
                if left and right:
                    last = product(tuple(s.out.dims[list(lo).index(k)] for k in n)).format(sizes)
                    form = "" if len(m) < 2 and len(n) < 2 else f"-1, {last}" if m and n else "-1"
                    return Printed(f"{left.text} @ {right.text}", left.text, right.text, form)
    return Printed(_einsum(s, la, lb, sizes))


def _own(labels: tuple[Label, ...], v: View) -> tuple[Label, ...]:
    """The labels of the dims that the array has, in its own order: repeats fall away."""
    return tuple(labels[d] for d in kept(v))


def _matrix(v: View, labels: tuple[Label, ...], first: list[Label], second: list[Label],
            sizes: dict[str, str] | None) -> Matrix | None:
    """v as a matrix whose rows run over `first` and columns over `second`."""
    own = list(labels)
    base = plain(v, sizes)
    by = dict(zip(labels, (v.dims[d] for d in kept(v)), strict=True))
    for order, flipped in ((first + second, False), (second + first, True)):
        if own != order:
            continue
        outer, inner = (second, first) if flipped else (first, second)
        if len(outer) > 1 or len(inner) > 1:
            if not inner or not outer:
                text = f"{base}.reshape(-1)"
            else:
                text = f"{base}.reshape(-1, {product(tuple(by[k] for k in inner)).format(sizes)})"
            return Matrix(text + (".T" if flipped and inner and outer else ""), True)
        return Matrix(base + (".T" if flipped and first and second else ""), False)
    return None


def _einsum(s: Product, la: tuple[Label, ...], lb: tuple[Label, ...], sizes: dict[str, str] | None) -> str:
    left, right = plain(s.a, sizes), plain(s.b, sizes)
    if any(k not in la and k not in lb for k in s.lo):           # a repeat that only the result has
        shape = f"({', '.join(d.format(sizes) for d in s.a.dims)}{',' if len(s.a.dims) == 1 else ''})"
        la, left = s.la, f"np.broadcast_to({text(s.a, sizes)}, {shape})"
    if any(k not in la and k not in lb for k in s.lo):
        shape = f"({', '.join(d.format(sizes) for d in s.b.dims)}{',' if len(s.b.dims) == 1 else ''})"
        lb, right = s.lb, f"np.broadcast_to({text(s.b, sizes)}, {shape})"
    letters: dict[Label, str] = {}
    for k in (*la, *lb, *s.lo):
        letters.setdefault(k, ascii_lowercase[len(letters)])
    spec = ",".join("".join(letters[k] for k in ls) for ls in (la, lb)) + "->" + "".join(letters[k] for k in s.lo)
    return f'np.einsum("{spec}", {left}, {right})'


def out_text(v: View, form: str, sizes: dict[str, str] | None) -> str | None:
    """The target of a product, as a view that NumPy can write into; None where a reshape would copy."""
    base = plain(v, sizes)
    order = kept(v)
    if not form:
        return base + (transposition(order) if order != sorted(order) else "")
    return f"{base}.reshape({form})" if contiguous(v) else None
