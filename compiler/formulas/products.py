"""A contraction as matrix products: which of `W @ x`, `W.T @ d`, `d @ h.T`, `a * b` a pair of labellings is."""

from __future__ import annotations

from .terms import Term, call, infix, name, transpose

Labels = tuple[int, ...]
LETTERS = "ijklmnopqrstuvwxyzabcdefgh"


def product(a: Term, la: Labels, b: Term, lb: Labels, lo: Labels) -> tuple[Term, bool]:
    """The product of features, and whether it is an outer product of two vectors (in which the batch sum is implied)."""
    if la == lb == lo or (not la and lb == lo) or (not lb and la == lo):
        return infix("*", a, b), False
    summed = [k for k in la if k in lb and k not in lo]
    if not summed and len(la) == len(lb) == 1:
        left, right = (a, b) if lo == la + lb else (b, a)
        return infix("@", left, transpose(right)), True
    if la == lb and not lo:
        return (infix("@", _row(a), b) if len(la) == 1 else call("sum", infix("*", a, b))), False
    if len(summed) == 1 and len(la) <= 2 and len(lb) <= 2 and not any(k in lb and k in lo for k in la):
        found = _matrix(a, la, b, lb, lo, summed[0])
        if found is not None:
            return found, False
    letters = [name("".join(LETTERS[k] for k in labels) or "_") for labels in (la, lb, lo)]
    return call("contract", a, b, *letters), False


def _row(a: Term) -> Term:
    """A vector before another one: h @ W for W.T @ h."""
    if a.kind == "infix" and a.head == "@" and a.args[0].kind == "transpose":
        matrix, vector = a.args
        if vector.source is not None and len(vector.source.shape) == 1 and vector.kind in ("name", "index"):
            return infix("@", vector, transpose(matrix))
    return a


def _matrix(a: Term, la: Labels, b: Term, lb: Labels, lo: Labels, k: int) -> Term | None:
    """A product with a matrix in it, the operand with more features first where either order is right."""
    orders = [(a, la, b, lb), (b, lb, a, la)]
    if len(la) < len(lb):
        orders.reverse()
    for left, ll, right, lr in orders:
        if (*(i for i in ll if i != k), *(i for i in lr if i != k)) == lo:
            left = left if ll[-1] == k else transpose(left)
            return infix("@", left, right if lr[0] == k else transpose(right))
    return None
